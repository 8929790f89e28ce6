// Debian's Firefox: it has no H.264, it types, and its hidden tab costs nothing.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { Display, GRIDS } from "./lib/desktop.mjs";
import { Firefox } from "./lib/firefox.mjs";
import { Gateway } from "./lib/gateway.mjs";
import { readColours, TOLERANCE, worst } from "./lib/page.mjs";
import { Scope, until } from "./lib/run.mjs";

let firefox;
before(async () => (firefox = await Firefox.start()));
after(() => firefox.close());

async function desk(t, program) {
  const scope = new Scope(t);
  const display = scope.add(await Display.start());
  const shown = await display[program]();
  const gateway = scope.add(await Gateway.start(display.name));
  await firefox.goto(gateway.url);
  const state = () => firefox.evaluate(() => window.deskgate.state());
  const live = async () => {
    const now = await state();
    return now.stage === "live" && now.controlling ? now : null;
  };
  const { facts } = await until("the page has control", live, undefined, async () => JSON.stringify(await state()));
  return { shown, gateway, facts, state };
}

async function sees(index) {
  const probe = async () => worst(await firefox.evaluate(readColours), GRIDS[index]) <= TOLERANCE;
  const explain = async () => JSON.stringify(await firefox.evaluate(readColours));
  await until(`the video shows grid ${index}`, probe, undefined, explain);
}

test("each colour is what was drawn", async (t) => {
  const { shown, state } = await desk(t, "grid");
  await sees(0);
  await shown.show(1);
  await sees(1);
  const path = async () => (await state()).facts.status.path;
  await until("the picture comes by UDP", async () => (await path()) === "udp", undefined, path);
});

test("text arrives unchanged", async (t) => {
  const { shown } = await desk(t, "entry");
  const text = "Hello, World! {[~|@#$%^&*()_+é€ñß中";
  await firefox.type(text);
  await until("the text arrives", () => shown.text() === text, undefined, () => JSON.stringify(shown.text()));
});

test("nobody looking: nothing is captured or encoded", async (t) => {
  const { gateway, shown } = await desk(t, "grid");
  await sees(0);
  const counters = async () => {
    const { frames_captured_total: captured, frames_encoded_total: encoded } = await gateway.metrics();
    assert.ok(captured > 0 && encoded > 0);
    const { capture } = await gateway.status();
    return JSON.stringify({ captured, encoded, capture });
  };
  const uncover = await firefox.cover();
  const idle = async () => (await gateway.status()).renditions.every(({ fed }) => !fed);
  await until("no rendition is fed", idle, undefined, async () => JSON.stringify(await gateway.status()));
  // The counters follow once a second, and what is on its way through the encoder still comes out.
  await pause(2_500);
  const before = await counters();
  for (const index of [1, 0, 1]) {
    await shown.show(index);
    await pause(700);
  }
  await pause(1_500);
  assert.equal(await counters(), before);
  await uncover();
  await sees(1);
});
