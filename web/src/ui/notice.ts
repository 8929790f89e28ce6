// The banner that says what is going to happen to the desktop.

import { nextWords, noticeKey, words, type Pending } from "../session/notice";
import { h, icon, setText, show } from "./dom";
import type { Model } from "./model";

/** Counts down until it is closed, withdrawn or due. */
export class NoticeBanner {
  readonly element: HTMLElement;
  private readonly before = h("span");
  // Screen readers say the sentence once, not every second.
  private readonly time = h("time", { role: "timer", "aria-live": "off" });
  private readonly after = h("span");
  private readonly detail = h("small");
  private notice: Pending | null = null;
  private closed = "";
  private timer: number | undefined;

  constructor(focusDesktop: () => void) {
    const close = (): void => {
      if (this.notice) this.closed = noticeKey(this.notice);
      this.draw();
      focusDesktop();
    };
    this.element = h(
      "aside",
      { class: "banner", role: "alert", hidden: true },
      icon("clock"),
      h("p", {}, h("strong", {}, this.before, this.time, this.after), this.detail),
      h("button", { type: "button", class: "tool", "aria-label": "Close", title: "Close", click: close }, icon("close")),
    );
  }

  /** Shows the state. */
  update(model: Model): void {
    const gone = model.view.kind === "login" || model.view.kind === "ended";
    this.notice = gone ? null : model.notice;
    this.draw();
  }

  private draw(): void {
    window.clearTimeout(this.timer);
    const { notice } = this;
    const shown = notice !== null && noticeKey(notice) !== this.closed;
    show(this.element, shown);
    if (!shown) return;
    const now = performance.now();
    const { before, time, after, detail } = words(notice, now);
    setText(this.before, before);
    setText(this.time, time);
    setText(this.after, after);
    setText(this.detail, detail);
    const next = nextWords(notice, now);
    if (next !== null) this.timer = window.setTimeout(() => this.draw(), next);
  }
}
