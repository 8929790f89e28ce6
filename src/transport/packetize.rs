//! PURE. An access unit becomes RTP payloads, once for all viewers of a rendition; headers are each viewer's.

use std::time::Instant;

use bytes::Bytes;
use rtc::rtp::codec::h264::H264Payloader;
use rtc::rtp::codec::vp8::Vp8Payloader;
use rtc::rtp::packetizer::Payloader;

use crate::frame::Codec;

/// RTP payload size: 1200 bytes of UDP payload (what QUIC and libwebrtc assume of any path), less the fixed
/// header, the extensions in use and the SRTP tag.
const PAYLOAD: usize = 1_200 - 12 - 16 - 16;

/// One frame, ready for every viewer's header.
#[derive(Clone, Debug)]
pub struct PacketizedFrame {
    /// RTP payloads in order; the last one gets the marker.
    pub payloads: Vec<Bytes>,
    /// The access unit that they were cut from.
    pub unit: Bytes,
    /// True for an IDR (H.264) or key frame (VP8).
    pub keyframe: bool,
    /// When the picture was captured: the RTP timestamp follows it.
    pub captured_at: Instant,
    /// When the change became known, for latency accounting.
    pub damaged_at: Instant,
}

/// Packetisation state of one rendition.
pub struct Packetizer(Box<dyn Payloader + Send>);

impl Packetizer {
    /// A packetiser for one codec.
    pub fn new(codec: Codec) -> Self {
        Self(match codec {
            Codec::H264 => Box::<H264Payloader>::default(),
            Codec::Vp8 => {
                let mut payloader = Vp8Payloader::default();
                payloader.enable_picture_id = true;
                Box::new(payloader)
            }
        })
    }

    /// Splits one access unit (Annex B for H.264).
    pub fn packetize(&mut self, unit: &Bytes) -> Vec<Bytes> {
        // The payloaders fail on nothing but an empty unit, which has no packets.
        self.0.payload(PAYLOAD, unit).unwrap_or_default()
    }
}
