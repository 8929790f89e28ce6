//! libx264 with a rate control of our own, as the GStreamer element `deskgatex264enc`.
//!
//! ```text
//! frame ─▶ activity (PURE: which blocks changed, and how busy they are) ─▶ control (PURE: the quantiser, and which blocks wait)
//!       ─▶ compose (PURE: those that wait as they were coded last) ─▶ library ─▶ unit
//! ```
//!
//! x264's own rate control looks at every frame twice: a copy of half the size is searched for motion, to foresee what
//! the frame will cost. On a desktop, most of which stands still, that takes as long as encoding does. What changed is
//! seen sooner by comparing the frame with the one before, and what it costs is a matter of how busy it is. So x264 is
//! told the quantiser of each frame, and looks ahead at nothing.
//!
//! libx264 is loaded when it is there, never linked: where it is missing, or another build than is known, the element
//! does not exist, and the catalogue's next entry is taken.

mod activity;
mod compose;
mod control;
mod element;
mod experience;
mod library;

pub use element::{missing, register};
