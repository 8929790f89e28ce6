//! PURE. From the BT.601 that capture makes to the BT.709 that decoders assume of H.264 which does not say.
//!
//! Read by the other matrix, greens and reds are off by up to 20 of 255.

use super::picture::Layout;
use crate::frame::PixelFormat;

/// Coefficients over [`ONE`]: what Cb and Cr add to Y, then the new Cb and Cr from the old ones. Limited range.
type Coefficients = [[i32; 2]; 3];

const ONE: i32 = 1 << 16;
const SHIFT: u32 = 16;
const TO_601: Coefficients = [[6_657, 12_850], [64_871, -7_252], [-4_748, 64_448]];
const TO_709: Coefficients = [[-7_746, -13_939], [66_758, 7_512], [4_918, 67_196]];
/// Chroma samples converted at a time: the luma offsets of as many stay on the stack.
const CHUNK: usize = 64;

/// Converts an I420 picture in place; any other format is left as it is.
pub fn bt709_to_bt601(layout: &Layout, data: &mut [u8]) {
    convert(layout, data, &TO_601);
}

/// The way back, but for rounding.
pub fn bt601_to_bt709(layout: &Layout, data: &mut [u8]) {
    convert(layout, data, &TO_709);
}

fn convert(layout: &Layout, data: &mut [u8], by: &Coefficients) {
    if layout.format != PixelFormat::I420 || data.len() < layout.bytes {
        return;
    }
    let (luma, chroma) = data[..layout.bytes].split_at_mut(layout.offsets[1]);
    let (cb, cr) = chroma.split_at_mut(layout.offsets[2] - layout.offsets[1]);
    let pairs = usize::from(layout.size.width) / 2;
    let rows = luma
        .chunks_mut(2 * layout.strides[0])
        .zip(cb.chunks_mut(layout.strides[1]))
        .zip(cr.chunks_mut(layout.strides[2]));
    for ((luma, cb), cr) in rows.take(usize::from(layout.size.height) / 2) {
        let (upper, lower) = luma.split_at_mut(layout.strides[0]);
        let chunks = cb[..pairs]
            .chunks_mut(CHUNK)
            .zip(cr[..pairs].chunks_mut(CHUNK))
            .zip(upper.chunks_mut(2 * CHUNK))
            .zip(lower.chunks_mut(2 * CHUNK));
        for (((cb, cr), upper), lower) in chunks {
            let offsets = convert_chroma(cb, cr, by);
            add_to_luma(upper, &offsets);
            add_to_luma(lower, &offsets);
        }
    }
}

/// Returns what each sample adds to the luma around it.
fn convert_chroma(cb: &mut [u8], cr: &mut [u8], by: &Coefficients) -> [i16; CHUNK] {
    let mut offsets = [0; CHUNK];
    let scaled = |[a, b]: [i32; 2], u: i32, v: i32| (a * u + b * v + ONE / 2) >> SHIFT;
    for ((cb, cr), offset) in cb.iter_mut().zip(cr).zip(&mut offsets) {
        let (u, v) = (i32::from(*cb) - 128, i32::from(*cr) - 128);
        *offset = scaled(by[0], u, v) as i16;
        *cb = (scaled(by[1], u, v) + 128).clamp(0, 255) as u8;
        *cr = (scaled(by[2], u, v) + 128).clamp(0, 255) as u8;
    }
    offsets
}

fn add_to_luma(luma: &mut [u8], offsets: &[i16; CHUNK]) {
    for (pair, offset) in luma.chunks_exact_mut(2).zip(offsets) {
        for y in pair {
            *y = (i16::from(*y) + offset).clamp(0, 255) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Size;

    /// Limited-range YCbCr of an RGB colour, by the matrix with these luma weights.
    fn ycbcr(rgb: [f64; 3], kr: f64, kb: f64) -> [u8; 3] {
        let [r, g, b] = rgb.map(|c| c / 255.0);
        let y = kr * r + (1.0 - kr - kb) * g + kb * b;
        let (cb, cr) = ((b - y) / (2.0 - 2.0 * kb), (r - y) / (2.0 - 2.0 * kr));
        [16.0 + 219.0 * y, 128.0 + 224.0 * cb, 128.0 + 224.0 * cr].map(|c| c.round() as u8)
    }

    #[test]
    fn every_corner_of_the_colour_cube_arrives_and_comes_back() {
        let layout = Layout::new(Size { width: 150, height: 4 }, PixelFormat::I420);
        for corner in 0..8 {
            let rgb = [1, 2, 4].map(|bit| if corner & bit == 0 { 0.0 } else { 255.0 });
            let (bt709, bt601) = (ycbcr(rgb, 0.2126, 0.0722), ycbcr(rgb, 0.299, 0.114));
            let picture = |colour: [u8; 3]| -> Vec<u8> {
                (0..layout.bytes)
                    .map(|i| colour[layout.offsets[1..].iter().filter(|o| i >= **o).count()])
                    .collect()
            };
            let mut data = picture(bt709);
            let near = |data: &[u8], want: [u8; 3]| {
                layout.planes(data).iter().zip(want).zip([150, 75, 75]).all(|((plane, want), width)| {
                    plane
                        .data
                        .chunks(plane.stride)
                        .all(|row| row[..width].iter().all(|c| c.abs_diff(want) <= 2))
                })
            };
            bt709_to_bt601(&layout, &mut data);
            assert!(near(&data, bt601), "{rgb:?}: {bt601:?}");
            bt601_to_bt709(&layout, &mut data);
            assert!(near(&data, bt709), "{rgb:?}: {bt709:?}");
        }
    }
}
