// What every measure needs: its flags, the middle of numbers, tables, processor time.

import { readdirSync, readFileSync } from "node:fs";

/** Few and short measures: a check of the bench rather than a result. */
export const QUICK = process.argv.includes("--quick");

/** The least value that at least `q` (0 to 1) of all values do not exceed. */
export function quantile(values, q) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? Number.NaN;
}

export const median = (values) => quantile(values, 0.5);

/** A table in Markdown; cells are text. */
export function table(head, rows) {
  const line = (cells) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

/** Whether an aim was reached, as the tables say it. */
export const reached = (holds) => (holds ? "yes" : "**no**");

export const note = (text) => process.stderr.write(`${text}\n`);
export const say = (text) => process.stdout.write(`${text}\n`);

/** Nanoseconds of processor time of each thread of a process: `[name, ns]` by thread id. */
export function threadTimes(pid) {
  const tasks = `/proc/${pid}/task`;
  const times = new Map();
  for (const task of readdirSync(tasks)) {
    try {
      const spent = Number(readFileSync(`${tasks}/${task}/schedstat`, "utf8").split(" ")[0]);
      times.set(task, [readFileSync(`${tasks}/${task}/comm`, "utf8").trim(), spent]);
    } catch {
      // It ended meanwhile.
    }
  }
  return times;
}

/** Nanoseconds since `before`, by thread name. */
export function spent(pid, before) {
  const sums = {};
  for (const [task, [name, now]] of threadTimes(pid)) {
    sums[name] = (sums[name] ?? 0) + now - (before.get(task)?.[1] ?? 0);
  }
  return sums;
}

/** The sum of an object's values. */
export const sum = (values) => Object.values(values).reduce((total, value) => total + value, 0);

/** Resident memory of a process, MiB. */
export const resident = (pid) => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) / 1_024;

/** Ticks of 10 ms that this machine's processors were busy. */
const busyTicks = () =>
  readFileSync("/proc/stat", "utf8").split("\n")[0].trim().split(/\s+/).slice(1, 9).map(Number).reduce((sum, ticks, i) => (i === 3 || i === 4 ? sum : sum + ticks), 0);

/** Gives, when called, how many cores were busy since. */
export function busyCores() {
  const [ticks, since] = [busyTicks(), performance.now()];
  return () => ((busyTicks() - ticks) * 10) / (performance.now() - since);
}
