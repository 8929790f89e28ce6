import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Endpoint, type Report } from "../src/stream/endpoint";
import { Link } from "../src/stream/link";

/** A frame of VP8 as the gateway sends it. */
function frame(number: number, keyFrame: boolean): ArrayBuffer {
  const message = new ArrayBuffer(17);
  const view = new DataView(message);
  view.setUint8(0, 1);
  view.setUint8(1, 2);
  view.setUint8(2, keyFrame ? 1 : 0);
  view.setUint32(3, number);
  view.setBigUint64(7, BigInt(number * 16_000));
  return message;
}

class FakeSocket {
  static readonly OPEN = 1;
  static all: FakeSocket[] = [];
  readyState = 0;
  onopen: (() => void) | null = null;
  onclose: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  sent: (string | number[])[] = [];

  constructor(readonly url: string) {
    FakeSocket.all.push(this);
  }

  open(): void {
    this.readyState = FakeSocket.OPEN;
    this.onopen?.();
  }

  send(data: string | Uint8Array): void {
    this.sent.push(typeof data === "string" ? data : [...data]);
  }

  close(): void {
    this.readyState = 3;
  }
}

/** Decodes when it is told to. */
class FakeDecoder {
  static all: FakeDecoder[] = [];
  decodeQueueSize = 0;
  state = "configured";
  decoded: string[] = [];

  constructor(readonly hooks: { output(picture: unknown): void; error(error: DOMException): void }) {
    FakeDecoder.all.push(this);
  }

  configure(): void {
    this.decoded = [];
  }

  decode(chunk: { type: string }): void {
    this.decoded.push(chunk.type);
  }

  close(): void {
    this.state = "closed";
  }

  output(number: number): { closed: boolean } {
    const picture = { timestamp: number * 16_000, closed: false, close: () => void (picture.closed = true) };
    this.hooks.output(picture);
    return picture;
  }
}

class FakeChunk {
  readonly type: string;
  constructor({ type }: { type: string }) {
    this.type = type;
  }
}

beforeEach(() => {
  FakeSocket.all = [];
  FakeDecoder.all = [];
  vi.stubGlobal("WebSocket", FakeSocket);
  vi.stubGlobal("VideoDecoder", FakeDecoder);
  vi.stubGlobal("EncodedVideoChunk", FakeChunk);
});
afterEach(() => vi.unstubAllGlobals());

describe("the endpoint of the WebSocket", () => {
  function opened(): { endpoint: Endpoint; socket: FakeSocket; told: Report[]; kinds: () => string[] } {
    const told: Report[] = [];
    const endpoint = new Endpoint((report) => told.push(report));
    endpoint.handle({ kind: "open", socket: 1, url: "ws://x/ws", protocol: "p" });
    const socket = FakeSocket.all[0]!;
    socket.open();
    return { endpoint, socket, told, kinds: () => told.map(({ kind }) => kind) };
  }
  const acknowledged = ({ sent }: FakeSocket): number[] => sent.flatMap((bytes) => (Array.isArray(bytes) ? [bytes[4]!] : []));

  it("acknowledges frames, whoever decodes them and however far behind that is", () => {
    const { endpoint, socket, told, kinds } = opened();
    socket.onmessage?.({ data: frame(1, true) });
    expect(kinds()).toEqual(["opened", "video"]);
    endpoint.handle({ kind: "decode", on: true });
    for (const number of [2, 3]) socket.onmessage?.({ data: frame(number, number === 2) });
    FakeDecoder.all[0]!.decodeQueueSize = 99;
    socket.onmessage?.({ data: frame(4, false) });
    expect(acknowledged(socket)).toEqual([1, 2, 3, 4]);
    expect(FakeDecoder.all[0]!.decoded).toEqual(["key", "delta"]);
    expect(told.at(-1)).toEqual({ kind: "lost" });
    // Nothing but a key frame goes on from there.
    FakeDecoder.all[0]!.decodeQueueSize = 0;
    for (const number of [5, 6]) socket.onmessage?.({ data: frame(number, number === 6) });
    expect(FakeDecoder.all[0]!.decoded).toEqual(["key", "delta", "key"]);
  });

  it("keeps the newest picture, and no others, for a page that does not draw", () => {
    const { endpoint, socket, told, kinds } = opened();
    endpoint.handle({ kind: "decode", on: true });
    for (let number = 1; number <= 6; number += 1) socket.onmessage?.({ data: frame(number, number === 1) });
    const pictures = [1, 2, 3, 4, 5, 6].map((number) => FakeDecoder.all[0]!.output(number));
    const shown = (): unknown[] => told.flatMap((report) => (report.kind === "picture" ? [report.picture] : []));
    expect(shown()).toEqual(pictures.slice(0, 2));
    expect(pictures.map(({ closed }) => closed)).toEqual([false, false, true, true, true, false]);
    endpoint.handle({ kind: "drawn" });
    expect(shown()).toEqual([pictures[0], pictures[1], pictures[5]]);
    endpoint.handle({ kind: "drawn" });
    expect(kinds().filter((kind) => kind === "picture")).toHaveLength(3);
    expect(told.find((report) => report.kind === "picture")).toMatchObject({ codec: "VP8", bytes: 6 * 17 });
  });

  it("gives a decoder up that fails three times, and hears nothing of one that was closed", () => {
    const { endpoint, socket, kinds } = opened();
    endpoint.handle({ kind: "decode", on: true });
    const fail = (): void => {
      socket.onmessage?.({ data: frame(1, true) });
      FakeDecoder.all.at(-1)!.hooks.error({ message: "crashed" } as DOMException);
    };
    fail();
    FakeDecoder.all[0]!.hooks.error({ message: "again" } as DOMException);
    fail();
    expect(kinds().slice(1)).toEqual(["lost", "lost"]);
    fail();
    expect(kinds().slice(1)).toEqual(["lost", "lost", "failed"]);
  });

  it("says nothing of a socket that was closed, and sends nothing on one that is not open", () => {
    const { endpoint, socket, kinds } = opened();
    endpoint.handle({ kind: "open", socket: 2, url: "ws://x/ws", protocol: "p" });
    expect([socket.onmessage, socket.onclose, socket.readyState]).toEqual([null, null, 3]);
    endpoint.handle({ kind: "send", data: "early" });
    FakeSocket.all[1]!.open();
    endpoint.handle({ kind: "send", data: "late" });
    expect(FakeSocket.all.map(({ sent }) => sent)).toEqual([[], ["late"]]);
    expect(kinds()).toEqual(["opened", "opened"]);
  });
});

describe("the page's end", () => {
  class FakeWorker {
    static all: FakeWorker[] = [];
    onmessage: ((event: { data: Report }) => void) | null = null;
    onerror: (() => void) | null = null;
    told: { kind: string }[] = [];

    constructor() {
      FakeWorker.all.push(this);
    }

    postMessage(command: { kind: string }): void {
      this.told.push(command);
    }
  }
  function linked(): { link: Link; heard: string[]; worker: FakeWorker } {
    FakeWorker.all = [];
    const heard: string[] = [];
    const link = new Link({
      opened: () => heard.push("opened"),
      closed: () => heard.push("closed"),
      text: (text) => heard.push(text),
      stream: ({ kind }) => heard.push(kind),
    });
    return { link, heard, worker: FakeWorker.all[0]! };
  }
  const url = new URL("ws://x/ws");

  it("waits for its worker, and hears of its present socket only", () => {
    vi.stubGlobal("Worker", FakeWorker);
    const { link, heard, worker } = linked();
    link.open(url, "p");
    expect(worker.told).toEqual([]);
    worker.onmessage?.({ data: { kind: "ready" } });
    expect(worker.told.map(({ kind }) => kind)).toEqual(["open"]);
    expect([link.send("early"), link.isOpen]).toEqual([false, false]);
    worker.onmessage?.({ data: { kind: "opened", socket: 1 } });
    expect(link.send("x")).toBe(true);
    link.open(url, "p");
    for (const kind of ["opened", "closed"] as const) worker.onmessage?.({ data: { kind, socket: 1 } });
    worker.onmessage?.({ data: { kind: "text", socket: 1, text: "old" } });
    worker.onmessage?.({ data: { kind: "text", socket: 2, text: "new" } });
    expect([heard, link.isOpen]).toEqual([["opened", "new"], false]);
    expect(worker.told.map(({ kind }) => kind)).toEqual(["open", "send", "open"]);
  });

  it.each([
    ["a browser without workers", undefined],
    ["a worker that does not load", FakeWorker],
  ])("%s: the socket lives on the page", (_, Type) => {
    vi.stubGlobal("Worker", Type);
    const { link, heard, worker } = linked();
    link.open(url, "p");
    if (Type !== undefined) worker.onerror?.();
    FakeSocket.all[0]!.open();
    FakeSocket.all[0]!.onmessage?.({ data: "hello" });
    link.send("x");
    expect([heard, FakeSocket.all[0]!.sent]).toEqual([["opened", "hello"], ["x"]]);
  });
});
