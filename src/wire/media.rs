//! PURE. Video on the WebSocket, for networks that let nothing else through: one frame a binary message,
//! big-endian, and the page's acknowledgement of it.
//!
//! ```text
//! gateway -> page   u8 1 | u8 codec | u8 flags | u32 number | u64 µs | access unit
//! page -> gateway   u8 32 | u32 number
//! ```
//!
//! `codec` is 1 for H.264 (byte stream, RFC 6184's Annex B; parameter sets before each IDR), 2 for VP8; flag 1 says
//! key frame. Numbers wrap. Microseconds are of the gateway's clock, at the capture. Kinds of input frames
//! ([`super::input`]) end before 32, so that an acknowledgement is told from them by its first byte.

use bytes::{BufMut, Bytes, BytesMut};

use crate::frame::Codec;

const VIDEO: u8 = 1;
const ACKNOWLEDGED: u8 = 32;
const KEY_FRAME: u8 = 1;
const HEADER: usize = 15;

/// What goes before an access unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoHeader {
    /// How it is encoded.
    pub codec: Codec,
    /// True if a decoder can start with it.
    pub keyframe: bool,
    /// Which frame it is; wraps.
    pub number: u32,
    /// When it was captured, in microseconds of a clock that only goes on.
    pub captured_us: u64,
}

impl VideoHeader {
    /// The message that carries `unit`.
    pub fn message(self, unit: &[u8]) -> Bytes {
        let mut message = BytesMut::with_capacity(HEADER + unit.len());
        message.put_u8(VIDEO);
        message.put_u8(match self.codec {
            Codec::H264 => 1,
            Codec::Vp8 => 2,
        });
        message.put_u8(if self.keyframe { KEY_FRAME } else { 0 });
        message.put_u32(self.number);
        message.put_u64(self.captured_us);
        message.put_slice(unit);
        message.freeze()
    }

    /// Takes a message apart: what goes before, and the access unit. Nothing if it is no video that this version knows.
    pub fn parse(message: &[u8]) -> Option<(Self, &[u8])> {
        let (head, unit) = message.split_first_chunk::<HEADER>()?;
        let [VIDEO, codec, flags, n0, n1, n2, n3, time @ ..] = *head else { return None };
        let codec = match codec {
            1 => Codec::H264,
            2 => Codec::Vp8,
            _ => return None,
        };
        let number = u32::from_be_bytes([n0, n1, n2, n3]);
        let captured_us = u64::from_be_bytes(time);
        Some((Self { codec, keyframe: flags & KEY_FRAME != 0, number, captured_us }, unit))
    }

    /// What a viewer answers once it has the frame.
    pub fn acknowledgement(self) -> Bytes {
        let mut message = BytesMut::with_capacity(5);
        message.put_u8(ACKNOWLEDGED);
        message.put_u32(self.number);
        message.freeze()
    }
}

/// The frame that a message of the page acknowledges, if that is what it does.
pub fn acknowledged(message: &[u8]) -> Option<u32> {
    match message {
        [ACKNOWLEDGED, number @ ..] => Some(u32::from_be_bytes(number.try_into().ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_and_its_acknowledgement() {
        let header = VideoHeader { codec: Codec::Vp8, keyframe: true, number: 258, captured_us: 3 };
        assert_eq!(
            &header.message(b"unit")[..],
            b"\x01\x02\x01\x00\x00\x01\x02\x00\x00\x00\x00\x00\x00\x00\x03unit"
        );
        assert_eq!(VideoHeader::parse(&header.message(b"unit")), Some((header, &b"unit"[..])));
        assert_eq!(VideoHeader::parse(&header.message(b"")[..14]), None);
        assert_eq!(acknowledged(&[32, 0, 0, 1, 2]), Some(258));
        assert_eq!(acknowledged(&header.acknowledgement()), Some(258));
        for other in [&[][..], &[32], &[32, 0, 0, 1], &[32, 0, 0, 1, 2, 3], &[7, 0, 0, 1, 2]] {
            assert_eq!(acknowledged(other), None, "{other:?}");
        }
    }
}
