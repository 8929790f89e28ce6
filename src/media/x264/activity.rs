//! PURE. How busy each block of a picture is, and which blocks changed since the picture before.

use std::ops::Range;

use crate::frame::{Plane, Size};

/// A macroblock's side, in luma samples.
pub(super) const SIDE: usize = 16;

/// A picture in NV12.
#[derive(Clone, Copy)]
pub(super) struct Picture<'a> {
    pub size: Size,
    pub luma: Plane<'a>,
    pub chroma: Plane<'a>,
}

/// How much there is to code in a block, in half octaves: twice the logarithm to base 2 of the absolute differences of
/// its samples, from their neighbours or from the picture before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Busyness(u8);

impl Busyness {
    /// One more than the greatest number of half octaves: a block's differences are less than 2¹⁸.
    pub const RANGE: usize = 36;

    fn of(differences: u32) -> Self {
        let squared = u64::from(differences.max(1)).pow(2);
        Self((squared.ilog2() as u8).min(Self::RANGE as u8 - 1))
    }

    /// Each of them, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::RANGE as u8).map(Self)
    }

    /// Half octaves, less than [`Self::RANGE`].
    pub fn half_octaves(self) -> usize {
        usize::from(self.0)
    }
}

/// A macroblock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    /// Against its own neighbours: what it costs to code it from nothing.
    pub texture: Busyness,
    /// If it differs from the picture before: what that difference costs, or coding it from nothing where that is less.
    pub change: Option<Busyness>,
}

/// What there is to code in a picture, block by block.
#[derive(Debug, Default)]
pub(super) struct Activity {
    blocks: Vec<Block>,
    /// Of one row of blocks.
    textures: Vec<u32>,
    changes: Vec<u32>,
}

impl Activity {
    /// Compares `now` with `before`, of the same size; all of it is new if there is none.
    pub fn look(&mut self, now: &Picture<'_>, before: Option<&Picture<'_>>) {
        let columns = usize::from(now.size.width).div_ceil(SIDE);
        let lines = usize::from(now.size.height).div_ceil(SIDE);
        self.blocks.resize(columns * lines, Block::default());
        self.textures.resize(columns, 0);
        self.changes.resize(columns, 0);
        for (line, blocks) in self.blocks.chunks_mut(columns).enumerate() {
            let now = Band::of(now, line);
            let before = before.map(|before| Band::of(before, line));
            if before.as_ref().is_some_and(|before| *before == now) {
                blocks.iter_mut().for_each(|block| block.change = None);
                continue;
            }
            now.textures(&mut self.textures);
            match &before {
                Some(before) => now.changes(before, &mut self.changes),
                None => self.changes.fill(u32::MAX),
            }
            for ((block, texture), change) in blocks.iter_mut().zip(&self.textures).zip(&self.changes) {
                *block = Block::new(*texture, *change);
            }
        }
    }

    /// In raster order.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }
}

impl Block {
    fn new(texture: u32, change: u32) -> Self {
        // A difference from before counts once, one from neighbours both across and down.
        let cost = texture.min(change.saturating_mul(2));
        Self { texture: Busyness::of(texture), change: (change > 0).then(|| Busyness::of(cost)) }
    }
}

/// A row of blocks, as rows of samples.
#[derive(PartialEq)]
struct Band<'a> {
    luma: Vec<&'a [u8]>,
    chroma: Vec<&'a [u8]>,
}

impl<'a> Band<'a> {
    fn of(picture: &Picture<'a>, line: usize) -> Self {
        let (width, height) = (usize::from(picture.size.width), usize::from(picture.size.height));
        let (top, bottom) = (line * SIDE, ((line + 1) * SIDE).min(height));
        let rows = |plane: &Plane<'a>, range: Range<usize>| {
            range.filter_map(|row| plane.data.get(row * plane.stride..)?.get(..width)).collect()
        };
        Self { luma: rows(&picture.luma, top..bottom), chroma: rows(&picture.chroma, top / 2..bottom / 2) }
    }

    /// Differences from the neighbours to the left and above, by block.
    fn textures(&self, sums: &mut [u32]) {
        sums.fill(0);
        for row in &self.luma {
            add(sums, &row[1..], &row[..row.len() - 1]);
        }
        for pair in self.luma.windows(2) {
            add(sums, pair[1], pair[0]);
        }
    }

    /// Differences from the picture before, by block.
    fn changes(&self, before: &Self, sums: &mut [u32]) {
        sums.fill(0);
        let (now, before) = (self.luma.iter().chain(&self.chroma), before.luma.iter().chain(&before.chroma));
        for (now, before) in now.zip(before) {
            add(sums, now, before);
        }
    }
}

/// Adds the differences of two rows to the blocks that they lie in. A row of chroma is as long as one of luma: its samples
/// come in pairs.
fn add(sums: &mut [u32], one: &[u8], other: &[u8]) {
    let ((ones, rest), (others, other_rest)) = (one.as_chunks::<SIDE>(), other.as_chunks::<SIDE>());
    for ((sum, one), other) in sums.iter_mut().zip(ones).zip(others) {
        *sum += difference(one, other);
    }
    if let Some(last) = sums.get_mut(ones.len()) {
        *last += difference(rest, other_rest);
    }
}

/// Written so that the compiler makes `psadbw` of it.
fn difference(one: &[u8], other: &[u8]) -> u32 {
    one.iter().zip(other).map(|(a, b)| u32::from(a.abs_diff(*b))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { width: 40, height: 24 };

    struct Owned(Vec<u8>, Vec<u8>);

    impl Owned {
        fn grey() -> Self {
            Self(vec![128; 40 * 24], vec![128; 40 * 12])
        }

        fn picture(&self) -> Picture<'_> {
            Picture {
                size: SIZE,
                luma: Plane { data: &self.0, stride: 40 },
                chroma: Plane { data: &self.1, stride: 40 },
            }
        }
    }

    fn changed(now: &Owned, before: Option<&Owned>) -> Vec<usize> {
        let mut activity = Activity::default();
        activity.look(&now.picture(), before.map(Owned::picture).as_ref());
        let blocks = activity.blocks().iter().enumerate();
        blocks.filter(|(_, block)| block.change.is_some()).map(|(index, _)| index).collect()
    }

    #[test]
    fn without_a_picture_before_all_of_it_is_new() {
        assert_eq!(changed(&Owned::grey(), None), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_change_is_seen_in_its_block_and_in_no_other_also_at_the_edges() {
        for (sample, block) in [(0, 0), (17, 1), (39, 2), (16 * 40, 3), (24 * 40 - 1, 5)] {
            let mut now = Owned::grey();
            now.0[sample] += 1;
            assert_eq!(changed(&now, Some(&Owned::grey())), [block], "luma {sample}");
        }
        for (sample, block) in [(0, 0), (16, 1), (39, 2), (8 * 40, 3), (12 * 40 - 1, 5)] {
            let mut now = Owned::grey();
            now.1[sample] += 1;
            assert_eq!(changed(&now, Some(&Owned::grey())), [block], "chroma {sample}");
        }
        assert_eq!(changed(&Owned::grey(), Some(&Owned::grey())), [0usize; 0]);
    }

    #[test]
    fn stripes_are_busy_in_every_block_of_a_row() {
        for width in [32u16, 40] {
            let luma: Vec<u8> = (0..width * 16).map(|at| if at % 2 == 0 { 16 } else { 235 }).collect();
            let chroma = vec![128; usize::from(width) * 8];
            let size = Size { width, height: 16 };
            let mut activity = Activity::default();
            let luma = Plane { data: &luma, stride: width.into() };
            let chroma = Plane { data: &chroma, stride: width.into() };
            activity.look(&Picture { size, luma, chroma }, None);
            let busy: Vec<usize> =
                activity.blocks().iter().map(|block| block.texture.half_octaves()).collect();
            assert!(busy.iter().all(|busy| *busy > 28), "{width}: {busy:?}");
        }
    }

    #[test]
    fn a_faint_change_of_a_busy_block_is_faint_and_what_became_plain_is_plain() {
        let (mut busy, mut faint) = (Owned::grey(), Owned::grey());
        for (index, sample) in busy.0.iter_mut().enumerate() {
            *sample = if index % 2 == 0 { 16 } else { 235 };
        }
        faint.0.clone_from(&busy.0);
        faint.0[5] += 3;
        let cost = |now: &Owned, before: &Owned| {
            let mut activity = Activity::default();
            activity.look(&now.picture(), Some(&before.picture()));
            activity.blocks()[0]
        };
        let block = cost(&faint, &busy);
        assert!(block.texture.half_octaves() > 30 && block.change.unwrap().half_octaves() < 8, "{block:?}");
        let block = cost(&Owned::grey(), &busy);
        assert_eq!((block.texture.half_octaves(), block.change.unwrap().half_octaves()), (0, 0));
    }
}
