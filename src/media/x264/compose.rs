//! PURE. A picture of which some blocks are left as the decoder has them.
//!
//! x264 is told one quantiser for a whole frame. A block that is given to it as it was decoded last has nothing to code,
//! however fine the quantiser is: so some blocks of a frame become sharp, and the others cost nothing.

use super::activity::{Picture, SIDE};
use crate::frame::Plane;

/// The picture that is given to the encoder.
#[derive(Debug, Default)]
pub(super) struct Composed {
    luma: Vec<u8>,
    chroma: Vec<u8>,
}

impl Composed {
    /// Blocks of `decoded` where they are `kept`, in raster order, of `source` elsewhere. Both are of one size.
    pub fn compose(&mut self, source: &Picture<'_>, decoded: &Picture<'_>, kept: &[bool]) -> Picture<'_> {
        let (width, height) = (usize::from(source.size.width), usize::from(source.size.height));
        self.luma.resize(width * height, 0);
        self.chroma.resize(width * height / 2, 0);
        let columns = width.div_ceil(SIDE);
        let lines = |plane: &mut [u8], from: [&Plane<'_>; 2], side: usize| {
            for (row, out) in plane.chunks_mut(width).enumerate() {
                let kept = kept.get(row / side * columns..).unwrap_or_default();
                let rows = from.map(|plane| plane.data.get(row * plane.stride..).unwrap_or_default());
                mix(out, rows, kept);
            }
        };
        lines(&mut self.luma, [&source.luma, &decoded.luma], SIDE);
        lines(&mut self.chroma, [&source.chroma, &decoded.chroma], SIDE / 2);
        Picture {
            size: source.size,
            luma: Plane { data: &self.luma, stride: width },
            chroma: Plane { data: &self.chroma, stride: width },
        }
    }
}

/// One row of samples, block by block.
fn mix(out: &mut [u8], [source, decoded]: [&[u8]; 2], kept: &[bool]) {
    for ((index, out), kept) in out.chunks_mut(SIDE).enumerate().zip(kept) {
        let from = if *kept { decoded } else { source };
        if let Some(from) = from.get(index * SIDE..index * SIDE + out.len()) {
            out.copy_from_slice(from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Size;

    #[test]
    fn each_block_comes_from_where_it_is_to_come_from_also_at_the_edges() {
        let size = Size { width: 36, height: 20 };
        let plane = |byte: u8, rows: usize| vec![byte; 40 * rows];
        let (ours, theirs) = ((plane(1, 20), plane(2, 10)), (plane(3, 20), plane(4, 10)));
        fn view(size: Size, of: &(Vec<u8>, Vec<u8>)) -> Picture<'_> {
            Picture {
                size,
                luma: Plane { data: &of.0, stride: 40 },
                chroma: Plane { data: &of.1, stride: 40 },
            }
        }
        let kept = [false, true, false, true, false, true];
        let mut composed = Composed::default();
        let picture = composed.compose(&view(size, &ours), &view(size, &theirs), &kept);
        for (row, samples) in picture.luma.data.chunks(36).enumerate() {
            for (column, sample) in samples.iter().enumerate() {
                let block = row / 16 * 3 + column / 16;
                assert_eq!(*sample, if kept[block] { 3 } else { 1 }, "luma {row} {column}");
            }
        }
        for (row, samples) in picture.chroma.data.chunks(36).enumerate() {
            for (column, sample) in samples.iter().enumerate() {
                let block = row / 8 * 3 + column / 16;
                assert_eq!(*sample, if kept[block] { 4 } else { 2 }, "chroma {row} {column}");
            }
        }
    }
}
