// PURE. Gives every input frame its number and chooses its way.

import { encodeInput, type InputEvent } from "../wire/input";

/** One way to the gateway. */
export interface Lane {
  /** Sends, or drops what a full way for loose frames cannot take; false if the way is not open. */
  send(bytes: Uint8Array<ArrayBuffer>): boolean;
}

/** The ways, best first for their purpose. */
export interface Lanes {
  control: Lane;
  motion: Lane;
  socket: Lane;
}

/** What left by the socket may be on its way for this long, milliseconds: a release must not overtake its press. */
const SETTLE = 500;

/** Numbers and sends input frames. */
export class Outbox {
  private seq = 0;
  private bySocketAt = -Infinity;

  constructor(private readonly lanes: Lanes) {}

  /** Sends one event at `now` (milliseconds); false if no way was open: then it is lost. */
  send(event: InputEvent, now: number): boolean {
    this.seq = (this.seq + 1) >>> 0;
    const bytes = encodeInput(this.seq, event);
    const loose = event.kind === "motion" || event.kind === "relative";
    const { control, motion, socket } = this.lanes;
    if (loose && motion.send(bytes)) return true;
    if (now - this.bySocketAt >= SETTLE && control.send(bytes)) return true;
    if (socket.send(bytes)) {
      if (!loose) this.bySocketAt = now;
      return true;
    }
    return control.send(bytes);
  }
}
