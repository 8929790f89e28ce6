//! PURE. Does the screen change no faster than the viewer's display shows it?
//!
//! A source that is faster has to be sampled shortly before each tick (the slots of the cadence), or what is shown is
//! older than it needs to be. One that is not has one change for each tick at most, and waiting for the slot only makes
//! that older: Chromium draws a frame as it comes in when its compositor is idle, and displays with a variable refresh
//! rate do the same.
//!
//! How fast a source is cannot be seen, since the X server reports no second change before the first is fetched. So it
//! is tried: a change goes out at once, and another one soon after it says that the source is too fast.

use std::time::{Duration, Instant};

/// Share of the display's interval that has to pass between a frame that went out at once and the next change.
const QUIET_SHARE: f64 = 0.85;
/// A change that is known so soon after a grab may have happened in the middle of it.
const DURING_GRAB: Duration = Duration::from_millis(1);
/// How long after a change that came too soon the next trial is, at first and at most: each costs a frame that is an
/// interval older than it could be.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(32));
/// Frames at once in a row that show a source to be slow enough.
const PASSED: u32 = 60;
/// Frames in a row in slots after which a viewer's report is about slots: it covers about 20.
const ALL_IN_SLOTS: u32 = 30;
/// Frames at once in a row after which it is not.
const NOT_IN_SLOTS: u32 = 3;

/// A change that went out at once.
#[derive(Clone, Copy, Debug)]
struct Gone {
    started: Instant,
    ended: Instant,
}

/// See the module. Every `now` must not be earlier than the one before.
#[derive(Debug)]
pub(super) struct Pace {
    /// No trial before then.
    too_fast_until: Option<Instant>,
    patience: Duration,
    /// The newest frame, if it went out at once.
    gone: Option<Gone>,
    /// Frames in a row that went out at once, or in slots.
    in_a_row: (bool, u32),
    keeps_to_slots: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            too_fast_until: None,
            patience: PATIENCE.0,
            gone: None,
            in_a_row: (false, 0),
            keeps_to_slots: true,
        }
    }
}

impl Pace {
    /// The screen changed.
    pub fn changed(&mut self, now: Instant, period: Duration) {
        let Some(Gone { started, ended }) = self.gone else { return };
        let soon = now.saturating_duration_since(started) < period.mul_f64(QUIET_SHARE)
            || now.saturating_duration_since(ended) < DURING_GRAB;
        if soon {
            self.gone = None;
            self.too_fast_until = Some(now + self.patience);
            self.patience = (self.patience * 2).min(PATIENCE.1);
        }
    }

    /// Whether what changed at `since` need not wait for a slot.
    pub fn is_slow(&self, since: Instant) -> bool {
        self.too_fast_until.is_none_or(|until| since >= until)
    }

    /// A frame has gone out between these times, at once or in a slot.
    pub fn sent(&mut self, started: Instant, ended: Instant, at_once: bool) {
        self.gone = at_once.then_some(Gone { started, ended });
        let (kind, count) = self.in_a_row;
        let count = if kind == at_once { count.saturating_add(1) } else { 1 };
        self.in_a_row = (at_once, count);
        if at_once && count >= PASSED {
            self.patience = PATIENCE.0;
        }
        self.keeps_to_slots = match at_once {
            true => self.keeps_to_slots && count < NOT_IN_SLOTS,
            false => self.keeps_to_slots || count >= ALL_IN_SLOTS,
        };
    }

    /// Whether how long the newest frames waited for their tick tells where the slots are.
    pub fn keeps_to_slots(&self) -> bool {
        self.keeps_to_slots
    }
}
