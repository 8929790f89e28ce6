import { describe, expect, it } from "vitest";
import { chord, Keyboard, typeText, type KeyInput, type Modifiers } from "../src/input/keyboard";
import { keysymOfChar, meaningOf, XK } from "../src/input/keysyms";
import { platformOf } from "../src/input/platform";
import { edits, SENTINEL } from "../src/input/softkeys";
import type { InputEvent } from "../src/wire/input";

const NONE: Modifiers = { shift: false, control: false, alt: false, altGraph: false, meta: false, caps: false, num: true };

function input(type: "down" | "up", key: string, code: string, rest: Partial<Omit<KeyInput, "modifiers">> & { mods?: Partial<Modifiers> } = {}): KeyInput {
  const { mods, ...others } = rest;
  return { type, key, code, location: code.endsWith("Right") ? 2 : 0, composing: false, modifiers: { ...NONE, ...mods }, ...others };
}

/** A keyboard whose lock keys already agree with the desktop's. */
function board(platform: ConstructorParameters<typeof Keyboard>[0] = "other"): Keyboard {
  const keyboard = new Keyboard(platform);
  keyboard.desktopLocks({ caps: false, num: true });
  return keyboard;
}

const brief = (events: readonly InputEvent[]): string =>
  events
    .map((e) => (e.kind === "key" ? `${e.down ? "+" : "-"}${e.keysym.toString(16)}` : e.kind === "text" ? `"${e.text}"` : e.kind))
    .join(" ");

describe("keysyms", () => {
  it.each([
    ["a", 0, 0x61],
    ["A", 0, 0x41],
    ["é", 0, 0xe9],
    ["ß", 0, 0xdf],
    ["€", 0, 0x010020ac],
    ["中", 0, 0x01004e2d],
    ["🙂", 0, 0x0101f642],
    [" ", 0, 0x20],
    ["Enter", 0, 0xff0d],
    ["Enter", 3, 0xff8d],
    ["7", 3, 0xffb7],
    ["7", 0, 0x37],
    [",", 3, 0xffac],
    ["ArrowLeft", 3, 0xff96],
    ["Delete", 0, 0xffff],
    ["F1", 0, 0xffbe],
    ["F12", 0, 0xffc9],
    ["F35", 0, 0xffe0],
    ["Shift", 1, 0xffe1],
    ["Shift", 2, 0xffe2],
    ["Control", 2, 0xffe4],
    ["Alt", 1, 0xffe9],
    ["AltGraph", 2, 0xfe03],
    ["Meta", 1, 0xffeb],
    ["AudioVolumeUp", 0, 0x1008ff13],
    ["F36", 0, 0],
    ["Unidentified", 0, 0],
    ["constructor", 0, 0],
  ])("%s at %d", (key, location, keysym) => {
    expect(meaningOf(key, location)).toEqual({ kind: "keysym", keysym });
  });

  it("says nothing for dead keys, and text for those that did not combine", () => {
    expect(meaningOf("Dead", 0)).toEqual({ kind: "silent" });
    expect(meaningOf("^x", 0)).toEqual({ kind: "text", text: "^x" });
  });

  it("has no keysym for C1 controls", () => {
    expect(keysymOfChar("\u0085")).toBe(0);
    expect(keysymOfChar("\n")).toBe(XK.Return);
  });

  it("knows systems", () => {
    expect(platformOf("Win32", "", 0)).toBe("windows");
    expect(platformOf("MacIntel", "", 0)).toBe("mac");
    expect(platformOf("MacIntel", "", 5)).toBe("mobile");
    expect(platformOf("Linux armv8l", "Mozilla (Android 15)", 5)).toBe("mobile");
    expect(platformOf("Linux x86_64", "", 10)).toBe("other");
  });
});

describe("keyboard", () => {
  it("releases the keysym that it pressed, whatever Shift did in between", () => {
    const k = board();
    expect(brief(k.handle(input("down", "Shift", "ShiftLeft", { mods: { shift: true } }), 0).events)).toBe("+ffe1");
    expect(brief(k.handle(input("down", "A", "KeyA", { mods: { shift: true } }), 1).events)).toBe("+41");
    expect(brief(k.handle(input("up", "Shift", "ShiftLeft"), 2).events)).toBe("-ffe1");
    expect(brief(k.handle(input("up", "a", "KeyA"), 3).events)).toBe("-41");
    expect(k.holding).toBe(false);
  });

  it("says a held key again when it repeats, and heartbeats it", () => {
    const k = board();
    k.handle(input("down", "x", "KeyX"), 0);
    expect(brief(k.handle(input("down", "x", "KeyX"), 30).events)).toBe("+78");
    expect(k.heartbeat()).toEqual({ kind: "heartbeat", held: [0x78] });
    expect(k.reset()).toBe(true);
    expect(k.heartbeat()).toEqual({ kind: "heartbeat", held: [] });
    expect(k.handle(input("up", "x", "KeyX"), 40).events).toEqual([]);
  });

  it("takes AltGr of Windows for what it is", () => {
    const k = board("windows");
    expect(k.handle(input("down", "Control", "ControlLeft", { mods: { control: true } }), 0).events).toEqual([]);
    expect(k.deadline()).not.toBeNull();
    const altGr = { mods: { altGraph: true } };
    expect(brief(k.handle(input("down", "AltGraph", "AltRight", altGr), 1).events)).toBe("+fe03");
    expect(brief(k.handle(input("down", "@", "KeyQ", altGr), 2).events)).toBe("+40");
    expect(brief(k.handle(input("up", "@", "KeyQ", altGr), 3).events)).toBe("-40");
    expect(brief(k.handle(input("up", "Control", "ControlLeft", altGr), 4).events)).toBe("");
    expect(brief(k.handle(input("up", "AltGraph", "AltRight"), 5).events)).toBe("-fe03");
  });

  it("lets Control of Windows through: with the next key, or after a moment", () => {
    const k = board("windows");
    const ctrl = { mods: { control: true } };
    k.handle(input("down", "Control", "ControlLeft", ctrl), 0);
    expect(brief(k.handle(input("down", "c", "KeyC", ctrl), 5).events)).toBe("+ffe3 +63");
    k.handle(input("up", "c", "KeyC", ctrl), 6);
    k.handle(input("up", "Control", "ControlLeft"), 7);
    k.handle(input("down", "Control", "ControlLeft", ctrl), 100);
    expect(k.poll(120)).toEqual([]);
    expect(brief(k.poll(140))).toBe("+ffe3");
    expect(k.deadline()).toBeNull();
    k.handle(input("up", "Control", "ControlLeft"), 150);
    k.handle(input("down", "Control", "ControlLeft", ctrl), 200);
    expect(brief(k.handle(input("up", "Control", "ControlLeft"), 210).events)).toBe("+ffe3 -ffe3");
  });

  it("presses and releases keys at once while Cmd is held on a Mac", () => {
    const k = board("mac");
    const cmd = { mods: { meta: true } };
    expect(brief(k.handle(input("down", "Meta", "MetaLeft", cmd), 0).events)).toBe("+ffe3");
    expect(brief(k.handle(input("down", "c", "KeyC", cmd), 1).events)).toBe("+63 -63");
    expect(brief(k.handle(input("up", "Meta", "MetaLeft"), 2).events)).toBe("-ffe3");
    k.cmdIsControl = false;
    expect(brief(k.handle(input("down", "Meta", "MetaLeft", cmd), 3).events)).toBe("+ffeb");
  });

  it("leaves composition to the browser, but not the release of a held key", () => {
    const k = board();
    k.handle(input("down", "n", "KeyN"), 0);
    expect(k.handle(input("down", "Process", "KeyI", { composing: true }), 1)).toEqual({ events: [], swallow: false });
    expect(brief(k.handle(input("up", "n", "KeyN", { composing: true }), 2).events)).toBe("-6e");
    expect(k.handle(input("down", "Dead", "BracketLeft"), 3)).toEqual({ events: [], swallow: false });
  });

  it("releases modifiers whose release it never saw", () => {
    const k = board();
    k.handle(input("down", "Alt", "AltLeft", { mods: { alt: true } }), 0);
    expect(brief(k.handle(input("down", "a", "KeyA"), 1).events)).toBe("-ffe9 +61");
    expect(k.reconcile(NONE)).toEqual([]);
  });

  it("brings lock keys in step before the first key that they matter to", () => {
    const k = board();
    expect(k.handle(input("down", "CapsLock", "CapsLock"), 0).events).toEqual([]);
    const caps = { mods: { caps: true } };
    expect(k.handle(input("down", "A", "KeyA", caps), 1).events[0]).toEqual({ kind: "locks", caps: true, num: true });
    expect(k.handle(input("down", "B", "KeyB", caps), 2).events.length).toBe(1);
    const mac = board("mac");
    expect(mac.handle(input("down", "a", "KeyA", { mods: { num: false } }), 0).events.length).toBe(1);
  });

  it("holds no more keys than the gateway allows", () => {
    const k = board();
    for (let i = 0; i < 80; i += 1) k.handle(input("down", "x", `Key${i}`), i);
    expect(k.heartbeat()).toMatchObject({ held: { length: 64 } });
    expect(k.handle(input("down", "x", "Key70"), 99).events).toEqual([]);
  });
});

describe("text and chords", () => {
  it("types line breaks as keys", () => {
    expect(brief(typeText("a\r\nb\t"))).toBe('"a" +ff0d -ff0d "b" +ff09 -ff09');
    expect(brief(chord(1, 2))).toBe("+1 +2 -2 -1");
  });

  it("turns changes of the hidden field into edits", () => {
    expect(brief(edits(SENTINEL, `${SENTINEL}hej`))).toBe('"hej"');
    expect(brief(edits(`${SENTINEL}hej`, `${SENTINEL}he`))).toBe("+ff08 -ff08");
    expect(brief(edits(`${SENTINEL}teh`, `${SENTINEL}the`))).toBe('+ff08 -ff08 +ff08 -ff08 "he"');
    expect(brief(edits(`${SENTINEL}🙂`, SENTINEL))).toBe("+ff08 -ff08");
    expect(edits("a", "a")).toEqual([]);
  });
});
