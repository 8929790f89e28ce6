// Wires the parts of the page together.

import { Desk } from "./input/desk";
import { Outbox } from "./input/outbox";
import { platformOf } from "./input/platform";
import { Screen } from "./media/screen";
import type { Figures } from "./media/stats";
import { loadPrefs, savePrefs, type Prefs } from "./prefs";
import { keepTicket, takeTicket, takeToken } from "./session/access";
import { describe } from "./session/describe";
import { Driver } from "./session/driver";
import type { Actions, Model } from "./ui/model";
import { Ui } from "./ui/ui";
import { Stage } from "./view/stage";
import type { InputEvent } from "./wire/input";
import type { ControlAction, Rect, ServerMessage, Viewport } from "./wire/signal";

/** The window has to stand still for this long before the gateway hears of its size, milliseconds. */
const SETTLE = 150;
/** Frames are reported to the session at most this often, milliseconds. */
const FRAME_REPORT = 200;
/** Control is asked for by touching the desktop at most this often, milliseconds. */
const REFUSAL_PAUSE = 2_000;
const GIVE = "Give control";

interface KeyboardLock {
  lock(): Promise<void>;
  unlock(): void;
}

function element<T extends HTMLElement>(id: string, type: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`index.html lacks #${id}`);
  return found;
}

/** The page. */
export class App {
  private readonly prefs: Prefs = loadPrefs();
  private readonly platform = platformOf(navigator.platform, navigator.userAgent, navigator.maxTouchPoints);
  private readonly screen: Screen;
  private readonly stage: Stage;
  private readonly driver: Driver;
  private readonly desk: Desk;
  private readonly ui: Ui;
  private readonly audio = element("audio", HTMLAudioElement);
  private figures: Figures | null = null;
  private softKeyboard = false;
  private hasPicture = false;
  private refreshing = false;
  private settle: number | undefined;
  private sentViewport = "";
  private frameReported = { generation: -1, at: 0 };
  private refusedAt = -Infinity;
  private wasControlling = false;
  private wasLive = false;

  constructor() {
    const video = element("video", HTMLVideoElement);
    const stage = element("stage", HTMLElement);
    this.stage = new Stage(
      stage,
      element("picture", HTMLElement),
      video,
      element("still", HTMLCanvasElement),
      element("pointer", HTMLImageElement),
      element("other", HTMLElement),
    );
    this.screen = new Screen(video, {
      frame: (generation) => this.frame(generation),
      feedback: (feedback) => this.driver.say({ type: "feedback", ...feedback }),
      resized: () => this.place(),
    });
    this.driver = this.makeDriver();
    const outbox = new Outbox(this.driver.lanes);
    this.desk = this.makeDesk(stage, outbox);
    this.ui = new Ui(element("ui", HTMLElement), this.actions());
    this.listen();
  }

  /** Begins. */
  start(): void {
    this.driver.start(takeToken());
    if (this.platform !== "mobile") this.desk.focus();
  }

  /** For tests: how things stand. */
  state(): Readonly<Record<string, unknown>> {
    const { session } = this.driver;
    return structuredClone({
      view: describe(session),
      stage: session.stage,
      generation: session.currentGeneration,
      peer: session.peerState,
      streaming: session.streaming,
      signalling: session.signalling,
      controlling: session.controlling,
      facts: { ...session.facts, ticket: null },
      layout: this.stage.layout,
    });
  }

  /** For tests: the figures of the last interval. */
  stats(): Readonly<Record<string, unknown>> {
    return structuredClone({ figures: this.figures, feedback: this.screen.lastFeedback });
  }

  private makeDriver(): Driver {
    return new Driver(takeTicket(), {
      viewport: () => this.viewport(),
      changed: () => this.refresh(),
      peerEnds: () => {
        if (this.stage.overlaid) return;
        this.stage.freeze();
        this.figures = null;
      },
      stream: (element, replaced) => this.showStream(element, replaced),
      streamFrame: () => this.streamFrame(),
      resized: () => this.place(),
      message: (message) => this.message(message),
      video: (track, generation, flowing) => this.screen.show(track, generation, flowing),
      audio: (track) => {
        this.audio.srcObject = new MediaStream([track]);
        void this.audio.play().catch(() => undefined);
      },
      stats: (figures) => {
        this.figures = figures;
        this.screen.rttMs = figures.rttMs ?? 0;
        this.refresh();
      },
      lastFrameAt: () => this.screen.lastFrameAt,
    });
  }

  private makeDesk(stage: HTMLElement, outbox: Outbox): Desk {
    const { session } = this.driver;
    return new Desk(
      stage,
      element("field", HTMLTextAreaElement),
      {
        allowed: () => session.controlling,
        refused: () => this.refused(),
        send: (event) => {
          if (session.controlling) outbox.send(event, performance.now());
        },
        layout: () => this.stage.layout,
        heartbeatMs: () => session.facts.heartbeatMs,
        pointer: (at) => this.stage.showPointer(session.controlling ? at : null),
        menu: () => this.ui.toggleMenu(),
        softKeyboard: (open) => {
          this.softKeyboard = open;
          this.liftPicture();
          this.refresh();
        },
      },
      { platform: this.platform, cmdIsControl: this.prefs.cmdIsControl, touch: this.prefs.touch },
    );
  }

  private actions(): Actions {
    const { driver, desk } = this;
    return {
      retry: () => driver.feed({ kind: "retry" }),
      leave: () => driver.leave(),
      settings: (change) => driver.say({ type: "settings", ...change }),
      control: (action, viewer) => this.control(action, viewer),
      send: (events: readonly InputEvent[]) => desk.play(events),
      prefs: (change) => this.changePrefs(change),
      fullscreen: () => void this.toggleFullscreen(),
      lockPointer: () => void desk.lockPointer().catch(() => this.ui.toasts.show("The browser did not hand over the pointer.")),
      softKeyboard: () => desk.showSoftKeyboard(!this.softKeyboard),
      focusDesktop: () => {
        if (this.platform !== "mobile") desk.focus();
      },
    };
  }

  private listen(): void {
    const resized = (): void => {
      this.place();
      window.clearTimeout(this.settle);
      this.settle = window.setTimeout(() => this.sendViewport(), SETTLE);
    };
    new ResizeObserver(resized).observe(this.stage.element);
    window.addEventListener("resize", resized);
    window.visualViewport?.addEventListener("resize", () => this.liftPicture());
    document.addEventListener("visibilitychange", () => {
      const visible = document.visibilityState === "visible";
      this.driver.say({ type: "visibility", visible });
      this.driver.feed({ kind: "visible", visible });
    });
    window.addEventListener("online", () => this.driver.feed({ kind: "online" }));
    window.addEventListener("hashchange", () => {
      const token = takeToken();
      if (token !== null) this.driver.start(token);
    });
    window.addEventListener("pagehide", () => {
      keepTicket(this.driver.session.facts.ticket);
      this.driver.unload();
    });
    window.addEventListener("pageshow", (event) => {
      if (event.persisted) location.reload();
    });
    for (const name of ["fullscreenchange", "pointerlockchange"]) document.addEventListener(name, () => this.refresh());
  }

  // --- what comes from the gateway ------------------------------------------------------------------------

  private message(message: ServerMessage): void {
    switch (message.type) {
      case "hello":
        this.sentViewport = JSON.stringify(this.viewport());
        this.place();
        return;
      case "screens":
        this.place();
        return;
      case "cursor":
        this.stage.setCursor(message);
        return;
      case "pointer":
        this.stage.showOther(this.driver.session.controlling ? null : message);
        return;
      case "locks":
        this.desk.keyboard.desktopLocks(message);
        return;
      case "controlRequest":
        this.ui.toasts.show(`Viewer ${message.viewer} asks for control.`, {
          label: GIVE,
          run: () => this.control("grant", message.viewer),
        });
        return;
      case "error":
        // The picture may come by WebRTC; where it does not, this stands in its place.
        if (message.code !== "noStream") this.ui.toasts.show(message.message);
        return;
      case "status":
        this.stage.setControlling(this.driver.session.controlling);
        return;
      default:
        return;
    }
  }

  private frame(generation: number): void {
    const now = performance.now();
    const { frameReported } = this;
    if (frameReported.generation !== generation) this.stage.thaw();
    if (frameReported.generation === generation && now - frameReported.at < FRAME_REPORT) return;
    this.frameReported = { generation, at: now };
    this.hasPicture = true;
    this.driver.feed({ kind: "media", generation, frame: true, ago: 0 });
  }

  private showStream(element: HTMLCanvasElement | HTMLVideoElement | null, replaced: boolean): void {
    if (element === null && this.stage.overlaid) {
      if (!replaced) this.stage.freeze();
      this.figures = null;
    }
    this.stage.overlay(element);
    this.place();
  }

  private streamFrame(): void {
    this.hasPicture = true;
    if (!this.stage.reveal()) return;
    this.stage.thaw();
    this.place();
  }

  // --- what people do -------------------------------------------------------------------------------------

  private control(action: ControlAction, viewer?: number): void {
    if (action === "release") this.desk.release();
    this.driver.say(viewer === undefined ? { type: "control", action } : { type: "control", action, viewer });
    if (action === "request") this.ui.toasts.show("Asked for control.");
  }

  /** Keyboard or mouse were used without control: free control is taken, taken control is explained. */
  private refused(): void {
    const { session } = this.driver;
    const now = performance.now();
    if (session.stage !== "live" || now - this.refusedAt < REFUSAL_PAUSE) return;
    this.refusedAt = now;
    const controller = session.facts.status?.controller ?? null;
    if (!session.facts.rights.includes("control")) this.ui.toasts.show("You are viewing only.");
    else if (controller === null) this.control("take");
    else {
      this.ui.toasts.show(`Viewer ${controller} has control.`, { label: "Ask for it", run: () => this.control("request") });
    }
  }

  private changePrefs(change: Partial<Prefs>): void {
    Object.assign(this.prefs, change);
    savePrefs(this.prefs);
    this.desk.keyboard.cmdIsControl = this.prefs.cmdIsControl;
    this.desk.touchMode = this.prefs.touch;
    if (change.fit !== undefined) this.sendViewport();
    this.refresh();
  }

  private async toggleFullscreen(): Promise<void> {
    const { keyboard } = navigator as Navigator & { keyboard?: KeyboardLock };
    try {
      if (document.fullscreenElement) {
        await document.exitFullscreen();
        return;
      }
      await document.documentElement.requestFullscreen({ navigationUI: "hide" });
      await keyboard?.lock();
    } catch {
      // A browser without Keyboard Lock keeps its own shortcuts in full screen too.
    }
    this.desk.focus();
  }

  // --- size -----------------------------------------------------------------------------------------------

  private screenRect(): Rect | null {
    return this.driver.session.facts.screens[0] ?? null;
  }

  private place(): void {
    this.stage.place(this.screenRect());
    this.desk.remap();
    this.refresh();
  }

  private viewport(): Viewport {
    return { css: this.stage.area, devicePixelRatio, fit: this.prefs.fit };
  }

  private sendViewport(): void {
    const viewport = this.viewport();
    const key = JSON.stringify(viewport);
    if (key === this.sentViewport || viewport.css.width < 1 || viewport.css.height < 1) return;
    if (this.driver.say({ type: "viewport", ...viewport })) this.sentViewport = key;
  }

  private liftPicture(): void {
    const visible = window.visualViewport?.height ?? window.innerHeight;
    const covered = this.softKeyboard ? Math.max(0, this.stage.area.height - visible) : 0;
    this.stage.liftFor(covered, this.desk.at);
    this.place();
  }

  // --- showing --------------------------------------------------------------------------------------------

  /** Brings the UI up to date, once for all changes of a moment. */
  private refresh(): void {
    if (this.refreshing) return;
    this.refreshing = true;
    window.setTimeout(() => {
      this.refreshing = false;
      this.show();
    });
  }

  private show(): void {
    const { session } = this.driver;
    const model = this.model();
    const live = model.view.kind === "live";
    this.driver.watched = this.prefs.stats;
    if (this.wasControlling && !session.controlling) {
      this.desk.keyboard.reset();
      this.ui.toasts.dismiss(GIVE);
      if (live && session.facts.rights.includes("control")) this.ui.toasts.show("You no longer have control.");
    }
    this.wasControlling = session.controlling;
    this.stage.setControlling(session.controlling && live);
    if (session.controlling) this.stage.showOther(null);
    if (live && !this.wasLive) this.ui.greet();
    this.wasLive = live;
    document.title = live ? "Deskgate" : `${model.view.title} – Deskgate`;
    this.ui.update(model);
  }

  private model(): Model {
    const { session } = this.driver;
    const { facts } = session;
    return {
      view: describe(session),
      hasPicture: this.hasPicture,
      viewer: facts.viewer,
      mayControl: facts.rights.includes("control"),
      controlling: session.controlling,
      signalling: session.signalling,
      status: facts.status,
      notice: facts.notice,
      settings: facts.settings,
      screen: this.screenRect(),
      exact: this.stage.layout.exact,
      fullSize: this.stage.layout.fullSize,
      figures: this.figures,
      feedback: this.screen.lastFeedback,
      prefs: this.prefs,
      fullscreen: document.fullscreenElement !== null,
      pointerLocked: this.desk.locked,
      softKeyboard: this.softKeyboard,
      touch: navigator.maxTouchPoints > 0 && matchMedia("(any-pointer: coarse)").matches,
      mac: this.platform === "mac",
    };
  }
}
