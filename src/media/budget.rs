//! PURE. How many frames a second really come.
//!
//! An encoder that shares its bitrate out by the frame rate in the caps spends a 24 fps film's budget at 24/60.
//! The remedy is a bitrate scaled by caps rate over real rate; the danger is a burst of outsized frames when a
//! slow source turns fast. So slow is believed late, after a second of even frames, and fast at once.

use std::time::{Duration, Instant};

/// Slower than this share of the caps' rate is not believed: one frame may then take this many frames' bits.
const SLOWEST_SHARE: f64 = 0.4;
/// A pause: what follows it may be anything.
const PAUSE: Duration = Duration::from_millis(250);
/// Believe a slow source after this long without a pause or a fast frame.
const PROOF: Duration = Duration::from_secs(1);
/// A change of the rate smaller than this is not worth a property write.
const WORTH: f64 = 0.15;

/// Measures the frame rate of what is pushed.
#[derive(Clone, Debug)]
pub struct RateMeter {
    full: f64,
    believed: f64,
    last: Option<Instant>,
    /// Where the present run of frames without pause began, and their number.
    run: Option<(Instant, u32)>,
}

impl RateMeter {
    /// For a source of at most `full` frames a second, which is believed to begin with.
    pub fn new(full: u32) -> Self {
        let full = f64::from(full.max(1));
        Self { full, believed: full, last: None, run: None }
    }

    /// Frames a second by which to share the bitrate out.
    pub fn rate(&self) -> f64 {
        self.believed
    }

    /// Another upper limit.
    pub fn set_full(&mut self, full: u32) {
        *self = Self { last: self.last, ..Self::new(full) };
    }

    /// A frame was pushed. Some if [`Self::rate`] changed.
    pub fn pushed(&mut self, now: Instant) -> Option<f64> {
        let gap = self.last.replace(now).map(|last| now - last);
        let Some(gap) = gap.filter(|gap| *gap < PAUSE) else {
            self.run = Some((now, 0));
            return self.believe(self.full);
        };
        if gap.as_secs_f64() < 0.6 / self.believed {
            self.run = Some((now, 0));
            return self.believe(self.full);
        }
        let (since, frames) = self.run.map_or((now, 0), |(since, frames)| (since, frames + 1));
        self.run = Some((since, frames));
        let length = now - since;
        if length < PROOF {
            return None;
        }
        self.run = Some((now, 0));
        self.believe(f64::from(frames) / length.as_secs_f64())
    }

    fn believe(&mut self, rate: f64) -> Option<f64> {
        let rate = rate.clamp(SLOWEST_SHARE * self.full, self.full);
        let rate = if rate > (1.0 - WORTH) * self.full { self.full } else { rate };
        let changed = (rate - self.believed).abs() > WORTH * self.believed
            || (rate == self.full && self.believed != self.full);
        changed.then(|| {
            self.believed = rate;
            rate
        })
    }
}

/// Is a bitrate other than `now` worth the key frame that the write costs?
pub fn worth_a_key_frame(now_kbps: u32, wanted_kbps: u32) -> bool {
    let (now, wanted) = (f64::from(now_kbps), f64::from(wanted_kbps));
    wanted < 0.85 * now || wanted > 1.25 * now
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Source(RateMeter, Instant);

    impl Source {
        /// Pushes for `seconds` at `fps`; every change of the rate.
        fn run(&mut self, fps: f64, seconds: f64) -> Vec<f64> {
            let frames = (fps * seconds).round() as u32;
            (0..frames)
                .filter_map(|_| {
                    self.1 += Duration::from_secs_f64(1.0 / fps);
                    self.0.pushed(self.1)
                })
                .collect()
        }
    }

    fn source() -> Source {
        Source(RateMeter::new(60), Instant::now())
    }

    #[test]
    fn full_speed_never_changes_anything() {
        assert_eq!(source().run(60.0, 10.0), Vec::<f64>::new());
        assert_eq!(source().run(58.0, 10.0), Vec::<f64>::new());
    }

    #[test]
    fn a_film_is_believed_after_a_second_and_once() {
        let mut film = source();
        assert_eq!(film.run(24.0, 0.9), Vec::<f64>::new());
        let changes = film.run(24.0, 10.0);
        assert_eq!(changes.len(), 1);
        assert!((changes[0] - 24.0).abs() < 0.5, "{changes:?}");
    }

    #[test]
    fn fast_is_believed_at_the_second_frame() {
        let mut film = source();
        film.run(30.0, 3.0);
        film.1 += Duration::from_secs_f64(1.0 / 60.0);
        assert_eq!(film.0.pushed(film.1), Some(60.0));
    }

    #[test]
    fn sparse_changes_and_what_follows_a_pause_get_no_more_than_one_frame_of_bits() {
        assert_eq!(source().run(2.0, 20.0), Vec::<f64>::new());
        let mut film = source();
        film.run(24.0, 3.0);
        film.1 += Duration::from_secs(1);
        assert_eq!(film.0.pushed(film.1), Some(60.0));
    }

    #[test]
    fn slower_than_believable_is_clamped() {
        let mut slow = source();
        assert_eq!(slow.run(10.0, 3.0), [24.0]);
    }

    #[test]
    fn small_changes_are_not_worth_a_key_frame() {
        assert!(!worth_a_key_frame(8_000, 8_500) && !worth_a_key_frame(8_000, 7_000));
        assert!(worth_a_key_frame(8_000, 4_000) && worth_a_key_frame(8_000, 12_000));
    }
}
