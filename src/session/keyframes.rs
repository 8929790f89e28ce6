//! PURE. Key-frame requests of all viewers of a rendition, coalesced and rationed.

use std::time::{Duration, Instant};

/// An IDR costs the bits of many frames, for every viewer: at most two a second.
pub const MIN_INTERVAL: Duration = Duration::from_millis(500);

/// One rendition's ration.
#[derive(Debug, Default)]
pub struct KeyframeRation {
    last: Option<Instant>,
    pending: bool,
}

impl KeyframeRation {
    /// Somebody needs a key frame. True if it is to be made now; else it is owed, see [`Self::poll_timeout`].
    pub fn request(&mut self, now: Instant) -> bool {
        if self.last.is_some_and(|last| now < last + MIN_INTERVAL) {
            self.pending = true;
            return false;
        }
        self.made(now);
        true
    }

    /// The encoder made one for its own reasons.
    pub fn made(&mut self, now: Instant) {
        self.last = Some(now);
        self.pending = false;
    }

    /// When an owed key frame is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.last.filter(|_| self.pending).map(|last| last + MIN_INTERVAL)
    }

    /// True if an owed key frame is to be made now.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        let due = self.poll_timeout().is_some_and(|at| at <= now);
        if due {
            self.made(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_requests_makes_two_a_second() {
        let start = Instant::now();
        let mut ration = KeyframeRation::default();
        let mut made = 0;
        for ms in 0..2_000 {
            let now = start + Duration::from_millis(ms);
            made += u32::from(ration.handle_timeout(now)) + u32::from(ration.request(now));
        }
        assert_eq!(made, 4);
    }

    #[test]
    fn one_request_within_the_interval_is_owed_once() {
        let start = Instant::now();
        let mut ration = KeyframeRation::default();
        assert!(ration.request(start));
        assert!(!ration.request(start + Duration::from_millis(1)));
        assert_eq!(ration.poll_timeout(), Some(start + MIN_INTERVAL));
        assert!(ration.handle_timeout(start + MIN_INTERVAL));
        assert_eq!(ration.poll_timeout(), None);
    }
}
