//! Renditions: one encoder per codec in use, chosen from a catalogue of pipelines, supervised, replaced when it fails.
//!
//! ```text
//! gst-pipelines/*/*.toml ─▶ catalog (PURE) ─▶ choose (PURE) ─▶ rendition ─▶ runner ─▶ GStreamer
//!                                                    probe ─────────────────▶ runner
//! ```
//!
//! [`catalog`], [`choose`], [`ranking`], [`budget`], [`watchdog`], [`picture`], [`matrix`] and [`annexb`] are pure; [`runner`] drives one
//! GStreamer pipeline; [`rendition`] keeps one running; [`host`] and [`probe`] ask this machine what it can do.
//! `gstreamer::init` must have succeeded before anything but the pure parts is used.

pub mod annexb;
pub mod budget;
pub mod catalog;
pub mod choose;
pub mod host;
pub mod matrix;
pub mod picture;
mod pipeline;
pub mod probe;
pub mod ranking;
pub mod rendition;
pub mod runner;
mod syntax;
pub mod version;
pub mod watchdog;
