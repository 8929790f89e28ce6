// Ways that carry less than the picture wants.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Display } from "./lib/desktop.mjs";
import { Viewer, withoutH264 } from "./lib/page.mjs";
import { Scope, until } from "./lib/run.mjs";
import { apart, wired } from "./lib/ways.mjs";

/** Frames that come without one standstill of so many milliseconds. */
const [STREAK, STANDSTILL] = [150, 500];

test("a UDP way that becomes very narrow carries a picture, and not what was lost again and again", async (t) => {
  const scope = new Scope(t);
  const display = scope.add(await Display.start());
  display.motion();
  const { gateway, chromium, url } = await wired(scope, display);
  const viewer = scope.add(await Viewer.open(chromium, url));
  await viewer.until("the picture comes by UDP", ({ facts }) => facts.status?.path === "udp");
  const media = async () => (await viewer.status()).media[0];
  const before = await media();
  await gateway.namespace.narrow(400, 300);

  let [count, at] = [await viewer.frames(), performance.now()];
  let from = count;
  await until(`${STREAK} frames without a standstill`, async () => {
    const now = await viewer.frames();
    if (now > count) [count, at] = [now, performance.now()];
    else if (performance.now() - at > STANDSTILL) from = count;
    return count >= from + STREAK;
  });
  const after = await media();
  const [packets, again] = [after.packets - before.packets, after.retransmissions - before.retransmissions];
  t.diagnostic(`${packets} packets, of which ${again} were sent again`);
  assert.ok(again < packets / 4, `${again} of ${packets} packets were sent again`);
});

/** What the way of one of two viewers carries, kbit/s. */
const NARROW = 1_000;

for (const [codec, init] of [["H264", undefined], ["VP8", withoutH264]]) {
  test(`a viewer on a narrow way gets a rendition of its own, and nobody is slowed down: ${codec}`, async (t) => {
    const scope = new Scope(t);
    const display = scope.add(await Display.start());
    display.motion();
    const ends = await apart(scope, display);
    let slow = await ends.forward(0, NARROW);
    scope.add({ close: () => slow.close() });
    const open = async ({ port }) => scope.add(await Viewer.open(ends.chromium, `http://localhost:${port}/`, { init }));
    const wide = await open(ends.forwarder);
    await wide.live();
    const narrow = await open(slow);
    const renditions = async () => {
      const { renditions } = await wide.status();
      return Object.fromEntries(renditions.map(({ codec, tier, bitrateKbps }) => [`${codec} ${tier}`, bitrateKbps]));
    };
    await narrow.until("it is in the low tier, by WebRTC", ({ stage, streaming, facts }) => stage === "live" && !streaming && facts.status?.tier === "low");
    const sent = (await wide.status()).media.find(({ viewer }) => viewer === 2).bytes;
    t.diagnostic(`${Math.round(sent / 1_000)} kB until then`);
    // What is sent before that is known waits in front of everything else: seconds, where nobody looks at what arrives.
    assert.ok(sent * 8 < NARROW * 4_000, `${sent} bytes`);
    const low = `${codec} low`;
    await until("that tier fits its way", async () => (await renditions())[low] < NARROW, undefined, renditions);

    const frames = () => Promise.all([wide, narrow].map((viewer) => viewer.frames()));
    const before = await frames();
    let now = before;
    await until("the wide way carries 300 frames more", async () => (now = await frames())[0] >= before[0] + 300);
    const [shown, followed] = now.map((count, i) => count - before[i]);
    t.diagnostic(`${followed} frames on the narrow way, ${shown} on the wide one`);
    // Key frames for its sake, which are what it would get without, are two a second at most.
    assert.ok(followed > shown / 3, `${followed} of ${shown} frames`);
    assert.equal((await wide.state()).facts.status.tier, "main");
    assert.equal((await renditions())[`${codec} main`], 8_000, "the wide way is used as before");

    // The way becomes as wide as the other one.
    await slow.close();
    slow = await ends.forward(slow.port);
    await narrow.until("it is in the main tier", ({ stage, facts }) => stage === "live" && facts.status?.tier === "main");
    await until("there is no low tier", async () => !(low in (await renditions())), undefined, renditions);
  });
}
