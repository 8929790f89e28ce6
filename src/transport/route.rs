//! PURE. Where packets really come from and go to, when one end of their path is an address that exists nowhere.

use std::time::Instant;

use bytes::BytesMut;

use super::paths::{Path, Paths};
use super::peer::Transmit;
use super::send::Class;
use super::streams::Source;
use crate::turn::{Client, Server, Transport, relayed};
use crate::wire::signal::MediaPath;

/// Where a packet really goes. What is for a relayed address goes to the client of its allocation, what is for an
/// ICE-TCP client onto its connection: if that still is.
pub(super) fn route(turn: &mut Server, paths: &Paths, transmit: Transmit, now: Instant) -> Option<Transmit> {
    if relayed::ICE_TCP.contains(&transmit.from) {
        let stream = paths.get((transmit.from, transmit.to))?.stream;
        return Some(Transmit { stream, ..transmit });
    }
    if !relayed::is_relayed(transmit.to) {
        return Some(transmit);
    }
    let (client, bytes) = turn.to_client(now, transmit.to, transmit.from, &transmit.contents)?;
    Some(to_client(client, &bytes, transmit.class))
}

/// How packets get to the other end of a path.
#[derive(Clone, Copy)]
pub(super) enum Way {
    /// As they are, on this connection or the UDP socket.
    Straight(Option<u64>),
    /// As ChannelData of this number.
    Channel(Client, u16),
    /// As whatever [`route`] makes of each.
    Other,
}

impl Way {
    /// That of a path, if there is one: what [`route`] would look up for each packet.
    pub fn of(turn: &Server, paths: &Paths, (from, to): Path, now: Instant) -> Option<Self> {
        if relayed::ICE_TCP.contains(&from) {
            return Some(Self::Straight(paths.get((from, to))?.stream));
        }
        if !relayed::is_relayed(to) {
            return Some(Self::Straight(None));
        }
        let (client, number) = turn.way(now, to, from)?;
        Some(number.map_or(Self::Other, |number| Self::Channel(client, number)))
    }
}

/// What kind of path that is.
pub(super) fn kind_of(turn: &Server, (local, remote): Path) -> MediaPath {
    match turn.transport(remote) {
        Some(Transport::Udp) => MediaPath::TurnUdp,
        Some(Transport::Tcp(_)) => MediaPath::TurnTcp,
        Some(Transport::Tls(_)) => MediaPath::Turns,
        None if relayed::ICE_TCP.contains(&local) => MediaPath::IceTcp,
        None => MediaPath::Udp,
    }
}

/// The path that an ICE-TCP connection is.
pub(super) fn ice_path(Source { remote, .. }: Source) -> Path {
    (relayed::ice_tcp(remote), remote)
}

/// The TURN client at the other end of a connection.
pub(super) fn client_of(Source { stream, tls, local, remote, .. }: Source) -> Client {
    let transport = if tls { Transport::Tls(stream) } else { Transport::Tcp(stream) };
    Client { transport, local, remote }
}

/// A packet for a TURN client.
pub(super) fn to_client(client: Client, bytes: &[u8], class: Class) -> Transmit {
    for_client(client, BytesMut::from(bytes), class)
}

/// The same, of bytes that are its own already.
pub(super) fn for_client(client: Client, contents: BytesMut, class: Class) -> Transmit {
    let stream = match client.transport {
        Transport::Udp => None,
        Transport::Tcp(stream) | Transport::Tls(stream) => Some(stream),
    };
    Transmit { from: client.local, to: client.remote, contents, stream, class }
}
