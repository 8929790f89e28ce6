// Many viewers on one gateway: memory for each, and whether the slowest gets what the others get.
//
// The viewers are `deskgate probe --viewers`: real ICE, DTLS and SRTP, without decoding. They share this machine with the
// gateway, the X server and the encoder: the last lines say who used how much of it.

import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { Display } from "../lib/desktop.mjs";
import { DESKGATE, Gateway } from "../lib/gateway.mjs";
import { Program, Scope } from "../lib/run.mjs";
import { busyCores, note, QUICK, reached, resident, say, spent, sum, table, threadTimes } from "./lib.mjs";

const IDLE = QUICK ? [0, 25] : [0, 25, 50, 100];
const ACTIVE = QUICK ? 20 : 50;
const SECONDS = QUICK ? 5 : 20;
/** What the encoder is told, so that each viewer gets 2 Mbit/s. */
const KBPS = 2_600;
/** The slowest viewer's frame rate, of the median's. */
const AIM = 0.95;
/** What is over this is not linear: the greatest step's cost for one viewer, of the least step's. */
const LINEAR = 1.5;
/** For a gateway to calm down once all are seated. */
const SETTLE = 2_000;

/** Longest wait for a crowd to be seated. */
const SEATED = 120_000;

/** So many viewers at a gateway that is started for them; `while_` is called once they watch. */
async function crowd(display, active, idle, seconds, while_) {
  const scope = new Scope();
  try {
    const args = ["--bitrate", String(KBPS), "--max-viewers", "500", "--resize", "false"];
    const gateway = scope.add(await Gateway.start(display.name, { args }));
    const flags = ["probe", gateway.url, "--viewers", String(active), "--idle", String(idle), "--seconds", String(seconds), "--json"];
    const probe = scope.add(new Program(DESKGATE, flags));
    await probe.until("they watch", () => probe.err.includes("watching"), SEATED);
    const seen = await while_(gateway, probe);
    await probe.ended;
    return { ...seen, report: JSON.parse(probe.out) };
  } finally {
    await scope.close();
  }
}

async function memory(display) {
  const steps = [];
  for (const idle of IDLE) {
    note(`many viewers: ${idle} idle ones`);
    const { mib, report } = await crowd(display, 1, idle, 5, async (gateway) => {
      await pause(SETTLE);
      return { mib: resident(gateway.program.pid) };
    });
    if (report.idleConnected !== idle) throw new Error(`${report.idleConnected} of ${idle} idle viewers got in`);
    steps.push({ idle, mib });
  }
  const [{ mib: none }] = steps;
  const each = ({ idle, mib }) => ((mib - none) / idle) * 1_024;
  const costs = steps.slice(1).map(each);
  const rows = steps.map((step) => [String(step.idle), step.mib.toFixed(1), step.idle === 0 ? "" : each(step).toFixed(0)]);
  say(table(["idle viewers, beside one active", "resident, MiB", "more for each, KiB"], rows));
  say(`\nLinear, the dearest step at most ${LINEAR} × the cheapest: ${reached(Math.max(...costs) <= LINEAR * Math.min(...costs))}.\n`);
}

async function rates(display) {
  const idle = IDLE.at(-1);
  note(`many viewers: ${ACTIVE} active and ${idle} idle ones`);
  const { shares, mib, report } = await crowd(display, ACTIVE, idle, SECONDS, async (gateway, probe) => {
    await pause(SETTLE);
    const cores = busyCores();
    const pids = [gateway.program.pid, probe.pid];
    const [before, since] = [pids.map(threadTimes), performance.now()];
    await pause((SECONDS - 4) * 1_000);
    const over = (performance.now() - since) * 1e6;
    const [ours, theirs] = pids.map((pid, i) => spent(pid, before[i]));
    const share = (times) => sum(times) / over;
    const loop = (ours.gateway ?? 0) / over;
    return { shares: { gateway: share(ours), loop, probe: share(theirs), all: cores() }, mib: resident(gateway.program.pid) };
  });
  const { fps, kbps, slowestOfMedian: slowest } = report;
  const rows = [
    ["active, idle viewers that got in", `${report.activeConnected} of ${ACTIVE}, ${report.idleConnected} of ${idle}`, "all", reached(report.activeConnected === ACTIVE && report.idleConnected === idle)],
    ["frames a second of an active one: slowest, median, fastest", [fps.min, fps.median, fps.max].map((n) => n.toFixed(1)).join(", "), "", ""],
    ["the slowest, of the median", slowest.toFixed(3), `≥ ${AIM}`, reached(slowest >= AIM)],
    ["kbit/s of an active one: least, median, most", [kbps.min, kbps.median, kbps.max].map((n) => n.toFixed(0)).join(", "), "", ""],
    ["packets lost, of those sent", `${report.lost} of ${report.packets + report.lost}`, "", ""],
    ["the gateway, resident", `${mib.toFixed(0)} MiB`, "", ""],
    ["cores: the gateway (its one loop); the viewers; all programs", `${shares.gateway.toFixed(2)} (${shares.loop.toFixed(2)}); ${shares.probe.toFixed(2)}; ${shares.all.toFixed(2)} of ${cpus()}`, "", ""],
  ];
  say(table([`${ACTIVE} active and ${idle} idle viewers, ${report.seconds.toFixed(0)} s`, "", "aim", ""], rows));
}

const cpus = () => readFileSync("/proc/cpuinfo", "utf8").match(/^processor/gm).length;

const scope = new Scope();
try {
  const display = scope.add(await Display.start());
  display.motion();
  await memory(display);
  await rates(display);
} finally {
  await scope.close();
}
