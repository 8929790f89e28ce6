//! PURE. One viewer's WebRTC connection over `rtc`: datagrams in, datagrams and events out.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rtc::data_channel::RTCDataChannelId;
use rtc::peer_connection::RTCPeerConnection;
use rtc::peer_connection::event::{RTCDataChannelEvent, RTCPeerConnectionEvent};
use rtc::peer_connection::message::{RTCMessage, TaggedRTCMessage};
use rtc::peer_connection::state::RTCPeerConnectionState;
use rtc::peer_connection::transport::{RTCDtlsTransportState, RTCIceCandidateInit};
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use rtc::rtp_transceiver::RTCRtpSenderId;
use rtc::sansio::Protocol;
use rtc::shared::time::SystemInstant;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};

use super::build::{self, PeerConfig};
use super::feedback::Arrivals;
use super::offer::{self, OfferError};
use super::packetize::PacketizedFrame;
use super::repair::{RepairWay, Repairs};
use super::send::Class;
use super::srtp_keys::SrtpKeys;
use super::video::{MediaPacket, Negotiated, Resent, Video};
use crate::frame::Codec;
use crate::session::Limit;
use crate::wire::signal::MediaPath;

/// RTP clock of video (RFC 6184 §5.1, RFC 7741 §4.1).
const CLOCK_HZ: u128 = 90_000;
/// Candidates taken from one viewer, trickled ones included.
const MAX_REMOTE_CANDIDATES: usize = 64;
/// A peer that has not connected by then never will: nobody is there, or not the one whose certificate was offered, which
/// `rtc` 0.21 refuses without a word.
const CONNECT: Duration = Duration::from_secs(30);
/// RFC 3550 §6.2 has it rarer at rates like ours; browsers send them as often.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// What may wait in the control channel before messages are dropped, in bytes.
const MAX_CONTROL_BACKLOG: usize = 1 << 20;

/// A datagram to send.
#[derive(Clone, Debug)]
pub struct Transmit {
    /// Which of our addresses it leaves from: the candidate's.
    pub from: SocketAddr,
    /// Where it goes.
    pub to: SocketAddr,
    /// The datagram.
    pub contents: BytesMut,
    /// The connection that it leaves on; none: the UDP socket.
    pub stream: Option<u64>,
    /// How urgent it is.
    pub class: Class,
}

/// What a peer has to say.
#[derive(Debug)]
pub enum PeerEvent {
    /// ICE and DTLS are up: media flows from the next key frame on.
    Connected,
    /// No answer for 5 s; may come back.
    Disconnected,
    /// Gone for good.
    Failed(String),
    /// Its media goes this way from now on.
    Path(MediaPath),
    /// The control channel opened: JSON goes that way from now on.
    ControlOpen,
    /// The decoder lost its reference (PLI or FIR).
    KeyframeRequest,
    /// Which packets have arrived, and when.
    Arrivals(Arrivals),
    /// Packets of video are missed: see [`Peer::resend`].
    Missing(TransportLayerNack),
    /// What the way to this viewer carries has changed.
    Limit(Limit),
    /// A text message of the control channel.
    Text(Bytes),
    /// A binary message of the control or the motion channel.
    Input(Bytes),
}

/// One viewer's connection.
pub struct Peer {
    pc: RTCPeerConnection,
    /// When the core is due, once it was asked: that walks all of it, and is asked before every wait of the loop.
    core_due: Option<Option<Instant>>,
    codec: Codec,
    password: String,
    video: RTCRtpSenderId,
    negotiated: Negotiated,
    keys: SrtpKeys,
    /// What encrypts and sends the video, once there are keys.
    sender: Option<Video>,
    /// Packets that wait to be sent.
    media: VecDeque<MediaPacket>,
    control: RTCDataChannelId,
    motion: RTCDataChannelId,
    sequence: u16,
    timestamp_base: u32,
    /// When the last frame was captured, by the RTP clock.
    last_ticks: Option<u64>,
    epoch: Instant,
    /// What the calendar said then, since the Unix epoch.
    unix: Duration,
    /// When the next sender report is due.
    report_at: Option<Instant>,
    connected: bool,
    /// When it is given up; nothing once it was connected.
    give_up_at: Option<Instant>,
    gave_up: bool,
    control_open: bool,
    /// In an infinite GOP a decoder can start at nothing but a key frame.
    awaits_keyframe: bool,
    remote_candidates: usize,
    /// What came in one packet with something else.
    said: VecDeque<PeerEvent>,
}

impl Peer {
    /// Answers `offer` with the first of `usable` that it has. The answer is complete: candidates inside.
    ///
    /// # Errors
    /// [`OfferError`] for an offer without video, without a codec in common, or that `rtc` refuses or fails at.
    pub fn answer(
        config: PeerConfig,
        offer: &str,
        usable: &[Codec],
        now: Instant,
    ) -> Result<(Self, String), OfferError> {
        let format = offer::choose(offer, usable)?;
        // A stranger's text in a young parser: see `Mux::with_peer`.
        let built = catch_unwind(AssertUnwindSafe(|| build::answer(&config, &format, offer, now)))
            .unwrap_or_else(|_| Err(OfferError::Refused("internal error".to_owned())))?;
        let peer = Self {
            pc: built.pc,
            core_due: None,
            codec: format.codec,
            password: config.password,
            video: built.video,
            negotiated: built.negotiated,
            keys: built.keys,
            sender: None,
            media: VecDeque::new(),
            control: built.control,
            motion: built.motion,
            sequence: config.sequence,
            timestamp_base: config.timestamp,
            last_ticks: None,
            epoch: now,
            unix: config.unix,
            report_at: None,
            connected: false,
            give_up_at: Some(now + CONNECT),
            gave_up: false,
            control_open: false,
            awaits_keyframe: true,
            remote_candidates: 0,
            said: VecDeque::new(),
        };
        Ok((peer, built.answer))
    }

    /// The core, whose next deadline may be another one afterwards.
    fn core(&mut self) -> &mut RTCPeerConnection {
        self.core_due = None;
        &mut self.pc
    }

    /// Whether its viewer tells which packets arrive.
    pub fn is_told_of(&self) -> bool {
        self.negotiated.transport_cc.is_some()
    }

    /// The negotiated codec.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Our ICE password, to check the integrity of what claims to be for this peer.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// True once media may flow.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Takes a trickled candidate; ignores what it cannot use, and everything past the 64th.
    pub fn add_remote_candidate(&mut self, candidate: String, mid: Option<String>, index: Option<u16>) {
        if self.remote_candidates >= MAX_REMOTE_CANDIDATES || candidate.contains(".local ") {
            return;
        }
        self.remote_candidates += 1;
        let init = RTCIceCandidateInit {
            candidate,
            sdp_mid: mid,
            sdp_mline_index: index,
            ..RTCIceCandidateInit::default()
        };
        if let Err(error) = self.core().add_remote_candidate(init) {
            tracing::debug!(%error, "candidate refused");
        }
    }

    /// Feeds one datagram that was sent to our address `local`.
    pub fn handle_datagram(&mut self, now: Instant, local: SocketAddr, from: SocketAddr, bytes: &[u8]) {
        let message = TaggedBytesMut {
            now,
            transport: TransportContext {
                local_addr: local,
                peer_addr: from,
                transport_protocol: TransportProtocol::UDP,
                ecn: None,
            },
            message: BytesMut::from(bytes),
        };
        if let Err(error) = self.core().handle_read(message) {
            tracing::debug!(%error, "datagram refused");
        }
    }

    /// Fires what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.gave_up |= self.give_up_at.take_if(|at| now >= *at).is_some();
        if self.report_at.is_some_and(|at| now >= at) {
            self.report(now);
        }
        if let Err(error) = self.core().handle_timeout(now) {
            tracing::debug!(%error, "timer refused");
        }
    }

    /// When [`Self::handle_timeout`] must be called next. Read again after every other call.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        let core = *self.core_due.get_or_insert_with(|| self.pc.poll_timeout());
        [core, self.give_up_at, self.report_at].into_iter().flatten().min()
    }

    /// Queues one frame; false if it was left out because a key frame must come first.
    pub fn send_frame(&mut self, now: Instant, frame: &PacketizedFrame) -> bool {
        if !self.connected || (self.awaits_keyframe && !frame.keyframe) {
            return false;
        }
        let ticks = self.frame_ticks(frame.captured_at);
        let timestamp = self.rtp_timestamp(ticks);
        let Some(sender) = &mut self.sender else { return false };
        self.last_ticks = Some(ticks);
        self.awaits_keyframe = false;
        if frame.keyframe {
            sender.begin_keyframe();
        }
        let last = frame.payloads.len().saturating_sub(1);
        for (i, payload) in frame.payloads.iter().enumerate() {
            match sender.send(timestamp, i == last, payload) {
                Ok(packet) => self.media.push_back(packet),
                Err(error) => tracing::debug!(%error, "RTP packet left out"),
            }
        }
        self.report_at.get_or_insert(now + REPORT_EVERY);
        true
    }

    /// Takes the next packet of video to send, where [`Self::poll_transmit`] says that media goes.
    pub fn poll_media(&mut self) -> Option<MediaPacket> {
        self.media.pop_front()
    }

    fn report(&mut self, now: Instant) {
        self.report_at = Some(now + REPORT_EVERY);
        let ntp = SystemInstant::unix2ntp(self.unix + now.saturating_duration_since(self.epoch));
        let rtp_time = self.rtp_timestamp(self.ticks(now));
        let report = self.sender.as_ref().and_then(|sender| sender.report(ntp, rtp_time));
        let video = self.video;
        if let (Some(report), Some(mut sender)) = (report, self.core().rtp_sender(video))
            && let Err(error) = sender.write_rtcp(now, vec![Box::new(report)])
        {
            tracing::debug!(%error, "sender report left out");
        }
    }

    /// Later than the frame before: where the renditions of two tiers encode one capture, a viewer that changes tiers may get
    /// both, and libwebrtc takes a key frame that is not newer for one that it has had.
    fn frame_ticks(&self, captured_at: Instant) -> u64 {
        let ticks = self.ticks(captured_at);
        self.last_ticks.map_or(ticks, |last| ticks.max(last + 1))
    }

    fn rtp_timestamp(&self, ticks: u64) -> u32 {
        self.timestamp_base.wrapping_add(ticks as u32)
    }

    fn ticks(&self, at: Instant) -> u64 {
        (at.saturating_duration_since(self.epoch).as_micros() * CLOCK_HZ / 1_000_000) as u64
    }

    /// The next frame for this viewer must be a key frame.
    pub fn require_keyframe(&mut self) {
        self.awaits_keyframe = true;
    }

    /// Sends a text message over the control channel; false if that is not open or is not being drained.
    pub fn send_text(&mut self, now: Instant, text: String) -> bool {
        if !self.control_open {
            return false;
        }
        let control = self.control;
        let Some(mut channel) = self.core().data_channel(control) else { return false };
        if channel.outstanding_bytes() > MAX_CONTROL_BACKLOG {
            return false;
        }
        channel.send_text(now, text).is_ok()
    }

    /// Takes the next datagram to send. Drained after every other call.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        let message = self.core().poll_write()?;
        Some(Transmit {
            from: message.transport.local_addr,
            to: message.transport.peer_addr,
            class: Class::of(&message.message),
            contents: message.message,
            stream: None,
        })
    }

    /// Takes the next event. Drained after every other call.
    pub fn poll_event(&mut self) -> Option<PeerEvent> {
        if std::mem::take(&mut self.gave_up) {
            return Some(PeerEvent::Failed("no connection within 30 s".to_owned()));
        }
        while let Some(event) = self.core().poll_event() {
            if let Some(event) = self.connection_event(event) {
                return Some(event);
            }
        }
        loop {
            if let Some(event) = self.said.pop_front() {
                return Some(event);
            }
            let TaggedRTCMessage { message, .. } = self.core().poll_read()?;
            if let Some(event) = self.message_event(message) {
                return Some(event);
            }
        }
    }

    fn connection_event(&mut self, event: RTCPeerConnectionEvent) -> Option<PeerEvent> {
        match event {
            RTCPeerConnectionEvent::OnConnectionStateChangeEvent(state) => match state {
                RTCPeerConnectionState::Connected if self.takes_keys() => {
                    self.connected = true;
                    self.give_up_at = None;
                    Some(PeerEvent::Connected)
                }
                RTCPeerConnectionState::Disconnected => Some(PeerEvent::Disconnected),
                RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed => {
                    self.connected = false;
                    Some(PeerEvent::Failed(format!("the connection is {state}")))
                }
                _ => None,
            },
            RTCPeerConnectionEvent::OnDataChannel(RTCDataChannelEvent::OnOpen(id)) if id == self.control => {
                self.control_open = true;
                Some(PeerEvent::ControlOpen)
            }
            RTCPeerConnectionEvent::OnDataChannel(RTCDataChannelEvent::OnClose(id)) if id == self.control => {
                self.control_open = false;
                self.connected = false;
                // A page closes it with the connection only. `rtc` 0.21 shows an orderly end by nothing else.
                Some(PeerEvent::Failed("the viewer closed the connection".to_owned()))
            }
            _ => None,
        }
    }

    /// "Connected" counts DTLS that was closed too, were it by an alert before it had keys (W3C webrtc §4.3.3).
    fn takes_keys(&mut self) -> bool {
        if self.sender.is_some() {
            return true;
        }
        let video = self.video;
        let sender = self.core().rtp_sender(video);
        let dtls = sender.as_ref().and_then(|sender| sender.transport()).map(|transport| transport.state());
        if dtls != Some(RTCDtlsTransportState::Connected) {
            return false;
        }
        match self.keys.take() {
            Ok(srtp) => self.sender = Some(Video::new(srtp, self.negotiated, self.sequence)),
            Err(error) => tracing::error!(%error, code = "no-srtp-keys", "this viewer gets no video"),
        }
        self.sender.is_some()
    }

    /// Sends again what of these packets the way has room for. False if nothing but a key frame helps, which is required
    /// then.
    pub fn resend(
        &mut self,
        nack: &TransportLayerNack,
        way: &RepairWay,
        repairs: &mut Repairs,
        now: Instant,
    ) -> bool {
        let Some(sender) = &mut self.sender else { return true };
        match sender.resend(nack, way, repairs, now) {
            Ok(Resent { packets, refused }) => {
                self.media.extend(packets);
                self.awaits_keyframe |= refused;
                !refused
            }
            Err(error) => {
                tracing::debug!(%error, "retransmission left out");
                true
            }
        }
    }

    fn message_event(&mut self, message: RTCMessage) -> Option<PeerEvent> {
        match message {
            RTCMessage::DataChannelMessage(id, message) if id == self.control || id == self.motion => {
                let data = message.data.freeze();
                Some(if message.is_string { PeerEvent::Text(data) } else { PeerEvent::Input(data) })
            }
            RTCMessage::RtcpPacket(_, packets) => {
                let reports = packets.iter().filter_map(|p| p.as_any().downcast_ref::<TransportLayerCc>());
                self.said.extend(reports.map(|report| PeerEvent::Arrivals(report.into())));
                let nacks = packets.iter().filter_map(|p| p.as_any().downcast_ref::<TransportLayerNack>());
                self.said.extend(nacks.cloned().map(PeerEvent::Missing));
                let keyframe = packets
                    .iter()
                    .any(|p| p.as_any().is::<PictureLossIndication>() || p.as_any().is::<FullIntraRequest>());
                keyframe.then_some(PeerEvent::KeyframeRequest)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "peer_tests.rs"]
mod tests;
