//! PURE. What the mux knows of one viewer: its peer, its paths, what it was sent and what of that arrived.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};

use super::congestion::Congestion;
use super::ledger::{Ledger, Sent};
use super::paths::{Known, Nomination, Path, Paths};
use super::peer::{Peer, PeerEvent, Transmit};
use super::repair::{RepairWay, Repairs};
use super::route::{Way, for_client, kind_of, route};
use super::send::{Class, SendStage};
use super::video::{MediaPacket, ROOM};
use crate::session::Bucket;
use crate::turn::{Server, channel_data};
use crate::wire::signal::MediaPath;

/// Datagrams of one viewer, a second and at once. Each is decrypted by the loop that serves everybody; a 1 kHz
/// mouse and all acknowledgements stay below.
const DATAGRAMS: (u32, u32) = (4_000, 4_000);
/// The longest of them, in bytes: more than any path takes in one piece. What is said in one is bounded by that too.
const MAX_DATAGRAM: usize = 1_500;
/// A viewer that asks again after this time is answered again, whatever it says of its way: it gives a packet up some time.
const LATEST: Duration = Duration::from_millis(500);
/// RTCP sources of one viewer. `rtc` 0.21 keeps state for each before it checks that the packet is authentic.
const MAX_RTCP_SOURCES: usize = 64;

/// See the module.
pub(super) struct Slot {
    pub peer: Peer,
    pub ufrag: String,
    pub known: Known,
    pub ledger: Ledger,
    pub congestion: Congestion,
    pub repairs: Repairs,
    pub heard_at: Instant,
    pub budget: Bucket,
    pub rtcp_sources: BTreeSet<u32>,
    /// The connection that its media left on last; none: the UDP socket.
    pub stream: Option<u64>,
    /// The pair that the core has selected.
    pub selected: Option<Path>,
    /// What the viewer wants instead.
    pub nomination: Nomination,
    /// The path that its media left on last, and of what kind that is.
    pub used: Option<(Path, MediaPath)>,
    /// The last round trip of a check on it.
    pub round_trip: Option<Duration>,
}

impl Slot {
    /// A viewer of which nothing was heard.
    pub fn new(ufrag: String, peer: Peer, now: Instant) -> Self {
        Self {
            peer,
            ufrag,
            known: Known::default(),
            ledger: Ledger::default(),
            congestion: Congestion::new(now),
            repairs: Repairs::new(now),
            heard_at: now,
            budget: Bucket::new(DATAGRAMS.0, DATAGRAMS.1, now),
            rtcp_sources: BTreeSet::new(),
            stream: None,
            selected: None,
            nomination: Nomination::default(),
            used: None,
            round_trip: None,
        }
    }

    /// What follows from an event for everybody else.
    pub fn digest(&mut self, event: PeerEvent, now: Instant) -> Option<PeerEvent> {
        match event {
            PeerEvent::Arrivals(report) => {
                self.congestion.handle(&self.ledger.arrivals(&report), now);
                self.congestion.news().map(PeerEvent::Limit)
            }
            PeerEvent::Missing(nack) => {
                let way = RepairWay {
                    limit_kbps: self.congestion.limit_kbps(),
                    answers_in: self
                        .congestion
                        .answers_in()
                        .max(self.round_trip.unwrap_or_default())
                        .min(LATEST),
                };
                // What is sent behind a queue too long is no longer wanted when it comes: a key frame follows then.
                let is_sent =
                    self.is_behind(false, now) || self.peer.resend(&nack, &way, &mut self.repairs, now);
                (!is_sent).then_some(PeerEvent::KeyframeRequest)
            }
            event => Some(event),
        }
    }

    /// True while a frame would only wait on its way. A key frame on a narrow way takes its time; were those that follow it left
    /// out, there would be nothing but key frames.
    pub fn is_behind(&self, keyframe: bool, now: Instant) -> bool {
        let ledger = &self.ledger;
        let ahead = if keyframe { ledger.unheard() } else { ledger.unheard_since_keyframe() };
        self.congestion.is_behind(ahead, ledger.unheard_since().unwrap_or(now), now)
    }

    /// Where what the core sends to this pair is to go instead. Checks of the selected pair go with the media: they
    /// are how the core knows that its viewer is there (RFC 7675).
    pub fn path_of(&self, viewer: u32, pair: Path, paths: &Paths) -> Option<Path> {
        let wanted =
            self.nomination.path().filter(|wanted| *wanted != pair && self.selected == Some(pair))?;
        paths.get(wanted).is_some_and(|owner| owner.viewer == viewer).then_some(wanted)
    }

    /// What follows from media leaving on this path now.
    pub fn uses(&mut self, path: Path, turn: &Server, now: Instant) -> Option<PeerEvent> {
        if self.used.is_some_and(|(used, _)| used == path) {
            return None;
        }
        let kind = kind_of(turn, path);
        self.round_trip = None;
        // What the former path carried is a beginning: both may go through the same narrow place, full of what was sent.
        self.congestion = Congestion::expecting(self.congestion.bequest_kbps(), now);
        self.ledger.start_over();
        let before = self.used.replace((path, kind));
        let is_news = before.is_none_or(|(_, before)| before != kind);
        is_news.then_some(PeerEvent::Path(kind))
    }

    /// Whether a datagram of its own path may go on to the peer.
    pub fn admits(&mut self, bytes: &[u8], now: Instant) -> bool {
        if bytes.len() > MAX_DATAGRAM || !self.budget.take(now) {
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

    /// Moves the peer's packets of video into the stage: all of them go one way, looked up once. Gives what follows from that.
    pub fn send_media(
        &mut self,
        viewer: u32,
        turn: &mut Server,
        paths: &Paths,
        stage: &mut SendStage,
        now: Instant,
    ) -> Option<PeerEvent> {
        // The core has sent DTLS there, or there were no keys and hence no packets.
        let pair = self.selected?;
        let first = self.peer.poll_media()?;
        let mut full = false;
        let (from, to) = self.path_of(viewer, pair, paths).unwrap_or(pair);
        let news = self.uses((from, to), turn, now);
        let way = Way::of(turn, paths, (from, to), now);
        for packet in std::iter::once(first).chain(std::iter::from_fn(|| self.peer.poll_media())) {
            let MediaPacket { number, retransmission, mut contents } = packet;
            let size = contents.len().saturating_sub(ROOM).min(usize::from(u16::MAX)) as u16;
            self.ledger.record(Sent { number, size, at: now, retransmission });
            let straight = |contents: &mut BytesMut, stream| {
                contents.advance(ROOM);
                Transmit { from, to, contents: std::mem::take(contents), stream, class: Class::Media }
            };
            let transmit = match way {
                Some(Way::Straight(stream)) => Some(straight(&mut contents, stream)),
                Some(Way::Channel(client, number)) => channel_data(number, &mut contents, client.transport)
                    .then(|| for_client(client, contents, Class::Media)),
                Some(Way::Other) => route(turn, paths, straight(&mut contents, None), now),
                None => None,
            };
            let Some(transmit) = transmit else { continue };
            self.stream = transmit.stream;
            if !stage.push(transmit) {
                full = true;
            }
        }
        if full {
            self.peer.require_keyframe();
        }
        news
    }
}
