//! Capture: the screen as frames, on a thread of its own.
//!
//! ```text
//! session ──CaptureHandle──▶ engine ──▶ FrameSinks      engine    wishes, frames, sleep (shared by the sources)
//!            ▲ events          ▲                        cadence   PURE: when to grab, repeat, sleep; pace: is there a hurry?
//!            └─────────────────┤                        planes    PURE: the persistent frame; convert: the SIMD
//!            x11 │ test_source ┘                        watch     PURE: is damage to be trusted?
//! ```
//!
//! The X source is driven by XDamage and fetches only what was damaged; a still screen costs two small samples
//! and one repeat a second, and nothing at all when nobody looks. The thread waits for an X server for ever.

pub mod cadence;
mod convert;
mod engine;
mod handle;
mod pace;
mod planes;
mod refine;
mod region;
mod test_source;
mod watch;
mod x11;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use self::engine::Engine;
use self::handle::Shared;
pub use self::handle::{CaptureHandle, CaptureStats};
pub use self::refine::Encoded;
pub use self::x11::{ScreenError, set_screen};
use crate::display::DisplayName;
use crate::frame::Size;

/// Where frames come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// An X display, which need not exist yet.
    X11 {
        /// Which.
        display: DisplayName,
        /// File with the display's cookie; absent: `$XAUTHORITY`, then `~/.Xauthority`.
        xauthority: Option<PathBuf>,
    },
    /// Colour bars and a frame counter, for machines without X.
    Test {
        /// Of the picture.
        size: Size,
        /// Nothing moves.
        still: bool,
    },
}

/// How to capture.
#[derive(Clone, Debug)]
pub struct CaptureConfig {
    /// Where from.
    pub source: Source,
    /// Frame limit at the start, in frames a second (clamped to 1..=240).
    pub fps: u32,
    /// Poll at the frame limit instead of relying on damage.
    pub force_polling: bool,
    /// Behave as if damage were never reported: shows that missed damage is found.
    pub ignore_damage: bool,
    /// Use only this way to fetch pixels; absent: the best that works.
    pub shm: Option<ShmMode>,
}

impl CaptureConfig {
    /// `source` with 60 frames a second and everything else found out.
    pub fn new(source: Source) -> Self {
        CaptureConfig { source, fps: 60, force_polling: false, ignore_damage: false, shm: None }
    }
}

/// How pixels come from the X server; the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShmMode {
    /// MIT-SHM 1.2: a sealed memfd handed over the socket; works across users and IPC namespaces.
    Memfd,
    /// System V shared memory.
    SysV,
    /// Over the socket.
    GetImage,
}

impl ShmMode {
    const ALL: [ShmMode; 3] = [ShmMode::Memfd, ShmMode::SysV, ShmMode::GetImage];

    fn code(self) -> u8 {
        self as u8 + 1
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.code() == code)
    }
}

/// The remote pointer's shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CursorImage {
    /// PNG with transparency.
    pub png: Arc<[u8]>,
    /// Pixels across and down.
    pub size: Size,
    /// Pixels from the left to the hot spot.
    pub hot_x: u16,
    /// Pixels from the top to the hot spot.
    pub hot_y: u16,
}

/// What the session should know. Sent from the capture thread: the receiver must not block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaptureEvent {
    /// There is a screen.
    Up {
        /// Of the screen; frames are padded to even.
        size: Size,
        /// The screen's size can be changed.
        can_resize: bool,
        /// How pixels are fetched; none for the test source.
        shm: Option<ShmMode>,
    },
    /// There is no screen (any more); the capture goes on waiting for one.
    Down {
        /// What is wrong, for people. Sent once for each new reason.
        reason: String,
    },
    /// The screen has another size.
    Resized(Size),
    /// The screen's size cannot be what was asked for; it is as before.
    ResizeRefused {
        /// Why, for people.
        reason: String,
    },
    /// The pointer has this shape; none: it is hidden. Only sent when it differs from the last one.
    Cursor(Option<CursorImage>),
    /// Frames leave in the slots of the display that the capture is locked to, so that how long they wait for its tick
    /// tells where those are; or, of a screen that changes no faster than that, as it changes. In slots at first.
    Slots {
        /// In slots.
        kept: bool,
    },
    /// Screen changes were found that damage had not announced (true: the screen is polled from now on), or
    /// damage is to be trusted again (false).
    MissedDamage {
        /// Whether the screen is polled.
        polling: bool,
    },
}

/// Starts capturing on a thread named `capture`. Inactive and without sinks at first.
///
/// A display that is missing is no error: it is waited for.
///
/// # Errors
/// When the system has no descriptor or thread left.
pub fn spawn(
    config: CaptureConfig,
    events: impl Fn(CaptureEvent) + Send + Sync + 'static,
) -> io::Result<CaptureHandle> {
    let shared = Arc::new(Shared::new()?);
    let engine = Engine::new(Arc::clone(&shared), config.fps, Box::new(events));
    let thread = std::thread::Builder::new().name("capture".into()).spawn(move || match &config.source {
        Source::X11 { display, xauthority } => x11::run(engine, &config, display, xauthority.as_deref()),
        Source::Test { size, still } => test_source::run(engine, *size, *still),
    })?;
    Ok(CaptureHandle::new(shared, thread))
}
