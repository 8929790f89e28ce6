//! PURE. Every viewer's peer behind one UDP port: which datagram is whose, and who may be heard at all.
//!
//! `rtc` takes DTLS and SRTP from any address once a pair is selected, so the filter stands here: media is
//! routed by 5-tuple, and only from a 5-tuple from which an authenticated Binding request has come.
//!
//! What comes through the TURN server inside is a packet from its relayed address like any other; what goes to such
//! an address goes back through it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc::crypto::{CryptoError, RTCCryptoProvider};
use rtc::stun::integrity::MessageIntegrity;
use rtc::stun::message::Message;

use super::congestion::Congestion;
use super::ledger::{Ledger, Sent, rtp_header};
use super::packetize::PacketizedFrame;
use super::peer::{Peer, PeerEvent, Transmit};
use super::port::{self, Datagram, TransactionId};
use super::send::{Class, SendStage};
use super::streams::Source;
use crate::frame::Codec;
use crate::session::Bucket;
use crate::turn::credential::{Credentials, Keys, User};
use crate::turn::{Client, Moment, Output, Server, Transport, relayed};

/// Paths remembered for one viewer; the oldest falls out (network changes, dual stack).
const MAX_PATHS: usize = 16;
/// How long a Binding request of ours may be answered.
const TRANSACTION_LIFE: Duration = Duration::from_secs(10);
/// Most transactions remembered.
const MAX_TRANSACTIONS: usize = 4_096;

/// Datagrams of one viewer, a second and at once. Each is decrypted by the loop that serves everybody; a 1 kHz
/// mouse and all acknowledgements stay below.
const DATAGRAMS: (u32, u32) = (4_000, 4_000);
/// RTCP sources of one viewer. `rtc` 0.21 keeps state for each before it checks that the packet is authentic.
const MAX_RTCP_SOURCES: usize = 64;

/// TURN credentials are good for new allocations for this long. A page gets new ones whenever it says hello.
const CREDENTIAL_LIFE_S: u64 = 24 * 3_600;

/// A path on which its viewer was heard this recently is nobody else's.
const PATH_IN_USE: Duration = Duration::from_secs(5);

/// Our address and theirs.
type Path = (SocketAddr, SocketAddr);

struct Slot {
    peer: Peer,
    ufrag: String,
    paths: VecDeque<Path>,
    rtx_ssrc: u32,
    transport_cc: Option<u8>,
    ledger: Ledger,
    congestion: Congestion,
    heard_at: Instant,
    budget: Bucket,
    rtcp_sources: BTreeSet<u32>,
    /// The connection that its media left on last; none: the UDP socket.
    stream: Option<u64>,
}

/// Datagrams that were not taken, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Not STUN, DTLS or RTP, or STUN for nobody.
    pub unknown: u64,
    /// A Binding request whose MESSAGE-INTEGRITY was wrong.
    pub integrity: u64,
    /// DTLS or RTP from a path that passed no check.
    pub unverified: u64,
    /// What a viewer has no business to send: media, RTCP in the name of many, too much of anything.
    pub excess: u64,
}

impl Slot {
    /// What follows from an event for everybody else.
    fn digest(&mut self, event: PeerEvent, now: Instant) -> Option<PeerEvent> {
        let PeerEvent::Arrivals(report) = event else { return Some(event) };
        self.congestion.handle(&self.ledger.arrivals(&report), now);
        self.congestion.news().map(PeerEvent::Limit)
    }

    /// Whether a datagram of its own path may go on to the peer.
    fn admits(&mut self, bytes: &[u8], now: Instant) -> bool {
        if !self.budget.take(now) {
            return false;
        }
        match bytes {
            // RTCP by its packet types (RFC 5761 §4); the sender's SSRC is not encrypted (RFC 3711 §3.4).
            [128..=191, 192..=223, _, _, a, b, c, d, ..] => {
                let source = u32::from_be_bytes([*a, *b, *c, *d]);
                let room = self.rtcp_sources.len() < MAX_RTCP_SOURCES;
                self.rtcp_sources.contains(&source) || (room && self.rtcp_sources.insert(source))
            }
            // Viewers send no sound or picture yet.
            [128..=191, ..] => false,
            _ => true,
        }
    }
}

/// See the module. Keys are viewer numbers.
pub struct Mux {
    crypto: Arc<dyn RTCCryptoProvider>,
    peers: BTreeMap<u32, Slot>,
    by_ufrag: HashMap<String, u32>,
    by_path: HashMap<Path, u32>,
    transactions: HashMap<TransactionId, (u32, Instant)>,
    stage: SendStage,
    events: VecDeque<(u32, PeerEvent)>,
    refused: Refused,
    turn: Server,
    /// Seconds since the Unix epoch, for credentials; moved on by the caller.
    unix: u64,
}

impl Mux {
    /// An empty mux over a cryptographic provider; `turn_secret` is what TURN credentials are made from.
    pub fn new(crypto: Arc<dyn RTCCryptoProvider>, turn_secret: Vec<u8>, now: Instant) -> Self {
        Self {
            turn: Server::new(Keys::new(turn_secret, crypto.clone()), now),
            unix: 0,
            crypto,
            peers: BTreeMap::new(),
            by_ufrag: HashMap::new(),
            by_path: HashMap::new(),
            transactions: HashMap::new(),
            stage: SendStage::default(),
            events: VecDeque::new(),
            refused: Refused::default(),
        }
    }

    /// Call about once a second: ends allocations that were not refreshed, and tells what time it is for credentials,
    /// in seconds since the Unix epoch.
    pub fn tick(&mut self, now: Instant, unix: u64) {
        self.unix = unix;
        self.turn.handle_timeout(now);
    }

    /// Lets a viewer use the TURN server, by the credentials that come back.
    ///
    /// # Errors
    /// When the provider has no HMAC-SHA1.
    pub fn admit(&mut self, viewer: u32) -> Result<Credentials, CryptoError> {
        self.turn.admit(viewer);
        self.turn.keys().mint(User { expires: self.unix + CREDENTIAL_LIFE_S, viewer })
    }

    /// What a viewer can reach through the TURN server: the candidates that it was offered.
    pub fn offered(&mut self, viewer: u32, candidates: Vec<SocketAddr>) {
        self.turn.offer(viewer, candidates);
    }

    /// A viewer is gone for good.
    pub fn dismiss(&mut self, viewer: u32) {
        self.remove(viewer);
        self.turn.dismiss(viewer);
    }

    /// Adds a viewer's peer; an older one of the same viewer is dropped.
    pub fn insert(&mut self, viewer: u32, ufrag: String, rtx_ssrc: u32, peer: Peer, now: Instant) {
        self.remove(viewer);
        self.by_ufrag.insert(ufrag.clone(), viewer);
        let transport_cc = peer.transport_cc();
        let slot = Slot {
            peer,
            ufrag,
            paths: VecDeque::new(),
            rtx_ssrc,
            transport_cc,
            ledger: Ledger::default(),
            congestion: Congestion::new(now),
            heard_at: now,
            budget: Bucket::new(DATAGRAMS.0, DATAGRAMS.1, now),
            rtcp_sources: BTreeSet::new(),
            stream: None,
        };
        self.peers.insert(viewer, slot);
        self.settle(viewer, now);
    }

    /// Forgets a viewer's peer.
    pub fn remove(&mut self, viewer: u32) {
        let Some(slot) = self.peers.remove(&viewer) else { return };
        self.by_ufrag.remove(&slot.ufrag);
        // A path may be another viewer's by now: ports are used again.
        self.by_path.retain(|_, owner| *owner != viewer);
        self.transactions.retain(|_, (owner, _)| *owner != viewer);
        if catch_unwind(AssertUnwindSafe(|| drop(slot.peer))).is_err() {
            tracing::error!(viewer, code = "peer-panic", "the WebRTC core failed while it was closed");
        }
    }

    /// Takes one datagram that came from `from` to our address `local`.
    pub fn handle_datagram(&mut self, now: Instant, local: SocketAddr, from: SocketAddr, bytes: &[u8]) {
        match port::classify(bytes) {
            Datagram::Turn => {
                self.turn_message(now, Client { transport: Transport::Udp, local, remote: from }, bytes);
            }
            packet => self.packet(now, (local, from), packet, bytes),
        }
    }

    /// Takes one message of a TCP connection.
    pub fn handle_stream(&mut self, now: Instant, source: Source, bytes: &[u8]) {
        self.turn_message(now, client_of(source), bytes);
    }

    /// A TCP connection is gone.
    pub fn stream_closed(&mut self, source: Source) {
        self.turn.closed(client_of(source));
    }

    /// True if somebody known uses this TCP connection.
    pub fn uses_stream(&self, source: Source) -> bool {
        self.turn.has_allocation(client_of(source))
    }

    fn turn_message(&mut self, now: Instant, client: Client, bytes: &[u8]) {
        match self.turn.handle(Moment { now, unix: self.unix }, client, bytes) {
            Some(Output::Reply(reply)) => drop(self.stage.push(to_client(client, &reply, Class::Control))),
            Some(Output::Relay { relayed, peer, data }) => {
                self.packet(now, (peer, relayed), port::classify(&data), &data);
            }
            None => self.refused.unknown += 1,
        }
    }

    fn packet(&mut self, now: Instant, path: Path, packet: Datagram<'_>, bytes: &[u8]) {
        let (local, from) = path;
        let viewer = match packet {
            Datagram::IceRequest { ufrag } => self.authenticate(now, path, ufrag, bytes),
            Datagram::IceResponse { transaction } => match self.transactions.remove(&transaction) {
                Some((viewer, _)) => Some(viewer),
                None => {
                    self.refused.unknown += 1;
                    None
                }
            },
            Datagram::Media => {
                let viewer = self.by_path.get(&path).copied();
                self.refused.unverified += u64::from(viewer.is_none());
                viewer.filter(|viewer| {
                    let fits = self.peers.get_mut(viewer).is_some_and(|slot| slot.admits(bytes, now));
                    self.refused.excess += u64::from(!fits);
                    fits
                })
            }
            Datagram::Turn | Datagram::Unknown => {
                self.refused.unknown += 1;
                None
            }
        };
        let Some(viewer) = viewer else { return };
        self.with_peer(viewer, now, |slot| {
            slot.heard_at = now;
            slot.peer.handle_datagram(now, local, from, bytes);
        });
    }

    /// The viewer whose password signed this Binding request (RFC 8445 §7.3). Its path is trusted from now.
    fn authenticate(&mut self, now: Instant, path: Path, ufrag: &str, bytes: &[u8]) -> Option<u32> {
        let Some(&viewer) = self.by_ufrag.get(ufrag) else {
            self.refused.unknown += 1;
            return None;
        };
        let slot = self.peers.get_mut(&viewer)?;
        let mut message = Message::new();
        let intact = message.unmarshal_binary(bytes).is_ok()
            && MessageIntegrity::check(&mut message, slot.peer.password().as_bytes(), self.crypto.crypto())
                .is_ok();
        if !intact {
            self.refused.integrity += 1;
            return None;
        }
        // A path in use stays with its viewer: another one's check on it is spoofed, or the port was used again.
        let owner = self.by_path.get(&path).filter(|owner| **owner != viewer).and_then(|o| self.peers.get(o));
        if owner.is_some_and(|slot| now.saturating_duration_since(slot.heard_at) < PATH_IN_USE) {
            self.refused.integrity += 1;
            return None;
        }
        let slot = self.peers.get_mut(&viewer)?;
        if self.by_path.insert(path, viewer) != Some(viewer) {
            slot.paths.push_back(path);
            if slot.paths.len() > MAX_PATHS
                && let Some(oldest) = slot.paths.pop_front()
                && self.by_path.get(&oldest) == Some(&viewer)
            {
                self.by_path.remove(&oldest);
            }
        }
        Some(viewer)
    }

    /// Fires every timer due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        let mut due = Vec::new();
        self.each_deadline(|viewer, at| {
            if at <= now {
                due.push(viewer);
            }
        });
        for viewer in due {
            self.with_peer(viewer, now, |slot| slot.peer.handle_timeout(now));
        }
        self.transactions.retain(|_, (_, sent)| now.saturating_duration_since(*sent) < TRANSACTION_LIFE);
    }

    /// When [`Self::handle_timeout`] must be called next.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        let mut first: Option<Instant> = None;
        self.each_deadline(|_, at| first = Some(first.map_or(at, |first| first.min(at))));
        first
    }

    /// Asks every peer for its deadline; this comes before every wait of the loop.
    fn each_deadline(&mut self, mut f: impl FnMut(u32, Instant)) {
        let mut failed = Vec::new();
        for (viewer, slot) in &mut self.peers {
            match catch_unwind(AssertUnwindSafe(|| slot.peer.poll_timeout())) {
                Ok(at) => at.into_iter().for_each(|at| f(*viewer, at)),
                Err(_) => failed.push(*viewer),
            }
        }
        failed.into_iter().for_each(|viewer| self.fail(viewer));
    }

    /// Sends a frame to a viewer; false if it needs a key frame first. A viewer without media, or with another
    /// codec, has nothing to do with it.
    pub fn send_frame(&mut self, now: Instant, codec: Codec, viewer: u32, frame: &PacketizedFrame) -> bool {
        if !self.carries(viewer, codec) {
            return true;
        }
        let mut sent = false;
        self.with_peer(viewer, now, |slot| sent = slot.peer.send_frame(now, frame));
        sent
    }

    /// Nothing but a key frame goes to this viewer next: it has missed frames.
    pub fn require_keyframe(&mut self, viewer: u32) {
        if let Some(slot) = self.peers.get_mut(&viewer) {
            slot.peer.require_keyframe();
        }
    }

    /// Sends a text message over a viewer's control channel; false if it is not open.
    pub fn send_text(&mut self, now: Instant, viewer: u32, text: String) -> bool {
        let mut sent = false;
        self.with_peer(viewer, now, |slot| sent = slot.peer.send_text(now, text));
        sent
    }

    /// True if frames of this codec reach this viewer.
    pub fn carries(&self, viewer: u32, codec: Codec) -> bool {
        self.peers.get(&viewer).is_some_and(|slot| slot.peer.codec() == codec && slot.peer.is_connected())
    }

    /// The codec that was negotiated with a viewer.
    pub fn codec_of(&self, viewer: u32) -> Option<Codec> {
        Some(self.peers.get(&viewer)?.peer.codec())
    }

    /// The connection that this viewer's media leaves on; none: the UDP socket.
    pub fn stream_of(&self, viewer: u32) -> Option<u64> {
        self.peers.get(&viewer)?.stream
    }

    /// Passes a trickled candidate on.
    pub fn add_remote_candidate(
        &mut self,
        now: Instant,
        viewer: u32,
        candidate: String,
        mid: Option<String>,
        index: Option<u16>,
    ) {
        self.with_peer(viewer, now, |slot| slot.peer.add_remote_candidate(candidate, mid, index));
    }

    /// The send stage, to be emptied into the socket.
    pub fn stage(&mut self) -> &mut SendStage {
        &mut self.stage
    }

    /// Takes the next event.
    pub fn poll_event(&mut self) -> Option<(u32, PeerEvent)> {
        self.events.pop_front()
    }

    /// Viewers that have a peer.
    pub fn viewers(&self) -> impl Iterator<Item = u32> + '_ {
        self.peers.keys().copied()
    }

    /// What a viewer was sent.
    pub fn ledger(&self, viewer: u32) -> Option<&Ledger> {
        self.peers.get(&viewer).map(|slot| &slot.ledger)
    }

    /// What was dropped.
    pub fn refused(&self) -> Refused {
        self.refused
    }

    /// Runs `f` on a peer, then moves everything that it has to say into the stage and the event queue.
    ///
    /// `rtc` is young and parses what strangers send: a panic inside it ends that one viewer, not the gateway.
    fn with_peer(&mut self, viewer: u32, now: Instant, f: impl FnOnce(&mut Slot)) {
        let Some(slot) = self.peers.get_mut(&viewer) else { return };
        if catch_unwind(AssertUnwindSafe(|| f(slot))).is_err() {
            self.fail(viewer);
            return;
        }
        self.settle(viewer, now);
    }

    fn settle(&mut self, viewer: u32, now: Instant) {
        let Some(slot) = self.peers.get_mut(&viewer) else { return };
        let (stage, events, transactions) = (&mut self.stage, &mut self.events, &mut self.transactions);
        let turn = &mut self.turn;
        let drained = catch_unwind(AssertUnwindSafe(|| {
            // Events produce writes and writes produce events: until both are dry.
            loop {
                let mut idle = true;
                while let Some(event) = slot.peer.poll_event() {
                    events.extend(slot.digest(event, now).map(|event| (viewer, event)));
                    idle = false;
                }
                while let Some(transmit) = slot.peer.poll_transmit() {
                    remember(transactions, viewer, &transmit, now);
                    record(slot, &transmit, now);
                    idle = false;
                    let Some(transmit) = route(turn, transmit, now) else { continue };
                    if transmit.class == Class::Media {
                        slot.stream = transmit.stream;
                    }
                    if !stage.push(transmit) {
                        slot.peer.require_keyframe();
                    }
                }
                if idle {
                    break;
                }
            }
        }));
        if drained.is_err() {
            self.fail(viewer);
        }
    }

    fn fail(&mut self, viewer: u32) {
        tracing::error!(
            viewer,
            code = "peer-panic",
            "the WebRTC core failed; this viewer must connect again"
        );
        self.remove(viewer);
        self.events.push_back((viewer, PeerEvent::Failed("internal error".to_owned())));
    }
}

/// What goes to a relayed address goes to the client of its allocation, if that still is.
fn route(turn: &mut Server, transmit: Transmit, now: Instant) -> Option<Transmit> {
    if !relayed::is_relayed(transmit.to) {
        return Some(transmit);
    }
    let (client, bytes) = turn.to_client(now, transmit.to, transmit.from, &transmit.contents)?;
    Some(to_client(client, &bytes, transmit.class))
}

fn client_of(Source { stream, tls, local, remote, .. }: Source) -> Client {
    let transport = if tls { Transport::Tls(stream) } else { Transport::Tcp(stream) };
    Client { transport, local, remote }
}

fn to_client(client: Client, bytes: &[u8], class: Class) -> Transmit {
    let stream = match client.transport {
        Transport::Udp => None,
        Transport::Tcp(stream) | Transport::Tls(stream) => Some(stream),
    };
    Transmit { from: client.local, to: client.remote, contents: BytesMut::from(bytes), stream, class }
}

fn remember(
    transactions: &mut HashMap<TransactionId, (u32, Instant)>,
    viewer: u32,
    transmit: &Transmit,
    now: Instant,
) {
    if let Some(id) = port::request_transaction(&transmit.contents)
        && transactions.len() < MAX_TRANSACTIONS
    {
        transactions.insert(id, (viewer, now));
    }
}

fn record(slot: &mut Slot, transmit: &Transmit, now: Instant) {
    if let Some((ssrc, number)) = rtp_header(&transmit.contents, slot.transport_cc) {
        slot.ledger.record(Sent {
            number,
            size: transmit.contents.len().min(usize::from(u16::MAX)) as u16,
            at: now,
            retransmission: ssrc == slot.rtx_ssrc,
        });
    }
}
