//! PURE. Every message that crosses between the gateway and `web/`, or the operator.
//!
//! [`signal`] holds the JSON messages of the WebSocket subprotocol `deskgate.v1`; [`input`] the binary
//! frames of keyboard and pointer; [`media`] those of video where WebRTC cannot reach; [`api`] what programs ask over
//! HTTP. Both sides are held together by the fixtures in `tests/golden/wire/`,
//! which the Rust tests write and the web tests read. Unknown message types are ignored by both sides.

pub mod api;
pub mod input;
pub mod media;
pub mod signal;

/// WebSocket subprotocol name; also the version of everything in this module.
pub const SUBPROTOCOL: &str = "deskgate.v1";
/// Largest JSON message a peer may send, in bytes. An SDP offer of a browser is below 16 KiB.
pub const MAX_JSON_BYTES: usize = 64 * 1024;
/// Largest binary input frame, in bytes; a text message of the longest composition fits.
pub const MAX_INPUT_BYTES: usize = 4 * 1024;
/// Data channel ids, negotiated out of band (RFC 8832 is not used): ordered and reliable.
pub const CONTROL_CHANNEL: u16 = 0;
/// Unordered, never retransmitted: pointer motion only.
pub const MOTION_CHANNEL: u16 = 1;
/// How often a viewer with held keys must repeat them, in milliseconds.
pub const HEARTBEAT_MS: u64 = 200;
/// Held keys are released when their heartbeat stops for this long, in milliseconds.
pub const HELD_TIMEOUT_MS: u64 = 2_000;
