//! PURE. Phase lock: from the page's feedback to a shift of the capture's slots.
//!
//! A browser shows a frame at the display's next tick. A frame that arrives just after a tick waits a whole
//! interval, and a second one within an interval is shown one interval late; so frames should arrive shortly
//! before the tick, one an interval. No clocks are compared: the page reports how long frames waited.
//!
//! Frames of a source that is no faster than the display leave as it draws: how long those wait says when the source
//! draws, not where the slots are, and no report is heeded meanwhile.
//!
//! What has to be before the tick is the decoded frame: one that has only arrived by then is shown at the next tick, and
//! its wait, taken modulo the interval, looks as if it had been in time.

use std::time::Duration;

use crate::wire::signal::Feedback;

/// Spare time between the end of decoding and the tick that most frames have, in milliseconds.
const MARGIN_MS: f64 = 0.75;
/// Share of the arrival jitter (p90 − p10) that is added to it for late frames.
const LATE_TAIL: f64 = 0.75;
/// Least such time: a frame leaves up to so much late (`SLOT_MARGIN` of the capture's cadence).
const LEAST_SPARE_MS: f64 = 1.5;
/// Least slack that is aimed at, in milliseconds, however fast a page claims to decode.
const LEAST_MS: f64 = 2.25;
/// Distance from the slack aimed at that is left alone, in milliseconds.
const BAND_MS: f64 = 0.75;
/// The same as a share of the jitter, which a median of a few frames hangs on.
const BAND_OF_JITTER: f64 = 0.25;
/// Weight of the newest report in the slack aimed at: a report has a few dozen frames, and its jitter varies.
const NEWEST: f64 = 0.25;
/// The same for the first report.
const FIRST: f64 = 0.5;
/// Arrival jitter past which no phase can be held, as a share of the interval.
const MAX_JITTER_SHARE: f64 = 0.4;
/// The same in milliseconds, for slow displays.
const MAX_JITTER_MS: f64 = 6.0;
/// Another display: its interval differs by more than this share.
const OTHER_DISPLAY: f64 = 0.05;
/// Reports in a row with that much jitter before the lock is given up: a busy moment is no reason to start the
/// phase lottery again.
const PATIENCE: u8 = 8;
/// Frames that a report must cover to be believed.
const MIN_FRAMES: u32 = 8;
/// Decoding that takes longer is a measuring error, in milliseconds.
const MAX_DECODE_MS: f64 = 100.0;
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

/// The slack to aim at on a display; milliseconds.
#[derive(Clone, Copy, Debug)]
struct Aim {
    slack: f64,
    interval: f64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct PhaseLock {
    locked: bool,
    /// Frames leave as the source draws.
    free: bool,
    /// What the reports so far have come to.
    aim: Option<Aim>,
    /// Reports in a row that no phase could be told from.
    unsteady: u8,
}

impl PhaseLock {
    /// Frames leave in slots from now on, or as the source draws. In slots at first.
    pub fn set_slots(&mut self, kept: bool) {
        self.free = !kept;
    }

    /// Takes a report of the controlling viewer; `None` when nothing is to be changed.
    pub fn report(&mut self, feedback: &Feedback) -> Option<PhaseChange> {
        if self.free {
            return None;
        }
        let plausible = INTERVAL_MS.contains(&feedback.interval_ms)
            && (0.0..=feedback.interval_ms).contains(&feedback.slack_ms)
            && feedback.jitter_ms >= 0.0
            && feedback.decode_ms >= 0.0;
        if plausible && feedback.frames < MIN_FRAMES {
            return None;
        }
        if !plausible || feedback.jitter_ms > (MAX_JITTER_SHARE * feedback.interval_ms).min(MAX_JITTER_MS) {
            self.unsteady = self.unsteady.saturating_add(1);
            return if self.unsteady >= PATIENCE { self.unlock() } else { None };
        }
        self.unsteady = 0;
        let interval = feedback.interval_ms;
        // The shorter way round: a slack near the interval means that frames come just after the tick.
        let error = feedback.slack_ms - self.aim(feedback);
        let error = error - interval * (error / interval).round();
        if self.locked && error.abs() <= BAND_MS.max(BAND_OF_JITTER * feedback.jitter_ms) {
            return None;
        }
        // What the frames' own jitter can be is not followed all the way.
        let later_ms = if self.locked && error.abs() < feedback.jitter_ms { error / 2.0 } else { error };
        self.locked = true;
        Some(PhaseChange::Lock { interval: Duration::from_secs_f64(interval / 1e3), later_ms })
    }

    /// The slack to aim at; more than an interval where decoding takes that long.
    fn aim(&mut self, feedback: &Feedback) -> f64 {
        let spare = (LATE_TAIL * feedback.jitter_ms + MARGIN_MS).max(LEAST_SPARE_MS);
        let wanted = (feedback.decode_ms.min(MAX_DECODE_MS) + spare).max(LEAST_MS);
        let interval = feedback.interval_ms;
        let same = |aim: &Aim| (aim.interval - interval).abs() <= OTHER_DISPLAY * interval;
        let slack = match self.aim.filter(same) {
            Some(before) => before.slack + NEWEST * (wanted - before.slack),
            None => LEAST_MS + FIRST * (wanted - LEAST_MS),
        };
        self.aim = Some(Aim { slack, interval });
        slack
    }

    /// Nobody to lock to; `None` if that was so before.
    pub fn unlock(&mut self) -> Option<PhaseChange> {
        self.aim = None;
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
        // Decoding takes 1 ms, and 1.5 are spare.
        let mut lock = PhaseLock::default();
        let first = LEAST_MS + FIRST * 0.25;
        assert_eq!(later(lock.report(&feedback(first + 6.0, 1.0))), 6.0);
        assert_eq!(lock.report(&feedback(2.0, 1.0)), None);
        assert!(later(lock.report(&feedback(0.5, 1.0))) < -1.8);
        assert!(later(lock.report(&feedback(14.5, 1.0))) < -3.8, "just after the tick");
    }

    /// What is aimed at in the end for a display of so many milliseconds, a decoder and a jitter.
    fn aim(interval_ms: f64, decode_ms: f64, jitter_ms: f64) -> f64 {
        let report = Feedback { interval_ms, decode_ms, ..feedback(1.0, jitter_ms) };
        let mut lock = PhaseLock::default();
        (0..50).for_each(|_| _ = lock.report(&report));
        lock.aim.unwrap().slack
    }

    #[test]
    fn frames_are_to_be_decoded_before_the_tick() {
        let near = |a: f64, b: f64| assert!((a - b).abs() < 0.01, "{a} is not {b}");
        near(aim(16.0, 0.5, 0.3), LEAST_MS);
        near(aim(16.0, 2.0, 3.0), 5.0);
        // A slow decoder, and a fast display: rather an interval more than a tick that is missed half of the time.
        near(aim(16.0, 20.0, 1.0), 21.5);
        near(aim(7.0, 6.5, 1.0), 8.0);
        // That is a slack of 1 ms, by a clock of 7.
        let mut lock = PhaseLock::default();
        let fast = |slack_ms| Feedback { interval_ms: 7.0, decode_ms: 6.5, ..feedback(slack_ms, 1.0) };
        (0..50).for_each(|_| _ = lock.report(&fast(1.0)));
        assert_eq!(lock.report(&fast(1.0)), None);
        assert!((later(lock.report(&fast(3.0))) - 2.0).abs() < 0.01);
        assert!((later(lock.report(&fast(6.0))) + 2.0).abs() < 0.01);
    }

    #[test]
    fn one_odd_report_moves_little_and_another_display_begins_anew() {
        let mut lock = PhaseLock::default();
        (0..50).for_each(|_| _ = lock.report(&feedback(2.5, 1.0)));
        assert_eq!(lock.report(&Feedback { decode_ms: 3.0, ..feedback(2.5, 1.0) }), None);
        let jittery = feedback(6.5, 6.0);
        let followed = later(lock.report(&jittery));
        assert!(followed.abs() < 2.0, "within the jitter, half of it: {followed}");
        let other = Feedback { interval_ms: 33.0, ..feedback(12.0, 1.0) };
        assert!(later(lock.report(&other)) > 9.0);
        assert_eq!(lock.aim.unwrap().interval, 33.0);
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
        let endless = Feedback { decode_ms: f64::INFINITY, ..feedback(1.0, 1.0) };
        assert!(later(lock.report(&endless)).is_finite());
    }
}
