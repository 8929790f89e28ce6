import { describe, expect, it } from "vitest";
import { Outbox } from "../src/input/outbox";
import { buttonChanges, MotionGate, MOTION_REPEAT, Relative, Wheel } from "../src/input/pointer";
import { Touch, type Finger, type Mapping, type TouchMode } from "../src/input/touch";
import { cursorCss } from "../src/view/cursor";
import { layout, toArea, toScreen } from "../src/view/geometry";
import type { InputEvent } from "../src/wire/input";

describe("geometry", () => {
  it.each([1, 1.25, 1.5, 2, 3])("maps every pixel to itself at 1:1, ratio %d", (dpr) => {
    const screen = { width: 641, height: 479 };
    const at = layout({ width: screen.width / dpr, height: screen.height / dpr }, dpr, screen, { width: 642, height: 480 });
    expect(at).toMatchObject({ exact: true, left: 0, top: 0 });
    for (const p of [{ x: 0, y: 0 }, { x: 1, y: 1 }, { x: 320, y: 240 }, { x: 640, y: 478 }]) {
      const middle = toArea(at, { x: p.x + 0.5, y: p.y + 0.5 });
      expect(toScreen(at, middle.x, middle.y)).toEqual(p);
    }
    expect(at.frameWidth).toBeCloseTo(642 / dpr);
  });

  it("letterboxes what does not fit, and clamps outside it", () => {
    const at = layout({ width: 1280, height: 720 }, 1, { width: 1024, height: 768 }, { width: 1024, height: 768 });
    expect(at).toMatchObject({ exact: false, left: 160, top: 0, width: 960, height: 720, scale: 0.9375 });
    expect(toScreen(at, 160, 0)).toEqual({ x: 0, y: 0 });
    expect(toScreen(at, 1119.9, 719.9)).toEqual({ x: 1023, y: 767 });
    expect(toScreen(at, -50, 5_000)).toEqual({ x: 0, y: 767 });
  });

  it("lies on whole device pixels", () => {
    const at = layout({ width: 800.5, height: 600 }, 1.5, { width: 1200, height: 890 }, { width: 0, height: 0 });
    expect(at.exact).toBe(true);
    expect((at.top * 1.5) % 1).toBeCloseTo(0);
  });
});

describe("cursor", () => {
  const cursor = { type: "cursor", png: "AAAA", hotX: 10, hotY: 4, width: 24, height: 24 } as const;
  it("keeps its hot spot in CSS pixels", () => {
    expect(cursorCss(cursor, 1)).toEqual(['url("data:image/png;base64,AAAA") 10 4, default']);
    expect(cursorCss(cursor, 0.5)[0]).toBe('image-set(url("data:image/png;base64,AAAA") 2x) 5 2, default');
    expect(cursorCss({ ...cursor, png: null }, 1)).toEqual(["none"]);
    expect(cursorCss({ ...cursor, width: 256, height: 256 }, 1)[0]).toContain("2x");
  });
});

describe("buttons, motion, wheel", () => {
  it("tells changes of the mask, releases first", () => {
    expect(buttonChanges(0, 1)).toEqual([{ button: 1, down: true }]);
    expect(buttonChanges(1, 2)).toEqual([
      { button: 1, down: false },
      { button: 3, down: true },
    ]);
    expect(buttonChanges(0, 4 | 8 | 16).map(({ button }) => button)).toEqual([2, 8, 9]);
    expect(buttonChanges(3, 3)).toEqual([]);
  });

  it("thins motion out, keeps the newest, and says the last one twice", () => {
    const gate = new MotionGate();
    const at = (x: number): InputEvent => ({ kind: "motion", x, y: 0 });
    expect(gate.offer(at(1), 0)).toEqual(at(1));
    expect(gate.offer(at(2), 1)).toBeNull();
    expect(gate.offer(at(3), 2)).toBeNull();
    expect(gate.deadline()).toBe(4);
    expect(gate.poll(4)).toEqual(at(3));
    expect(gate.deadline()).toBe(4 + MOTION_REPEAT);
    expect(gate.poll(4 + MOTION_REPEAT)).toEqual(at(3));
    expect(gate.deadline()).toBeNull();
    gate.offer(at(5), 200);
    gate.clear();
    expect(gate.deadline()).toBeNull();
  });

  it("adds relative motion up without losing fractions", () => {
    const relative = new Relative();
    for (let i = 0; i < 10; i += 1) relative.move(0.25, -0.5);
    expect(relative.move(0, NaN)).toEqual({ kind: "relative", x: 2, y: -5 });
  });

  it.each([
    ["pixels", { deltaX: 0, deltaY: 50, deltaMode: 0 }, 0, 60],
    ["lines", { deltaX: 0, deltaY: 3, deltaMode: 1 }, 0, 120],
    ["pages", { deltaX: 0, deltaY: -1, deltaMode: 2 }, 0, -360],
    ["a notch that says so", { deltaX: 0, deltaY: 53, deltaMode: 0, wheelDeltaY: -120 }, 0, 120],
    ["smooth pixels that look like notches", { deltaX: 0, deltaY: 40, deltaMode: 0, wheelDeltaY: -120 }, 0, 48],
    ["Shift, which the desktop handles", { deltaX: 100, deltaY: 0, deltaMode: 0, shift: true }, 0, 120],
    ["sideways", { deltaX: -100, deltaY: 0, deltaMode: 0 }, -120, 0],
  ])("wheel in %s", (_, wheel, dx, dy) => {
    expect(new Wheel().handle({ shift: false, ...wheel }, null)).toEqual({ kind: "wheel", dx, dy, at: null });
  });

  it("carries parts of a unit over", () => {
    const wheel = new Wheel();
    const small = { deltaX: 0, deltaY: 0.5, deltaMode: 0, shift: false };
    expect(wheel.handle(small, null)).toBeNull();
    expect(wheel.handle(small, null)).toMatchObject({ dy: 1 });
  });
});

describe("outbox", () => {
  it("numbers over all lanes and falls back", () => {
    const sent: string[] = [];
    const open = { control: false, motion: false, socket: true };
    const lane = (name: keyof typeof open) => ({
      send: (bytes: Uint8Array) => open[name] && sent.push(`${name}:${bytes[0] ?? 0}:${bytes[4] ?? 0}`) > 0,
    });
    const outbox = new Outbox({ control: lane("control"), motion: lane("motion"), socket: lane("socket") });
    expect(outbox.send({ kind: "motion", x: 1, y: 1 }, 0)).toBe(true);
    open.control = open.motion = true;
    outbox.send({ kind: "motion", x: 1, y: 1 }, 1);
    outbox.send({ kind: "release" }, 1);
    open.control = open.motion = open.socket = false;
    expect(outbox.send({ kind: "release" }, 1)).toBe(false);
    expect(sent).toEqual(["socket:2:1", "motion:2:2", "control:8:3"]);
  });

  it("does not let a release overtake its press on another way", () => {
    const sent: string[] = [];
    const open = { control: false, socket: true };
    const lane = (name: keyof typeof open) => ({ send: () => open[name] && sent.push(name) > 0 });
    const outbox = new Outbox({ control: lane("control"), motion: { send: () => false }, socket: lane("socket") });
    const key = (down: boolean): InputEvent => ({ kind: "key", down, keysym: 97, code: "KeyA" });
    outbox.send(key(true), 0);
    open.control = true;
    outbox.send(key(false), 400);
    outbox.send(key(true), 900);
    open.socket = false;
    outbox.send(key(false), 901);
    expect(sent).toEqual(["socket", "socket", "control", "control"]);
  });
});

describe("touch", () => {
  const map: Mapping = { toScreen: (x, y) => ({ x: x * 2, y: y * 2 }), scale: 0.5, width: 800, height: 600 };
  const touch = (mode: TouchMode): Touch => new Touch(mode, map);
  const finger = (phase: Finger["phase"], x: number, y: number, id = 1): Finger => ({ id, phase, x, y });
  const brief = (events: readonly InputEvent[]): string =>
    events
      .map((e) => {
        if (e.kind === "button") return `${e.down ? "+" : "-"}${e.button}@${e.at?.x ?? -1},${e.at?.y ?? -1}`;
        if (e.kind === "motion") return `${e.x},${e.y}`;
        return e.kind === "wheel" ? `w${e.dx},${e.dy}` : e.kind;
      })
      .join(" ");

  it("clicks where it was tapped, twice in the same place", () => {
    const t = touch("direct");
    expect(t.handle(finger("down", 10, 20), 0)).toEqual([]);
    expect(brief(t.handle(finger("up", 12, 20), 80))).toBe("+1@20,40 -1@20,40");
    t.handle(finger("down", 18, 25), 200);
    expect(brief(t.handle(finger("up", 18, 25), 260))).toBe("+1@20,40 -1@20,40");
  });

  it("drags", () => {
    const t = touch("direct");
    t.handle(finger("down", 10, 10), 0);
    expect(t.handle(finger("move", 12, 12), 10)).toEqual([]);
    expect(brief(t.handle(finger("move", 40, 10), 20))).toBe("+1@20,20 80,20");
    expect(brief(t.handle(finger("move", 50, 10), 30))).toBe("100,20");
    expect(brief(t.handle(finger("up", 50, 10), 40))).toBe("-1@100,20");
  });

  it("right-clicks on a long press", () => {
    const t = touch("direct");
    t.handle(finger("down", 10, 10), 0);
    expect(t.deadline()).toBe(500);
    expect(t.poll(499)).toEqual([]);
    expect(brief(t.poll(500))).toBe("+3@20,20 -3@20,20");
    expect(t.handle(finger("move", 90, 90), 510)).toEqual([]);
    expect(t.handle(finger("up", 90, 90), 520)).toEqual([]);
  });

  it("scrolls with two fingers", () => {
    const t = touch("direct");
    t.handle(finger("down", 100, 100), 0);
    t.handle(finger("down", 140, 100, 2), 10);
    const first = brief(t.handle(finger("move", 100, 80), 20));
    expect(first).toBe("200,200 w0,30");
    expect(brief(t.handle(finger("move", 140, 80, 2), 20))).toBe("w0,30");
    expect(t.handle(finger("up", 100, 80), 30)).toEqual([]);
    expect(t.handle(finger("up", 140, 80, 2), 40)).toEqual([]);
  });

  it("lets go when a second finger ends a drag, and when the system takes the finger", () => {
    const t = touch("direct");
    t.handle(finger("down", 10, 10), 0);
    t.handle(finger("move", 60, 10), 10);
    expect(brief(t.handle(finger("down", 100, 100, 2), 20))).toBe("-1@120,20");
    t.handle(finger("up", 60, 10), 30);
    t.handle(finger("up", 100, 100, 2), 30);
    t.handle(finger("down", 10, 10), 1_000);
    t.handle(finger("move", 60, 10), 1_010);
    expect(brief(t.handle(finger("cancel", 60, 10), 1_020))).toBe("-1@120,20");
  });

  it("moves the pointer as a trackpad does", () => {
    const t = touch("trackpad");
    expect(t.at()).toEqual({ x: 400, y: 300 });
    t.handle(finger("down", 10, 10), 0);
    const moved = t.handle(finger("move", 30, 10), 10)[0];
    expect(moved).toMatchObject({ kind: "motion", y: 300 });
    expect(t.at().x).toBeGreaterThan(420);
    t.handle(finger("up", 30, 10), 20);
    t.moved({ x: 5, y: 5 });
    t.handle(finger("down", 300, 300), 1_000);
    expect(brief(t.handle(finger("up", 300, 300), 1_050))).toBe("+1@5,5 -1@5,5");
    expect(brief(t.handle(finger("down", 302, 300), 1_150))).toBe("+1@5,5");
    expect(brief(t.handle(finger("up", 302, 300), 1_200))).toBe("-1@5,5");
  });

  it("right-clicks with two fingers, and stays on the screen", () => {
    const t = touch("trackpad");
    t.handle(finger("down", 10, 10), 0);
    t.handle(finger("down", 50, 10, 2), 5);
    t.handle(finger("up", 10, 10), 60);
    expect(brief(t.handle(finger("up", 50, 10, 2), 70))).toBe("+3@400,300 -3@400,300");
    t.handle(finger("down", 0, 0), 100);
    t.handle(finger("move", -4_000, 4_000), 110);
    expect(t.at()).toEqual({ x: 0, y: 599 });
  });
});
