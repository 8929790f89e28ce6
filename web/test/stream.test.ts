import { describe, expect, it } from "vitest";
import { FALLBACK, Fallback, type Situation } from "../src/session/fallback";
import { codecString, decoderConfiguration, lengthPrefixed, nalUnits, parameterSets, pictureSize } from "../src/stream/avc";
import { initSegment, mediaSegment } from "../src/stream/mp4";

// Parameter sets as x264 makes them for 1280×720 and, cropped, 1366×768; constrained baseline.
const SPS = Uint8Array.from(Buffer.from("6742c01fda014016ec05a808080a00000300020000030079102c".concat("5d40"), "hex"));
const PPS = Uint8Array.from([0x68, 0xce, 0x3c, 0x80]);
const unit = (...nals: Uint8Array[]): Uint8Array =>
  Uint8Array.from(nals.flatMap((nal, i) => [...(i === 0 ? [0, 0, 0, 1] : [0, 0, 1]), ...nal]));

describe("H.264", () => {
  it("splits a byte stream at long and short start codes", () => {
    const idr = Uint8Array.of(0x65, 1, 2, 3);
    const nals = nalUnits(Uint8Array.of(...unit(SPS, PPS, idr), 0, 0));
    expect(nals.map((nal) => [...nal])).toEqual([[...SPS], [...PPS], [...idr]]);
    expect([...lengthPrefixed(nals)]).toEqual([0, 0, 0, 4, ...idr]);
    for (const nothing of [[], [0, 0], [0, 0, 1], [1, 2, 3, 4]]) expect(nalUnits(Uint8Array.from(nothing))).toEqual([]);
  });

  it("describes the stream to a decoder", () => {
    const sets = parameterSets(nalUnits(unit(SPS, PPS)))!;
    expect(codecString(sets)).toBe("avc1.42c01f");
    expect([...decoderConfiguration(sets).subarray(0, 8)]).toEqual([1, 0x42, 0xc0, 0x1f, 0xff, 0xe1, 0, SPS.length]);
    expect(pictureSize(sets)).toEqual({ width: 1280, height: 720 });
    expect(parameterSets([SPS])).toBeNull();
  });
});

describe("fragmented MP4", () => {
  /** Paths of all boxes, with their lengths. */
  const boxes = (bytes: Uint8Array, path = ""): string[] => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const found: string[] = [];
    for (let at = 0; at < bytes.length; ) {
      const length = view.getUint32(at);
      const type = Buffer.from(bytes.subarray(at + 4, at + 8)).toString();
      found.push(`${path}${type}`);
      if (["moov", "trak", "mdia", "minf", "stbl", "mvex", "moof", "traf"].includes(type)) {
        found.push(...boxes(bytes.subarray(at + 8, at + length), `${path}${type}/`));
      }
      at += length;
    }
    return found;
  };

  it("has whole boxes, one inside the other", () => {
    const init = boxes(initSegment({ sps: SPS, pps: PPS }));
    expect(init.slice(0, 4)).toEqual(["ftyp", "moov", "moov/mvhd", "moov/trak"]);
    expect(init).toContain("moov/trak/mdia/minf/stbl/stsd");
    expect(init.at(-1)).toBe("moov/mvex/trex");
  });

  it("points at the frame's bytes", () => {
    const data = Uint8Array.of(0, 0, 0, 2, 0x65, 7);
    const segment = mediaSegment({ number: 3, time: 2 ** 33 + 5, duration: 1_500, keyFrame: true, data });
    expect(boxes(segment)).toEqual(["moof", "moof/mfhd", "moof/traf", "moof/traf/tfhd", "moof/traf/tfdt", "moof/traf/trun", "mdat"]);
    const view = new DataView(segment.buffer);
    const trun = Buffer.from(segment).indexOf("trun");
    const offset = view.getInt32(trun + 12);
    expect([...segment.subarray(offset)]).toEqual([...data]);
    const tfdt = Buffer.from(segment).indexOf("tfdt");
    expect(view.getBigUint64(tfdt + 8)).toBe(2n ** 33n + 5n);
  });
});

describe("when video goes over the WebSocket", () => {
  const connecting: Situation = {
    offeredSince: 100,
    showing: false,
    peer: "connecting",
    peerSince: 500,
    answered: true,
    owedSince: 100,
  };

  it("begins a second after the answer, at once where that was needed before", () => {
    expect(new Fallback(false).deadline(connecting)).toBe(500 + FALLBACK.answered);
    expect(new Fallback(false).deadline({ ...connecting, answered: false })).toBe(500 + FALLBACK.unanswered);
    expect(new Fallback(true).deadline({ ...connecting, answered: false })).toBe(100);
  });

  it.each<[string, Partial<Situation>, number | null]>([
    ["a gateway that does not offer it", { offeredSince: null }, null],
    ["a picture by WebRTC", { peer: "connected", showing: true }, null],
    ["a connection that shows nothing", { peer: "connected" }, 500 + FALLBACK.dark],
    ["a desktop that is waited for", { peer: "connected", owedSince: null }, null],
    ["a lost connection", { peer: "disconnected" }, 500 + FALLBACK.lost],
    ["a failed connection", { peer: "failed" }, 500],
    ["no connection yet", { peer: "none" }, null],
  ])("%s", (_, change, expected) => {
    expect(new Fallback(false).deadline({ ...connecting, ...change })).toBe(expected);
  });

  it("ends when WebRTC shows a picture, and is not eager after that", () => {
    const fallback = new Fallback(true);
    expect(fallback.poll(connecting, 100)).toBe("begin");
    expect([fallback.frame(200), fallback.frame(210)]).toEqual([true, false]);
    const showing: Situation = { ...connecting, peer: "connected", showing: true };
    expect(fallback.poll(showing, 300)).toBe("end");
    expect(fallback.deadline({ ...connecting, peerSince: 5_000 })).toBe(5_000 + FALLBACK.answered);
  });

  it("begins again when it falls silent, but not while nothing is owed", () => {
    const fallback = new Fallback(false);
    fallback.poll(connecting, 1_500);
    expect(fallback.deadline(connecting)).toBe(1_500 + FALLBACK.firstFrame);
    fallback.frame(2_000);
    expect(fallback.poll(connecting, 2_000 + FALLBACK.silent - 1)).toBeNull();
    expect(fallback.deadline({ ...connecting, owedSince: null })).toBeNull();
    expect(fallback.poll(connecting, 2_000 + FALLBACK.silent)).toBe("begin again");
  });

  it("begins at once on a new socket, once it was needed", () => {
    const fallback = new Fallback(false);
    fallback.poll(connecting, 1_500);
    fallback.frame(1_600);
    fallback.lost();
    expect(fallback.deadline({ ...connecting, offeredSince: 9_000, peer: "none" })).toBe(9_000);
  });

  it("is not tried again in a browser that cannot show it", () => {
    const fallback = new Fallback(true);
    fallback.poll(connecting, 100);
    fallback.failed("no decoder", true, 100);
    expect([fallback.deadline(connecting), fallback.trouble]).toEqual([null, "no decoder"]);
    fallback.lost();
    expect(fallback.deadline(connecting)).toBeNull();
  });

  it("is tried again after a failure, more and more slowly, up to once a minute", () => {
    const fallback = new Fallback(true);
    const waits: number[] = [];
    for (let now = 1_000; waits.length < 8; ) {
      expect(fallback.poll(connecting, now)).toBe("begin");
      expect(fallback.attempt).toBe(waits.length);
      fallback.failed("decoder error", false, now);
      const next = fallback.deadline(connecting) ?? Infinity;
      waits.push(next - now);
      now = next;
    }
    expect(waits).toEqual([2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
  });

  it("forgets its failures once it has gone well, or WebRTC has taken over", () => {
    const fallback = new Fallback(true);
    const fail = (now: number): void => {
      fallback.poll(connecting, now);
      fallback.failed("decoder error", false, now);
    };
    fail(1_000);
    fail(3_000);
    fallback.poll(connecting, 7_000);
    fallback.frame(7_100);
    expect([fallback.attempt, fallback.trouble]).toEqual([2, ""]);
    fallback.frame(17_000);
    fallback.failed("decoder error", false, 17_000);
    expect([fallback.attempt, fallback.deadline(connecting)]).toEqual([1, 19_000]);
    fallback.poll(connecting, 19_000);
    fallback.poll({ ...connecting, peer: "connected", showing: true }, 20_000);
    expect(fallback.attempt).toBe(0);
  });

  it("does not make the next socket wait for a failure on the one before", () => {
    const fallback = new Fallback(true);
    fallback.poll(connecting, 100);
    fallback.failed("decoder error", false, 100);
    fallback.lost();
    expect(fallback.deadline({ ...connecting, offeredSince: 500 })).toBe(500);
  });
});
