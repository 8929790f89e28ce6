//! PURE. Which of the packets that a viewer misses are sent again.
//!
//! On a way that is full, each of them takes the place of a new one. And a viewer asks for the same packet every tenth of
//! a second until it has come: where that takes a second, as behind a queue, it asks ten times. Answered every time, a
//! narrow way carries nothing but old packets. What is not sent again is made up for by a key frame.

use std::time::{Duration, Instant};

use crate::session::Bucket;

/// Of what a way carries, the part that packets sent again may take.
const SHARE: f64 = 0.25;
/// For how long that may be saved up.
const SAVED: Duration = Duration::from_millis(500);

/// What is known of the way at the moment.
#[derive(Clone, Copy, Debug)]
pub struct RepairWay {
    /// What it carries, in kbit/s; none where no limit has shown.
    pub limit_kbps: Option<u32>,
    /// A packet that was sent is heard of after this time.
    pub answers_in: Duration,
}

/// What to do about one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Send it again.
    Send,
    /// It was sent again, which its viewer cannot know yet.
    OnItsWay,
    /// The way has no room for it.
    Refuse,
}

/// See the module. One for each viewer.
#[derive(Debug)]
pub struct Repairs {
    bytes: Bucket,
}

impl Repairs {
    /// Nothing was sent again yet.
    pub fn new(now: Instant) -> Self {
        Self { bytes: Bucket::new(0, 0, now) }
    }

    /// About a packet of so many bytes that was last sent again then.
    pub fn decide(
        &mut self,
        way: &RepairWay,
        again_at: Option<Instant>,
        bytes: usize,
        now: Instant,
    ) -> Repair {
        if again_at.is_some_and(|at| now < at + way.answers_in) {
            return Repair::OnItsWay;
        }
        let Some(kbps) = way.limit_kbps else { return Repair::Send };
        let a_second = SHARE * f64::from(kbps) * 125.0;
        self.bytes.set_rate(a_second as u32, (a_second * SAVED.as_secs_f64()) as u32);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if self.bytes.take_many(bytes, now) { Repair::Send } else { Repair::Refuse }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: usize = 1_200;

    fn way(limit_kbps: Option<u32>) -> RepairWay {
        RepairWay { limit_kbps, answers_in: Duration::from_millis(100) }
    }

    #[test]
    fn a_packet_on_its_way_is_not_sent_once_more() {
        let start = Instant::now();
        let mut repairs = Repairs::new(start);
        let mut at = |ms| repairs.decide(&way(None), Some(start), PACKET, start + Duration::from_millis(ms));
        assert_eq!([at(0), at(99), at(100)], [Repair::OnItsWay, Repair::OnItsWay, Repair::Send]);
    }

    #[test]
    fn a_quarter_of_a_narrow_way_is_for_what_was_lost_and_all_of_one_without_a_limit() {
        let start = Instant::now();
        let mut repairs = Repairs::new(start);
        let mut sent = |limit: Option<u32>, from: u64| {
            let mut asked = (from..from + 10_000).map(|ms| start + Duration::from_millis(ms));
            asked
                .by_ref()
                .filter(|now| repairs.decide(&way(limit), None, PACKET, *now) == Repair::Send)
                .count()
        };
        // 1 Mbit/s: 26 packets a second; and half a second's worth was saved up.
        let narrow = sent(Some(1_000), 10_000);
        assert!((260..=275).contains(&narrow), "{narrow}");
        assert_eq!(sent(None, 30_000), 10_000);
    }
}
