import { describe, expect, it } from "vitest";
import { encodeInput, MAX_TEXT, splitText, type InputEvent } from "../src/wire/input";
import { acknowledgement, parseVideo } from "../src/wire/media";
import { parseServerMessage, type ClientMessage } from "../src/wire/signal";
import { golden } from "./golden";

interface Signal {
  name: string;
  direction: string;
  json: unknown;
}

const asObject = (json: unknown): Record<string, unknown> =>
  (typeof json === "string" ? JSON.parse(json) : json) as Record<string, unknown>;

const signals = golden<Signal>("signal.json");
const fromServer = signals.filter(({ direction }) => direction.startsWith("server"));
const fromClient = signals.filter(({ direction }) => direction.startsWith("client"));

/** Fields that ClientMessage knows; a field that only one side knows fails here. */
const CLIENT_FIELDS: Record<ClientMessage["type"], readonly string[]> = {
  hello: ["version", "features", "css", "devicePixelRatio", "visible", "fit", "resume", "rights"],
  offer: ["sdp"],
  candidate: ["candidate", "sdpMid", "sdpMLineIndex"],
  visibility: ["visible"],
  stream: ["codecs"],
  keyframe: [],
  viewport: ["css", "devicePixelRatio", "fit"],
  settings: ["bitrateKbps", "fps"],
  control: ["action", "viewer"],
  feedback: ["intervalMs", "slackMs", "jitterMs", "frames", "decodeMs", "rttMs"],
  bye: [],
};

describe("messages of the gateway", () => {
  it.each(fromServer)("$name is understood in full", ({ json }) => {
    const wanted = asObject(json);
    const parsed = parseServerMessage(JSON.stringify(wanted));
    expect(parsed).toMatchObject({ ok: true, message: wanted });
    if (!parsed.ok) return;
    const extra = Object.entries(parsed.message).filter(([key, value]) => !(key in wanted) && value !== null && value !== "");
    expect(extra).toEqual([]);
  });

  it("covers every message", () => {
    expect(fromServer.length).toBeGreaterThan(10);
  });

  it.each(["frobnicate", "constructor", "__proto__", "toString"])("ignores unknown type %s", (type) => {
    expect(parseServerMessage(JSON.stringify({ type, x: 1 }))).toMatchObject({ ok: false, why: "unknown" });
  });

  it.each([
    ["not JSON", "{"],
    ["a list", "[]"],
    ["null", "null"],
    ["no type", "{}"],
    ["a type that is no text", '{"type":3}'],
    ["a missing field", '{"type":"answer"}'],
    ["a wrong field", '{"type":"pointer","x":"1","y":2}'],
    ["a negative coordinate", '{"type":"pointer","x":-1,"y":2}'],
    ["a huge coordinate", '{"type":"pointer","x":1e9,"y":2}'],
    ["an unknown reason", '{"type":"bye","reason":"whim","message":""}'],
    ["CSS in a cursor", '{"type":"cursor","png":"\\");x:url(","hotX":0,"hotY":0,"width":1,"height":1}'],
  ])("refuses %s", (_, json) => {
    expect(parseServerMessage(json)).toMatchObject({ ok: false, why: "malformed" });
  });

  it("leaves rights out that it does not know", () => {
    const hello = fromServer.find(({ json }) => asObject(json).type === "hello")!;
    const parsed = parseServerMessage(JSON.stringify({ ...asObject(hello.json), rights: ["view", "clipboard"] }));
    expect(parsed).toMatchObject({ ok: true, message: { rights: ["view"] } });
  });
});

describe("messages of the page", () => {
  it.each(fromClient)("$name has no field that the page does not know", ({ json }) => {
    const { type, ...fields } = asObject(json);
    const known = CLIENT_FIELDS[type as ClientMessage["type"]];
    expect(Object.entries(fields).flatMap(([key, value]) => (value === null || known.includes(key) ? [] : [key]))).toEqual([]);
  });
});

describe("input frames", () => {
  interface Row {
    name: string;
    hex: string;
    frame: { seq: number; event: InputEvent };
  }

  it.each(golden<Row>("input.json"))("$name", ({ hex, frame }) => {
    expect(Buffer.from(encodeInput(frame.seq, frame.event)).toString("hex")).toBe(hex);
  });

  it("clamps what is out of range", () => {
    const bytes = encodeInput(1, { kind: "button", button: 1, down: true, at: { x: NaN, y: 1e9 } });
    expect(Buffer.from(bytes.subarray(7)).toString("hex")).toBe("010000ffff");
    expect(encodeInput(1, { kind: "heartbeat", held: Array<number>(100).fill(65) }).length).toBe(5 + 1 + 4 * 64);
    expect(encodeInput(1, { kind: "key", down: true, keysym: 1, code: "a b" })[10]).toBe(0);
  });

  it("splits long text between characters", () => {
    const text = "🙂中a".repeat(2_000);
    const pieces = splitText(text);
    expect(pieces.join("")).toBe(text);
    expect(Math.max(...pieces.map((piece) => Buffer.byteLength(piece)))).toBeLessThanOrEqual(MAX_TEXT);
    expect(splitText("")).toEqual([]);
  });
});

describe("video on the WebSocket", () => {
  interface Row {
    hex: string;
    acknowledgement: string;
    frame: { codec: string; keyFrame: boolean; number: number; capturedUs: number };
  }

  const bytes = (hex: string): ArrayBuffer => Uint8Array.from(Buffer.from(hex, "hex")).buffer;

  it.each(golden<Row>("video.json"))("frame $frame.number", ({ hex, acknowledgement: expected, frame }) => {
    const parsed = parseVideo(bytes(hex));
    expect(parsed).toMatchObject(frame);
    expect(Buffer.from(parsed!.unit).toString()).toBe("unit");
    expect(Buffer.from(acknowledgement(frame.number)).toString("hex")).toBe(expected);
  });

  it.each(["", "01", "0101000000000000000000000000", "0201010000000100000000000000017f", "0109010000000100000000000000017f"])("ignores %s", (hex) => {
    expect(parseVideo(bytes(hex))).toBeNull();
  });
});
