import { describe, expect, it } from "vitest";
import { Attention } from "../src/media/attention";
import { orderCodecs } from "../src/media/codecs";
import { iceServers, tcpCandidates, withServers } from "../src/media/paths";
import { circular, displayInterval, feedback, Phase, quantile, type FrameTimes } from "../src/media/phase";
import { figures, snapshot } from "../src/media/stats";
import { parsePrefs } from "../src/prefs";

describe("attention", () => {
  /** Looks four times a second at a stream of `rate` frames a second; what the last look said. */
  const run = (attention: Attention, from: number, seconds: number, rate: number, counted: boolean) => {
    let verdict = { watch: true, seen: false };
    let shown = 0;
    for (let now = from; now <= from + seconds * 1_000; now += 250) {
      const total = Math.floor((now * rate) / 1_000);
      for (; verdict.watch && shown < total; shown += 1) attention.frame(now);
      shown = total;
      verdict = attention.look(counted ? total : 0, now);
    }
    return verdict;
  };

  it("rests on a still screen and notices its few frames all the same", () => {
    expect(run(new Attention(0), 0, 10, 1, true)).toEqual({ watch: false, seen: true });
  });

  it("looks at a new stream for a while, still or not", () => {
    expect(run(new Attention(0), 0, 1.75, 1, true).watch).toBe(true);
  });

  it("looks at every frame of a motion, from its first half second", () => {
    const attention = new Attention(0);
    run(attention, 0, 10, 1, true);
    expect(run(attention, 10_250, 1, 60, true)).toEqual({ watch: true, seen: true });
    expect(run(attention, 11_500, 1, 1, true).watch).toBe(false);
  });

  it("is not woken by a picture that is being sharpened", () => {
    const attention = new Attention(0);
    run(attention, 0, 10, 1, true);
    expect(attention.look(18, 10_250).watch).toBe(false);
    expect(attention.look(18, 10_500).watch).toBe(false);
  });

  it("never rests where frames are not counted", () => {
    expect(run(new Attention(0), 0, 10, 1, false).watch).toBe(true);
  });
});

describe("paths", () => {
  const access = { username: "u", credential: "c" };
  it.each([
    [{ protocol: "http:", hostname: "localhost", port: "9000" }, false, ["turn:localhost:9000?transport=tcp"]],
    [{ protocol: "http:", hostname: "[::1]", port: "" }, false, ["turn:[::1]:80?transport=tcp"]],
    [{ protocol: "https:", hostname: "desk.example", port: "" }, false, []],
    [
      { protocol: "https:", hostname: "desk.example", port: "" },
      true,
      ["turn:desk.example:443?transport=tcp", "turns:desk.example:443?transport=tcp"],
    ],
  ])("offers TURN over TCP, and TLS that ends there, where the page came from", (place, tls, urls) => {
    expect(iceServers({ ...access, tls }, [], place)).toEqual(urls.map((url) => ({ urls: url, ...access })));
    const others = [
      { urls: ["stun:s.example"], username: null, credential: null },
      { urls: ["turn:t.example"], username: "u", credential: "c" },
    ];
    expect(iceServers(null, others, place)).toEqual([{ urls: ["stun:s.example"] }, others[1]]);
  });
});

describe("servers that a browser refuses", () => {
  const place = { protocol: "http:", hostname: "desk.example", port: "8080" };
  const access = { username: "u", credential: "c", tls: false };
  const others = [{ urls: ["turn:t.example"], username: null, credential: null }];
  const own = ["turn:desk.example:8080?transport=tcp"];
  /** A connection as a browser makes it that takes no server with one of these URLs. */
  const urlsOf = (...refused: string[]): string[] | null => {
    const make = (servers: RTCIceServer[]): string[] => {
      const urls = servers.flatMap((server) => server.urls);
      if (urls.some((url) => refused.includes(url))) throw new DOMException("no credential", "InvalidAccessError");
      return urls;
    };
    return withServers(make, access, others, place);
  };

  it("cost a connection those servers, and nothing else", () => {
    expect(urlsOf()).toEqual([...own, "turn:t.example"]);
    expect(urlsOf("turn:t.example")).toEqual(own);
    expect(urlsOf("turn:t.example", ...own)).toEqual([]);
  });

  it("are not the fault where there is no WebRTC", () => {
    const make = (): never => {
      throw new ReferenceError("RTCPeerConnection is not defined");
    };
    expect(withServers(make, access, others, place)).toBeNull();
  });
});

describe("ICE-TCP", () => {
  it.each([
    ["http:", "10.0.0.5", "8080", ["10.0.0.5 8080"]],
    ["http:", "localhost", "8080", ["127.0.0.1 8080", "::1 8080"]],
    ["https:", "[2001:db8::7]", "8443", ["2001:db8::7 8443"]],
    ["http:", "desk.example", "8080", []],
    // What Chromium refuses: privileged ports, and the two of HTTP where they are somebody's own.
    ["http:", "203.0.113.7", "", ["203.0.113.7 80"]],
    ["https:", "203.0.113.7", "", ["203.0.113.7 443"]],
    ["https:", "172.32.0.1", "", ["172.32.0.1 443"]],
    ["http:", "203.0.113.7", "81", []],
    ["http:", "localhost", "", []],
    ["https:", "192.168.1.20", "", []],
    ["https:", "172.31.0.1", "", []],
    ["https:", "[fd00::1]", "", []],
    ["http:", "[fe80::1]", "", []],
  ])("%s//%s:%s", (protocol, hostname, port, expected) => {
    const found = tcpCandidates({ protocol, hostname, port }).map(({ candidate = "" }) => candidate);
    expect(found.map((line) => line.split(" ").slice(4, 6).join(" "))).toEqual(expected);
    for (const line of found) expect(line).toMatch(/^candidate:tcp 1 tcp \d{10} \S+ \d+ typ host tcptype passive$/);
  });
});

describe("phase", () => {
  const frames = (n: number, interval: number, slack: number, jitter: (i: number) => number = () => 0): FrameTimes[] =>
    Array.from({ length: n }, (_, i) => {
      const tick = 1_000 + i * interval;
      const received = tick - slack - jitter(i);
      return { tick, received, presented: received + 1.2, processing: 0.8 };
    });

  it.each([
    [16.667, 2],
    [16.667, 15.9],
    [6.944, 3],
    [33.333, 20],
  ])("measures the slack at an interval of %d ms", (interval, slack) => {
    const report = feedback(frames(20, interval, slack), interval, 3);
    expect(report.slackMs).toBeCloseTo(slack, 3);
    expect(report.jitterMs).toBeCloseTo(0, 6);
    expect(report).toMatchObject({ frames: 20, rttMs: 3, intervalMs: interval });
    expect(report.decodeMs).toBeCloseTo(1.2);
  });

  it("is not fooled by values on both sides of the wrap", () => {
    const report = feedback(frames(20, 16.667, 0, (i) => (i % 2 === 0 ? 0.4 : -0.4)), 16.667, 0);
    expect(Math.min(report.slackMs, 16.667 - report.slackMs)).toBeLessThan(0.5);
    expect(report.jitterMs).toBeCloseTo(0.8, 3);
  });

  it("counts frames that waited more than one tick by their phase", () => {
    expect(feedback(frames(20, 10, 23), 10, 0).slackMs).toBeCloseTo(3, 3);
  });

  it("is not told that decoding takes until the tick", () => {
    const atTick = frames(20, 16.667, 9).map((frame) => ({ ...frame, presented: frame.tick }));
    expect(feedback(atTick, 16.667, 0).decodeMs).toBeCloseTo(1.8);
    const untold = frames(20, 16.667, 9).map((frame) => ({ ...frame, processing: undefined }));
    expect(feedback(untold, 16.667, 0).decodeMs).toBeCloseTo(1.2);
  });

  it("measures spread", () => {
    expect(circular(Array.from({ length: 101 }, (_, i) => 5 + i / 100), 16).spread).toBeCloseTo(0.8);
    expect(quantile([], 0.5)).toBe(0);
  });

  it("reports at most about four times a second, and at least once a second while frames flow", () => {
    const phase = new Phase();
    const at = frames(240, 16.667, 2).map((frame) => ({ frame, report: phase.frame(frame, 16.667, 0) }));
    const reports = at.filter(({ report }) => report !== null);
    expect(reports.length).toBeGreaterThanOrEqual(4);
    expect(reports.length).toBeLessThanOrEqual(16);
  });

  it("reports nothing of a still screen, or before the display is measured", () => {
    const phase = new Phase();
    expect(frames(60, 1_000, 2).some((frame) => phase.frame(frame, 16.667, 0) !== null)).toBe(false);
    expect(frames(600, 16.667, 2).some((frame) => phase.frame(frame, null, 0) !== null)).toBe(false);
  });

  it("finds the display's interval among hiccups, or says that it cannot", () => {
    const ticks = [0];
    for (let i = 0; i < 24; i += 1) ticks.push((ticks.at(-1) ?? 0) + (i === 7 ? 13.9 : 6.95));
    expect(displayInterval(ticks)).toBeCloseTo(6.95);
    expect(displayInterval([0, 16, 32])).toBeNull();
    expect(displayInterval(Array.from({ length: 24 }, (_, i) => i * i))).toBeNull();
  });
});

describe("statistics", () => {
  const reports = (n: number): Record<string, unknown>[] => [
    {
      id: "V",
      type: "inbound-rtp",
      kind: "video",
      timestamp: 5_000,
      lastPacketReceivedTimestamp: 4_400,
      framesDecoded: 60 * n,
      bytesReceived: 125_000 * n,
      packetsReceived: 99 * n,
      packetsLost: n,
      jitterBufferDelay: 0.06 * n,
      jitterBufferEmittedCount: 60 * n,
      totalDecodeTime: 0.03 * n,
      totalProcessingDelay: 0.12 * n,
      codecId: "C",
    },
    { id: "C", type: "codec", mimeType: "video/H264" },
    { id: "T", type: "transport", selectedCandidatePairId: "P" },
    { id: "P", type: "candidate-pair", currentRoundTripTime: 0.012, localCandidateId: "L", remoteCandidateId: "R" },
    { id: "L", type: "local-candidate", candidateType: "host", protocol: "udp" },
    { id: "R", type: "remote-candidate", address: "fd00::2", port: 8080 },
  ];

  it("takes differences between two moments", () => {
    const shown = figures(snapshot(reports(1), 1_000), snapshot(reports(2), 2_000));
    expect(shown).toMatchObject({ fps: 60, kbps: 1_000, rttMs: 12, codec: "H264", path: "udp [fd00::2]:8080", lossPercent: 1 });
    expect(shown.jitterBufferMs).toBeCloseTo(1);
    expect(shown.decodeMs).toBeCloseTo(0.5);
    expect(shown.processingMs).toBeCloseTo(2);
    expect(snapshot(reports(1), 0).packetAge).toBe(600);
  });

  it("shows no figure where nothing was counted", () => {
    const empty = figures(snapshot([], 0), snapshot([], 1_000));
    expect(empty).toMatchObject({ fps: 0, jitterBufferMs: null, rttMs: null, path: "" });
  });
});

it("offers constrained baseline first, then VP8, then the browser's order", () => {
  const h264 = (profile: string, mode: number) => ({ mimeType: "video/H264", sdpFmtpLine: `profile-level-id=${profile};packetization-mode=${mode}` });
  const codecs = [{ mimeType: "video/VP9" }, h264("640032", 1), { mimeType: "video/VP8" }, h264("42e01f", 0), h264("42e01f", 1), { mimeType: "video/rtx" }];
  expect(orderCodecs(codecs)).toEqual([codecs[4], codecs[2], codecs[0], codecs[1], codecs[3], codecs[5]]);
});

it("reads preferences of any age", () => {
  expect(parsePrefs(null)).toEqual({ fit: "resize", touch: "direct", stats: false, cmdIsControl: true });
  expect(parsePrefs('{"fit":"scale","touch":"trackpad","old":1}')).toMatchObject({ fit: "scale", touch: "trackpad" });
  expect(parsePrefs("{")).toMatchObject({ fit: "resize" });
  expect(parsePrefs("null")).toMatchObject({ fit: "resize" });
});
