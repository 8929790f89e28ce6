//! Deskgate: Linux desktops in the browser, on one port.
//!
//! Who may import whom (left may import right; `tests/it/tidy.rs` enforces it):
//!
//! ```text
//! main, cli -> serve, demo                           wiring: the only place where edges meet
//! edges: capture, media, transport, http, desktop, probe    never each other
//!     -> display                                     finding and authenticating to an X server
//!     -> turn, wire, session, token, frame, config   pure
//! ```
//!
//! Pure modules know no sockets, clocks, randomness or GStreamer: time and random bytes are arguments.

#[cfg(any(feature = "operator", feature = "probe"))]
pub mod anybody;
#[cfg(feature = "gateway")]
pub mod capture;
#[cfg(feature = "gateway")]
pub mod config;
#[cfg(feature = "operator")]
pub mod crd;
#[cfg(feature = "gateway")]
pub mod demo;
#[cfg(feature = "gateway")]
pub mod desktop;
#[cfg(feature = "gateway")]
pub mod display;
pub mod frame;
#[cfg(feature = "operator")]
#[cfg(test)]
#[path = "../tests/it/golden.rs"]
mod golden;
#[cfg(feature = "gateway")]
pub mod http;
#[cfg(feature = "operator")]
pub mod inject;
#[cfg(feature = "operator")]
pub mod kubectl;
#[cfg(feature = "operator")]
pub mod manifests;
#[cfg(feature = "gateway")]
pub mod media;
#[cfg(feature = "operator")]
pub mod operator;
#[cfg(feature = "probe")]
pub mod probe;
#[cfg(feature = "gateway")]
pub mod serve;
#[cfg(feature = "gateway")]
pub mod session;
#[cfg(any(feature = "gateway", feature = "operator"))]
pub mod token;
#[cfg(feature = "gateway")]
pub mod transport;
pub mod trusted_net;
#[cfg(feature = "gateway")]
pub mod turn;
pub mod wire;
