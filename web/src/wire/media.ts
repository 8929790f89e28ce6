// PURE. Video on the WebSocket; mirrors src/wire/media.rs, big-endian.

/** Codec as in SDP. */
export type VideoCodec = "H264" | "VP8";

/** One frame as the gateway sends it. */
export interface VideoFrameMessage {
  codec: VideoCodec;
  keyFrame: boolean;
  /** Which frame it is; wraps at 2³². */
  number: number;
  /** When it was captured, in microseconds of the gateway's clock. */
  capturedUs: number;
  /** H.264: byte stream, parameter sets before each IDR. VP8: one frame. */
  unit: Uint8Array<ArrayBuffer>;
}

const VIDEO = 1;
const ACKNOWLEDGED = 32;
const KEY_FRAME = 1;
const HEADER = 15;
const CODECS: Readonly<Record<number, VideoCodec>> = { 1: "H264", 2: "VP8" };

/** Reads a binary message; null for what this page does not know. */
export function parseVideo(message: ArrayBuffer): VideoFrameMessage | null {
  if (message.byteLength <= HEADER) return null;
  const view = new DataView(message);
  const codec = CODECS[view.getUint8(1)];
  if (view.getUint8(0) !== VIDEO || codec === undefined) return null;
  return {
    codec,
    keyFrame: (view.getUint8(2) & KEY_FRAME) !== 0,
    number: view.getUint32(3),
    capturedUs: Number(view.getBigUint64(7)),
    unit: new Uint8Array(message, HEADER),
  };
}

/** Tells the gateway that a frame has arrived. */
export function acknowledgement(number: number): Uint8Array<ArrayBuffer> {
  const message = new Uint8Array(5);
  const view = new DataView(message.buffer);
  view.setUint8(0, ACKNOWLEDGED);
  view.setUint32(1, number);
  return message;
}
