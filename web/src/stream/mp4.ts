// PURE. Fragmented MP4 (ISO/IEC 14496-12) with one H.264 track and one frame a fragment: what Media Source Extensions take.
// Muxers that exist gather frames until a key frame comes; here none does for hours.

import { decoderConfiguration, pictureSize, type ParameterSets } from "./avc";

/** Units of a second. */
export const TIMESCALE = 90_000;
const TRACK = 1;
const IDENTITY = [0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000];
/** sample_depends_on and sample_is_non_sync_sample (§8.8.3.1). */
const SYNC = 0x02000000;
const NOT_SYNC = 0x01010000;

type Part = Uint8Array | readonly number[];

const u16 = (...values: number[]): number[] => values.flatMap((v) => [(v >> 8) & 0xff, v & 0xff]);
const u32 = (...values: number[]): number[] =>
  values.flatMap((v) => [(v >>> 24) & 0xff, (v >>> 16) & 0xff, (v >>> 8) & 0xff, v & 0xff]);
const ascii = (text: string): number[] => Array.from({ length: text.length }, (_, i) => text.charCodeAt(i));
const zeros = (count: number): number[] => new Array<number>(count).fill(0);

function box(type: string, ...parts: Part[]): Uint8Array<ArrayBuffer> {
  const length = 8 + parts.reduce((sum, part) => sum + part.length, 0);
  const bytes = new Uint8Array(length);
  bytes.set([...u32(length), ...ascii(type)]);
  let at = 8;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

const full = (type: string, version: number, flags: number, ...parts: Part[]): Uint8Array<ArrayBuffer> =>
  box(type, [version, (flags >> 16) & 0xff, (flags >> 8) & 0xff, flags & 0xff], ...parts);

/** The initialization segment. No duration anywhere: that tells a browser that the stream is live. */
export function initSegment(sets: ParameterSets): Uint8Array<ArrayBuffer> {
  const { width, height } = pictureSize(sets);
  const avc1 = box(
    "avc1",
    [...zeros(6), ...u16(1), ...zeros(16), ...u16(width, height), ...u32(0x480000, 0x480000, 0), ...u16(1), ...zeros(32)],
    u16(24, 0xffff),
    box("avcC", decoderConfiguration(sets)),
  );
  const table = (type: string): Uint8Array => full(type, 0, 0, u32(0));
  const stbl = box("stbl", full("stsd", 0, 0, u32(1), avc1), table("stts"), table("stsc"), full("stsz", 0, 0, u32(0, 0)), table("stco"));
  const dinf = box("dinf", full("dref", 0, 0, u32(1), full("url ", 0, 1)));
  const minf = box("minf", full("vmhd", 0, 1, zeros(8)), dinf, stbl);
  const mdia = box(
    "mdia",
    full("mdhd", 0, 0, u32(0, 0, TIMESCALE, 0), u16(0x55c4, 0)),
    full("hdlr", 0, 0, u32(0), ascii("vide"), zeros(12), [0]),
    minf,
  );
  const tkhd = full("tkhd", 0, 3, u32(0, 0, TRACK, 0, 0), zeros(16), u32(...IDENTITY), u32(width << 16, height << 16));
  const moov = box(
    "moov",
    full("mvhd", 0, 0, u32(0, 0, TIMESCALE, 0, 0x10000), u16(0x0100, 0), zeros(8), u32(...IDENTITY), zeros(24), u32(TRACK + 1)),
    box("trak", tkhd, mdia),
    box("mvex", full("trex", 0, 0, u32(TRACK, 1, 0, 0, 0))),
  );
  return concat(box("ftyp", ascii("iso5"), u32(0), ascii("iso5iso6mp41")), moov);
}

/** A media segment of one frame. */
export interface Sample {
  /** Counts from 1. */
  number: number;
  /** Decode and presentation time, in {@link TIMESCALE}. */
  time: number;
  duration: number;
  keyFrame: boolean;
  /** NAL units with their lengths. */
  data: Uint8Array;
}

/** One frame as a media segment. */
export function mediaSegment({ number, time, duration, keyFrame, data }: Sample): Uint8Array<ArrayBuffer> {
  const high = Math.floor(time / 2 ** 32);
  const moof = (offset: number): Uint8Array<ArrayBuffer> =>
    box(
      "moof",
      full("mfhd", 0, 0, u32(number)),
      box(
        "traf",
        // default-base-is-moof
        full("tfhd", 0, 0x020000, u32(TRACK)),
        full("tfdt", 1, 0, u32(high, time % 2 ** 32)),
        // data-offset, sample-duration, sample-size, sample-flags
        full("trun", 0, 0x000701, u32(1, offset, duration, data.length, keyFrame ? SYNC : NOT_SYNC)),
      ),
    );
  return concat(moof(moof(0).length + 8), box("mdat", data));
}

function concat(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
