//! WebRTC transport: everything between packetised frames and the one UDP socket.

pub mod build;
pub mod carrier;
pub mod congestion;
pub mod feedback;
pub mod flow;
pub mod framing;
pub mod ledger;
pub mod mux;
pub mod net;
pub mod offer;
pub mod packetize;
pub mod peer;
pub mod port;
pub mod rtcp_tap;
pub mod send;
pub mod streams;
