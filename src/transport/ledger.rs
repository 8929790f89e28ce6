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

/// The last packets of one viewer.
#[derive(Debug, Default)]
pub struct Ledger {
    sent: VecDeque<Sent>,
    total_packets: u64,
    total_bytes: u64,
    retransmissions: u64,
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
        self.sent.push_back(sent);
    }

    /// Bits a second over the last `window` before `now`.
    pub fn bitrate(&self, now: Instant, window: Duration) -> u64 {
        let bytes: u64 = self
            .sent
            .iter()
            .rev()
            .take_while(|s| now.saturating_duration_since(s.at) <= window)
            .map(|s| u64::from(s.size))
            .sum();
        (bytes * 8 * 1_000).checked_div(window.as_millis() as u64).unwrap_or(0)
    }

    /// What was heard of packets: each that was sent, with its arrival.
    pub fn arrivals(&self, report: &Arrivals) -> Vec<Arrival> {
        let Some(start) = self.sent.iter().rposition(|sent| sent.number == Some(report.first)) else {
            return Vec::new();
        };
        let told = |sent: &Sent| report.times.get(usize::from(sent.number?.wrapping_sub(report.first)));
        let heard = |sent: &Sent| {
            let arrived_us = *told(sent)?;
            Some(Arrival { sent: sent.at, arrived_us, bytes: sent.size.into() })
        };
        let numbered = self.sent.range(start..).filter(|sent| sent.number.is_some());
        numbered.take(report.times.len()).filter_map(heard).collect()
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
}
