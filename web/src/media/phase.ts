// PURE. When frames arrive against the display's ticks: what the gateway's phase lock needs.

import type { Feedback } from "../wire/signal";

/** One presented frame; milliseconds of `performance.now()`. */
export interface FrameTimes {
  /** The tick that showed it: `now` of requestVideoFrameCallback. */
  tick: number;
  /** When its last packet arrived: `receiveTime`. */
  received: number;
  /** When it was handed to the compositor: `presentationTime`. Not everywhere: some browsers mean the tick by it. */
  presented: number;
  /** How long it was being decoded: `processingDuration`, if the browser tells. */
  processing: number | undefined;
}

/** From a decoded frame to the compositor. */
const HANDOVER = 1;

const MIN_FRAMES = 8;
/** A report holds about this many frames. */
const FULL = 20;
const MAX_FRAMES = 256;
const REPORT_EVERY = 1_000;
/** Frames further apart than this do not make a motion: their phase means nothing. Milliseconds. */
const MAX_GAP = 120;

/** Display interval from the times of consecutive animation frames; null if they are too few or too uneven. */
export function displayInterval(ticks: readonly number[]): number | null {
  const deltas = ticks.slice(1).map((t, i) => t - (ticks[i] ?? t));
  if (deltas.length < MIN_FRAMES) return null;
  const interval = quantile(deltas, 0.5);
  const plausible = interval >= 2 && interval <= 110;
  const even = quantile(deltas, 0.75) - quantile(deltas, 0.25) <= interval * 0.25;
  return plausible && even ? interval : null;
}

/** Median and p90 − p10 of times that wrap at `interval`. */
export function circular(values: readonly number[], interval: number): { median: number; spread: number } {
  let sin = 0;
  let cos = 0;
  for (const value of values) {
    const angle = (2 * Math.PI * value) / interval;
    sin += Math.sin(angle);
    cos += Math.cos(angle);
  }
  const centre = (Math.atan2(sin, cos) / (2 * Math.PI)) * interval;
  // Unrolled around the centre, values on both sides of the wrap lie next to each other.
  const unrolled = values.map((value) => centre + wrap(value - centre + interval / 2, interval) - interval / 2);
  return {
    median: wrap(quantile(unrolled, 0.5), interval),
    spread: quantile(unrolled, 0.9) - quantile(unrolled, 0.1),
  };
}

function wrap(value: number, interval: number): number {
  return value - Math.floor(value / interval) * interval;
}

/** The `q` quantile, 0..1, with linear interpolation; 0 for no values. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (sorted.length - 1) * q;
  const low = sorted[Math.floor(at)] ?? 0;
  const high = sorted[Math.ceil(at)] ?? low;
  return low + (high - low) * (at - Math.floor(at));
}

/** Gathers frames and makes a report of them about once a second while they flow. */
export class Phase {
  private frames: FrameTimes[] = [];
  private lastReport = -Infinity;

  /** Takes a frame; gives a report when one is due and `intervalMs` is known. */
  frame(frame: FrameTimes, intervalMs: number | null, rttMs: number): Feedback | null {
    const last = this.frames.at(-1);
    if (last && frame.tick - last.tick > MAX_GAP) this.frames = [];
    if (this.frames.length === 0) this.lastReport = Math.max(this.lastReport, frame.tick - REPORT_EVERY / 2);
    this.frames.push(frame);
    if (this.frames.length > MAX_FRAMES) this.frames.shift();
    const elapsed = frame.tick - this.lastReport;
    const due = elapsed >= REPORT_EVERY ? this.frames.length >= MIN_FRAMES : elapsed >= REPORT_EVERY / 4 && this.frames.length >= FULL;
    if (!due || intervalMs === null) return null;
    const report = feedback(this.frames, intervalMs, rttMs);
    this.frames = [];
    this.lastReport = frame.tick;
    return report;
  }
}

/** From arrival to the decoded picture. */
function ready({ received, presented, processing }: FrameTimes): number {
  return Math.min(presented - received, (processing ?? Infinity) + HANDOVER);
}

/** The report of these frames. */
export function feedback(frames: readonly FrameTimes[], intervalMs: number, rttMs: number): Feedback {
  const waits = frames.map((frame) => wrap(frame.tick - frame.received, intervalMs));
  const { median, spread } = circular(waits, intervalMs);
  return {
    intervalMs,
    slackMs: median,
    jitterMs: spread,
    frames: frames.length,
    decodeMs: Math.max(0, quantile(frames.map(ready), 0.5)),
    rttMs,
  };
}
