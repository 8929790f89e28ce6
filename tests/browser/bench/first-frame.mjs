// Time from the start of loading the page to its first picture, for each way to the one port.
//
// Real Chromium; every visit is that of a new profile unless the row says otherwise. All ways are set up at once and
// visited in turn, so that what else the machine does meets all of them alike.

import { Display } from "../lib/desktop.mjs";
import { Viewer } from "../lib/page.mjs";
import { Scope, until } from "../lib/run.mjs";
import { apart, apartByTls, proxied, proxiedInClear, WAYS, wired, withoutIceTcp, withoutTurn } from "../lib/ways.mjs";
import { busyCores, median, note, quantile, QUICK, say, table } from "./lib.mjs";

const ROUNDS = QUICK ? 2 : 10;

const blocked = async (scope, display) => {
  const ends = await wired(scope, display);
  await ends.laptop.blockUdp();
  return ends;
};

/** `init` narrows what the page may use; `again`: a second visit is measured too. */
const ROWS = [
  { name: "UDP", way: ["udp"], start: wired },
  { name: "UDP blocked: TURN over TCP", way: ["turn-tcp"], start: blocked, init: withoutIceTcp },
  { name: "UDP blocked: ICE-TCP", way: ["ice-tcp"], start: blocked, init: withoutTurn },
  { name: "a TCP forwarder alone (`kubectl port-forward`)", way: ["ice-tcp", "turn-tcp"], start: apart },
  { name: "TLS alone: TURN over TLS", way: ["turns"], start: apartByTls },
  { name: "an HTTP proxy alone (nginx): WebSocket, WebCodecs", way: ["websocket"], start: proxied, again: true },
  { name: "the same without HTTPS: WebSocket, MSE", way: ["websocket"], start: proxiedInClear, again: true },
];

/** Runs before the page: notes when the first picture is presented, on the page's clock, which starts with loading. */
function watchFirst() {
  window.firstPicture = new Promise((resolve) => {
    const presented = (video) => {
      // Chromium gives a stream without a picture yet 2 by 2 pixels.
      video.requestVideoFrameCallback((now) => (video.videoWidth < 100 ? presented(video) : resolve(now)));
    };
    const look = (node) => node instanceof HTMLVideoElement && presented(node);
    new MutationObserver((changes) => {
      for (const { addedNodes } of changes) {
        for (const node of addedNodes) {
          look(node);
          node.querySelectorAll?.("video").forEach(look);
        }
      }
    }).observe(document, { childList: true, subtree: true });
    // WebCodecs draws on a canvas: what was drawn is presented with the next animation frame.
    const draw = CanvasRenderingContext2D.prototype.drawImage;
    CanvasRenderingContext2D.prototype.drawImage = function (picture, ...rest) {
      draw.call(this, picture, ...rest);
      if (picture instanceof VideoFrame) requestAnimationFrame(resolve);
    };
  });
}

/** Milliseconds to the first picture of what the page loads now; fails if it came another way. */
async function measure(viewer, way) {
  const ms = await viewer.page.evaluate(() => window.firstPicture);
  const path = () => viewer.page.evaluate(() => window.deskgate.stats()?.figures?.path ?? "");
  const taken = async () => {
    const seen = await path();
    return way.some((name) => WAYS[name].test(seen));
  };
  await until(`the picture comes by ${way.join(" or ")}`, taken, undefined, path);
  return ms;
}

async function visit({ ends, row }) {
  const init = `(${row.init ?? "() => {}"})(); (${watchFirst})();`;
  const viewer = await Viewer.open(ends.chromium, ends.url, { init });
  try {
    const first = await measure(viewer, row.way);
    if (!row.again) return [first];
    await viewer.page.reload();
    return [first, await measure(viewer, row.way)];
  } finally {
    await viewer.close();
  }
}

const scope = new Scope();
try {
  const display = scope.add(await Display.start());
  await display.grid(0);
  const set = [];
  for (const row of ROWS) set.push({ row, ends: await row.start(scope, display), visits: [[], []] });
  const cores = busyCores();
  // The first visit of each wakes the browser up and does not count.
  for (let round = -1; round < ROUNDS; round += 1) {
    note(`first frame: round ${round + 1} of ${ROUNDS}`);
    for (const one of set) {
      const times = await visit(one);
      if (round >= 0) times.forEach((ms, i) => one.visits[i].push(ms));
    }
  }
  const line = (name, times) => [name, ...[median(times), quantile(times, 0.9), Math.max(...times)].map((ms) => ms.toFixed(0)), String(times.length)];
  const rows = set.flatMap(({ row, visits: [first, second] }) => [
    line(row.again ? `${row.name}, first visit` : row.name, first),
    ...(row.again ? [line(`${row.name}, later visits`, second)] : []),
  ]);
  say(table(["from page load to the first picture", "median, ms", "p90, ms", "worst, ms", "n"], rows));
  say(`\nBusy cores meanwhile, all programs: ${cores().toFixed(2)}.`);
} finally {
  await scope.close();
}
