//! PURE. How finely each frame is coded, so that it takes its part of the bitrate.
//!
//! What a block costs follows from how busy it is and from the quantiser: one curve, which was measured, foretells whole
//! frames of text, photographs and drawings within a third. What the curve cannot see, such as motion that the encoder
//! finds, the frames of a movement tell each other.
//!
//! What changed is coded as finely as the bits allow. What stands still and is not as fine as it gets is coded once more, as
//! many blocks at a time as there are bits for: each at its finest, so that it is never gone over a third time. The others
//! are kept as they are.

use std::time::{Duration, Instant};

use super::activity::{Block, Busyness};
use super::experience::Experience;
use crate::media::budget::RateMeter;

/// Finer than this nobody sees the difference: what stands still is coded so, and never again.
pub(super) const FINEST: u8 = 18;
/// The coarsest. H.264 has none beyond 51: x264 takes that, and leaves out more blocks.
const COARSEST: u8 = 54;
/// Slice headers, and blocks that are left as they are.
const FRAME_BYTES: f64 = 40.0;
/// Bytes that a block takes whose busyness is so many octaves above the quantiser's step, from [`LEAST_OCTAVES`] on. Fitted
/// to libx264 164, ultrafast, for seven pictures, six changes of one to another, and ten quantisers.
const BLOCK_BYTES: [f64; 17] =
    [1.3, 1.4, 1.4, 1.4, 1.4, 1.4, 3.6, 8.1, 14.0, 35.2, 61.8, 91.0, 115.7, 134.0, 190.0, 250.0, 310.0];
const LEAST_OCTAVES: f64 = -2.0;
/// What is hoped that a frame takes of its part: a guess that is a little wrong must not make it late.
const HOPED: f64 = 0.9;
/// A frame gets no less than this of its part, however much those before it took.
const LEAST_PART: f64 = 0.25;
/// Of a narrow way, no frame's part is so small that no picture could be had of it.
const LEAST_BYTES: f64 = 4_000.0;
/// A key frame has all blocks to code, for somebody who waits for a picture.
const KEY_FRAME_PARTS: f64 = 2.0;
/// Where not even the coarsest frames fit the bitrate, fewer are sent: none as long as more than so many parts are owed.
const LONGEST_DEBT: f64 = 8.0;
/// More parts are never owed: who cannot pay is not made to wait for ever.
const MOST_DEBT: f64 = 60.0;
/// A movement that rests for so long has ended; what comes next may be anything.
const REST: Duration = Duration::from_millis(250);

/// Chooses quantisers, and blocks.
#[derive(Debug)]
pub(super) struct Control {
    kbps: u32,
    meter: RateMeter,
    last: Option<Instant>,
    /// Bytes that were sent beyond what the bitrate had carried by [`Self::last`]. A frame that comes late leaves a little
    /// for the next, which comes early.
    debt: f64,
    /// Bytes that a frame may take at the moment.
    part: f64,
    /// The quantiser that each block was coded with last, in raster order.
    coded: Vec<u8>,
    plan: Plan,
    moving: Experience,
    sharpening: Experience,
}

/// How a frame is to be coded.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// For every block that is coded.
    pub quantiser: u8,
    /// Whether a block is left as it was coded last, in raster order: also one that changed, if the frame is skipped.
    pub kept: Vec<bool>,
    key_frame: bool,
    changed: Histogram,
    /// What the blocks that are coded once more cost by the curve.
    sharpened: f64,
}

impl Plan {
    /// Is any block to be left as it was coded last, although it may differ from the picture?
    pub fn keeps(&self) -> bool {
        self.kept.contains(&true)
    }
}

impl Control {
    /// For frames of at most `fps` a second.
    pub fn new(kbps: u32, fps: u32) -> Self {
        Self {
            kbps,
            meter: RateMeter::new(fps),
            last: None,
            debt: 0.0,
            part: 0.0,
            coded: Vec::new(),
            plan: Plan::default(),
            moving: Experience::NONE,
            sharpening: Experience::NONE,
        }
    }

    /// Another bitrate, kbit/s, from the next frame on.
    pub fn set_bitrate(&mut self, kbps: u32) {
        self.kbps = kbps;
    }

    /// How to code a frame of these blocks. [`Self::coded`] must follow.
    pub fn plan(&mut self, blocks: &[Block], key_frame: bool, now: Instant) -> &Plan {
        self.coded.resize(blocks.len(), COARSEST);
        let part = self.next_part(now);
        let target = |parts: f64| {
            let burst = (parts * part).max(LEAST_BYTES);
            ((HOPED * burst - self.debt).max(LEAST_PART * part) - FRAME_BYTES).max(0.0)
        };
        let changed = Histogram::of(blocks, key_frame);
        let extent = changed.extent();
        let (bytes, finest, scale) = if key_frame {
            // Coded from nothing, whatever the movement is like.
            (target(KEY_FRAME_PARTS), FINEST, 1.0)
        } else {
            (target(1.0), self.moving.finest(extent), self.moving.scale_of(extent))
        };
        let fits = |quantiser: &u8| scale * changed.bytes(*quantiser) <= bytes;
        let fitting = (finest..=COARSEST).find(fits);
        let quantiser = fitting.unwrap_or(COARSEST);
        let left = if quantiser == FINEST { bytes - scale * changed.bytes(quantiser) } else { 0.0 };
        self.plan.quantiser = quantiser;
        self.plan.key_frame = key_frame;
        self.plan.changed = changed;
        if fitting.is_none() && !key_frame && self.debt > LONGEST_DEBT * part {
            self.skip(blocks);
        } else {
            self.keep(blocks, left / self.sharpening.scale());
        }
        &self.plan
    }

    /// Leaves all of the picture as it was coded last.
    fn skip(&mut self, blocks: &[Block]) {
        self.plan.kept.clear();
        self.plan.kept.resize(blocks.len(), true);
        self.plan.changed = Histogram::default();
        self.plan.sharpened = 0.0;
        let coded = self.coded.iter_mut().zip(blocks).filter(|(_, block)| block.change.is_some());
        coded.for_each(|(coded, _)| *coded = COARSEST);
    }

    /// Leaves blurred blocks as they are, but for as many as these bytes are enough for. If nothing changed, for one at least.
    fn keep(&mut self, blocks: &[Block], mut bytes: f64) {
        let plan = &mut self.plan;
        plan.kept.clear();
        plan.sharpened = 0.0;
        let mut must = plan.changed.is_empty();
        for (block, coded) in blocks.iter().zip(&self.coded) {
            let blurred = !plan.key_frame && block.change.is_none() && *coded > FINEST;
            let cost = if blurred { block_bytes(block.texture, FINEST) } else { 0.0 };
            let keep = blurred && !must && cost > bytes;
            if blurred && !keep {
                bytes -= cost;
                plan.sharpened += cost;
                must = false;
            }
            plan.kept.push(keep);
        }
    }

    /// What the frame that was planned last has become.
    pub fn coded(&mut self, blocks: &[Block], bytes: usize) {
        let plan = &self.plan;
        for ((coded, block), kept) in self.coded.iter_mut().zip(blocks).zip(&plan.kept) {
            match (block.change, kept) {
                (_, true) => {}
                (None, false) if !plan.key_frame => *coded = plan.quantiser.min(*coded),
                _ => *coded = plan.quantiser,
            }
        }
        self.debt = (self.debt + bytes as f64).min(MOST_DEBT * self.part);
        let bytes = (bytes as f64 - FRAME_BYTES).max(0.0);
        let (changed, sharpened) = (plan.changed.bytes(plan.quantiser), plan.sharpened);
        if plan.key_frame {
            // Coded from nothing: tells nothing of what follows.
        } else if changed > 4.0 * sharpened {
            let bytes = bytes - self.sharpening.scale() * sharpened;
            self.moving.learn(plan.quantiser, changed, bytes, plan.changed.extent());
        } else if sharpened > 4.0 * changed {
            let bytes = bytes - self.moving.scale() * changed;
            self.sharpening.learn(plan.quantiser, sharpened, bytes, 0.0);
        }
    }

    /// Bytes that one frame may take; pays back what the time since the last one has carried.
    fn next_part(&mut self, now: Instant) -> f64 {
        let _ = self.meter.pushed(now);
        let a_second = f64::from(self.kbps) * 125.0;
        let part = a_second / self.meter.rate();
        let gap = self.last.replace(now).map_or(REST, |last| now.saturating_duration_since(last));
        if gap >= REST {
            (self.moving, self.sharpening) = (Experience::NONE, Experience::NONE);
        }
        self.debt = (self.debt - a_second * gap.as_secs_f64()).max((HOPED - 1.0) * part);
        self.part = part;
        part
    }
}

/// Blocks to code, by busyness.
#[derive(Debug)]
struct Histogram([u32; Busyness::RANGE]);

impl Default for Histogram {
    fn default() -> Self {
        Self([0; Busyness::RANGE])
    }
}

impl Histogram {
    /// At this quantiser the extents of frames are compared.
    const MIDDLE: u8 = 26;

    /// Of those that changed, or of all.
    fn of(blocks: &[Block], all: bool) -> Self {
        let mut counts = [0; Busyness::RANGE];
        let busyness = |block: &Block| if all { Some(block.texture) } else { block.change };
        blocks.iter().filter_map(busyness).for_each(|busyness| counts[busyness.half_octaves()] += 1);
        Self(counts)
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|count| *count == 0)
    }

    /// Bytes by the curve.
    fn bytes(&self, quantiser: u8) -> f64 {
        let kinds = Busyness::all().zip(self.0).filter(|(_, count)| *count > 0);
        kinds.map(|(busyness, count)| f64::from(count) * block_bytes(busyness, quantiser)).sum()
    }

    fn extent(&self) -> f64 {
        self.bytes(Self::MIDDLE)
    }
}

/// The curve: six steps of the quantiser are an octave.
fn block_bytes(busyness: Busyness, quantiser: u8) -> f64 {
    let octaves = (busyness.half_octaves() as f64 + 0.5) / 2.0 - f64::from(quantiser) / 6.0;
    let at = (octaves - LEAST_OCTAVES).clamp(0.0, (BLOCK_BYTES.len() - 1) as f64);
    let below = (at as usize).min(BLOCK_BYTES.len() - 2);
    let (low, high) = (BLOCK_BYTES[below], BLOCK_BYTES[below + 1]);
    low + (high - low) * (at - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1280×720 pixels in macroblocks.
    const BLOCKS: usize = 80 * 45;
    const PART: usize = 8_000 * 125 / 60;

    /// An encoder that takes so much of what the curve says, and a clock.
    struct Rig {
        control: Control,
        now: Instant,
        takes: f64,
    }

    impl Rig {
        fn new(kbps: u32) -> Self {
            let mut rig = Self { control: Control::new(kbps, 60), now: Instant::now(), takes: 1.0 };
            rig.frame(&page(BLOCKS), true);
            rig.sharpen(1_000);
            rig
        }

        fn frame(&mut self, blocks: &[Block], key_frame: bool) -> (u8, usize) {
            self.now += Duration::from_micros(16_667);
            let plan = self.control.plan(blocks, key_frame, self.now);
            let quantiser = plan.quantiser;
            let moving = plan.changed.bytes(quantiser) * self.takes;
            let bytes = (FRAME_BYTES + moving + plan.sharpened) as usize;
            self.control.coded(blocks, bytes);
            (quantiser, bytes)
        }

        /// Repeats the picture until nothing is left to improve: the frames' bytes.
        fn sharpen(&mut self, most: usize) -> Vec<usize> {
            let still: Vec<Block> =
                page(BLOCKS).iter().map(|block| Block { change: None, ..*block }).collect();
            let blurred = |control: &Control| control.coded.iter().any(|coded| *coded > FINEST);
            let frames = std::iter::from_fn(|| blurred(&self.control).then(|| self.frame(&still, false).1));
            frames.take(most).collect()
        }
    }

    /// Text in the first so many blocks, and nothing new in the others.
    fn page(changed: usize) -> Vec<Block> {
        let busy = Busyness::all().nth(22).unwrap();
        (0..BLOCKS).map(|at| Block { texture: busy, change: (at < changed).then_some(busy) }).collect()
    }

    #[test]
    fn a_small_change_of_a_sharp_picture_is_coded_at_its_finest() {
        assert_eq!(Rig::new(8_000).frame(&page(20), false).0, FINEST);
    }

    #[test]
    fn a_new_page_takes_its_part_and_no_more() {
        let (quantiser, bytes) = Rig::new(8_000).frame(&page(BLOCKS), false);
        assert!(quantiser > 30 && bytes <= PART, "{quantiser}: {bytes}");
        assert!(bytes > PART / 2, "{quantiser}: {bytes}");
    }

    #[test]
    fn a_still_picture_becomes_sharp_with_each_block_coded_once_more() {
        let mut rig = Rig::new(8_000);
        rig.frame(&page(BLOCKS), false);
        let frames = rig.sharpen(100);
        assert!(frames.iter().all(|bytes| *bytes <= PART), "{frames:?}");
        let all = BLOCKS as f64 * block_bytes(page(1)[0].texture, FINEST);
        let spent: usize = frames.iter().sum();
        assert!((0.99..1.05).contains(&(spent as f64 / all)), "{spent} of {all}");
        assert!(frames.len() < 2 * spent / PART, "{} frames", frames.len());
        assert!(!rig.control.plan(&page(0), false, rig.now).keeps());
    }

    #[test]
    fn it_becomes_sharp_where_bits_hardly_suffice_for_a_block() {
        let mut rig = Rig::new(100);
        rig.frame(&page(BLOCKS), false);
        let frames = rig.sharpen(100_000);
        let seconds = frames.len() as f64 / 60.0;
        let spent = frames.iter().sum::<usize>() as f64 * 8.0 / 1_000.0 / seconds;
        assert!(spent < 1.2 * 100.0, "{spent} kbit/s for {seconds} s");
        assert!(rig.control.coded.iter().all(|coded| *coded == FINEST));
    }

    #[test]
    fn typing_on_a_blurred_page_is_sharp_and_the_page_waits() {
        let mut rig = Rig::new(8_000);
        rig.frame(&page(BLOCKS), false);
        let (quantiser, bytes) = rig.frame(&page(20), false);
        assert_eq!(quantiser, FINEST);
        assert!(bytes <= PART, "{bytes}");
        assert!(rig.control.coded[..20].iter().all(|coded| *coded == FINEST));
        assert!(rig.control.coded[20..].iter().filter(|coded| **coded > FINEST).count() > BLOCKS / 2);
    }

    #[test]
    fn what_a_frame_took_too_much_the_next_ones_save() {
        let mut rig = Rig::new(8_000);
        rig.takes = 3.0;
        let bytes: Vec<usize> = (0..60).map(|_| rig.frame(&page(BLOCKS / 4), false).1).collect();
        assert!(bytes[0] > 2 * PART, "{bytes:?}");
        let mean = bytes.iter().sum::<usize>() / bytes.len();
        assert!(mean < PART * 11 / 10 && mean > PART / 2, "{mean}: {bytes:?}");
    }

    #[test]
    fn a_movement_that_is_cheap_becomes_fine_within_frames_and_a_new_scene_is_not_taken_for_it() {
        let mut rig = Rig::new(8_000);
        rig.takes = 0.1;
        let quantisers: Vec<u8> = (0..30).map(|_| rig.frame(&page(BLOCKS / 2), false).0).collect();
        assert!(quantisers[0] > 30 && *quantisers.last().unwrap() < 24, "{quantisers:?}");
        rig.takes = 1.0;
        let (_, bytes) = rig.frame(&page(BLOCKS), false);
        assert!(bytes < 4 * PART, "{bytes}");
    }

    #[test]
    fn what_no_quantiser_makes_small_enough_comes_in_fewer_frames_and_is_sharp_in_the_end() {
        let mut rig = Rig::new(500);
        let seconds = 20;
        let bytes: usize = (0..60 * seconds).map(|_| rig.frame(&page(BLOCKS), false).1).sum();
        let kbps = bytes * 8 / 1_000 / seconds;
        assert!((400..600).contains(&kbps), "{kbps} kbit/s");
        assert!(rig.sharpen(100_000).len() < 100_000);
        assert!(rig.control.coded.iter().all(|coded| *coded == FINEST));
    }

    #[test]
    fn a_key_frame_in_a_cheap_movement_is_not_taken_for_cheap() {
        let mut rig = Rig::new(8_000);
        rig.takes = 0.1;
        for _ in 0..60 {
            rig.frame(&page(BLOCKS), false);
        }
        rig.takes = 1.0;
        let (_, bytes) = rig.frame(&page(BLOCKS), true);
        assert!(bytes <= 2 * PART, "{bytes}");
    }

    #[test]
    fn another_bitrate_counts_from_the_next_frame() {
        let mut rig = Rig::new(8_000);
        rig.control.set_bitrate(2_000);
        let (_, bytes) = rig.frame(&page(BLOCKS / 8), false);
        assert!(bytes <= PART / 4, "{bytes}");
    }

    #[test]
    fn a_key_frame_codes_every_block_and_gets_two_parts() {
        let mut rig = Rig::new(8_000);
        let (quantiser, bytes) = rig.frame(&page(0), true);
        assert!(bytes > PART && bytes <= 2 * PART, "{bytes}");
        assert!(rig.control.coded.iter().all(|coded| *coded == quantiser));
    }
}
