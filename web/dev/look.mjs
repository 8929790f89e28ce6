// Takes screenshots of the page's states and checks its input against dev/mock.mjs: node dev/look.mjs [folder]

import { mkdir } from "node:fs/promises";
import { chromium } from "playwright-core";
import { startMock } from "./mock.mjs";

const folder = process.argv[2] ?? "/tmp/deskgate-look";
await mkdir(folder, { recursive: true });
const mock = await startMock();
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-features=WebRtcHideLocalIpsWithMdns"],
});
/** A red 16×16 square. */
const CURSOR =
  "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAYAAAAf8/9hAAAAGUlEQVR42mP47+DwnxLMMGrAqAGjBgwXAwBAAH4fUVci7AAAAABJRU5ErkJggg==";
const problems = [];
const watch = (page, name) => {
  page.on("console", (m) => ["error", "warning"].includes(m.type()) && problems.push(`${name}: ${m.text()}`));
  page.on("pageerror", (e) => problems.push(`${name}: ${e.stack}`));
};
const shot = (page, name) => page.screenshot({ path: `${folder}/${name}.png` });
const kind = (page) => page.evaluate(() => window.deskgate.state().view.kind);
const until = async (page, wanted, ms = 15000) => {
  const start = Date.now();
  for (;;) {
    if ((await kind(page)) === wanted) return Date.now() - start;
    if (Date.now() - start > ms) throw new Error(`no ${wanted}: ${JSON.stringify(await page.evaluate(() => window.deskgate.state()))}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
};
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

try {
  const desktop = await (await browser.newContext()).newPage();
  watch(desktop, "desktop");
  await desktop.goto(`http://127.0.0.1:${mock.port}/__desktop`);

  mock.lock(true);
  const page = await (await browser.newContext({ viewport: { width: 1280, height: 720 } })).newPage();
  watch(page, "page");
  await page.goto(`${mock.url}#token=bad`);
  await until(page, "login");
  console.log("address after bad token:", page.url());
  await shot(page, "01-login");
  problems.length = 0;

  await page.goto("about:blank");
  await page.goto(mock.url);
  await page.waitForSelector(".hint:not([hidden])");
  await shot(page, "01b-login-with-a-hint");
  problems.length = 0;

  mock.status.display = "waiting";
  mock.status.message = "No X server on display :1 yet. It is tried again every second.";
  await page.goto("about:blank");
  await page.goto(`${mock.url}#token=good`);
  await until(page, "waiting");
  await shot(page, "02-waiting");
  mock.status.display = "live";
  mock.status.message = "";
  mock.say(mock.status);
  console.log("live after waiting, ms:", await until(page, "live"));
  await pause(600);
  await shot(page, "03-live-greeting");
  await page.mouse.move(640, 500);
  await pause(4500);
  await shot(page, "04-live");

  const at = Math.round(Date.now() / 1000) + 300;
  mock.say({ type: "notice", notice: { action: "suspend", at, leftMs: 300_000, reason: "timeout", homeStays: true } });
  await pause(300);
  await shot(page, "04a-notice");
  await page.click(".banner button");
  console.log("notice closed:", await page.isHidden(".banner"));

  const { sdp } = mock.log.find((e) => e.message?.type === "offer").message;
  console.log("offer:", sdp.length, "bytes;", sdp.split("\r\n").filter((s) => /^m=|playout|a=(recvonly|inactive|sendonly)|m-line/.test(s)).join(" | "));
  mock.log.length = 0;
  await page.keyboard.type("Hé€中🙂");
  await page.keyboard.down("Shift");
  await page.keyboard.press("KeyQ");
  await page.keyboard.up("Shift");
  await page.mouse.move(100, 200);
  await page.mouse.down();
  await page.mouse.move(300, 400, { steps: 10 });
  await page.mouse.up();
  await page.mouse.wheel(0, 240);
  await pause(500);
  console.log("input:", mock.log.map((e) => `${e.lane}:${e.hex ?? e.text ?? e.message.type}`).join(" "));

  mock.log.length = 0;
  const cdp = await page.context().newCDPSession(page);
  await cdp.send("Input.imeSetComposition", { text: "zhong", selectionStart: 5, selectionEnd: 5 });
  await cdp.send("Input.imeSetComposition", { text: "中文", selectionStart: 2, selectionEnd: 2 });
  await cdp.send("Input.insertText", { text: "中文" });
  await page.keyboard.down("a");
  await pause(450);
  await page.keyboard.up("a");
  await page.keyboard.down("Control");
  await page.evaluate(() => window.dispatchEvent(new window.Event("blur")));
  await page.keyboard.up("Control");
  await page.mouse.click(50, 600, { button: "right" });
  await pause(200);
  console.log("composition, hold, blur, right click:", mock.log.filter((e) => e.hex).map((e) => `${e.lane}:${e.hex}`).join(" "));
  mock.say({ type: "cursor", hotX: 3, hotY: 2, width: 16, height: 16, png: CURSOR });
  await pause(100);
  console.log("cursor:", await page.evaluate(() => document.getElementById("stage").style.cursor.replace(/base64,[^"]*/, "…")));
  mock.log.length = 0;
  await page.mouse.move(640, 2);
  await pause(300);
  await page.click("button[aria-label^=Lock]");
  await pause(300);
  await page.mouse.move(700, 300);
  await page.mouse.move(720, 340);
  await page.mouse.down();
  await page.mouse.up();
  await pause(200);
  await shot(page, "04b-pointer-lock");
  console.log("pointer lock:", await page.evaluate(() => document.pointerLockElement?.id), mock.log.filter((e) => e.hex).map((e) => e.hex).join(" "));
  await page.evaluate(() => document.exitPointerLock());
  await page.mouse.move(640, 2);
  await pause(300);
  await page.click("button[aria-label=Statistics]");
  await page.click("button[aria-label^=Menu]");
  mock.status.viewers.push({ viewer: 2, rights: ["view", "control"], visible: true }, { viewer: 3, rights: ["view"], visible: false });
  mock.status.fallback = "NVENC: no device; x264 encodes instead";
  mock.say(mock.status);
  mock.say({ type: "controlRequest", viewer: 2 });
  await pause(2500);
  await shot(page, "05-menu-stats");
  console.log("stats:", JSON.stringify(await page.evaluate(() => window.deskgate.stats())));
  const menuHeight = await page.evaluate(() => document.querySelector(".menu").scrollHeight);
  await page.setViewportSize({ width: 1280, height: menuHeight });
  await pause(1200);
  await shot(page, "06-menu-whole");
  await page.setViewportSize({ width: 1280, height: 720 });
  await page.keyboard.press("Escape");

  const before = await page.evaluate(() => window.deskgate.state().generation);
  mock.drop();
  await pause(60);
  await shot(page, "07-socket-lost");
  await pause(1500);
  console.log("socket replaced, same peer:", before === (await page.evaluate(() => window.deskgate.state().generation)), await kind(page));
  mock.restartMedia();
  mock.drop();
  const left = await until(page, "reconnecting", 8000);
  await shot(page, "08-reconnecting");
  console.log("gateway gone, noticed after ms:", left, "live again after ms:", await until(page, "live"));

  await Promise.race([desktop.goto("chrome://crash").catch(() => {}), pause(1000)]);
  mock.drop();
  const began = Date.now();
  await until(page, "reconnecting", 8000);
  const noticed = Date.now() - began;
  await pause(700);
  await shot(page, "08b-frozen");
  const again = await (await browser.newContext()).newPage();
  await again.goto(`http://127.0.0.1:${mock.port}/__desktop`);
  await until(page, "live");
  console.log("gateway killed, noticed after ms:", noticed, "live again after ms:", Date.now() - began);

  mock.log.length = 0;
  await page.reload();
  await until(page, "live");
  console.log("reload presents its ticket:", mock.log.find((e) => e.message?.type === "hello").message.resume);

  mock.status.canResize = false;
  mock.say({ type: "screens", screens: [{ x: 0, y: 0, width: 1024, height: 768 }] });
  mock.status.controller = 2;
  mock.say(mock.status);
  mock.say({ type: "pointer", x: 500, y: 400 });
  await page.mouse.click(600, 300);
  await page.mouse.move(640, 2);
  await pause(600);
  await shot(page, "09-watching-scaled");
  mock.say({ type: "bye", reason: "replaced", message: "" });
  await until(page, "ended");
  await shot(page, "10-ended");
  await page.close();

  mock.status.controller = 1;
  mock.status.canResize = true;
  const phone = await (await browser.newContext({ viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true })).newPage();
  watch(phone, "phone");
  await phone.goto(mock.url);
  await until(phone, "live");
  await pause(800);
  await shot(phone, "11-phone");
  mock.log.length = 0;
  await phone.tap("button[aria-label=Keyboard]");
  await phone.keyboard.insertText("hej");
  await phone.keyboard.press("Backspace");
  await phone.touchscreen.tap(200, 300);
  await pause(400);
  console.log("phone input:", mock.log.map((e) => `${e.lane}:${e.hex ?? e.text ?? e.message.type}`).join(" "));
  console.log("layout:", JSON.stringify(await phone.evaluate(() => window.deskgate.state().layout)));
  if (!(await phone.isVisible(".bar"))) await phone.tap(".handle");
  await pause(300);
  await phone.tap("button[aria-label^=Menu]");
  await pause(400);
  await shot(phone, "12-phone-menu");
} finally {
  console.log(problems.length === 0 ? "no console problems" : problems.join("\n"));
  await browser.close();
  mock.close();
}
