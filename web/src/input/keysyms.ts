// PURE. KeyboardEvent → X11 keysym (X.Org `keysymdef.h`, `XF86keysym.h`; key names: UI Events KeyboardEvent key values).

/** Keysyms that other modules name. */
export const XK = {
  BackSpace: 0xff08,
  Tab: 0xff09,
  Return: 0xff0d,
  Escape: 0xff1b,
  Delete: 0xffff,
  Print: 0xff61,
  F1: 0xffbe,
  F4: 0xffc1,
  ShiftLeft: 0xffe1,
  ControlLeft: 0xffe3,
  ControlRight: 0xffe4,
  AltLeft: 0xffe9,
  SuperLeft: 0xffeb,
  Level3Shift: 0xfe03,
} as const;

/** `[anywhere]`, `[left, right]` or `[anywhere, undefined, keypad]` per KeyboardEvent.key. */
type Places = readonly [number, number?, number?];

const SIDED: Readonly<Record<string, Places>> = {
  Shift: [0xffe1, 0xffe2],
  Control: [0xffe3, 0xffe4],
  Alt: [0xffe9, 0xffea],
  Meta: [0xffeb, 0xffec],
  Super: [0xffeb, 0xffec],
  Hyper: [0xffed, 0xffee],
};

const WITH_KEYPAD: Readonly<Record<string, readonly [number, number]>> = {
  Enter: [0xff0d, 0xff8d],
  Tab: [0xff09, 0xff89],
  Home: [0xff50, 0xff95],
  ArrowLeft: [0xff51, 0xff96],
  ArrowUp: [0xff52, 0xff97],
  ArrowRight: [0xff53, 0xff98],
  ArrowDown: [0xff54, 0xff99],
  PageUp: [0xff55, 0xff9a],
  PageDown: [0xff56, 0xff9b],
  End: [0xff57, 0xff9c],
  Insert: [0xff63, 0xff9e],
  Delete: [0xffff, 0xff9f],
  Clear: [0xff0b, 0xff9d],
};

const NAMED: Readonly<Record<string, number>> = {
  AltGraph: 0xfe03,
  CapsLock: 0xffe5,
  NumLock: 0xff7f,
  ScrollLock: 0xff14,
  Backspace: 0xff08,
  Escape: 0xff1b,
  Pause: 0xff13,
  PrintScreen: 0xff61,
  Print: 0xff61,
  ContextMenu: 0xff67,
  Select: 0xff60,
  Execute: 0xff62,
  Undo: 0xff65,
  Redo: 0xff66,
  Find: 0xff68,
  Cancel: 0xff69,
  Help: 0xff6a,
  Again: 0xff66,
  ModeChange: 0xff7e,
  NonConvert: 0xff22,
  Convert: 0xff23,
  Romaji: 0xff24,
  Hiragana: 0xff25,
  Katakana: 0xff26,
  HiraganaKatakana: 0xff27,
  Zenkaku: 0xff28,
  Hankaku: 0xff29,
  ZenkakuHankaku: 0xff2a,
  KanaMode: 0xff2d,
  Alphanumeric: 0xff30,
  HangulMode: 0xff31,
  HanjaMode: 0xff34,
  JunjaMode: 0xff38,
  BrightnessUp: 0x1008ff02,
  BrightnessDown: 0x1008ff03,
  Standby: 0x1008ff10,
  AudioVolumeDown: 0x1008ff11,
  AudioVolumeMute: 0x1008ff12,
  AudioVolumeUp: 0x1008ff13,
  MediaPlay: 0x1008ff14,
  MediaPlayPause: 0x1008ff14,
  MediaStop: 0x1008ff15,
  MediaTrackPrevious: 0x1008ff16,
  MediaTrackNext: 0x1008ff17,
  BrowserHome: 0x1008ff18,
  LaunchMail: 0x1008ff19,
  BrowserSearch: 0x1008ff1b,
  MediaRecord: 0x1008ff1c,
  LaunchApplication2: 0x1008ff1d,
  BrowserBack: 0x1008ff26,
  BrowserForward: 0x1008ff27,
  BrowserStop: 0x1008ff28,
  BrowserRefresh: 0x1008ff29,
  PowerOff: 0x1008ff2a,
  WakeUp: 0x1008ff2b,
  Eject: 0x1008ff2c,
  LaunchScreenSaver: 0x1008ff2d,
  BrowserFavorites: 0x1008ff30,
  MediaPause: 0x1008ff31,
  LaunchMediaPlayer: 0x1008ff32,
  LaunchMyComputer: 0x1008ff33,
  LaunchApplication1: 0x1008ff33,
  Close: 0x1008ff56,
  Copy: 0x1008ff57,
  Cut: 0x1008ff58,
  New: 0x1008ff68,
  Open: 0x1008ff6b,
  Paste: 0x1008ff6d,
  Save: 0x1008ff77,
  ZoomIn: 0x1008ff8b,
  ZoomOut: 0x1008ff8c,
};

/** Characters of the keypad; digits are `KP_0` + n. */
const KEYPAD_CHARS: Readonly<Record<string, number>> = {
  "*": 0xffaa,
  "+": 0xffab,
  ",": 0xffac,
  "-": 0xffad,
  ".": 0xffae,
  "/": 0xffaf,
  "=": 0xffbd,
};

/** Keys that say nothing by themselves: the browser or its input method goes on composing. */
const SILENT = new Set(["Dead", "Process", "Compose", "Fn", "FnLock", "Symbol", "SymbolLock", "Hyper_Fn"]);

/** Where on the keyboard: KeyboardEvent.location. */
const RIGHT = 2;
const KEYPAD = 3;

/** Keysym of one character: Latin-1 as it is, everything else by the Unicode rule. */
export function keysymOfChar(char: string): number {
  const point = char.codePointAt(0) ?? 0;
  if ((point >= 0x20 && point <= 0x7e) || (point >= 0xa0 && point <= 0xff)) return point;
  if (point < 0x20) return CONTROL_CHARS[point] ?? 0;
  return point < 0xa0 ? 0 : 0x0100_0000 + point;
}

const CONTROL_CHARS: Readonly<Record<number, number>> = { 8: 0xff08, 9: 0xff09, 10: 0xff0d, 13: 0xff0d, 27: 0xff1b };

/** What a key press is worth. */
export type KeyMeaning =
  | { kind: "keysym"; keysym: number }
  | { kind: "text"; text: string }
  /** Not to be forwarded at all. */
  | { kind: "silent" };

/** The meaning of KeyboardEvent.key at KeyboardEvent.location. Keysym 0: only the physical key is known. */
export function meaningOf(key: string, location: number): KeyMeaning {
  const named = namedKeysym(key, location);
  if (named !== null) return { kind: "keysym", keysym: named };
  if (SILENT.has(key)) return { kind: "silent" };
  const chars = Array.from(key);
  if (chars.length === 1) return { kind: "keysym", keysym: charKeysym(key, location) };
  // A dead key that does not combine with its successor arrives as both characters in one key.
  if (chars.length === 2 && !/^[A-Za-z0-9]+$/.test(key)) return { kind: "text", text: key };
  return { kind: "keysym", keysym: 0 };
}

function charKeysym(char: string, location: number): number {
  if (location === KEYPAD) {
    if (/^[0-9]$/.test(char)) return 0xffb0 + Number(char);
    const special = KEYPAD_CHARS[char];
    if (special !== undefined) return special;
  }
  return keysymOfChar(char);
}

function namedKeysym(key: string, location: number): number | null {
  const sided = Object.hasOwn(SIDED, key) ? SIDED[key] : undefined;
  if (sided) return (location === RIGHT ? sided[1] : undefined) ?? sided[0];
  const keypad = Object.hasOwn(WITH_KEYPAD, key) ? WITH_KEYPAD[key] : undefined;
  if (keypad) return location === KEYPAD ? keypad[1] : keypad[0];
  if (Object.hasOwn(NAMED, key)) return NAMED[key] ?? null;
  const fn = /^F([1-9]|[12][0-9]|3[0-5])$/.exec(key);
  return fn ? XK.F1 + Number(fn[1]) - 1 : null;
}
