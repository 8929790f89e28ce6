//! PURE. What a browser's offer allows: the codec to send, and limits that keep hostile SDP away from the
//! parser behind it.

use thiserror::Error;

use crate::frame::Codec;

/// Most lines of an offer. A browser's has about 250; what they cost `rtc` grows with lines times formats.
const MAX_LINES: usize = 1_000;
/// Most formats of an m-line: there are no more payload types.
const MAX_FORMATS: usize = 128;
/// Most m-lines. A page of ours offers four.
const MAX_MEDIA: usize = 16;
/// Most candidates inside an offer.
const MAX_CANDIDATES: usize = 64;
/// Longest line in bytes.
const MAX_LINE: usize = 2_048;

/// Why an offer was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OfferError {
    /// Over a limit of this module.
    #[error("the offer has too many {0}")]
    TooMany(&'static str),
    /// No m-line for video that the browser wants to receive.
    #[error("the offer has no video to send to")]
    NoVideo,
    /// None of the usable codecs is in it.
    #[error("the browser takes none of the codecs that this gateway can encode ({0})")]
    NoCodec(String),
    /// The WebRTC core refused it.
    #[error("the offer was refused: {0}")]
    Refused(String),
}

/// The codec to answer with, as the browser names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoFormat {
    /// Which codec.
    pub codec: Codec,
    /// The browser's payload type for it.
    pub payload_type: u8,
    /// The browser's `a=fmtp` parameters.
    pub fmtp: String,
    /// Payload type of the retransmission format that belongs to it (RFC 4588).
    pub rtx: Option<u8>,
}

/// Picks the first of `usable` that the offer has.
///
/// # Errors
/// [`OfferError`] when the offer is over a limit, has no video section, or no codec in common.
pub fn choose(sdp: &str, usable: &[Codec]) -> Result<VideoFormat, OfferError> {
    check_limits(sdp)?;
    let formats = video_formats(sdp);
    if formats.is_empty() {
        return Err(OfferError::NoVideo);
    }
    usable
        .iter()
        .find_map(|codec| best(&formats, *codec))
        .ok_or_else(|| OfferError::NoCodec(usable.iter().map(|c| c.name()).collect::<Vec<_>>().join(", ")))
}

fn check_limits(sdp: &str) -> Result<(), OfferError> {
    let count = |prefix: &str| sdp.lines().filter(|l| l.starts_with(prefix)).count();
    if sdp.lines().count() > MAX_LINES {
        return Err(OfferError::TooMany("lines"));
    }
    if sdp.lines().any(|l| l.len() > MAX_LINE) {
        return Err(OfferError::TooMany("bytes in one line"));
    }
    if media_sections(sdp) > MAX_MEDIA {
        return Err(OfferError::TooMany("media sections"));
    }
    let formats = |line: &str| line.split_whitespace().skip(3).count();
    if sdp.lines().any(|line| line.starts_with("m=") && formats(line) > MAX_FORMATS) {
        return Err(OfferError::TooMany("formats in one media section"));
    }
    if count("a=candidate:") > MAX_CANDIDATES {
        return Err(OfferError::TooMany("candidates"));
    }
    Ok(())
}

/// How many m-lines a description has.
pub(super) fn media_sections(sdp: &str) -> usize {
    sdp.lines().filter(|line| line.starts_with("m=")).count()
}

#[derive(Debug, Default)]
struct Format {
    payload_type: u8,
    name: String,
    fmtp: String,
}

/// Formats of the first video section, in the browser's order of preference (the m-line's).
fn video_formats(sdp: &str) -> Vec<Format> {
    let mut lines = sdp.lines().skip_while(|l| !l.starts_with("m=video "));
    let Some(media) = lines.next() else { return Vec::new() };
    let mut formats: Vec<Format> = media
        .split_whitespace()
        .skip(3)
        .filter_map(|pt| pt.parse().ok().filter(|pt| *pt < 128))
        .map(|payload_type| Format { payload_type, ..Format::default() })
        .collect();
    for line in lines.take_while(|l| !l.starts_with("m=")) {
        if let Some((pt, name)) = attribute(line, "a=rtpmap:")
            && let Some(format) = formats.iter_mut().find(|f| f.payload_type == pt)
        {
            format.name = name.split('/').next().unwrap_or_default().to_ascii_uppercase();
        } else if let Some((pt, parameters)) = attribute(line, "a=fmtp:")
            && let Some(format) = formats.iter_mut().find(|f| f.payload_type == pt)
        {
            format.fmtp = parameters.to_owned();
        }
    }
    formats
}

fn attribute<'a>(line: &'a str, name: &str) -> Option<(u8, &'a str)> {
    let (pt, value) = line.strip_prefix(name)?.split_once(' ')?;
    Some((pt.parse().ok()?, value.trim()))
}

fn parameter<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    fmtp.split(';').find_map(|p| p.trim().strip_prefix(name)?.strip_prefix('='))
}

fn best(formats: &[Format], codec: Codec) -> Option<VideoFormat> {
    let format = formats
        .iter()
        .filter(|f| f.name == codec.name())
        .filter_map(|f| Some((rank(codec, &f.fmtp)?, f)))
        .min_by_key(|(rank, _)| *rank)?
        .1;
    let rtx = formats
        .iter()
        .find(|f| f.name == "RTX" && parameter(&f.fmtp, "apt") == Some(&format.payload_type.to_string()))
        .map(|f| f.payload_type);
    Some(VideoFormat { codec, payload_type: format.payload_type, fmtp: format.fmtp.clone(), rtx })
}

/// Lower is better; `None` is unusable.
fn rank(codec: Codec, fmtp: &str) -> Option<u8> {
    if codec == Codec::Vp8 {
        return Some(0);
    }
    // Mode 0 (the default) forbids fragmentation units (RFC 6184 §6.2), and a key frame needs them.
    if parameter(fmtp, "packetization-mode") != Some("1") {
        return None;
    }
    // profile-level-id is profile_idc, constraint flags, level (RFC 6184 §8.1). Constrained baseline is
    // profile 42 with constraint_set1; Firefox and Chromium write 42e01f.
    match parameter(fmtp, "profile-level-id").map(str::to_ascii_lowercase).as_deref() {
        Some(id) if id.starts_with("42e0") => Some(0),
        Some(id) if id.starts_with("42") => Some(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103 108 109\r\n\
        a=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
        a=rtpmap:102 H264/90000\r\na=fmtp:102 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f\r\n\
        a=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\n\
        a=rtpmap:108 H264/90000\r\na=fmtp:108 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
        a=rtpmap:109 rtx/90000\r\na=fmtp:109 apt=108\r\n";

    #[test]
    fn h264_is_taken_with_its_rtx() {
        let f = choose(OFFER, &[Codec::H264, Codec::Vp8]).unwrap();
        assert_eq!((f.codec, f.payload_type, f.rtx), (Codec::H264, 108, Some(109)));
    }

    #[test]
    fn a_browser_without_h264_gets_vp8() {
        let offer = OFFER.replace("H264", "XXXX");
        let f = choose(&offer, &[Codec::H264, Codec::Vp8]).unwrap();
        assert_eq!((f.codec, f.payload_type, f.rtx), (Codec::Vp8, 96, Some(97)));
    }

    #[test]
    fn refusals_say_why() {
        assert_eq!(choose("v=0\r\n", &[Codec::Vp8]), Err(OfferError::NoVideo));
        assert_eq!(
            choose(&OFFER.replace("VP8", "XXX"), &[Codec::Vp8]),
            Err(OfferError::NoCodec("VP8".into()))
        );
        let many = format!("{OFFER}{}", "a=candidate:1 1 udp 1 10.0.0.1 1 typ host\r\n".repeat(10_000));
        assert_eq!(choose(&many, &[Codec::Vp8]), Err(OfferError::TooMany("lines")));
        let media = format!("{OFFER}{}", "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n".repeat(100));
        assert_eq!(choose(&media, &[Codec::Vp8]), Err(OfferError::TooMany("media sections")));
        let formats = OFFER.replace(" 96 97", &" 96".repeat(129));
        assert_eq!(choose(&formats, &[Codec::Vp8]), Err(OfferError::TooMany("formats in one media section")));
    }

    #[test]
    fn payload_types_past_127_are_not_taken() {
        assert_eq!(
            choose("m=video 9 UDP/TLS/RTP/SAVPF 200\r\na=rtpmap:200 VP8/90000\r\n", &[Codec::Vp8]),
            Err(OfferError::NoVideo)
        );
    }
}
