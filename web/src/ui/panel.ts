// The card over the picture while it is not live.

import { h, logo, setAttribute, setText, show } from "./dom";
import type { Actions, Model } from "./model";

/** Says what is being waited for, or what to do. */
export class Panel {
  readonly element: HTMLElement;
  private readonly title = h("h1");
  private readonly detail = h("p");
  private readonly button: HTMLButtonElement;
  private readonly progress = h("div", { class: "progress", role: "progressbar", "aria-label": "Working" }, h("i"));

  constructor(actions: Actions) {
    this.button = h("button", { type: "button", class: "primary", click: () => actions.retry() });
    this.element = h(
      "section",
      { class: "panel", role: "status" },
      h("div", { class: "card" }, h("div", { class: "brand" }, logo(), "Deskgate"), this.title, this.detail, this.progress, this.button),
    );
  }

  /** Shows the state. */
  update(model: Model): void {
    const { view } = model;
    show(this.element, view.kind !== "live");
    setAttribute(this.element, "data-kind", view.kind);
    setAttribute(this.element, "data-over", model.hasPicture ? "picture" : null);
    setText(this.title, view.title);
    setText(this.detail, view.detail);
    show(this.progress, view.busy);
    setText(this.button, view.action ?? "");
    show(this.button, view.action !== null);
  }
}
