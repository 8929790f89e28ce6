// The mouse, in its place, at 1:1 and scaled.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Display } from "./lib/desktop.mjs";
import { Gateway } from "./lib/gateway.mjs";
import { browser, Viewer } from "./lib/page.mjs";
import { Scope, until } from "./lib/run.mjs";

let chromium;
before(async () => (chromium = await browser()));
after(() => chromium.close());

async function desk(t, { viewport, fit, init } = {}) {
  const scope = new Scope(t);
  const display = scope.add(await Display.start());
  const seen = await display.watch();
  const gateway = scope.add(await Gateway.start(display.name, { args: ["--resize", "false"] }));
  const options = viewport && { viewport };
  const viewer = scope.add(await Viewer.open(chromium, gateway.url, { options, fit, init }));
  const { layout } = await viewer.controlling();
  seen.forget();
  return { display, seen, viewer, layout, mouse: viewer.page.mouse };
}

/** Waits for that many events of a type, and gives them. */
function events(seen, type, count) {
  return until(`${count} × ${type}`, () => (seen.of(type).length >= count ? seen.of(type) : null), undefined, () =>
    JSON.stringify(seen.events().slice(-10)),
  );
}

function near(got, wanted, off) {
  const far = Math.max(Math.abs(got.x - wanted.x), Math.abs(got.y - wanted.y));
  assert.ok(far <= off, `${JSON.stringify(got)} for ${JSON.stringify(wanted)}`);
}

/** Not in the middle of the upper edge: the toolbar's handle is there. */
const PLACES = [[0, 0], [1279, 0], [0, 719], [1279, 719], [640, 360], [333, 217], [901, 48]].map(([x, y]) => ({ x, y }));

test("at 1:1 a click lands on its pixel", async (t) => {
  const { seen, layout, mouse } = await desk(t);
  assert.ok(layout.exact);
  for (const place of PLACES) {
    seen.forget();
    await mouse.click(place.x, place.y);
    const [press] = await events(seen, "ButtonPress", 1);
    await events(seen, "ButtonRelease", 1);
    near(press.at, place, 1);
    assert.equal(press.button, 1);
  }
});

test("scaled, a click lands on its scaled pixel", async (t) => {
  const { seen, viewer, layout, mouse } = await desk(t, { viewport: { width: 801, height: 613 }, fit: "scale" });
  assert.ok(layout.scale < 0.7, `scale ${layout.scale}`);
  for (const place of PLACES) {
    seen.forget();
    const { x, y } = await viewer.place(place);
    await mouse.click(x, y);
    const [press] = await events(seen, "ButtonPress", 1);
    near(press.at, place, 1 / layout.scale);
  }
});

test("every button, and the wheel", async (t) => {
  const { seen, mouse } = await desk(t);
  for (const [name, number] of [["left", 1], ["middle", 2], ["right", 3]]) {
    seen.forget();
    await mouse.click(300, 300, { button: name });
    assert.equal((await events(seen, "ButtonRelease", 1))[0].button, number);
  }
  for (const [dx, dy, number] of [[0, 120, 5], [0, -120, 4], [120, 0, 7], [-120, 0, 6]]) {
    seen.forget();
    await mouse.wheel(dx, dy);
    const [press] = await events(seen, "ButtonRelease", 1);
    assert.equal(press.button, number, `wheel ${dx},${dy}`);
  }
});

/** Presses at a place, moves, and lets go elsewhere; gives what arrived. */
async function drag(seen, mouse) {
  await mouse.move(200, 200);
  await mouse.down();
  await mouse.move(700, 500, { steps: 20 });
  await mouse.up();
  const [release] = await events(seen, "ButtonRelease", 1);
  near(seen.of("ButtonPress")[0].at, { x: 200, y: 200 }, 1);
  near(release.at, { x: 700, y: 500 }, 1);
}

test("a drag", async (t) => {
  const { seen, mouse } = await desk(t);
  await drag(seen, mouse);
  const BUTTON1 = 0x100;
  const moved = seen.of("MotionNotify").filter(({ state }) => (state & BUTTON1) !== 0);
  assert.ok(moved.length > 0, "it moved with the button down");
});

/** Runs before the page: its motion packets are lost. */
function loseMotion() {
  const send = RTCDataChannel.prototype.send;
  RTCDataChannel.prototype.send = function (data) {
    if (this.label !== "motion") send.call(this, data);
  };
}

test("a drag whose motion packets are lost ends where the button was released", async (t) => {
  const { seen, mouse } = await desk(t, { init: loseMotion });
  await drag(seen, mouse);
});
