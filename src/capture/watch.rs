//! PURE. Whether XDamage tells the truth, and what to do when it does not.
//!
//! Damage is missed by direct-rendered full-screen programs. Twice a second a sample of the screen is compared
//! with the frame that was sent; a difference without damage starts polling. Polling ends when every change
//! came with damage for a while, or when nothing changes any more.

use std::time::{Duration, Instant};

/// Between two samples.
pub const SAMPLE_EVERY: Duration = Duration::from_millis(500);
/// Rows of one sample.
pub const SAMPLE_ROWS: u16 = 16;
/// Damage is trusted again when it announced every change for this long.
const TRUST_AFTER: Duration = Duration::from_secs(2);
/// Polling a screen that does not change ends after this long.
const STILL_AFTER: Duration = Duration::from_secs(10);

/// A switch between the two modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Poll from now on.
    Poll,
    /// Trust damage from now on.
    Trust,
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    Trusting { next_sample: Instant },
    Polling { last_missed: Instant, last_change: Instant },
}

/// See the module.
#[derive(Debug)]
pub struct DamageWatch {
    mode: Mode,
    forced: bool,
    turn: u16,
}

impl DamageWatch {
    /// Trusting, or polling for ever if `forced`.
    pub fn new(forced: bool, now: Instant) -> Self {
        let mode = if forced {
            Mode::Polling { last_missed: now, last_change: now }
        } else {
            Mode::Trusting { next_sample: now + SAMPLE_EVERY }
        };
        DamageWatch { mode, forced, turn: 0 }
    }

    /// Whether the screen is being polled.
    pub fn polling(&self) -> bool {
        matches!(self.mode, Mode::Polling { .. })
    }

    /// When the next sample is wanted; nothing while polling.
    pub fn next_sample(&self) -> Option<Instant> {
        match self.mode {
            Mode::Trusting { next_sample } => Some(next_sample),
            Mode::Polling { .. } => None,
        }
    }

    /// Rows of the next sample of a screen of this height: evenly spread, and different ones from turn to turn.
    pub fn sample_rows(&mut self, height: u16) -> Vec<u16> {
        let count = SAMPLE_ROWS.min(height);
        let gap = height / count.max(1);
        // A stride that shares no factor with most gaps visits every row in time.
        let offset = if gap > 0 { (u32::from(self.turn) * 7 % u32::from(gap)) as u16 } else { 0 };
        self.turn = self.turn.wrapping_add(1);
        (0..count).map(|row| row * gap + offset).collect()
    }

    /// A sample was compared (or could not be, as damage was pending: then `differs` is false).
    pub fn sampled(&mut self, differs: bool, now: Instant) -> Option<Switch> {
        if differs {
            self.mode = Mode::Polling { last_missed: now, last_change: now };
            return Some(Switch::Poll);
        }
        if let Mode::Trusting { next_sample } = &mut self.mode {
            *next_sample = now + SAMPLE_EVERY;
        }
        None
    }

    /// A poll was compared; `announced` says whether damage had been reported since the last one.
    pub fn polled(&mut self, changed: bool, announced: bool, now: Instant) -> Option<Switch> {
        let Mode::Polling { last_missed, last_change } = &mut self.mode else { return None };
        if changed {
            *last_change = now;
        }
        if changed && !announced {
            *last_missed = now;
        }
        let quiet = now.saturating_duration_since(*last_change) >= STILL_AFTER;
        let honest = changed && announced && now.saturating_duration_since(*last_missed) >= TRUST_AFTER;
        if self.forced || !(quiet || honest) {
            return None;
        }
        self.mode = Mode::Trusting { next_sample: now + SAMPLE_EVERY };
        Some(Switch::Trust)
    }
}

/// A number that changes with the visible part of the pixels (the fourth byte of each is undefined).
pub fn fingerprint(pixels: &[u8]) -> u64 {
    const VISIBLE: u64 = 0x00ff_ffff_00ff_ffff;
    const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;
    let (blocks, rest) = pixels.as_chunks::<32>();
    // Four lanes, so that the multiplications overlap.
    let mut lanes = [1u64, 2, 3, 4];
    for block in blocks {
        for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<8>().0) {
            *lane = (*lane ^ (u64::from_le_bytes(*word) & VISIBLE)).wrapping_mul(PRIME).rotate_left(23);
        }
    }
    for pixel in rest.as_chunks::<4>().0 {
        lanes[0] = (lanes[0] ^ u64::from(u32::from_le_bytes(*pixel) & 0x00ff_ffff))
            .wrapping_mul(PRIME)
            .rotate_left(23);
    }
    lanes.into_iter().fold(0, |all, lane| (all ^ lane).wrapping_mul(PRIME).rotate_left(29))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_difference_without_damage_starts_polling() {
        let start = Instant::now();
        let mut watch = DamageWatch::new(false, start);
        assert_eq!(watch.next_sample(), Some(start + SAMPLE_EVERY));
        assert_eq!(watch.sampled(false, start + SAMPLE_EVERY), None);
        assert_eq!(watch.next_sample(), Some(start + SAMPLE_EVERY * 2));
        assert_eq!(watch.sampled(true, start + SAMPLE_EVERY * 2), Some(Switch::Poll));
        assert!(watch.polling());
        assert_eq!(watch.next_sample(), None);
    }

    #[test]
    fn announced_changes_bring_trust_back_and_a_missed_one_delays_it() {
        let start = Instant::now();
        let mut watch = DamageWatch::new(false, start);
        watch.sampled(true, start);
        assert_eq!(watch.polled(true, true, start + 1_000 * MS), None);
        assert_eq!(watch.polled(true, false, start + 1_500 * MS), None);
        assert_eq!(watch.polled(true, true, start + 3_000 * MS), None);
        assert_eq!(watch.polled(true, true, start + 3_500 * MS), Some(Switch::Trust));
    }

    #[test]
    fn a_still_screen_is_not_polled_for_ever_unless_forced() {
        let start = Instant::now();
        for (forced, want) in [(false, Some(Switch::Trust)), (true, None)] {
            let mut watch = DamageWatch::new(forced, start);
            watch.sampled(true, start);
            assert_eq!(watch.polled(false, false, start + 9_000 * MS), None);
            assert_eq!(watch.polled(false, false, start + 10_000 * MS), want);
        }
    }

    #[test]
    fn samples_visit_every_row_and_stay_on_the_screen() {
        for height in [1, 2, 15, 16, 17, 719, 720, 1081] {
            let mut watch = DamageWatch::new(false, Instant::now());
            let mut seen = std::collections::BTreeSet::new();
            for _ in 0..200 {
                let rows = watch.sample_rows(height);
                assert!(rows.iter().all(|&row| row < height) && rows.len() <= usize::from(SAMPLE_ROWS));
                seen.extend(rows);
            }
            assert!(seen.len() * 20 >= usize::from(height) * 18, "{} of {height}", seen.len());
        }
    }

    #[test]
    fn fingerprints_see_each_visible_byte_and_no_other() {
        let base = vec![9u8; 100];
        for at in 0..100 {
            let mut other = base.clone();
            other[at] ^= 1;
            assert_eq!(fingerprint(&base) == fingerprint(&other), at % 4 == 3, "byte {at}");
        }
    }
}
