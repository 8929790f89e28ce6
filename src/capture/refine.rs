//! PURE. Repeating a picture that became still until the encoder has nothing left to improve.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The screen must have been unchanged for this long.
const STILL: Duration = Duration::from_millis(300);
/// The same, after a picture for which the bits did not suffice: it is visibly blurred, so that waiting costs
/// more than the repeats do. Longer than two frames of a 60 Hz animation.
const STARVED_STILL: Duration = Duration::from_millis(50);
/// A still screen is sent again after this long: Chromium asks for a key frame after three silent seconds.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// Most repeats of one picture that is to be sharpened.
const MAX_REPEATS: u8 = 8;
/// Most repeats of one picture while bits do not suffice, 20 s of them: a page of text takes ten to twenty, on a way of
/// 250 kbit/s and a large screen a thousand.
const MAX_STARVED_REPEATS: u16 = 1_200;
/// An access unit this small says "as before": there is nothing left to send. So does no more than one part in so many of
/// what a frame may take, where that is little.
const FLOOR_BYTES: usize = 600;
const FLOOR_PART: usize = 16;
/// A change of a sharp picture that took no more than this was coded as finely as it gets: bits were left over.
const SMALL_BYTES: usize = 1_500;
/// Sizes that differ by less than one part in this many are alike.
const ALIKE: usize = 20;
/// A rate control at its limit gives one pair of alike sizes while it still sharpens; two pairs are a plateau.
const ALIKE_PAIRS: u8 = 2;

/// What a frame became.
#[derive(Clone, Copy, Debug)]
pub struct Encoded {
    /// Size of its access unit, in bytes.
    pub bytes: usize,
    /// Bytes that a frame may take: bitrate over frame limit.
    pub allowed: usize,
    /// Whether bits were short for it.
    pub starved: bool,
}

/// Sizes of one rendition's access units since the picture became still.
#[derive(Debug, Default)]
struct Sizes {
    last: Option<usize>,
    starved: bool,
    alike: u8,
    repeats: u8,
    settled: bool,
    /// The picture had nothing left to improve, and has had small changes at most since then.
    sharp: bool,
}

/// Whether the still picture should be sent once more.
#[derive(Debug, Default)]
pub struct Refinement {
    still_since: Option<Instant>,
    repeats: u8,
    starved_repeats: u16,
    /// When it last went out to every rendition.
    alive_at: Option<Instant>,
    sizes: BTreeMap<u64, Sizes>,
}

impl Refinement {
    /// The screen changed: what was being sharpened is out of date.
    pub fn changed(&mut self, now: Instant) {
        self.fresh(now);
    }

    /// A new picture, or the same one as a key frame, has gone out.
    pub fn fresh(&mut self, now: Instant) {
        self.still_since = Some(now);
        self.alive_at = Some(now);
        self.repeats = 0;
        self.starved_repeats = 0;
        self.sizes.values_mut().for_each(|sizes| *sizes = Sizes { sharp: sizes.sharp, ..Sizes::default() });
    }

    /// The picture has gone out again.
    pub fn repeated(&mut self, now: Instant) {
        if self.is_for_all(now) {
            self.alive_at = Some(now);
        }
        let starved = self.starved();
        if starved {
            self.starved_repeats += 1;
        } else {
            self.repeats = self.repeats.saturating_add(1);
        }
        for sizes in self.sizes.values_mut().filter(|sizes| !starved || !sizes.starved) {
            sizes.repeats = sizes.repeats.saturating_add(1);
        }
    }

    /// Whether a repeat at `now` is for this rendition: one that is as sharp as it gets needs none for another one's sake,
    /// but for a sign of life.
    pub fn is_for(&self, rendition: u64, now: Instant) -> bool {
        self.is_for_all(now) || self.sizes.get(&rendition).is_none_or(|sizes| self.wants_more(sizes))
    }

    fn is_for_all(&self, now: Instant) -> bool {
        let sharpens = self.due().is_some_and(|due| due <= now);
        !sharpens || self.alive_at.is_none_or(|at| now >= at + KEEP_ALIVE)
    }

    /// Whether there may be something left to improve.
    fn wants_more(&self, sizes: &Sizes) -> bool {
        self.is_starved(sizes) || (!sizes.settled && sizes.repeats < MAX_REPEATS)
    }

    /// A rendition's newest access unit.
    pub fn encoded(&mut self, rendition: u64, Encoded { bytes, allowed, starved }: Encoded) {
        let sizes = self.sizes.entry(rendition).or_default();
        sizes.starved = starved;
        if sizes.repeats > 0 {
            let alike = sizes.last.is_some_and(|last| last.abs_diff(bytes) * ALIKE <= last);
            sizes.alike = if alike { sizes.alike.saturating_add(1) } else { 0 };
            let floor = FLOOR_BYTES.min(allowed / FLOOR_PART);
            sizes.settled = bytes <= floor || sizes.alike >= ALIKE_PAIRS;
            sizes.sharp = sizes.settled && !starved;
        } else {
            sizes.sharp &= bytes <= SMALL_BYTES && !starved;
            sizes.settled = sizes.sharp;
        }
        sizes.last = Some(bytes);
    }

    fn starved(&self) -> bool {
        self.sizes.values().any(|sizes| self.is_starved(sizes))
    }

    fn is_starved(&self, sizes: &Sizes) -> bool {
        sizes.starved && self.starved_repeats < MAX_STARVED_REPEATS
    }

    /// A rendition has ended.
    pub fn forget(&mut self, rendition: u64) {
        self.sizes.remove(&rendition);
    }

    /// When the next repeat is wanted; nothing when the picture is as sharp as it gets.
    pub fn due(&self) -> Option<Instant> {
        if self.starved() {
            return self.still_since.map(|since| since + STARVED_STILL);
        }
        let unknown = self.sizes.is_empty() && self.repeats < MAX_REPEATS;
        let wanted = unknown || self.sizes.values().any(|sizes| self.wants_more(sizes));
        self.still_since.filter(|_| wanted).map(|since| since + STILL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At 8 Mbit/s and 60 frames a second.
    fn of(bytes: usize, starved: bool) -> Encoded {
        Encoded { bytes, allowed: 16_666, starved }
    }

    #[test]
    fn a_small_change_of_a_sharp_picture_is_sharp_already() {
        let start = Instant::now();
        let mut refinement = Refinement::default();
        let mut change = |bytes: usize, starved: bool| {
            refinement.fresh(start);
            refinement.encoded(1, of(bytes, starved));
            let wanted = refinement.due().is_some();
            while refinement.due().is_some() {
                refinement.repeated(Instant::now());
                refinement.encoded(1, of(50, false));
            }
            wanted
        };
        assert!(change(400, false), "nothing is known of the picture before");
        assert!(!change(400, false) && !change(1_500, false));
        assert!(change(20_000, false));
        assert!(!change(400, false));
        assert!(change(400, true), "all the bits that there were");
    }

    #[test]
    fn a_small_change_during_a_blurred_picture_does_not_hide_it() {
        let start = Instant::now();
        let mut refinement = Refinement::default();
        refinement.fresh(start);
        refinement.encoded(1, of(20_000, false));
        refinement.fresh(start);
        refinement.encoded(1, of(400, false));
        assert!(refinement.due().is_some());
    }

    fn repeats_with(sizes: &[usize]) -> usize {
        let start = Instant::now();
        let mut refinement = Refinement::default();
        refinement.fresh(start);
        refinement.encoded(1, of(20_000, false));
        let mut count = 0;
        while refinement.due().is_some() {
            refinement.repeated(Instant::now());
            refinement.encoded(1, of(sizes.get(count).copied().unwrap_or(50), false));
            count += 1;
        }
        count
    }

    #[test]
    fn repeats_end_when_the_size_settles() {
        assert_eq!(repeats_with(&[50]), 1, "below the floor");
        assert_eq!(repeats_with(&[9_000, 4_000, 2_000, 2_010, 1_990, 1_000]), 5, "two alike pairs");
        assert_eq!(
            repeats_with(&[20_000, 15_000, 9_000, 7_000, 5_000, 4_000, 3_000, 2_000, 1_000]),
            8,
            "at most"
        );
    }

    #[test]
    fn a_starved_picture_is_repeated_early_and_until_the_bits_suffice() {
        let start = Instant::now();
        let mut refinement = Refinement::default();
        refinement.fresh(start);
        refinement.encoded(1, of(16_000, true));
        for _ in 0..20 {
            assert_eq!(refinement.due(), Some(start + STARVED_STILL));
            refinement.repeated(Instant::now());
            refinement.encoded(1, of(16_000, true));
        }
        refinement.encoded(1, of(5_000, false));
        assert_eq!(refinement.due(), Some(start + STILL));
        refinement.repeated(Instant::now());
        refinement.encoded(1, of(100, false));
        assert_eq!(refinement.due(), None);
    }

    #[test]
    fn little_is_not_nothing_where_there_is_little() {
        let mut refinement = Refinement::default();
        refinement.fresh(Instant::now());
        let mut is_wanted_after = |bytes: usize| {
            refinement.repeated(Instant::now());
            refinement.encoded(1, Encoded { bytes, allowed: 520, starved: false });
            refinement.due().is_some()
        };
        assert!(is_wanted_after(170) && is_wanted_after(80));
        assert!(!is_wanted_after(25));
    }

    #[test]
    fn starvation_without_end_is_given_up() {
        let mut refinement = Refinement::default();
        refinement.fresh(Instant::now());
        let mut count = 0;
        while refinement.due().is_some() && count < 10_000 {
            refinement.encoded(1, of(16_000, true));
            refinement.repeated(Instant::now());
            count += 1;
        }
        assert!(count <= usize::from(MAX_STARVED_REPEATS) + usize::from(MAX_REPEATS), "{count}");
    }

    #[test]
    fn one_that_starves_does_not_repeat_the_picture_for_one_that_is_sharp() {
        let start = Instant::now();
        let mut refinement = Refinement::default();
        refinement.fresh(start);
        let (mut now, mut sharp, mut starving, mut alive) = (start, 0, 0, start);
        refinement.encoded(1, of(9_000, false));
        refinement.encoded(2, of(2_000, true));
        while let Some(due) = refinement.due() {
            now = due.max(now + Duration::from_millis(16));
            let [first, second] = [1, 2].map(|rendition| refinement.is_for(rendition, now));
            refinement.repeated(now);
            if first {
                sharp += 1;
                assert!(now < alive + Duration::from_millis(1_100), "a viewer takes silence for the end");
                alive = now;
                refinement.encoded(1, of(40, false));
            }
            if second {
                starving += 1;
                refinement.encoded(2, of(if starving > 300 { 40 } else { 2_000 }, starving <= 300));
            }
        }
        assert!((301..310).contains(&starving) && (5..20).contains(&sharp), "{starving} {sharp}");
        assert!(refinement.is_for(1, now) && refinement.is_for(2, now), "a sign of life is for both");
    }

    #[test]
    fn every_rendition_must_have_settled() {
        let mut refinement = Refinement::default();
        refinement.fresh(Instant::now());
        refinement.encoded(1, of(9_000, false));
        refinement.encoded(2, of(9_000, false));
        refinement.repeated(Instant::now());
        refinement.encoded(1, of(40, false));
        refinement.encoded(2, of(7_000, false));
        assert!(refinement.due().is_some());
        refinement.forget(2);
        assert!(refinement.due().is_none());
    }

    #[test]
    fn nothing_is_repeated_before_the_first_picture() {
        assert!(Refinement::default().due().is_none());
    }
}
