//! PURE. Frames in memory: where planes lie in an encoder's buffer, and how a frame gets there.

use std::time::Instant;

use crate::frame::{FrameKind, FrameView, PixelFormat, Plane, Size};

/// Where the planes of a picture lie in one buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Size of the picture; even.
    pub size: Size,
    /// Order of samples.
    pub format: PixelFormat,
    /// Bytes from row to row, by plane.
    pub strides: [usize; 3],
    /// First byte, by plane.
    pub offsets: [usize; 3],
    /// Bytes in all.
    pub bytes: usize,
}

impl Layout {
    /// GStreamer's default layout: rows padded to four bytes, planes one after another.
    pub fn new(size: Size, format: PixelFormat) -> Self {
        let (width, height) = (usize::from(size.width), usize::from(size.height));
        let luma = width.next_multiple_of(4);
        let chroma = match format {
            PixelFormat::Nv12 => luma,
            PixelFormat::I420 => (luma / 2).next_multiple_of(4),
        };
        let (chroma_rows, first, second) = (height / 2, luma * height, luma * height + chroma * (height / 2));
        match format {
            PixelFormat::Nv12 => Self {
                size,
                format,
                strides: [luma, chroma, 0],
                offsets: [0, first, second],
                bytes: first + chroma * chroma_rows,
            },
            PixelFormat::I420 => Self {
                size,
                format,
                strides: [luma, chroma, chroma],
                offsets: [0, first, second],
                bytes: first + 2 * chroma * chroma_rows,
            },
        }
    }

    /// The planes of a picture that lies so in `data`.
    pub fn planes<'a>(&self, data: &'a [u8]) -> [Plane<'a>; 3] {
        std::array::from_fn(|i| {
            let from = self.offsets[i].min(data.len());
            let to = self.offsets.get(i + 1).map_or(self.bytes, |next| *next).clamp(from, data.len());
            Plane { data: &data[from..to], stride: self.strides[i] }
        })
    }

    /// Copies `frame` into `target`, re-ordering its chroma where the formats differ.
    ///
    /// Returns false, with `target` in any state, if the sizes differ or a buffer is too short.
    pub fn fill(&self, target: &mut [u8], frame: &FrameView<'_>) -> bool {
        let (width, height) = (usize::from(self.size.width), usize::from(self.size.height));
        if frame.size != self.size || target.len() < self.bytes {
            return false;
        }
        let (luma, chroma) = target[..self.bytes].split_at_mut(self.offsets[1]);
        let [y, a, b] = &frame.planes;
        let luma_done = copy_rows(luma, self.strides[0], y, width, height);
        let rows = height / 2;
        let (first, second) = chroma.split_at_mut(self.offsets[2] - self.offsets[1]);
        luma_done
            && match (frame.format, self.format) {
                (PixelFormat::Nv12, PixelFormat::Nv12) => copy_rows(first, self.strides[1], a, width, rows),
                (PixelFormat::I420, PixelFormat::I420) => {
                    copy_rows(first, self.strides[1], a, width / 2, rows)
                        && copy_rows(second, self.strides[2], b, width / 2, rows)
                }
                (PixelFormat::Nv12, PixelFormat::I420) => {
                    split_rows(first, second, self.strides[1], a, width / 2, rows)
                }
                (PixelFormat::I420, PixelFormat::Nv12) => {
                    merge_rows(first, self.strides[1], a, b, width / 2, rows)
                }
            }
    }
}

fn row<'a>(plane: &Plane<'a>, index: usize, bytes: usize) -> Option<&'a [u8]> {
    let from = index.checked_mul(plane.stride)?;
    plane.data.get(from..from.checked_add(bytes)?)
}

fn copy_rows(target: &mut [u8], stride: usize, source: &Plane<'_>, bytes: usize, rows: usize) -> bool {
    target.chunks_mut(stride).take(rows).enumerate().all(|(index, out)| {
        let (Some(out), Some(row)) = (out.get_mut(..bytes), row(source, index, bytes)) else { return false };
        out.copy_from_slice(row);
        true
    })
}

fn split_rows(u: &mut [u8], v: &mut [u8], stride: usize, uv: &Plane<'_>, pairs: usize, rows: usize) -> bool {
    u.chunks_mut(stride).zip(v.chunks_mut(stride)).take(rows).enumerate().all(|(index, (u, v))| {
        let Some(row) = row(uv, index, 2 * pairs) else { return false };
        for ((pair, u), v) in row.chunks_exact(2).zip(u).zip(v) {
            (*u, *v) = (pair[0], pair[1]);
        }
        true
    })
}

fn merge_rows(uv: &mut [u8], stride: usize, u: &Plane<'_>, v: &Plane<'_>, pairs: usize, rows: usize) -> bool {
    uv.chunks_mut(stride).take(rows).enumerate().all(|(index, out)| {
        let (Some(u), Some(v)) = (row(u, index, pairs), row(v, index, pairs)) else { return false };
        for ((pair, u), v) in out.chunks_exact_mut(2).zip(u).zip(v) {
            (pair[0], pair[1]) = (*u, *v);
        }
        true
    })
}

/// A frame of our own: what is kept while no encoder can take it.
#[derive(Clone, Debug)]
pub struct OwnedFrame {
    layout: Layout,
    data: Vec<u8>,
    damaged_at: Instant,
    captured_at: Instant,
    serial: u64,
    kind: FrameKind,
}

impl OwnedFrame {
    /// A copy of `frame`, in the memory of `old` where that is large enough. None if its planes are too short.
    pub fn copy(frame: &FrameView<'_>, old: Option<Self>) -> Option<Self> {
        let layout = Layout::new(frame.size, frame.format);
        let mut data = old.map(|old| old.data).unwrap_or_default();
        data.resize(layout.bytes, 0);
        layout.fill(&mut data, frame).then_some(Self {
            layout,
            data,
            damaged_at: frame.damaged_at,
            captured_at: frame.captured_at,
            serial: frame.serial,
            kind: frame.kind,
        })
    }

    /// To be pushed.
    pub fn view(&self) -> FrameView<'_> {
        FrameView {
            size: self.layout.size,
            format: self.layout.format,
            planes: self.layout.planes(&self.data),
            damaged_at: self.damaged_at,
            captured_at: self.captured_at,
            serial: self.serial,
            kind: self.kind,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { width: 6, height: 4 };

    fn view<'a>(format: PixelFormat, planes: [Plane<'a>; 3]) -> FrameView<'a> {
        let now = Instant::now();
        FrameView {
            size: SIZE,
            format,
            planes,
            damaged_at: now,
            captured_at: now,
            serial: 1,
            kind: FrameKind::Fresh,
        }
    }

    /// A picture whose every sample differs, as packed planes without padding.
    fn samples() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        ((0..24).collect(), (100..106).collect(), (200..206).collect())
    }

    fn visible(layout: &Layout, data: &[u8]) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        let [y, a, b] = layout.planes(data);
        let rows = |p: &Plane<'_>, bytes: usize, rows: usize| {
            (0..rows).flat_map(|r| row(p, r, bytes).unwrap().to_vec()).collect::<Vec<u8>>()
        };
        match layout.format {
            PixelFormat::I420 => (rows(&y, 6, 4), rows(&a, 3, 2), rows(&b, 3, 2)),
            PixelFormat::Nv12 => {
                let uv = rows(&a, 6, 2);
                let every = |from: usize| uv.iter().skip(from).step_by(2).copied().collect();
                (rows(&y, 6, 4), every(0), every(1))
            }
        }
    }

    #[test]
    fn every_pair_of_formats_keeps_every_sample() {
        let (y, u, v) = samples();
        let uv: Vec<u8> = u.iter().zip(&v).flat_map(|(u, v)| [*u, *v]).collect();
        let plane = |data, stride| Plane { data, stride };
        let i420 = view(PixelFormat::I420, [plane(&y, 6), plane(&u, 3), plane(&v, 3)]);
        let nv12 = view(PixelFormat::Nv12, [plane(&y, 6), plane(&uv, 6), plane(&[], 0)]);
        for from in [i420, nv12] {
            for to in [PixelFormat::I420, PixelFormat::Nv12] {
                let layout = Layout::new(SIZE, to);
                let mut target = vec![0; layout.bytes];
                assert!(layout.fill(&mut target, &from));
                assert_eq!(visible(&layout, &target), samples(), "{:?} to {to:?}", from.format);
            }
            let kept = OwnedFrame::copy(&from, None).unwrap();
            let again = OwnedFrame::copy(&kept.view(), Some(kept.clone())).unwrap();
            assert_eq!(visible(&again.layout, &again.data), samples());
        }
    }

    #[test]
    fn a_frame_of_another_size_or_with_short_planes_is_refused() {
        let (y, u, v) = samples();
        let plane = |data, stride| Plane { data, stride };
        let short = view(PixelFormat::I420, [plane(&y, 6), plane(&u, 3), plane(&v[..5], 3)]);
        let layout = Layout::new(SIZE, PixelFormat::I420);
        assert!(!layout.fill(&mut vec![0; layout.bytes], &short));
        let other = Layout::new(Size { width: 8, height: 4 }, PixelFormat::I420);
        assert!(!other.fill(&mut vec![0; other.bytes], &short));
        assert!(OwnedFrame::copy(&short, None).is_none());
    }
}
