// The statistics overlay and the status bar.

import { h, setText, show } from "./dom";
import { millis, notices, pathText, rate, type Model } from "./model";

const ROWS = [
  "Picture",
  "Frames",
  "Bitrate",
  "Jitter buffer",
  "Decoding",
  "Processing",
  "Arrival to picture",
  "Phase",
  "Round trip",
  "Losses",
  "Codec",
  "Encoder",
  "Path",
] as const;

/** Figures for those who want to know. */
export class StatsOverlay {
  readonly element: HTMLElement;
  private readonly cells = new Map<string, HTMLElement>();

  constructor() {
    const rows = ROWS.map((name) => {
      const cell = h("td");
      this.cells.set(name, cell);
      return h("tr", {}, h("th", { scope: "row" }, name), cell);
    });
    this.element = h("div", { class: "stats", role: "region", "aria-label": "Statistics" }, h("table", {}, h("tbody", {}, ...rows)));
  }

  /** Shows the state. */
  update(model: Model): void {
    show(this.element, model.prefs.stats);
    if (!model.prefs.stats) return;
    for (const [name, text] of Object.entries(statsText(model))) {
      const cell = this.cells.get(name);
      if (cell) setText(cell, text);
    }
  }
}

function statsText(model: Model): Record<(typeof ROWS)[number], string> {
  const { figures, feedback, status } = model;
  const scale = !model.fullSize ? "reduced by the encoder" : model.exact ? "1:1" : "scaled";
  return {
    Picture: figures ? `${figures.width} × ${figures.height}, ${scale}` : "–",
    Frames: figures ? `${figures.fps.toFixed(figures.fps < 10 ? 1 : 0)}/s${figures.dropped > 0 ? `, ${figures.dropped} dropped` : ""}` : "–",
    Bitrate: figures ? rate(figures.kbps) : "–",
    "Jitter buffer": millis(figures?.jitterBufferMs ?? null),
    Decoding: millis(figures?.decodeMs ?? null),
    Processing: millis(figures?.processingMs ?? null),
    "Arrival to picture": millis(feedback?.decodeMs ?? null),
    Phase: feedback ? `${feedback.slackMs.toFixed(1)} ± ${(feedback.jitterMs / 2).toFixed(1)} of ${feedback.intervalMs.toFixed(1)} ms` : "–",
    "Round trip": millis(figures?.rttMs ?? null),
    Losses: figures ? `${figures.lossPercent.toFixed(1)} %, ${figures.freezes} freezes, ${figures.plis} PLI` : "–",
    Codec: [status?.codec ?? figures?.codec ?? "–", figures?.decoder ?? ""].filter((s) => s !== "").join(" · "),
    Encoder: [status?.encoder ?? "–", status?.tier === "low" ? "low tier" : ""].filter((s) => s !== "").join(" · "),
    Path: figures?.path ?? status?.path ?? "–",
  };
}

/** One line at the bottom edge: what is amiss, and the way that media takes. */
export class StatusBar {
  readonly element: HTMLElement;
  private readonly left = h("span", { class: "notice" });
  private readonly right = h("span", { class: "path" });

  constructor() {
    this.element = h("footer", { class: "statusbar", role: "status" }, this.left, this.right);
  }

  /** Shows the state; `wanted` while the toolbar or the menu is open. */
  update(model: Model, wanted: boolean): void {
    const [notice = ""] = notices(model);
    const urgent = model.view.kind === "live" && !model.signalling;
    show(this.element, model.view.kind === "live" && (wanted || urgent));
    setText(this.left, notice);
    const codec = [model.status?.codec, model.status?.encoder].filter((s) => s !== null && s !== undefined).join(" · ");
    setText(this.right, [codec, pathText(model)].filter((s) => s !== "").join(" · "));
  }
}
