// Short messages that go by themselves.

import { h } from "./dom";

const MOST = 4;
const STAY = 6_000;
const STAY_WITH_ACTION = 20_000;

/** The stack of messages. */
export class Toasts {
  readonly element = h("div", { class: "toasts", role: "log", "aria-live": "polite" });

  /** Shows a message, with at most one thing to do about it. The same message again replaces the first. */
  show(text: string, action?: { label: string; run: () => void }): void {
    this.remove((toast) => toast.dataset.text === text);
    const toast = h("div", { class: "toast", "data-text": text, "data-action": action?.label ?? null }, h("span", {}, text));
    const button = (label: string, run?: () => void): HTMLButtonElement =>
      h("button", {
        type: "button",
        click: () => {
          run?.();
          toast.remove();
        },
      }, label);
    if (action) toast.append(button(action.label, action.run), button("Not now"));
    this.element.append(toast);
    while (this.element.childElementCount > MOST) this.element.firstElementChild?.remove();
    window.setTimeout(() => toast.remove(), action ? STAY_WITH_ACTION : STAY);
  }

  /** Takes messages away whose button says `label`: it would do nothing any more. */
  dismiss(label: string): void {
    this.remove((toast) => toast.dataset.action === label);
  }

  private remove(which: (toast: HTMLElement) => boolean): void {
    for (const toast of this.element.querySelectorAll<HTMLElement>(".toast")) if (which(toast)) toast.remove();
  }
}
