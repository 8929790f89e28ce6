// Puts the parts of the UI together.

import { Menu } from "./menu";
import type { Actions, Model } from "./model";
import { NoticeBanner } from "./notice";
import { Panel } from "./panel";
import { StatsOverlay, StatusBar } from "./stats";
import { Toasts } from "./toasts";
import { Toolbar } from "./toolbar";

/** Everything around the picture. */
export class Ui {
  readonly toasts = new Toasts();
  private readonly panel: Panel;
  private readonly notice: NoticeBanner;
  private readonly toolbar: Toolbar;
  private readonly menu: Menu;
  private readonly stats = new StatsOverlay();
  private readonly bar = new StatusBar();
  private model: Model | null = null;

  constructor(root: HTMLElement, actions: Actions) {
    this.panel = new Panel(actions);
    this.notice = new NoticeBanner(() => actions.focusDesktop());
    this.menu = new Menu(actions);
    this.toolbar = new Toolbar(actions, () => this.toggleMenu(), () => actions.prefs({ stats: this.model?.prefs.stats !== true }));
    // `?ui=none`: a page that embeds the desktop brings its own controls; what is waited for, and what is
    // going to happen, is still said.
    const bare = new URLSearchParams(location.search).get("ui") === "none";
    const controls = [this.stats.element, this.bar.element, this.toolbar.element, this.menu.element, this.toasts.element];
    root.append(this.panel.element, this.notice.element, ...(bare ? [] : controls));
    const refresh = (): void => {
      if (this.model) this.bar.update(this.model, this.wanted());
    };
    new MutationObserver(refresh).observe(this.toolbar.element, { attributeFilter: ["data-open"] });
  }

  /** Opens or closes the menu. */
  toggleMenu(): void {
    if (this.menu.isOpen) this.menu.close();
    else this.menu.open(this.toolbar.menuButton);
    if (this.model) this.update(this.model);
  }

  /** Shows the toolbar for a while. */
  greet(): void {
    this.toolbar.open();
  }

  /** Shows the state. */
  update(model: Model): void {
    this.model = model;
    this.panel.update(model);
    this.notice.update(model);
    this.toolbar.update(model);
    this.menu.update(model);
    this.stats.update(model);
    this.bar.update(model, this.wanted());
  }

  private wanted(): boolean {
    return this.menu.isOpen || this.toolbar.element.hasAttribute("data-open");
  }
}
