// PURE. Binary input frames; mirrors src/wire/input.rs: `u8 kind | u32 seq | body`, big-endian.

/** Most keys that one viewer may hold. */
export const MAX_HELD = 64;
/** Longest text of one frame, in bytes of UTF-8. */
export const MAX_TEXT = 4_000;
const MAX_CODE = 32;
const HEADER = 5;

/** A position on the screen, in pixels. */
export interface Point {
  x: number;
  y: number;
}

/** What a viewer did. */
export type InputEvent =
  | { kind: "key"; down: boolean; keysym: number; code: string }
  | { kind: "motion"; x: number; y: number }
  | { kind: "relative"; x: number; y: number }
  | { kind: "button"; button: number; down: boolean; at: Point | null }
  | { kind: "wheel"; dx: number; dy: number; at: Point | null }
  | { kind: "text"; text: string }
  | { kind: "heartbeat"; held: number[] }
  | { kind: "release" }
  | { kind: "locks"; caps: boolean; num: boolean };

const KINDS = { key: 1, motion: 2, relative: 3, button: 4, wheel: 5, text: 6, heartbeat: 7, release: 8, locks: 9 } as const;

const encoder = new TextEncoder();

class Writer {
  private readonly view: DataView;
  private at = 0;

  constructor(size: number) {
    this.view = new DataView(new ArrayBuffer(size));
  }

  u8(value: number): this {
    this.view.setUint8(this.at, value);
    this.at += 1;
    return this;
  }

  u16(value: number): this {
    this.view.setUint16(this.at, clamp(value, 0, 0xffff));
    this.at += 2;
    return this;
  }

  i16(value: number): this {
    this.view.setInt16(this.at, clamp(value, -0x8000, 0x7fff));
    this.at += 2;
    return this;
  }

  u32(value: number): this {
    this.view.setUint32(this.at, value >>> 0);
    this.at += 4;
    return this;
  }

  /** Wraps: running totals are compared modulo 2³². */
  i32(value: number): this {
    this.view.setInt32(this.at, value | 0);
    this.at += 4;
    return this;
  }

  point(at: Point | null): this {
    return this.u16(at?.x ?? 0).u16(at?.y ?? 0);
  }

  bytes(bytes: Uint8Array): this {
    new Uint8Array(this.view.buffer).set(bytes, this.at);
    this.at += bytes.length;
    return this;
  }

  done(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.view.buffer as ArrayBuffer, 0, this.at);
  }
}

function clamp(value: number, min: number, max: number): number {
  return Number.isFinite(value) ? Math.min(max, Math.max(min, Math.round(value))) : 0;
}

/** The frame as bytes. Coordinates are clamped to their type; codes that are not ASCII alphanumeric are left out. */
export function encodeInput(seq: number, event: InputEvent): Uint8Array<ArrayBuffer> {
  const head = (body: number): Writer => new Writer(HEADER + body).u8(KINDS[event.kind]).u32(seq);
  switch (event.kind) {
    case "key": {
      const code = encoder.encode(/^[A-Za-z0-9]{0,32}$/.test(event.code) ? event.code : "");
      return head(6 + MAX_CODE).u8(event.down ? 1 : 0).u32(event.keysym).u8(code.length).bytes(code).done();
    }
    case "motion":
      return head(4).point(event).done();
    case "relative":
      return head(8).i32(event.x).i32(event.y).done();
    case "button":
      return head(7).u8(event.button).u8(event.down ? 1 : 0).u8(event.at ? 1 : 0).point(event.at).done();
    case "wheel":
      return head(9).i16(event.dx).i16(event.dy).u8(event.at ? 1 : 0).point(event.at).done();
    case "text": {
      const bytes = encoder.encode(event.text).subarray(0, MAX_TEXT);
      return head(bytes.length).bytes(bytes).done();
    }
    case "heartbeat": {
      const held = event.held.slice(0, MAX_HELD);
      return held.reduce((w, keysym) => w.u32(keysym), head(1 + 4 * held.length).u8(held.length)).done();
    }
    case "release":
      return head(0).done();
    case "locks":
      return head(1).u8((event.caps ? 1 : 0) | (event.num ? 2 : 0)).done();
  }
}

/** Splits text into pieces that fit a frame, never inside a character. */
export function splitText(text: string, maxBytes = MAX_TEXT): string[] {
  const pieces: string[] = [];
  let piece = "";
  let size = 0;
  for (const char of text) {
    const bytes = encoder.encode(char).length;
    if (size + bytes > maxBytes) {
      pieces.push(piece);
      piece = "";
      size = 0;
    }
    piece += char;
    size += bytes;
  }
  if (piece !== "") pieces.push(piece);
  return pieces;
}
