// The WebSocket's video by WebCodecs, up to the decoded picture: every frame is decoded as soon as it is there.

import type { VideoFrameMessage } from "../wire/media";
import { codecString, nalUnits, parameterSets } from "./avc";

/** Frames that may wait for a decoder that does not keep up. */
const MAX_WAITING = 8;
/** Pictures that may wait to be drawn. Of those behind them only the newest is kept. */
const MAX_UNDRAWN = 2;
/** Times in a row that a decoder may fail without having shown anything. */
const MAX_FAILURES = 3;

/** What a decoder tells its owner. */
export interface DecoderHooks {
  /** A picture, so many milliseconds after its frame had arrived. It is answered by {@link Decoder.drawn}. */
  picture(picture: VideoFrame, waitedMs: number): void;
  /** Frames were left out, or could not be decoded: nothing but a key frame helps. */
  lost(): void;
  /** It cannot go on; the message is for people. */
  failed(message: string): void;
}

/** See the module. */
export class Decoder {
  private decoder: VideoDecoder | null = null;
  private configured = "";
  private awaitsKeyFrame = true;
  private failures = 0;
  private undrawn = 0;
  private newest: { picture: VideoFrame; waitedMs: number } | null = null;
  private readonly arrived = new Map<number, number>();

  constructor(private readonly hooks: DecoderHooks) {}

  /** Takes a frame that has arrived. */
  push(frame: VideoFrameMessage): void {
    if (this.awaitsKeyFrame && !frame.keyFrame) return;
    if (frame.keyFrame && !this.configure(frame)) return;
    const { decoder } = this;
    if (decoder === null) return;
    if (decoder.decodeQueueSize > MAX_WAITING && !frame.keyFrame) {
      this.lost();
      return;
    }
    this.awaitsKeyFrame = false;
    this.arrived.set(frame.capturedUs, performance.now());
    decoder.decode(new EncodedVideoChunk({ type: frame.keyFrame ? "key" : "delta", timestamp: frame.capturedUs, data: frame.unit }));
  }

  /** A picture was drawn: there is room for another. */
  drawn(): void {
    this.undrawn = Math.max(0, this.undrawn - 1);
    const { newest } = this;
    this.newest = null;
    if (newest !== null) this.show(newest.picture, newest.waitedMs);
  }

  /** Ends it; no hook is called afterwards. */
  close(): void {
    this.drop();
    this.newest?.picture.close();
    this.newest = null;
  }

  /** False if this key frame is of no use. */
  private configure(frame: VideoFrameMessage): boolean {
    const sets = frame.codec === "H264" ? parameterSets(nalUnits(frame.unit)) : null;
    if (frame.codec === "H264" && sets === null) return false;
    const codec = sets === null ? "vp8" : codecString(sets);
    if (this.decoder !== null && this.configured === codec) return true;
    this.drop();
    this.configured = codec;
    const decoder = new VideoDecoder({
      output: (picture) => this.decoded(picture),
      // One that was closed has nothing more to say.
      error: (error) => this.decoder === decoder && this.broken(error),
    });
    this.decoder = decoder;
    decoder.configure({ codec, optimizeForLatency: true });
    return true;
  }

  private decoded(picture: VideoFrame): void {
    const { timestamp } = picture;
    const waitedMs = performance.now() - (this.arrived.get(timestamp) ?? performance.now());
    for (const earlier of this.arrived.keys()) {
      if (earlier > timestamp) break;
      this.arrived.delete(earlier);
    }
    this.failures = 0;
    if (this.undrawn < MAX_UNDRAWN) {
      this.show(picture, waitedMs);
      return;
    }
    this.newest?.picture.close();
    this.newest = { picture, waitedMs };
  }

  private show(picture: VideoFrame, waitedMs: number): void {
    this.undrawn += 1;
    this.hooks.picture(picture, waitedMs);
  }

  private broken(error: DOMException): void {
    this.drop();
    this.failures += 1;
    if (this.failures >= MAX_FAILURES) this.hooks.failed(`The browser cannot decode this video (${error.message}).`);
    else this.lost();
  }

  private lost(): void {
    this.awaitsKeyFrame = true;
    this.hooks.lost();
  }

  private drop(): void {
    const { decoder } = this;
    this.decoder = null;
    this.arrived.clear();
    if (decoder !== null && decoder.state !== "closed") decoder.close();
  }
}
