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

/** Numbers and sends input frames. */
export class Outbox {
  private seq = 0;

  constructor(private readonly lanes: Lanes) {}

  /** Sends one event; false if no way was open: then it is lost. */
  send(event: InputEvent): boolean {
    this.seq = (this.seq + 1) >>> 0;
    const bytes = encodeInput(this.seq, event);
    const loose = event.kind === "motion" || event.kind === "relative";
    const { control, motion, socket } = this.lanes;
    return (loose && motion.send(bytes)) || control.send(bytes) || socket.send(bytes);
  }
}
