// Every way to reach the one port: with video playing and keys arriving.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Coturn } from "./lib/coturn.mjs";
import { Display } from "./lib/desktop.mjs";
import { Gateway } from "./lib/gateway.mjs";
import { browser, Viewer } from "./lib/page.mjs";
import { Scope, until } from "./lib/run.mjs";
import { apart, apartByTls, POD, proxied, proxiedInClear, relayOnly, WAYS, wired, withoutIceTcp, withoutTurn } from "./lib/ways.mjs";

/** A screen that shows the first grid. */
async function desktop(t) {
  const scope = new Scope(t);
  const display = scope.add(await Display.start());
  return { scope, display, grid: await display.grid(0) };
}

async function types(viewer, display) {
  const watched = await display.watch();
  await viewer.controlling();
  await viewer.page.keyboard.press("x");
  await watched.program.until("the key arrives", () => watched.of("KeyPress").some(({ keysym }) => keysym === "x"));
}

/** A gateway and a browser on one cable. */
async function cable(t) {
  const { scope, display, grid } = await desktop(t);
  const { laptop, chromium, url } = await wired(scope, display);
  const open = async (init) => scope.add(await Viewer.open(chromium, url, { init }));
  return { display, grid, laptop, open };
}

/** One of `ways`: which of two that work, is libwebrtc's to choose. */
function takes(viewer, ...ways) {
  const path = () => viewer.page.evaluate(() => window.deskgate.stats()?.figures?.path ?? "");
  const known = (path, seen) => ways.some((way) => path === way && WAYS[way].test(seen));
  return viewer.until(`the path is ${ways.join(" or ")}`, async ({ facts }) => known(facts.status?.path, await path()));
}

test("a TCP forwarder alone, as kubectl port-forward is one", async (t) => {
  const { scope, display, grid } = await desktop(t);
  const { forwarder, forward, chromium, url } = await apart(scope, display);
  const viewer = scope.add(await Viewer.open(chromium, url));
  await viewer.grid(0);
  await grid.show(1);
  await viewer.grid(1);
  await takes(viewer, "ice-tcp", "turn-tcp");

  // Killed and started again, as after a laptop's sleep.
  await forwarder.close();
  scope.add(await forward(forwarder.port));
  await grid.show(0);
  await viewer.grid(0);
  assert.equal(viewer.loads, 1, "without a reload");
  await types(viewer, display);
});

/** The picture comes this way, and keys go back. */
async function works(viewer, display, way) {
  await viewer.grid(0);
  await takes(viewer, way);
  await types(viewer, display);
}

test("UDP, where nothing is in the way", async (t) => {
  const { display, open } = await cable(t);
  await works(await open(), display, "udp");
});

test("UDP is blocked: ICE-TCP through the page's own port, which has an address", async (t) => {
  const { display, laptop, open } = await cable(t);
  await laptop.blockUdp();
  await works(await open(withoutTurn), display, "ice-tcp");
});

test("UDP is blocked: TURN over TCP through the page's own port", async (t) => {
  const { display, laptop, open } = await cable(t);
  await laptop.blockUdp();
  await works(await open(withoutIceTcp), display, "turn-tcp");
});

test("UDP goes dark in mid-stream: the picture goes on over TCP", async (t) => {
  const { grid, laptop, open } = await cable(t);
  const viewer = await open();
  await viewer.grid(0);
  await laptop.blockUdp();
  await grid.show(1);
  await viewer.grid(1);
  await takes(viewer, "ice-tcp", "turn-tcp");
  assert.equal(viewer.loads, 1, "without a reload");
});

test("the client gets another address: the picture goes on", async (t) => {
  const { grid, laptop, open } = await cable(t);
  const viewer = await open();
  await viewer.grid(0);
  await laptop.move("10.42.0.21");
  await grid.show(1);
  await viewer.grid(1);
  assert.equal(viewer.loads, 1, "without a reload");
});

test("nothing passes but TLS: TURN over TLS through the page's own port", async (t) => {
  const { scope, display, grid } = await desktop(t);
  const { chromium, url } = await apartByTls(scope, display);
  const viewer = scope.add(await Viewer.open(chromium, url));
  await viewer.grid(0);
  await grid.show(1);
  await viewer.grid(1);
  await takes(viewer, "turns");
  await types(viewer, display);
  const [cookie] = await viewer.page.context().cookies();
  assert.deepEqual([cookie.name.slice(0, 16), cookie.secure, cookie.httpOnly], ["__Host-deskgate_", true, true]);
});

test("the same with a certificate that the browser warned of: video on the WebSocket", async (t) => {
  const { scope, display, grid } = await desktop(t);
  const { forwarder, chromium } = await apart(scope, display, { args: ["--tls", "self-signed"], pass: "tls" });
  const options = { ignoreHTTPSErrors: true };
  const viewer = scope.add(await Viewer.open(chromium, `https://localhost:${forwarder.port}/`, { options }));
  await viewer.grid(0);
  await grid.show(1);
  await viewer.grid(1);
  await takes(viewer, "websocket");
  await types(viewer, display);
});

test("a browser that may use relays only", async (t) => {
  const scope = new Scope(t);
  const display = scope.add(await Display.start());
  await display.grid(0);
  const gateway = scope.add(await Gateway.start(display.name));
  const chromium = scope.add(await browser());
  const viewer = scope.add(await Viewer.open(chromium, gateway.url, { init: relayOnly }));
  await works(viewer, display, "turn-tcp");
  const told = async () => (await gateway.status()).media.find(({ path, rttMs }) => path === "turn-tcp" && rttMs > 0);
  await until("the gateway tells path and round trip", told, undefined, async () => JSON.stringify(await gateway.status()));
});

test("a proxy that knows HTTP and WebSockets only, at a sub-path: video on the WebSocket, by WebCodecs", async (t) => {
  const { scope, display, grid } = await desktop(t);
  const { chromium, url } = await proxied(scope, display);
  const viewer = scope.add(await Viewer.open(chromium, url));
  await viewer.grid(0);
  await grid.show(1);
  await viewer.grid(1);
  await takes(viewer, "websocket");
  assert.equal(await decoder(viewer), "WebCodecs");

  // The next visit does not wait for WebRTC, which never came.
  await viewer.page.reload();
  await viewer.grid(1);
  assert.equal((await viewer.state()).peer, "connecting");
  await types(viewer, display);
});

/** A proxy that knows HTTP and WebSockets only, on a page without HTTPS; UDP is blocked for now. */
async function inClear(t) {
  const scope = new Scope(t);
  const display = scope.add(await Display.start());
  const { laptop, chromium, url } = await proxiedInClear(scope, display);
  const open = async () => scope.add(await Viewer.open(chromium, url));
  return { display, laptop, open };
}

test("such a proxy, without HTTPS: by Media Source Extensions; WebRTC takes over once it gets through", async (t) => {
  const { display, laptop, open } = await inClear(t);
  const grid = await display.grid(0);
  const viewer = await open();
  await viewer.grid(0);
  await grid.show(1);
  await viewer.grid(1);
  await takes(viewer, "websocket");
  assert.equal(await decoder(viewer), "MSE");

  await laptop.allowUdp();
  await viewer.until("WebRTC shows the picture", ({ streaming }) => !streaming);
  await takes(viewer, "udp");
  await grid.show(0);
  await viewer.grid(0);
  await types(viewer, display);
  assert.equal(viewer.loads, 1, "without a reload");
});

test("the same with a window that changes its size while the picture moves: the picture follows", async (t) => {
  const { display, open } = await inClear(t);
  const grid = await display.grid(0);
  const viewer = await open();
  const errors = [];
  viewer.page.on("pageerror", (error) => errors.push(String(error)));
  await viewer.grid(0);
  await takes(viewer, "websocket");
  assert.equal(await decoder(viewer), "MSE");
  for (const [width, height] of [[937, 623], [640, 480], [1280, 720]]) {
    const moves = Array.from({ length: 20 }, (_, i) => i % 2);
    const moving = moves.reduce((before, next) => before.then(() => grid.show(next)), Promise.resolve());
    await viewer.page.setViewportSize({ width, height });
    await viewer.until("the picture has the window's size", async () => {
      const picture = await viewer.page.evaluate(() => window.deskgate.stats()?.figures);
      return picture?.width === (width & ~1) && picture.height === (height & ~1);
    });
    await moving;
  }
  await grid.show(1);
  await viewer.grid(1);
  const { streaming } = await viewer.state();
  assert.deepEqual([streaming, viewer.loads, errors], [true, 1, []]);
});

test("WebRTC takes over from the WebSocket in the middle of a word: no key is lost, none comes twice", async (t) => {
  const { display, laptop, open } = await inClear(t);
  const entry = await display.entry();
  const viewer = await open();
  await viewer.controlling();
  assert.ok((await viewer.state()).streaming);
  await laptop.allowUdp();
  const alphabet = "abcdefghijklmnopqrstuvwxyz";
  let typed = "";
  const type = async () => {
    const next = alphabet[typed.length % alphabet.length];
    await viewer.page.keyboard.press(next);
    typed += next;
  };
  await viewer.until("WebRTC shows the picture", async ({ streaming }) => {
    await type();
    return !streaming;
  });
  for (let i = 0; i < 60; i += 1) await type();
  await until("the text arrives", () => entry.text() === typed, undefined, () => `${JSON.stringify(entry.text())}, not ${typed}`);
});

/** A gateway and a browser on this machine, with `inits` before the page's own script. */
async function local(t, ...inits) {
  const scope = new Scope(t);
  const display = scope.add(await Display.start());
  const grid = await display.grid(0);
  const gateway = scope.add(await Gateway.start(display.name));
  const chromium = scope.add(await browser());
  const init = inits.map((script) => `(${script})();`).join("\n");
  const viewer = scope.add(await Viewer.open(chromium, gateway.url, { init: { content: init } }));
  return { display, grid, gateway, viewer };
}

test("a browser that refuses a server it is told of: WebRTC without that one", async (t) => {
  const { display, viewer } = await local(t, refusesServers);
  await works(viewer, display, "udp");
});

test("a browser without WebRTC: video on the WebSocket; by the next player where one fails", async (t) => {
  // Its decoder is broken on the page: no worker takes its place.
  const { display, viewer } = await local(t, withoutWebRtc, withoutWorkers, withBrokenDecoder);
  await works(viewer, display, "websocket");
  assert.equal(await decoder(viewer), "MSE");
});

test("a page that is busy acknowledges its frames all the while, for longer than a deaf one is borne with", async (t) => {
  const { grid, gateway, viewer } = await local(t, withoutWebRtc);
  await takes(viewer, "websocket");
  assert.equal(await decoder(viewer), "WebCodecs");
  let busy = true;
  const end = viewer.page.evaluate(() => {
    const until = performance.now() + 7_000;
    while (performance.now() < until);
  });
  void end.finally(() => (busy = false));
  for (let i = 0; busy; i += 1) await grid.show(i % 2);
  await end;
  assert.doesNotMatch(gateway.program.err, /deaf-socket/);
  await grid.show(1);
  await viewer.grid(1);
  assert.equal(viewer.loads, 1, "without a reload");
});

const decoder = async (viewer) => (await viewer.page.evaluate(() => window.deskgate.stats()))?.figures?.decoder;

test("a TURN server of others, by its shared secret", async (t) => {
  const { scope, display } = await desktop(t);
  const { chromium, url } = await wired(scope, display, { ...Coturn.settings(POD, ["udp"]), beside: Coturn.start });
  const viewer = scope.add(await Viewer.open(chromium, url, { init: relayOnly }));
  await viewer.grid(0);
  // For the gateway that server is an ordinary client.
  await viewer.until("the page's relay is that server", async () => {
    const stats = await viewer.page.evaluate(() => window.deskgate.stats());
    return stats.figures?.path.startsWith("turn/udp");
  });
  await types(viewer, display);
});

/** Runs in the page. */
function refusesServers() {
  const Real = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Real {
    constructor(configuration) {
      if (configuration.iceServers.length > 0) throw new DOMException("no such server", "SyntaxError");
      super(configuration);
    }
  };
}

/** Runs in the page. */
function withoutWebRtc() {
  delete window.RTCPeerConnection;
}

/** Runs in the page. */
function withoutWorkers() {
  delete window.Worker;
}

/** Runs in the page: as after a crash of the process that decodes. */
function withBrokenDecoder() {
  const Real = window.VideoDecoder;
  window.VideoDecoder = class extends Real {
    constructor(hooks) {
      super(hooks);
      this.hooks = hooks;
    }

    decode() {
      queueMicrotask(() => this.hooks.error(new DOMException("crashed", "EncodingError")));
    }
  };
}
