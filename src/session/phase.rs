//! PURE. Phase lock: from the page's feedback to a shift of the capture's slots.
//!
//! A browser shows a frame at the display's next tick. A frame that arrives just after a tick waits a whole
//! interval, and a second one within an interval is shown one interval late; so frames should arrive shortly
//! before the tick, one an interval. No clocks are compared: the page reports how long frames waited.
//!
//! What is before the tick is a decoded frame: one that has only arrived by then is shown at the next tick, and its wait,
//! taken modulo the interval, looks as if it had been in time. So the slack that is aimed at has room for decoding.

use std::time::Duration;

use crate::wire::signal::Feedback;

/// Slack that decoded frames have at least, most of them, in milliseconds: late enough to be fresh.
const MARGIN_MS: f64 = 0.75;
/// Of the arrival jitter (p90 − p10), what a late frame is later than the median one.
const LATE_TAIL: f64 = 0.75;
/// Distance from the slack aimed at that is left alone, in milliseconds.
const BAND_MS: f64 = 0.75;
/// Weight of the newest report in the slack aimed at: a report has a few dozen frames, and its jitter varies.
const NEWEST: f64 = 0.25;
/// Arrival jitter past which no phase can be held, of the interval.
const MAX_JITTER: f64 = 0.4;
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
    /// Slack aimed at, in milliseconds, by the reports so far.
    target_ms: Option<f64>,
    /// Reports in a row that no phase could be told from.
    unsteady: u8,
}

impl PhaseLock {
    /// Takes a report of the controlling viewer; `None` when nothing is to be changed.
    pub fn report(&mut self, feedback: &Feedback) -> Option<PhaseChange> {
        let plausible = INTERVAL_MS.contains(&feedback.interval_ms)
            && (0.0..=feedback.interval_ms).contains(&feedback.slack_ms)
            && feedback.jitter_ms >= 0.0
            && feedback.decode_ms >= 0.0;
        if plausible && feedback.frames < MIN_FRAMES {
            return None;
        }
        if !plausible || feedback.jitter_ms > MAX_JITTER * feedback.interval_ms {
            self.unsteady = self.unsteady.saturating_add(1);
            return if self.unsteady >= PATIENCE { self.unlock() } else { None };
        }
        self.unsteady = 0;
        let mut later_ms = feedback.slack_ms - self.aim(feedback);
        // The shorter way round: a slack near the interval means that frames come just after the tick.
        if later_ms > feedback.interval_ms / 2.0 {
            later_ms -= feedback.interval_ms;
        }
        if self.locked && later_ms.abs() <= BAND_MS {
            return None;
        }
        self.locked = true;
        Some(PhaseChange::Lock { interval: Duration::from_secs_f64(feedback.interval_ms / 1e3), later_ms })
    }

    /// The slack to aim at. Never more than half an interval: a browser that calls the tick itself the moment of
    /// presentation would be given ever more.
    fn aim(&mut self, feedback: &Feedback) -> f64 {
        let wanted = feedback.decode_ms + LATE_TAIL * feedback.jitter_ms + MARGIN_MS;
        let wanted = wanted.min(feedback.interval_ms / 2.0);
        let target = self.target_ms.map_or(wanted, |before| before + NEWEST * (wanted - before));
        self.target_ms = Some(target);
        target
    }

    /// Nobody to lock to; `None` if that was so before.
    pub fn unlock(&mut self) -> Option<PhaseChange> {
        self.target_ms = None;
        std::mem::take(&mut self.locked).then_some(PhaseChange::Unlock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feedback(slack_ms: f64, jitter_ms: f64) -> Feedback {
        Feedback { interval_ms: 16.0, slack_ms, jitter_ms, frames: 20, decode_ms: 1.0, rtt_ms: 0.0 }
    }

    fn later(change: Option<PhaseChange>) -> f64 {
        match change {
            Some(PhaseChange::Lock { later_ms, .. }) => later_ms,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn slack_is_brought_into_the_band_and_left_there() {
        // Decoding, three quarters of the jitter, and the margin: 2.5.
        let mut lock = PhaseLock::default();
        assert_eq!(later(lock.report(&feedback(8.5, 1.0))), 6.0);
        assert_eq!(lock.report(&feedback(2.0, 1.0)), None);
        assert_eq!(later(lock.report(&feedback(0.5, 1.0))), -2.0);
        assert_eq!(later(lock.report(&feedback(14.5, 1.0))), -4.0);
    }

    #[test]
    fn a_frame_is_aimed_to_be_decoded_before_the_tick() {
        let slow = |slack_ms, decode_ms| Feedback { decode_ms, ..feedback(slack_ms, 1.0) };
        let mut lock = PhaseLock::default();
        assert_eq!(later(lock.report(&slow(2.5, 4.0))), -3.0, "in time by the clock of arrivals alone");
        assert_eq!(lock.report(&slow(5.5, 4.0)), None);
        // A single report does not move it far, several do.
        assert_eq!(lock.report(&slow(5.5, 5.0)), None);
        for _ in 0..8 {
            lock.report(&slow(5.5, 5.0));
        }
        assert!(later(lock.report(&slow(5.5, 5.0))) < -0.75);
        // Who calls the tick the moment of presentation is not chased round.
        let mut lock = PhaseLock::default();
        assert_eq!(later(lock.report(&slow(7.0, 7.0))), -1.0);
        assert_eq!(lock.report(&slow(8.0, 8.0)), None);
    }

    #[test]
    fn jitter_and_nonsense_unlock_once() {
        let mut lock = PhaseLock::default();
        lock.report(&feedback(8.0, 1.0));
        for _ in 1..PATIENCE {
            assert_eq!(lock.report(&feedback(8.0, 6.5)), None);
        }
        assert_eq!(lock.report(&feedback(8.0, 6.5)), Some(PhaseChange::Unlock));
        assert_eq!(lock.report(&feedback(8.0, 6.5)), None);
        for bad in [feedback(-1.0, 1.0), feedback(1e308, 1.0), feedback(1.0, -1.0)] {
            assert_eq!(lock.report(&bad), None);
        }
    }
}
