//! PURE. The server's table and its methods (RFC 8656 §7 to §12).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use rtc::crypto::RTCCrypto;
use rtc::stun::attributes::{
    ATTR_EVEN_PORT, ATTR_NONCE, ATTR_REALM, ATTR_REQUESTED_ADDRESS_FAMILY, ATTR_REQUESTED_TRANSPORT,
    ATTR_RESERVATION_TOKEN,
};
use rtc::stun::error_code::{
    CODE_ADDR_FAMILY_NOT_SUPPORTED, CODE_ALLOC_MISMATCH, CODE_ALLOC_QUOTA_REACHED, CODE_BAD_REQUEST,
    CODE_FORBIDDEN, CODE_INSUFFICIENT_CAPACITY, CODE_PEER_ADDR_FAMILY_MISMATCH, CODE_STALE_NONCE,
    CODE_UNAUTHORIZED, CODE_UNKNOWN_ATTRIBUTE, CODE_UNSUPPORTED_TRANS_PROTO, CODE_WRONG_CREDENTIALS,
    ErrorCode,
};
use rtc::stun::message::{
    BINDING_REQUEST, CLASS_INDICATION, CLASS_REQUEST, METHOD_ALLOCATE, METHOD_CHANNEL_BIND,
    METHOD_CREATE_PERMISSION, METHOD_DATA, METHOD_REFRESH, METHOD_SEND, Message, MessageType, Method, Setter,
    TransactionId,
};
use rtc::stun::textattrs::TextAttribute;
use rtc::stun::uattrs::UnknownAttributes;
use rtc::stun::xoraddr::XorMappedAddress;
use rtc::turn::proto::PROTO_UDP;
use rtc::turn::proto::data::Data;
use rtc::turn::proto::lifetime::Lifetime;
use rtc::turn::proto::peeraddr::PeerAddress;
use rtc::turn::proto::relayaddr::RelayedAddress;

use super::allocation::{Allocation, BindError, granted};
use super::credential::{Freshness, Keys, REALM, User};
use super::message::Request;
use super::relayed::{self, Family};
use super::strangers::Strangers;

/// Allocations of one viewer at a time: IPv4 and IPv6 over UDP, TCP and TLS, and some that a change of network left.
const MAX_PER_VIEWER: usize = 12;
/// Allocations of all.
const MAX_ALLOCATIONS: usize = 4_096;
/// Channel numbers. RFC 8656 §12 ends at 0x4FFF, but clients of RFC 5766, coturn's among them, pick from all of these;
/// nothing else on this port begins like them (RFC 7983 §7).
const CHANNELS: std::ops::RangeInclusive<u16> = 0x4000..=0x7FFF;
/// Bytes before the data of a ChannelData message (RFC 8656 §12.4).
pub const CHANNEL_HEADER: usize = 4;

/// How a client's packets come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// As datagrams.
    Udp,
    /// On the TCP connection of this number.
    Tcp(u64),
    /// On the TCP connection of this number, inside TLS.
    Tls(u64),
}

/// The 5-tuple of a client (RFC 8656 §2), by which its allocation is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    /// How its packets come.
    pub transport: Transport,
    /// Where they come to.
    pub local: SocketAddr,
    /// Where they come from.
    pub remote: SocketAddr,
}

/// What time it is: for lifetimes, and for expiries that others wrote down.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Monotonic.
    pub now: Instant,
    /// Seconds since the Unix epoch.
    pub unix: u64,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Output<'a> {
    /// Send this to the client that was heard.
    Reply(Vec<u8>),
    /// The client sent this to one of the gateway's candidates.
    Relay {
        /// Where it came from, as far as the gateway is concerned.
        relayed: SocketAddr,
        /// The candidate.
        peer: SocketAddr,
        /// The packet.
        data: Cow<'a, [u8]>,
    },
}

#[derive(Default)]
struct Viewer {
    peers: BTreeSet<SocketAddr>,
    allocations: usize,
}

/// A request that was signed by somebody known.
struct Signed<'a> {
    request: &'a Request,
    username: String,
    user: User,
    key: Vec<u8>,
}

/// See the module. Everything that it holds belongs to a viewer that the session knows.
pub struct Server {
    keys: Keys,
    viewers: BTreeMap<u32, Viewer>,
    allocations: HashMap<Client, Allocation>,
    by_relayed: HashMap<SocketAddr, Client>,
    next: u32,
    /// Data indications made so far: their transaction ids, which nobody answers, only have to differ.
    indications: u64,
    strangers: Strangers,
}

impl Server {
    /// A server without viewers.
    pub fn new(keys: Keys, now: Instant) -> Self {
        let strangers = Strangers::new(now);
        Self {
            keys,
            viewers: BTreeMap::new(),
            allocations: HashMap::new(),
            by_relayed: HashMap::new(),
            next: 0,
            indications: 0,
            strangers,
        }
    }

    /// What credentials are made with.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// This viewer may allocate.
    pub fn admit(&mut self, viewer: u32) {
        self.viewers.entry(viewer).or_default();
    }

    /// These are the candidates that a viewer was offered last, and so its only peers.
    pub fn offer(&mut self, viewer: u32, candidates: impl IntoIterator<Item = SocketAddr>) {
        if let Some(known) = self.viewers.get_mut(&viewer) {
            known.peers = candidates.into_iter().map(relayed::canonical).collect();
        }
    }

    /// This viewer is gone, and its allocations with it.
    pub fn dismiss(&mut self, viewer: u32) {
        if self.viewers.remove(&viewer).is_some() {
            let by_relayed = &mut self.by_relayed;
            self.allocations.retain(|_, a| a.viewer != viewer || by_relayed.remove(&a.relayed).is_none());
        }
    }

    /// A stream was closed: its allocation ends (RFC 8656 §7.1: the 5-tuple is gone).
    pub fn closed(&mut self, client: Client) {
        self.remove(client);
    }

    /// True if this 5-tuple has an allocation.
    pub fn has_allocation(&self, client: Client) -> bool {
        self.allocations.contains_key(&client)
    }

    /// Ends what has not been refreshed, to be called about once a second.
    pub fn handle_timeout(&mut self, now: Instant) {
        let over: Vec<Client> =
            self.allocations.iter().filter(|(_, a)| a.until <= now).map(|(client, _)| *client).collect();
        over.into_iter().for_each(|client| self.remove(client));
    }

    fn remove(&mut self, client: Client) {
        let Some(allocation) = self.allocations.remove(&client) else { return };
        self.by_relayed.remove(&allocation.relayed);
        if let Some(viewer) = self.viewers.get_mut(&allocation.viewer) {
            viewer.allocations = viewer.allocations.saturating_sub(1);
        }
    }

    /// Takes one message of a client: STUN (plain Binding and TURN methods) or ChannelData.
    pub fn handle<'a>(&mut self, at: Moment, client: Client, bytes: &'a [u8]) -> Option<Output<'a>> {
        // Sweeps come about once a second; a lifetime is exact.
        if self.allocations.get(&client).is_some_and(|held| held.until <= at.now) {
            self.remove(client);
        }
        if bytes.first()? & 0xC0 == 0x40 {
            return self.channel_data(at, client, bytes);
        }
        let mut request = Request::decode(bytes)?;
        let MessageType { method, class } = request.kind();
        if class == CLASS_INDICATION && method == METHOD_SEND {
            return self.send(at, client, &request);
        }
        if class != CLASS_REQUEST {
            return None;
        }
        if request.kind() == BINDING_REQUEST {
            return self.binding(at, client, &request).map(Output::Reply);
        }
        if ![METHOD_ALLOCATE, METHOD_REFRESH, METHOD_CREATE_PERMISSION, METHOD_CHANNEL_BIND].contains(&method)
        {
            return None;
        }
        let (username, user, key) = match self.authenticate(at, client, &mut request) {
            Ok(signed) => signed,
            Err(challenge) => return challenge.map(Output::Reply),
        };
        let signed = Signed { request: &request, username, user, key };
        self.method(method, at, client, &signed).map(Output::Reply)
    }

    /// RFC 8489 §9.2.4, in its order. An error is the answer, or none.
    fn authenticate(
        &mut self,
        at: Moment,
        client: Client,
        request: &mut Request,
    ) -> Result<(String, User, Vec<u8>), Option<Vec<u8>>> {
        if !request.is_signed() {
            return Err(self.challenge(at, client, request, CODE_UNAUTHORIZED, "credentials, please"));
        }
        let (Some(username), Some(_), Some(nonce)) = (request.username(), request.realm(), request.nonce())
        else {
            return Err(self.stranger(
                at,
                client,
                request,
                CODE_BAD_REQUEST,
                "USERNAME, REALM and NONCE belong together",
            ));
        };
        let (username, nonce) = (username.to_owned(), nonce.to_owned());
        let user = User::parse(&username).filter(|user| self.viewers.contains_key(&user.viewer));
        let key = user.and_then(|_| self.keys.integrity_key(&username).ok());
        let signed =
            key.as_deref().is_some_and(|key| request.is_signed_with(key, self.keys.crypto().crypto()));
        let (Some(user), Some(key), true) = (user, key, signed) else {
            return Err(self.challenge(at, client, request, CODE_UNAUTHORIZED, "unknown credentials"));
        };
        if self.keys.freshness(&nonce, client, at.unix) == Freshness::Stale {
            return Err(self.challenge(at, client, request, CODE_STALE_NONCE, "that nonce is too old"));
        }
        Ok((username, user, key))
    }

    fn challenge(
        &mut self,
        at: Moment,
        client: Client,
        request: &Request,
        code: ErrorCode,
        reason: &str,
    ) -> Option<Vec<u8>> {
        if !self.answers(client, at.now) {
            return None;
        }
        let nonce = TextAttribute::new(ATTR_NONCE, self.keys.nonce(client, at.unix).ok()?);
        request.refuse(code, reason, &[&TextAttribute::new(ATTR_REALM, REALM.to_owned()), &nonce], None)
    }

    fn stranger(
        &mut self,
        at: Moment,
        client: Client,
        request: &Request,
        code: ErrorCode,
        reason: &str,
    ) -> Option<Vec<u8>> {
        self.answers(client, at.now).then(|| request.refuse(code, reason, &[], None)).flatten()
    }

    /// Whether one who has not said who it is, is answered now.
    fn answers(&mut self, client: Client, now: Instant) -> bool {
        let source = client.remote.ip();
        match client.transport {
            Transport::Udp => self.strangers.take(source, now),
            Transport::Tcp(_) | Transport::Tls(_) => self.strangers.take_connected(source, now),
        }
    }

    /// What a client is seen as (RFC 8489 §12).
    fn binding(&mut self, at: Moment, client: Client, request: &Request) -> Option<Vec<u8>> {
        let seen = XorMappedAddress { ip: client.remote.ip(), port: client.remote.port() };
        self.answers(client, at.now).then(|| request.succeed(&[&seen], None)).flatten()
    }

    fn method(&mut self, method: Method, at: Moment, client: Client, signed: &Signed<'_>) -> Option<Vec<u8>> {
        let unknown = signed.request.unknown();
        if !unknown.is_empty() {
            let list = UnknownAttributes(unknown);
            return self.refuse(signed, CODE_UNKNOWN_ATTRIBUTE, "not understood", &[&list]);
        }
        let outcome = match method {
            METHOD_ALLOCATE => self.allocate(at, client, signed),
            METHOD_REFRESH => self.refresh(at, client, signed),
            METHOD_CREATE_PERMISSION => self.create_permission(at, client, signed),
            _ => self.channel_bind(at, client, signed),
        };
        match outcome {
            Ok(answer) => answer,
            Err((code, reason)) => self.refuse(signed, code, reason, &[]),
        }
    }

    fn key<'k>(&'k self, signed: &'k Signed<'_>) -> Option<(&'k [u8], &'k dyn RTCCrypto)> {
        Some((&signed.key, self.keys.crypto().crypto()))
    }

    fn refuse(
        &self,
        signed: &Signed<'_>,
        code: ErrorCode,
        reason: &str,
        with: &[&dyn Setter],
    ) -> Option<Vec<u8>> {
        signed.request.refuse(code, reason, with, self.key(signed))
    }

    fn succeed(&self, signed: &Signed<'_>, with: &[&dyn Setter]) -> Answer {
        Ok(signed.request.succeed(with, self.key(signed)))
    }

    /// RFC 8656 §7.2.
    fn allocate(&mut self, at: Moment, client: Client, signed: &Signed<'_>) -> Answer {
        let Signed { request, user, .. } = signed;
        if let Some(held) = self.allocations.get(&client) {
            if held.made_by.0 == request.transaction() {
                return Ok(Some(held.made_by.1.clone()));
            }
            return Err((CODE_ALLOC_MISMATCH, "this 5-tuple has an allocation"));
        }
        // Checked here alone: an allocation then lives as long as its viewer.
        if user.expires <= at.unix {
            return Ok(self.challenge(
                at,
                client,
                request,
                CODE_UNAUTHORIZED,
                "these credentials have expired",
            ));
        }
        let family = wanted_family(request)?;
        let viewer = self.viewers.get_mut(&user.viewer).ok_or((CODE_UNAUTHORIZED, "nobody known"))?;
        if viewer.allocations >= MAX_PER_VIEWER {
            return Err((CODE_ALLOC_QUOTA_REACHED, "this viewer has too many allocations"));
        }
        if self.allocations.len() >= MAX_ALLOCATIONS {
            return Err((CODE_INSUFFICIENT_CAPACITY, "the table is full"));
        }
        viewer.allocations += 1;
        let even = request.has(ATTR_EVEN_PORT);
        let relayed = self.free_address(family, even);
        let lifetime = granted(request.lifetime());
        let answer = self.succeed(
            signed,
            &[
                &RelayedAddress { ip: relayed.ip(), port: relayed.port() },
                &Lifetime(lifetime),
                &XorMappedAddress { ip: client.remote.ip(), port: client.remote.port() },
            ],
        )?;
        let made_by: (TransactionId, Vec<u8>) = (request.transaction(), answer.clone().unwrap_or_default());
        let allocation =
            Allocation::new(signed.username.clone(), user.viewer, relayed, at.now + lifetime, made_by);
        self.allocations.insert(client, allocation);
        self.by_relayed.insert(relayed, client);
        Ok(answer)
    }

    /// There are far more addresses than allocations, so the search ends.
    fn free_address(&mut self, family: Family, even: bool) -> SocketAddr {
        loop {
            let address = relayed::nth(self.next, family);
            self.next = self.next.wrapping_add(1);
            if !self.by_relayed.contains_key(&address) && (!even || address.port().is_multiple_of(2)) {
                return address;
            }
        }
    }

    fn owned(&mut self, client: Client, signed: &Signed<'_>) -> Result<&mut Allocation, Refusal> {
        let held =
            self.allocations.get_mut(&client).ok_or((CODE_ALLOC_MISMATCH, "there is no allocation"))?;
        if held.username != signed.username {
            return Err((CODE_WRONG_CREDENTIALS, "somebody else made this allocation"));
        }
        Ok(held)
    }

    /// RFC 8656 §8.2.
    fn refresh(&mut self, at: Moment, client: Client, signed: &Signed<'_>) -> Answer {
        let asked = signed.request.lifetime();
        let family = signed.request.byte(ATTR_REQUESTED_ADDRESS_FAMILY);
        if asked == Some(Duration::ZERO) && !self.allocations.contains_key(&client) {
            // Deleting twice is a retransmission.
            return self.succeed(signed, &[&Lifetime(Duration::ZERO)]);
        }
        let held = self.owned(client, signed)?;
        if family.is_some_and(|f| family_of_number(f) != Some(held.family())) {
            return Err((CODE_PEER_ADDR_FAMILY_MISMATCH, "the allocation is of the other family"));
        }
        if asked == Some(Duration::ZERO) {
            self.remove(client);
            return self.succeed(signed, &[&Lifetime(Duration::ZERO)]);
        }
        let lifetime = granted(asked);
        held.until = at.now + lifetime;
        self.succeed(signed, &[&Lifetime(lifetime)])
    }

    /// RFC 8656 §10.2: all of the peers, or none.
    fn create_permission(&mut self, at: Moment, client: Client, signed: &Signed<'_>) -> Answer {
        let peers = signed.request.peers().filter(|peers| !peers.is_empty());
        let peers = peers.ok_or((CODE_BAD_REQUEST, "XOR-PEER-ADDRESS is missing or malformed"))?;
        let viewer = self.owned(client, signed)?.viewer;
        let peers: Vec<SocketAddr> = peers.into_iter().map(relayed::canonical).collect();
        let offered = self.viewers.get(&viewer).map(|v| &v.peers);
        let is_offered = |peer: &SocketAddr| offered.is_some_and(|o| o.iter().any(|c| c.ip() == peer.ip()));
        if !peers.iter().all(is_offered) {
            return Err((CODE_FORBIDDEN, "only this gateway's candidates can be reached"));
        }
        let held = self.owned(client, signed)?;
        if peers.iter().any(|peer| Family::of(peer.ip()) != held.family()) {
            return Err((CODE_PEER_ADDR_FAMILY_MISMATCH, "peer and allocation are of different families"));
        }
        if !peers.iter().all(|peer| held.permit(peer.ip(), at.now)) {
            return Err((CODE_INSUFFICIENT_CAPACITY, "too many permissions"));
        }
        self.succeed(signed, &[])
    }

    /// RFC 8656 §12.2.
    fn channel_bind(&mut self, at: Moment, client: Client, signed: &Signed<'_>) -> Answer {
        let number = signed.request.channel().filter(|number| CHANNELS.contains(number));
        let number = number.ok_or((CODE_BAD_REQUEST, "CHANNEL-NUMBER is missing or out of range"))?;
        let peer = signed.request.peers().and_then(|peers| peers.first().copied());
        let peer =
            relayed::canonical(peer.ok_or((CODE_BAD_REQUEST, "XOR-PEER-ADDRESS is missing or malformed"))?);
        let viewer = self.owned(client, signed)?.viewer;
        if !self.viewers.get(&viewer).is_some_and(|v| v.peers.contains(&peer)) {
            return Err((CODE_FORBIDDEN, "only this gateway's candidates can be reached"));
        }
        let held = self.owned(client, signed)?;
        if Family::of(peer.ip()) != held.family() {
            return Err((CODE_PEER_ADDR_FAMILY_MISMATCH, "peer and allocation are of different families"));
        }
        match held.bind(number, peer, at.now) {
            Ok(()) => self.succeed(signed, &[]),
            Err(BindError::Taken) => Err((CODE_BAD_REQUEST, "channel or peer is bound otherwise")),
            Err(BindError::Full) => Err((CODE_INSUFFICIENT_CAPACITY, "too many channels")),
        }
    }

    /// RFC 8656 §11.2: what is not permitted is dropped without a word.
    fn send(&mut self, at: Moment, client: Client, request: &Request) -> Option<Output<'static>> {
        let held = self.allocations.get(&client)?;
        let peer = relayed::canonical(*request.peers()?.first()?);
        let offered = self.viewers.get(&held.viewer)?.peers.contains(&peer);
        let data = request.data()?;
        (offered && held.permits(peer.ip(), at.now)).then(|| Output::Relay {
            relayed: held.relayed,
            peer,
            data: Cow::Owned(data.to_vec()),
        })
    }

    /// RFC 8656 §12.6.
    fn channel_data<'a>(&self, at: Moment, client: Client, bytes: &'a [u8]) -> Option<Output<'a>> {
        let (header, rest) = bytes.split_first_chunk::<CHANNEL_HEADER>()?;
        let number = u16::from_be_bytes([header[0], header[1]]);
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let held = self.allocations.get(&client)?;
        let peer = held.peer_of(number, at.now)?;
        let data = rest.get(..length)?;
        Some(Output::Relay { relayed: held.relayed, peer, data: Cow::Borrowed(data) })
    }

    /// How the client of an allocation is reached.
    pub fn transport(&self, relayed: SocketAddr) -> Option<Transport> {
        self.by_relayed.get(&relayed).map(|client| client.transport)
    }

    /// Where what the candidate `peer` sends to an allocation goes, and the channel that is bound there, if one is.
    pub fn way(&self, now: Instant, relayed: SocketAddr, peer: SocketAddr) -> Option<(Client, Option<u16>)> {
        let client = *self.by_relayed.get(&relayed)?;
        let held =
            self.allocations.get(&client).filter(|held| held.until > now && held.permits(peer.ip(), now))?;
        Some((client, held.channel_to(peer, now)))
    }

    /// The gateway's candidate `peer` sends `data` to an allocation: to whom, and in what (RFC 8656 §11.3, §12.7).
    /// Nothing if there is no permission.
    pub fn to_client(
        &mut self,
        now: Instant,
        relayed: SocketAddr,
        peer: SocketAddr,
        data: &[u8],
    ) -> Option<(Client, Vec<u8>)> {
        let (client, number) = self.way(now, relayed, peer)?;
        if let Some(number) = number {
            let mut frame = BytesMut::with_capacity(CHANNEL_HEADER + data.len() + 3);
            frame.put_bytes(0, CHANNEL_HEADER);
            frame.put_slice(data);
            return channel_data(number, &mut frame, client.transport).then(|| (client, frame.into()));
        }
        let mut indication = Message::new();
        indication.typ = MessageType::new(METHOD_DATA, CLASS_INDICATION);
        self.indications += 1;
        indication.transaction_id.0[4..].copy_from_slice(&self.indications.to_be_bytes());
        indication.write_header();
        PeerAddress { ip: peer.ip(), port: peer.port() }.add_to(&mut indication).ok()?;
        Data(data.to_vec()).add_to(&mut indication).ok()?;
        Some((client, indication.raw))
    }
}

/// An error response's code and reason.
type Refusal = (ErrorCode, &'static str);
/// What is sent back; nothing if it cannot be written.
type Answer = Result<Option<Vec<u8>>, Refusal>;

fn family_of_number(number: u8) -> Option<Family> {
    match number {
        1 => Some(Family::V4),
        2 => Some(Family::V6),
        _ => None,
    }
}

/// What an Allocate asks for, as far as it can be had.
fn wanted_family(request: &Request) -> Result<Family, Refusal> {
    let transport = request.byte(ATTR_REQUESTED_TRANSPORT);
    let transport = transport.ok_or((CODE_BAD_REQUEST, "REQUESTED-TRANSPORT is missing"))?;
    if transport != PROTO_UDP.0 {
        return Err((CODE_UNSUPPORTED_TRANS_PROTO, "only UDP is relayed"));
    }
    if request.has(ATTR_RESERVATION_TOKEN) {
        let bad = request.has(ATTR_EVEN_PORT) || request.has(ATTR_REQUESTED_ADDRESS_FAMILY);
        return Err(if bad {
            (CODE_BAD_REQUEST, "RESERVATION-TOKEN stands alone")
        } else {
            (CODE_INSUFFICIENT_CAPACITY, "nothing was reserved")
        });
    }
    if request.reserves() {
        return Err((CODE_INSUFFICIENT_CAPACITY, "ports are not reserved"));
    }
    if !request.has(ATTR_REQUESTED_ADDRESS_FAMILY) {
        return Ok(Family::V4);
    }
    let family = request.byte(ATTR_REQUESTED_ADDRESS_FAMILY).and_then(family_of_number);
    family.ok_or((CODE_ADDR_FAMILY_NOT_SUPPORTED, "no such address family"))
}

/// ChannelData (RFC 8656 §12.4); on a stream it is padded to four bytes (§12.5).
/// Makes ChannelData of what lies behind [`CHANNEL_HEADER`] bytes of room (RFC 8656 §12.4); false if that is too long.
pub fn channel_data(number: u16, bytes: &mut BytesMut, transport: Transport) -> bool {
    let length = bytes.len().checked_sub(CHANNEL_HEADER).and_then(|length| u16::try_from(length).ok());
    let Some(length) = length else { return false };
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    bytes[2..CHANNEL_HEADER].copy_from_slice(&length.to_be_bytes());
    if transport != Transport::Udp {
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    true
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
