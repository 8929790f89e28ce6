//! PURE. Messages on a stream: where the next one ends.

use std::ops::Range;

use thiserror::Error;

/// The largest message that a viewer has a reason to send: a packet, and what TURN puts around it.
pub const MAX_MESSAGE: usize = 4_096;
const STUN_HEADER: usize = 20;
const CHANNEL_HEADER: usize = 4;
/// Length prefix of RFC 4571 §2.
const LENGTH: usize = 2;

/// How a stream is cut into messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// STUN messages and padded ChannelData (RFC 8656 §3.1, §12.5).
    Turn,
    /// A length before each packet (RFC 4571, for ICE-TCP: RFC 6544).
    Ice,
}

/// One whole message at the front of a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where the message lies.
    pub message: Range<usize>,
    /// Where the next one begins.
    pub end: usize,
}

/// A stream that cannot be cut any further: it has to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FramingError {
    /// Neither STUN nor ChannelData.
    #[error("neither STUN nor ChannelData")]
    Unknown,
    /// Longer than [`MAX_MESSAGE`].
    #[error("a message of {0} bytes")]
    TooLong(usize),
}

impl Framing {
    /// The next message in `bytes`; nothing while it is not complete.
    ///
    /// # Errors
    /// [`FramingError`].
    pub fn next(self, bytes: &[u8]) -> Result<Option<Frame>, FramingError> {
        let Some([a, b, rest @ ..]) = bytes.get(..bytes.len().min(CHANNEL_HEADER)) else { return Ok(None) };
        let second = rest.first_chunk::<2>().map(|length| usize::from(u16::from_be_bytes(*length)));
        let (start, length, padding) = match (self, a >> 6, second) {
            (Self::Ice, _, _) => (LENGTH, usize::from(u16::from_be_bytes([*a, *b])), 1),
            (Self::Turn, 0 | 1, None) => return Ok(None),
            (Self::Turn, 0, Some(length)) => (0, STUN_HEADER + length, 4),
            (Self::Turn, 1, Some(length)) => (0, CHANNEL_HEADER + length, 4),
            (Self::Turn, ..) => return Err(FramingError::Unknown),
        };
        if length > MAX_MESSAGE {
            return Err(FramingError::TooLong(length));
        }
        let message = start..start + length;
        let end = start + length.next_multiple_of(padding);
        Ok((bytes.len() >= end).then_some(Frame { message, end }))
    }

    /// What goes before a packet that is sent; TURN's messages come framed already.
    pub fn prefix(self, packet: &[u8]) -> Option<[u8; LENGTH]> {
        match self {
            Self::Turn => None,
            Self::Ice => u16::try_from(packet.len()).ok().map(u16::to_be_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(framing: Framing, mut bytes: &[u8]) -> (Vec<Vec<u8>>, usize) {
        let mut found = Vec::new();
        while let Some(frame) = framing.next(bytes).unwrap() {
            found.push(bytes[frame.message.clone()].to_vec());
            bytes = &bytes[frame.end..];
        }
        (found, bytes.len())
    }

    #[test]
    fn stun_and_padded_channel_data() {
        let stun = [&[0, 1, 0, 4][..], &[0x21, 0x12, 0xa4, 0x42], &[7; 12], &[1, 2, 3, 4]].concat();
        let channel = [0x40, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0];
        let (found, left) = cut(Framing::Turn, &[&stun[..], &channel, &stun[..10]].concat());
        assert_eq!(found, [stun.clone(), channel[..9].to_vec()]);
        assert_eq!(left, 10);
    }

    #[test]
    fn packets_behind_their_length() {
        let packet = [9_u8; 300];
        let framed = [&Framing::Ice.prefix(&packet).unwrap()[..], &packet].concat();
        let (found, left) = cut(Framing::Ice, &[&framed[..], &[0, 0], &framed, &[0]].concat());
        assert_eq!((found, left), (vec![packet.to_vec(), vec![], packet.to_vec()], 1));
    }

    #[test]
    fn what_cannot_be_cut_is_refused() {
        assert_eq!(Framing::Turn.next(&[0x80, 0, 0, 0]), Err(FramingError::Unknown));
        assert_eq!(Framing::Ice.next(&[0xff, 0xff]), Err(FramingError::TooLong(65_535)));
        assert_eq!(Framing::Turn.next(&[0x40, 0, 0xff, 0xff]), Err(FramingError::TooLong(65_539)));
    }

    proptest! {
        #[test]
        fn ends_lie_inside_and_ahead(bytes in proptest::collection::vec(any::<u8>(), 0..600), ice: bool) {
            let framing = if ice { Framing::Ice } else { Framing::Turn };
            if let Ok(Some(frame)) = framing.next(&bytes) {
                prop_assert!(frame.end <= bytes.len() && frame.end > 0);
                prop_assert!(frame.message.end <= frame.end);
            }
        }
    }
}
