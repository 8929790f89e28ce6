//! PURE. What can be said of decoded pictures: how many, how large, whether they change, whether they are black.

use std::time::Duration;

use crate::frame::Size;

/// Luma up to here is black: 16 is (BT.601), and coding adds a little.
const DARK: u8 = 32;
/// A picture is black if fewer than one in this many of its samples is lit: a single line of text is more.
const LIT_SHARE: usize = 20_000;
/// Every how many pixels, across and down, one is looked at for black.
const STEP: usize = 2;
/// Most frame times that are kept: far more than any probe lasts.
const MAX_TIMES: usize = 100_000;

/// Luma of one picture, row by row.
#[derive(Clone, Copy, Debug)]
pub struct Luma<'a> {
    /// Bytes, `stride` for each row.
    pub bytes: &'a [u8],
    /// Bytes from row to row.
    pub stride: usize,
    /// Size of the picture.
    pub size: Size,
}

impl<'a> Luma<'a> {
    fn rows(self) -> impl Iterator<Item = &'a [u8]> {
        let width = usize::from(self.size.width);
        self.bytes
            .chunks(self.stride.max(1))
            .take(usize::from(self.size.height))
            .map(move |row| row.get(..width).unwrap_or(row))
    }

    fn is_black(self) -> bool {
        let (mut lit, mut seen) = (0, 0);
        for row in self.rows().step_by(STEP) {
            let samples = row.iter().step_by(STEP);
            seen += samples.len();
            lit += samples.filter(|y| **y > DARK).count();
        }
        lit * LIT_SHARE < seen.max(1)
    }
}

/// Everything that was seen. Times are since the probe's start.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// When each picture was decoded.
    pub times: Vec<Duration>,
    /// How often the picture was another than the one before.
    pub changes: u64,
    /// Size of the last.
    pub size: Option<Size>,
    /// Pictures that were not black.
    pub lit: u64,
    last: Vec<u8>,
}

impl Sight {
    /// Takes a decoded picture.
    pub fn see(&mut self, at: Duration, picture: Luma<'_>) {
        if self.times.len() >= MAX_TIMES {
            return;
        }
        let width = usize::from(picture.size.width);
        let same = self.size == Some(picture.size) && picture.rows().eq(self.last.chunks(width.max(1)));
        self.times.push(at);
        self.lit += u64::from(!picture.is_black());
        if !same {
            self.changes += u64::from(self.times.len() > 1);
            self.size = Some(picture.size);
            self.last.clear();
            picture.rows().for_each(|row| self.last.extend(row));
        }
    }

    /// Whether there were pictures, and every one was black.
    pub fn is_black(&self) -> bool {
        !self.times.is_empty() && self.lit == 0
    }

    /// Pictures a second from `from` on.
    pub fn fps(&self, from: Duration, to: Duration) -> f64 {
        let frames = self.times.iter().filter(|at| (from..to).contains(*at)).count();
        let span = to.saturating_sub(from).as_secs_f64();
        if span > 0.0 { frames as f64 / span } else { 0.0 }
    }

    /// Longest time without a new picture between `from` and `to`.
    pub fn longest_gap(&self, from: Duration, to: Duration) -> Duration {
        let within = self.times.iter().copied().filter(|at| (from..to).contains(at));
        let marks: Vec<Duration> = [from].into_iter().chain(within).chain([to]).collect();
        marks.windows(2).map(|w| w[1].saturating_sub(w[0])).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { width: 200, height: 200 };

    fn see(sight: &mut Sight, ms: u64, bytes: &[u8]) {
        sight.see(Duration::from_millis(ms), Luma { bytes, stride: 256, size: SIZE });
    }

    #[test]
    fn black_is_black_and_a_prompt_is_not() {
        let mut sight = Sight::default();
        let mut picture = vec![17; 256 * 200];
        // What lies behind the picture's edge is nobody's.
        picture[201] = 255;
        see(&mut sight, 0, &picture);
        assert!(sight.is_black());
        for x in 0..20 {
            picture[256 * 10 + 2 * x] = 200;
        }
        see(&mut sight, 10, &picture);
        assert!(!sight.is_black());
    }

    #[test]
    fn nothing_seen_is_not_black() {
        assert!(!Sight::default().is_black());
    }

    #[test]
    fn changes_are_of_the_picture_not_of_its_padding() {
        let mut sight = Sight::default();
        let mut picture = vec![90; 256 * 200];
        see(&mut sight, 0, &picture);
        picture[230] = 1;
        see(&mut sight, 10, &picture);
        assert_eq!(sight.changes, 0);
        picture[256 * 199 + 199] = 91;
        see(&mut sight, 20, &picture);
        see(&mut sight, 30, &picture);
        assert_eq!((sight.changes, sight.times.len()), (1, 4));
    }

    #[test]
    fn rate_and_gap_are_of_the_stretch_asked_for() {
        let mut sight = Sight::default();
        for ms in [0, 1_000, 1_100, 1_200, 1_900] {
            see(&mut sight, ms, &[90; 256 * 200]);
        }
        let (from, to) = (Duration::from_millis(1_000), Duration::from_millis(2_000));
        assert_eq!(sight.fps(from, to), 4.0);
        assert_eq!(sight.longest_gap(from, to), Duration::from_millis(700));
        assert_eq!(sight.fps(to, to), 0.0);
    }
}
