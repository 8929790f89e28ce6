// Network namespaces: what a browser can reach, and what it cannot.

import { chmodSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { FLAGS } from "./page.mjs";
import { folder, Program, run } from "./run.mjs";

const FORWARD = path.join(path.dirname(fileURLToPath(import.meta.url)), "forward.mjs");
let made = 0;

/** A namespace with loopback, and an interface that leads nowhere, as a laptop in a train has one. */
export class Namespace {
  static async create(address) {
    const namespace = await Namespace.#empty();
    // Its other end stays here too: a cable with nobody behind it.
    await namespace.ip("link", "add", "nic0", "type", "veth", "peer", "name", "nic1");
    await namespace.ip("link", "set", "nic1", "up");
    await namespace.#plug(address);
    return namespace;
  }

  /** Two namespaces on one cable. */
  static async pair(address, other) {
    const [one, two] = [await Namespace.#empty(), await Namespace.#empty()];
    await one.ip("link", "add", "nic0", "type", "veth", "peer", "name", "nic0", "netns", two.name);
    await one.#plug(address);
    await two.#plug(other);
    return [one, two];
  }

  static async #empty() {
    const namespace = new Namespace(`dg-${process.pid}-${(made += 1)}`);
    await run("ip", ["netns", "add", namespace.name]);
    await namespace.ip("link", "set", "lo", "up");
    return namespace;
  }

  constructor(name) {
    this.name = name;
  }

  ip(...args) {
    return run("ip", ["-n", this.name, ...args]);
  }

  async #plug(address) {
    this.address = address;
    await this.ip("addr", "add", `${address}/24`, "dev", "nic0");
    await this.ip("link", "set", "nic0", "up");
    await this.ip("route", "add", "default", "dev", "nic0");
  }

  /** Has another address from now on, as after a change of network. */
  async move(address) {
    await this.ip("addr", "del", `${this.address}/24`, "dev", "nic0");
    await this.#plug(address);
  }

  /** Lets no UDP out any more, as many firewalls do. */
  blockUdp() {
    return this.ip("rule", "add", "ipproto", "udp", "prohibit");
  }

  /** A command and its arguments, to be run inside. */
  inside(command, args) {
    return ["ip", ["netns", "exec", this.name, command, ...args]];
  }

  start(command, args, options) {
    return new Program(...this.inside(command, args), options);
  }

  /** A browser that lives inside. */
  browser() {
    const executablePath = path.join(folder(), "chromium");
    const real = process.env.CHROMIUM_BIN ?? "/usr/bin/chromium";
    writeFileSync(executablePath, `#!/bin/sh\nexec ip netns exec ${this.name} ${real} "$@"\n`);
    chmodSync(executablePath, 0o755);
    return chromium.launch({ executablePath, args: FLAGS, headless: true });
  }

  async close() {
    await run("ip", ["netns", "delete", this.name]);
  }
}

/** A forwarder from `entry` (an address in `near`) to `exit` (one in `far`). It can be killed and started again. */
export class Forwarder {
  static async start(near, entry, far, exit) {
    const forwarder = new Forwarder();
    const socket = path.join(folder(), "joint");
    forwarder.programs = [
      far.start(process.execPath, [FORWARD, "leave", socket, exit]),
      near.start(process.execPath, [FORWARD, "enter", entry, socket]),
    ];
    const [, enter] = await Promise.all(forwarder.programs.map((p) => p.until("it listens", () => p.out.trim())));
    forwarder.port = Number(enter);
    return forwarder;
  }

  async close() {
    await Promise.all(this.programs.map((program) => program.kill()));
  }
}
