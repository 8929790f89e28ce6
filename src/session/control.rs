//! PURE. Who has keyboard and mouse, and how that changes hands.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Takeovers within [`WINDOW`] before the next is refused: two pages that both take control would otherwise
/// push each other out for ever.
const MAX_TAKEOVERS: usize = 3;
const WINDOW: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug, Default)]
pub struct Control {
    holder: Option<u32>,
    /// The holder has it only because nobody else had: who proves to have had it gets it back.
    by_default: bool,
    takeovers: VecDeque<Instant>,
}

impl Control {
    /// Who has it.
    pub fn holder(&self) -> Option<u32> {
        self.holder
    }

    /// Takes it if nobody has it; true if `viewer` has it now.
    pub fn take_if_free(&mut self, viewer: u32) -> bool {
        if self.holder.is_none() {
            self.holder = Some(viewer);
            self.by_default = true;
        }
        self.holder == Some(viewer)
    }

    /// Gives it back to a viewer that had it before the gateway was restarted; true if `viewer` has it now.
    pub fn restore(&mut self, viewer: u32) -> bool {
        if self.holder.is_none() || self.by_default {
            self.holder = Some(viewer);
            self.by_default = false;
        }
        self.holder == Some(viewer)
    }

    /// Takes it from whoever has it; false when it changed hands too often.
    pub fn take(&mut self, viewer: u32, now: Instant) -> bool {
        if self.take_if_free(viewer) {
            return true;
        }
        self.takeovers.retain(|at| now.saturating_duration_since(*at) < WINDOW);
        if self.takeovers.len() >= MAX_TAKEOVERS {
            return false;
        }
        self.takeovers.push_back(now);
        self.holder = Some(viewer);
        self.by_default = false;
        true
    }

    /// Its holder gives it to another viewer.
    pub fn grant(&mut self, from: u32, to: u32) -> bool {
        let held = self.holder == Some(from);
        if held {
            self.holder = Some(to);
            self.by_default = false;
        }
        held
    }

    /// Gives it up; true if `viewer` had it.
    pub fn release(&mut self, viewer: u32) -> bool {
        self.holder.take_if(|h| *h == viewer).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_keeps_it_until_it_is_taken_or_given() {
        let now = Instant::now();
        let mut control = Control::default();
        assert!(control.take_if_free(1));
        assert!(!control.take_if_free(2));
        assert!(control.take(2, now));
        assert!(!control.grant(1, 3));
        assert!(control.grant(2, 1));
        assert!(!control.release(2));
        assert!(control.release(1));
        assert_eq!(control.holder(), None);
    }

    #[test]
    fn who_had_it_gets_it_back_from_whom_it_merely_fell_to() {
        let mut control = Control::default();
        control.take_if_free(1);
        assert!(control.restore(2));
        assert!(!control.restore(3));
    }

    #[test]
    fn the_fourth_takeover_in_five_seconds_is_refused() {
        let now = Instant::now();
        let mut control = Control::default();
        control.take(1, now);
        assert_eq!([2, 1, 2, 1].map(|v| control.take(v, now)), [true, true, true, false]);
        assert_eq!(control.holder(), Some(2));
        assert!(control.take(1, now + WINDOW));
    }
}
