//! What the rig draws, described without X: the moving picture of frame N, its bar code and the
//! watched patch, so that a grabbed picture can be compared with the very frame it shows.

use super::ssim::{Luma, luma_of};
use super::{HEIGHT, WIDTH};

/// An axis-parallel rectangle in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rect {
    /// Left edge.
    pub x: i16,
    /// Top edge.
    pub y: i16,
    /// Pixels wide.
    pub width: u16,
    /// Pixels high.
    pub height: u16,
}

/// An RGB colour, `0xRRGGBB`.
pub type Colour = u32;

/// The texture is larger than the screen by this much, so that a window on it can wander.
const SLACK: u16 = 256;
/// Texture width in pixels.
pub const TEXTURE_WIDTH: u16 = WIDTH + SLACK;
/// Texture height in pixels.
pub const TEXTURE_HEIGHT: u16 = HEIGHT + SLACK;

/// Where the patch whose colour is watched lies.
pub const PATCH: Rect = Rect { x: 608, y: 328, width: 64, height: 64 };
/// The patch's two colours: far apart in luma, so that half way is unmistakable at any quality.
pub const PATCH_COLOURS: [Colour; 2] = [0x20_20_20, 0xe0_e0_e0];

const CELL: u16 = 16;
const NUMBER_BITS: u32 = 16;
const CHECK_BITS: u32 = 4;
const CELLS: u32 = NUMBER_BITS + CHECK_BITS;
const BARS_X: i16 = 48;
const BARS_Y: i16 = 48;
/// The bar code with its quiet zone, black under the white cells.
pub const BARS_FIELD: Rect = Rect { x: 40, y: 40, width: CELLS as u16 * CELL + 16, height: CELL + 16 };
/// The strip through the middle of the bar code that is enough to read it.
pub const BARS_STRIP: Rect = Rect { x: BARS_X, y: BARS_Y + 7, width: CELLS as u16 * CELL, height: 2 };

const SPRITES: u32 = 8;
const SPRITE_COLOURS: [Colour; SPRITES as usize] =
    [0xd04030, 0x30a050, 0x3060d0, 0xe0c030, 0xa040b0, 0x30b0c0, 0xf0f0f0, 0x101010];

/// One frame of the motion: a window on the texture, then rectangles painted over it in order.
pub struct Frame {
    /// Left edge of the window on the texture.
    pub texture_x: i16,
    /// Top edge of the window on the texture.
    pub texture_y: i16,
    /// What is painted, later ones over earlier ones.
    pub paint: Vec<(Colour, Vec<Rect>)>,
}

/// The moving picture at frame `number`, its patch in colour `patch` (0 or 1).
pub fn frame(number: u32, patch: usize) -> Frame {
    let window = (bounce(number * 3, SLACK), bounce(number * 2, SLACK));
    compose(window, number, patch)
}

/// The same with a window that jumps: what an encoder cannot foresee, so that every frame costs it much.
pub fn jumping_frame(number: u32, patch: usize) -> Frame {
    let jump = |salt| (hash(number, salt, 11) % u32::from(SLACK)) as u16;
    compose((jump(1), jump(2)), number, patch)
}

fn compose(window: (u16, u16), number: u32, patch: usize) -> Frame {
    let mut paint: Vec<(Colour, Vec<Rect>)> =
        (0..SPRITES).map(|i| (SPRITE_COLOURS[i as usize], vec![sprite(i, number)])).collect();
    paint.push((0x000000, vec![BARS_FIELD]));
    paint.push((0xffffff, bars(number)));
    paint.push((PATCH_COLOURS[patch % 2], vec![PATCH]));
    Frame { texture_x: window.0 as i16, texture_y: window.1 as i16, paint }
}

/// The luma plane that a lossless viewer of [`frame`] would see.
pub fn expected_luma(texture: &Luma, number: u32, patch: usize) -> Luma {
    let frame = frame(number, patch);
    let (width, height) = (usize::from(WIDTH), usize::from(HEIGHT));
    let (left, top) = (frame.texture_x as usize, frame.texture_y as usize);
    let mut plane = texture.area(left, top, width, height);
    for (colour, rects) in &frame.paint {
        for rect in rects {
            fill(&mut plane, *rect, *colour);
        }
    }
    plane
}

/// The part of a whole screen that holds the frame number.
pub fn bars_strip(screen: &Luma) -> Luma {
    let (x, y) = (BARS_STRIP.x as usize, BARS_STRIP.y as usize);
    screen.area(x, y, usize::from(BARS_STRIP.width), usize::from(BARS_STRIP.height))
}

/// Reads the frame number from [`BARS_STRIP`] of a picture; `None` if the check bits disagree.
pub fn read_bars(strip: &Luma) -> Option<u32> {
    let cell = usize::from(CELL);
    let bit = |i: u32| u32::from(strip.area(i as usize * cell + 4, 0, cell - 8, strip.height).mean() > 127.5);
    let code = (0..CELLS).fold(0, |code, i| code << 1 | bit(i));
    let number = code >> CHECK_BITS;
    (code & 0xf == check(number)).then_some(number)
}

/// Frame numbers wrap here.
pub const NUMBERS: u32 = 1 << NUMBER_BITS;

/// The texture as 32-bit pixels (bytes B, G, R, 0): soft hills with fine grain and hard-edged tiles,
/// a middle course between a photograph and a user interface.
pub fn texture_bgrx() -> Vec<u8> {
    let mut pixels = Vec::with_capacity(usize::from(TEXTURE_WIDTH) * usize::from(TEXTURE_HEIGHT) * 4);
    for y in 0..u32::from(TEXTURE_HEIGHT) {
        for x in 0..u32::from(TEXTURE_WIDTH) {
            let hill = |shift: u32, salt: u32| f64::from(1 << shift) * 0.4 * smooth_noise(x, y, shift, salt);
            let light = hill(7, 1) + hill(5, 2) + hill(3, 3);
            let tile = if hash(x / 96, y / 72, 7).is_multiple_of(5) { 48.0 } else { 0.0 };
            let tint = 64.0 * smooth_noise(x, y, 8, 4);
            let channel = |offset: f64| (60.0 + light + tile + offset).clamp(0.0, 255.0) as u8;
            pixels.extend_from_slice(&[channel(40.0 - tint), channel(10.0), channel(tint), 0]);
        }
    }
    pixels
}

/// Side of a corner mark in pixels.
pub const CORNER: u16 = 32;

/// Upper left points of the four corner marks, named.
pub const CORNERS: [(&str, i16, i16); 4] = [
    ("top left", 0, 0),
    ("top right", (WIDTH - CORNER) as i16, 0),
    ("bottom left", 0, (HEIGHT - CORNER) as i16),
    ("bottom right", (WIDTH - CORNER) as i16, (HEIGHT - CORNER) as i16),
];

/// Nested squares in every corner, their lines two pixels wide: half a pixel off, and they blur.
pub fn corner_marks() -> Vec<(Colour, Vec<Rect>)> {
    let ring = |inset: u16| {
        let size = CORNER - 2 * inset;
        let square =
            |x: i16, y: i16| Rect { x: x + inset as i16, y: y + inset as i16, width: size, height: size };
        CORNERS.iter().map(|&(_, x, y)| square(x, y)).collect()
    };
    (0..CORNER / 4).map(|i| (if i % 2 == 0 { 0x000000 } else { 0xffffff }, ring(2 * i))).collect()
}

const WORDS: [&str; 16] = [
    "the",
    "frame",
    "of",
    "Kubernetes",
    "while",
    "42%",
    "latency",
    "{return;}",
    "is",
    "shown",
    "0x7f",
    "between",
    "/var/log",
    "and",
    "Quick",
    "jitter",
];

/// Line `number` of the text pages: 0 to 200 printable ASCII characters, ragged, as a log or a source file.
pub fn text_line(number: u32) -> String {
    let wanted = match hash(number, 0, 11) % 8 {
        0 => 0,
        length => 25 * length as usize,
    };
    let mut line = format!("{number:4}  ");
    for word in 0.. {
        let next = WORDS[(hash(number, word, 12) % 16) as usize];
        if line.len() + next.len() > wanted {
            break;
        }
        line.push_str(next);
        line.push(' ');
    }
    line
}

fn sprite(index: u32, number: u32) -> Rect {
    let (width, height) = (60 + 20 * index as u16, 120 - 8 * index as u16);
    let x = bounce(number * (2 + index) + 151 * index, WIDTH - width);
    let y = bounce(number * (9 - index) + 83 * index, HEIGHT - height);
    Rect { x: x as i16, y: y as i16, width, height }
}

fn bars(number: u32) -> Vec<Rect> {
    let number = number % NUMBERS;
    let code = number << CHECK_BITS | check(number);
    let lit = (0..CELLS).filter(|i| code >> (CELLS - 1 - i) & 1 == 1);
    lit.map(|i| Rect { x: BARS_X + (i as u16 * CELL) as i16, y: BARS_Y, width: CELL, height: CELL }).collect()
}

/// Never 0, so that a black screen is no frame.
fn check(number: u32) -> u32 {
    let nibbles = (0..NUMBER_BITS / 4).map(|i| number >> (4 * i) & 0xf);
    nibbles.enumerate().fold(0, |sum, (i, nibble)| sum + (i as u32 + 1) * nibble) % 15 + 1
}

fn fill(plane: &mut Luma, rect: Rect, colour: Colour) {
    let [_, red, green, blue] = colour.to_be_bytes();
    let value = luma_of(red, green, blue);
    let (left, top) = (rect.x as usize, rect.y as usize);
    for row in plane.data.chunks_exact_mut(plane.width).skip(top).take(usize::from(rect.height)) {
        row[left..left + usize::from(rect.width)].fill(value);
    }
}

/// A position that walks up to `limit` and back.
fn bounce(way: u32, limit: u16) -> u16 {
    let limit = u32::from(limit);
    let phase = way % (2 * limit);
    (if phase < limit { phase } else { 2 * limit - phase }) as u16
}

fn hash(x: u32, y: u32, salt: u32) -> u32 {
    let mut h = x.wrapping_mul(0x9e37_79b1) ^ y.wrapping_mul(0x85eb_ca77) ^ salt.wrapping_mul(0xc2b2_ae3d);
    h = (h ^ h >> 15).wrapping_mul(0x2c1b_3c6d);
    h = (h ^ h >> 12).wrapping_mul(0x297a_2d39);
    h ^ h >> 15
}

/// Bilinear value noise, 0 to 1, on a lattice of `1 << shift` pixels.
fn smooth_noise(x: u32, y: u32, shift: u32, salt: u32) -> f64 {
    let size = f64::from(1 << shift);
    let (column, row) = (x >> shift, y >> shift);
    let corner = |dx, dy| f64::from(hash(column + dx, row + dy, salt) & 0xffff) / 65535.0;
    let ease = |t: f64| t * t * (3.0 - 2.0 * t);
    let (tx, ty) = (ease(f64::from(x % (1 << shift)) / size), ease(f64::from(y % (1 << shift)) / size));
    let top = corner(0, 0) * (1.0 - tx) + corner(1, 0) * tx;
    let bottom = corner(0, 1) * (1.0 - tx) + corner(1, 1) * tx;
    top * (1.0 - ty) + bottom * ty
}

#[cfg(test)]
#[allow(unused, reason = "a bench without a harness is built with `test` set, yet runs none")]
mod tests {
    use super::*;

    fn flat_texture() -> Luma {
        let (width, height) = (usize::from(TEXTURE_WIDTH), usize::from(TEXTURE_HEIGHT));
        Luma { width, height, data: vec![128; width * height] }
    }

    #[test]
    fn every_number_reads_back_from_its_own_frame() {
        let texture = flat_texture();
        for number in [0, 1, 2, 59, 255, 256, 4095, 40_000, NUMBERS - 1] {
            let plane = expected_luma(&texture, number, 0);
            assert_eq!(read_bars(&bars_strip(&plane)), Some(number));
        }
    }

    #[test]
    fn black_white_and_damaged_bars_are_no_number() {
        let (width, height) = (usize::from(BARS_STRIP.width), usize::from(BARS_STRIP.height));
        let black = Luma { width, height, data: vec![0; width * height] };
        assert_eq!(read_bars(&black), None);
        let mut damaged = bars_strip(&expected_luma(&flat_texture(), 1234, 0));
        for row in damaged.data.chunks_exact_mut(width) {
            row[..16].iter_mut().for_each(|v| *v = 255 - *v);
        }
        assert_eq!(read_bars(&damaged), None);
    }

    #[test]
    fn everything_painted_stays_on_the_screen() {
        for number in (0..NUMBERS).step_by(97) {
            let frame = frame(number, 1);
            assert!((0..=SLACK as i16).contains(&frame.texture_x));
            assert!((0..=SLACK as i16).contains(&frame.texture_y));
            for rect in frame.paint.iter().flat_map(|(_, rects)| rects) {
                assert!(rect.x >= 0 && rect.x as u16 + rect.width <= WIDTH, "{number}: {rect:?}");
                assert!(rect.y >= 0 && rect.y as u16 + rect.height <= HEIGHT, "{number}: {rect:?}");
            }
        }
    }

    #[test]
    fn text_lines_fit_the_screen_and_differ() {
        let lines: Vec<String> = (0..144).map(text_line).collect();
        assert!(lines.iter().all(|l| l.is_ascii() && l.len() * 6 + 12 <= usize::from(WIDTH)));
        let full = lines.iter().filter(|l| l.len() > 90).count();
        assert!(full > 48, "{full} long lines");
        assert!(lines.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn corner_marks_end_with_the_screen() {
        let outer = corner_marks().remove(0).1;
        let right = outer.iter().map(|r| r.x as u16 + r.width).max();
        let bottom = outer.iter().map(|r| r.y as u16 + r.height).max();
        assert_eq!((outer.len(), right, bottom), (4, Some(WIDTH), Some(HEIGHT)));
    }

    #[test]
    fn the_patch_is_painted_over_all_else() {
        let texture = flat_texture();
        let inside = |plane: &Luma| plane.area(PATCH.x as usize, PATCH.y as usize, 64, 64).mean();
        for number in (0..300).step_by(37) {
            assert_eq!(inside(&expected_luma(&texture, number, 0)), 32.0);
            assert_eq!(inside(&expected_luma(&texture, number, 1)), 224.0);
        }
    }
}
