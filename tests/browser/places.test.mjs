// From where a page comes: by name or address, in Chromium and Firefox, from a machine that slept.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import nodePath from "node:path";
import { test } from "node:test";
import { Display, GRIDS } from "./lib/desktop.mjs";
import { Firefox } from "./lib/firefox.mjs";
import { Gateway } from "./lib/gateway.mjs";
import { Forwarder, Namespace } from "./lib/network.mjs";
import { browser, readColours, TOLERANCE, Viewer, worst } from "./lib/page.mjs";
import { folder, Program, Scope, until } from "./lib/run.mjs";

/** A desktop with a gateway in a pod. */
async function desk(scope, pod, address = pod?.address) {
  const display = scope.add(await Display.start());
  const grid = await display.grid(0);
  const secret = nodePath.join(folder(), "secret");
  writeFileSync(secret, "0123456789".repeat(4));
  const args = ["--token-secret-file", secret];
  const gateway = scope.add(await Gateway.start(display.name, { namespace: pod, address, args }));
  const link = async (host) => (await gateway.link(secret, "control")).replace("localhost", host);
  return { display, grid, gateway, link };
}

/** The same on a cable, with Chromium at its other end; `dual`: by IPv6 too. */
async function wired(t, { dual = true } = {}) {
  const scope = new Scope(t);
  const [pod, laptop] = (await Namespace.pair("10.42.0.7", "10.42.0.20")).map((namespace) => scope.add(namespace));
  if (dual) await Promise.all([pod.also("fd42::7"), laptop.also("fd42::20")]);
  const made = await desk(scope, pod, dual ? "[::]" : undefined);
  const chromium = scope.add(await laptop.browser({}, ["--host-resolver-rules=MAP desk.example 10.42.0.7"]));
  const open = async (host, init) => scope.add(await Viewer.open(chromium, await made.link(host), { init }));
  return { ...made, laptop, open };
}

/** The picture comes this way, and keys go back. */
async function works(viewer, display, ...ways) {
  await viewer.grid(0);
  await viewer.until(`the path is ${ways.join(" or ")}`, ({ facts }) => ways.includes(facts.status?.path));
  const watched = await display.watch();
  await viewer.controlling();
  await viewer.page.keyboard.press("x");
  await watched.program.until("the key arrives", () => watched.of("KeyPress").some(({ keysym }) => keysym === "x"));
}

for (const [what, host] of [["a host name", "desk.example"], ["an IPv6 literal", "[fd42::7]"]]) {
  test(`the page by ${what}: UDP`, async (t) => {
    const { display, open } = await wired(t);
    await works(await open(host), display, "udp");
  });

  test(`the page by ${what}, UDP blocked: TCP`, async (t) => {
    const { display, laptop, open } = await wired(t);
    await laptop.blockUdp();
    // Only an address is offered to ICE over TCP; which of the two is chosen there is libwebrtc's affair.
    await works(await open(host), display, ...(host.startsWith("[") ? ["ice-tcp", "turn-tcp"] : ["turn-tcp"]));
  });
}

test("the page by 127.0.0.1", async (t) => {
  const scope = new Scope(t);
  const display = scope.add(await Display.start());
  await display.grid(0);
  const gateway = scope.add(await Gateway.start(display.name));
  const chromium = scope.add(await browser());
  const viewer = scope.add(await Viewer.open(chromium, `http://127.0.0.1:${gateway.port}/`));
  await works(viewer, display, "udp");
});

/** Firefox shows the picture, which comes by one of `ways`, and types. */
async function worksInFirefox(scope, { display, grid, url }, ...ways) {
  const firefox = scope.add(await Firefox.start());
  await firefox.goto(url);
  const state = () => firefox.evaluate(() => window.deskgate.state());
  const sees = async (index) => {
    const probe = async () => worst(await firefox.evaluate(readColours), GRIDS[index]) <= TOLERANCE;
    await until(`Firefox shows grid ${index}`, probe, undefined, async () => JSON.stringify(await state()));
  };
  await sees(0);
  await grid.show(1);
  await sees(1);
  const path = async () => (await state()).facts.status.path;
  await until(`the picture comes by ${ways.join(" or ")}`, async () => ways.includes(await path()), undefined, path);
  const watched = await display.watch();
  await firefox.type("x");
  await watched.program.until("the key arrives", () => watched.of("KeyPress").some(({ keysym }) => keysym === "x"));
}

test("Firefox, at a gateway on another machine", async (t) => {
  const scope = new Scope(t);
  const pod = scope.add(await Namespace.beside("10.142.0.7", "10.142.0.1"));
  const { display, grid, link } = await desk(scope, pod);
  await worksInFirefox(scope, { display, grid, url: await link(pod.address) }, "udp");
});

test("Firefox, where nothing but a TCP forwarder leads to the gateway", async (t) => {
  const scope = new Scope(t);
  const pod = scope.add(await Namespace.create("10.142.0.7"));
  const display = scope.add(await Display.start());
  const grid = await display.grid(0);
  const gateway = scope.add(await Gateway.start(display.name, { namespace: pod }));
  const here = { start: (...program) => new Program(...program) };
  const forwarder = scope.add(await Forwarder.start(here, "127.0.0.1:0", pod, `127.0.0.1:${gateway.port}`));
  await worksInFirefox(scope, { display, grid, url: `http://localhost:${forwarder.port}/` }, "turn-tcp", "ice-tcp", "websocket");
});

test("a laptop that slept: the gateway pauses, and the picture goes on", async (t) => {
  const scope = new Scope(t);
  const laptop = scope.add(await Namespace.beside("10.143.0.20", "10.143.0.1"));
  const { grid, gateway, link } = await desk(scope, undefined, "0.0.0.0");
  const chromium = scope.add(await laptop.browser());
  const url = await link("10.143.0.1");
  const viewer = scope.add(await Viewer.open(chromium, url));
  await viewer.grid(0);
  const headers = { Authorization: `Bearer ${new URL(url).hash.replace("#token=", "")}` };
  const fed = async (wanted) => (await gateway.status(headers)).renditions.some((rendition) => rendition.fed) === wanted;
  await until("frames are encoded", () => fed(true));
  const processes = await laptop.pids();
  const signal = (name) => processes.forEach((pid) => process.kill(pid, name));
  signal("SIGSTOP");
  try {
    await until("the gateway has paused", () => fed(false));
    await grid.show(1);
  } finally {
    signal("SIGCONT");
  }
  await viewer.grid(1);
  assert.equal(viewer.loads, 1, "without a reload");
});

// Why the page offers TURN over TCP only: libwebrtc hands every packet from a TURN server's address to its TURN port, our
// checks too, so that UDP never gets through beside it. What is left is TURN over UDP: a picture, but by a longer way.
test("TURN over UDP beside UDP on the same port takes everything", async (t) => {
  const { display, open } = await wired(t, { dual: false });
  await works(await open("10.42.0.7", alsoTurnUdp), display, "turn-udp");
});

/** Runs in the page: it offers what Deskgate's own page never does. */
function alsoTurnUdp() {
  const Real = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Real {
    constructor(configuration) {
      const { username, credential } = configuration.iceServers[0];
      const urls = `turn:${location.hostname}:${location.port}?transport=udp`;
      super({ ...configuration, iceServers: [{ urls, username, credential }] });
    }
  };
}
