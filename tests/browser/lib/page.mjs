// A real Chromium, and Deskgate's page in it.

import { chromium } from "playwright-core";
import { GRIDS } from "./desktop.mjs";
import { DEADLINE, until } from "./run.mjs";

export const FLAGS = [
  "--no-sandbox",
  "--disable-quic",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
/** What a colour may be off after refinement, of 255. */
export const TOLERANCE = 6;

/** Starts the browser: one is enough for a file of tests, each page gets a context of its own. */
export function browser() {
  const executablePath = process.env.CHROMIUM_BIN ?? "/usr/bin/chromium";
  return chromium.launch({ executablePath, args: FLAGS, headless: true });
}

/** Deskgate's page in a browser. */
export class Viewer {
  /**
   * Opens `url` in a context of its own (or in `context`).
   * `fit`: what the page does about another size; `init`: script that runs before the page's own.
   */
  static async open(browser, url, { context, options = {}, fit = "resize", init } = {}) {
    const made = context ?? (await browser.newContext({ viewport: { width: 1280, height: 720 }, ...options }));
    const page = await made.newPage();
    await page.addInitScript((prefs) => {
      if (localStorage.getItem("deskgate.prefs") === null) localStorage.setItem("deskgate.prefs", prefs);
    }, JSON.stringify({ fit }));
    if (init) await page.addInitScript(init);
    const viewer = new Viewer(page, context === undefined);
    await page.goto(url);
    return viewer;
  }

  constructor(page, ownsContext) {
    this.page = page;
    this.ownsContext = ownsContext;
    this.loads = 0;
    page.on("load", () => (this.loads += 1));
  }

  async close() {
    await (this.ownsContext ? this.page.context().close() : this.page.close());
  }

  /** What the page says of itself. */
  state() {
    return this.page.evaluate(() => window.deskgate.state());
  }

  /** The gateway's `/api/status`, asked for as this viewer. */
  status() {
    return this.page.evaluate(async () => (await fetch("api/status")).json());
  }

  /** Frames that the video has shown. */
  frames() {
    return this.page.evaluate(() => document.querySelector("video").getVideoPlaybackQuality().totalVideoFrames);
  }

  /** Waits until the state is as wanted. */
  until(what, wanted, deadline = DEADLINE) {
    const probe = async () => {
      const state = await this.state();
      return (await wanted(state)) ? state : null;
    };
    return until(what, probe, deadline, async () => JSON.stringify(await this.state().catch(String)));
  }

  /** A picture is shown. */
  live(deadline) {
    return this.until("the page is live", (state) => state.stage === "live", deadline);
  }

  /** A picture is shown and this viewer's keys are followed. */
  controlling() {
    return this.until("the page has control", (state) => state.stage === "live" && state.controlling);
  }

  /** Mean colours of the middles of the 3×3 cells of the video, as arrays of red, green and blue. */
  colours() {
    return this.page.evaluate(readColours);
  }

  /** Waits until the video shows that grid. */
  grid(index, deadline = DEADLINE, tolerance = TOLERANCE) {
    const probe = async () => worst(await this.colours(), GRIDS[index]) <= tolerance;
    const explain = async () => JSON.stringify({ colours: await this.colours(), wanted: GRIDS[index], state: await this.state() });
    return until(`the video shows grid ${index}`, probe, deadline, explain);
  }

  /** CSS place of the middle of a screen pixel. */
  async place({ x, y }) {
    const { layout } = await this.state();
    return { x: layout.left + (x + 0.5) * layout.scale, y: layout.top + (y + 0.5) * layout.scale };
  }

  /** The browser's debugging protocol, for what Playwright has no call for. */
  async cdp() {
    this.session ??= await this.page.context().newCDPSession(this.page);
    return this.session;
  }

  /** Text as an input method commits it, after a composition. */
  async compose(text) {
    const cdp = await this.cdp();
    await cdp.send("Input.imeSetComposition", { text, selectionStart: text.length, selectionEnd: text.length });
    await cdp.send("Input.insertText", { text });
  }

  /** A key of a keyboard whose layout has `key` on the key `code`. */
  async key(key, code) {
    const cdp = await this.cdp();
    const base = { key, code, text: key, unmodifiedText: key };
    await cdp.send("Input.dispatchKeyEvent", { type: "keyDown", ...base });
    await cdp.send("Input.dispatchKeyEvent", { type: "keyUp", key, code });
  }
}

/** Largest difference of a channel. */
export function worst(colours, grid) {
  const wanted = grid.map((text) => [1, 3, 5].map((at) => Number.parseInt(text.slice(at, at + 2), 16)));
  return Math.max(...wanted.flatMap((rgb, cell) => rgb.map((value, i) => Math.abs(value - (colours[cell]?.[i] ?? 999)))));
}

/** Runs in the page; so it must not use anything of this module. */
export function readColours() {
  const video = [...document.querySelectorAll(".picture:not(.clear, #still)")].at(-1);
  // Chromium gives a stream without a picture yet 2 by 2 pixels; a canvas has no `videoWidth`.
  if (!video || (video.videoWidth ?? video.width) < 100) return [];
  const canvas = document.createElement("canvas");
  const { videoWidth: width = video.width, videoHeight: height = video.height } = video;
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(video, 0, 0);
  const mean = (row, column) => {
    const box = [Math.floor(((column + 0.3) * width) / 3), Math.floor(((row + 0.3) * height) / 3), Math.floor(width * 0.13), Math.floor(height * 0.13)];
    const { data } = context.getImageData(...box);
    const sum = [0, 0, 0];
    for (let i = 0; i < data.length; i += 1) if (i % 4 < 3) sum[i % 4] += data[i];
    return sum.map((total) => (total * 4) / data.length);
  };
  return [0, 1, 2].flatMap((row) => [0, 1, 2].map((column) => mean(row, column)));
}

/** Runs before the page: this browser has no H.264. */
export function withoutH264() {
  const capabilities = RTCRtpReceiver.getCapabilities.bind(RTCRtpReceiver);
  RTCRtpReceiver.getCapabilities = (kind) => {
    const all = capabilities(kind);
    if (kind === "video") all.codecs = all.codecs.filter(({ mimeType }) => !/h264/i.test(mimeType));
    return all;
  };
}
