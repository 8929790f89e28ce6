//! PURE. Vocabulary that capture, media and session share: sizes, rectangles and views of a frame.

use std::time::Instant;

use serde::{Deserialize, Serialize};

/// Width and height in pixels; both at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Size {
    /// Pixels across.
    pub width: u16,
    /// Pixels down.
    pub height: u16,
}

impl Size {
    /// The size that 4:2:0 encoders take: odd edges padded by one pixel.
    pub fn padded_even(self) -> Size {
        Size {
            width: self.width.saturating_add(self.width & 1),
            height: self.height.saturating_add(self.height & 1),
        }
    }
}

/// What browsers take a CSS inch for, and programs a screen that says nothing else: dots per inch.
pub const STANDARD_DPI: u16 = 96;

/// A screen as a viewer's window wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScreenMode {
    /// Its size.
    pub size: Size,
    /// Dots per inch, from which programs take the size of their letters.
    pub dpi: u16,
}

/// A rectangle of the X screen, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rect {
    /// Left edge.
    pub x: u16,
    /// Top edge.
    pub y: u16,
    /// Pixels across.
    pub width: u16,
    /// Pixels down.
    pub height: u16,
}

/// Layout of a frame in memory; 8 bits a sample, 4:2:0, BT.601 limited range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PixelFormat {
    /// One luma plane, one plane of interleaved Cb Cr.
    Nv12,
    /// Three planes: luma, Cb, Cr.
    I420,
}

/// One plane of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Plane<'a> {
    /// Rows, one after another, each `stride` bytes.
    pub data: &'a [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
}

/// Why a frame was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// The screen changed.
    Fresh,
    /// The screen did not change: sharpening a still picture, or answering a key-frame request.
    Repeat,
}

/// A finished frame, borrowed from the capture's persistent buffer for the time of one push.
#[derive(Clone, Copy, Debug)]
pub struct FrameView<'a> {
    /// Size of the planes; always even.
    pub size: Size,
    /// Layout of `planes`.
    pub format: PixelFormat,
    /// Two planes for NV12, three for I420 (the rest empty).
    pub planes: [Plane<'a>; 3],
    /// When the change became known (XDamage event), for latency accounting.
    pub damaged_at: Instant,
    /// When the grab and conversion had ended.
    pub captured_at: Instant,
    /// Counts from 1; never repeats within a capture's life.
    pub serial: u64,
    /// Fresh or repeated.
    pub kind: FrameKind,
}

/// Where capture hands its frames. Called on the capture thread: must not block.
pub trait FrameSink: Send {
    /// The layout this sink takes.
    fn format(&self) -> PixelFormat;
    /// Takes a copy of `frame`; an earlier one that still waits for the encoder is replaced.
    fn push(&mut self, frame: &FrameView<'_>);
}

/// A video codec that the gateway can send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Codec {
    /// H.264 constrained baseline, packetization mode 1 (RFC 6184).
    H264,
    /// VP8 (RFC 7741).
    #[serde(rename = "VP8")]
    Vp8,
}

impl Codec {
    /// The encoding name of `a=rtpmap` (RFC 8866).
    pub fn name(self) -> &'static str {
        match self {
            Self::H264 => "H264",
            Self::Vp8 => "VP8",
        }
    }
}
