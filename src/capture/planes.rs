//! PURE. The persistent frame: what was last seen of the screen, in the layouts that the sinks take.

use std::time::Instant;

use super::convert::{self, Nv12Mut};
use crate::frame::{FrameKind, FrameView, PixelFormat, Plane, Rect, Size};

/// When and why a frame goes out.
#[derive(Clone, Copy, Debug)]
pub struct FrameTimes {
    /// When the change became known.
    pub damaged_at: Instant,
    /// When the frame was complete.
    pub captured_at: Instant,
    /// Fresh or repeated.
    pub kind: FrameKind,
}

/// Luma once, chroma interleaved, and chroma apart where a sink takes I420.
///
/// Strides are widths rounded up to 4, as GStreamer lays frames out: one copy takes a plane.
#[derive(Debug)]
pub struct Planes {
    screen: Size,
    size: Size,
    stride: usize,
    luma: Vec<u8>,
    chroma: Vec<u8>,
    split: Option<[Vec<u8>; 2]>,
    serial: u64,
}

impl Planes {
    /// A black frame for a screen of this size.
    pub fn new(screen: Size) -> Self {
        let size = screen.padded_even();
        let stride = usize::from(size.width).next_multiple_of(4);
        let rows = usize::from(size.height);
        Planes {
            screen,
            size,
            stride,
            luma: vec![16; stride * rows],
            chroma: vec![128; stride * rows / 2],
            split: None,
            serial: 0,
        }
    }

    /// A black frame of another size; serial numbers go on.
    pub fn resize(&mut self, screen: Size) {
        let split = self.split.is_some();
        *self = Planes { serial: self.serial, ..Planes::new(screen) };
        self.keep_split(split);
    }

    /// Whether to keep chroma in planes of its own too.
    pub fn keep_split(&mut self, wanted: bool) {
        if !wanted {
            self.split = None;
        } else if self.split.is_none() {
            let bytes = self.split_stride() * usize::from(self.size.height) / 2;
            self.split = Some([vec![128; bytes], vec![128; bytes]]);
            self.split_rect(super::region::whole(self.size));
        }
    }

    /// Takes over a rectangle of BGRx pixels that starts at even `x`, `y` and lies within the screen.
    pub fn update(&mut self, rect: Rect, pixels: &[u8], stride: usize) {
        let (x, y) = (usize::from(rect.x), usize::from(rect.y));
        let (Some(luma), Some(chroma)) =
            (self.luma.get_mut(y * self.stride + x..), self.chroma.get_mut(y / 2 * self.stride + x..))
        else {
            return;
        };
        let mut out = Nv12Mut { luma, luma_stride: self.stride, chroma, chroma_stride: self.stride };
        convert::rectangle(pixels, stride, rect.width.into(), rect.height.into(), &mut out);
        if self.split.is_some() {
            self.split_rect(rect);
        }
    }

    /// Whether a row of BGRx pixels, as wide as the screen, is what the frame holds.
    pub fn row_equals(&self, row: u16, pixels: &[u8], scratch: &mut Vec<u8>) -> bool {
        let width = usize::from(self.screen.width);
        scratch.resize(width, 0);
        convert::luma_row(pixels, scratch);
        self.luma.get(usize::from(row) * self.stride..).is_some_and(|held| held.starts_with(scratch))
    }

    /// Gives the next frame a number.
    pub fn advance(&mut self) {
        self.serial += 1;
    }

    /// The frame in `format`; I420 must be kept (see [`Planes::keep_split`]).
    pub fn view(&self, format: PixelFormat, times: FrameTimes) -> FrameView<'_> {
        let luma = Plane { data: &self.luma, stride: self.stride };
        let none = Plane { data: &[], stride: 0 };
        let planes = match (format, &self.split) {
            (PixelFormat::I420, Some([blue, red])) => {
                let stride = self.split_stride();
                [luma, Plane { data: blue, stride }, Plane { data: red, stride }]
            }
            (PixelFormat::I420, None) => [luma, none, none],
            (PixelFormat::Nv12, _) => [luma, Plane { data: &self.chroma, stride: self.stride }, none],
        };
        let FrameTimes { damaged_at, captured_at, kind } = times;
        FrameView { size: self.size, format, planes, damaged_at, captured_at, serial: self.serial, kind }
    }

    fn split_stride(&self) -> usize {
        usize::from(self.size.width / 2).next_multiple_of(4)
    }

    fn split_rect(&mut self, rect: Rect) {
        let stride = self.split_stride();
        let Some([blue, red]) = &mut self.split else { return };
        let (x, pairs) = (usize::from(rect.x / 2), usize::from(rect.width.div_ceil(2)));
        let rows = usize::from(rect.y / 2)..usize::from(rect.y / 2 + rect.height.div_ceil(2));
        for row in rows {
            let from = row * self.stride + 2 * x;
            let to = row * stride + x;
            let (Some(source), Some(blue), Some(red)) = (
                self.chroma.get(from..from + 2 * pairs),
                blue.get_mut(to..to + pairs),
                red.get_mut(to..to + pairs),
            ) else {
                return;
            };
            for ((&[cb, cr], blue), red) in source.as_chunks::<2>().0.iter().zip(blue).zip(red) {
                *blue = cb;
                *red = cr;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times() -> FrameTimes {
        let now = Instant::now();
        FrameTimes { damaged_at: now, captured_at: now, kind: FrameKind::Fresh }
    }

    const RED: [u8; 4] = [0, 0, 255, 0];

    #[test]
    fn odd_screens_are_padded_by_repeating_the_edge() {
        let mut planes = Planes::new(Size { width: 5, height: 3 });
        planes.keep_split(true);
        planes.update(Rect { x: 4, y: 2, width: 1, height: 1 }, &RED, 4);
        let view = planes.view(PixelFormat::I420, times());
        assert_eq!(view.size, Size { width: 6, height: 4 });
        let [luma, blue, red] = view.planes;
        for (x, y) in [(4, 2), (5, 2), (4, 3), (5, 3)] {
            assert_eq!(luma.data[y * luma.stride + x], 82);
        }
        assert_eq!(luma.data[2 * luma.stride + 3], 16, "the neighbour is untouched");
        assert_eq!(blue.data[blue.stride + 2], 90);
        assert_eq!(red.data[red.stride + 2], 240);
    }

    #[test]
    fn both_layouts_hold_the_same_picture() {
        let mut planes = Planes::new(Size { width: 10, height: 6 });
        planes.update(Rect { x: 2, y: 2, width: 4, height: 2 }, &RED.repeat(8), 16);
        planes.keep_split(true);
        planes.update(Rect { x: 6, y: 4, width: 2, height: 2 }, &RED.repeat(4), 8);
        let nv12 = planes.view(PixelFormat::Nv12, times()).planes;
        let i420 = planes.view(PixelFormat::I420, times()).planes;
        assert_eq!(nv12[0].data, i420[0].data);
        for row in 0..3 {
            for column in 0..5 {
                let both = &nv12[1].data[row * nv12[1].stride + 2 * column..][..2];
                let apart = [1, 2].map(|plane: usize| i420[plane].data[row * i420[plane].stride + column]);
                assert_eq!(both, apart);
            }
        }
    }

    #[test]
    fn strides_are_those_of_gstreamer() {
        let planes = Planes::new(Size { width: 1366, height: 768 });
        assert_eq!(planes.view(PixelFormat::Nv12, times()).planes[0].stride, 1368);
        assert_eq!(planes.split_stride(), 684);
    }

    #[test]
    fn rows_are_compared_with_what_is_held() {
        let mut planes = Planes::new(Size { width: 3, height: 2 });
        let mut scratch = Vec::new();
        assert!(planes.row_equals(1, &[0; 12], &mut scratch));
        assert!(!planes.row_equals(1, &RED.repeat(3), &mut scratch));
        planes.update(Rect { x: 0, y: 0, width: 3, height: 2 }, &RED.repeat(6), 12);
        assert!(planes.row_equals(1, &RED.repeat(3), &mut scratch));
        assert!(!planes.row_equals(7, &RED.repeat(3), &mut scratch));
    }
}
