//! Renditions: one encoder per codec in use, chosen from a catalogue of pipelines, supervised, replaced when it fails.
//!
//! ```text
//! gst-pipelines/*/*.toml ─▶ catalog (PURE) ─▶ choose (PURE) ─▶ rendition ─▶ runner ─▶ GStreamer
//!                                                    probe ─────────────────▶ runner
//! ```
//!
//! [`catalog`], [`choose`], [`ranking`], [`budget`], [`watchdog`], [`picture`], [`matrix`] and [`annexb`] are pure; [`runner`] drives one
//! GStreamer pipeline; [`rendition`] keeps one running; [`host`] and [`probe`] ask this machine what it can do.
//! [`init`] must have succeeded before anything but the pure parts is used.

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
pub mod x264;

/// Initialises GStreamer and gives it the element of ours. May be called again.
///
/// # Errors
/// GStreamer's, if it cannot be initialised. That the element cannot be had is none: other encoders are taken then.
pub fn init() -> Result<(), gstreamer::glib::Error> {
    static ONCE: std::sync::Once = std::sync::Once::new();
    gstreamer::init()?;
    ONCE.call_once(|| {
        if let Err(reason) = x264::register() {
            tracing::debug!(%reason, "no x264 with a rate control of our own");
        }
    });
    Ok(())
}
