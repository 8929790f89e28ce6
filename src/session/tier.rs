//! PURE. Which of a codec's two renditions a viewer gets.
//!
//! A rendition sends the same bits to all of its viewers, so it takes what the narrowest of their ways carries. A way much
//! narrower than the widest would spoil the picture for everybody: its viewer gets a rendition of fewer bits.

use std::time::{Duration, Instant};

use crate::frame::Codec;
use crate::wire::signal::Tier;

/// A way that carries less than this part of the widest is narrow.
const NARROW: f64 = 0.7;
/// One that carries less than this part of another narrow one would spoil that one's picture too.
const FAR_NARROWER: f64 = 0.5;
/// It is narrow no longer when it carries this part.
const WIDE: f64 = 0.8;
/// A way that was seen to carry so many times what is sent is held back by others of the low tier, and may carry anything.
const HELD_BACK: f64 = 1.5;
/// How long a viewer stays in the low tier, at least. Doubled each time that it comes back soon.
const STAY: Duration = Duration::from_secs(5);
const LONGEST_STAY: Duration = Duration::from_secs(300);
/// What "soon" means.
const SOON: Duration = Duration::from_secs(30);

/// What is encoded once, for all who get it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RenditionKey {
    /// How.
    pub codec: Codec,
    /// How finely.
    pub tier: Tier,
}

impl RenditionKey {
    /// What viewers of a codec get as long as their ways carry it.
    pub fn main(codec: Codec) -> Self {
        Self { codec, tier: Tier::Main }
    }
}

/// What a way to a viewer takes, in kbit/s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What may be sent at the moment. Less than it carries, while something waits on it that has to go first.
    pub kbps: u32,
    /// What it carries, as far as that is known.
    pub carries: u32,
}

/// The ways of those who look, in kbit/s.
#[derive(Clone, Copy, Debug)]
pub struct Ways {
    /// What this one carries.
    pub this: u32,
    /// What may be sent by it at the moment.
    pub may: u32,
    /// What the widest one carries.
    pub widest: u32,
    /// What the low tier sends, if there is one.
    pub low: Option<u32>,
}

/// What a rendition takes at least, whatever one of its viewers' ways carries, if another one's carries `measure`.
pub fn least(tier: Tier, measure: u32) -> f64 {
    f64::from(measure) * if tier == Tier::Main { NARROW } else { FAR_NARROWER }
}

/// One viewer's place.
#[derive(Debug, Default)]
pub struct Place {
    tier: Tier,
    /// Of the last move, and how long the viewer stays at least, if that was down.
    moved: Option<(Instant, Duration)>,
    /// What its way carries is being found out: what it was seen to carry says nothing.
    on_trial: bool,
}

impl Place {
    /// Where it is.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Moves it where it belongs; `fell` if its way has just been found to carry less than before. True if it moved.
    pub fn settle(&mut self, ways: &Ways, fell: bool, now: Instant) -> bool {
        let narrow = f64::from(ways.this) < least(Tier::Main, ways.widest);
        match self.tier {
            Tier::Main if narrow && (fell || !self.on_trial) => self.down(now),
            Tier::Low if self.leaves_at().is_some_and(|at| now >= at) => {
                let wide = f64::from(ways.this) >= WIDE * f64::from(ways.widest);
                let held_back = ways.low.is_some_and(|low| f64::from(ways.may) >= HELD_BACK * f64::from(low));
                if !wide && !held_back {
                    return false;
                }
                self.up(now);
                self.on_trial = narrow;
            }
            Tier::Main => {
                self.on_trial &= narrow;
                return false;
            }
            Tier::Low => return false,
        }
        true
    }

    /// Nothing comes by its way: it leaves the low tier when it may.
    pub fn rest(&mut self, now: Instant) {
        if self.leaves_at().is_some_and(|at| now >= at) {
            self.up(now);
        }
    }

    fn up(&mut self, now: Instant) {
        let stay = self.moved.map_or(STAY, |(_, stay)| stay);
        (self.tier, self.moved, self.on_trial) = (Tier::Main, Some((now, stay)), false);
    }

    fn down(&mut self, now: Instant) {
        let stay = match self.moved {
            Some((at, stay)) if now.saturating_duration_since(at) < SOON => (2 * stay).min(LONGEST_STAY),
            _ => STAY,
        };
        (self.tier, self.moved, self.on_trial) = (Tier::Low, Some((now, stay)), false);
    }

    /// When it may leave the low tier.
    pub fn leaves_at(&self) -> Option<Instant> {
        self.moved.filter(|_| self.tier == Tier::Low).map(|(at, stay)| at + stay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDEST: u32 = 8_000;

    fn ways(this: u32, low: Option<u32>) -> Ways {
        Ways { this, may: this, widest: WIDEST, low }
    }

    #[test]
    fn a_narrow_way_goes_down_at_once_and_up_when_it_carries_as_much_as_others() {
        let start = Instant::now();
        let mut place = Place::default();
        assert!(!place.settle(&ways(6_000, None), true, start), "near enough");
        assert!(place.settle(&ways(2_000, None), true, start));
        assert_eq!(place.tier(), Tier::Low);
        assert!(!place.settle(&ways(8_000, Some(2_000)), false, start + STAY / 2), "too soon");
        assert!(!place.settle(&ways(6_000, Some(6_000)), false, start + STAY), "between the two");
        assert!(place.settle(&ways(6_400, Some(6_400)), false, start + STAY));
        assert_eq!((place.tier(), place.on_trial, place.leaves_at()), (Tier::Main, false, None));
    }

    #[test]
    fn one_that_others_hold_back_may_show_what_it_carries() {
        let start = Instant::now();
        let mut place = Place::default();
        place.settle(&ways(2_000, None), true, start);
        let up = start + STAY;
        assert!(!place.settle(&ways(1_000, Some(900)), false, up), "nobody holds it back");
        assert!(place.settle(&ways(1_400, Some(900)), false, up));
        assert!(!place.settle(&ways(1_500, Some(900)), false, up) && place.on_trial);
        assert!(!place.settle(&ways(7_000, None), false, up) && !place.on_trial);
        assert!(place.settle(&ways(5_000, None), false, up), "known again, and narrow");
    }

    #[test]
    fn who_comes_back_soon_stays_twice_as_long() {
        let start = Instant::now();
        let mut place = Place::default();
        place.settle(&ways(2_000, None), true, start);
        for round in 1..10 {
            let mut now = place.leaves_at().unwrap();
            assert!(place.settle(&ways(2_000, Some(500)), false, now));
            now += Duration::from_secs(1);
            assert!(place.settle(&ways(1_800, Some(500)), true, now), "it was found to be narrow");
            assert_eq!(place.leaves_at(), Some(now + (STAY * 2_u32.pow(round)).min(LONGEST_STAY)));
        }
        let mut now = place.leaves_at().unwrap();
        place.settle(&ways(WIDEST, Some(500)), false, now);
        now += SOON;
        place.settle(&ways(2_000, None), true, now);
        assert_eq!(place.leaves_at(), Some(now + STAY), "after a good while it starts over");
    }
}
