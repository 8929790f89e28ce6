// The WebSocket's video by WebCodecs: every frame is decoded and drawn as soon as it is there.

import type { VideoCodec, VideoFrameMessage } from "../wire/media";
import { codecString, nalUnits, parameterSets } from "./avc";
import type { Player, PlayerHooks } from "./player";

/** Frames that may wait for a decoder that does not keep up. */
const MAX_WAITING = 8;
/** Times in a row that a decoder may fail without having shown anything. */
const MAX_FAILURES = 3;
const BASELINE = "avc1.42e01f";

/** Whether this browser has a decoder for each codec; empty outside of secure contexts. */
export async function decodable(codecs: readonly VideoCodec[]): Promise<VideoCodec[]> {
  if (!("VideoDecoder" in window)) return [];
  const supported = await Promise.all(
    codecs.map((codec) =>
      VideoDecoder.isConfigSupported({ codec: codec === "H264" ? BASELINE : "vp8", optimizeForLatency: true }).then(
        ({ supported }) => supported === true,
        () => false,
      ),
    ),
  );
  return codecs.filter((_, i) => supported[i]);
}

/** See the module. */
export class WebCodecsPlayer implements Player {
  readonly name = "WebCodecs";
  readonly element = document.createElement("canvas");
  delayMs = 0;
  private readonly context = this.element.getContext("2d", { alpha: false });
  private decoder: VideoDecoder | null = null;
  private configured = "";
  private awaitsKeyFrame = true;
  private failures = 0;
  private closed = false;
  private readonly arrived = new Map<number, number>();

  constructor(private readonly hooks: PlayerHooks) {}

  push(frame: VideoFrameMessage): void {
    if (this.closed || (this.awaitsKeyFrame && !frame.keyFrame)) return;
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

  close(): void {
    this.closed = true;
    this.drop();
  }

  /** False if this key frame is of no use. */
  private configure(frame: VideoFrameMessage): boolean {
    const sets = frame.codec === "H264" ? parameterSets(nalUnits(frame.unit)) : null;
    if (frame.codec === "H264" && sets === null) return false;
    const codec = sets === null ? "vp8" : codecString(sets);
    if (this.decoder !== null && this.configured === codec) return true;
    this.drop();
    this.configured = codec;
    this.decoder = new VideoDecoder({ output: (picture) => this.draw(picture), error: (error) => this.broken(error) });
    this.decoder.configure({ codec, optimizeForLatency: true });
    return true;
  }

  private draw(picture: VideoFrame): void {
    const { displayWidth, displayHeight, timestamp } = picture;
    const arrived = this.arrived.get(timestamp);
    for (const earlier of this.arrived.keys()) {
      if (earlier > timestamp) break;
      this.arrived.delete(earlier);
    }
    const { element } = this;
    const resized = element.width !== displayWidth || element.height !== displayHeight;
    if (resized) {
      element.width = displayWidth;
      element.height = displayHeight;
    }
    this.context?.drawImage(picture, 0, 0);
    picture.close();
    this.failures = 0;
    if (arrived !== undefined) this.delayMs = performance.now() - arrived;
    if (this.closed) return;
    if (resized) this.hooks.resized();
    this.hooks.shown();
  }

  private broken(error: DOMException): void {
    this.drop();
    this.failures += 1;
    if (this.failures >= MAX_FAILURES) this.hooks.failed(`The browser cannot decode this video (${error.message}).`);
    else this.lost();
  }

  private lost(): void {
    this.awaitsKeyFrame = true;
    this.hooks.needsKeyFrame();
  }

  private drop(): void {
    this.arrived.clear();
    if (this.decoder !== null && this.decoder.state !== "closed") this.decoder.close();
    this.decoder = null;
  }
}
