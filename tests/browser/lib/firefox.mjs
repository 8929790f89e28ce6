// Debian's Firefox, driven by WebDriver BiDi: Playwright can only drive a Firefox of its own making.

import WebSocket from "ws";
import { folder, Program } from "./run.mjs";

/** Answers are due within this, milliseconds. */
const ANSWER = 30_000;

/** A Firefox with one page. */
export class Firefox {
  static async start() {
    const profile = folder();
    const args = ["--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0", "about:blank"];
    const program = new Program(process.env.FIREFOX_BIN ?? "/usr/bin/firefox-esr", args, {
      env: { HOME: profile, MOZ_HEADLESS_WIDTH: "1280", MOZ_HEADLESS_HEIGHT: "820" },
    });
    const found = await program.until("it can be driven", () => /listening on (ws:\/\/\S+)/.exec(program.err), 60_000);
    const socket = new WebSocket(`${found[1]}/session`);
    await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
    const firefox = new Firefox(program, socket);
    await firefox.command("session.new", { capabilities: {} });
    const { contexts } = await firefox.command("browsingContext.getTree", {});
    firefox.context = contexts[0].context;
    return firefox;
  }

  constructor(program, socket) {
    this.program = program;
    this.socket = socket;
    this.next = 1;
    this.waiting = new Map();
    socket.on("message", (text) => this.#answer(JSON.parse(text)));
  }

  #answer({ id, type, result, error, message }) {
    const waiting = this.waiting.get(id);
    if (waiting === undefined) return;
    this.waiting.delete(id);
    if (type === "success") waiting.resolve(result);
    else waiting.reject(new Error(`${error}: ${message}`));
  }

  /** One BiDi command. */
  command(method, params) {
    const id = this.next++;
    this.socket.send(JSON.stringify({ id, method, params }));
    const timer = setTimeout(() => this.#answer({ id, error: "timeout", message: method }), ANSWER);
    return new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject })).finally(() => clearTimeout(timer));
  }

  /** Opens another tab in front of the page; gives what brings the page back. */
  async cover() {
    const { context } = await this.command("browsingContext.create", { type: "tab" });
    await this.command("browsingContext.activate", { context });
    return () => this.command("browsingContext.close", { context });
  }

  async goto(url) {
    const { context } = this;
    await this.command("browsingContext.setViewport", { context, viewport: { width: 1280, height: 720 } });
    await this.command("browsingContext.navigate", { context, url, wait: "complete" });
  }

  /** Runs a function without arguments in the page; its result travels as JSON. */
  async evaluate(run) {
    const { result, exceptionDetails } = await this.command("script.evaluate", {
      expression: `Promise.resolve((${run})()).then((value) => JSON.stringify(value ?? null))`,
      target: { context: this.context },
      awaitPromise: true,
    });
    if (exceptionDetails) throw new Error(exceptionDetails.text);
    return JSON.parse(result.value);
  }

  /** Presses keys, one after the other. */
  async type(text) {
    const actions = [...text].flatMap((value) => [{ type: "keyDown", value }, { type: "keyUp", value }]);
    await this.command("input.performActions", { context: this.context, actions: [{ type: "key", id: "keyboard", actions }] });
  }

  async close() {
    this.socket.terminate();
    await this.program.kill("SIGTERM");
  }
}
