//! Deskgate: Linux desktops in the browser, on one port.
//!
//! Who may import whom (left may import right; `tests/tidy` enforces it):
//!
//! ```text
//! main -> serve, demo                      wiring; the only place where edges meet
//! edges: capture, media, transport, http, desktop   never each other
//!     -> pure: wire, session, frame, config
//! ```
//!
//! Pure modules know no sockets, clocks, randomness or GStreamer: time and random bytes are arguments.

#[cfg(feature = "gateway")]
pub mod config;
pub mod frame;
#[cfg(feature = "gateway")]
pub mod http;
#[cfg(feature = "gateway")]
pub mod session;
#[cfg(feature = "gateway")]
pub mod transport;
pub mod wire;
