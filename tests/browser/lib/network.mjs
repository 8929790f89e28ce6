// Network namespaces: what a browser can reach, and what it cannot.

import { chmodSync, existsSync, writeFileSync } from "node:fs";
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

  /** A namespace on a cable to the machine that the tests run on. */
  static async beside(address, ours) {
    const namespace = await Namespace.#empty();
    const end = `dg${process.pid}`;
    await namespace.ip("link", "add", "nic0", "type", "veth", "peer", "name", end, "netns", `${process.pid}`);
    await run("ip", ["addr", "add", `${ours}/24`, "dev", end]);
    await run("ip", ["link", "set", end, "up"]);
    await namespace.#plug(address);
    return namespace;
  }

  static async #empty() {
    const namespace = new Namespace(`dg-${process.pid}-${(made += 1)}`);
    await run("ip", ["netns", "add", namespace.name]);
    // A link-local address that is ready a second late is a change of network to a browser that has just begun to load.
    await run(...namespace.inside("sysctl", ["-qw", "net.ipv6.conf.default.addr_gen_mode=1"]));
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

  /** Has an IPv6 address besides. */
  async also(address) {
    // Nobody else on this cable could have it: there is no need to ask around first.
    await this.ip("addr", "add", `${address}/64`, "dev", "nic0", "nodad");
  }

  /** Has another address from now on, as after a change of network. */
  async move(address) {
    await this.ip("addr", "del", `${this.address}/24`, "dev", "nic0");
    await this.#plug(address);
  }

  /** Lets no UDP out any more, as many firewalls do. */
  blockUdp() {
    return this.#udp("add");
  }

  /** Lets it out again. */
  allowUdp() {
    return this.#udp("del");
  }

  async #udp(action) {
    for (const family of ["-4", "-6"]) await this.ip(family, "rule", action, "ipproto", "udp", "prohibit");
  }

  /** Sends no more than `kbps` from now on, to whomever; what has to wait longer than so many milliseconds is lost. */
  async narrow(kbps, ms) {
    const tbf = ["rate", `${kbps}kbit`, "burst", "8kb", "latency", `${ms}ms`];
    await run(...this.inside("tc", ["qdisc", "replace", "dev", "nic0", "root", "tbf", ...tbf]));
  }

  /** Processes that run inside. */
  async pids() {
    const pids = (await run("ip", ["netns", "pids", this.name])).trim().split("\n").filter(Boolean);
    return pids.map(Number);
  }

  /** A command and its arguments, to be run inside. */
  inside(command, args) {
    return ["ip", ["netns", "exec", this.name, command, ...args]];
  }

  start(command, args, options) {
    return new Program(...this.inside(command, args), options);
  }

  /** A browser that lives inside, with more in its environment and on its command line. */
  browser(env = {}, flags = []) {
    const executablePath = path.join(folder(), "chromium");
    const real = process.env.CHROMIUM_BIN ?? "/usr/bin/chromium";
    writeFileSync(executablePath, `#!/bin/sh\nexec ip netns exec ${this.name} ${real} "$@"\n`);
    chmodSync(executablePath, 0o755);
    return chromium.launch({ executablePath, args: [...FLAGS, ...flags], headless: true, env: { ...process.env, ...env } });
  }

  async close() {
    await run("ip", ["netns", "delete", this.name]);
  }
}

/** nginx, which knows HTTP and WebSockets and nothing else, listening at `entry` in a namespace. */
export class Nginx {
  /** Serves what is at `upstream` (`127.0.0.1:8080`, `unix:PATH`) under `prefix`. */
  static async start(namespace, entry, prefix, upstream) {
    const home = folder();
    writeFileSync(path.join(home, "nginx.conf"), configuration(home, entry, prefix, upstream));
    const nginx = new Nginx();
    nginx.program = namespace.start("nginx", ["-p", home, "-c", path.join(home, "nginx.conf")]);
    // It writes that file once it listens.
    await nginx.program.until("it listens", () => existsSync(path.join(home, "pid")));
    return nginx;
  }

  async close() {
    await this.program.kill();
  }
}

const configuration = (home, entry, prefix, upstream) => `
daemon off;
user root;
pid ${home}/pid;
error_log stderr;
events {}
http {
  access_log off;
  ${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${home}/${name};`).join(" ")}
  server {
    listen ${entry};
    location ${prefix} {
      proxy_pass http://${upstream}/;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $http_connection;
    }
  }
}
`;

/** The far half of a forwarder: a socket in the file system that leads to `exit`, an address in `far`. */
export class Joint {
  static async start(far, exit) {
    const joint = new Joint();
    joint.path = path.join(folder(), "joint");
    joint.program = far.start(process.execPath, [FORWARD, "leave", joint.path, exit]);
    await joint.program.until("it listens", () => joint.program.out.trim());
    return joint;
  }

  async close() {
    await this.program.kill();
  }
}

/**
 * A forwarder from `entry` (an address in `near`) to `exit` (one in `far`). It can be killed and started again.
 * `pass`: what it lets through, `all`, `tls` or `http`.
 */
export class Forwarder {
  /** `kbps`: what it carries to the browser; all that comes, without. */
  static async start(near, entry, far, exit, { pass = "all", kbps } = {}) {
    const forwarder = new Forwarder();
    const joint = await Joint.start(far, exit);
    const limits = kbps === undefined ? [pass] : [pass, `${kbps}`];
    const enter = near.start(process.execPath, [FORWARD, "enter", entry, joint.path, ...limits]);
    forwarder.programs = [joint.program, enter];
    forwarder.port = Number(await enter.until("it listens", () => enter.out.trim()));
    return forwarder;
  }

  async close() {
    await Promise.all(this.programs.map((program) => program.kill()));
  }
}
