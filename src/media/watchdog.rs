//! PURE. Notices an encoder that takes frames and gives nothing back.

use std::time::{Duration, Instant};

/// Frames in, none out, for too long.
#[derive(Clone, Debug)]
pub struct Watchdog {
    patience: Duration,
    /// When the first frame went in that nothing has come out for.
    waiting_since: Option<Instant>,
    last_look: Option<Instant>,
}

impl Watchdog {
    /// Time between two looks while a frame is inside. A much longer gap means that the process itself was stopped
    /// (SIGSTOP, a starved machine), which is not the encoder's fault.
    pub const LOOK_EVERY: Duration = Duration::from_millis(250);

    /// Barks after `patience`.
    pub fn new(patience: Duration) -> Self {
        Self { patience, waiting_since: None, last_look: None }
    }

    /// A frame went in.
    pub fn pushed(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
    }

    /// An access unit came out; `waiting` tells whether frames pushed later are still inside.
    pub fn produced(&mut self, now: Instant, waiting: bool) {
        self.waiting_since = waiting.then_some(now);
    }

    /// Another encoder begins.
    pub fn reset(&mut self) {
        self.waiting_since = None;
    }

    /// Is a frame inside?
    pub fn armed(&self) -> bool {
        self.waiting_since.is_some()
    }

    /// How long nothing has come out, once that is too long. To be asked every [`Self::LOOK_EVERY`] while armed.
    pub fn stalled(&mut self, now: Instant) -> Option<Duration> {
        let gap = self.last_look.replace(now).map_or(Duration::ZERO, |last| now - last);
        let since = self.waiting_since?;
        if gap > 4 * Self::LOOK_EVERY {
            // Nobody looked for long: count from here.
            self.waiting_since = Some(now);
            return None;
        }
        let waited = now - since;
        (waited >= self.patience).then_some(waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Watchdog::LOOK_EVERY;
    const PATIENCE: Duration = Duration::from_secs(2);

    /// Looks every 250 ms from `from` on; the time at which it barks.
    fn bark(dog: &mut Watchdog, from: Instant, looks: u32) -> Option<Duration> {
        (1..=looks).map(|i| from + i * LOOK).find_map(|now| dog.stalled(now).map(|_| now - from))
    }

    #[test]
    fn barks_when_frames_go_in_and_none_come_out() {
        let start = Instant::now();
        let mut dog = Watchdog::new(PATIENCE);
        dog.pushed(start);
        dog.pushed(start + LOOK);
        assert_eq!(bark(&mut dog, start, 20), Some(PATIENCE));
    }

    #[test]
    fn silent_while_units_come_out_or_nothing_goes_in() {
        let start = Instant::now();
        let mut dog = Watchdog::new(PATIENCE);
        assert_eq!(bark(&mut dog, start, 40), None);
        for i in 0..40 {
            let now = start + i * LOOK;
            dog.pushed(now);
            assert_eq!(dog.stalled(now), None);
            dog.produced(now, i % 2 == 0);
        }
        dog.produced(start + 40 * LOOK, false);
        assert!(!dog.armed());
    }

    #[test]
    fn a_process_that_was_stopped_begins_to_count_anew() {
        let start = Instant::now();
        let mut dog = Watchdog::new(PATIENCE);
        dog.pushed(start);
        assert_eq!(dog.stalled(start + LOOK), None);
        let woken = start + Duration::from_secs(60);
        assert_eq!(dog.stalled(woken), None);
        assert_eq!(bark(&mut dog, woken, 20), Some(PATIENCE));
    }
}
