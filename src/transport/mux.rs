//! PURE. Every viewer's peer behind one UDP port: which datagram is whose, and who may be heard at all.
//!
//! `rtc` takes DTLS and SRTP from any address once a pair is selected, so the filter stands here: media is
//! routed by 5-tuple, and only from a 5-tuple from which an authenticated Binding request has come.
//!
//! What comes through the TURN server inside is a packet from its relayed address like any other; what goes to such
//! an address goes back through it. An ICE-TCP connection (RFC 6544), too, is a path like any other: from its client
//! to [`crate::turn::relayed::ICE_TCP`].

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rtc::crypto::{CryptoError, RTCCryptoProvider};
use rtc::stun::attributes::ATTR_USE_CANDIDATE;
use rtc::stun::integrity::MessageIntegrity;
use rtc::stun::message::Message;

use super::checks::{Check, Checks};
use super::framing::Framing;
use super::ledger::Ledger;
use super::packetize::PacketizedFrame;
use super::paths::{Path, Paths};
use super::peer::{Peer, PeerEvent};
use super::port::{self, Datagram, TransactionId};
use super::route::{client_of, ice_path, kind_of, route, to_client};
use super::send::{Class, SendStage};
use super::slot::Slot;
use super::streams::Source;
use crate::frame::Codec;
use crate::session::Limit;
use crate::turn::credential::{Credentials, Keys, User};
use crate::turn::{Client, Moment, Output, Server, Transport, relayed};
use crate::wire::signal::MediaPath;

/// TURN credentials are good for new allocations for this long. A page gets new ones whenever it says hello.
const CREDENTIAL_LIFE_S: u64 = 24 * 3_600;

/// A path on which its viewer was heard this recently is nobody else's.
const PATH_IN_USE: Duration = Duration::from_secs(5);

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

/// See the module. Keys are viewer numbers.
pub struct Mux {
    crypto: Arc<dyn RTCCryptoProvider>,
    peers: BTreeMap<u32, Slot>,
    by_ufrag: HashMap<String, u32>,
    by_path: Paths,
    checks: Checks,
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
            by_path: Paths::default(),
            checks: Checks::default(),
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
    pub fn insert(&mut self, viewer: u32, ufrag: String, peer: Peer, now: Instant) {
        self.remove(viewer);
        self.by_ufrag.insert(ufrag.clone(), viewer);
        let slot = Slot::new(ufrag, peer, now);
        self.peers.insert(viewer, slot);
        self.settle(viewer, now);
    }

    /// A viewer's media takes a way that is expected to carry so many kbit/s, because the one before did. Gives the limit that it
    /// begins with: none for a peer that will never tell what arrives.
    pub fn expect(&mut self, viewer: u32, kbps: Option<u32>) -> Option<Limit> {
        let slot = self.peers.get_mut(&viewer)?;
        slot.congestion.expect(kbps.filter(|_| slot.peer.is_told_of()))
    }

    /// Forgets a viewer's peer.
    pub fn remove(&mut self, viewer: u32) {
        let Some(slot) = self.peers.remove(&viewer) else { return };
        self.by_ufrag.remove(&slot.ufrag);
        self.by_path.forget(viewer);
        self.checks.forget(viewer);
        if catch_unwind(AssertUnwindSafe(|| drop(slot.peer))).is_err() {
            tracing::error!(viewer, code = "peer-panic", "the WebRTC core failed while it was closed");
        }
    }

    /// Takes one datagram that came from `from` to our address `local`.
    pub fn handle_datagram(&mut self, now: Instant, local: SocketAddr, from: SocketAddr, bytes: &[u8]) {
        // Such addresses exist inside only: what claims to come from one is forged. (Of the other documentation ranges
        // machines in laboratories do have addresses.)
        if relayed::is_relayed(from) {
            self.refused.unknown += 1;
        } else if port::classify(bytes) == Datagram::Turn {
            self.turn_message(now, Client { transport: Transport::Udp, local, remote: from }, bytes);
        } else {
            self.packet(now, (local, from), None, bytes);
        }
    }

    /// Takes one message of a TCP connection.
    pub fn handle_stream(&mut self, now: Instant, source: Source, bytes: &[u8]) {
        match source.framing {
            Framing::Turn => self.turn_message(now, client_of(source), bytes),
            Framing::Ice => self.packet(now, ice_path(source), Some(source.stream), bytes),
        }
    }

    /// A TCP connection is gone.
    pub fn stream_closed(&mut self, source: Source) {
        self.turn.closed(client_of(source));
        let path = ice_path(source);
        if let Some(viewer) = self.by_path.owner(path, Some(source.stream)) {
            self.by_path.remove(path);
            if let Some(slot) = self.peers.get_mut(&viewer) {
                slot.known.remove(path);
                slot.nomination.forget(path);
            }
        }
    }

    /// True if somebody known uses this TCP connection.
    pub fn uses_stream(&self, source: Source) -> bool {
        self.turn.has_allocation(client_of(source))
            || self.by_path.owner(ice_path(source), Some(source.stream)).is_some()
    }

    fn turn_message(&mut self, now: Instant, client: Client, bytes: &[u8]) {
        match self.turn.handle(Moment { now, unix: self.unix }, client, bytes) {
            Some(Output::Reply(reply)) => drop(self.stage.push(to_client(client, &reply, Class::Control))),
            Some(Output::Relay { relayed, peer, data }) => {
                self.packet(now, (peer, relayed), None, &data);
            }
            None => self.refused.unknown += 1,
        }
    }

    fn packet(&mut self, now: Instant, path: Path, stream: Option<u64>, bytes: &[u8]) {
        let mut pair = path;
        let viewer = match port::classify(bytes) {
            Datagram::IceRequest { ufrag } => self.authenticate(now, path, stream, ufrag, bytes),
            Datagram::IceResponse { transaction } => {
                self.answered(now, path, transaction).map(|(viewer, checked)| {
                    pair = checked;
                    viewer
                })
            }
            Datagram::Media => {
                let viewer = self.by_path.owner(path, stream);
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
            slot.peer.handle_datagram(now, pair.0, pair.1, bytes);
        });
    }

    /// The viewer whose check is answered here, and the pair that the core meant by it. An answer from elsewhere than
    /// where the check went stays one from elsewhere (RFC 8445 §7.2.5.2.1).
    fn answered(&mut self, now: Instant, path: Path, transaction: TransactionId) -> Option<(u32, Path)> {
        let Some(Check { viewer, pair, path: asked, sent }) = self.checks.take(transaction) else {
            self.refused.unknown += 1;
            return None;
        };
        if path != asked {
            return Some((viewer, path));
        }
        let slot = self.peers.get_mut(&viewer)?;
        slot.known.answered(path);
        if slot.used.is_some_and(|(used, _)| used == path) {
            slot.round_trip = Some(now.saturating_duration_since(sent));
        }
        Some((viewer, pair))
    }

    /// The viewer whose password signed this Binding request (RFC 8445 §7.3). Its path is trusted from now.
    fn authenticate(
        &mut self,
        now: Instant,
        path: Path,
        stream: Option<u64>,
        ufrag: &str,
        bytes: &[u8],
    ) -> Option<u32> {
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
        let owner = self.by_path.get(path).filter(|owner| owner.viewer != viewer);
        let owner = owner.and_then(|owner| self.peers.get(&owner.viewer));
        if owner.is_some_and(|slot| now.saturating_duration_since(slot.heard_at) < PATH_IN_USE) {
            self.refused.integrity += 1;
            return None;
        }
        let slot = self.peers.get_mut(&viewer)?;
        self.by_path.prove(path, stream, viewer, &mut slot.known);
        if message.contains(ATTR_USE_CANDIDATE) && slot.known.answers(path) {
            slot.nomination.nominate(path, kind_of(&self.turn, path), now);
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
        self.checks.expire(now);
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
        let Some(slot) = self.peers.get_mut(&viewer) else { return true };
        let Self { stage, events, turn, by_path, .. } = self;
        let sent = catch_unwind(AssertUnwindSafe(|| {
            let sent = slot.peer.send_frame(now, frame);
            // The core has no part in it, and so nothing to say.
            let news = slot.send_media(viewer, turn, by_path, stage, now);
            events.extend(news.map(|event| (viewer, event)));
            if sent && frame.keyframe {
                slot.ledger.keyframe();
            }
            sent
        }));
        if sent.is_err() {
            self.fail(viewer);
        }
        sent.unwrap_or(true)
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

    /// True while a frame would only wait on its way to this viewer.
    pub fn is_behind(&self, viewer: u32, keyframe: bool, now: Instant) -> bool {
        self.peers.get(&viewer).is_some_and(|slot| slot.is_behind(keyframe, now))
    }

    /// The connection that this viewer's media leaves on; none: the UDP socket.
    pub fn stream_of(&self, viewer: u32) -> Option<u64> {
        self.peers.get(&viewer)?.stream
    }

    /// The way that this viewer's packets take.
    pub fn path(&self, viewer: u32) -> Option<MediaPath> {
        Some(self.peers.get(&viewer)?.used?.1)
    }

    /// How long its last check on that way took, there and back.
    pub fn round_trip(&self, viewer: u32) -> Option<Duration> {
        self.peers.get(&viewer)?.round_trip
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
        let Self { stage, events, checks, turn, by_path, .. } = self;
        let drained = catch_unwind(AssertUnwindSafe(|| {
            // Events produce writes and writes produce events: until both are dry.
            loop {
                let mut idle = true;
                while let Some(event) = slot.peer.poll_event() {
                    events.extend(slot.digest(event, now).map(|event| (viewer, event)));
                    idle = false;
                }
                while let Some(mut transmit) = slot.peer.poll_transmit() {
                    idle = false;
                    let pair = (transmit.from, transmit.to);
                    let is_media = port::classify(&transmit.contents) == Datagram::Media;
                    if is_media {
                        slot.selected = Some(pair);
                    }
                    let check = port::request_transaction(&transmit.contents);
                    let path = slot.path_of(viewer, pair, by_path).filter(|_| is_media || check.is_some());
                    let path = path.unwrap_or(pair);
                    (transmit.from, transmit.to) = path;
                    if let Some(id) = check {
                        checks.insert(id, Check { viewer, pair, path, sent: now });
                    }
                    if is_media {
                        events.extend(slot.uses(path, turn, now).map(|event| (viewer, event)));
                    }
                    if let Some(transmit) = route(turn, by_path, transmit, now) {
                        stage.push(transmit);
                    }
                }
                let news = slot.send_media(viewer, turn, by_path, stage, now);
                events.extend(news.map(|event| (viewer, event)));
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
