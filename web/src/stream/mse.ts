// The WebSocket's video by Media Source Extensions: for pages without HTTPS, where browsers have no WebCodecs.
//
// A media element plays by a clock; a desktop has none. Frames get times that follow each other closely, whatever
// passed between them, so that the next one is always due at once, and playback runs faster while it is behind.

import type { VideoFrameMessage } from "../wire/media";
import { codecString, lengthPrefixed, nalUnits, parameterSets } from "./avc";
import { initSegment, mediaSegment, TIMESCALE } from "./mp4";
import type { Player, PlayerHooks } from "./player";

/** Frames are at least this far apart on the element's clock, in seconds. */
const SHORTEST = 1 / 120;
/** And at most: a still screen does not make the next change wait. */
const LONGEST = 1 / 30;
/** Behind by more than this, in seconds, playback runs faster. */
const BEHIND = 0.05;
const FASTER = 2;
/** Behind by more than this there is no catching up: a jump. */
const LOST = 1;
/** Without a key frame nothing that was shown can be let go: after this many bytes one is asked for. */
const GROUP_BYTES = 16 << 20;
/** Segments that may wait for the element. */
const MAX_WAITING = 120;

type Source = typeof MediaSource;

/** What waits for the element. */
interface Segment {
  bytes: Uint8Array<ArrayBuffer>;
  /** Of an initialization segment: what it and those after it are of. */
  type: string | null;
}

/** Safari on phones has the managed kind only. */
function sourceType(): Source | null {
  const { ManagedMediaSource } = window as { ManagedMediaSource?: Source };
  return "MediaSource" in window ? MediaSource : (ManagedMediaSource ?? null);
}

/** Whether H.264 can be played this way. */
export function playable(): boolean {
  return sourceType()?.isTypeSupported('video/mp4; codecs="avc1.42e01f"') ?? false;
}

/** See the module. */
export class MsePlayer implements Player {
  readonly name = "MSE";
  readonly element = document.createElement("video");
  delayMs = 0;
  private source: MediaSource | null = null;
  private buffer: SourceBuffer | null = null;
  private waiting: Segment[] = [];
  /** What the buffer is told to expect. */
  private type = "";
  private configured = "";
  private awaitsKeyFrame = true;
  private segments = 0;
  private groupBytes = 0;
  /** When the newest key frame begins, in seconds. */
  private groupStart = 0;
  private time = 0;
  private lastUs: number | null = null;
  private closed = false;
  private url = "";

  constructor(private readonly hooks: PlayerHooks) {
    const { element } = this;
    element.muted = true;
    element.playsInline = true;
    element.disableRemotePlayback = true;
    element.onresize = () => hooks.resized();
    element.onerror = () => {
      if (!this.closed) this.hooks.failed(`The browser cannot play this video (${element.error?.message ?? "unknown"}).`);
    };
    this.watch();
  }

  push(frame: VideoFrameMessage): void {
    if (this.closed || frame.codec !== "H264" || (this.awaitsKeyFrame && !frame.keyFrame)) return;
    const nals = nalUnits(frame.unit);
    if (frame.keyFrame) {
      const sets = parameterSets(nals);
      if (sets === null) return;
      const configuration = [...sets.sps, ...sets.pps].join();
      if (configuration !== this.configured) {
        this.configured = configuration;
        const type = `video/mp4; codecs="${codecString(sets)}"`;
        this.open(type);
        this.waiting.push({ bytes: initSegment(sets), type });
      }
    }
    if (this.waiting.length > MAX_WAITING) {
      this.lost();
      return;
    }
    if (frame.keyFrame) {
      this.groupBytes = 0;
      this.groupStart = this.time / TIMESCALE;
    } else if (this.groupBytes > GROUP_BYTES) {
      this.groupBytes = 0;
      this.hooks.needsKeyFrame();
    }
    this.awaitsKeyFrame = false;
    this.groupBytes += frame.unit.length;
    const duration = this.step(frame.capturedUs);
    this.segments += 1;
    const { segments: number, time } = this;
    const bytes = mediaSegment({ number, time, duration, keyFrame: frame.keyFrame, data: lengthPrefixed(nals) });
    this.waiting.push({ bytes, type: null });
    this.time += duration;
    this.feed();
  }

  close(): void {
    this.closed = true;
    this.element.onresize = null;
    this.element.removeAttribute("src");
    this.element.load();
    URL.revokeObjectURL(this.url);
  }

  /** How long a frame is shown on the element's clock: as long as the one before it was. */
  private step(capturedUs: number): number {
    const since = this.lastUs === null ? LONGEST : (capturedUs - this.lastUs) / 1e6;
    this.lastUs = capturedUs;
    return Math.round(Math.min(LONGEST, Math.max(SHORTEST, since)) * TIMESCALE);
  }

  private open(type: string): void {
    const Type = sourceType();
    if (this.source !== null || Type === null) return;
    const source = new Type();
    this.source = source;
    this.url = URL.createObjectURL(source);
    this.element.src = this.url;
    source.onsourceopen = () => {
      if (this.closed) return;
      try {
        this.buffer = source.addSourceBuffer(type);
      } catch (error) {
        this.hooks.failed(`The browser cannot play this video (${error instanceof Error ? error.message : "unknown"}).`);
        return;
      }
      this.type = type;
      this.buffer.onupdateend = () => this.appended();
      this.feed();
    };
  }

  private feed(): void {
    const { buffer } = this;
    if (buffer === null || buffer.updating || this.source?.readyState !== "open") return;
    const next = this.waiting.shift();
    if (next === undefined) return;
    try {
      // Not before: what stood in front of it was of the other type, and a buffer that is at work takes no new one.
      if (next.type !== null && next.type !== this.type) {
        buffer.changeType(next.type);
        this.type = next.type;
      }
      buffer.appendBuffer(next.bytes);
    } catch {
      // Full, in the middle of a group: the next one lets this one go.
      if (next.type !== null) this.configured = "";
      this.lost();
    }
  }

  private appended(): void {
    if (this.closed) return;
    this.chase();
    if (!this.trim()) this.feed();
  }

  /** Brings the clock to the newest frame. */
  private chase(): void {
    const { element, buffer } = this;
    if (buffer === null || buffer.buffered.length === 0) return;
    const end = buffer.buffered.end(buffer.buffered.length - 1);
    const behind = end - element.currentTime;
    if (behind > LOST) element.currentTime = end - BEHIND;
    element.playbackRate = behind > BEHIND ? FASTER : 1;
    if (element.paused) void element.play().catch(() => undefined);
  }

  /** Takes out the groups that were shown; true if there was one. A part of a group cannot be taken out alone. */
  private trim(): boolean {
    const { buffer, element, groupStart } = this;
    if (buffer === null || buffer.updating || buffer.buffered.length === 0) return false;
    if (element.currentTime <= groupStart || buffer.buffered.start(0) >= groupStart) return false;
    buffer.remove(0, groupStart);
    return true;
  }

  private lost(): void {
    this.awaitsKeyFrame = true;
    this.hooks.needsKeyFrame();
  }

  private watch(): void {
    if (!("requestVideoFrameCallback" in HTMLVideoElement.prototype)) {
      this.element.ontimeupdate = () => this.hooks.shown();
      return;
    }
    this.element.requestVideoFrameCallback(() => {
      if (this.closed) return;
      this.watch();
      this.hooks.shown();
    });
  }
}
