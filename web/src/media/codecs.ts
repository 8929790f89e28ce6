// PURE. Order of video codecs in the offer.

/** What is used of RTCRtpCodec. */
export interface Codec {
  mimeType: string;
  sdpFmtpLine?: string;
}

/** H.264 constrained baseline in packetization mode 1 first, then VP8, then the rest as the browser has it. */
export function orderCodecs<C extends Codec>(codecs: readonly C[]): C[] {
  const rank = ({ mimeType, sdpFmtpLine = "" }: C): number => {
    if (/h264$/i.test(mimeType) && /profile-level-id=42e01f/i.test(sdpFmtpLine) && sdpFmtpLine.includes("packetization-mode=1")) return 0;
    return /vp8$/i.test(mimeType) ? 1 : 2;
  };
  return codecs
    .map((codec, index) => ({ codec, index, rank: rank(codec) }))
    .sort((a, b) => a.rank - b.rank || a.index - b.index)
    .map(({ codec }) => codec);
}
