// The drawer: picture, keyboard, people, view.

import { SHORTCUTS } from "../input/shortcuts";
import { h, icon, setAttribute, setText, show } from "./dom";
import { rate, type Actions, type Model } from "./model";
import { People } from "./people";

const QUALITIES: readonly (readonly [kbps: number, label: string])[] = [
  [1_500, "Saving data"],
  [4_000, "Balanced"],
  [8_000, "High"],
  [16_000, "Very high"],
  [40_000, "Best"],
];
const LIMITS = [15, 30, 60, 120, 144, 240];

/** A dialog at the right edge; not modal, so that the desktop stays in sight. */
export class Menu {
  readonly element: HTMLElement;
  private readonly quality: HTMLSelectElement;
  private readonly limit: HTMLSelectElement;
  private readonly note = h("p", { class: "note" });
  private readonly fits: Record<"resize" | "scale", HTMLButtonElement>;
  private readonly fitNote = h("p", { class: "note" });
  private readonly keys: HTMLElement;
  private readonly toggles: Record<"stats" | "trackpad" | "cmd" | "lock" | "fullscreen", HTMLButtonElement>;
  private readonly people: People;
  private opener: HTMLElement | null = null;

  constructor(private readonly actions: Actions) {
    const number = (event: Event): number => Number((event.currentTarget as HTMLSelectElement).value);
    this.quality = h("select", { id: "quality", change: (event) => actions.settings({ bitrateKbps: number(event) }) });
    this.limit = h("select", { id: "limit", change: (event) => actions.settings({ fps: number(event) }) });
    this.fits = {
      resize: choice("Match window", () => actions.prefs({ fit: "resize" })),
      scale: choice("Scale picture", () => actions.prefs({ fit: "scale" })),
    };
    this.toggles = this.makeToggles();
    this.keys = h(
      "div",
      { class: "keys" },
      ...SHORTCUTS.map(({ label, events }) =>
        h("button", { type: "button", class: "key", "aria-label": `Send ${label}`, click: () => actions.send(events) }, label),
      ),
    );
    this.people = new People(actions);
    this.element = this.build();
    this.element.hidden = true;
    this.element.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.close();
    });
  }

  get isOpen(): boolean {
    return !this.element.hidden;
  }

  /** Opens, with the keyboard's focus inside; `opener` says so to screen readers. */
  open(opener: HTMLElement): void {
    this.opener = opener;
    opener.setAttribute("aria-expanded", "true");
    show(this.element, true);
    this.element.querySelector<HTMLElement>("button")?.focus();
  }

  /** Closes and gives the keyboard back to the desktop. */
  close(): void {
    this.opener?.setAttribute("aria-expanded", "false");
    show(this.element, false);
    this.actions.focusDesktop();
  }

  /** Shows the state. */
  update(model: Model): void {
    if (!this.isOpen) return;
    const { settings, prefs, status } = model;
    const may = model.controlling;
    if (settings) {
      options(this.quality, QUALITIES.map(([kbps, label]) => [kbps, `${label} · ${rate(kbps)}`]), settings.bitrateKbps, rate);
      options(this.limit, LIMITS.map((fps) => [fps, `${fps} frames/s`]), settings.fps, (fps) => `${fps} frames/s`);
    }
    this.quality.disabled = this.limit.disabled = !may || settings === null;
    setText(this.note, "Whoever has control sets these for everyone.");
    show(this.note, !may);
    for (const fit of ["resize", "scale"] as const) setAttribute(this.fits[fit], "aria-pressed", String(prefs.fit === fit));
    setText(this.fitNote, fitText(model));
    show(this.fitNote, fitText(model) !== "");
    this.keys.querySelectorAll("button").forEach((button) => (button.disabled = !may));
    setAttribute(this.toggles.stats, "aria-checked", String(prefs.stats));
    setAttribute(this.toggles.trackpad, "aria-checked", String(prefs.touch === "trackpad"));
    setAttribute(this.toggles.cmd, "aria-checked", String(prefs.cmdIsControl));
    setAttribute(this.toggles.fullscreen, "aria-checked", String(model.fullscreen));
    setAttribute(this.toggles.lock, "aria-checked", String(model.pointerLocked));
    show(this.toggles.trackpad, model.touch);
    show(this.toggles.cmd, model.mac);
    show(this.toggles.lock, !model.touch);
    show(this.toggles.fullscreen, document.fullscreenEnabled);
    this.people.update(model, status);
  }

  private makeToggles(): Menu["toggles"] {
    const { actions } = this;
    const flip = (name: keyof Menu["toggles"]): boolean => this.toggles[name].getAttribute("aria-checked") !== "true";
    return {
      fullscreen: toggle("Full screen", () => actions.fullscreen()),
      lock: toggle("Lock the pointer (Esc frees it)", () => {
        this.close();
        actions.lockPointer();
      }),
      trackpad: toggle("Use the screen as a trackpad", () => actions.prefs({ touch: flip("trackpad") ? "trackpad" : "direct" })),
      cmd: toggle("⌘ acts as Ctrl", () => actions.prefs({ cmdIsControl: flip("cmd") })),
      stats: toggle("Statistics", () => actions.prefs({ stats: flip("stats") })),
    };
  }

  private build(): HTMLElement {
    const section = (title: string, ...children: HTMLElement[]): HTMLElement => h("section", {}, h("h2", {}, title), ...children);
    const field = (label: string, control: HTMLElement): HTMLElement =>
      h("div", { class: "field" }, h("label", { for: control.id }, label), control);
    const close = h("button", { type: "button", class: "tool", "aria-label": "Close the menu", click: () => this.close() }, icon("close"));
    const { fullscreen, lock, trackpad, cmd, stats } = this.toggles;
    return h(
      "aside",
      { class: "menu", role: "dialog", "aria-label": "Menu" },
      h("div", { class: "menu-head" }, h("strong", {}, "Deskgate"), close),
      section(
        "Picture",
        field("Quality", this.quality),
        field("Frame limit", this.limit),
        this.note,
        h("div", { class: "segments", role: "group", "aria-label": "Size" }, this.fits.resize, this.fits.scale),
        this.fitNote,
      ),
      section("Send keys", this.keys),
      section("People", this.people.element),
      section("This browser", fullscreen, lock, trackpad, cmd, stats),
      h("button", { type: "button", class: "leave", click: () => this.actions.leave() }, icon("leave"), "Disconnect"),
      h("p", { class: "note" }, "Ctrl+Alt+Shift+M opens this menu from the keyboard."),
    );
  }
}

function choice(label: string, click: () => void): HTMLButtonElement {
  return h("button", { type: "button", click }, label);
}

function toggle(label: string, click: () => void): HTMLButtonElement {
  return h("button", { type: "button", class: "toggle", role: "switch", click }, h("span", {}, label), h("i"));
}

function fitText(model: Model): string {
  const { screen, status, prefs } = model;
  if (!screen) return "";
  const size = `${screen.width} × ${screen.height}`;
  if (model.exact) return `${size}, pixel for pixel.`;
  if (prefs.fit === "scale") return `${size}, scaled.`;
  if (status?.canResize === false) return `${size}, scaled: this desktop cannot change its size.`;
  return model.controlling ? `${size}, scaled until the desktop has followed.` : `${size}, scaled: it follows the window of the one in control.`;
}

/** Fills a select once, with the present value added if it is none of the usual ones. */
function options(
  select: HTMLSelectElement,
  usual: readonly (readonly [value: number, label: string])[],
  present: number,
  label: (value: number) => string,
): void {
  const all = usual.some(([value]) => value === present) ? usual : [...usual, [present, label(present)] as const];
  const wanted = all.map(([value]) => value).join();
  if (select.dataset.values !== wanted) {
    select.dataset.values = wanted;
    const sorted = all.toSorted(([a], [b]) => a - b);
    select.replaceChildren(...sorted.map(([value, text]) => h("option", { value }, text)));
  }
  if (document.activeElement !== select || select.value === "") select.value = String(present);
}
