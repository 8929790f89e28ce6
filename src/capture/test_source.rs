//! Colour bars that wander and a frame counter, for machines without X.

use std::time::Instant;

use super::cadence::Step;
use super::convert::BYTES_PER_PIXEL;
use super::engine::Engine;
use super::region::whole;
use crate::frame::Size;

/// White, yellow, cyan, green, magenta, red, blue, black, as BGRx.
const BARS: [[u8; BYTES_PER_PIXEL]; 8] = [
    [255, 255, 255, 0],
    [0, 255, 255, 0],
    [255, 255, 0, 0],
    [0, 255, 0, 0],
    [255, 0, 255, 0],
    [0, 0, 255, 0],
    [255, 0, 0, 0],
    [0, 0, 0, 0],
];
/// Edge of one counter digit, in pixels.
const DIGIT: usize = 16;
/// Binary digits of the counter, lowest first, white for 1.
const DIGITS: usize = 16;
/// Pixels that the bars move from frame to frame.
const SPEED: usize = 4;
/// Largest picture, in pixels across or down.
const MAX_EDGE: u16 = 8192;

/// Runs until the handle is gone.
pub(super) fn run(mut engine: Engine, size: Size, still: bool) {
    let mut picture = Picture::new(clamp(size));
    engine.up(picture.size, true, None);
    let mut next_change = Instant::now();
    while engine.take_mail() {
        if let Some(size) = engine.resize.take().map(|wanted| clamp(wanted.size)) {
            picture = Picture::new(size);
            engine.resized(size);
        }
        let now = Instant::now();
        let moving = engine.active() && !still;
        if moving && next_change <= now {
            engine.cadence.damage(now);
            next_change = (next_change + engine.cadence.interval()).max(now);
        }
        match engine.cadence.step(now) {
            Step::Grab { .. } | Step::Poll => draw(&mut engine, &mut picture, now),
            Step::Repeat => engine.push_repeat(),
            Step::Sleep(until) => {
                let change = moving.then_some(next_change);
                engine.wait(None, until.into_iter().chain(change).min());
            }
        }
    }
}

fn clamp(size: Size) -> Size {
    Size { width: size.width.clamp(1, MAX_EDGE), height: size.height.clamp(1, MAX_EDGE) }
}

fn draw(engine: &mut Engine, picture: &mut Picture, started: Instant) {
    let changed = engine.cadence.pending_change();
    if changed.is_some() {
        picture.counter += 1;
    }
    picture.paint();
    let rect = whole(picture.size);
    engine.planes.update(rect, &picture.pixels, picture.stride());
    engine.count_grab([&rect]);
    engine.push_grabbed(changed, started);
}

struct Picture {
    size: Size,
    counter: usize,
    pixels: Vec<u8>,
}

impl Picture {
    fn new(size: Size) -> Self {
        let bytes = usize::from(size.width) * usize::from(size.height) * BYTES_PER_PIXEL;
        Picture { size, counter: 0, pixels: vec![0; bytes] }
    }

    fn stride(&self) -> usize {
        usize::from(self.size.width) * BYTES_PER_PIXEL
    }

    fn paint(&mut self) {
        let (width, stride) = (usize::from(self.size.width), self.stride());
        let bar = |x: usize| BARS[(x + self.counter * SPEED) % width * BARS.len() / width];
        let plain: Vec<u8> = (0..width).flat_map(bar).collect();
        let digit = |x: usize| if self.counter >> (x / DIGIT) & 1 == 1 { BARS[0] } else { BARS[7] };
        let digits: Vec<u8> = (0..width.min(DIGIT * DIGITS)).flat_map(digit).collect();
        for (y, row) in self.pixels.chunks_exact_mut(stride).enumerate() {
            row.copy_from_slice(&plain);
            if y < DIGIT {
                row[..digits.len()].copy_from_slice(&digits);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_can_be_read_from_the_picture() {
        let mut picture = Picture::new(Size { width: 640, height: 40 });
        picture.counter = 0b1010_0001;
        picture.paint();
        let read = (0..DIGITS).map(|digit| {
            let at = 8 * picture.stride() + (digit * DIGIT + 8) * BYTES_PER_PIXEL;
            usize::from(picture.pixels[at] == 255) << digit
        });
        assert_eq!(read.sum::<usize>(), 0b1010_0001);
    }

    #[test]
    fn the_smallest_picture_can_be_painted() {
        let mut picture = Picture::new(clamp(Size { width: 0, height: 0 }));
        picture.paint();
        assert_eq!(picture.pixels.len(), BYTES_PER_PIXEL);
    }
}
