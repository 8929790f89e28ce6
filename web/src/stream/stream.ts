// Video on the WebSocket: which player shows it, what the gateway hears of it, how it does.

import type { Figures } from "../media/stats";
import { parseVideo, type VideoCodec } from "../wire/media";
import type { ClientMessage } from "../wire/signal";
import type { StreamReport } from "./link";
import { MsePlayer, playable } from "./mse";
import type { Player, PlayerHooks } from "./player";
import { decodable, WebCodecsPlayer } from "./webcodecs";

const CODECS: readonly VideoCodec[] = ["H264", "VP8"];
/** A key frame is asked for at most this often, milliseconds. */
const ASK_EVERY = 500;

/** What a stream tells its owner. */
export interface StreamHooks {
  say(message: ClientMessage): void;
  /** Whether frames are to be decoded before they come here. */
  decode(on: boolean): void;
  /** There is room for another picture. */
  drawn(): void;
  /** A frame is on the screen. */
  shown(): void;
  failed(message: string): void;
  resized(): void;
}

/** What this browser can show here, and by what. */
export interface Ability {
  codecs: VideoCodec[];
  make: (hooks: PlayerHooks) => Player;
}

/** Best first; a browser has WebCodecs on pages by HTTPS (or of this machine) only. */
export async function abilities(): Promise<Ability[]> {
  const codecs = await decodable(CODECS);
  const all: Ability[] = [
    { codecs, make: (hooks) => new WebCodecsPlayer(hooks) },
    { codecs: playable() ? ["H264"] : [], make: (hooks) => new MsePlayer(hooks) },
  ];
  return all.filter(({ codecs }) => codecs.length > 0);
}

/** One stream, from the request to its end. */
export class Stream {
  private readonly player: Player;
  private askedAt = -Infinity;
  private owed: number | undefined;
  private counts = { frames: 0, bytes: 0, at: performance.now() };
  private codec = "";
  private rttMs: number | null = null;

  constructor(
    { codecs, make }: Ability,
    private readonly hooks: StreamHooks,
  ) {
    this.player = make({
      shown: () => {
        this.counts.frames += 1;
        hooks.shown();
      },
      needsKeyFrame: () => this.ask(),
      failed: (message) => hooks.failed(message),
      resized: () => hooks.resized(),
    });
    hooks.decode(this.player.show !== undefined);
    hooks.say({ type: "stream", codecs });
  }

  /** Where the picture is. */
  get element(): HTMLCanvasElement | HTMLVideoElement {
    return this.player.element;
  }

  /** Takes what came of it. */
  receive(report: StreamReport): void {
    switch (report.kind) {
      case "video": {
        const frame = parseVideo(report.message);
        if (frame === null) return;
        this.count(frame.codec, report.message.byteLength);
        this.player.push?.(frame);
        return;
      }
      case "picture":
        this.count(report.codec, report.bytes);
        if (this.player.show === undefined) report.picture.close();
        else this.player.show(report.picture, report.waitedMs);
        this.hooks.drawn();
        return;
      case "lost":
        this.ask();
        return;
      case "failed":
        this.hooks.failed(report.message);
        return;
    }
  }

  /** The gateway has measured it. */
  roundTrip(ms: number): void {
    this.rttMs = ms;
  }

  /** What happened since the last call. */
  figures(): Figures {
    const now = performance.now();
    const { frames, bytes, at } = this.counts;
    this.counts = { frames: 0, bytes: 0, at: now };
    const seconds = Math.max(0.001, (now - at) / 1_000);
    const { width, height } = sizeOf(this.player.element);
    return {
      fps: frames / seconds,
      kbps: (bytes * 8) / 1_000 / seconds,
      jitterBufferMs: null,
      decodeMs: this.player.delayMs > 0 ? this.player.delayMs : null,
      processingMs: null,
      assemblyMs: null,
      rttMs: this.rttMs,
      lossPercent: 0,
      dropped: 0,
      freezes: 0,
      plis: 0,
      nacks: 0,
      width,
      height,
      codec: this.codec,
      decoder: this.player.name,
      path: "websocket",
    };
  }

  /** Ends it, and tells the gateway. */
  close(): void {
    window.clearTimeout(this.owed);
    this.hooks.decode(false);
    this.hooks.say({ type: "stream", codecs: [] });
    this.player.close();
  }

  private count(codec: VideoCodec, bytes: number): void {
    this.codec = codec;
    this.counts.bytes += bytes;
  }

  private ask(): void {
    window.clearTimeout(this.owed);
    const wait = this.askedAt + ASK_EVERY - performance.now();
    if (wait > 0) {
      this.owed = window.setTimeout(() => this.ask(), wait);
      return;
    }
    this.askedAt = performance.now();
    this.hooks.say({ type: "keyframe" });
  }
}

/** Size of the picture in either kind of element. */
export function sizeOf(element: HTMLCanvasElement | HTMLVideoElement): { width: number; height: number } {
  return element instanceof HTMLVideoElement
    ? { width: element.videoWidth, height: element.videoHeight }
    : { width: element.width, height: element.height };
}
