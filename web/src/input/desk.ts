// Keyboard, mouse, pen and touch of this browser, given to the pure cores; what they make of it goes to `send`.

import { Timer } from "../session/timer";
import { toScreen, type Layout } from "../view/geometry";
import type { InputEvent, Point } from "../wire/input";
import { Keyboard, typeText, type KeyInput, type Modifiers } from "./keyboard";
import { buttonChanges, MotionGate, Relative, Wheel } from "./pointer";
import type { Platform } from "./platform";
import { edits, SENTINEL } from "./softkeys";
import { Touch, type Finger, type TouchMode } from "./touch";

/** What the desk needs of the page. */
export interface DeskHooks {
  /** True while this viewer's input is followed. */
  allowed(): boolean;
  /** Somebody tried to use the desktop without having control. */
  refused(): void;
  send(event: InputEvent): void;
  layout(): Layout;
  heartbeatMs(): number;
  /** The pointer that the page itself must draw: pointer lock and trackpad; null: the browser draws it. */
  pointer(at: Point | null): void;
  /** The keys that open the menu were pressed. */
  menu(): void;
  /** The soft keyboard was called up or put away. */
  softKeyboard(open: boolean): void;
}

const HAS_RAW = "onpointerrawupdate" in window && window.isSecureContext;

/** Everything that turns this browser's devices into input frames. */
export class Desk {
  readonly keyboard: Keyboard;
  private readonly touch: Touch;
  private readonly gate = new MotionGate();
  private readonly relative = new Relative();
  private readonly wheel = new Wheel();
  private readonly timer: Timer;
  private buttons = 0;
  /** Buttons down on the desktop, by mouse or finger. */
  private readonly down = new Set<number>();
  private heart: number | undefined;
  private lockedAt: Point = { x: 0, y: 0 };
  private last: Point = { x: 0, y: 0 };
  private soft = false;
  private softValue = "";
  private composing = false;

  constructor(
    private readonly stage: HTMLElement,
    private readonly field: HTMLTextAreaElement,
    private readonly hooks: DeskHooks,
    options: { platform: Platform; cmdIsControl: boolean; touch: TouchMode },
  ) {
    this.keyboard = new Keyboard(options.platform, options.cmdIsControl);
    this.touch = new Touch(options.touch, this.mapping());
    this.timer = new Timer(
      () => soonest(this.gate.deadline(), this.keyboard.deadline(), this.touch.deadline()),
      (now) => this.due(now),
    );
    this.listenKeys();
    this.listenText();
    this.listenPointer();
    this.listenFocus();
  }

  get locked(): boolean {
    return document.pointerLockElement === this.stage;
  }

  get touchMode(): TouchMode {
    return this.touch.mode;
  }

  set touchMode(mode: TouchMode) {
    this.touch.mode = mode;
    this.drawPointer();
  }

  /** Gives the keyboard to the desktop. */
  focus(): void {
    this.field.focus({ preventScroll: true });
  }

  /** The picture moved or changed size. */
  remap(): void {
    this.touch.remap(this.mapping());
    this.drawPointer();
  }

  /** Where the pointer was last, screen pixels. */
  get at(): Point {
    return this.last;
  }

  /** Lets go of everything, here and there. */
  release(): void {
    const held = this.keyboard.reset() || this.buttons !== 0;
    this.buttons = 0;
    this.down.clear();
    this.gate.clear();
    this.beat();
    if (held || this.hooks.allowed()) this.send({ kind: "release" });
  }

  /** Sends keys that no keyboard pressed: the menu's. */
  play(events: readonly InputEvent[]): void {
    if (this.hooks.allowed()) for (const event of events) this.send(event);
  }

  /** Calls the soft keyboard up, or puts it away. */
  showSoftKeyboard(open: boolean): void {
    this.soft = false;
    this.field.blur();
    this.field.inputMode = open ? "text" : "none";
    this.field.value = this.softValue = open ? SENTINEL : "";
    this.soft = open;
    if (open) {
      this.focus();
      this.field.setSelectionRange(SENTINEL.length, SENTINEL.length);
    }
    this.hooks.softKeyboard(open);
  }

  /** Asks the browser for the pointer; motion is relative until Esc. */
  async lockPointer(): Promise<void> {
    this.lockedAt = this.last;
    this.focus();
    try {
      await this.stage.requestPointerLock({ unadjustedMovement: true });
    } catch {
      // Linux and Android refuse raw movement.
      await this.stage.requestPointerLock();
    }
  }

  // --- keys -----------------------------------------------------------------------------------------------

  private listenKeys(): void {
    const listen = (name: "keydown" | "keyup"): void =>
      window.addEventListener(name, (event) => this.key(event, name === "keydown" ? "down" : "up"), { capture: true });
    listen("keydown");
    listen("keyup");
  }

  private ours(target: EventTarget | null): boolean {
    return target === this.field || target === document.body || target === this.stage;
  }

  private key(event: KeyboardEvent, type: "down" | "up"): void {
    if (!this.ours(event.target)) return;
    if (type === "down" && event.ctrlKey && event.altKey && event.shiftKey && event.code === "KeyM") {
      event.preventDefault();
      this.release();
      this.hooks.menu();
      return;
    }
    if (!this.hooks.allowed()) {
      if (type === "down" && !isModifier(event.code)) this.hooks.refused();
      return;
    }
    const { events, swallow } = this.keyboard.handle(keyInput(event, type), performance.now());
    if (swallow) {
      event.preventDefault();
      event.stopPropagation();
    }
    this.emit(events);
  }

  private emit(events: readonly InputEvent[]): void {
    for (const event of events) this.send(event);
    this.beat();
    this.timer.arm();
  }

  private send(event: InputEvent): void {
    this.hooks.send(event);
    if (event.kind !== "button") return;
    if (event.down) this.down.add(event.button);
    else this.down.delete(event.button);
    this.beat();
  }

  /** What is held is repeated, so that the gateway can let go of it when this page falls silent. */
  private beat(): void {
    const holding = this.keyboard.holding || this.down.size > 0;
    if (holding === (this.heart !== undefined)) return;
    window.clearInterval(this.heart);
    this.heart = undefined;
    if (!holding) return;
    this.heart = window.setInterval(() => {
      if (this.hooks.allowed()) this.send(this.keyboard.heartbeat());
    }, this.hooks.heartbeatMs());
  }

  // --- text -----------------------------------------------------------------------------------------------

  private listenText(): void {
    this.field.addEventListener("compositionstart", () => (this.composing = true));
    this.field.addEventListener("compositionend", ({ data }) => {
      this.composing = false;
      if (this.soft) return;
      this.field.value = "";
      this.type(data);
    });
    this.field.addEventListener("input", (event) => {
      if (this.soft) this.softInput();
      else if (!this.composing && event instanceof InputEvent && event.inputType !== "insertCompositionText") this.plainInput(event);
    });
  }

  /** Text that came without a key: emoji panels, dictation, automation. */
  private plainInput(event: globalThis.InputEvent): void {
    const text = event.inputType.startsWith("insert") ? (event.data ?? this.field.value) : "";
    this.field.value = "";
    this.type(text);
  }

  private softInput(): void {
    const events = edits(this.softValue, this.field.value);
    this.softValue = this.field.value;
    if (this.hooks.allowed()) this.emit(events);
    else this.hooks.refused();
    // Refilled between words only: changing the text under a composition would confuse the keyboard.
    if (!this.composing && (this.softValue.length > 200 || this.softValue.length < 8)) {
      this.field.value = this.softValue = SENTINEL;
    }
  }

  private type(text: string): void {
    if (text === "") return;
    if (this.hooks.allowed()) this.emit(typeText(text));
    else this.hooks.refused();
  }

  // --- pointer --------------------------------------------------------------------------------------------

  private listenPointer(): void {
    const { stage } = this;
    const on = <K extends keyof HTMLElementEventMap>(name: K, run: (event: HTMLElementEventMap[K]) => void): void =>
      stage.addEventListener(name, run, { passive: false });
    on("pointerdown", (event) => this.pressed(event));
    on("pointerup", (event) => this.pointerEvent(event, "up"));
    on("pointercancel", (event) => this.pointerEvent(event, "cancel"));
    on("pointermove", (event) => this.pointerEvent(event, "move"));
    if (HAS_RAW) {
      stage.addEventListener("pointerrawupdate", (event) => {
        if (event instanceof PointerEvent && event.pointerType !== "touch" && !this.locked) this.moved(event);
      });
    }
    on("wheel", (event) => this.wheeled(event));
    // A click would take the focus out of the field, and the keys with it; the side buttons would leave the page.
    // Prevented here, not at pointerdown: that would keep mouseup, where browsers navigate, from being sent at all.
    for (const name of ["mousedown", "mouseup", "auxclick"] as const) on(name, (event) => event.preventDefault());
    on("contextmenu", (event) => event.preventDefault());
    on("dragstart", (event) => event.preventDefault());
    document.addEventListener("pointerlockchange", () => {
      this.gate.clear();
      this.drawPointer();
    });
  }

  private pressed(event: PointerEvent): void {
    if (!this.soft || event.pointerType !== "touch") this.focusAfterPress(event);
    if (!this.hooks.allowed()) {
      this.hooks.refused();
      return;
    }
    if (!this.locked && event.pointerType !== "touch") this.stage.setPointerCapture(event.pointerId);
    this.pointerEvent(event, "down");
  }

  private focusAfterPress(event: PointerEvent): void {
    if (event.pointerType !== "touch") {
      if (this.soft) this.showSoftKeyboard(false);
      this.focus();
    }
  }

  private pointerEvent(event: PointerEvent, phase: Finger["phase"]): void {
    if (!this.hooks.allowed()) return;
    if (event.pointerType === "touch") {
      this.finger({ id: event.pointerId, phase, x: event.clientX, y: event.clientY });
      return;
    }
    this.changeButtons(event);
    if (phase === "move" && (!HAS_RAW || this.locked)) this.moved(event);
  }

  private changeButtons(event: PointerEvent): void {
    const changes = buttonChanges(this.buttons, event.buttons);
    if (changes.length === 0) return;
    this.buttons = event.buttons;
    this.emit(this.keyboard.reconcile(modifiersOf(event)));
    const at = this.place(event);
    this.gate.clear();
    for (const change of changes) this.send({ kind: "button", ...change, at });
  }

  /** Screen pixel of the event; null while the pointer is locked. */
  private place(event: MouseEvent): Point | null {
    if (this.locked) return null;
    this.last = toScreen(this.hooks.layout(), event.clientX, event.clientY);
    this.touch.moved(this.last);
    return this.last;
  }

  private moved(event: PointerEvent): void {
    if (!this.hooks.allowed()) return;
    const now = performance.now();
    const motion = this.locked ? this.shift(event) : this.absolute(event);
    const due = this.gate.offer(motion, now);
    if (due) this.send(due);
    this.timer.arm();
  }

  private absolute(event: PointerEvent): InputEvent {
    const at = this.place(event) ?? this.last;
    this.hooks.pointer(null);
    return { kind: "motion", ...at };
  }

  private shift(event: PointerEvent): InputEvent {
    const layout = this.hooks.layout();
    const { movementX: dx, movementY: dy } = event;
    const clamp = (v: number, size: number): number => Math.min(size - 1, Math.max(0, v));
    this.lockedAt = {
      x: clamp(this.lockedAt.x + dx / layout.scale, layout.screen.width),
      y: clamp(this.lockedAt.y + dy / layout.scale, layout.screen.height),
    };
    this.drawPointer();
    return this.relative.move(dx / layout.scale, dy / layout.scale);
  }

  private wheeled(event: WheelEvent): void {
    event.preventDefault();
    if (!this.hooks.allowed()) return;
    const legacy = event as WheelEvent & { wheelDeltaX?: number; wheelDeltaY?: number };
    // Firefox gives lines only to those who ask for the mode first.
    const { deltaMode } = event;
    const { deltaX, deltaY, shiftKey: shift } = event;
    const { wheelDeltaX, wheelDeltaY } = legacy;
    const input = { deltaX, deltaY, deltaMode, shift };
    if (wheelDeltaX !== undefined) Object.assign(input, { wheelDeltaX });
    if (wheelDeltaY !== undefined) Object.assign(input, { wheelDeltaY });
    const turned = this.wheel.handle(input, this.place(event));
    if (!turned) return;
    this.gate.clear();
    this.emit([...this.keyboard.reconcile(modifiersOf(event)), turned]);
  }

  // --- touch ----------------------------------------------------------------------------------------------

  private mapping(): ConstructorParameters<typeof Touch>[1] {
    const layout = this.hooks.layout();
    return {
      toScreen: (x, y) => toScreen(this.hooks.layout(), x, y),
      scale: layout.scale,
      width: layout.screen.width,
      height: layout.screen.height,
    };
  }

  private finger(finger: Finger): void {
    const now = performance.now();
    this.gesture(this.touch.handle(finger, now), now);
  }

  private gesture(events: readonly InputEvent[], now: number): void {
    for (const event of events) {
      if (event.kind === "motion") {
        const due = this.gate.offer(event, now);
        if (due) this.send(due);
        continue;
      }
      this.gate.clear();
      this.send(event);
      if (event.kind === "button" && event.button === 3 && event.down && "vibrate" in navigator) navigator.vibrate(10);
    }
    this.last = this.touch.at();
    this.drawPointer();
    this.timer.arm();
  }

  private drawPointer(): void {
    if (this.locked) this.hooks.pointer(this.lockedAt);
    else this.hooks.pointer(this.touch.mode === "trackpad" ? this.touch.at() : null);
  }

  // --- focus and time -------------------------------------------------------------------------------------

  private listenFocus(): void {
    window.addEventListener("blur", () => this.release());
    window.addEventListener("pagehide", () => this.release());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "hidden") this.release();
    });
    this.field.addEventListener("blur", () => {
      this.release();
      if (!this.soft) return;
      this.soft = false;
      this.field.inputMode = "none";
      this.field.value = this.softValue = "";
      this.hooks.softKeyboard(false);
    });
  }

  private due(now: number): void {
    const motion = this.gate.poll(now);
    if (motion && this.hooks.allowed()) this.send(motion);
    this.emit(this.keyboard.poll(now));
    const events = this.touch.poll(now);
    if (events.length > 0) this.gesture(events, now);
  }
}

function soonest(...times: (number | null)[]): number | null {
  const due = times.filter((t) => t !== null);
  return due.length === 0 ? null : Math.min(...due);
}

function isModifier(code: string): boolean {
  return /^(Shift|Control|Alt|Meta|CapsLock|NumLock)/.test(code);
}

function modifiersOf(event: KeyboardEvent | MouseEvent): Modifiers {
  const state = (key: string): boolean => event.getModifierState(key);
  return {
    shift: state("Shift"),
    control: state("Control"),
    alt: state("Alt"),
    altGraph: state("AltGraph"),
    meta: state("Meta") || state("OS") || state("Super"),
    caps: state("CapsLock"),
    num: state("NumLock"),
  };
}

function keyInput(event: KeyboardEvent, type: "down" | "up"): KeyInput {
  return {
    type,
    key: event.key,
    code: event.code,
    location: event.location,
    // eslint-disable-next-line @typescript-eslint/no-deprecated -- the only mark of a key that an input method has taken
    composing: event.isComposing || event.keyCode === 229,
    modifiers: modifiersOf(event),
  };
}

