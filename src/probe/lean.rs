//! A viewer on `rtc`: without decoding, so that one machine can be many of them, and over TCP (RFC 6544), which
//! libnice does not do well enough.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use rtc::data_channel::RTCDataChannelInit;
use rtc::ice::tcp_type::TcpType;
use rtc::interceptor::Registry;
use rtc::peer_connection::configuration::interceptor_registry::register_default_interceptors;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::event::RTCPeerConnectionEvent;
use rtc::peer_connection::message::RTCMessage;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::state::{RTCIceConnectionState, RTCPeerConnectionState};
use rtc::peer_connection::transport::{CandidateConfig, CandidateHostConfig, RTCIceCandidate};
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use rtc::sansio::Protocol;
use rtc::shared::error::Error;
use rtc::shared::tcp_framing::{TcpFrameDecoder, frame_packet};
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{sleep_until, timeout};

use crate::wire::{CONTROL_CHANNEL, MOTION_CHANNEL};

/// For the gateway to take a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Largest datagram.
const DATAGRAM: usize = 2_048;
/// Events that may wait.
const EVENTS: usize = 1_024;
/// What may wait to be written to a stream, in bytes; what is over it is lost, as on UDP.
const BACKLOG: usize = 256 << 10;
/// Port of a candidate that only opens connections (RFC 6544 §4.5).
const DISCARD: u16 = 9;

/// What happened.
#[derive(Debug)]
pub enum LeanEvent {
    /// ICE found a pair.
    Ice,
    /// ICE and DTLS are through.
    Connected,
    /// The gateway is lost.
    Lost,
    /// A packet of video.
    Packet(rtc::rtp::Packet),
    /// A message on the control channel.
    Text(String),
}

enum Wire {
    Udp(UdpSocket),
    /// `local` is our candidate's address.
    Tcp {
        local: SocketAddr,
        stream: Option<Framed>,
    },
}

struct Framed {
    stream: TcpStream,
    decoder: TcpFrameDecoder,
    out: BytesMut,
}

/// One viewer's media. Sends and receives while [`Lean::next`] is awaited.
pub struct Lean {
    pc: RTCPeerConnection,
    wire: Wire,
    events: VecDeque<LeanEvent>,
}

fn refused(error: &Error) -> String {
    format!("rtc: {error}")
}

impl Lean {
    /// A viewer that takes UDP at a port of `local`.
    ///
    /// # Errors
    /// For people.
    pub async fn udp(local: IpAddr) -> Result<Self, String> {
        let socket = UdpSocket::bind((local, 0)).await.map_err(|e| format!("{local}: {e}"))?;
        let at = socket.local_addr().map_err(|e| e.to_string())?;
        let pc = peer_connection(host_candidate("udp", at, TcpType::Unspecified)).map_err(|e| refused(&e))?;
        Ok(Self { pc, wire: Wire::Udp(socket), events: VecDeque::new() })
    }

    /// A viewer that opens a TCP connection from `local`, once it knows where to.
    ///
    /// # Errors
    /// For people.
    pub fn tcp(local: IpAddr) -> Result<Self, String> {
        let at = SocketAddr::new(local, DISCARD);
        let pc = peer_connection(host_candidate("tcp", at, TcpType::Active)).map_err(|e| refused(&e))?;
        Ok(Self { pc, wire: Wire::Tcp { local: at, stream: None }, events: VecDeque::new() })
    }

    /// Its offer, candidates inside.
    pub fn offer(&self) -> String {
        self.pc.local_description().map(|d| d.sdp).unwrap_or_default()
    }

    /// Takes the gateway's answer; `remotes` are its candidates, best first.
    ///
    /// # Errors
    /// When it cannot be used, or no connection is taken; for people.
    pub async fn accept(&mut self, sdp: &str, remotes: &[SocketAddr]) -> Result<(), String> {
        if let Wire::Tcp { stream, .. } = &mut self.wire {
            *stream = Some(Framed::open(remotes).await?);
        }
        let answer = RTCSessionDescription::answer(sdp.to_owned()).map_err(|e| refused(&e))?;
        self.pc.set_remote_description(Instant::now(), answer).map_err(|e| refused(&e))?;
        self.pump();
        Ok(())
    }

    /// Where media goes from, and to.
    pub fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        match &self.wire {
            Wire::Udp(_) => None,
            Wire::Tcp { stream, .. } => {
                let stream = &stream.as_ref()?.stream;
                Some((stream.local_addr().ok()?, stream.peer_addr().ok()?))
            }
        }
    }

    /// What happens next. May be cancelled.
    pub async fn next(&mut self) -> LeanEvent {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            let timer = self.pc.poll_timeout();
            tokio::select! {
                () = self.wire.ready() => self.read(),
                () = until(timer) => {
                    // What it cannot do it says by its state.
                    let _ = self.pc.handle_timeout(Instant::now());
                }
            }
            self.pump();
        }
    }

    fn read(&mut self) {
        let mut buffer = [0; DATAGRAM];
        // What comes faster than it is taken waits in the socket.
        while self.events.len() < EVENTS
            && let Some((from, to, message)) = self.wire.receive(&mut buffer)
        {
            let transport = TransportContext {
                local_addr: to,
                peer_addr: from,
                transport_protocol: self.wire.protocol(),
                ecn: None,
            };
            // A packet that cannot be used is one that was lost.
            let _ = self.pc.handle_read(TaggedBytesMut { now: Instant::now(), transport, message });
            self.pump();
        }
    }

    fn pump(&mut self) {
        while let Some(out) = self.pc.poll_write() {
            self.wire.send(&out.message, out.transport.peer_addr);
        }
        self.wire.flush();
        while let Some(event) = self.pc.poll_event() {
            let event = match event {
                RTCPeerConnectionEvent::OnIceConnectionStateChangeEvent(
                    RTCIceConnectionState::Connected | RTCIceConnectionState::Completed,
                ) => LeanEvent::Ice,
                RTCPeerConnectionEvent::OnConnectionStateChangeEvent(RTCPeerConnectionState::Connected) => {
                    LeanEvent::Connected
                }
                RTCPeerConnectionEvent::OnConnectionStateChangeEvent(
                    RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed,
                ) => LeanEvent::Lost,
                _ => continue,
            };
            self.events.push_back(event);
        }
        while let Some(message) = self.pc.poll_read() {
            match message.message {
                RTCMessage::RtpPacket(_, packet) => self.events.push_back(LeanEvent::Packet(packet)),
                RTCMessage::DataChannelMessage(_, m) if m.is_string => {
                    self.events.push_back(LeanEvent::Text(String::from_utf8_lossy(&m.data).into_owned()));
                }
                _ => {}
            }
        }
    }
}

impl Drop for Lean {
    fn drop(&mut self) {
        // The gateway hears of it at once instead of waiting for silence.
        let _ = self.pc.close();
        self.pump();
    }
}

async fn until(timer: Option<Instant>) {
    match timer {
        Some(at) => sleep_until(at.into()).await,
        None => pending().await,
    }
}

impl Wire {
    fn protocol(&self) -> TransportProtocol {
        match self {
            Self::Udp(_) => TransportProtocol::UDP,
            Self::Tcp { .. } => TransportProtocol::TCP,
        }
    }

    /// Waits until something can be read, or what waits can be written. May be cancelled.
    async fn ready(&mut self) {
        // An error shows when it is read.
        let _ = match self {
            Self::Udp(socket) => socket.readable().await,
            Self::Tcp { stream: None, .. } => pending().await,
            Self::Tcp { stream: Some(framed), .. } if framed.out.is_empty() => framed.stream.readable().await,
            Self::Tcp { stream: Some(framed), .. } => {
                tokio::select! {
                    readable = framed.stream.readable() => readable,
                    writable = framed.stream.writable() => writable,
                }
            }
        };
    }

    /// One message: from, to, bytes.
    fn receive(&mut self, buffer: &mut [u8]) -> Option<(SocketAddr, SocketAddr, BytesMut)> {
        match self {
            Self::Udp(socket) => {
                let (length, from) = socket.try_recv_from(buffer).ok()?;
                Some((from, socket.local_addr().ok()?, BytesMut::from(&buffer[..length])))
            }
            Self::Tcp { local, stream } => {
                let framed = stream.as_mut()?;
                let from = framed.stream.peer_addr().ok()?;
                loop {
                    if let Some(packet) = framed.decoder.next_packet() {
                        return Some((from, *local, BytesMut::from(&packet[..])));
                    }
                    match framed.stream.try_read(buffer) {
                        Ok(length @ 1..) => framed.decoder.extend_from_slice(&buffer[..length]),
                        Err(e) if e.kind() == io::ErrorKind::WouldBlock => return None,
                        // The gateway hung up: ICE finds that nobody answers.
                        Ok(_) | Err(_) => {
                            *stream = None;
                            return None;
                        }
                    }
                }
            }
        }
    }

    fn send(&mut self, message: &[u8], to: SocketAddr) {
        match self {
            Self::Udp(socket) => {
                // What the socket does not take is lost, as it might be on its way.
                let _ = socket.try_send_to(message, to);
            }
            Self::Tcp { stream: Some(framed), .. } if framed.out.len() < BACKLOG => {
                framed.out.extend_from_slice(&frame_packet(message));
            }
            Self::Tcp { .. } => {}
        }
    }

    fn flush(&mut self) {
        if let Self::Tcp { stream: Some(framed), .. } = self {
            while !framed.out.is_empty() {
                match framed.stream.try_write(&framed.out) {
                    Ok(written) => framed.out.advance(written),
                    Err(_) => return,
                }
            }
        }
    }
}

impl Framed {
    fn new(stream: TcpStream) -> Self {
        Self { stream, decoder: TcpFrameDecoder::new(), out: BytesMut::new() }
    }

    async fn open(remotes: &[SocketAddr]) -> Result<Self, String> {
        let mut why = "no candidate".to_owned();
        for remote in remotes {
            match timeout(CONNECT, TcpStream::connect(remote)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true).map_err(|e| e.to_string())?;
                    return Ok(Self::new(stream));
                }
                Ok(Err(error)) => why = format!("{remote}: {error}"),
                Err(_) => why = format!("{remote} takes no connection"),
            }
        }
        Err(why)
    }
}

fn host_candidate(network: &str, at: SocketAddr, tcp_type: TcpType) -> CandidateHostConfig {
    CandidateHostConfig {
        base_config: CandidateConfig {
            network: network.to_owned(),
            address: at.ip().to_string(),
            port: at.port(),
            component: 1,
            ..Default::default()
        },
        tcp_type,
    }
}

fn builder() -> Result<RTCPeerConnection, Error> {
    let mut engine = MediaEngine::default();
    engine.register_default_codecs()?;
    let registry = register_default_interceptors(Registry::new(), &mut engine)?;
    RTCPeerConnectionBuilder::new()
        .with_media_engine(engine)
        .with_interceptor_registry(registry)
        .build(Instant::now())
}

fn add_candidate(pc: &mut RTCPeerConnection, candidate: CandidateHostConfig) -> Result<(), Error> {
    let candidate = RTCIceCandidate::from(&candidate.new_candidate_host()?);
    pc.add_local_candidate(candidate.to_json()?)
}

/// A peer connection that has made its offer: video to receive, and the two channels of the page.
fn peer_connection(candidate: CandidateHostConfig) -> Result<RTCPeerConnection, Error> {
    let mut pc = builder()?;
    let receive =
        RTCRtpTransceiverInit { direction: RTCRtpTransceiverDirection::Recvonly, ..Default::default() };
    pc.add_transceiver_from_kind(RtpCodecKind::Video, Some(receive))?;
    let negotiated = |id| RTCDataChannelInit { negotiated: Some(id), ..Default::default() };
    pc.create_data_channel("control", Some(negotiated(CONTROL_CHANNEL)))?;
    let motion =
        RTCDataChannelInit { ordered: false, max_retransmits: Some(0), ..negotiated(MOTION_CHANNEL) };
    pc.create_data_channel("motion", Some(motion))?;
    let offer = pc.create_offer(None)?;
    pc.set_local_description(Instant::now(), offer)?;
    add_candidate(&mut pc, candidate)?;
    Ok(pc)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::super::path::{candidates, filter_answer};
    use super::*;

    /// For everything that must happen.
    const DEADLINE: Duration = Duration::from_secs(30);

    async fn connected(lean: &mut Lean) {
        while !matches!(lean.next().await, LeanEvent::Connected) {}
    }

    /// The other side of RFC 6544: a passive candidate, answering.
    async fn answering(listener: &TcpListener, offer: &str) -> Lean {
        let at = listener.local_addr().unwrap();
        let mut pc = builder().unwrap();
        let offer = RTCSessionDescription::offer(offer.to_owned()).unwrap();
        pc.set_remote_description(Instant::now(), offer).unwrap();
        add_candidate(&mut pc, host_candidate("tcp", at, TcpType::Passive)).unwrap();
        let answer = pc.create_answer(None).unwrap();
        pc.set_local_description(Instant::now(), answer).unwrap();
        Lean { pc, wire: Wire::Tcp { local: at, stream: None }, events: VecDeque::new() }
    }

    #[tokio::test]
    async fn a_passive_candidate_is_connected_to() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut viewer = Lean::tcp([127, 0, 0, 1].into()).unwrap();
        let mut gateway = answering(&listener, &viewer.offer()).await;
        let answer = filter_answer(&gateway.pc.local_description().unwrap().sdp, "tcp").unwrap();
        viewer.accept(&answer, &candidates(&answer)).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let Wire::Tcp { stream: end, .. } = &mut gateway.wire else { panic!("no TCP") };
        *end = Some(Framed::new(stream));
        let both = async {
            let mut seen = (false, false);
            while seen != (true, true) {
                tokio::select! {
                    () = connected(&mut viewer), if !seen.0 => seen.0 = true,
                    () = connected(&mut gateway), if !seen.1 => seen.1 = true,
                }
            }
        };
        timeout(DEADLINE, both).await.expect("both are connected");
        assert_eq!(viewer.ends().map(|(_, remote)| remote), listener.local_addr().ok());
    }
}
