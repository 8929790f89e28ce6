//! The mux and its peers against a viewer made of `rtc`, on a virtual clock and a wire of our own.

mod faults;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use deskgate::frame::Codec;
use deskgate::transport::build::PeerConfig;
use deskgate::transport::framing::Framing;
use deskgate::transport::mux::Mux;
use deskgate::transport::offer::OfferError;
use deskgate::transport::packetize::{PacketizedFrame, Packetizer};
use deskgate::transport::peer::{Peer, PeerEvent};
use deskgate::transport::streams::Source;
use deskgate::wire::signal::MediaPath;
use rtc::data_channel::{RTCDataChannelId, RTCDataChannelInit};
use rtc::interceptor::Registry;
use rtc::peer_connection::configuration::interceptor_registry::register_default_interceptors;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::message::RTCMessage;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::transport::{CandidateConfig, CandidateHostConfig, RTCIceCandidate};
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use rtc::sansio::Protocol;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};

const GATEWAY: &str = "10.0.0.1:8080";
const VIEWER: &str = "10.0.0.2:4000";
const STRANGER: &str = "10.0.0.3:5000";
const ID: u32 = 7;

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

struct Viewer {
    pc: RTCPeerConnection,
    control: RTCDataChannelId,
    offer: String,
    received: Vec<rtc::rtp::Packet>,
    texts: Vec<String>,
}

impl Viewer {
    fn new(now: Instant) -> Self {
        let mut engine = MediaEngine::default();
        engine.register_default_codecs().unwrap();
        let registry = register_default_interceptors(Registry::new(), &mut engine).unwrap();
        let mut pc = RTCPeerConnectionBuilder::new()
            .with_media_engine(engine)
            .with_interceptor_registry(registry)
            .build(now)
            .unwrap();
        let receive =
            RTCRtpTransceiverInit { direction: RTCRtpTransceiverDirection::Recvonly, ..Default::default() };
        pc.add_transceiver_from_kind(RtpCodecKind::Video, Some(receive)).unwrap();
        let negotiated = |id| RTCDataChannelInit { negotiated: Some(id), ..Default::default() };
        let control = pc.create_data_channel("control", Some(negotiated(0))).unwrap().id();
        let motion = RTCDataChannelInit { ordered: false, max_retransmits: Some(0), ..negotiated(1) };
        pc.create_data_channel("motion", Some(motion)).unwrap();
        let offer = pc.create_offer(None).unwrap();
        pc.set_local_description(now, offer).unwrap();
        let candidate = CandidateHostConfig {
            base_config: CandidateConfig {
                network: "udp".to_owned(),
                address: at(VIEWER).ip().to_string(),
                port: at(VIEWER).port(),
                component: 1,
                ..Default::default()
            },
            ..Default::default()
        };
        let candidate = RTCIceCandidate::from(&candidate.new_candidate_host().unwrap());
        pc.add_local_candidate(candidate.to_json().unwrap()).unwrap();
        let offer = pc.local_description().unwrap().sdp;
        Self { pc, control, offer, received: Vec::new(), texts: Vec::new() }
    }

    fn feed(&mut self, now: Instant, bytes: &[u8]) {
        let transport = TransportContext {
            local_addr: at(VIEWER),
            peer_addr: at(GATEWAY),
            transport_protocol: TransportProtocol::UDP,
            ecn: None,
        };
        let _ = self.pc.handle_read(TaggedBytesMut { now, transport, message: BytesMut::from(bytes) });
        self.collect();
    }

    fn collect(&mut self) {
        while self.pc.poll_event().is_some() {}
        while let Some(message) = self.pc.poll_read() {
            match message.message {
                RTCMessage::RtpPacket(_, packet) => self.received.push(packet),
                RTCMessage::DataChannelMessage(_, m) => {
                    self.texts.push(String::from_utf8(m.data.to_vec()).unwrap());
                }
                _ => {}
            }
        }
    }
}

/// Gateway and viewer, and the wire between them.
struct Rig {
    now: Instant,
    mux: Mux,
    viewer: Viewer,
    events: VecDeque<PeerEvent>,
    /// Datagrams from the gateway that the wire is to lose, counted in media packets.
    lose: Vec<usize>,
    media: usize,
    to_gateway: Vec<Vec<u8>>,
    /// The connection that the viewer's packets go over; none: UDP.
    over: Option<Source>,
}

/// An ICE-TCP connection of the viewer.
fn connection(stream: u64) -> Source {
    Source { stream, tls: false, framing: Framing::Ice, local: at("127.0.0.1:8080"), remote: at(VIEWER) }
}

fn config() -> PeerConfig {
    PeerConfig {
        ufrag: "gateway".into(),
        password: "a-password-of-24-letters".into(),
        candidates: vec![at(GATEWAY)],
        ssrc: 1_001,
        rtx_ssrc: 1_002,
        sequence: 5,
        timestamp: 0,
        unix: Duration::ZERO,
    }
}

fn mux() -> Mux {
    Mux::new(rtc::crypto::default_provider().unwrap(), vec![0; 32], Instant::now())
}

impl Rig {
    fn new() -> Self {
        let now = Instant::now();
        let mut viewer = Viewer::new(now);
        let (peer, answer) = Peer::answer(config(), &viewer.offer, &[Codec::H264, Codec::Vp8], now).unwrap();
        let mut mux = mux();
        mux.insert(ID, "gateway".into(), peer, now);
        viewer.pc.set_remote_description(now, RTCSessionDescription::answer(answer).unwrap()).unwrap();
        let (events, lose, to_gateway) = Default::default();
        Self { now, mux, viewer, events, lose, media: 0, to_gateway, over: None }
    }

    fn connected() -> Self {
        Self::connected_over(None)
    }

    fn connected_over(over: Option<Source>) -> Self {
        let mut rig = Self { over, ..Self::new() };
        rig.until("connection", |rig| {
            rig.events.iter().any(|e| matches!(e, PeerEvent::Connected))
                && rig.events.iter().any(|e| matches!(e, PeerEvent::ControlOpen))
        });
        rig
    }

    /// Carries datagrams until nobody has any, then moves the clock to the next timer.
    fn step(&mut self) {
        let mut moved = true;
        while moved {
            moved = false;
            while let Some(t) = self.viewer.pc.poll_write() {
                self.to_gateway.push(t.message.to_vec());
                self.deliver(&t.message);
                moved = true;
            }
            loop {
                let batch = self.mux.stage().next_batch(16);
                if batch.is_empty() {
                    break;
                }
                for transmit in batch {
                    moved = true;
                    // Only the way that the viewer takes leads back to it.
                    if transmit.stream == self.over.map(|source| source.stream)
                        && self.passes(&transmit.contents)
                    {
                        self.viewer.feed(self.now, &transmit.contents);
                    }
                }
            }
            while let Some((id, event)) = self.mux.poll_event() {
                assert_eq!(id, ID);
                self.events.push_back(event);
            }
        }
        let next = [self.mux.poll_timeout(), self.viewer.pc.poll_timeout()].into_iter().flatten().min();
        self.now = next.unwrap_or(self.now).max(self.now + Duration::from_millis(1));
        self.mux.handle_timeout(self.now);
        // A viewer whose certificate is refused fails; what the gateway does then is what matters.
        let _ = self.viewer.pc.handle_timeout(self.now);
        self.viewer.collect();
    }

    fn deliver(&mut self, bytes: &[u8]) {
        match self.over {
            None => self.mux.handle_datagram(self.now, at(GATEWAY), at(VIEWER), bytes),
            Some(source) => self.mux.handle_stream(self.now, source, bytes),
        }
    }

    /// A check of the viewer's that nominates its path.
    fn nominating(&self) -> Vec<u8> {
        let nominates = |d: &&Vec<u8>| d[..2] == [0, 1] && d.windows(4).any(|w| w == [0, 0x25, 0, 0]);
        self.to_gateway.iter().rev().find(nominates).expect("a check with USE-CANDIDATE").clone()
    }

    fn passes(&mut self, bytes: &[u8]) -> bool {
        let is_media = bytes[0] >> 6 == 2 && !(192..=223).contains(&bytes[1]);
        if is_media {
            self.media += 1;
        }
        !is_media || !self.lose.contains(&self.media)
    }

    /// Steps until `done`; the deadline is virtual.
    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = self.now + Duration::from_secs(20);
        while !done(self) {
            assert!(self.now < deadline, "no {what} within 20 virtual seconds");
            self.step();
        }
    }

    fn frame(&self, keyframe: bool, size: usize) -> PacketizedFrame {
        let mut unit = vec![0, 0, 0, 1, if keyframe { 0x65 } else { 0x41 }];
        unit.resize(size, 0xAB);
        let unit = Bytes::from(unit);
        PacketizedFrame {
            payloads: Packetizer::new(Codec::H264).packetize(&unit),
            unit,
            keyframe,
            captured_at: self.now,
            damaged_at: self.now,
        }
    }

    fn send(&mut self, keyframe: bool, size: usize) -> bool {
        let frame = self.frame(keyframe, size);
        self.mux.send_frame(self.now, Codec::H264, ID, &frame)
    }
}

#[test]
fn a_frame_arrives_whole_with_the_marker_last_and_playout_delay_zero() {
    let mut rig = Rig::connected();
    assert!(rig.send(true, 10_000));
    rig.until("frame", |r| r.viewer.received.last().is_some_and(|p| p.header.marker));
    let packets = &rig.viewer.received;
    assert!(packets.len() > 8, "{} packets", packets.len());
    assert!(packets.windows(2).all(|w| w[1].header.sequence_number == w[0].header.sequence_number + 1));
    assert!(packets.iter().all(|p| p.header.timestamp == packets[0].header.timestamp));
    assert_eq!(packets.iter().filter(|p| p.header.marker).count(), 1);
    assert!(rig.mux.ledger(ID).unwrap().totals().0 >= packets.len() as u64);
}

#[test]
fn nothing_goes_out_before_a_key_frame() {
    let mut rig = Rig::connected();
    assert!(!rig.send(false, 500));
    assert!(rig.send(true, 500));
    assert!(rig.send(false, 500));
    rig.mux.require_keyframe(ID);
    assert!(!rig.send(false, 500));
}

#[test]
fn messages_and_input_go_both_ways() {
    let mut rig = Rig::connected();
    assert!(rig.mux.send_text(rig.now, ID, "hello".into()));
    let now = rig.now;
    rig.viewer.pc.data_channel(rig.viewer.control).unwrap().send_text(now, "{}").unwrap();
    let frame = BytesMut::from(&[8, 0, 0, 0, 1][..]);
    rig.viewer.pc.data_channel(rig.viewer.control).unwrap().send(now, frame).unwrap();
    rig.until("messages", |r| {
        r.viewer.texts == ["hello"]
            && r.events.iter().any(|e| matches!(e, PeerEvent::Text(t) if t.as_ref() == b"{}"))
            && r.events.iter().any(|e| matches!(e, PeerEvent::Input(b) if b.as_ref() == [8, 0, 0, 0, 1]))
    });
}

#[test]
fn a_lost_packet_is_sent_again_as_rtx() {
    let mut rig = Rig::connected();
    rig.lose = vec![rig.media + 3];
    rig.send(true, 10_000);
    rig.until("retransmission", |r| r.mux.ledger(ID).unwrap().totals().2 > 0);
    let sequence: Vec<u16> = rig.viewer.received.iter().map(|p| p.header.sequence_number).collect();
    let missing = (5..5 + sequence.len() as u16).filter(|s| !sequence.contains(s)).count();
    assert!(missing <= 1, "{sequence:?}");
}

#[test]
fn a_stranger_with_dtls_or_rtp_is_not_heard() {
    let mut rig = Rig::connected();
    let before = rig.mux.refused();
    for bytes in [
        &[22, 254, 253, 0, 0, 0, 0][..],
        &[0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 9],
        &[21, 254, 253, 2, 40],
    ] {
        for _ in 0..100 {
            rig.mux.handle_datagram(rig.now, at(GATEWAY), at(STRANGER), bytes);
        }
    }
    assert_eq!(rig.mux.refused().unverified, before.unverified + 300);
    assert!(rig.mux.poll_event().is_none() && rig.mux.stage().is_empty());
    assert!(rig.send(true, 2_000));
    rig.until("frame", |r| r.viewer.received.last().is_some_and(|p| p.header.marker));
}

#[test]
fn a_check_with_wrong_integrity_opens_no_path() {
    let mut rig = Rig::connected();
    let check = rig.to_gateway.iter().find(|d| d[..2] == [0, 1]).unwrap().clone();
    let mut forged = check.clone();
    let last = forged.len() - 12;
    forged[last] ^= 1;
    let before = rig.mux.refused();
    rig.mux.handle_datagram(rig.now, at(GATEWAY), at(STRANGER), &forged);
    assert_eq!(rig.mux.refused().integrity, before.integrity + 1);
    rig.mux.handle_datagram(rig.now, at(GATEWAY), at(STRANGER), &[22, 254, 253]);
    assert_eq!(rig.mux.refused().unverified, before.unverified + 1);
}

#[test]
fn an_ice_tcp_connection_is_a_path_once_a_check_came_over_it() {
    let mut rig = Rig::new();
    let refused = |rig: &Rig| rig.mux.refused();
    rig.mux.handle_stream(rig.now, connection(3), &[22, 254, 253, 0, 0]);
    assert_eq!(refused(&rig).unverified, 1);
    assert!(!rig.mux.uses_stream(connection(3)), "it will be closed");

    let mut rig = Rig::connected_over(Some(connection(3)));
    assert_eq!(rig.mux.path(ID), Some(MediaPath::IceTcp));
    assert!(rig.send(true, 10_000));
    assert_eq!(rig.mux.stream_of(ID), Some(3));
    rig.until("frame", |r| r.viewer.received.last().is_some_and(|p| p.header.marker));
    rig.until("round trip", |r| r.mux.round_trip(ID).is_some());
    assert!(rig.mux.uses_stream(connection(3)) && !rig.mux.uses_stream(connection(4)));

    // From the same address, but another connection; and by UDP.
    let before = refused(&rig).unverified;
    rig.mux.handle_stream(rig.now, connection(4), &[22, 254, 253, 0, 0]);
    rig.mux.handle_datagram(rig.now, at(GATEWAY), at(VIEWER), &[22, 254, 253, 0, 0]);
    // TURN has framing of its own.
    rig.mux.handle_stream(rig.now, connection(3), &[0x40, 0, 0, 0]);
    assert_eq!((refused(&rig).unverified, refused(&rig).unknown), (before + 2, 1));

    rig.mux.stream_closed(connection(4));
    assert!(rig.mux.uses_stream(connection(3)));
    rig.mux.stream_closed(connection(3));
    assert!(!rig.mux.uses_stream(connection(3)));
    rig.send(true, 1_000);
    assert!(rig.mux.stage().is_empty(), "nowhere to send to");
}

#[test]
fn media_follows_the_nomination_to_a_better_path() {
    let mut rig = Rig::connected_over(Some(connection(3)));
    // Its checks come by UDP now, and ours are answered there; then it says which path it wants.
    rig.over = None;
    let nominating = rig.nominating();
    let deadline = rig.now + Duration::from_secs(5);
    rig.until("time passed", |r| r.now >= deadline);
    assert_eq!(rig.mux.path(ID), Some(MediaPath::IceTcp));
    rig.deliver(&nominating);
    rig.send(true, 1_000);
    assert_eq!((rig.mux.path(ID), rig.mux.stream_of(ID)), (Some(MediaPath::Udp), None));
    rig.until("frame", |r| r.viewer.received.last().is_some_and(|p| p.header.marker));
    assert!(matches!(rig.events.back(), Some(PeerEvent::Path(MediaPath::Udp))), "{:?}", rig.events);

    // The core's own pair is silent, but its viewer is not.
    rig.events.clear();
    let deadline = rig.now + Duration::from_secs(60);
    while rig.now < deadline {
        rig.step();
    }
    assert!(rig.events.is_empty(), "{:?}", rig.events);
    assert!(rig.mux.round_trip(ID).is_some());
}

#[test]
fn media_goes_nowhere_because_of_a_replayed_check() {
    let mut rig = Rig::connected();
    let nominating = rig.nominating();
    for _ in 0..10 {
        rig.mux.handle_datagram(rig.now, at(GATEWAY), at(STRANGER), &nominating);
        rig.send(true, 1_000);
        while let [first, ..] = &rig.mux.stage().next_batch(1)[..] {
            let is_check = first.contents[0] < 2;
            assert!(first.to == at(VIEWER) || is_check, "media to an address that answered nothing");
        }
    }
    assert_eq!(rig.mux.path(ID), Some(MediaPath::Udp));
}

#[test]
fn offers_of_browsers_are_answered() {
    for (browser, codec) in [("chromium", Codec::H264), ("firefox", Codec::Vp8)] {
        let file = format!("{}/fuzz/corpus/offer/{browser}.sdp", env!("CARGO_MANIFEST_DIR"));
        let offer = std::fs::read_to_string(file).unwrap();
        let (peer, answer) =
            Peer::answer(config(), &offer, &[Codec::H264, Codec::Vp8], Instant::now()).unwrap();
        assert_eq!(peer.codec(), codec, "{browser}");
        assert!(answer.contains("a=candidate:"), "{browser}");
    }
}

#[test]
fn offers_that_cannot_be_answered_are_errors() {
    let now = Instant::now();
    let viewer = Viewer::new(now);
    let refused =
        |offer: &str, usable: &[Codec]| Peer::answer(config(), offer, usable, now).map(|_| ()).unwrap_err();
    assert_eq!(refused("", &[Codec::H264]), OfferError::NoVideo);
    assert!(matches!(refused(&viewer.offer.replace("VP8/", "XX/"), &[Codec::Vp8]), OfferError::NoCodec(_)));
    let no_ice = viewer.offer.replace("a=ice-ufrag", "a=x-ice").replace("a=fingerprint", "a=x-print");
    assert!(matches!(refused(&no_ice, &[Codec::H264]), OfferError::Refused(_)));
    let undirected = viewer.offer.replace("a=recvonly\r\n", "");
    assert!(matches!(refused(&undirected, &[Codec::H264]), OfferError::Refused(_)), "`rtc` leaves it out");
    for cut in (0..viewer.offer.len()).step_by(37) {
        let _ = Peer::answer(config(), &viewer.offer[..cut], &[Codec::H264], now);
    }
}
