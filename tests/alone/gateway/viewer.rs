//! A viewer without a browser, over real sockets: a WebSocket, and `rtc` on a UDP socket of its own.

use std::io;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc::data_channel::{RTCDataChannelId, RTCDataChannelInit};
use rtc::interceptor::Registry;
use rtc::peer_connection::configuration::interceptor_registry::register_default_interceptors;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::event::{RTCDataChannelEvent, RTCPeerConnectionEvent};
use rtc::peer_connection::message::RTCMessage;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::state::RTCPeerConnectionState;
use rtc::peer_connection::transport::{CandidateConfig, CandidateHostConfig, RTCIceCandidate};
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use rtc::sansio::Protocol;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

use super::{DEADLINE, Gateway, http};
use crate::xvfb::within;

/// Orders wait no longer than this.
const TURN: Duration = Duration::from_millis(5);

/// What a viewer has seen so far.
#[derive(Debug, Default)]
pub struct Seen {
    /// When each frame was complete.
    pub frames: Vec<Instant>,
    /// Messages of the gateway, by whatever way.
    pub messages: Vec<Value>,
    /// ICE and DTLS are up.
    pub connected: bool,
    /// Messages can go by the control channel.
    pub control_open: bool,
    /// The WebSocket ended.
    pub closed: bool,
    /// Video packets, retransmissions included.
    pub packets: u64,
}

/// Frames over a stretch of time.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Frames a second.
    pub fps: f64,
    /// Longest time without one, its ends included.
    pub longest_gap: Duration,
}

type Order = Box<dyn FnOnce(&mut Driver) + Send>;

/// Lives on a thread of its own until dropped.
pub struct Viewer {
    seen: Arc<Mutex<Seen>>,
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

impl Viewer {
    /// Says hello and offers; does not wait for the answer.
    pub fn join(gateway: &Gateway) -> Self {
        Self::join_with(gateway, &[], |sdp| sdp)
    }

    /// The same with headers of its own, and the gateway's answer changed on its way in.
    pub fn join_with(
        gateway: &Gateway,
        headers: &[(&'static str, &str)],
        answer: impl Fn(String) -> String + Send + 'static,
    ) -> Self {
        let socket = http::upgrade(gateway.address, headers).expect("an upgrade");
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let (orders, queue) = channel();
        let mut driver = Driver::new(socket, seen.clone(), Box::new(answer));
        driver.say(&http::hello());
        let sdp = driver.pc.local_description().expect("an offer was made").sdp;
        driver.say(&json!({ "type": "offer", "sdp": sdp }));
        let thread = std::thread::spawn(move || driver.run(queue));
        Self { seen, orders, thread: Some(thread) }
    }

    /// Joins and waits until frames come and messages can be sent.
    pub fn watching(gateway: &Gateway) -> Self {
        let viewer = Self::join(gateway);
        viewer.until("the first frame", |seen| !seen.frames.is_empty() && seen.control_open);
        viewer
    }

    /// What it has seen.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until what it has seen is enough.
    pub fn until(&self, what: &str, done: impl Fn(&Seen) -> bool) {
        within(DEADLINE, what, || done(&self.seen()).then_some(()));
    }

    /// Does something on the viewer's thread and waits until it is done.
    pub fn order<T: Send + 'static>(&self, f: impl FnOnce(&mut Driver) -> T + Send + 'static) -> T {
        let (tell, told) = channel();
        let order = move |driver: &mut Driver| drop(tell.send(f(driver)));
        self.orders.send(Box::new(order)).expect("the viewer runs");
        told.recv_timeout(DEADLINE).expect("the viewer obeys")
    }

    /// The flow of the next `frames` frames.
    pub fn flow(&self, frames: usize) -> Flow {
        let first = self.seen().frames.len();
        self.until("frames", |seen| seen.frames.len() > first + frames);
        self.flow_since(first, None)
    }

    /// The flow while `f` runs.
    pub fn flow_during(&self, f: impl FnOnce()) -> Flow {
        let first = self.seen().frames.len().saturating_sub(1);
        f();
        self.flow_since(first, Some(Instant::now()))
    }

    fn flow_since(&self, first: usize, end: Option<Instant>) -> Flow {
        let mut times = self.seen().frames[first..].to_vec();
        let frames = times.len().saturating_sub(1);
        times.extend(end);
        let gaps = times.windows(2).map(|w| w[1].saturating_duration_since(w[0]));
        let took = times.last().zip(times.first()).map_or(0.0, |(l, f)| (*l - *f).as_secs_f64());
        Flow { fps: frames as f64 / took, longest_gap: gaps.max().unwrap_or_default() }
    }

    /// A frame that is yet to come.
    pub fn next_frame(&self) {
        let now = self.seen().frames.len();
        self.until("another frame", |seen| seen.frames.len() > now);
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let (orders, _) = channel();
        // The loop ends with the last sender.
        self.orders = orders;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The viewer's sockets and its half of the connection.
pub struct Driver {
    /// Where its media goes and comes from.
    pub udp: UdpSocket,
    /// The gateway's media address, once the answer has come.
    pub remote: Option<SocketAddr>,
    /// Its WebSocket.
    pub socket: WebSocket<TcpStream>,
    /// Its half of the connection.
    pub pc: RTCPeerConnection,
    /// Its control channel.
    pub control: RTCDataChannelId,
    /// While true it neither sends nor hears: its network is gone.
    pub cut: bool,
    ssrc: Option<u32>,
    seen: Arc<Mutex<Seen>>,
    answer: Box<dyn Fn(String) -> String + Send>,
}

impl Driver {
    fn new(
        socket: WebSocket<TcpStream>,
        seen: Arc<Mutex<Seen>>,
        answer: Box<dyn Fn(String) -> String + Send>,
    ) -> Self {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a UDP port");
        udp.set_nonblocking(true).expect("a socket");
        socket.get_ref().set_nonblocking(true).expect("a socket");
        let (pc, control) = peer_connection(udp.local_addr().expect("bound"));
        Self { udp, remote: None, socket, pc, control, cut: false, ssrc: None, seen, answer }
    }

    /// Sends a message by the WebSocket.
    pub fn say(&mut self, message: &Value) {
        let _ = self.socket.send(Message::text(message.to_string()));
    }

    /// Sends bytes by the control channel.
    pub fn input(&mut self, bytes: &[u8]) -> bool {
        let control = self.control;
        let Some(mut channel) = self.pc.data_channel(control) else { return false };
        let sent = channel.send(Instant::now(), BytesMut::from(bytes)).is_ok();
        self.transmit();
        sent
    }

    /// Sends text by the control channel.
    pub fn text(&mut self, text: &str) -> bool {
        let control = self.control;
        let Some(mut channel) = self.pc.data_channel(control) else { return false };
        let sent = channel.send_text(Instant::now(), text).is_ok();
        self.transmit();
        sent
    }

    /// Asks for a key frame.
    pub fn picture_loss(&mut self) {
        let pli = PictureLossIndication { sender_ssrc: 1, media_ssrc: self.ssrc.unwrap_or_default() };
        for id in self.pc.get_receivers().collect::<Vec<_>>() {
            if let Some(mut receiver) = self.pc.rtp_receiver(id) {
                let _ = receiver.write_rtcp(Instant::now(), vec![Box::new(pli.clone())]);
            }
        }
        self.transmit();
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(mut self, queue: Receiver<Order>) {
        loop {
            loop {
                match queue.try_recv() {
                    Ok(order) => order(&mut self),
                    Err(std::sync::mpsc::TryRecvError::Empty) => break,
                    Err(std::sync::mpsc::TryRecvError::Disconnected) => return self.leave(),
                }
            }
            if !self.cut {
                self.read_socket();
                self.read_udp();
            }
            if self.pc.poll_timeout().is_some_and(|at| at <= Instant::now()) {
                let _ = self.pc.handle_timeout(Instant::now());
            }
            self.collect();
            self.transmit();
            self.wait();
        }
    }

    fn leave(mut self) {
        let _ = self.pc.close();
        self.transmit();
        let _ = self.socket.close(None);
        let _ = self.socket.flush();
    }

    fn wait(&mut self) {
        let timer = self.pc.poll_timeout().map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = timer.unwrap_or(TURN).min(TURN).try_into().ok();
        let mut fds = vec![PollFd::from_borrowed_fd(self.udp.as_fd(), PollFlags::IN)];
        if !self.seen().closed {
            fds.push(PollFd::from_borrowed_fd(self.socket.get_ref().as_fd(), PollFlags::IN));
        }
        let _ = poll(if self.cut { &mut [] } else { &mut fds }, timeout.as_ref());
    }

    fn read_socket(&mut self) {
        while !self.seen().closed {
            match self.socket.read() {
                Ok(Message::Text(text)) => self.message(&text),
                Ok(_) => {}
                Err(Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.seen().closed = true,
            }
        }
        let _ = self.socket.flush();
    }

    fn message(&mut self, text: &str) {
        let message: Value = serde_json::from_str(text).expect("JSON");
        if let Some(sdp) = message["sdp"].as_str().filter(|_| message["type"] == "answer") {
            let candidate = sdp.lines().find_map(|l| l.strip_prefix("a=candidate:"));
            let words: Vec<&str> = candidate.unwrap_or_default().split(' ').collect();
            self.remote = words.get(4..6).and_then(|w| format!("{}:{}", w[0], w[1]).parse().ok());
            let answer = RTCSessionDescription::answer((self.answer)(sdp.to_owned())).expect("an answer");
            self.pc.set_remote_description(Instant::now(), answer).expect("an answer that can be used");
        }
        self.seen().messages.push(message);
    }

    fn read_udp(&mut self) {
        let mut buffer = [0; 2_048];
        while let Ok((length, from)) = self.udp.recv_from(&mut buffer) {
            let transport = TransportContext {
                local_addr: self.udp.local_addr().expect("bound"),
                peer_addr: from,
                transport_protocol: TransportProtocol::UDP,
                ecn: None,
            };
            let message = BytesMut::from(&buffer[..length]);
            let _ = self.pc.handle_read(TaggedBytesMut { now: Instant::now(), transport, message });
            self.collect();
            self.transmit();
        }
    }

    fn transmit(&mut self) {
        while let Some(t) = self.pc.poll_write() {
            if !self.cut {
                let _ = self.udp.send_to(&t.message, t.transport.peer_addr);
            }
        }
    }

    fn collect(&mut self) {
        while let Some(event) = self.pc.poll_event() {
            match event {
                RTCPeerConnectionEvent::OnConnectionStateChangeEvent(state) => {
                    self.seen().connected = state == RTCPeerConnectionState::Connected;
                }
                RTCPeerConnectionEvent::OnDataChannel(RTCDataChannelEvent::OnOpen(id))
                    if id == self.control =>
                {
                    self.seen().control_open = true;
                }
                _ => {}
            }
        }
        while let Some(message) = self.pc.poll_read() {
            match message.message {
                RTCMessage::RtpPacket(_, packet) => {
                    self.ssrc = Some(packet.header.ssrc);
                    let mut seen = self.seen();
                    seen.packets += 1;
                    if packet.header.marker {
                        seen.frames.push(Instant::now());
                    }
                }
                RTCMessage::DataChannelMessage(_, m) if m.is_string => {
                    self.message(&String::from_utf8_lossy(&m.data));
                }
                _ => {}
            }
        }
    }
}

fn peer_connection(local: SocketAddr) -> (RTCPeerConnection, RTCDataChannelId) {
    let now = Instant::now();
    let mut engine = MediaEngine::default();
    engine.register_default_codecs().expect("codecs");
    let registry = register_default_interceptors(Registry::new(), &mut engine).expect("interceptors");
    let mut pc = RTCPeerConnectionBuilder::new()
        .with_media_engine(engine)
        .with_interceptor_registry(registry)
        .build(now)
        .expect("a peer connection");
    let receive =
        RTCRtpTransceiverInit { direction: RTCRtpTransceiverDirection::Recvonly, ..Default::default() };
    pc.add_transceiver_from_kind(RtpCodecKind::Video, Some(receive)).expect("video");
    let negotiated = |id| RTCDataChannelInit { negotiated: Some(id), ..Default::default() };
    let control = pc.create_data_channel("control", Some(negotiated(0))).expect("a channel").id();
    let motion = RTCDataChannelInit { ordered: false, max_retransmits: Some(0), ..negotiated(1) };
    pc.create_data_channel("motion", Some(motion)).expect("a channel");
    let offer = pc.create_offer(None).expect("an offer");
    pc.set_local_description(now, offer).expect("an offer of its own");
    let candidate = CandidateHostConfig {
        base_config: CandidateConfig {
            network: "udp".to_owned(),
            address: local.ip().to_string(),
            port: local.port(),
            component: 1,
            ..Default::default()
        },
        ..Default::default()
    };
    let candidate = RTCIceCandidate::from(&candidate.new_candidate_host().expect("a candidate"));
    pc.add_local_candidate(candidate.to_json().expect("JSON")).expect("a candidate of its own");
    (pc, control)
}

/// An offer such as viewers make, that nobody will follow up.
pub fn offer() -> String {
    let (pc, _) = peer_connection(([127, 0, 0, 1], 9).into());
    pc.local_description().expect("an offer was made").sdp
}
