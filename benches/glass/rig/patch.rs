//! Glass to glass: how long after its drawing a change of colour is seen on the other display.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::Result;
use super::watch::Watch;

const LIMIT: Duration = Duration::from_secs(2);

/// Times from drawing to seeing.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Latency {
    /// One value per flip in milliseconds.
    pub ms: Vec<f64>,
    /// Flips not seen within two seconds.
    pub lost: u32,
    /// Mean time between two looks at the patch in milliseconds: the error of one value is below it.
    pub poll_ms: f64,
}

impl Latency {
    /// Adds as many more flips.
    pub fn extend(&mut self, more: Self) {
        self.ms.extend(more.ms);
        self.lost += more.lost;
        self.poll_ms = f64::midpoint(self.poll_ms, more.poll_ms);
    }

    /// All values; a lost flip counts as infinitely late.
    pub fn all_ms(&self) -> Vec<f64> {
        let lost = (0..self.lost).map(|_| f64::INFINITY);
        self.ms.iter().copied().chain(lost).collect()
    }
}

/// Flips the patch `count` times and times each.
///
/// `flip` waits for its moment, draws the change, and tells when it was sent and which colour it has now.
pub fn measure(
    watch: &Watch,
    count: u32,
    mut flip: impl FnMut() -> Result<(Instant, usize)>,
) -> Result<Latency> {
    let mut latency = Latency::default();
    let (mut looks, mut looked) = (0, Duration::ZERO);
    for _ in 0..count {
        let (sent, colour) = flip()?;
        let first_look = Instant::now();
        match watch.wait_for_patch(colour, LIMIT)? {
            Some((seen, n)) => {
                latency.ms.push((seen - sent).as_secs_f64() * 1e3);
                looks += n;
                looked += seen - first_look;
            }
            None => latency.lost += 1,
        }
    }
    latency.poll_ms = looked.as_secs_f64() * 1e3 / f64::from(looks.max(1));
    Ok(latency)
}

/// A small seeded generator (xorshift), so that every product sees the same intervals.
pub struct Random(u32);

impl Random {
    /// A generator with the sequence of `seed`.
    pub fn new(seed: u32) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b1) | 1)
    }

    /// The next value.
    pub fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }
}
