//! WebRTC transport: everything between packetised frames and the one UDP socket.

pub mod build;
pub mod carrier;
mod checks;
pub mod congestion;
pub mod feedback;
pub mod flow;
pub mod framing;
pub mod ledger;
pub mod mux;
pub mod net;
pub mod offer;
pub mod packetize;
mod paths;
pub mod peer;
pub mod port;
pub mod repair;
mod route;
pub mod rtcp_guard;
pub mod send;
mod slot;
mod srtp;
mod srtp_keys;
pub mod streams;
pub mod video;
