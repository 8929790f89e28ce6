// What shows the video of the WebSocket.

import type { VideoFrameMessage } from "../wire/media";

/** What a player tells its owner. */
export interface PlayerHooks {
  /** A frame is on the screen. */
  shown(): void;
  /** Frames were left out, or could not be decoded: nothing but a key frame helps. */
  needsKeyFrame(): void;
  /** This player cannot go on; the message is for people. */
  failed(message: string): void;
  /** The picture has another size. */
  resized(): void;
}

/** Shows video in an element of its own: frames that it decodes itself, or pictures. */
export interface Player {
  /** For the statistics. */
  readonly name: string;
  readonly element: HTMLCanvasElement | HTMLVideoElement;
  /** Takes a frame that has arrived, if it is to decode it. */
  push?(frame: VideoFrameMessage): void;
  /** Takes a picture, `waitedMs` after its frame had arrived, if others decode for it. */
  show?(picture: VideoFrame, waitedMs: number): void;
  /** Milliseconds from a frame's arrival to the screen, of the last one. */
  readonly delayMs: number;
  /** Ends it; no hook is called afterwards. */
  close(): void;
}
