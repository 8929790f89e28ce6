// What an operator has to say to people: how to get in, and what is going to happen to their desktop.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { Display } from "./lib/desktop.mjs";
import { Gateway } from "./lib/gateway.mjs";
import { browser, Viewer } from "./lib/page.mjs";
import { folder, Scope } from "./lib/run.mjs";

let chromium;
before(async () => (chromium = await browser()));
after(() => chromium.close());

async function desk(t, args = []) {
  const scope = new Scope(t);
  const display = scope.add(await Display.start());
  await display.grid(0);
  const secret = path.join(folder(), "secret");
  writeFileSync(secret, "a secret of a test, long enough for HS256", { mode: 0o600 });
  const gateway = scope.add(await Gateway.start(display.name, { args: ["--token-secret-file", secret, ...args] }));
  const open = async (url) => scope.add(await Viewer.open(chromium, url));
  return { gateway, secret, open };
}

test("without a link, the page says how to get in, in the gateway's words", async (t) => {
  const { gateway, open } = await desk(t, ["--sign-in-hint", "Run `kubectl vdi open <b>alice</b>` and <i>follow</i> the link"]);
  const { page } = await open(gateway.url);
  const command = page.locator(".hint code");
  await command.waitFor();
  assert.equal(await command.textContent(), "kubectl vdi open <b>alice</b>");
  assert.match(await page.locator(".hint").innerText(), /^Run[^]*and <i>follow<\/i> the link$/);
  assert.equal(await page.locator(".hint :is(b, i)").count(), 0, "text of others is text");
});

test("a notice counts down for everybody, and stays closed for who has closed it", async (t) => {
  const { gateway, secret, open } = await desk(t);
  // A right that opens no page comes without a link.
  const operate = await gateway.link(secret, "operate");
  const post = async (notice) => {
    const init = { method: "POST", headers: { Authorization: `Bearer ${operate}` }, body: JSON.stringify(notice) };
    assert.equal((await fetch(`${gateway.origin}/api/notice`, init)).status, 204);
  };
  const notice = { action: "suspend", at: new Date(Date.now() + 300_000).toISOString(), reason: "timeout" };
  const link = await gateway.link(secret, "view");
  const early = await open(link);
  await early.live();
  await post(notice);
  const late = await open(link);
  await late.live();
  for (const { page } of [early, late]) {
    const time = page.locator(".banner time");
    await time.waitFor();
    const first = await time.textContent();
    assert.match(first, /^(5:00|[1-4]:\d\d)$/);
    assert.match(await page.locator(".banner strong").textContent(), /^This desktop is suspended in .*; the home stays$/);
    await page.waitForFunction((first) => document.querySelector(".banner time").textContent !== first, first);
  }
  await early.page.locator(".banner").getByRole("button", { name: "Close" }).click();
  await early.page.locator(".banner").waitFor({ state: "hidden" });
  await post(notice);
  await post({ ...notice, action: "delete", homeStays: false });
  await early.page.getByText("is deleted in").waitFor();
  await late.page.getByText("is deleted in").waitFor();
  await post({ at: null });
  for (const { page } of [early, late]) await page.locator(".banner").waitFor({ state: "hidden" });
});
