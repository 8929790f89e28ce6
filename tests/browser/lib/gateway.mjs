// A real gateway.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { folder, Program, run } from "./run.mjs";

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../..");
/** The program under test. */
export const DESKGATE = process.env.DESKGATE_BIN ?? path.join(ROOT, "target/release/deskgate");

/** `deskgate serve` on a port of its own. It can be killed and started again on that port. */
export class Gateway {
  /** Starts one for `display` (an X display's name). */
  static async start(display, { args = [], env = {}, namespace, address = "127.0.0.1" } = {}) {
    if (!existsSync(DESKGATE)) throw new Error(`${DESKGATE} is missing: cargo build --release, or set DESKGATE_BIN`);
    const gateway = new Gateway(display, args, env, namespace, address);
    await gateway.restart();
    return gateway;
  }

  constructor(display, args, env, namespace, address) {
    this.address = address;
    /** Where it runs; the tests' own network by default. */
    this.namespace = namespace;
    this.args = ["--display", display, "--session", "browser-test", "--state-dir", folder(), ...args];
    this.env = env;
    this.port = 0;
  }

  get origin() {
    return `http://localhost:${this.port}`;
  }

  get url() {
    return `${this.origin}/`;
  }

  /** Starts the program; on the same port as before, if it ran before. */
  async restart() {
    const listen = `${this.address}:${this.port}`;
    const args = ["--log-format", "json", "serve", ...this.args, "--listen", listen];
    const [command, all] = this.namespace?.inside(DESKGATE, args) ?? [DESKGATE, args];
    this.program = new Program(command, all, { env: { RUST_LOG: "info,rtc=error", ...this.env } });
    const bound = () => /listening on http:\/\/[^/]*:(\d+)\//.exec(this.program.err);
    const found = await this.program.until("it listens", bound);
    this.port = Number(found[1]);
  }

  async close() {
    await this.program.kill("SIGKILL");
  }

  async #get(route, headers = {}) {
    const response = await fetch(`${this.origin}/${route}`, { headers });
    if (!response.ok) throw new Error(`${route}: ${response.status}`);
    return response;
  }

  /** `/api/status`. */
  async status(headers) {
    return (await this.#get("api/status", headers)).json();
  }

  /** Counters and gauges of `/metrics`, by name. */
  async metrics(headers) {
    const text = await (await this.#get("metrics", headers)).text();
    return Object.fromEntries([...text.matchAll(/^deskgate_(\w+) ([-\d.e+]+)$/gm)].map(([, name, value]) => [name, Number(value)]));
  }

  /** Names of the process's threads, sorted. */
  threads() {
    const tasks = `/proc/${this.program.pid}/task`;
    const name = (task) => {
      try {
        return [readFileSync(`${tasks}/${task}/comm`, "utf8").trim()];
      } catch {
        return []; // It ended meanwhile.
      }
    };
    return readdirSync(tasks).flatMap(name).sort();
  }

  /** A link with a token, as `deskgate token` prints it. */
  async link(secretFile, rights) {
    const args = ["token", "--token-secret-file", secretFile, "--session", "browser-test", "--rights", rights, "--url", this.url];
    return (await run(DESKGATE, args)).trim();
  }
}
