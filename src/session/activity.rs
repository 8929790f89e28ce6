//! PURE. Whether anybody is here, and how long it is since somebody did something.

use std::time::Instant;

use crate::wire::api;

/// See the module.
#[derive(Debug)]
pub(super) struct Activity {
    viewers: usize,
    last: Instant,
}

impl Activity {
    /// A session that begins: a beginning counts, so that a desktop is not idle before anybody could come.
    pub fn new(now: Instant) -> Self {
        Self { viewers: 0, last: now }
    }

    /// A viewer's input has reached the desktop.
    pub fn input(&mut self, now: Instant) {
        self.last = now;
    }

    /// So many viewers are connected.
    pub fn viewers(&mut self, viewers: usize, now: Instant) {
        if viewers < self.viewers {
            self.last = now;
        }
        self.viewers = viewers;
    }

    pub fn report(&self, now: Instant) -> api::Activity {
        let idle = now.saturating_duration_since(self.last);
        api::Activity { viewers: self.viewers, idle_seconds: idle.as_secs() }
    }
}
