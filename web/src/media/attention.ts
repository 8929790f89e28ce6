// PURE. Whether every frame is looked at, or the picture is left alone.
//
// A pending requestVideoFrameCallback makes the browser run its main thread's rendering for each frame before it shows
// it: with nothing else on the screen that costs about a millisecond. The phase lock needs those times while
// frames flow; on a still screen nobody does, and the count of frames is enough.

/** Without a frame for this long, frames are no longer looked at one by one. Milliseconds. */
const REST_AFTER = 300;
/** A new stream is looked at for at least this long, milliseconds. */
const SETTLE = 2_000;
/** From this rate on, frames a second, they are looked at again, if it holds for `FLOWING_LOOKS` looks in a row. */
const FLOWING_RATE = 20;
/** One alone may be a still picture that is being sharpened. */
const FLOWING_LOOKS = 2;

/** What follows from a look at the count of frames. */
export interface Verdict {
  /** Look at every frame from here on. */
  watch: boolean;
  /** A frame was shown since the last look. */
  seen: boolean;
}

/** One stream's; made anew with every stream. All times are `performance.now()`. */
export class Attention {
  private watching = true;
  private flowing = 0;
  private lastFrame: number;
  private before: { at: number; total: number } | null = null;

  constructor(private readonly since: number) {
    this.lastFrame = since;
  }

  /** A frame that was looked at. */
  frame(now: number): void {
    this.lastFrame = now;
  }

  /** Call a few times a second with the number of frames that the element has shown. */
  look(total: number, now: number): Verdict {
    // No frame yet, or a browser that does not count them.
    if (total === 0) return { watch: true, seen: false };
    const before = this.before ?? { at: now, total };
    this.before = { at: now, total };
    const frames = Math.max(0, total - before.total);
    if (frames > 0) this.lastFrame = Math.max(this.lastFrame, before.at);
    const flows = frames * 1_000 >= FLOWING_RATE * (now - before.at) && frames > 0;
    this.flowing = flows ? this.flowing + 1 : 0;
    if (this.flowing >= FLOWING_LOOKS) this.watching = true;
    else if (now - this.lastFrame > REST_AFTER && now - this.since > SETTLE) this.watching = false;
    return { watch: this.watching, seen: frames > 0 };
  }
}
