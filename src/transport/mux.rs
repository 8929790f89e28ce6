//! PURE. Every viewer's peer behind one UDP port: which datagram is whose, and who may be heard at all.
//!
//! `rtc` takes DTLS and SRTP from any address once a pair is selected, so the filter stands here: media is
//! routed by 5-tuple, and only from a 5-tuple from which an authenticated Binding request has come.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rtc::crypto::RTCCryptoProvider;
use rtc::stun::integrity::MessageIntegrity;
use rtc::stun::message::Message;

use super::ledger::{Ledger, Sent, rtp_header};
use super::packetize::PacketizedFrame;
use super::peer::{Peer, PeerEvent, Transmit};
use super::port::{self, Datagram, TransactionId};
use super::send::SendStage;
use crate::frame::Codec;
use crate::session::Bucket;

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
    heard_at: Instant,
    budget: Bucket,
    rtcp_sources: BTreeSet<u32>,
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
}

impl Mux {
    /// An empty mux over a cryptographic provider.
    pub fn new(crypto: Arc<dyn RTCCryptoProvider>) -> Self {
        Self {
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
            heard_at: now,
            budget: Bucket::new(DATAGRAMS.0, DATAGRAMS.1, now),
            rtcp_sources: BTreeSet::new(),
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
        let path = (local, from);
        let viewer = match port::classify(bytes) {
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
            Datagram::OtherStun | Datagram::Unknown => {
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
        for viewer in self.peers.keys().copied().collect::<Vec<_>>() {
            let due = |slot: &mut Slot| slot.peer.poll_timeout().is_some_and(|at| at <= now);
            let mut fire = false;
            self.guarded(viewer, |slot| fire = due(slot));
            if fire {
                self.with_peer(viewer, now, |slot| slot.peer.handle_timeout(now));
            }
        }
        self.transactions.retain(|_, (_, sent)| now.saturating_duration_since(*sent) < TRANSACTION_LIFE);
    }

    /// When [`Self::handle_timeout`] must be called next.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        let mut first: Option<Instant> = None;
        for viewer in self.peers.keys().copied().collect::<Vec<_>>() {
            self.guarded(viewer, |slot| first = first.into_iter().chain(slot.peer.poll_timeout()).min());
        }
        first
    }

    /// Sends a frame to a viewer; false if it needs a key frame first. A viewer without media, or with another
    /// codec, has nothing to do with it.
    pub fn send_frame(&mut self, now: Instant, codec: Codec, viewer: u32, frame: &PacketizedFrame) -> bool {
        let watches = |slot: &Slot| slot.peer.codec() == codec && slot.peer.is_connected();
        if !self.peers.get(&viewer).is_some_and(watches) {
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
        if self.guarded(viewer, f) {
            self.settle(viewer, now);
        }
    }

    /// Runs `f` on a peer; false if there is none, or none any more.
    fn guarded(&mut self, viewer: u32, f: impl FnOnce(&mut Slot)) -> bool {
        let Some(slot) = self.peers.get_mut(&viewer) else { return false };
        let intact = catch_unwind(AssertUnwindSafe(|| f(slot))).is_ok();
        if !intact {
            self.fail(viewer);
        }
        intact
    }

    fn settle(&mut self, viewer: u32, now: Instant) {
        let Some(slot) = self.peers.get_mut(&viewer) else { return };
        let (stage, events, transactions) = (&mut self.stage, &mut self.events, &mut self.transactions);
        let drained = catch_unwind(AssertUnwindSafe(|| {
            // Events produce writes and writes produce events: until both are dry.
            loop {
                let mut idle = true;
                while let Some(event) = slot.peer.poll_event() {
                    events.push_back((viewer, event));
                    idle = false;
                }
                while let Some(transmit) = slot.peer.poll_transmit() {
                    remember(transactions, viewer, &transmit, now);
                    record(slot, &transmit, now);
                    if !stage.push(transmit) {
                        slot.peer.require_keyframe();
                    }
                    idle = false;
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
