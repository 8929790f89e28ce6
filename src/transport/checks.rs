//! PURE. Binding requests of ours that may still be answered (RFC 8445 §7.2.5).

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::paths::Path;
use super::port::TransactionId;

/// How long one may be answered.
const LIFE: Duration = Duration::from_secs(10);
/// Those of one viewer, however many candidates it names; the oldest is forgotten. So none takes another one's room.
const MAX_EACH: usize = 256;

/// A Binding request that may be answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check {
    /// Whose it is.
    pub viewer: u32,
    /// The pair that the core checks.
    pub pair: Path,
    /// Where it went.
    pub path: Path,
    /// When.
    pub sent: Instant,
}

/// See the module.
#[derive(Default)]
pub(super) struct Checks {
    by_id: HashMap<TransactionId, Check>,
    by_viewer: HashMap<u32, VecDeque<TransactionId>>,
}

impl Checks {
    /// A request leaves.
    pub fn insert(&mut self, id: TransactionId, check: Check) {
        let sent = self.by_viewer.entry(check.viewer).or_default();
        sent.push_back(id);
        if sent.len() > MAX_EACH
            && let Some(oldest) = sent.pop_front()
        {
            self.by_id.remove(&oldest);
        }
        self.by_id.insert(id, check);
    }

    /// An answer has come: to which request?
    pub fn take(&mut self, id: TransactionId) -> Option<Check> {
        self.by_id.remove(&id)
    }

    /// A viewer is gone.
    pub fn forget(&mut self, viewer: u32) {
        for id in self.by_viewer.remove(&viewer).unwrap_or_default() {
            self.by_id.remove(&id);
        }
    }

    /// Nothing answers the oldest any more.
    pub fn expire(&mut self, now: Instant) {
        self.by_id.retain(|_, check| now.saturating_duration_since(check.sent) < LIFE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(viewer: u32, number: u32) -> TransactionId {
        let mut id = [0; 12];
        id[..4].copy_from_slice(&viewer.to_be_bytes());
        id[4..8].copy_from_slice(&number.to_be_bytes());
        id
    }

    #[test]
    fn each_viewer_has_room_of_its_own() {
        let now = Instant::now();
        let path = (([10, 0, 0, 1], 1).into(), ([10, 0, 0, 2], 2).into());
        let mut checks = Checks::default();
        let check = |viewer| Check { viewer, pair: path, path, sent: now };
        checks.insert(id(1, 0), check(1));
        for number in 0..10_000 {
            checks.insert(id(2, number), check(2));
        }
        assert_eq!(checks.by_id.len(), 1 + MAX_EACH);
        assert!(checks.take(id(1, 0)).is_some() && checks.take(id(1, 0)).is_none());
        assert!(checks.take(id(2, 0)).is_none() && checks.take(id(2, 9_999)).is_some());
        checks.expire(now + LIFE);
        assert!(checks.by_id.is_empty());
        checks.forget(2);
        assert!(checks.by_viewer.len() == 1, "the first one's, which is there still");
    }
}
