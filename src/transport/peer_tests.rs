//! One peer against a viewer made of `rtc`, without the mux.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use rtc::data_channel::RTCDataChannelInit;
use rtc::interceptor::Registry;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::message::{RTCMessage, TaggedRTCMessage};
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::transport::{CandidateConfig, CandidateHostConfig, RTCIceCandidate};
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtcp;
use rtc::rtcp::transport_feedbacks::transport_layer_cc::{
    PacketStatusChunk, RecvDelta, RunLengthChunk, StatusChunkTypeTcc, SymbolTypeTcc, TransportLayerCc,
};
use rtc::rtcp::transport_feedbacks::transport_layer_nack::{NackPair, TransportLayerNack};
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use rtc::sansio::Protocol;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};

use super::super::build::PeerConfig;
use super::super::packetize::PacketizedFrame;
use super::super::video::{MediaPacket, ROOM};
use super::{Peer, PeerEvent};
use crate::frame::Codec;

const SSRC: u32 = 1_001;
const RTX: u32 = 1_002;

fn gateway() -> SocketAddr {
    "10.0.0.1:8080".parse().unwrap()
}

fn page() -> SocketAddr {
    "10.0.0.2:4000".parse().unwrap()
}

struct Rig {
    now: Instant,
    peer: Peer,
    viewer: RTCPeerConnection,
    events: Vec<PeerEvent>,
    media: Vec<MediaPacket>,
    received: Vec<rtc::rtp::Packet>,
}

impl Rig {
    /// Connected; `setup` is what the offer says of DTLS.
    fn new(setup: &str) -> Self {
        let now = Instant::now();
        let mut engine = MediaEngine::default();
        engine.register_default_codecs().unwrap();
        let mut viewer = RTCPeerConnectionBuilder::new()
            .with_media_engine(engine)
            .with_interceptor_registry(Registry::new())
            .build(now)
            .unwrap();
        let receive =
            RTCRtpTransceiverInit { direction: RTCRtpTransceiverDirection::Recvonly, ..Default::default() };
        viewer.add_transceiver_from_kind(RtpCodecKind::Video, Some(receive)).unwrap();
        let negotiated = |id| RTCDataChannelInit { negotiated: Some(id), ..Default::default() };
        viewer.create_data_channel("control", Some(negotiated(0))).unwrap();
        viewer.create_data_channel("motion", Some(negotiated(1))).unwrap();
        let offer = viewer.create_offer(None).unwrap();
        viewer.set_local_description(now, offer).unwrap();
        let candidate = CandidateHostConfig {
            base_config: CandidateConfig {
                network: "udp".to_owned(),
                address: page().ip().to_string(),
                port: page().port(),
                component: 1,
                ..Default::default()
            },
            ..Default::default()
        };
        let candidate = RTCIceCandidate::from(&candidate.new_candidate_host().unwrap());
        viewer.add_local_candidate(candidate.to_json().unwrap()).unwrap();
        let offer = viewer.local_description().unwrap().sdp.replace("a=setup:actpass", setup);
        let config = PeerConfig {
            ufrag: "gateway".into(),
            password: "a-password-of-24-letters".into(),
            candidates: vec![gateway()],
            ssrc: SSRC,
            rtx_ssrc: RTX,
            sequence: 5,
            timestamp: 0,
            unix: Duration::ZERO,
        };
        let (peer, answer) = Peer::answer(config, &offer, &[Codec::H264, Codec::Vp8], now).unwrap();
        // `rtc` 0.21 answers "active" to whatever is offered, although it takes the other role then.
        let answer = match setup {
            "a=setup:active" => answer.replace("a=setup:active", "a=setup:passive"),
            _ => answer,
        };
        viewer.set_remote_description(now, RTCSessionDescription::answer(answer).unwrap()).unwrap();
        let (events, media, received) = Default::default();
        let mut rig = Self { now, peer, viewer, events, media, received };
        let deadline = now + Duration::from_secs(20);
        while !rig.events.iter().any(|e| matches!(e, PeerEvent::Connected)) {
            assert!(rig.now < deadline, "{setup}: {:?}", rig.events);
            rig.step();
        }
        rig
    }

    fn transport(local_addr: SocketAddr, peer_addr: SocketAddr) -> TransportContext {
        TransportContext { local_addr, peer_addr, transport_protocol: TransportProtocol::UDP, ecn: None }
    }

    fn step(&mut self) {
        let mut moved = true;
        while moved {
            moved = false;
            while let Some(t) = self.viewer.poll_write() {
                self.peer.handle_datagram(self.now, gateway(), page(), &t.message);
                moved = true;
            }
            while let Some(event) = self.peer.poll_event() {
                self.events.push(event);
                moved = true;
            }
            let mut out = Vec::new();
            while let Some(t) = self.peer.poll_transmit() {
                out.push(t.contents);
            }
            while let Some(packet) = self.peer.poll_media() {
                let mut contents = packet.contents.clone();
                contents.advance(ROOM);
                out.push(contents);
                self.media.push(packet);
            }
            for message in out {
                let transport = Self::transport(page(), gateway());
                let _ = self.viewer.handle_read(TaggedBytesMut { now: self.now, transport, message });
                moved = true;
            }
            while self.viewer.poll_event().is_some() {}
            while let Some(message) = self.viewer.poll_read() {
                if let RTCMessage::RtpPacket(_, packet) = message.message {
                    self.received.push(packet);
                }
            }
        }
        self.now += Duration::from_millis(20);
        self.peer.handle_timeout(self.now);
        let _ = self.viewer.handle_timeout(self.now);
    }

    fn says(&mut self, packets: Vec<Box<dyn rtcp::Packet>>) {
        let message = RTCMessage::RtcpPacket("video".to_owned(), packets);
        self.viewer.handle_write(TaggedRTCMessage { now: self.now, message }).unwrap();
        self.step();
    }

    fn reports(&self) -> usize {
        self.events.iter().filter(|e| matches!(e, PeerEvent::Arrivals(_))).count()
    }

    fn send(&mut self) {
        self.send_captured_at(self.now);
    }

    fn send_captured_at(&mut self, captured_at: Instant) {
        let frame = PacketizedFrame {
            payloads: (0..4_u8).map(|n| Bytes::from(vec![0x65, n, 1, 2])).collect(),
            unit: Bytes::from_static(&[0, 0, 0, 1, 0x65]),
            keyframe: true,
            captured_at,
            damaged_at: captured_at,
        };
        assert!(self.peer.send_frame(self.now, &frame));
        self.step();
    }
}

fn report(media_ssrc: u32) -> Box<dyn rtcp::Packet> {
    let small = SymbolTypeTcc::PacketReceivedSmallDelta;
    Box::new(TransportLayerCc {
        sender_ssrc: 1,
        media_ssrc,
        base_sequence_number: 0,
        packet_status_count: 2,
        reference_time: 2,
        fb_pkt_count: 0,
        packet_chunks: vec![PacketStatusChunk::RunLengthChunk(RunLengthChunk {
            type_tcc: StatusChunkTypeTcc::RunLengthChunk,
            packet_status_symbol: small,
            run_length: 2,
        })],
        recv_deltas: vec![RecvDelta { type_tcc_packet: small, delta: 250 }; 2],
    })
}

fn nack(packet_id: u16) -> Box<dyn rtcp::Packet> {
    let nacks = vec![NackPair { packet_id, lost_packets: 0 }];
    Box::new(TransportLayerNack { sender_ssrc: 1, media_ssrc: SSRC, nacks })
}

#[test]
fn both_dtls_roles_give_our_own_key() {
    for setup in ["a=setup:actpass", "a=setup:active"] {
        let mut rig = Rig::new(setup);
        rig.send();
        assert_eq!(rig.received.len(), 4, "{setup}");
    }
}

#[test]
fn two_frames_of_one_capture_are_still_one_after_the_other() {
    let mut rig = Rig::new("a=setup:actpass");
    let captured = [rig.now, rig.now, rig.now - Duration::from_millis(5), rig.now + Duration::from_millis(9)];
    captured.into_iter().for_each(|at| rig.send_captured_at(at));
    let stamps: Vec<u32> = rig.received.chunks(4).map(|packets| packets[0].header.timestamp).collect();
    let since: Vec<u32> = stamps.iter().map(|stamp| stamp.wrapping_sub(stamps[0])).collect();
    assert_eq!(since, [0, 1, 2, 810]);
}

#[test]
fn a_report_on_the_last_retransmission_is_heard() {
    let mut rig = Rig::new("a=setup:actpass");
    rig.send();
    rig.says(vec![report(SSRC)]);
    assert_eq!(rig.reports(), 1);
    // libwebrtc writes the SSRC of the packet that came last.
    rig.says(vec![report(RTX)]);
    assert_eq!(rig.reports(), 2);
}

#[test]
fn what_follows_such_a_report_is_heard() {
    let mut rig = Rig::new("a=setup:actpass");
    rig.send();
    rig.says(vec![nack(6)]);
    let missing = |rig: &Rig| rig.events.iter().filter(|e| matches!(e, PeerEvent::Missing(_))).count();
    assert_eq!(missing(&rig), 1);
    rig.says(vec![report(RTX), nack(7)]);
    assert_eq!((missing(&rig), rig.reports()), (2, 1));
}
