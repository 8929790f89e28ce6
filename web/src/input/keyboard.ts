// PURE. From keyboard events to input events: held keys, AltGr of Windows, Cmd of the Mac, lock keys, lost key-ups.

import { MAX_HELD, splitText, type InputEvent } from "../wire/input";
import { keysymOfChar, meaningOf, XK } from "./keysyms";
import type { Platform } from "./platform";

/** What is used of a KeyboardEvent. */
export interface KeyInput {
  type: "down" | "up";
  key: string;
  code: string;
  location: number;
  /** An input method has the key (keyCode 229, isComposing). */
  composing: boolean;
  modifiers: Modifiers;
}

/** State of the modifiers after the event, by getModifierState. */
export interface Modifiers {
  shift: boolean;
  control: boolean;
  alt: boolean;
  altGraph: boolean;
  meta: boolean;
  caps: boolean;
  num: boolean;
}

/** What to send, and whether the browser should leave the key alone. */
export interface KeyResult {
  events: InputEvent[];
  swallow: boolean;
}

interface Held {
  keysym: number;
  code: string;
}

interface Locks {
  caps: boolean;
  num: boolean;
}

/** On Windows AltGr arrives as left Control and, within this time, right Alt. Milliseconds. */
const ALTGR_WINDOW = 40;
const LOCK_KEYS = new Set(["CapsLock", "NumLock"]);

/** Keyboard of one viewer. Times in milliseconds of any one clock. */
export class Keyboard {
  private readonly held = new Map<string, Held>();
  private locks: Locks | null = null;
  private pendingControl: { key: KeyInput; until: number } | null = null;

  constructor(
    private readonly platform: Platform,
    /** The Mac's Cmd acts as Control: what Mac users' fingers know. */
    public cmdIsControl = true,
  ) {}

  /** Takes one event. */
  handle(key: KeyInput, now: number): KeyResult {
    if (key.type === "up") return this.released(key);
    // Phones call every key a composition; the hidden field's text tells what was typed.
    if (key.composing || key.key === "Process") return { events: this.flush(), swallow: false };
    const events = this.resolvePending(key);
    events.push(...this.reconcile(key.modifiers, key.code));
    if (LOCK_KEYS.has(key.key)) return { events, swallow: true };
    if (this.platform === "windows" && key.code === "ControlLeft" && !this.held.has(key.code)) {
      this.pendingControl = { key, until: now + ALTGR_WINDOW };
      return { events, swallow: true };
    }
    const down = this.down(key);
    return { events: [...events, ...down.events], swallow: down.swallow };
  }

  /** When {@link poll} has something to do; null: nothing waits. */
  deadline(): number | null {
    return this.pendingControl?.until ?? null;
  }

  /** A left Control that turned out not to be half of AltGr. */
  poll(now: number): InputEvent[] {
    return this.pendingControl !== null && now >= this.pendingControl.until ? this.flush() : [];
  }

  /** Releases modifiers whose key-up the page never saw. `except`: the key that the event is about. */
  reconcile(modifiers: Modifiers, except = ""): InputEvent[] {
    const events: InputEvent[] = [];
    for (const [id, held] of this.held) {
      if (id === except || isDown(id, modifiers)) continue;
      this.held.delete(id);
      events.push({ kind: "key", down: false, ...held });
    }
    return events;
  }

  /** The desktop's lock keys, as it says. */
  desktopLocks(locks: Locks): void {
    this.locks = { caps: locks.caps, num: locks.num };
  }

  /** Repeats what is held: no key may be, while a button is. */
  heartbeat(): InputEvent {
    return { kind: "heartbeat", held: [...this.held.values()].map((held) => held.keysym).filter((k) => k !== 0) };
  }

  get holding(): boolean {
    return this.held.size > 0;
  }

  /** Forgets every key; true if any was held or pending. */
  reset(): boolean {
    const any = this.held.size > 0 || this.pendingControl !== null;
    this.held.clear();
    this.pendingControl = null;
    return any;
  }

  private flush(): InputEvent[] {
    const pending = this.pendingControl;
    this.pendingControl = null;
    return pending ? this.down(pending.key).events : [];
  }

  private resolvePending(next: KeyInput): InputEvent[] {
    if (this.pendingControl && next.type === "down" && next.code === "AltRight") {
      this.pendingControl = null;
      return [];
    }
    if (this.pendingControl && next.type === "down" && next.code === "ControlLeft") return [];
    return this.flush();
  }

  private down(key: KeyInput): KeyResult {
    const id = key.code || key.key;
    const before = this.held.get(id);
    if (before) return { events: [{ kind: "key", down: true, ...before }], swallow: true };
    const translated = this.translate(key);
    if (translated === null) return { events: [], swallow: false };
    const events = this.lockEvents(key.modifiers);
    if (typeof translated === "string") return { events: [...events, ...typeText(translated)], swallow: true };
    events.push({ kind: "key", down: true, ...translated });
    if (this.isTap(key)) events.push({ kind: "key", down: false, ...translated });
    else if (this.held.size < MAX_HELD) this.held.set(id, translated);
    else events.pop();
    return { events, swallow: true };
  }

  /** Follows a held key up even while an input method has the keyboard. */
  private released(key: KeyInput): KeyResult {
    const events = [...this.resolvePending(key), ...this.reconcile(key.modifiers, key.code)];
    const id = key.code || key.key;
    const held = this.held.get(id);
    if (!held) return { events, swallow: false };
    this.held.delete(id);
    return { events: [...events, { kind: "key", down: false, ...held }], swallow: true };
  }

  /** macOS never reports the release of a key that went down while Cmd was held. */
  private isTap(key: KeyInput): boolean {
    return this.platform === "mac" && key.modifiers.meta && !/^(Meta|Shift|Control|Alt)/.test(key.code);
  }

  /** A key to press, text to type, or nothing. */
  private translate(key: KeyInput): Held | string | null {
    if (this.platform === "mac") {
      if (key.key === "Alt") return { keysym: XK.Level3Shift, code: "" };
      if (key.key === "Meta" && this.cmdIsControl) {
        return { keysym: key.location === 2 ? XK.ControlRight : XK.ControlLeft, code: "" };
      }
    }
    const meaning = meaningOf(key.key, key.location);
    switch (meaning.kind) {
      case "silent":
        return null;
      case "text":
        return meaning.text;
      case "keysym":
        return { keysym: meaning.keysym, code: key.code };
    }
  }

  /** A Mac and a phone have no Num Lock: the desktop's is left as it is. */
  private lockEvents(modifiers: Modifiers): InputEvent[] {
    const hasNum = this.platform === "windows" || this.platform === "other";
    const wanted: Locks = { caps: modifiers.caps, num: hasNum ? modifiers.num : (this.locks?.num ?? true) };
    if (this.locks?.caps === wanted.caps && this.locks.num === wanted.num) return [];
    this.locks = wanted;
    return [{ kind: "locks", ...wanted }];
  }
}

function isDown(id: string, m: Modifiers): boolean {
  switch (id) {
    case "ShiftLeft":
    case "ShiftRight":
      return m.shift;
    case "ControlLeft":
    case "ControlRight":
      return m.control;
    case "AltLeft":
      return m.alt;
    case "AltRight":
      return m.alt || m.altGraph;
    case "MetaLeft":
    case "MetaRight":
      return m.meta;
    default:
      return true;
  }
}

/** One key pressed and released. */
export function tap(keysym: number): InputEvent[] {
  return [
    { kind: "key", down: true, keysym, code: "" },
    { kind: "key", down: false, keysym, code: "" },
  ];
}

/** Keys pressed in order and released in reverse. */
export function chord(...keysyms: number[]): InputEvent[] {
  const key = (down: boolean) => (keysym: number): InputEvent => ({ kind: "key", down, keysym, code: "" });
  return [...keysyms.map(key(true)), ...keysyms.toReversed().map(key(false))];
}

/** Text as it should appear; line breaks and tabs become keys. */
export function typeText(text: string): InputEvent[] {
  return text
    .split(/(\r\n|[\n\r\t])/)
    .filter((part) => part !== "")
    .flatMap((part) =>
      /^[\r\n\t]/.test(part) ? tap(keysymOfChar(part)) : splitText(part).map((text): InputEvent => ({ kind: "text", text })),
    );
}
