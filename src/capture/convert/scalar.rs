//! PURE. The portable rows, and the constants of the fixed point.

use super::{BYTES_PER_PIXEL, RowPair};

/// Luma weights of blue, green, red, times 256; they add up to 220, so that white is exactly 235.
pub(super) const LUMA: [u8; 3] = [25, 129, 66];
/// Cb weights, times 256; they add up to 0, so that greys are exactly 128.
pub(super) const CB: [i8; 3] = [112, -74, -38];
/// Cr weights, times 256; they add up to 0.
pub(super) const CR: [i8; 3] = [-18, -94, 112];
/// Black at 16, and a half for rounding.
pub(super) const LUMA_BIAS: i32 = 16 * 256 + 128;
/// Zero at 128, and a half for rounding; chroma sums run over two pixels.
pub(super) const CHROMA_BIAS: i32 = 128 * 512 + 256;

/// Luma of one BGRx pixel.
pub(super) fn luma(pixel: [u8; BYTES_PER_PIXEL]) -> u8 {
    let sum: i32 = LUMA.iter().zip(pixel).map(|(&weight, value)| i32::from(weight) * i32::from(value)).sum();
    ((sum + LUMA_BIAS) >> 8) as u8
}

/// Converts two rows of an even number of pixels.
pub(super) fn rows(pair: RowPair<'_>) {
    super::luma_row(pair.top, pair.luma_top);
    super::luma_row(pair.bottom, pair.luma_bottom);
    let top = pair.top.as_chunks::<{ 2 * BYTES_PER_PIXEL }>().0;
    let bottom = pair.bottom.as_chunks::<{ 2 * BYTES_PER_PIXEL }>().0;
    for ((top, bottom), out) in top.iter().zip(bottom).zip(pair.chroma.as_chunks_mut::<2>().0) {
        // The vertical mean rounds up, as the SIMD instruction does.
        let mean = |at: usize| (i32::from(top[at]) + i32::from(bottom[at]) + 1) >> 1;
        let sums = [0, 1, 2].map(|channel| mean(channel) + mean(channel + BYTES_PER_PIXEL));
        let weighted = |weights: [i8; 3]| {
            let sum: i32 = weights.iter().zip(sums).map(|(&weight, value)| i32::from(weight) * value).sum();
            ((sum + CHROMA_BIAS) >> 9) as u8
        };
        *out = [weighted(CB), weighted(CR)];
    }
}
