//! PURE. Phase lock: from the page's feedback to a shift of the capture's slots.
//!
//! A browser shows a frame at the display's next tick. A frame that arrives just after a tick waits a whole
//! interval, and a second one within an interval is shown one interval late; so frames should arrive shortly
//! before the tick, one an interval. No clocks are compared: the page reports how long frames waited.

use std::time::Duration;

use crate::wire::signal::Feedback;

/// Slack that is left alone, in milliseconds: late enough to be fresh, early enough not to miss the tick.
const BAND_MS: std::ops::RangeInclusive<f64> = 1.5..=3.0;
/// Where a correction aims, in milliseconds.
const TARGET_MS: f64 = 2.25;
/// Arrival jitter (p90 − p10) past which no phase can be held, in milliseconds.
const MAX_JITTER_MS: f64 = 4.0;
/// Reports in a row with that much jitter before the lock is given up: a busy moment is no reason to start the
/// phase lottery again.
const PATIENCE: u8 = 8;
/// Frames that a report must cover to be believed.
const MIN_FRAMES: u32 = 8;
/// Displays outside of 24 to 360 Hz are measuring errors.
const INTERVAL_MS: std::ops::RangeInclusive<f64> = 2.7..=42.0;

/// What the capture is to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PhaseChange {
    /// No slots: grab at once, limited by rate alone.
    Unlock,
    /// Slots of this interval, each moved by `later_ms` (negative: earlier).
    Lock {
        /// The viewer's display interval.
        interval: Duration,
        /// Milliseconds to move the slots by.
        later_ms: f64,
    },
}

/// See the module.
#[derive(Debug, Default)]
pub struct PhaseLock {
    locked: bool,
    /// Reports in a row that no phase could be told from.
    unsteady: u8,
}

impl PhaseLock {
    /// Takes a report of the controlling viewer; `None` when nothing is to be changed.
    pub fn report(&mut self, feedback: &Feedback) -> Option<PhaseChange> {
        let plausible = INTERVAL_MS.contains(&feedback.interval_ms)
            && (0.0..=feedback.interval_ms).contains(&feedback.slack_ms)
            && feedback.jitter_ms >= 0.0;
        if plausible && feedback.frames < MIN_FRAMES {
            return None;
        }
        if !plausible || feedback.jitter_ms > MAX_JITTER_MS {
            self.unsteady = self.unsteady.saturating_add(1);
            return if self.unsteady >= PATIENCE { self.unlock() } else { None };
        }
        self.unsteady = 0;
        if self.locked && BAND_MS.contains(&feedback.slack_ms) {
            return None;
        }
        self.locked = true;
        // The shorter way round: a slack near the interval means that frames come just after the tick.
        let mut later_ms = feedback.slack_ms - TARGET_MS;
        if later_ms > feedback.interval_ms / 2.0 {
            later_ms -= feedback.interval_ms;
        }
        Some(PhaseChange::Lock { interval: Duration::from_secs_f64(feedback.interval_ms / 1e3), later_ms })
    }

    /// Nobody to lock to; `None` if that was so before.
    pub fn unlock(&mut self) -> Option<PhaseChange> {
        std::mem::take(&mut self.locked).then_some(PhaseChange::Unlock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feedback(slack_ms: f64, jitter_ms: f64) -> Feedback {
        Feedback { interval_ms: 16.0, slack_ms, jitter_ms, frames: 20, decode_ms: 0.0, rtt_ms: 0.0 }
    }

    fn later(change: Option<PhaseChange>) -> f64 {
        match change {
            Some(PhaseChange::Lock { later_ms, .. }) => later_ms,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn slack_is_brought_into_the_band_and_left_there() {
        let mut lock = PhaseLock::default();
        assert_eq!(later(lock.report(&feedback(8.25, 1.0))), 6.0);
        assert_eq!(lock.report(&feedback(2.0, 1.0)), None);
        assert_eq!(later(lock.report(&feedback(0.25, 1.0))), -2.0);
        assert_eq!(later(lock.report(&feedback(14.25, 1.0))), -4.0);
    }

    #[test]
    fn jitter_and_nonsense_unlock_once() {
        let mut lock = PhaseLock::default();
        lock.report(&feedback(8.0, 1.0));
        for _ in 1..PATIENCE {
            assert_eq!(lock.report(&feedback(8.0, 4.5)), None);
        }
        assert_eq!(lock.report(&feedback(8.0, 4.5)), Some(PhaseChange::Unlock));
        assert_eq!(lock.report(&feedback(8.0, 4.5)), None);
        for bad in [feedback(-1.0, 1.0), feedback(1e308, 1.0), feedback(1.0, -1.0)] {
            assert_eq!(lock.report(&bad), None);
        }
    }
}
