//! PURE. Frames on their way to a page over its WebSocket.
//!
//! Between the gateway and the page a stream may wait in kernels and proxies, as long as they please. Only the page's own
//! acknowledgement tells that a frame has arrived: what is not acknowledged in time is waited for, and then the
//! stream goes on with a key frame.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::congestion::{Arrival, Base, Congestion};
use crate::session::Limit;

/// How much longer than the shortest round trip a frame may take before no more are sent behind it.
const BEHIND: Duration = Duration::from_millis(150);
/// Bytes that may be on their way, unless it is one frame.
const MAX_BYTES: usize = 1 << 20;
/// Frames that may be on their way: four seconds at 60 a second.
const MAX_FRAMES: usize = 240;
/// A page that acknowledges nothing for this long, although something is on its way, does not read.
const DEAF: Duration = Duration::from_secs(5);

/// Whether a frame is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Send,
    /// It would only wait behind those that have not arrived yet.
    Behind,
    /// Frames were left out: nothing but a key frame can follow.
    NeedsKeyframe,
}

struct Sent {
    number: u32,
    at: Instant,
    bytes: usize,
}

/// See the module.
pub struct Flow {
    on_their_way: VecDeque<Sent>,
    bytes: usize,
    awaits_keyframe: bool,
    round_trip: Option<Duration>,
    shortest: Base,
    moved: Instant,
    epoch: Instant,
    congestion: Congestion,
}

impl Flow {
    /// Nothing sent yet; a key frame comes first. The way is expected to carry so many kbit/s, if anything is known of it.
    pub fn new(expected: Option<u32>, now: Instant) -> Self {
        Self {
            on_their_way: VecDeque::new(),
            bytes: 0,
            awaits_keyframe: true,
            round_trip: None,
            shortest: Base::new(now),
            moved: now,
            epoch: now,
            congestion: Congestion::expecting(expected, now),
        }
    }

    /// What to do with the next frame.
    pub fn verdict(&mut self, keyframe: bool, now: Instant) -> Verdict {
        let shortest = self.shortest.least().unwrap_or_default().max(0) as u64;
        let patience = Duration::from_micros(shortest) + BEHIND;
        let late = self.on_their_way.front().is_some_and(|s| now.saturating_duration_since(s.at) > patience);
        if late || self.bytes > MAX_BYTES || self.on_their_way.len() >= MAX_FRAMES {
            self.awaits_keyframe = true;
            return Verdict::Behind;
        }
        if self.awaits_keyframe && !keyframe {
            return Verdict::NeedsKeyframe;
        }
        Verdict::Send
    }

    /// A frame was sent.
    pub fn sent(&mut self, number: u32, bytes: usize, now: Instant) {
        if self.on_their_way.is_empty() {
            self.moved = now;
        }
        self.awaits_keyframe = false;
        self.bytes += bytes;
        self.on_their_way.push_back(Sent { number, at: now, bytes });
    }

    /// The page has this frame, and so all before it. Gives how long it took there and its acknowledgement back; nothing
    /// for a frame that is not on its way.
    pub fn acknowledged(&mut self, number: u32, now: Instant) -> Option<Duration> {
        let at = self.on_their_way.iter().position(|sent| sent.number == number)?;
        let arrived_us = now.saturating_duration_since(self.epoch).as_micros() as i64;
        let arrived: Vec<Arrival> = self
            .on_their_way
            .drain(..=at)
            .map(|s| Arrival { sent: s.at, arrived_us: Some(arrived_us), bytes: s.bytes })
            .collect();
        self.congestion.handle(&arrived, now);
        let round_trip = now.saturating_duration_since(arrived.last()?.sent);
        self.bytes -= arrived.iter().map(|a| a.bytes).sum::<usize>();
        self.moved = now;
        self.round_trip = Some(round_trip);
        self.shortest.note(round_trip.as_micros() as i64, now);
        Some(round_trip)
    }

    /// What the way carries, when that has changed.
    pub fn limit_news(&mut self) -> Option<Limit> {
        self.congestion.news()
    }

    /// The last frame's way there and its acknowledgement's back.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Frames were left out, and the way is free again: time for a key frame.
    pub fn wants_keyframe(&self) -> bool {
        self.awaits_keyframe && self.on_their_way.is_empty()
    }

    /// Nothing but a key frame can follow: a frame was lost before it came here.
    pub fn require_keyframe(&mut self) {
        self.awaits_keyframe = true;
    }

    /// True if nobody reads what is sent.
    pub fn is_deaf(&self, now: Instant) -> bool {
        !self.on_their_way.is_empty() && now.saturating_duration_since(self.moved) >= DEAF
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: usize = 10_000;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn flowing(start: Instant) -> Flow {
        let mut flow = Flow::new(None, start);
        assert_eq!(flow.verdict(false, start), Verdict::NeedsKeyframe);
        assert_eq!(flow.verdict(true, start), Verdict::Send);
        flow.sent(1, FRAME, start);
        assert_eq!(flow.acknowledged(1, start + ms(20)), Some(ms(20)));
        flow
    }

    #[test]
    fn a_frame_that_does_not_arrive_holds_the_others_back_and_a_key_frame_follows() {
        let start = Instant::now();
        let mut flow = flowing(start);
        flow.sent(2, FRAME, start + ms(30));
        assert_eq!(flow.verdict(false, start + ms(30 + 170)), Verdict::Send);
        flow.sent(3, FRAME, start + ms(200));
        assert_eq!(flow.verdict(false, start + ms(30 + 171)), Verdict::Behind);
        assert_eq!(flow.verdict(true, start + ms(300)), Verdict::Behind, "key frames too");
        assert!(!flow.wants_keyframe());
        assert_eq!(flow.acknowledged(3, start + ms(300)), Some(ms(100)));
        assert!(flow.wants_keyframe());
        assert_eq!(flow.verdict(false, start + ms(301)), Verdict::NeedsKeyframe);
        assert_eq!(flow.verdict(true, start + ms(302)), Verdict::Send);
    }

    #[test]
    fn what_is_on_its_way_is_bounded() {
        let start = Instant::now();
        let mut flow = flowing(start);
        flow.sent(2, MAX_BYTES + 1, start);
        assert_eq!(flow.verdict(true, start), Verdict::Behind);
        assert_eq!(flow.acknowledged(2, start), Some(ms(0)));
        for number in 0..MAX_FRAMES as u32 {
            assert_ne!(flow.verdict(true, start), Verdict::Behind);
            flow.sent(number, 1, start);
        }
        assert_eq!(flow.verdict(true, start), Verdict::Behind);
    }

    #[test]
    fn silence_counts_only_while_something_is_on_its_way() {
        let start = Instant::now();
        let mut flow = flowing(start);
        let later = start + 10 * DEAF;
        assert!(!flow.is_deaf(later));
        flow.sent(2, FRAME, later);
        assert!(!flow.is_deaf(later + ms(4_999)) && flow.is_deaf(later + DEAF));
    }

    #[test]
    fn frames_that_were_never_sent_are_not_acknowledged() {
        let start = Instant::now();
        let mut flow = flowing(start);
        assert_eq!(flow.acknowledged(1, start), None, "twice");
        assert_eq!(flow.acknowledged(77, start), None);
    }
}
