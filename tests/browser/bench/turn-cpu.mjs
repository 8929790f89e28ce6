// Processor time per media packet through the TURN server inside, beside the same stream through coturn.
//
// One gateway, one source, one real Chromium that may use relays only, over TCP or over UDP; the relay is the one inside
// or Debian's coturn in front of the gateway, one after the other in alternating order, and UDP without any relay
// beside them. What is counted: every thread of the gateway but those that capture and encode (they do the same work
// each time), and all of coturn, in nanoseconds that the scheduler gave them; divided by the video packets that the
// gateway sent meanwhile. At two bitrates, since the gateway is woken once for a frame, and coturn for each packet.

import { setTimeout as pause } from "node:timers/promises";
import { Coturn } from "../lib/coturn.mjs";
import { Display } from "../lib/desktop.mjs";
import { Viewer } from "../lib/page.mjs";
import { Scope, until } from "../lib/run.mjs";
import { POD, wired } from "../lib/ways.mjs";
import { busyCores, median, note, QUICK, reached, say, spent, sum, table, threadTimes } from "./lib.mjs";

const ROUNDS = QUICK ? 1 : 4;
const SECONDS = QUICK ? 4 : 8;
/** What the encoder may send, kbit/s: as it comes, and more than this source takes. */
const RATES = [8_000, 24_000];
/** Spends the bits that it may; ours would stop at what the eye sees, at any of the rates. */
const ENCODER = "x264-gstreamer";
/** Of what the gateway and coturn need together. */
const AIM = 0.5;

/** Runs before the page, which then uses nothing but one relay; `null`: none. */
function only(relay) {
  const Real = window.RTCPeerConnection;
  const add = Real.prototype.addIceCandidate;
  Real.prototype.addIceCandidate = function (candidate) {
    return /tcptype/.test(candidate?.candidate) ? Promise.resolve() : add.call(this, candidate);
  };
  window.RTCPeerConnection = class extends Real {
    constructor(configuration) {
      // One URL for each server: the relay inside or the one of others, over this transport.
      const ours = (url) => relay !== null && url.includes(":3478") === relay.others && !url.startsWith("turns:");
      const speak = (url) => url.replace(/transport=\w+/, `transport=${relay.transport}`);
      const narrow = (server) => ({ ...server, urls: [...new Set([server.urls].flat().filter(ours).map(speak))] });
      const servers = configuration.iceServers.map(narrow).filter(({ urls }) => urls.length > 0);
      super({ ...configuration, iceServers: servers, iceTransportPolicy: relay === null ? "all" : "relay" });
    }
  };
}

const WAYS = [
  { name: "UDP, no relay", relay: null, path: /^udp / },
  ...["tcp", "udp"].flatMap((transport) => [
    { name: `TURN/${transport.toUpperCase()}, inside`, relay: { others: false, transport }, path: new RegExp(`^turn/${transport} `) },
    { name: `TURN/${transport.toUpperCase()}, coturn`, relay: { others: true, transport }, path: new RegExp(`^turn/${transport} `) },
  ]),
];

/** Threads that carry media and everything about it; the others capture and encode, which is the same on every way. */
const CARRIES = /^(gateway|tokio-rt-worker|deskgate)$/;

async function measure({ chromium, gateway, neighbour, url }, way) {
  const viewer = await Viewer.open(chromium, url, { init: `(${only})(${JSON.stringify(way.relay)})` });
  try {
    const seen = () => viewer.page.evaluate(() => window.deskgate.stats()?.figures?.path ?? "");
    await until(`the way is ${way.name}`, async () => way.path.test(await seen()), undefined, seen);
    await pause(2_000);
    const state = async () => (await viewer.status()).media[0];
    const before = [await state(), threadTimes(gateway.program.pid), threadTimes(neighbour.pid)];
    const began = performance.now();
    await pause(SECONDS * 1_000);
    const ours = spent(gateway.program.pid, before[1]);
    const theirs = sum(spent(neighbour.pid, before[2]));
    const seconds = (performance.now() - began) / 1_000;
    const after = await state();
    const packets = after.packets - before[0].packets;
    const carrying = sum(Object.fromEntries(Object.entries(ours).filter(([name]) => CARRIES.test(name))));
    return { packets: packets / seconds, ours: carrying / packets / 1_000, theirs: theirs / packets / 1_000 };
  } finally {
    await viewer.close();
  }
}

async function compare(rate) {
  const scope = new Scope();
  try {
    const display = scope.add(await Display.start());
    display.motion();
    const settings = Coturn.settings(POD, ["udp", "tcp"]);
    const args = [...settings.args, "--resize", "false", "--bitrate", String(rate), "--encoder", ENCODER];
    const ends = await wired(scope, display, { ...settings, args, beside: Coturn.start });
    const cores = busyCores();
    const found = new Map(WAYS.map(({ name }) => [name, []]));
    for (let round = 0; round < ROUNDS; round += 1) {
      note(`processor time, at most ${rate} kbit/s: round ${round + 1} of ${ROUNDS}`);
      for (const way of round % 2 ? WAYS.toReversed() : WAYS) found.get(way.name).push(await measure(ends, way));
    }
    report(rate, found, cores());
  } finally {
    await scope.close();
  }
}

function report(rate, found, cores) {
  const of = (name, pick) => median(found.get(name).map(pick));
  const whole = ({ ours, theirs }) => ours + theirs;
  // What idles beside the way is not the way's: coturn where it is not used.
  const carried = ({ name, relay }) => of(name, relay?.others ? whole : ({ ours }) => ours);
  const straight = carried(WAYS[0]);
  const rows = WAYS.map((way) => {
    const peer = WAYS.find(({ name }) => name === way.name.replace("inside", "coturn"));
    const ratio = way === peer ? null : carried(way) / carried(peer);
    const micros = [of(way.name, ({ ours }) => ours), way.relay?.others ? of(way.name, ({ theirs }) => theirs) : 0, carried(way), carried(way) - straight];
    return [
      way.name, of(way.name, ({ packets }) => packets).toFixed(0), ...micros.map((us) => us.toFixed(1)),
      ratio?.toFixed(2) ?? "", ratio === null ? "" : `≤ ${AIM}`, ratio === null ? "" : reached(ratio <= AIM), String(ROUNDS),
    ];
  });
  say(table([`processor time per video packet, at most ${rate} kbit/s`, "packets/s", "gateway, µs", "coturn, µs", "together, µs", "more than without a relay, µs", "together, of coturn's row", "aim", "", "n"], rows));
  say(`\nWithout the gateway's threads that capture and encode. Busy cores meanwhile, all programs: ${cores.toFixed(2)}.\n`);
}

for (const rate of RATES) await compare(rate);
