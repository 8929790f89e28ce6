//! PURE. Thirty-two pixels at a time with AVX2. The only SIMD in Deskgate.

use std::arch::x86_64::*;

use super::scalar::{self, CB, CHROMA_BIAS, CR, LUMA, LUMA_BIAS};
use super::{BYTES_PER_PIXEL, RowPair};

/// Pixels of one step.
const STEP: usize = 32;

/// Converts two rows of an even number of pixels.
#[target_feature(enable = "avx2")]
pub(super) fn rows(pair: RowPair<'_>) {
    let top = pair.top.as_chunks::<{ STEP * BYTES_PER_PIXEL }>();
    let bottom = pair.bottom.as_chunks::<{ STEP * BYTES_PER_PIXEL }>();
    let luma_top = pair.luma_top.as_chunks_mut::<STEP>();
    let luma_bottom = pair.luma_bottom.as_chunks_mut::<STEP>();
    let chroma = pair.chroma.as_chunks_mut::<STEP>();
    let sources = top.0.iter().zip(bottom.0);
    let luma = luma_top.0.iter_mut().zip(luma_bottom.0);
    for (((top, bottom), (luma_top, luma_bottom)), chroma) in sources.zip(luma).zip(chroma.0) {
        let (top, bottom) = (load(top), load(bottom));
        store(luma_top, luma_of(&top));
        store(luma_bottom, luma_of(&bottom));
        store(chroma, chroma_of(&top, &bottom));
    }
    scalar::rows(RowPair {
        top: top.1,
        bottom: bottom.1,
        luma_top: luma_top.1,
        luma_bottom: luma_bottom.1,
        chroma: chroma.1,
    });
}

/// Four registers of eight pixels.
#[target_feature(enable = "avx2")]
#[allow(unsafe_code)] // Unaligned loads are only to be had through pointers.
fn load(pixels: &[u8; STEP * BYTES_PER_PIXEL]) -> [__m256i; 4] {
    let (registers, _) = pixels.as_chunks::<32>();
    // SAFETY: every chunk is 32 readable bytes, and the load asks for no alignment.
    std::array::from_fn(|at| unsafe { _mm256_loadu_si256(registers[at].as_ptr().cast()) })
}

#[target_feature(enable = "avx2")]
#[allow(unsafe_code)] // As `load`.
fn store(out: &mut [u8; STEP], value: __m256i) {
    // SAFETY: `out` is 32 writable bytes, and the store asks for no alignment.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), value) }
}

/// `vpack*` and `vphadd*` work within 128-bit halves; this puts their four-byte groups back in order.
#[target_feature(enable = "avx2")]
fn in_order(packed: __m256i) -> __m256i {
    _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
}

#[target_feature(enable = "avx2")]
fn luma_of(pixels: &[__m256i; 4]) -> __m256i {
    let weights = _mm256_set1_epi32(i32::from_le_bytes([LUMA[0], LUMA[1], LUMA[2], 0]));
    // The multiply takes one unsigned and one signed operand: the pixels give up 128, the bias puts it back.
    let to_signed = _mm256_set1_epi8(i8::MIN);
    let bias = _mm256_set1_epi16((LUMA_BIAS + 128 * 220) as i16);
    let products = |at: usize| _mm256_maddubs_epi16(weights, _mm256_xor_si256(pixels[at], to_signed));
    let sums = |a: usize, b: usize| {
        _mm256_srli_epi16::<8>(_mm256_add_epi16(_mm256_hadd_epi16(products(a), products(b)), bias))
    };
    in_order(_mm256_packus_epi16(sums(0, 1), sums(2, 3)))
}

#[target_feature(enable = "avx2")]
fn chroma_of(top: &[__m256i; 4], bottom: &[__m256i; 4]) -> __m256i {
    let mean: [__m256i; 4] = std::array::from_fn(|at| _mm256_avg_epu8(top[at], bottom[at]));
    let component = |weights: [i8; 3]| {
        let [blue, green, red] = weights.map(|weight| weight as u8);
        let weights = _mm256_set1_epi32(i32::from_le_bytes([blue, green, red, 0]));
        let pixels = |a: usize, b: usize| {
            _mm256_hadd_epi16(_mm256_maddubs_epi16(mean[a], weights), _mm256_maddubs_epi16(mean[b], weights))
        };
        let pairs = |a: usize, b: usize| {
            let sums = _mm256_madd_epi16(pixels(a, b), _mm256_set1_epi16(1));
            _mm256_srli_epi32::<9>(_mm256_add_epi32(sums, _mm256_set1_epi32(CHROMA_BIAS)))
        };
        _mm256_packus_epi32(pairs(0, 1), pairs(2, 3))
    };
    in_order(_mm256_or_si256(component(CB), _mm256_slli_epi16::<8>(component(CR))))
}
