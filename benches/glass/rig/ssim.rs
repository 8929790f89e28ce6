//! Structural similarity of two luma planes (Wang et al. 2004), on 8×8 windows every 4 pixels.
//!
//! The window and step are those of the encoders' own `--ssim`; flat windows instead of Gaussian
//! ones make it cheap enough to score a 1280×720 picture in a few milliseconds.

const BLOCK: usize = 4;
const WINDOW_PIXELS: f64 = 64.0;
const C1: f64 = (0.01 * 255.0) * (0.01 * 255.0);
const C2: f64 = (0.03 * 255.0) * (0.03 * 255.0);

/// A luma plane, rows without padding, full range (0 is black, 255 is white).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Luma {
    /// Pixels in a row.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
    /// `width * height` values.
    pub data: Vec<u8>,
}

impl Luma {
    /// Converts 32-bit pixels, bytes in the order B, G, R, unused, as X servers give them at depth 24.
    pub fn from_bgrx(bgrx: &[u8], width: usize, height: usize) -> Self {
        let data = bgrx.chunks_exact(4).take(width * height).map(|p| luma_of(p[2], p[1], p[0])).collect();
        Self { width, height, data }
    }

    /// The part with its upper left corner at (`x`, `y`), which must lie inside the plane.
    pub fn area(&self, x: usize, y: usize, width: usize, height: usize) -> Self {
        let rows = self.data.chunks_exact(self.width).skip(y).take(height);
        Self { width, height, data: rows.flat_map(|row| &row[x..x + width]).copied().collect() }
    }

    /// Mean value of all pixels.
    pub fn mean(&self) -> f64 {
        self.data.iter().map(|&v| f64::from(v)).sum::<f64>() / self.data.len() as f64
    }
}

/// BT.601 luma of an RGB colour, full range, in 1/65536 steps.
pub fn luma_of(red: u8, green: u8, blue: u8) -> u8 {
    ((19595 * u32::from(red) + 38470 * u32::from(green) + 7471 * u32::from(blue) + 32768) >> 16) as u8
}

/// Mean SSIM of two planes of one size; 1 for equal planes. Planes of different sizes score 0.
pub fn ssim(a: &Luma, b: &Luma) -> f64 {
    if (a.width, a.height) != (b.width, b.height) || a.width < 2 * BLOCK || a.height < 2 * BLOCK {
        return 0.0;
    }
    let columns = a.width / BLOCK;
    let mut above = block_row(a, b, 0);
    let mut total = 0.0;
    for row in 1..a.height / BLOCK {
        let below = block_row(a, b, row);
        for column in 1..columns {
            let window = above[column - 1] + above[column] + below[column - 1] + below[column];
            total += window.score();
        }
        above = below;
    }
    total / ((columns - 1) * (a.height / BLOCK - 1)) as f64
}

#[derive(Clone, Copy, Default)]
struct Sums {
    a: u32,
    b: u32,
    squares: u32,
    product: u32,
}

impl std::ops::Add for Sums {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            a: self.a + other.a,
            b: self.b + other.b,
            squares: self.squares + other.squares,
            product: self.product + other.product,
        }
    }
}

impl Sums {
    fn score(self) -> f64 {
        let mean_a = f64::from(self.a) / WINDOW_PIXELS;
        let mean_b = f64::from(self.b) / WINDOW_PIXELS;
        let variances = f64::from(self.squares) / WINDOW_PIXELS - mean_a * mean_a - mean_b * mean_b;
        let covariance = f64::from(self.product) / WINDOW_PIXELS - mean_a * mean_b;
        let means = (2.0 * mean_a * mean_b + C1) / (mean_a * mean_a + mean_b * mean_b + C1);
        means * (2.0 * covariance + C2) / (variances + C2)
    }
}

fn block_row(a: &Luma, b: &Luma, row: usize) -> Vec<Sums> {
    let mut sums = vec![Sums::default(); a.width / BLOCK];
    for y in row * BLOCK..(row + 1) * BLOCK {
        let line = y * a.width..(y + 1) * a.width;
        let pairs = a.data[line.clone()].chunks_exact(BLOCK).zip(b.data[line].chunks_exact(BLOCK));
        for (sum, (left, right)) in sums.iter_mut().zip(pairs) {
            for (&p, &q) in left.iter().zip(right) {
                let (p, q) = (u32::from(p), u32::from(q));
                sum.a += p;
                sum.b += q;
                sum.squares += p * p + q * q;
                sum.product += p * q;
            }
        }
    }
    sums
}

#[cfg(test)]
#[allow(unused, reason = "a bench without a harness is built with `test` set, yet runs none")]
mod tests {
    use super::*;

    fn plane(value: impl Fn(usize, usize) -> u8) -> Luma {
        let (width, height) = (64, 48);
        let data = (0..width * height).map(|i| value(i % width, i / width)).collect();
        Luma { width, height, data }
    }

    fn textured() -> Luma {
        plane(|x, y| ((x * 37 + y * 91) % 251) as u8)
    }

    #[test]
    fn equal_planes_score_one() {
        assert!((ssim(&textured(), &textured()) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn an_inverted_plane_scores_below_zero() {
        let inverted = Luma { data: textured().data.iter().map(|v| 255 - v).collect(), ..textured() };
        assert!(ssim(&textured(), &inverted) < 0.0);
    }

    #[test]
    fn flat_planes_follow_the_formula() {
        let (a, b) = (plane(|_, _| 100), plane(|_, _| 110));
        let expected = (2.0 * 100.0 * 110.0 + C1) / (100.0 * 100.0 + 110.0 * 110.0 + C1);
        assert!((ssim(&a, &b) - expected).abs() < 1e-12);
    }

    #[test]
    fn more_noise_scores_lower() {
        let noisy =
            |amount: usize| plane(|x, y| textured().data[y * 64 + x].saturating_add((x * y % amount) as u8));
        assert!(ssim(&textured(), &noisy(8)) > ssim(&textured(), &noisy(40)));
    }

    #[test]
    fn a_shift_of_one_pixel_is_seen() {
        let (still, shifted) = (textured().area(2, 2, 56, 40), textured().area(3, 2, 56, 40));
        assert!(ssim(&still, &shifted) < 0.9);
        assert_eq!(shifted.data[0], textured().data[2 * 64 + 3]);
    }

    #[test]
    fn different_sizes_score_zero() {
        assert_eq!(ssim(&textured(), &textured().area(0, 0, 56, 40)), 0.0);
    }

    #[test]
    fn luma_spans_the_full_range() {
        assert_eq!((luma_of(0, 0, 0), luma_of(255, 255, 255)), (0, 255));
        assert!(luma_of(0, 255, 0) > luma_of(255, 0, 0));
    }
}
