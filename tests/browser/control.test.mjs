// Who has keyboard and mouse, and whose window the screen follows.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { Display } from "./lib/desktop.mjs";
import { Gateway } from "./lib/gateway.mjs";
import { browser, Viewer } from "./lib/page.mjs";
import { folder, Scope, until } from "./lib/run.mjs";

/** Longer than anything that takes turns would take for several of them, milliseconds. */
const STABLE = 4_000;

let chromium;
before(async () => (chromium = await browser()));
after(() => chromium.close());

async function desk(t, { size, args = [], program } = {}) {
  const scope = new Scope(t);
  const display = scope.add(await Display.start({ size }));
  const seen = program && (await display[program]());
  const gateway = scope.add(await Gateway.start(display.name, { args }));
  const open = async (url = gateway.url, options) => scope.add(await Viewer.open(chromium, url, options));
  return { display, seen, gateway, open };
}

/** Opens the menu as a person does, and presses a button of it. */
async function menu(viewer, name) {
  const { page } = viewer;
  await page.mouse.move(640, 2);
  await page.getByRole("button", { name: /^Menu/ }).click();
  await page.getByRole("dialog", { name: "Menu" }).getByRole("button", { name, exact: true }).click();
  await page.getByRole("button", { name: "Close the menu" }).click();
}

const has = (viewer) => viewer.until("it has control", ({ controlling }) => controlling);
const lacks = (viewer) => viewer.until("it has no control", ({ controlling }) => !controlling);

test("control is asked for and given, taken and held", async (t) => {
  const { seen, open } = await desk(t, { program: "watch" });
  const one = await open();
  const { facts } = await one.controlling();
  const two = await open();
  assert.equal((await two.live()).controlling, false);

  await menu(two, "Ask for control");
  await one.page.getByText("asks for control").waitFor();
  await one.page.getByRole("button", { name: "Give control", exact: true }).click();
  await has(two);
  await lacks(one);
  await two.page.keyboard.press("a");
  await until("two types", () => seen.of("KeyRelease").some(({ keysym }) => keysym === "a"));

  // What the one holds down is released when the other takes over.
  seen.forget();
  await two.page.keyboard.down("b");
  await until("b is down", () => seen.of("KeyPress").some(({ keysym }) => keysym === "b"));
  assert.deepEqual(seen.of("KeyRelease"), []);
  await menu(one, "Take control");
  await until("b is released", () => seen.of("KeyRelease").some(({ keysym }) => keysym === "b"));
  await has(one);
  await lacks(two);
  await two.page.keyboard.up("b");

  seen.forget();
  await two.page.keyboard.press("x");
  await one.page.keyboard.press("c");
  await until("one types", () => seen.of("KeyRelease").some(({ keysym }) => keysym === "c"));
  assert.deepEqual(seen.of("KeyPress").map(({ keysym }) => keysym), ["c"]);
  assert.equal((await two.state()).facts.status.controller, facts.viewer);
});

test("the others see the controller's pointer", async (t) => {
  const { open } = await desk(t, { program: "grid" });
  const one = await open();
  await one.controlling();
  const two = await open();
  await two.live();
  const other = () =>
    two.page.evaluate(() => {
      const pointer = document.getElementById("other");
      const { x, y, width, height } = pointer.getBoundingClientRect();
      return pointer.hidden ? null : { x: x + width / 2, y: y + height / 2 };
    });
  for (const [x, y] of [[300, 200], [900, 610]]) {
    await one.page.mouse.move(x, y);
    const there = async () => {
      const at = await other();
      return at !== null && Math.abs(at.x - x) <= 2 && Math.abs(at.y - y) <= 2;
    };
    await until(`it is at ${x},${y}`, there, undefined, async () => JSON.stringify(await other()));
  }
});

test("a second tab with the same ticket takes the first one's place, once", async (t) => {
  const { gateway, open } = await desk(t, { program: "grid" });
  const tickets = [];
  // Playwright sees the sockets of pages, not of workers.
  const one = await open("about:blank", { init: "delete window.Worker" });
  one.page.on("websocket", (socket) =>
    socket.on("framereceived", ({ payload }) => {
      const { type, ticket } = JSON.parse(String(payload));
      if (type === "hello" || type === "ticket") tickets.push(ticket);
    }),
  );
  await one.page.goto(gateway.url);
  const { facts } = await one.controlling();
  const init = `sessionStorage.setItem("deskgate.ticket", ${JSON.stringify(tickets.at(-1))})`;
  const two = await open(gateway.url, { init });
  const now = await two.controlling();
  assert.equal(now.facts.viewer, facts.viewer);
  const { view } = await one.until("the first has ended", ({ stage }) => stage === "ended");
  assert.equal(view.title, "Opened elsewhere");

  // They do not push each other out for ever.
  const { generation } = now;
  await pause(STABLE);
  const still = await two.state();
  assert.deepEqual([still.stage, still.generation, still.controlling], ["live", generation, true]);
  assert.equal((await one.state()).stage, "ended");
  assert.equal((await gateway.status()).status.viewers.length, 1);
});

const LARGE = { width: 2000, height: 1400 };

async function screenIs(display, width, height) {
  const wanted = `${width}×${height}`;
  const size = async () => {
    const screen = await display.screen();
    return `${screen.width}×${screen.height}`;
  };
  await until(`the screen is ${wanted}`, async () => (await size()) === wanted, undefined, size);
}

test("the screen follows the controller's window", async (t) => {
  const { display, open } = await desk(t, { size: LARGE });
  const viewer = await open();
  await viewer.controlling();
  await screenIs(display, 1280, 720);
  for (const [width, height] of [[1000, 700], [901, 613], [1500, 900]]) {
    await viewer.page.setViewportSize({ width, height });
    // Encoders want even sizes: an odd window leaves a line of pixels free.
    const even = { width: width & ~1, height: height & ~1 };
    await screenIs(display, even.width, even.height);
    const exact = ({ layout }) => layout.exact && layout.fullSize && layout.screen.width === even.width;
    const { layout } = await viewer.until("it is shown pixel for pixel", exact);
    assert.deepEqual(layout.screen, even);
  }
});

test("the screen does not follow who only looks, who only scales, nor anybody where it is told not to", async (t) => {
  const secret = path.join(folder(), "secret");
  writeFileSync(secret, "a secret of a test, long enough for HS256", { mode: 0o600 });
  const { display, gateway, open } = await desk(t, { size: LARGE, args: ["--token-secret-file", secret] });
  const looker = await open(await gateway.link(secret, "view"));
  await looker.live();
  await looker.page.setViewportSize({ width: 800, height: 600 });
  const scaler = await open(await gateway.link(secret, "control"), { fit: "scale" });
  await scaler.controlling();
  await scaler.page.setViewportSize({ width: 900, height: 700 });
  await pause(2_000);
  assert.deepEqual(await display.screen(), LARGE);
  const { layout } = await looker.state();
  assert.ok(layout.scale < 0.5 && !layout.exact);
  // The window of the one in control is what counts, once it wants that.
  const { page } = scaler;
  await page.mouse.move(450, 2);
  await page.getByRole("button", { name: /^Menu/ }).click();
  await page.getByRole("button", { name: "Match window" }).click();
  await screenIs(display, 900, 700);
  await looker.page.setViewportSize({ width: 640, height: 480 });
  await pause(2_000);
  assert.deepEqual(await display.screen(), { width: 900, height: 700 });
});
