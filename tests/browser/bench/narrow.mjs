// What becomes of a picture in full motion when the UDP way to its viewer becomes narrow in mid-stream, and the packets
// that wait for it are as many as its routers keep; and when somebody joins by a narrow TCP way. How old the picture on a
// TCP way is, see `benches/paths`.

import { setTimeout as pause } from "node:timers/promises";
import { Display } from "../lib/desktop.mjs";
import { Viewer, withoutH264 } from "../lib/page.mjs";
import { Scope } from "../lib/run.mjs";
import { apart, wired } from "../lib/ways.mjs";
import { note, QUICK, quantile, say, table } from "./lib.mjs";

/** What the way carries, kbit/s, and how long a packet waits for it before it is lost, ms: kept short, usual, far too long. */
const WAYS = QUICK ? [[3_000, 300]] : [[3_000, 60], [3_000, 300], [1_500, 800], [400, 300]];
/** By which codec somebody joins, and what the way there carries, kbit/s. */
const JOINS = QUICK ? [["H.264", 1_000]] : [["H.264", 300], ["H.264", 1_000], ["VP8", 300], ["VP8", 1_000]];
const SECONDS = QUICK ? 12 : 30;
/** The change itself. */
const SETTLE = 5;

/** Runs before the page: keeps its connections at hand. */
function keepConnections() {
  const Real = window.RTCPeerConnection;
  window.connections = [];
  window.RTCPeerConnection = class extends Real {
    constructor(configuration) {
      super(configuration);
      window.connections.push(this);
    }
  };
}

/** Runs in the page: when each frame is shown, from now on. */
function keepFrames() {
  window.shown = [performance.now()];
  const video = document.querySelector("video");
  const next = (now) => {
    window.shown.push(now);
    video.requestVideoFrameCallback(next);
  };
  video.requestVideoFrameCallback(next);
}

/** Runs in the page: the round trip of the last check, ms. */
async function roundTrip() {
  const reports = await Promise.all(window.connections.map((connection) => connection.getStats()));
  const pairs = reports.flatMap((report) => [...report.values()]).filter(({ type, nominated }) => type === "candidate-pair" && nominated);
  return Math.max(...pairs.map(({ currentRoundTripTime }) => (currentRoundTripTime ?? 0) * 1_000));
}

/** Of the frames since `keepFrames`: at first, and after that. */
async function smoothness(viewer) {
  const shown = await viewer.page.evaluate(() => window.shown);
  const gaps = shown.slice(1).map((at, i) => ({ at: at - shown[0], gap: at - shown[i] }));
  const longest = (of) => Math.max(0, ...of.map(({ gap }) => gap));
  const settled = gaps.filter(({ at }) => at > SETTLE * 1_000);
  return {
    first: longest(gaps.filter(({ at }) => at <= SETTLE * 1_000)),
    firstFps: (gaps.length - settled.length) / SETTLE,
    fps: settled.length / (SECONDS - SETTLE),
    standstill: longest(settled),
  };
}

/** Somebody joins whose way carries so much, beside somebody whose way carries everything. */
async function join(codec, kbps) {
  const scope = new Scope();
  try {
    const display = scope.add(await Display.start());
    display.motion();
    const ends = await apart(scope, display, { args: ["--resize", "false"] });
    const slow = scope.add(await ends.forward(0, kbps));
    const init = codec === "VP8" ? withoutH264 : undefined;
    const open = async (port) => scope.add(await Viewer.open(ends.chromium, `http://localhost:${port}/`, { init }));
    const wide = await open(ends.forwarder.port);
    await wide.live();
    const viewer = await open(slow.port);
    await viewer.live();
    await viewer.page.evaluate(keepFrames);
    const trips = [];
    for (let second = 0; second < SECONDS; second += 1) {
      await pause(1_000);
      const { rttMs } = (await wide.status()).media.find(({ viewer: number }) => number === 2);
      if (second >= SETTLE && rttMs !== null) trips.push(rttMs);
    }
    return { ...(await smoothness(viewer)), trip: [quantile(trips, 0.5), Math.max(...trips)] };
  } finally {
    await scope.close();
  }
}

async function measure(kbps, ms) {
  const scope = new Scope();
  try {
    const display = scope.add(await Display.start());
    display.motion();
    const { gateway, chromium, url } = await wired(scope, display, { args: ["--resize", "false"] });
    const viewer = scope.add(await Viewer.open(chromium, url, { init: keepConnections }));
    await viewer.until("the picture comes by UDP", ({ facts }) => facts.status?.path === "udp");
    await pause(SETTLE * 1_000);
    const media = async () => (await viewer.status()).media[0];
    const before = await media();
    await viewer.page.evaluate(keepFrames);
    await gateway.namespace.narrow(kbps, ms);
    const trips = [];
    for (let second = 0; second < SECONDS; second += 1) {
      await pause(1_000);
      if (second >= SETTLE) trips.push(await viewer.page.evaluate(roundTrip));
    }
    const after = await media();
    return {
      ...(await smoothness(viewer)),
      trip: [quantile(trips, 0.5), Math.max(...trips)],
      again: (after.retransmissions - before.retransmissions) / (after.packets - before.packets),
    };
  } finally {
    await scope.close();
  }
}

const rows = [];
for (const [kbps, ms] of WAYS) {
  note(`a UDP way of ${kbps} kbit/s, on which packets wait ${ms} ms at most`);
  const { first, fps, standstill, trip, again } = await measure(kbps, ms);
  rows.push([
    `${kbps} kbit/s, ${ms} ms`, first.toFixed(0), fps.toFixed(1), standstill.toFixed(0), trip.map((n) => n.toFixed(0)).join(", "), `${(again * 100).toFixed(1)} %`,
  ]);
}
say(table([
  "UDP, full motion at 60 fps, narrow from one moment on to: rate, longest wait", `longest standstill in the first ${SETTLE} s, ms`,
  "afterwards: frames/s", "longest standstill, ms", "round trip: median, longest, ms", "packets sent again",
], rows));

const joins = [];
for (const [codec, kbps] of JOINS) {
  note(`somebody joins with ${codec} by a TCP way of ${kbps} kbit/s`);
  const { first, firstFps, fps, standstill, trip } = await join(codec, kbps);
  joins.push([`${codec}, ${kbps} kbit/s`, firstFps.toFixed(1), first.toFixed(0), fps.toFixed(1), standstill.toFixed(0), trip.map((n) => n.toFixed(0)).join(", ")]);
}
say(table([
  "joining by a TCP forwarder, full motion at 60 fps", `frames/s in the first ${SETTLE} s`, "longest standstill, ms", "afterwards: frames/s",
  "longest standstill, ms", "round trip: median, longest, ms",
], joins));
