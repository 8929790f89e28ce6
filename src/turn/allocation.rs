//! PURE. One allocation: its permissions and channels, and when they end (RFC 8656 §9, §12).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rtc::stun::message::TransactionId;

use super::relayed::Family;

/// RFC 8656 §3.2: used when nothing is asked for, and the least that is given.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(600);
/// RFC 8656 §7.2: the most that is given.
pub const MAX_LIFETIME: Duration = Duration::from_secs(3_600);
/// RFC 8656 §9.
const PERMISSION: Duration = Duration::from_secs(300);
/// RFC 8656 §12.
const CHANNEL: Duration = Duration::from_secs(600);
/// Peers of one allocation; this gateway has a handful of addresses.
const MAX_PEERS: usize = 64;

/// Why a channel was not bound (RFC 8656 §12.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindError {
    /// The number is another peer's, or the peer has another number: 400.
    Taken,
    /// There are too many: 508.
    Full,
}

struct Channel {
    peer: SocketAddr,
    until: Instant,
}

/// See the module.
pub struct Allocation {
    /// Who made it; only that user name may change it.
    pub username: String,
    /// Whose quota it counts against.
    pub viewer: u32,
    /// Where peers reach the client.
    pub relayed: SocketAddr,
    /// When it ends unless it is refreshed.
    pub until: Instant,
    /// The Allocate that made it, and what was answered: the same again is a retransmission (RFC 8656 §7.2).
    pub made_by: (TransactionId, Vec<u8>),
    permissions: BTreeMap<IpAddr, Instant>,
    channels: BTreeMap<u16, Channel>,
    numbers: BTreeMap<SocketAddr, u16>,
}

/// The lifetime that a request gets.
pub fn granted(asked: Option<Duration>) -> Duration {
    asked.unwrap_or(DEFAULT_LIFETIME).clamp(DEFAULT_LIFETIME, MAX_LIFETIME)
}

impl Allocation {
    /// One without permissions.
    pub fn new(
        username: String,
        viewer: u32,
        relayed: SocketAddr,
        until: Instant,
        made_by: (TransactionId, Vec<u8>),
    ) -> Self {
        Self {
            username,
            viewer,
            relayed,
            until,
            made_by,
            permissions: BTreeMap::new(),
            channels: BTreeMap::new(),
            numbers: BTreeMap::new(),
        }
    }

    /// Its address family.
    pub fn family(&self) -> Family {
        Family::of(self.relayed.ip())
    }

    /// Lets packets to and from `peer` pass for five minutes; false if there are too many peers.
    pub fn permit(&mut self, peer: IpAddr, now: Instant) -> bool {
        self.permissions.retain(|_, until| *until > now);
        if self.permissions.len() >= MAX_PEERS && !self.permissions.contains_key(&peer) {
            return false;
        }
        self.permissions.insert(peer, now + PERMISSION);
        true
    }

    /// True if packets to and from `peer` pass.
    pub fn permits(&self, peer: IpAddr, now: Instant) -> bool {
        self.permissions.get(&peer).is_some_and(|until| *until > now)
    }

    /// Binds a channel for ten minutes, which permits its peer too.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(&mut self, number: u16, peer: SocketAddr, now: Instant) -> Result<(), BindError> {
        self.forget_channels(now);
        let by_number = self.channels.get(&number).map(|channel| channel.peer);
        let by_peer = self.numbers.get(&peer).copied();
        if by_number.is_some_and(|held| held != peer) || by_peer.is_some_and(|held| held != number) {
            return Err(BindError::Taken);
        }
        if (by_number.is_none() && self.channels.len() >= MAX_PEERS) || !self.permit(peer.ip(), now) {
            return Err(BindError::Full);
        }
        self.channels.insert(number, Channel { peer, until: now + CHANNEL });
        self.numbers.insert(peer, number);
        Ok(())
    }

    fn forget_channels(&mut self, now: Instant) {
        self.channels.retain(|_, channel| channel.until > now);
        let channels = &self.channels;
        self.numbers.retain(|_, number| channels.contains_key(number));
    }

    /// The peer of a bound channel.
    pub fn peer_of(&self, number: u16, now: Instant) -> Option<SocketAddr> {
        self.channels.get(&number).filter(|channel| channel.until > now).map(|channel| channel.peer)
    }

    /// The channel that is bound to a peer.
    pub fn channel_to(&self, peer: SocketAddr, now: Instant) -> Option<u16> {
        self.numbers.get(&peer).copied().filter(|number| self.peer_of(*number, now).is_some())
    }
}
