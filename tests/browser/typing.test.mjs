// Text typed in the browser arrives unchanged, whatever layout the X server has.

import { after, before, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { devices } from "playwright-core";
import { Display } from "./lib/desktop.mjs";
import { Gateway } from "./lib/gateway.mjs";
import { browser, Viewer } from "./lib/page.mjs";
import { Scope, until } from "./lib/run.mjs";

const ASCII = String.fromCharCode(...Array.from({ length: 95 }, (_, i) => 32 + i));
/** A character that a key of some keyboard types, and that key. */
const KEYS = [["é", "Digit2"], ["€", "KeyE"], ["ñ", "Semicolon"], ["ß", "Minus"]];
const COMPOSED = ["中", "🙂", "ok"];
const ALL = ASCII + KEYS.map(([key]) => key).join("") + COMPOSED.join("");

let chromium;
before(async () => (chromium = await browser()));
after(() => chromium.close());

/** A desktop with `program` on it (a method of Display), and a page that has control. */
async function desk(t, program, { layout = "us", options } = {}) {
  const scope = new Scope(t);
  const display = scope.add(await Display.start());
  await display.run("setxkbmap", layout);
  const typed = await display[program]();
  const gateway = scope.add(await Gateway.start(display.name));
  const viewer = scope.add(await Viewer.open(chromium, gateway.url, { options }));
  await viewer.controlling();
  return { display, viewer, typed };
}

function arrived(typed, wanted, deadline) {
  return until("the text arrives", () => typed.text().trimEnd() === wanted.trimEnd(), deadline, () =>
    `typed ${JSON.stringify(wanted)}, arrived ${JSON.stringify(typed.text())}`,
  );
}

async function type(viewer) {
  await viewer.page.keyboard.type(ASCII);
  for (const [key, code] of KEYS) await viewer.key(key, code);
  for (const text of COMPOSED) await viewer.compose(text);
}

for (const layout of ["us", "de", "fr"]) {
  test(`layout ${layout}: into a terminal`, async (t) => {
    const { viewer, typed } = await desk(t, "terminal", { layout });
    await type(viewer);
    await viewer.page.keyboard.press("Enter");
    await arrived(typed, ALL);
  });

  test(`layout ${layout}: into a GTK program`, async (t) => {
    const { viewer, typed } = await desk(t, "entry", { layout });
    await type(viewer);
    await arrived(typed, ALL);
  });
}

/** 200 characters of Chinese, 160 of them distinct. */
const CHINESE = Array.from({ length: 200 }, (_, i) => String.fromCodePoint(0x4e00 + (i % 160) * 7));

for (const [program, name] of [["terminal", "a terminal"], ["entry", "a GTK program"]]) {
  test(`200 Chinese characters as composition text, 50 a second, into ${name}`, async (t) => {
    const { viewer, typed } = await desk(t, program);
    const start = performance.now();
    for (const [i, text] of CHINESE.entries()) {
      await pause(Math.max(0, start + i * 20 - performance.now()));
      await viewer.compose(text);
    }
    if (program === "terminal") await viewer.page.keyboard.press("Enter");
    const given = performance.now() - start;
    await arrived(typed, CHINESE.join(""), 20_000);
    t.diagnostic(`typed in ${Math.round(given)} ms, arrived after ${Math.round(performance.now() - start)} ms`);
  });
}

/** Taps the toolbar's button; the toolbar shows itself at first, and goes. */
async function callKeyboard(page) {
  const button = page.getByRole("button", { name: "Keyboard", exact: true });
  const handle = page.getByRole("button", { name: "Show the toolbar" });
  await until("the soft keyboard is called up", async () => {
    const target = (await button.isVisible()) ? button : handle;
    // It may go while it is being tapped.
    await target.tap({ timeout: 3_000 }).catch(() => undefined);
    return page.evaluate(() => document.activeElement?.id === "field" && document.activeElement.inputMode === "text");
  });
}

test("a phone types by its soft keyboard", async (t) => {
  const { viewer, typed } = await desk(t, "entry", { options: devices["Pixel 7"] });
  const { page } = viewer;
  await callKeyboard(page);
  const cdp = await viewer.cdp();
  const composing = (text) => cdp.send("Input.imeSetComposition", { text, selectionStart: text.length, selectionEnd: text.length });
  // As Gboard does: the word grows, is corrected, and the space commits it.
  for (const text of ["t", "te", "teh", "the"]) await composing(text);
  await cdp.send("Input.insertText", { text: "the" });
  await cdp.send("Input.insertText", { text: " " });
  for (const text of ["ca", "caf", "café"]) await composing(text);
  await cdp.send("Input.insertText", { text: "café" });
  await cdp.send("Input.insertText", { text: "!🙂" });
  await arrived(typed, "the café!🙂");
});
