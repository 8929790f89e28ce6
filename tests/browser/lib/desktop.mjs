// A virtual X server with programs on it.

import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { folder, Program, run, until } from "./run.mjs";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const MOTION = path.resolve(HERE, "../../../target/release/examples/motion");
/** Debian's own: PyGObject is installed for it, not for whatever `python3` a developer has. */
const PYTHON = "/usr/bin/python3";
/** Display numbers to look for a free one in. An X server that takes one itself starts at 0. */
const DISPLAYS = { from: 200, count: 40 };

/** Colours of the 3×3 grid, row by row; two grids, so that a change can be seen. */
export const GRIDS = [
  ["#ff0000", "#00ff00", "#0000ff", "#ffff00", "#000000", "#ffffff", "#28aaaa", "#aa28a0", "#808080"],
  ["#1e786e", "#e6e6e6", "#dc3c50", "#141414", "#50c86e", "#5a6e82", "#965aa0", "#6e5050", "#b4a096"],
];

/** An X server. It can be killed and started again under its number. */
export class Display {
  /** Starts one. `size`: what it starts with, which it can only shrink from. */
  static async start({ size = { width: 1280, height: 720 } } = {}) {
    const display = new Display(Display.unused(), size);
    await display.restart();
    return display;
  }

  /** A number that nobody uses at the moment. */
  static unused() {
    return DISPLAYS.from + Math.floor(Math.random() * DISPLAYS.count);
  }

  constructor(number, size) {
    this.number = number;
    this.size = size;
    this.programs = new Set();
    this.home = folder();
  }

  get name() {
    return `:${this.number}`;
  }

  get env() {
    return { DISPLAY: this.name, NO_AT_BRIDGE: "1", GTK_IM_MODULE: "gtk-im-context-simple", HOME: this.home };
  }

  /** Starts the server; under another number only if it never ran. */
  async restart() {
    for (let tries = 0; tries < DISPLAYS.count; tries += 1) {
      if (await this.#try()) return;
      if (this.ran) break;
      this.number = DISPLAYS.from + ((this.number - DISPLAYS.from + 1) % DISPLAYS.count);
    }
    throw new Error(`Xvfb does not start on ${this.name}: ${this.server.err}`);
  }

  async #try() {
    const { width, height } = this.size;
    const screen = ["-screen", "0", `${width}x${height}x24`];
    const args = [this.name, "-displayfd", "3", ...screen, "-dpi", "96", "-nolisten", "tcp", "-ac", "-noreset"];
    this.server = new Program("Xvfb", args, { stdio: ["ignore", "ignore", "pipe", "pipe"] });
    let ready = false;
    this.server.child.stdio[3].on("data", () => (ready = true));
    await until("Xvfb starts", () => ready || this.server.end !== undefined);
    this.ran ||= ready;
    return ready;
  }

  /** Ends the server as a crash does; its programs go with it. */
  async crash() {
    await this.server.kill("SIGKILL");
    await this.#endPrograms();
  }

  async #endPrograms() {
    await Promise.all([...this.programs].map((program) => program.kill()));
    this.programs.clear();
  }

  async close() {
    await this.#endPrograms();
    // Not SIGKILL: it then removes its lock file and its socket.
    await this.server?.kill("SIGTERM");
  }

  /** Starts a program on this display. */
  start(command, args, options = {}) {
    const program = new Program(command, args, { ...options, env: { ...this.env, ...options.env } });
    this.programs.add(program);
    return program;
  }

  /** Runs a program on this display to its end. */
  run(command, ...args) {
    return run(command, args, { env: this.env });
  }

  /** Covers the screen with a grid; gives a handle that changes it. */
  async grid(index = 0) {
    const { width, height } = await this.screen();
    const program = this.start(PYTHON, [path.join(HERE, "grid.py"), String(width), String(height)], {
      stdio: ["pipe", "pipe", "pipe"],
    });
    const grid = {
      program,
      async show(next) {
        const before = program.out.length;
        program.child.stdin.write(`${GRIDS[next].join(" ")}\n`);
        await program.until("the grid is drawn", () => program.out.length > before);
      },
    };
    await grid.show(index);
    return grid;
  }

  /** Fills the screen with motion that costs an encoder much, 60 frames a second. */
  motion() {
    if (!existsSync(MOTION)) throw new Error(`${MOTION} is missing: cargo build --release --example motion`);
    return this.start(MOTION, [this.name, "60"]);
  }

  /** Size of the screen now. */
  async screen() {
    const [width, height] = (await this.run("xdotool", "getdisplaygeometry")).trim().split(" ").map(Number);
    return { width, height };
  }

  async pointer() {
    const [x, y] = (await this.run("xdotool", "getmouselocation")).match(/\d+/g).map(Number);
    return { x, y };
  }

  /** A window over the whole screen that reports what it gets, and has the keyboard. */
  async watch() {
    const { width, height } = await this.screen();
    const args = ["-oL", "xev", "-geometry", `${width}x${height}+0+0`, "-event", "button", "-event", "keyboard", "-event", "mouse"];
    const program = this.start("stdbuf", args);
    await this.focus("Event Tester");
    return new Watched(program);
  }

  /** Gives the keyboard to the window with this title, once it is there. */
  async focus(title) {
    await this.run("xdotool", "search", "--sync", "--onlyvisible", "--name", title, "windowfocus", "--sync");
  }

  /** A terminal that writes what is typed into a file. */
  async terminal() {
    const file = path.join(folder(), "typed");
    const args = ["-u8", "-title", "typing", "-geometry", "80x20+0+0", "-e", "sh", "-c", `exec cat > '${file}'`];
    this.start("xterm", args);
    await this.focus("typing");
    await until("it can be typed into", () => existsSync(file));
    return { text: () => readFileSync(file, "utf8") };
  }

  /** A GTK text field; what it holds is printed at every change. */
  async entry() {
    const program = this.start(PYTHON, [path.join(HERE, "entry.py")]);
    await this.focus("deskgate entry");
    await program.until("it has the keyboard", () => program.out.includes("focus"));
    const last = () => program.out.trim().split("\n").filter((line) => line.startsWith("text ")).at(-1);
    return { text: () => JSON.parse(last()?.slice(5) ?? '""') };
  }
}

/** What xev saw. */
class Watched {
  #from = 0;

  constructor(program) {
    this.program = program;
  }

  /** Events since the last {@link forget}: type, place on the screen, button, state, keysym. */
  events() {
    const blocks = this.program.out.slice(this.#from).split("\n\n");
    return blocks.flatMap((block) => {
      const type = /^(\w+) event/m.exec(block)?.[1];
      if (type === undefined) return [];
      const place = /root:\((-?\d+),(-?\d+)\)/.exec(block);
      const number = (name) => Number(new RegExp(`${name} (0x[0-9a-f]+|\\d+)`).exec(block)?.[1]);
      const at = place && { x: Number(place[1]), y: Number(place[2]) };
      return [{ type, at, button: number("button"), state: number("state"), keysym: /keysym 0x\w+, (\w+)/.exec(block)?.[1] }];
    });
  }

  of(...types) {
    return this.events().filter(({ type }) => types.includes(type));
  }

  forget() {
    this.#from = this.program.out.length;
  }
}
