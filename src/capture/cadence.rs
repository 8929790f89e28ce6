//! PURE. When to grab the screen, when to send the last frame again, and when to sleep.
//!
//! Rules, in their order of weight:
//! - nobody looking: sleep;
//! - at most one frame an interval: the frame limit's, or the viewer's display interval once locked to it;
//! - the first change after a still time goes out at once, if that interval has had no frame yet;
//! - so do the changes of a screen that is no faster than that display ([`Pace`]); the others wait for the slot;
//! - a picture that became still is repeated until it is sharp ([`Refinement`]);
//! - a still screen is repeated once a second, because Chromium asks for a key frame after three silent seconds.

use std::time::{Duration, Instant};

use super::pace::Pace;
use super::refine::{Encoded, KEEP_ALIVE, Refinement};

/// Without a frame for this long, the next change is the first one after idleness.
const IDLE: Duration = Duration::from_millis(40);
/// How long after a slot's start a frame still reaches the tick that the slot aims at.
const SLOT_MARGIN: Duration = Duration::from_micros(1_500);
/// A frame that starts this late still counts for the slot it was meant for: one late wake-up costs no frame.
const LATE: Duration = Duration::from_millis(4);
/// Bounds of what counts as a display's interval: 24 Hz to 500 Hz.
const DISPLAY_INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(2)..=Duration::from_millis(42);
/// Most frames a second.
const MAX_FPS: u32 = 240;

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Grab and send: the damaged rectangles, or the whole screen.
    Grab {
        /// The whole screen.
        full: bool,
    },
    /// Grab the whole screen and send it if it differs: damage is not to be trusted.
    Poll,
    /// Send the last frame again.
    Repeat,
    /// Nothing, until then or until something happens.
    Sleep(Option<Instant>),
}

/// The viewer's display: its interval, and a moment at which a frame should leave.
#[derive(Clone, Copy, Debug)]
struct Lock {
    anchor: Instant,
    display: Duration,
}

/// See the module's rules. Every `now` must not be earlier than the one before.
#[derive(Debug)]
pub struct Cadence {
    interval: Duration,
    lock: Option<Lock>,
    pace: Pace,
    active: bool,
    due: Instant,
    /// The same for a change that follows a repeat, which need not wait for it.
    due_after_repeat: Option<Instant>,
    last_frame: Option<Instant>,
    change: Option<Instant>,
    refresh: bool,
    poll_due: Option<Instant>,
    refinement: Refinement,
}

impl Cadence {
    /// Inactive, with a limit of `fps` frames a second (clamped to 1..=240).
    pub fn new(fps: u32, now: Instant) -> Self {
        Cadence {
            interval: interval_of(fps),
            lock: None,
            pace: Pace::default(),
            active: false,
            due: now,
            due_after_repeat: None,
            last_frame: None,
            change: None,
            refresh: false,
            poll_due: None,
            refinement: Refinement::default(),
        }
    }

    /// Somebody looks, or nobody does. Starting to look asks for the whole screen.
    pub fn set_active(&mut self, active: bool) {
        if active && !self.active {
            self.refresh = true;
        }
        self.active = active;
    }

    /// Changes the frame limit, in frames a second (clamped to 1..=240).
    pub fn set_fps(&mut self, fps: u32) {
        self.interval = interval_of(fps);
        self.due = self.last_frame.map_or(self.due, |last| last + self.interval);
    }

    /// The frame limit's interval.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Locks to a display with this interval between ticks, or unlocks.
    ///
    /// A new interval keeps the grid where it is now. Intervals outside 2..=42 ms unlock.
    pub fn set_phase(&mut self, display: Option<Duration>, now: Instant) {
        self.lock = display.filter(|interval| DISPLAY_INTERVALS.contains(interval)).map(|display| {
            let held = self.lock.and_then(|lock| {
                let period = self.period_of(lock);
                lock.slot(lock.index_at(now, period), period)
            });
            Lock { anchor: held.or(self.last_frame).unwrap_or(now), display }
        });
    }

    /// Moves the grid: positive microseconds make frames leave later. Without effect while unlocked.
    pub fn adjust_phase(&mut self, micros: i64) {
        let Some(lock) = &mut self.lock else { return };
        let display = lock.display.as_micros() as i64;
        let later = Duration::from_micros(micros.rem_euclid(display) as u64);
        // Whole intervals do not matter, so the grid is only ever moved forward.
        lock.anchor += later;
    }

    /// The screen changed.
    pub fn damage(&mut self, now: Instant) {
        if self.change.is_none() {
            self.change = Some(now);
            if let Some(lock) = self.lock {
                self.pace.changed(now, self.period_of(lock));
            }
        }
        self.refinement.changed(now);
    }

    /// When the oldest change that is in no frame yet became known.
    pub fn pending_change(&self) -> Option<Instant> {
        self.change
    }

    /// A change or a refresh waits for its grab.
    pub fn wants_grab(&self) -> bool {
        self.change.is_some() || self.refresh
    }

    /// A key frame is wanted: send the whole screen as soon as the frame limit allows.
    pub fn refresh(&mut self) {
        self.refresh = true;
    }

    /// Damage is (not) to be trusted: the screen is polled at the frame limit.
    pub fn set_polling(&mut self, polling: bool, now: Instant) {
        self.poll_due = polling.then(|| self.poll_due.unwrap_or(now));
    }

    /// A poll has been made; whether it led to a frame is told by [`Cadence::grabbed`].
    pub fn polled(&mut self, now: Instant) {
        if let Some(due) = &mut self.poll_due {
            *due = next_due(*due, self.interval, now);
        }
    }

    /// A grab that began at `started` has ended at `ended`, and its frame has gone out.
    pub fn grabbed(&mut self, started: Instant, ended: Instant) {
        let wanted = if self.refresh { self.last_frame } else { self.change.or(self.poll_due) };
        let at_once = self.change.is_some_and(|since| !self.refresh && self.is_free(since, started));
        self.pace.sent(started, ended, at_once);
        let aimed = if at_once { started } else { self.slot_for(wanted.unwrap_or(started), started) };
        self.sent(started, aimed);
        self.due_after_repeat = None;
        self.refinement.fresh(started);
        self.change = None;
        self.refresh = false;
    }

    /// Whether how long frames have lately waited for their tick tells where the slots are.
    pub fn keeps_to_slots(&self) -> bool {
        self.lock.is_none() || self.pace.keeps_to_slots()
    }

    /// A grab found nothing on the screen that had changed: no frame has gone out.
    pub fn nothing_grabbed(&mut self) {
        self.change = None;
    }

    /// The last frame has gone out again.
    pub fn repeated(&mut self, now: Instant) {
        let due = self.due;
        self.pace.sent(now, now, false);
        self.sent(now, self.slot_for(self.repeat_due().unwrap_or(now), now));
        self.due_after_repeat.get_or_insert(due);
        self.refinement.repeated(now);
    }

    /// The newest access unit of a rendition.
    pub fn encoded(&mut self, rendition: u64, unit: Encoded) {
        self.refinement.encoded(rendition, unit);
    }

    /// Whether a repeat at `now` is for this rendition.
    pub fn repeat_is_for(&self, rendition: u64, now: Instant) -> bool {
        self.refinement.is_for(rendition, now)
    }

    /// A rendition has ended.
    pub fn forget(&mut self, rendition: u64) {
        self.refinement.forget(rendition);
    }

    /// What to do at `now`. Asks for the same until it is told that it was done.
    pub fn step(&self, now: Instant) -> Step {
        if !self.active {
            return Step::Sleep(None);
        }
        let mut wake: Option<Instant> = None;
        let mut is_due = |at: Instant| {
            wake = Some(wake.map_or(at, |earlier| earlier.min(at)));
            at <= now
        };
        // A refresh does not wait for a tick of its own: any slot after the last frame will do.
        let wanted = if self.refresh {
            Some(self.slot_for(self.last_frame.unwrap_or(now), now))
        } else {
            self.change.map(|since| self.change_slot(since, now))
        };
        if wanted.is_some_and(&mut is_due) {
            return Step::Grab { full: self.refresh };
        }
        if self.poll_due.is_some_and(|due| is_due(self.slot_for(due, now).max(due))) {
            return Step::Poll;
        }
        if let Some(due) = self.repeat_due()
            && is_due(self.slot_for(due, now).max(due))
        {
            return Step::Repeat;
        }
        Step::Sleep(wake)
    }

    fn repeat_due(&self) -> Option<Instant> {
        let last = self.last_frame?;
        if self.change.is_some() || self.refresh {
            return None;
        }
        let alive = last + KEEP_ALIVE;
        Some(self.refinement.due().map_or(alive, |due| due.max(last).min(alive)))
    }

    /// As [`Self::slot_for`], for a change: it overtakes the repeats of a picture that is out of date now.
    fn change_slot(&self, since: Instant, now: Instant) -> Instant {
        match self.due_after_repeat.filter(|_| self.lock.is_none()) {
            Some(due) => due.max(since),
            None if self.is_free(since, now) => since,
            None => self.slot_for(since, now),
        }
    }

    /// Whether a change may go out at once: its source is slow, and the tick that it reaches has no frame yet.
    fn is_free(&self, since: Instant, now: Instant) -> bool {
        let (Some(lock), Some(last)) = (self.lock, self.last_frame) else { return false };
        let period = self.period_of(lock);
        let taken = lock.index_of(last, period);
        self.pace.is_slow(since) && lock.index_of(since, period) > taken && lock.index_of(now, period) > taken
    }

    /// The earliest moment at which a frame wanted since `since` may go out.
    fn slot_for(&self, since: Instant, now: Instant) -> Instant {
        let Some(last) = self.last_frame else { return since };
        let Some(lock) = self.lock else { return self.due.max(since) };
        let period = self.period_of(lock);
        let taken = lock.index_of(last, period);
        let idle = since.saturating_duration_since(last) > IDLE.max(period * 3 / 2);
        if idle && lock.index_of(now, period) > taken {
            return since;
        }
        let wanted = lock.index_of(since, period).max(taken + 1);
        lock.slot(wanted, period).map_or(since, |slot| slot.max(since))
    }

    /// Whole display intervals: as many as the frame limit asks for, forgiving 5 % of clock difference.
    fn period_of(&self, lock: Lock) -> Duration {
        let ratio = self.interval.as_secs_f64() / lock.display.as_secs_f64();
        lock.display * ((ratio - 0.05).ceil().max(1.0) as u32)
    }

    fn sent(&mut self, now: Instant, aimed: Instant) {
        let late = now.saturating_duration_since(aimed);
        self.last_frame = Some(if late <= LATE { aimed.min(now) } else { now });
        self.due = next_due(self.due, self.interval, now);
    }
}

impl Lock {
    /// The slot whose tick a frame leaving at `at` reaches.
    fn index_of(self, at: Instant, period: Duration) -> i64 {
        let nanos = nanos_between(self.anchor, at) - SLOT_MARGIN.as_nanos() as i64;
        let period = period.as_nanos() as i64;
        nanos.div_euclid(period) + i64::from(nanos.rem_euclid(period) != 0)
    }

    /// The newest slot that has begun.
    fn index_at(self, now: Instant, period: Duration) -> i64 {
        nanos_between(self.anchor, now).div_euclid(period.as_nanos() as i64)
    }

    /// When slot `index` begins; nothing if that is before the clock's first moment.
    fn slot(self, index: i64, period: Duration) -> Option<Instant> {
        let nanos = index.saturating_mul(period.as_nanos() as i64);
        let distance = Duration::from_nanos(nanos.unsigned_abs());
        if nanos < 0 { self.anchor.checked_sub(distance) } else { self.anchor.checked_add(distance) }
    }
}

/// The next frame may leave an interval after the former was *due*: a late wake-up does not lower the frame rate.
/// At most a quarter of an interval is made good.
fn next_due(due: Instant, interval: Duration, now: Instant) -> Instant {
    (due + interval).max(now + interval * 3 / 4)
}

fn interval_of(fps: u32) -> Duration {
    Duration::from_secs(1) / fps.clamp(1, MAX_FPS)
}

fn nanos_between(from: Instant, to: Instant) -> i64 {
    match to.checked_duration_since(from) {
        Some(after) => after.as_nanos() as i64,
        None => -(from.saturating_duration_since(to).as_nanos() as i64),
    }
}

#[cfg(test)]
#[path = "cadence_tests.rs"]
mod tests;
