//! PURE. The TURN server inside the gateway (RFC 8656): it relays to this gateway, and to nobody else.
//!
//! There are no relay sockets. An allocation is an entry in a table with a relayed address that exists nowhere
//! ([`relayed`]); the only peers are the candidates that this gateway has offered, so what a client sends to one of
//! them is handed to the ICE demultiplexer as if it had come from that address, and back. Nothing else in the
//! cluster can be reached through it, by construction.
//!
//! [`Server::handle`] takes what a client sent, on any transport, and gives at most one thing to do.

mod allocation;
pub mod credential;
mod message;
pub mod relayed;
mod server;
mod strangers;

pub use self::server::{CHANNEL_HEADER, Client, Moment, Output, Server, Transport, channel_data};
