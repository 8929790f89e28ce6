//! PURE. What was sent to one viewer, packet by packet: what congestion control looks packets up in, and the source
//! of the bitrate that status shows.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::congestion::Arrival;
use super::feedback::Arrivals;

/// Packets remembered: more than two seconds at 20 Mbit/s.
const CAPACITY: usize = 4_096;

/// One packet as it left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Transport-wide sequence number, if the packet carries one.
    pub number: Option<u16>,
    /// UDP payload size in bytes.
    pub size: u16,
    /// When it was handed to the socket.
    pub at: Instant,
    /// True for RFC 4588 retransmissions.
    pub retransmission: bool,
}

/// What reports have said of a packet so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Nothing,
    Lost,
    Arrived,
}

#[derive(Debug)]
struct Entry {
    sent: Sent,
    told: Told,
}

/// The last packets of one viewer.
#[derive(Debug, Default)]
pub struct Ledger {
    sent: VecDeque<Entry>,
    total_packets: u64,
    total_bytes: u64,
    retransmissions: u64,
    unheard: usize,
    /// When the first of them was sent.
    unheard_since: Option<Instant>,
    since_keyframe: usize,
}

impl Ledger {
    /// Writes one packet down; the oldest falls out.
    pub fn record(&mut self, sent: Sent) {
        if self.sent.len() == CAPACITY {
            self.sent.pop_front();
        }
        self.total_packets += 1;
        self.total_bytes += u64::from(sent.size);
        self.retransmissions += u64::from(sent.retransmission);
        // Of others no report will tell.
        if sent.number.is_some() {
            self.unheard += usize::from(sent.size);
            self.unheard_since.get_or_insert(sent.at);
        }
        self.since_keyframe += usize::from(sent.size);
        self.sent.push_back(Entry { sent, told: Told::Nothing });
    }

    /// Bytes on their way: sent later than all that was heard of, since the way was taken.
    pub fn unheard(&self) -> usize {
        self.unheard
    }

    /// When the first of them was sent; nothing where there are none.
    pub fn unheard_since(&self) -> Option<Instant> {
        self.unheard_since
    }

    /// The part of [`Self::unheard`] that was sent after the last key frame.
    pub fn unheard_since_keyframe(&self) -> usize {
        self.unheard.min(self.since_keyframe)
    }

    /// All of a key frame is written down.
    pub fn keyframe(&mut self) {
        self.since_keyframe = 0;
    }

    /// Another way is taken: nothing is on it yet.
    pub fn start_over(&mut self) {
        (self.unheard, self.unheard_since) = (0, None);
    }

    /// Bits a second over the last `window` before `now`.
    pub fn bitrate(&self, now: Instant, window: Duration) -> u64 {
        let bytes: u64 = self
            .sent
            .iter()
            .rev()
            .take_while(|entry| now.saturating_duration_since(entry.sent.at) <= window)
            .map(|entry| u64::from(entry.sent.size))
            .sum();
        (bytes * 8 * 1_000).checked_div(window.as_millis() as u64).unwrap_or(0)
    }

    /// Takes a report: what it says of each packet that was sent and no other report has said. Where packets overtake each
    /// other, which those of two ways do, a report tells of all since the one that was late.
    pub fn arrivals(&mut self, report: &Arrivals) -> Vec<Arrival> {
        let index = |entry: &Entry| Some(usize::from(entry.sent.number?.wrapping_sub(report.first)));
        let Some(start) = self.sent.iter().rposition(|entry| index(entry) == Some(0)) else {
            return Vec::new();
        };
        let mut arrivals = Vec::new();
        let (mut unheard, mut since) = (0, None);
        for entry in self.sent.range_mut(start..) {
            let Some(told) = index(entry).and_then(|i| report.times.get(i)) else {
                // Between those that have numbers there are some that have none.
                unheard += usize::from(entry.sent.size);
                since.get_or_insert(entry.sent.at);
                continue;
            };
            (unheard, since) = (0, None);
            let news = if told.is_some() { Told::Arrived } else { Told::Lost };
            if entry.told < news {
                entry.told = news;
                let Sent { at, size, .. } = entry.sent;
                arrivals.push(Arrival { sent: at, arrived_us: *told, bytes: size.into() });
            }
        }
        // Of a former way's there may be more.
        self.unheard = self.unheard.min(unheard);
        self.unheard_since = self.unheard_since.max(since).filter(|_| self.unheard > 0);
        arrivals
    }

    /// Packets, bytes and retransmissions since the start.
    pub fn totals(&self) -> (u64, u64, u64) {
        (self.total_packets, self.total_bytes, self.retransmissions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitrate_counts_the_window_only() {
        let start = Instant::now();
        let mut ledger = Ledger::default();
        for i in 0..20 {
            let at = start + Duration::from_millis(i * 100);
            ledger.record(Sent { number: None, size: 1_250, at, retransmission: i == 0 });
        }
        let now = start + Duration::from_millis(1_900);
        // Eleven packets of 10 kbit lie within [900 ms, 1900 ms].
        assert_eq!(ledger.bitrate(now, Duration::from_secs(1)), 110_000);
        assert_eq!(ledger.totals(), (20, 25_000, 1));
    }

    #[test]
    fn packets_without_a_number_hide_no_arrivals() {
        let at = Instant::now();
        let mut ledger = Ledger::default();
        let mut record =
            |number| ledger.record(Sent { number, size: 100, at, retransmission: number.is_none() });
        record(Some(0));
        (0..5).for_each(|_| record(None));
        (1..4).for_each(|n| record(Some(n)));
        let report = Arrivals { first: 0, times: vec![Some(1), Some(2), None, Some(4)] };
        assert_eq!(ledger.arrivals(&report).len(), 4);
    }

    #[test]
    fn a_packet_is_heard_of_once_however_often_it_is_told_of() {
        let at = Instant::now();
        let mut ledger = Ledger::default();
        (0..4).for_each(|n| ledger.record(Sent { number: Some(n), size: 100, at, retransmission: false }));
        let mut told = |times: &[Option<i64>]| {
            let arrivals = ledger.arrivals(&Arrivals { first: 0, times: times.into() });
            arrivals.into_iter().map(|arrival| arrival.arrived_us).collect::<Vec<_>>()
        };
        assert_eq!(told(&[None, Some(2), None]), [None, Some(2), None]);
        assert_eq!(told(&[Some(5), Some(2), None, Some(4)]), [Some(5), Some(4)], "the first was only late");
        assert_eq!(told(&[None, None, None, None]), [], "what has arrived is not lost");
    }

    #[test]
    fn what_is_on_its_way_was_sent_after_all_that_was_heard_of() {
        let at = Instant::now();
        let mut ledger = Ledger::default();
        let record = |ledger: &mut Ledger, number| {
            ledger.record(Sent { number: Some(number), size: 100, at, retransmission: false });
        };
        (65_534..=65_535).chain(0..4).for_each(|n| record(&mut ledger, n));
        assert_eq!((ledger.unheard(), ledger.unheard_since()), (600, Some(at)));
        let lost_and_heard = Arrivals { first: 65_535, times: vec![None, Some(1)] };
        ledger.arrivals(&lost_and_heard);
        assert_eq!(ledger.unheard(), 300);
        ledger.arrivals(&Arrivals { first: 65_534, times: vec![Some(1)] });
        assert_eq!(ledger.unheard(), 300, "what comes late takes nothing back");
        ledger.arrivals(&Arrivals { first: 500, times: vec![Some(1)] });
        assert_eq!(ledger.unheard(), 300, "of packets that were not sent");
        ledger.start_over();
        record(&mut ledger, 4);
        assert_eq!(ledger.unheard(), 100);
        ledger.arrivals(&Arrivals { first: 0, times: vec![Some(1); 4] });
        assert_eq!(ledger.unheard(), 100, "of a former way");
        ledger.arrivals(&Arrivals { first: 4, times: vec![Some(1)] });
        assert_eq!((ledger.unheard(), ledger.unheard_since()), (0, None));
        let later = at + Duration::from_millis(5);
        for (number, at) in [(5, at), (6, later)] {
            ledger.record(Sent { number: Some(number), size: 100, at, retransmission: false });
        }
        ledger.arrivals(&Arrivals { first: 5, times: vec![Some(1)] });
        assert_eq!(ledger.unheard_since(), Some(later));
        ledger.keyframe();
        assert_eq!((ledger.unheard(), ledger.unheard_since_keyframe()), (100, 0));
        record(&mut ledger, 7);
        assert_eq!((ledger.unheard(), ledger.unheard_since_keyframe()), (200, 100));
    }
}
