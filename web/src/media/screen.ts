// The <video> element: which stream it shows, when its frames are presented, how fast the display ticks.

import type { Feedback } from "../wire/signal";
import { Attention } from "./attention";
import { displayInterval, Phase } from "./phase";

/** The display is measured anew this often while frames flow, milliseconds. */
const MEASURE_EVERY = 20_000;
const TICKS = 28;
/** Frames closer than this make a motion. */
const FLOWING = 60;
/** The count of frames is looked at this often, milliseconds. */
const LOOK_EVERY = 250;

/** What the element tells its owner. */
export interface ScreenHooks {
  /** A frame of this peer connection was presented. */
  frame(generation: number): void;
  feedback(feedback: Feedback): void;
  /** The decoded picture has another size. */
  resized(): void;
}

/** Shows the newest stream and watches its frames. */
export class Screen {
  /** The last report that was made, for the statistics. */
  lastFeedback: Feedback | null = null;
  rttMs = 0;
  private generation = 0;
  private phase = new Phase();
  private interval: number | null = null;
  private measuredAt = -Infinity;
  private measuring = false;
  private lastTick = -Infinity;
  private callback: number | null = null;
  private attention = new Attention(-Infinity);

  constructor(
    readonly video: HTMLVideoElement,
    private readonly hooks: ScreenHooks,
  ) {
    video.addEventListener("resize", () => hooks.resized());
    window.setInterval(() => this.look(), LOOK_EVERY);
  }

  /** Size of the decoded picture; 0×0 before the first. */
  get frame(): { width: number; height: number } {
    return { width: this.video.videoWidth, height: this.video.videoHeight };
  }

  /** When the last frame was presented. */
  get lastFrameAt(): number {
    return this.lastTick;
  }

  /** Shows `track`. While it does not flow yet, an older picture stays. */
  show(track: MediaStreamTrack, generation: number, flowing: boolean): void {
    if (generation === this.generation || (!flowing && this.video.srcObject !== null)) return;
    this.generation = generation;
    this.phase = new Phase();
    this.attention = new Attention(performance.now());
    this.unwatch();
    this.video.srcObject = new MediaStream([track]);
    void this.video.play().catch(() => undefined);
    this.watch(generation);
  }

  private watch(generation: number): void {
    if (!("requestVideoFrameCallback" in HTMLVideoElement.prototype)) {
      this.video.ontimeupdate = () => {
        this.lastTick = performance.now();
        this.hooks.frame(generation);
      };
      return;
    }
    this.callback = this.video.requestVideoFrameCallback((now, metadata) => {
      this.watch(generation);
      this.presented(generation, now, metadata);
    });
  }

  private unwatch(): void {
    if (this.callback !== null) this.video.cancelVideoFrameCallback(this.callback);
    this.callback = null;
  }

  /** Takes frames one by one, or only counts them: see `Attention`. */
  private look(): void {
    if (this.video.srcObject === null || !("requestVideoFrameCallback" in HTMLVideoElement.prototype)) return;
    const now = performance.now();
    const total = this.video.getVideoPlaybackQuality().totalVideoFrames;
    const { watch, seen } = this.attention.look(total, now);
    if (seen && this.callback === null) {
      this.lastTick = now;
      this.hooks.frame(this.generation);
    }
    if (!watch) this.unwatch();
    else if (this.callback === null) this.watch(this.generation);
  }

  private presented(generation: number, now: number, metadata: VideoFrameCallbackMetadata): void {
    const flowing = now - this.lastTick < FLOWING;
    this.lastTick = now;
    this.attention.frame(now);
    this.hooks.frame(generation);
    if (flowing && now - this.measuredAt > MEASURE_EVERY) this.measure();
    const received = metadata.receiveTime;
    if (received === undefined) return;
    const seconds = metadata.processingDuration;
    const processing = seconds === undefined ? undefined : seconds * 1_000;
    const times = { tick: now, received, presented: metadata.presentationTime, processing };
    const feedback = this.phase.frame(times, this.interval, this.rttMs);
    if (feedback === null) return;
    this.lastFeedback = feedback;
    this.hooks.feedback(feedback);
  }

  /**
   * A short burst of animation frames. Never all the time: they would keep the browser's compositor
   * ticking, and a frame on a still screen is shown at once only while it sleeps.
   */
  private measure(): void {
    if (this.measuring) return;
    this.measuring = true;
    const ticks: number[] = [];
    const tick = (now: number): void => {
      ticks.push(now);
      if (ticks.length < TICKS) {
        requestAnimationFrame(tick);
        return;
      }
      this.measuring = false;
      const interval = displayInterval(ticks);
      // Tried again soon where the machine was too busy to tell.
      this.measuredAt = performance.now() - (interval === null ? MEASURE_EVERY - 1_000 : 0);
      this.interval = interval ?? this.interval;
    };
    requestAnimationFrame(tick);
  }
}
