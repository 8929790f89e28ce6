// PURE. Fingers → pointer. Direct: the finger is the pointer. Trackpad: the finger moves the pointer.

import type { InputEvent, Point } from "../wire/input";

/** How fingers drive the pointer. */
export type TouchMode = "direct" | "trackpad";

/** One change of one finger, in CSS pixels of the page. */
export interface Finger {
  id: number;
  phase: "down" | "move" | "up" | "cancel";
  x: number;
  y: number;
}

/** How CSS pixels and screen pixels relate. */
export interface Mapping {
  /** The screen pixel under a place of the page, clamped to the screen. */
  toScreen(x: number, y: number): Point;
  /** CSS pixels per screen pixel. */
  scale: number;
  width: number;
  height: number;
}

/** Movement below this is a still finger, CSS pixels. */
const SLOP = 10;
/** Milliseconds. */
const LONG_PRESS = 500;
const DOUBLE_TAP = 300;
/** Two taps closer than this hit the same place, CSS pixels. */
const DOUBLE_TAP_SLOP = 28;
/** 1/120 notches per CSS pixel that two fingers move. */
const SCROLL_UNITS = 3;
const LEFT = 1;
const MIDDLE = 2;
const RIGHT = 3;

interface Contact {
  startX: number;
  startY: number;
  x: number;
  y: number;
}

type Gesture = "idle" | "undecided" | "moving" | "dragging" | "scrolling" | "spent";

/** Recognises gestures. Events are in order; motions among them may be thinned out by the caller. */
export class Touch {
  private readonly fingers = new Map<number, Contact>();
  private gesture: Gesture = "idle";
  private most = 0;
  private since = 0;
  private lastTap: { at: number; x: number; y: number; point: Point } | null = null;
  private restX = 0;
  private restY = 0;
  /** Where the pointer is, screen pixels, with fractions in trackpad mode. */
  private pointer = { x: 0, y: 0 };

  constructor(
    public mode: TouchMode,
    private map: Mapping,
  ) {
    this.pointer = { x: map.width / 2, y: map.height / 2 };
  }

  /** The picture moved or changed size. */
  remap(map: Mapping): void {
    this.map = map;
    this.place(this.pointer.x, this.pointer.y);
  }

  /** The pointer's place, for a cursor drawn on the page. */
  at(): Point {
    return { x: Math.floor(this.pointer.x), y: Math.floor(this.pointer.y) };
  }

  /** Another device moved the pointer. */
  moved(to: Point): void {
    this.pointer = { x: to.x, y: to.y };
  }

  /** Takes one change of one finger. */
  handle(finger: Finger, now: number): InputEvent[] {
    switch (finger.phase) {
      case "down":
        return this.down(finger, now);
      case "move":
        return this.move(finger);
      case "up":
      case "cancel":
        return this.up(finger, now);
    }
  }

  /** When {@link poll} is due. */
  deadline(): number | null {
    return this.gesture === "undecided" && this.fingers.size === 1 ? this.since + LONG_PRESS : null;
  }

  /** Long press. */
  poll(now: number): InputEvent[] {
    const due = this.deadline();
    if (due === null || now < due) return [];
    const [contact] = this.fingers.values();
    this.gesture = "spent";
    if (contact && this.mode === "direct") this.aim(contact.x, contact.y);
    return this.click(RIGHT);
  }

  private down(finger: Finger, now: number): InputEvent[] {
    const { x, y } = finger;
    this.fingers.set(finger.id, { startX: x, startY: y, x, y });
    if (this.fingers.size === 1) {
      this.gesture = "undecided";
      this.most = 1;
      this.since = now;
      return this.mode === "trackpad" && this.isSecondTap(finger, now) ? this.press() : [];
    }
    this.most = Math.max(this.most, this.fingers.size);
    const events = this.gesture === "dragging" ? this.drop() : [];
    if (this.gesture !== "spent") this.gesture = "undecided";
    return events;
  }

  private move(finger: Finger): InputEvent[] {
    const contact = this.fingers.get(finger.id);
    if (!contact) return [];
    const [dx, dy] = [finger.x - contact.x, finger.y - contact.y];
    if (this.gesture === "undecided") {
      if (Math.hypot(finger.x - contact.startX, finger.y - contact.startY) < SLOP) return [];
      const events = this.decide(contact);
      [contact.x, contact.y] = [finger.x, finger.y];
      return [...events, ...this.follow(finger, dx, dy)];
    }
    [contact.x, contact.y] = [finger.x, finger.y];
    return this.follow(finger, dx, dy);
  }

  /** The first finger to leave its place decides what the gesture is. */
  private decide(contact: Contact): InputEvent[] {
    if (this.fingers.size > 1) {
      this.gesture = "scrolling";
      return this.mode === "direct" ? this.pointAt(contact.startX, contact.startY) : [];
    }
    if (this.mode === "trackpad") {
      this.gesture = "moving";
      return [];
    }
    this.aim(contact.startX, contact.startY);
    return this.press();
  }

  private follow(finger: Finger, dx: number, dy: number): InputEvent[] {
    switch (this.gesture) {
      case "dragging":
        return this.mode === "direct" ? this.pointAt(finger.x, finger.y) : this.nudge(dx, dy);
      case "moving":
        return this.nudge(dx, dy);
      case "scrolling":
        return this.scroll(dx / this.fingers.size, dy / this.fingers.size);
      default:
        return [];
    }
  }

  private up(finger: Finger, now: number): InputEvent[] {
    const contact = this.fingers.get(finger.id);
    if (!contact) return [];
    this.fingers.delete(finger.id);
    if (this.gesture === "dragging") {
      const events = this.drop();
      this.gesture = this.fingers.size > 0 ? "spent" : "idle";
      return events;
    }
    const tapped = this.gesture === "undecided" && finger.phase === "up" && now - this.since < LONG_PRESS;
    if (this.fingers.size > 0) return [];
    this.gesture = "idle";
    return tapped ? this.tapped(contact, now) : [];
  }

  private tapped(contact: Contact, now: number): InputEvent[] {
    const { x, y } = contact;
    if (this.most > 1) return this.click(this.most === 2 ? RIGHT : MIDDLE);
    if (this.mode === "direct") {
      const again = this.isSecondTap(contact, now) ? this.lastTap?.point : undefined;
      if (again) this.pointer = again;
      else this.aim(x, y);
    }
    this.lastTap = { at: now, x, y, point: this.at() };
    return this.click(LEFT);
  }

  private isSecondTap(place: { x: number; y: number }, now: number): boolean {
    const last = this.lastTap;
    return last !== null && now - last.at < DOUBLE_TAP && Math.hypot(place.x - last.x, place.y - last.y) < DOUBLE_TAP_SLOP;
  }

  private press(): InputEvent[] {
    this.gesture = "dragging";
    this.lastTap = null;
    return [{ kind: "button", button: LEFT, down: true, at: this.at() }];
  }

  private drop(): InputEvent[] {
    return [{ kind: "button", button: LEFT, down: false, at: this.at() }];
  }

  private click(button: number): InputEvent[] {
    const at = this.at();
    return [
      { kind: "button", button, down: true, at },
      { kind: "button", button, down: false, at },
    ];
  }

  private aim(x: number, y: number): void {
    this.pointer = this.map.toScreen(x, y);
  }

  private pointAt(x: number, y: number): InputEvent[] {
    this.aim(x, y);
    return [{ kind: "motion", ...this.at() }];
  }

  /** Slow fingers aim, quick ones travel. */
  private nudge(dx: number, dy: number): InputEvent[] {
    const gain = Math.min(3, 0.8 + Math.hypot(dx, dy) / 12) / this.map.scale;
    this.place(this.pointer.x + dx * gain, this.pointer.y + dy * gain);
    return [{ kind: "motion", ...this.at() }];
  }

  private place(x: number, y: number): void {
    const clamp = (v: number, size: number): number => Math.min(Math.max(0, size - 1), Math.max(0, v));
    this.pointer = { x: clamp(x, this.map.width), y: clamp(y, this.map.height) };
  }

  /** The picture follows the fingers, so the wheel turns against them. */
  private scroll(dx: number, dy: number): InputEvent[] {
    this.restX -= dx * SCROLL_UNITS;
    this.restY -= dy * SCROLL_UNITS;
    const [x, y] = [Math.trunc(this.restX), Math.trunc(this.restY)];
    if (x === 0 && y === 0) return [];
    this.restX -= x;
    this.restY -= y;
    return [{ kind: "wheel", dx: x, dy: y, at: this.at() }];
  }
}
