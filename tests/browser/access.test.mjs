// Getting in: tokens, cookies, a path of a proxy.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { Display } from "./lib/desktop.mjs";
import { Gateway } from "./lib/gateway.mjs";
import { browser, Viewer } from "./lib/page.mjs";
import { proxy } from "./lib/proxy.mjs";
import { folder, Scope } from "./lib/run.mjs";

let chromium;
before(async () => (chromium = await browser()));
after(() => chromium.close());

async function desk(t, { token = true } = {}) {
  const scope = new Scope(t);
  const display = scope.add(await Display.start());
  await display.grid(0);
  const secret = path.join(folder(), "secret");
  writeFileSync(secret, "a secret of a test, long enough for HS256", { mode: 0o600 });
  const args = token ? ["--token-secret-file", secret] : [];
  const gateway = scope.add(await Gateway.start(display.name, { args }));
  const open = async (url, options) => scope.add(await Viewer.open(chromium, url, options));
  return { scope, gateway, secret, open };
}

test("a token is swapped for a cookie and leaves the address bar", async (t) => {
  const { gateway, secret, open } = await desk(t);
  const viewer = await open(await gateway.link(secret, "control"));
  await viewer.controlling();
  await viewer.grid(0);
  assert.equal(viewer.page.url(), gateway.url);
  const [cookie, ...others] = await viewer.page.context().cookies();
  assert.deepEqual(others, []);
  assert.ok(cookie.httpOnly);
  assert.equal(cookie.sameSite, "Strict");
  assert.ok(cookie.expires > Date.now() / 1_000);
  assert.ok(!(await viewer.page.evaluate(() => document.cookie)).includes(cookie.value), "scripts cannot read it");

  await viewer.page.reload();
  await viewer.controlling();
  await viewer.grid(0);
});

test("without a token, and with a wrong one, the page says how to get in", async (t) => {
  const { gateway, secret, open } = await desk(t);
  const link = await gateway.link(secret, "control");
  const forged = link.replace(/.{6}$/, "AAAAAA");
  for (const url of [gateway.url, forged, `${gateway.url}#token=nonsense`]) {
    const viewer = await open(url);
    const { stage, view } = await viewer.until("the page asks for a link", ({ stage }) => stage === "denied");
    assert.equal(stage, "denied");
    await viewer.page.getByRole("heading", { name: view.title }).waitFor();
    assert.ok(!viewer.page.url().includes("token"));
    assert.deepEqual(await viewer.page.context().cookies(), []);
    // A good link pasted into the same tab lets in, without a reload.
    if (url === gateway.url) {
      await viewer.page.goto(link);
      await viewer.controlling();
      assert.equal(viewer.loads, 1);
    }
  }
  const api = await fetch(`${gateway.origin}/api/status`);
  assert.equal(api.status, 401);
});

for (const token of [false, true]) {
  test(`behind a proxy, under a path${token ? ", with a token" : ""}`, async (t) => {
    const { scope, gateway, secret, open } = await desk(t, { token });
    const { url } = scope.add(await proxy(gateway.port, "/some/desk/"));
    const outside = [];
    const fragment = token ? new URL(await gateway.link(secret, "control")).hash : "";
    const context = scope.add(await chromium.newContext({ viewport: { width: 1280, height: 720 } }));
    context.on("request", (request) => {
      if (!request.url().startsWith(url)) outside.push(request.url());
    });
    const viewer = await open(url + fragment, { context });
    await viewer.controlling();
    await viewer.grid(0);
    assert.deepEqual(outside.filter((address) => address.startsWith("http")), []);
  });
}
