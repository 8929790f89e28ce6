// PURE. What the page shows, and what people can do: the contract between the session and the UI's parts.

import type { InputEvent } from "../wire/input";
import type { Figures } from "../media/stats";
import type { Prefs } from "../prefs";
import type { View } from "../session/describe";
import type { Pending } from "../session/notice";
import type { ControlAction, Feedback, Settings, Status } from "../wire/signal";

/** Everything that is shown. */
export interface Model {
  view: View;
  /** A picture has been shown; it stays behind the panel. */
  hasPicture: boolean;
  viewer: number | null;
  mayControl: boolean;
  controlling: boolean;
  signalling: boolean;
  status: Status | null;
  /** What is going to happen to the desktop. */
  notice: Pending | null;
  settings: Settings | null;
  screen: { width: number; height: number } | null;
  exact: boolean;
  /** The video has as many pixels as the desktop. */
  fullSize: boolean;
  figures: Figures | null;
  feedback: Feedback | null;
  prefs: Prefs;
  fullscreen: boolean;
  pointerLocked: boolean;
  softKeyboard: boolean;
  /** Fingers can reach this screen. */
  touch: boolean;
  mac: boolean;
}

/** Everything that people can do. */
export interface Actions {
  retry(): void;
  leave(): void;
  settings(change: Partial<Settings>): void;
  control(action: ControlAction, viewer?: number): void;
  send(events: readonly InputEvent[]): void;
  prefs(change: Partial<Prefs>): void;
  fullscreen(): void;
  lockPointer(): void;
  softKeyboard(): void;
  /** Focus goes back to the desktop. */
  focusDesktop(): void;
}

/** A rate for people. */
export function rate(kbps: number): string {
  if (kbps >= 10_000) return `${Math.round(kbps / 1_000)} Mb/s`;
  return kbps >= 1_000 ? `${(kbps / 1_000).toFixed(1)} Mb/s` : `${Math.round(kbps)} kb/s`;
}

/** A time for people. */
export function millis(ms: number | null): string {
  if (ms === null) return "–";
  return ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
}

/** Who has keyboard and mouse, in a few words. */
export function controlText(model: Model): string {
  const { status, controlling, mayControl } = model;
  if (controlling) return "You have control";
  if (!mayControl) return "View only";
  const controller = status?.controller ?? null;
  return controller === null ? "Nobody has control" : `Viewer ${controller} has control`;
}

/** What is not as it should be, most important first. */
export function notices(model: Model): string[] {
  const { status, view, prefs } = model;
  if (view.kind !== "live") return [];
  const out: string[] = [];
  if (!model.signalling) out.push("Control connection lost; the picture goes on while it is set up anew");
  if (status?.fallback) out.push(status.fallback);
  if (status && status.message !== "") out.push(status.message);
  if (status?.tier === "low") out.push("Fewer bits: the way here carries no more");
  if (prefs.fit === "resize" && status?.canResize === false && !model.exact) {
    out.push("Scaled: this desktop cannot change its size");
  }
  return out;
}

/** The ways that media takes, for people. */
const PATHS: Readonly<Record<string, string>> = {
  udp: "UDP",
  "turn-udp": "TURN over UDP",
  "turn-tcp": "TURN over TCP",
  turns: "TURN over TLS",
  "ice-tcp": "TCP",
  websocket: "WebSocket",
};

/** The way that media takes, and the round trip. */
export function pathText(model: Model): string {
  const named = model.status?.path ?? null;
  const path = named === null ? (model.figures?.path.split(" ")[0] ?? "") : (PATHS[named] ?? named);
  const rtt = model.figures?.rttMs ?? null;
  return [path, rtt === null ? "" : `${millis(rtt)} round trip`].filter((s) => s !== "").join(" · ");
}
