// PURE. Pointer and wheel: buttons, throttled motion, relative totals, notches.

import type { InputEvent, Point } from "../wire/input";

/** PointerEvent.buttons bit → X11 button. */
const BUTTONS: readonly (readonly [bit: number, button: number])[] = [
  [1, 1],
  [4, 2],
  [2, 3],
  [8, 8],
  [16, 9],
];

/** Which buttons went down or up from one `buttons` mask to the next; releases first. */
export function buttonChanges(before: number, after: number): { button: number; down: boolean }[] {
  const changed = BUTTONS.filter(([bit]) => ((before ^ after) & bit) !== 0);
  return changed
    .map(([bit, button]) => ({ button, down: (after & bit) !== 0 }))
    .sort((a, b) => Number(a.down) - Number(b.down));
}

/** Shortest time between two motion frames, milliseconds. */
export const MOTION_INTERVAL = 4;
/** The last position is said once more after this: the motion channel does not retransmit. Milliseconds. */
export const MOTION_REPEAT = 80;

/** Lets motion through at most once per {@link MOTION_INTERVAL}; the newest one wins. */
export class MotionGate {
  private waiting: InputEvent | null = null;
  private last: InputEvent | null = null;
  private next = -Infinity;
  private repeatAt: number | null = null;

  /** Takes a motion; what comes back is to be sent now. */
  offer(event: InputEvent, now: number): InputEvent | null {
    this.waiting = event;
    return this.poll(now);
  }

  /** The motion whose time has come, if any. */
  poll(now: number): InputEvent | null {
    if (this.waiting !== null) {
      if (now < this.next) return null;
      this.last = this.waiting;
      this.waiting = null;
      this.next = now + MOTION_INTERVAL;
      this.repeatAt = now + MOTION_REPEAT;
      return this.last;
    }
    if (this.repeatAt !== null && now >= this.repeatAt) {
      this.repeatAt = null;
      return this.last;
    }
    return null;
  }

  /** When {@link poll} should be called; null: not before the next motion. */
  deadline(): number | null {
    return this.waiting !== null ? this.next : this.repeatAt;
  }

  /** Forgets what waits: a button or wheel event has carried the position. */
  clear(): void {
    this.waiting = null;
    this.repeatAt = null;
  }
}

/** Running totals of relative motion, in whole pixels; fractions are carried over. */
export class Relative {
  private x = 0;
  private y = 0;

  /** Adds a movement and gives the totals. */
  move(dx: number, dy: number): InputEvent {
    this.x += Number.isFinite(dx) ? dx : 0;
    this.y += Number.isFinite(dy) ? dy : 0;
    return { kind: "relative", x: Math.trunc(this.x), y: Math.trunc(this.y) };
  }
}

/** What is used of a WheelEvent. */
export interface WheelInput {
  deltaX: number;
  deltaY: number;
  /** 0 pixels, 1 lines, 2 pages. */
  deltaMode: number;
  /** Non-standard but exact: ±120 a notch, positive is up; absent in some browsers. */
  wheelDeltaX?: number;
  wheelDeltaY?: number;
  /** Browsers turn the wheel sideways while Shift is held; the desktop does that itself. */
  shift: boolean;
}

const NOTCH = 120;
const PIXELS_PER_NOTCH = 100;
const LINES_PER_NOTCH = 3;

/** Turns wheel events into 1/120 notches; what is less than one unit is carried over. */
export class Wheel {
  private restX = 0;
  private restY = 0;

  /** The frame to send, or null when not a whole unit has come together. */
  handle(wheel: WheelInput, at: Point | null): InputEvent | null {
    let dx = units(wheel.deltaX, wheel.deltaMode, wheel.wheelDeltaX);
    let dy = units(wheel.deltaY, wheel.deltaMode, wheel.wheelDeltaY);
    if (wheel.shift && dy === 0) [dx, dy] = [0, dx];
    this.restX += dx;
    this.restY += dy;
    const [x, y] = [Math.trunc(this.restX), Math.trunc(this.restY)];
    if (x === 0 && y === 0) return null;
    this.restX -= x;
    this.restY -= y;
    return { kind: "wheel", dx: x, dy: y, at };
  }
}

function units(delta: number, mode: number, wheelDelta: number | undefined): number {
  if (!Number.isFinite(delta) || delta === 0) return 0;
  // A wheel with notches says so exactly; the pixels of a notch differ from system to system. Smooth devices
  // have a legacy value too, three times their pixels, which happens to be whole notches now and then.
  const smooth = mode === 0 && wheelDelta === -3 * delta;
  if (!smooth && wheelDelta !== undefined && wheelDelta !== 0 && wheelDelta % NOTCH === 0) return -wheelDelta;
  if (mode === 1) return (delta * NOTCH) / LINES_PER_NOTCH;
  if (mode === 2) return delta * NOTCH * LINES_PER_NOTCH;
  return (delta * NOTCH) / PIXELS_PER_NOTCH;
}
