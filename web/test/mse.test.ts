import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { MsePlayer } from "../src/stream/mse";
import type { VideoFrameMessage } from "../src/wire/media";

/** Does as the specification says: takes nothing while it is at work. */
class Buffer {
  updating = false;
  onupdateend = (): void => undefined;
  readonly buffered = { length: 0 };
  readonly done: string[] = [];

  changeType(type: string): void {
    if (this.updating) throw new DOMException("at work", "InvalidStateError");
    this.done.push(type.slice(-7, -1));
  }

  appendBuffer(bytes: Uint8Array): void {
    if (this.updating) throw new DOMException("at work", "InvalidStateError");
    this.updating = true;
    this.done.push(new TextDecoder("latin1").decode(bytes.subarray(4, 8)) === "ftyp" ? "init" : "frame");
  }

  /** Finishes everything that is given to it. */
  finish(): void {
    while (this.updating) {
      this.updating = false;
      this.onupdateend();
    }
  }
}

let buffer: Buffer;
let source: Source;

class Source {
  static readonly isTypeSupported = (): boolean => true;
  readyState = "closed";
  onsourceopen = (): void => undefined;

  constructor() {
    // eslint-disable-next-line @typescript-eslint/no-this-alias
    source = this;
  }

  addSourceBuffer(type: string): Buffer {
    buffer.done.push(type.slice(-7, -1));
    return buffer;
  }

  open(): void {
    this.readyState = "open";
    this.onsourceopen();
  }
}

beforeEach(() => {
  buffer = new Buffer();
  vi.stubGlobal("window", { MediaSource: Source });
  vi.stubGlobal("MediaSource", Source);
  vi.stubGlobal("document", { createElement: () => ({ currentTime: 0 }) });
  vi.stubGlobal("HTMLVideoElement", { prototype: {} });
  vi.stubGlobal("URL", { createObjectURL: () => "blob:1" });
});
afterEach(() => void vi.unstubAllGlobals());

/** A key frame of a stream at `level`, which is what another size changes; without one, a frame between. */
function frame(level?: number): VideoFrameMessage {
  const nal = (...bytes: number[]): number[] => [0, 0, 1, ...bytes];
  const key = level === undefined ? [] : [...nal(0x67, 0x42, 0xc0, level, 0xda, 0x02, 0x80), ...nal(0x68, 0xce)];
  const unit = Uint8Array.from([...key, ...nal(level === undefined ? 0x61 : 0x65, 1)]);
  return { codec: "H264", keyFrame: level !== undefined, number: 1, capturedUs: 0, unit };
}

describe("Media Source Extensions", () => {
  const player = (): MsePlayer =>
    new MsePlayer({ shown: () => undefined, needsKeyFrame: () => undefined, failed: () => undefined, resized: () => undefined });

  it("change their type when what was of the other one is through, right before the new initialization", () => {
    const mse = player();
    mse.push(frame(0x1f));
    source.open();
    mse.push(frame());
    mse.push(frame(0x28));
    mse.push(frame());
    mse.push(frame(0x1f));
    buffer.finish();
    const [low, high] = ["42c01f", "42c028"];
    expect(buffer.done).toEqual([low, "init", "frame", "frame", high, "init", "frame", "frame", low, "init", "frame"]);
  });

  it("take a change that comes before they are open", () => {
    const mse = player();
    mse.push(frame(0x1f));
    mse.push(frame(0x28));
    source.open();
    buffer.finish();
    expect(buffer.done).toEqual(["42c01f", "init", "frame", "42c028", "init", "frame"]);
  });
});
