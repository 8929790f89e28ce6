// The card over the picture while it is not live.

import { spans } from "../session/describe";
import { h, icon, logo, setAttribute, setText, show } from "./dom";
import type { Actions, Model } from "./model";

/** "Copied" stands this long, milliseconds. */
const COPIED = 2_000;

/** Says what is being waited for, or what to do. */
export class Panel {
  readonly element: HTMLElement;
  private readonly title = h("h1");
  private readonly detail = h("p");
  private readonly hint = h("div", { class: "hint" });
  private readonly button: HTMLButtonElement;
  private readonly progress = h("div", { class: "progress", role: "progressbar", "aria-label": "Working" }, h("i"));
  private hinted = "";

  constructor(actions: Actions) {
    this.button = h("button", { type: "button", class: "primary", click: () => actions.retry() });
    const badge = h("div", { class: "badge" }, icon("key"));
    this.element = h(
      "section",
      { class: "panel", role: "status" },
      h(
        "div",
        { class: "card" },
        h("div", { class: "brand" }, logo(), "Deskgate"),
        badge,
        this.title,
        this.hint,
        this.detail,
        this.progress,
        this.button,
      ),
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
    this.showHint(view.hint);
    show(this.progress, view.busy);
    setText(this.button, view.action ?? "");
    show(this.button, view.action !== null);
  }

  private showHint(hint: string): void {
    show(this.hint, hint !== "");
    if (hint === this.hinted) return;
    this.hinted = hint;
    this.hint.replaceChildren(...spans(hint).map(({ text, code }) => (code ? command(text) : h("span", {}, text))));
  }
}

/** Something to type elsewhere, with a button that copies it where the browser lets a page copy. */
function command(text: string): HTMLElement {
  const line = h("span", { class: "command" }, h("code", {}, text));
  // Absent on a page without HTTPS; a click selects the whole command there.
  const clipboard = navigator.clipboard as Clipboard | undefined;
  if (!clipboard) return line;
  const copy = h("button", {
    type: "button",
    class: "small",
    click: () => {
      const said = (word: string): void => {
        setText(copy, word);
        window.setTimeout(() => setText(copy, "Copy"), COPIED);
      };
      clipboard.writeText(text).then(() => said("Copied"), () => said("Not allowed"));
    },
  }, "Copy");
  line.append(copy);
  return line;
}
