// Programs that end with the test, and waiting for conditions.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";

/** Longest wait for something that is to happen, milliseconds. Generous: machines are slow, tests are not timings. */
export const DEADLINE = 30_000;
const POLL = 30;

const running = new Set();
const folders = new Set();

process.on("exit", () => {
  for (const program of running) program.signal("SIGKILL");
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));

/** A program in a process group of its own, which goes with this process. Its output is kept for messages. */
export class Program {
  constructor(command, args, { env = {}, stdio = ["ignore", "pipe", "pipe"] } = {}) {
    this.name = path.basename(command);
    this.out = "";
    this.err = "";
    this.child = spawn(command, args, { env: { ...process.env, LC_ALL: "C.UTF-8", ...env }, stdio, detached: true });
    this.child.stdout?.setEncoding("utf8").on("data", (text) => (this.out += text));
    this.child.stderr?.setEncoding("utf8").on("data", (text) => (this.err += text));
    this.ended = new Promise((resolve) => {
      this.child.once("error", (error) => resolve((this.end = `${error.message}`)));
      this.child.once("close", (code, signal) => resolve((this.end = `ended with ${signal ?? code}`)));
    }).finally(() => running.delete(this));
    running.add(this);
  }

  get pid() {
    return this.child.pid;
  }

  /** To the whole group. */
  signal(signal) {
    try {
      process.kill(-this.pid, signal);
    } catch {
      // It has ended.
    }
  }

  /** Ends it and waits until it has. */
  async kill(signal = "SIGKILL") {
    this.signal(signal);
    await this.ended;
  }

  /** Waits for `probe()` to give something; a program that ends meanwhile is a failure with its last words. */
  async until(what, probe, deadline = DEADLINE) {
    return until(`${this.name}: ${what}`, async () => {
      const found = await probe();
      if (!found && this.end !== undefined) throw new Error(`${this.name} ${this.end}: ${this.err.slice(-800)}`);
      return found;
    }, deadline);
  }
}

/**
 * Polls until `probe()` gives something true, and gives that. What it threw or `explain()` says is part of the
 * failure's message.
 */
export async function until(what, probe, deadline = DEADLINE, explain = () => "") {
  const end = performance.now() + deadline;
  for (;;) {
    const found = await probe();
    if (found) return found;
    if (performance.now() > end) throw new Error(`not within ${deadline / 1_000} s: ${what}. ${await explain()}`);
    await pause(POLL);
  }
}

/** Runs a program to its end; gives what it printed. */
export async function run(command, args, options) {
  const program = new Program(command, args, options);
  const timer = setTimeout(() => program.signal("SIGKILL"), DEADLINE);
  const end = await program.ended;
  clearTimeout(timer);
  if (program.child.exitCode !== 0) throw new Error(`${program.name} ${args.join(" ")}: ${end}: ${program.err}`);
  return program.out;
}

/** A folder that goes with this process. */
export function folder() {
  const made = mkdtempSync(path.join(tmpdir(), "deskgate-browser-"));
  folders.add(made);
  return made;
}

/** What is to be undone when a test ends, newest first. Every test makes its own; who has no test closes it. */
export class Scope {
  #undo = [];

  /** @param {import("node:test").TestContext} [t] */
  constructor(t) {
    t?.after(() => this.close());
  }

  /** Keeps `thing`, and calls its `close()` or `kill()` at the end. */
  add(thing) {
    this.#undo.push(thing);
    return thing;
  }

  async close() {
    const failures = [];
    for (const thing of this.#undo.splice(0).reverse()) {
      await Promise.resolve(thing.close?.() ?? thing.kill()).catch((error) => failures.push(error));
    }
    if (failures.length > 0) throw new AggregateError(failures, "what the test used could not be ended");
  }
}
