//! PURE. Counting RTP of one stream (RFC 3550 §A.3), for viewers that do not decode.

/// What came of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets.
    pub packets: u64,
    /// Bytes of payload.
    pub bytes: u64,
    /// Packets that end a frame.
    pub frames: u64,
    stream: Option<Stream>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stream {
    ssrc: u32,
    highest: u16,
    /// From the first packet to the highest, both included.
    expected: u64,
    received: u64,
}

impl Tally {
    /// Counts a packet.
    pub fn count(&mut self, ssrc: u32, sequence: u16, marker: bool, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
        self.frames += u64::from(marker);
        match &mut self.stream {
            Some(stream) if stream.ssrc == ssrc => {
                let ahead = sequence.wrapping_sub(stream.highest);
                // Less than half the circle ahead is newer.
                if ahead < 0x8000 {
                    stream.highest = sequence;
                    stream.expected += u64::from(ahead);
                }
                stream.received += 1;
            }
            // Retransmissions may have a stream of their own: the first one is judged.
            Some(_) => {}
            stream => *stream = Some(Stream { ssrc, highest: sequence, expected: 1, received: 1 }),
        }
    }

    /// Packets that never came.
    pub fn lost(&self) -> u64 {
        self.stream.map_or(0, |s| s.expected.saturating_sub(s.received))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_losses_and_late_packets_are_not() {
        let mut tally = Tally::default();
        for sequence in [65_534, 65_535, 1, 0, 4] {
            tally.count(7, sequence, sequence == 1, 100);
        }
        // 2 and 3 are missing.
        assert_eq!((tally.packets, tally.bytes, tally.frames, tally.lost()), (5, 500, 1, 2));
        tally.count(8, 500, false, 100);
        assert_eq!((tally.packets, tally.lost()), (6, 2));
    }
}
