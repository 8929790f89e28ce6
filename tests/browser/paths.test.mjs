// Every way to reach the one port: with video playing and keys arriving.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Display } from "./lib/desktop.mjs";
import { Gateway } from "./lib/gateway.mjs";
import { Forwarder, Namespace } from "./lib/network.mjs";
import { Viewer } from "./lib/page.mjs";
import { Scope } from "./lib/run.mjs";

/** A gateway and a browser in two networks that have nothing in common but a forwarder of TCP. */
async function apart(t) {
  const scope = new Scope(t);
  const display = scope.add(await Display.start());
  const grid = await display.grid(0);
  const [pod, laptop] = [
    scope.add(await Namespace.create("10.42.0.7")),
    scope.add(await Namespace.create("192.168.1.20")),
  ];
  const gateway = scope.add(await Gateway.start(display.name, { namespace: pod }));
  const forward = (port) => Forwarder.start(laptop, `127.0.0.1:${port}`, pod, `127.0.0.1:${gateway.port}`);
  const forwarder = scope.add(await forward(0));
  const chromium = scope.add(await laptop.browser());
  return { scope, display, grid, gateway, forwarder, forward, chromium };
}

async function types(viewer, display) {
  const watched = await display.watch();
  await viewer.controlling();
  await viewer.page.keyboard.press("x");
  await watched.program.until("the key arrives", () => watched.of("KeyPress").some(({ keysym }) => keysym === "x"));
}

const path = async (viewer) => (await viewer.page.evaluate(() => window.deskgate.stats()))?.figures?.path ?? "";

test("a TCP forwarder alone, as kubectl port-forward is one", async (t) => {
  const { scope, display, grid, forwarder, forward, chromium } = await apart(t);
  const viewer = scope.add(await Viewer.open(chromium, `http://localhost:${forwarder.port}/`));
  await viewer.grid(0);
  await grid.show(1);
  await viewer.grid(1);
  await viewer.until("the path is known", async () => (await path(viewer)).startsWith("turn/tcp"));

  // Killed and started again, as after a laptop's sleep.
  await forwarder.close();
  scope.add(await forward(forwarder.port));
  await grid.show(0);
  await viewer.grid(0);
  assert.equal(viewer.loads, 1, "without a reload");
  await types(viewer, display);
});
