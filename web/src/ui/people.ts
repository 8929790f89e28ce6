// Who is here, and who has keyboard and mouse.

import type { Status } from "../wire/signal";
import { h, setText, show } from "./dom";
import { controlText, type Actions, type Model } from "./model";

/** The list and its buttons. */
export class People {
  readonly element: HTMLElement;
  private readonly summary = h("p", { class: "summary" });
  private readonly list = h("ul", { class: "people" });
  private readonly take: HTMLButtonElement;
  private readonly ask: HTMLButtonElement;
  private readonly release: HTMLButtonElement;
  private shown = "";

  constructor(private readonly actions: Actions) {
    const button = (label: string, click: () => void): HTMLButtonElement => h("button", { type: "button", class: "secondary", click }, label);
    this.take = button("Take control", () => actions.control("take"));
    this.ask = button("Ask for control", () => actions.control("request"));
    this.release = button("Give up control", () => actions.control("release"));
    this.element = h("div", {}, this.summary, this.list, h("div", { class: "row" }, this.ask, this.take, this.release));
  }

  /** Shows the state. */
  update(model: Model, status: Status | null): void {
    const taken = status?.controller !== null && status?.controller !== undefined;
    setText(this.summary, controlText(model));
    show(this.take, model.mayControl && !model.controlling);
    show(this.ask, !model.controlling && taken);
    show(this.release, model.controlling);
    const viewers = status?.viewers ?? [];
    const key = JSON.stringify([viewers, status?.controller, model.viewer, model.controlling]);
    if (key === this.shown) return;
    this.shown = key;
    this.list.replaceChildren(...viewers.map((viewer) => this.row(model, viewer, viewer.viewer === status?.controller)));
  }

  private row(model: Model, { viewer, rights, visible }: Status["viewers"][number], controls: boolean): HTMLElement {
    const me = viewer === model.viewer;
    const what = controls ? "has control" : rights.includes("control") ? "may control" : "view only";
    const give =
      model.controlling && !me && rights.includes("control")
        ? h("button", { type: "button", class: "small", click: () => this.actions.control("grant", viewer) }, "Give control")
        : null;
    return h(
      "li",
      { class: controls ? "controls" : "" },
      h("span", { class: "avatar", "aria-hidden": "true" }, String(viewer)),
      h("span", { class: "who" }, `Viewer ${viewer}${me ? " (you)" : ""}`, h("small", {}, visible ? what : `${what} · away`)),
      give,
    );
  }
}
