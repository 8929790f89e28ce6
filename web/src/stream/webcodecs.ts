// The WebSocket's video by WebCodecs: pictures that were decoded elsewhere are drawn as soon as they are there.

import type { VideoCodec } from "../wire/media";
import type { Player, PlayerHooks } from "./player";

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
  private closed = false;

  constructor(private readonly hooks: PlayerHooks) {}

  show(picture: VideoFrame, waitedMs: number): void {
    if (this.closed) {
      picture.close();
      return;
    }
    const { displayWidth, displayHeight } = picture;
    const { element } = this;
    const resized = element.width !== displayWidth || element.height !== displayHeight;
    if (resized) {
      element.width = displayWidth;
      element.height = displayHeight;
    }
    this.context?.drawImage(picture, 0, 0);
    picture.close();
    this.delayMs = waitedMs;
    if (resized) this.hooks.resized();
    this.hooks.shown();
  }

  close(): void {
    this.closed = true;
  }
}
