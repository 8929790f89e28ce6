// The slim handle at the top edge, and what it opens.

import { h, icon, setAttribute, setText, show, type Icon } from "./dom";
import { controlText, millis, type Actions, type Model } from "./model";

/** Stays open this long after the pointer has left, milliseconds. */
const LINGER = 1_800;

/** The bar. `menu` opens the drawer. */
export class Toolbar {
  readonly element: HTMLElement;
  readonly menuButton: HTMLButtonElement;
  private readonly handle: HTMLButtonElement;
  private readonly state = h("span", { class: "state" });
  private readonly rtt = h("span", { class: "rtt" });
  private readonly buttons: Record<"fullscreen" | "lock" | "keyboard" | "stats", HTMLButtonElement>;
  private timer: number | undefined;

  constructor(
    actions: Actions,
    menu: () => void,
    private readonly stats: () => void,
  ) {
    const button = (label: string, name: Icon, run: () => void): HTMLButtonElement =>
      h("button", { type: "button", class: "tool", "aria-label": label, title: label, click: run }, icon(name));
    this.menuButton = button("Menu (Ctrl+Alt+Shift+M)", "menu", menu);
    this.menuButton.setAttribute("aria-haspopup", "dialog");
    this.buttons = {
      stats: button("Statistics", "stats", () => this.stats()),
      keyboard: button("Keyboard", "keyboard", () => actions.softKeyboard()),
      lock: button("Lock the pointer to the desktop (Esc frees it)", "lock", () => actions.lockPointer()),
      fullscreen: button("Full screen", "fullscreen", () => actions.fullscreen()),
    };
    this.handle = h("button", { type: "button", class: "handle", "aria-label": "Show the toolbar", click: () => this.open() }, h("i"));
    const { stats: statistics, keyboard, lock, fullscreen } = this.buttons;
    this.element = h(
      "header",
      { class: "toolbar", "aria-label": "Deskgate" },
      h("div", { class: "bar" }, this.menuButton, h("div", { class: "where" }, this.state, this.rtt), statistics, keyboard, lock, fullscreen),
      this.handle,
    );
    this.listen();
  }

  /** Shows the bar for a while. */
  open(): void {
    setAttribute(this.element, "data-open", "");
    this.close(LINGER * 2);
  }

  /** Shows the state. */
  update(model: Model): void {
    const live = model.view.kind === "live";
    show(this.element, live || model.view.kind === "waiting" || model.view.kind === "reconnecting");
    setAttribute(this.element, "data-kind", live && !model.controlling ? "watching" : model.view.kind);
    if (model.pointerLocked) setAttribute(this.element, "data-open", null);
    setText(this.state, live ? controlText(model) : model.view.title);
    setText(this.rtt, live && model.figures ? millis(model.figures.rttMs) : "");
    show(this.buttons.keyboard, model.touch);
    show(this.buttons.lock, !model.touch);
    show(this.buttons.fullscreen, document.fullscreenEnabled);
    setAttribute(this.buttons.stats, "aria-pressed", String(model.prefs.stats));
    setAttribute(this.buttons.keyboard, "aria-pressed", String(model.softKeyboard));
    setAttribute(this.buttons.fullscreen, "aria-pressed", String(model.fullscreen));
  }

  private listen(): void {
    const { element } = this;
    // The desktop keeps the keyboard while a button is pressed with the mouse.
    element.addEventListener("mousedown", (event) => event.preventDefault());
    element.addEventListener("pointerenter", ({ pointerType }) => {
      // A finger's click comes later: by then the handle must not be gone, or what lies beneath is clicked.
      if (pointerType === "touch") return;
      window.clearTimeout(this.timer);
      setAttribute(element, "data-open", "");
    });
    element.addEventListener("pointerleave", () => this.close(LINGER));
  }

  private close(after: number): void {
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => {
      if (!this.element.matches(":focus-within, :hover")) setAttribute(this.element, "data-open", null);
    }, after);
  }
}
