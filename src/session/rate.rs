//! PURE. Token bucket: how much of something a stranger may do.

use std::collections::BTreeMap;
use std::time::Instant;

/// Allows `burst` at once and `per_second` in the long run.
#[derive(Clone, Debug)]
pub struct Bucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    filled_at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        Self { per_second: per_second.into(), burst: burst.into(), tokens: burst.into(), filled_at: now }
    }

    /// Takes one token; false when there is none.
    pub fn take(&mut self, now: Instant) -> bool {
        self.take_many(1, now)
    }

    /// Takes so many at once; false, and nothing taken, when there are fewer.
    pub fn take_many(&mut self, count: u32, now: Instant) -> bool {
        self.tokens = self.level(now);
        self.filled_at = now;
        let count = f64::from(count);
        if self.tokens < count {
            return false;
        }
        self.tokens -= count;
        true
    }

    /// Allows so much from the last taking on.
    pub fn set_rate(&mut self, per_second: u32, burst: u32) {
        (self.per_second, self.burst) = (per_second.into(), burst.into());
    }

    fn level(&self, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        (self.tokens + elapsed * self.per_second).min(self.burst)
    }

    fn is_full(&self, now: Instant) -> bool {
        self.level(now) >= self.burst
    }
}

/// One bucket for each of many keys that strangers choose.
#[derive(Debug)]
pub struct Buckets {
    rate: (u32, u32),
    most: usize,
    held: BTreeMap<String, Bucket>,
}

impl Buckets {
    /// Buckets of `rate` (a second, and at once) for at most `most` keys at a time.
    pub fn new(rate: (u32, u32), most: usize) -> Self {
        Self { rate, most, held: BTreeMap::new() }
    }

    /// Takes one of `key`'s tokens; false when there is none, or too many other keys are being used up.
    pub fn take(&mut self, key: &str, now: Instant) -> bool {
        if let Some(bucket) = self.held.get_mut(key) {
            return bucket.take(now);
        }
        if self.held.len() >= self.most {
            // A bucket that would be full again says nothing that a new one does not.
            self.held.retain(|_, bucket| !bucket.is_full(now));
        }
        let room = self.held.len() < self.most;
        if room {
            let mut bucket = Bucket::new(self.rate.0, self.rate.1, now);
            bucket.take(now);
            self.held.insert(key.to_owned(), bucket);
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn burst_then_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, 3, start);
        assert_eq!((0..5).filter(|_| bucket.take(start)).count(), 3);
        let later = start + Duration::from_millis(250);
        assert_eq!((0..5).filter(|_| bucket.take(later)).count(), 2);
    }

    #[test]
    fn keys_have_buckets_of_their_own_and_are_bounded() {
        let start = Instant::now();
        let mut buckets = Buckets::new((1, 2), 3);
        assert_eq!((0..5).filter(|_| buckets.take("a", start)).count(), 2);
        assert!(buckets.take("b", start) && buckets.take("c", start));
        assert!(!buckets.take("d", start), "no room while all are in use");
        let later = start + Duration::from_secs(5);
        assert!(buckets.take("d", later) && buckets.held.len() == 1);
    }
}
