// A known picture, read back from the <video>: the whole way of a frame, colour matrix included.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Display } from "./lib/desktop.mjs";
import { Gateway } from "./lib/gateway.mjs";
import { browser, Viewer, withoutH264 } from "./lib/page.mjs";
import { Scope } from "./lib/run.mjs";

let chromium;
before(async () => (chromium = await browser()));
after(() => chromium.close());

async function shown(t, { args, init, codec, encoder, tolerance }) {
  const scope = new Scope(t);
  const display = scope.add(await Display.start());
  const grid = await display.grid(0);
  const gateway = scope.add(await Gateway.start(display.name, { args }));
  const viewer = scope.add(await Viewer.open(chromium, gateway.url, { init }));
  const { facts } = await viewer.live();
  await viewer.grid(0, undefined, tolerance);
  assert.equal(facts.status.codec.toLowerCase(), codec);
  if (encoder) assert.equal(facts.status.encoder, encoder);
  await grid.show(1);
  await viewer.grid(1, undefined, tolerance);
}

test("H.264: each colour is what was drawn", (t) => shown(t, { codec: "h264" }));

// Without a colour description Chromium takes BT.709, whose blue coefficient its software conversion clamps from
// 2.11 to 2: pure blue and yellow are off by 12 of 255, whoever has encoded them.
test("H.264 of OpenH264: each colour is what was drawn", (t) =>
  shown(t, { args: ["--encoder", "openh264enc"], codec: "h264", encoder: "openh264enc", tolerance: 13 }));

test("VP8, asked for: each colour is what was drawn", (t) =>
  shown(t, { args: ["--encoder", "vp8enc"], codec: "vp8", encoder: "vp8enc" }));

test("VP8, because the browser has no H.264: each colour is what was drawn", (t) =>
  shown(t, { init: withoutH264, codec: "vp8" }));

// One frame's part of that is 520 bytes, less than the outlines of a picture take.
for (const encoder of ["x264", "x264-gstreamer", "openh264enc", "vp8enc"])
  test(`250 kbit/s, ${encoder}: what is still comes out right in the end`, (t) =>
    shown(t, { args: ["--encoder", encoder, "--bitrate", "250"], codec: encoder === "vp8enc" ? "vp8" : "h264", encoder, tolerance: 13 }));
