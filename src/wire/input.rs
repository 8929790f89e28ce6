//! PURE. Binary input frames: one frame a message, big-endian, on the control or the motion data channel
//! (or as a binary WebSocket frame).
//!
//! ```text
//! u8 kind | u32 seq | body
//! 1 key        u8 down | u32 keysym | u8 n | n bytes KeyboardEvent.code (ASCII, n <= 32)
//! 2 motion     u16 x | u16 y                                    absolute, screen pixels
//! 3 relative   i32 x | i32 y                                    running totals: a lost frame loses nothing
//! 4 button     u8 button | u8 down | u8 at | u16 x | u16 y      button 1..=9 as in X11; at = 1: move there first
//! 5 wheel      i16 dx | i16 dy | u8 at | u16 x | u16 y          1/120 notch; positive is right, down
//! 6 text       UTF-8, 1..=4000 bytes                            IME composition, soft keyboards
//! 7 heartbeat  u8 n | n * u32 keysym                            every key held (none: a button is), n <= 64
//! 8 release                                                     let go of everything (focus lost)
//! 9 locks      u8 mask                                          1 Caps Lock, 2 Num Lock, as the viewer has them
//! ```
//!
//! `seq` counts per viewer over both channels and wraps. Older motion than the newest input is dropped, so
//! a late move cannot undo the position that a button press carried.

use thiserror::Error;

/// Most keys that one viewer may hold.
pub const MAX_HELD: usize = 64;
/// Longest text of one message, in bytes.
pub const MAX_TEXT: usize = 4_000;
const MAX_CODE: usize = 32;

/// A parsed frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFrame {
    /// Per-viewer sequence number; wraps.
    pub seq: u32,
    /// What happened.
    pub event: InputEvent,
}

/// A position on the screen, in pixels, not yet clamped to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// From the left.
    pub x: u16,
    /// From the top.
    pub y: u16,
}

/// What a viewer did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputEvent {
    /// A key went down or up.
    Key {
        /// Down or up.
        down: bool,
        /// X11 keysym that the viewer's layout produced; 0 when it produced none.
        keysym: u32,
        /// The physical key (`KeyW`), or empty.
        code: String,
    },
    /// The pointer is at.
    Motion(Point),
    /// Running totals of relative motion (pointer lock).
    Relative {
        /// To the right.
        x: i32,
        /// Down.
        y: i32,
    },
    /// A button went down or up.
    Button {
        /// 1 left, 2 middle, 3 right, 8 back, 9 forward.
        button: u8,
        /// Down or up.
        down: bool,
        /// Where; absent while the pointer is locked.
        at: Option<Point>,
    },
    /// The wheel turned.
    Wheel {
        /// To the right, 1/120 notch.
        dx: i16,
        /// Down, 1/120 notch.
        dy: i16,
        /// Where; absent while the pointer is locked.
        at: Option<Point>,
    },
    /// Text without keys.
    Text(String),
    /// Every keysym that is held.
    Heartbeat(Vec<u32>),
    /// Let go of everything.
    Release,
    /// The viewer's lock keys.
    Locks {
        /// Caps Lock is on.
        caps: bool,
        /// Num Lock is on.
        num: bool,
    },
}

/// Why a frame was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InputError {
    /// Fewer bytes than the kind needs.
    #[error("the input frame ends early")]
    Truncated,
    /// More bytes than the kind needs.
    #[error("the input frame has trailing bytes")]
    Trailing,
    /// Not a kind of version 1. Ignored, so that newer pages work with older gateways.
    #[error("unknown input kind {0}")]
    UnknownKind(u8),
    /// A value out of its range.
    #[error("the input frame's {0} is out of range")]
    Range(&'static str),
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], InputError> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(InputError::Truncated)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], InputError> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(InputError::Truncated)?;
        self.0 = tail;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, InputError> {
        Ok(self.array::<1>()?[0])
    }

    fn flag(&mut self, name: &'static str) -> Result<bool, InputError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(InputError::Range(name)),
        }
    }

    fn u16(&mut self) -> Result<u16, InputError> {
        self.array().map(u16::from_be_bytes)
    }

    fn i16(&mut self) -> Result<i16, InputError> {
        self.array().map(i16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, InputError> {
        self.array().map(u32::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32, InputError> {
        self.array().map(i32::from_be_bytes)
    }

    fn point(&mut self) -> Result<Point, InputError> {
        Ok(Point { x: self.u16()?, y: self.u16()? })
    }

    fn at(&mut self) -> Result<Option<Point>, InputError> {
        let present = self.flag("at")?;
        let point = self.point()?;
        Ok(present.then_some(point))
    }

    fn text(&mut self, n: usize, name: &'static str) -> Result<String, InputError> {
        let bytes = self.take(n)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| InputError::Range(name))
    }
}

impl InputFrame {
    /// Parses one frame.
    ///
    /// # Errors
    /// [`InputError`] for anything but exactly one well-formed frame of a known kind.
    pub fn parse(bytes: &[u8]) -> Result<Self, InputError> {
        let mut r = Reader(bytes);
        let kind = r.u8()?;
        let seq = r.u32()?;
        let event = parse_event(kind, &mut r)?;
        if !r.0.is_empty() {
            return Err(InputError::Trailing);
        }
        Ok(Self { seq, event })
    }

    /// The frame as bytes. The page writes frames; this is for tests, fixtures and the probe.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.event.kind()];
        out.extend(self.seq.to_be_bytes());
        self.event.encode_body(&mut out);
        out
    }
}

fn parse_event(kind: u8, r: &mut Reader<'_>) -> Result<InputEvent, InputError> {
    Ok(match kind {
        1 => {
            let down = r.flag("down")?;
            let keysym = r.u32()?;
            let n = usize::from(r.u8()?);
            if n > MAX_CODE {
                return Err(InputError::Range("code"));
            }
            let code = r.text(n, "code")?;
            if !code.bytes().all(|b| b.is_ascii_alphanumeric()) {
                return Err(InputError::Range("code"));
            }
            InputEvent::Key { down, keysym, code }
        }
        2 => InputEvent::Motion(r.point()?),
        3 => InputEvent::Relative { x: r.i32()?, y: r.i32()? },
        4 => {
            let button = r.u8()?;
            if !(1..=9).contains(&button) {
                return Err(InputError::Range("button"));
            }
            InputEvent::Button { button, down: r.flag("down")?, at: r.at()? }
        }
        5 => InputEvent::Wheel { dx: r.i16()?, dy: r.i16()?, at: r.at()? },
        6 => {
            let n = r.0.len();
            if n == 0 || n > MAX_TEXT {
                return Err(InputError::Range("text"));
            }
            InputEvent::Text(r.text(n, "text")?)
        }
        7 => {
            let n = usize::from(r.u8()?);
            if n > MAX_HELD {
                return Err(InputError::Range("heartbeat"));
            }
            InputEvent::Heartbeat((0..n).map(|_| r.u32()).collect::<Result<_, _>>()?)
        }
        8 => InputEvent::Release,
        9 => {
            let mask = r.u8()?;
            if mask > 3 {
                return Err(InputError::Range("locks"));
            }
            InputEvent::Locks { caps: mask & 1 != 0, num: mask & 2 != 0 }
        }
        other => return Err(InputError::UnknownKind(other)),
    })
}

impl InputEvent {
    fn kind(&self) -> u8 {
        match self {
            Self::Key { .. } => 1,
            Self::Motion(_) => 2,
            Self::Relative { .. } => 3,
            Self::Button { .. } => 4,
            Self::Wheel { .. } => 5,
            Self::Text(_) => 6,
            Self::Heartbeat(_) => 7,
            Self::Release => 8,
            Self::Locks { .. } => 9,
        }
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::Key { down, keysym, code } => {
                out.push(u8::from(*down));
                out.extend(keysym.to_be_bytes());
                out.push(code.len().min(MAX_CODE) as u8);
                out.extend(code.bytes().take(MAX_CODE));
            }
            Self::Motion(p) => encode_point(*p, out),
            Self::Relative { x, y } => {
                out.extend(x.to_be_bytes());
                out.extend(y.to_be_bytes());
            }
            Self::Button { button, down, at } => {
                out.extend([*button, u8::from(*down)]);
                encode_at(*at, out);
            }
            Self::Wheel { dx, dy, at } => {
                out.extend(dx.to_be_bytes());
                out.extend(dy.to_be_bytes());
                encode_at(*at, out);
            }
            Self::Text(text) => out.extend(text.as_bytes()),
            Self::Heartbeat(held) => {
                out.push(held.len().min(MAX_HELD) as u8);
                held.iter().take(MAX_HELD).for_each(|k| out.extend(k.to_be_bytes()));
            }
            Self::Release => {}
            Self::Locks { caps, num } => out.push(u8::from(*caps) | u8::from(*num) << 1),
        }
    }
}

fn encode_point(p: Point, out: &mut Vec<u8>) {
    out.extend(p.x.to_be_bytes());
    out.extend(p.y.to_be_bytes());
}

fn encode_at(at: Option<Point>, out: &mut Vec<u8>) {
    out.push(u8::from(at.is_some()));
    encode_point(at.unwrap_or(Point { x: 0, y: 0 }), out);
}
