// PURE. H.264 as the gateway sends it (byte stream, ITU-T H.264 Annex B) and as decoders of browsers want it described.

const SPS = 7;
const PPS = 8;

/** Parameter sets of a key frame. */
export interface ParameterSets {
  sps: Uint8Array;
  pps: Uint8Array;
}

/** NAL units of an access unit, start codes left out. */
export function nalUnits(unit: Uint8Array): Uint8Array[] {
  const found: Uint8Array[] = [];
  let start = -1;
  for (let at = 0; at + 2 < unit.length; at++) {
    if (unit[at] !== 0 || unit[at + 1] !== 0 || unit[at + 2] !== 1) continue;
    if (start >= 0) found.push(trimmed(unit, start, at));
    start = at + 3;
    at += 2;
  }
  if (start >= 0) found.push(trimmed(unit, start, unit.length));
  return found.filter((nal) => nal.length > 0);
}

/** Zeroes before a start code belong to no unit (trailing_zero_8bits, and the first byte of a long start code). */
function trimmed(unit: Uint8Array, start: number, end: number): Uint8Array {
  while (end > start && unit[end - 1] === 0) end -= 1;
  return unit.subarray(start, end);
}

/** The parameter sets before an IDR; null if one is missing. */
export function parameterSets(nals: readonly Uint8Array[]): ParameterSets | null {
  const of = (type: number): Uint8Array | undefined => nals.find((nal) => ((nal[0] ?? 0) & 0x1f) === type);
  const [sps, pps] = [of(SPS), of(PPS)];
  return sps === undefined || pps === undefined || sps.length < 4 ? null : { sps, pps };
}

/** Codec string of RFC 6381: profile, constraints and level as the sequence parameter set has them. */
export function codecString({ sps }: ParameterSets): string {
  return `avc1.${[...sps.subarray(1, 4)].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/** AVCDecoderConfigurationRecord (ISO/IEC 14496-15 §5.3.3.1), for baseline profiles. */
export function decoderConfiguration({ sps, pps }: ParameterSets): Uint8Array {
  const length = (bytes: Uint8Array): number[] => [bytes.length >> 8, bytes.length & 0xff];
  const [profile = 0, constraints = 0, level = 0] = sps.subarray(1, 4);
  return Uint8Array.from([1, profile, constraints, level, 0xff, 0xe1, ...length(sps), ...sps, 1, ...length(pps), ...pps]);
}

/** The access unit with a length before each NAL unit; parameter sets, which the configuration holds, left out. */
export function lengthPrefixed(nals: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const kept = nals.filter((nal) => ![SPS, PPS].includes((nal[0] ?? 0) & 0x1f));
  const sample = new Uint8Array(kept.reduce((sum, nal) => sum + 4 + nal.length, 0));
  const view = new DataView(sample.buffer);
  let at = 0;
  for (const nal of kept) {
    view.setUint32(at, nal.length);
    sample.set(nal, at + 4);
    at += 4 + nal.length;
  }
  return sample;
}

/** Picture size, from the sequence parameter set (§7.3.2.1.1) of a baseline profile. */
export function pictureSize({ sps }: ParameterSets): { width: number; height: number } {
  const bits = new Bits(sps.subarray(4));
  bits.golomb(); // seq_parameter_set_id
  bits.golomb(); // log2_max_frame_num_minus4
  const order = bits.golomb();
  if (order === 0) bits.golomb(); // log2_max_pic_order_cnt_lsb_minus4
  if (order === 1) {
    bits.read(1);
    bits.golomb();
    bits.golomb();
    const cycle = Math.min(bits.golomb(), 255);
    for (let i = 0; i < cycle; i++) bits.golomb();
  }
  bits.golomb(); // max_num_ref_frames
  bits.read(1);
  let width = (bits.golomb() + 1) * 16;
  let height = (bits.golomb() + 1) * 16;
  const framesOnly = bits.read(1);
  if (framesOnly === 0) {
    height *= 2;
    bits.read(1);
  }
  bits.read(1); // direct_8x8_inference_flag
  if (bits.read(1) === 1) {
    width -= 2 * (bits.golomb() + bits.golomb());
    height -= 2 * (2 - framesOnly) * (bits.golomb() + bits.golomb());
  }
  return { width, height };
}

/** Bits of a NAL unit, emulation prevention taken out; zeroes past its end. */
class Bits {
  private readonly bytes: Uint8Array;
  private at = 0;

  constructor(nal: Uint8Array) {
    this.bytes = nal.filter((byte, i) => !(byte === 3 && i >= 2 && nal[i - 1] === 0 && nal[i - 2] === 0));
  }

  read(count: number): number {
    let value = 0;
    for (let i = 0; i < count; i++) {
      value = value * 2 + (((this.bytes[this.at >> 3] ?? 0) >> (7 - (this.at & 7))) & 1);
      this.at += 1;
    }
    return value;
  }

  /** ue(v), §9.1. */
  golomb(): number {
    let zeros = 0;
    while (zeros < 31 && this.read(1) === 0) zeros += 1;
    return 2 ** zeros - 1 + this.read(zeros);
  }
}
