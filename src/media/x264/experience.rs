//! PURE. What the frames of a movement tell of the next one.

use super::control::FINEST;

/// Only frames of more bytes than this tell something about their movement.
const TELLING_BYTES: f64 = 1_000.0;
/// How far costs may be from the curve, in either direction.
const FARTHEST: f64 = 20.0;
/// More than this, against what was seen of a movement, is new in it.
const FAMILIAR: f64 = 1.3;
/// Most steps by which a frame of a movement is finer than the one before.
const FINER_BY: u8 = 3;

/// How frames of one kind compared to the curve of late.
#[derive(Clone, Copy, Debug)]
pub(super) struct Experience {
    /// Their bytes over those of the curve.
    scale: f64,
    /// What the curve says of them, at one quantiser for all.
    extent: f64,
    /// That of the last one.
    quantiser: u8,
}

impl Experience {
    /// Nothing was seen yet: the curve counts.
    pub const NONE: Self = Self { scale: 1.0, extent: 0.0, quantiser: FINEST };

    /// By how much to scale the curve.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// By how much to scale it for a frame of this extent. What is more than was seen is not known to be cheap.
    pub fn scale_of(&self, extent: f64) -> f64 {
        if self.scale >= 1.0 || extent <= 0.0 {
            return self.scale;
        }
        let known = (FAMILIAR * self.extent / extent).min(1.0);
        known * self.scale + (1.0 - known)
    }

    /// The finest quantiser for a frame of this extent. Costs that are known of one quantiser may be wrong for another: they
    /// are followed down in small steps, or every other frame would be much too large.
    pub fn finest(&self, extent: f64) -> u8 {
        let alike = self.extent > 0.0 && FAMILIAR * extent >= self.extent;
        if alike { self.quantiser.saturating_sub(FINER_BY).max(FINEST) } else { FINEST }
    }

    /// A frame of this extent has taken so many bytes, of which so many were foretold by the curve.
    pub fn learn(&mut self, quantiser: u8, foretold: f64, bytes: f64, extent: f64) {
        if foretold < TELLING_BYTES && bytes < TELLING_BYTES {
            return;
        }
        self.quantiser = quantiser;
        let seen = (bytes / foretold.max(1.0)).clamp(FARTHEST.recip(), FARTHEST);
        self.scale = (self.scale * seen).sqrt();
        self.extent = if self.extent == 0.0 { extent } else { (self.extent + extent) / 2.0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_movement_that_is_cheaper_than_it_looks_is_known_after_some_frames() {
        let mut scrolling = Experience::NONE;
        (0..6).for_each(|_| scrolling.learn(30, 20_000.0, 2_000.0, 9_000.0));
        assert!((0.09..0.12).contains(&scrolling.scale_of(9_000.0)), "{scrolling:?}");
        assert!(scrolling.scale_of(30_000.0) > 0.6, "three times as much is mostly new: {scrolling:?}");
    }

    #[test]
    fn what_is_dearer_than_it_looks_is_so_for_all_of_the_frame() {
        let mut noise = Experience::NONE;
        (0..6).for_each(|_| noise.learn(30, 2_000.0, 6_000.0, 1_000.0));
        assert_eq!(noise.scale_of(100_000.0), noise.scale());
        assert!(noise.scale() > 2.5);
    }

    #[test]
    fn a_movement_becomes_finer_in_steps_and_something_else_at_once() {
        let mut scrolling = Experience::NONE;
        assert_eq!(scrolling.finest(9_000.0), FINEST);
        scrolling.learn(40, 20_000.0, 2_000.0, 9_000.0);
        assert_eq!(scrolling.finest(9_000.0), 37);
        assert_eq!(scrolling.finest(100.0), FINEST, "a key press during it");
        scrolling.learn(FINEST, 200.0, 100.0, 100.0);
        assert_eq!(scrolling.finest(9_000.0), 37, "nor does it tell anything of the scrolling");
        scrolling.learn(19, 20_000.0, 2_000.0, 9_000.0);
        assert_eq!(scrolling.finest(9_000.0), FINEST);
    }

    #[test]
    fn small_frames_tell_nothing() {
        let mut typing = Experience::NONE;
        typing.learn(FINEST, 500.0, 100.0, 200.0);
        assert_eq!((typing.scale(), typing.finest(200.0)), (1.0, FINEST));
    }
}
