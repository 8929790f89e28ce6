//! The gateway's loop: one thread that owns the session, every viewer's peer and the UDP socket.
//!
//! A key press comes in as a datagram and leaves as a desktop action without changing threads; a frame comes
//! from the encoder's thread and leaves in one send.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::mpsc;

use super::addresses::Addresses;
use super::ice_servers::IceServers;
use super::link::{Command, Link};
use super::metrics::Metrics;
use super::renditions::Renditions;
use crate::capture::{CaptureEvent, CaptureHandle, CursorImage};
use crate::config::SessionUid;
use crate::desktop::{DesktopEvent, DesktopHandle};
use crate::frame::{Codec, Size};
use crate::http::{SocketEvent, ToSocket, unix_now};
use crate::media::rendition::RenditionEvent;
use crate::session::{Input, Output, PhaseChange, Principal, RenditionKey, Session, Ticket};
use crate::transport::flow::Flow;
use crate::transport::mux::Mux;
use crate::transport::net::Net;
use crate::transport::peer::PeerEvent;
use crate::wire::media;
use crate::wire::signal::{ByeReason, ClientMessage, ServerMessage};

/// Commands taken before the sockets are looked at again.
const COMMANDS: usize = 256;
/// How often figures are brought up to date.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// Everything that the loop is made of.
pub struct Parts {
    /// The session's name.
    pub name: String,
    /// Its UID, if it is one of Kubernetes'.
    pub uid: Option<SessionUid>,
    /// Signs tickets.
    pub ticket_key: Vec<u8>,
    /// The session.
    pub session: Session,
    /// Every peer.
    pub mux: Mux,
    /// The socket.
    pub net: Net,
    /// What viewers are offered.
    pub addresses: Addresses,
    /// STUN and TURN servers that viewers are told of.
    pub ice: IceServers,
    /// The encoders.
    pub renditions: Renditions,
    /// The capture.
    pub capture: CaptureHandle,
    /// The desktop; the test source has none.
    pub desktop: Option<DesktopHandle>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// See `Fault::StallEncoder`.
    pub stall_encoder: bool,
    /// For flags.
    pub link: Link,
}

pub(super) struct Socket {
    pub outbox: mpsc::Sender<ToSocket>,
    /// TLS on it ends in this gateway.
    pub tls: bool,
    pub viewer: Option<u32>,
    /// Video on this socket: its codec, and what is on its way.
    pub stream: Option<(Codec, Flow)>,
}

/// See the module.
pub struct Heart {
    pub(super) parts: Parts,
    queue: Receiver<Command>,
    pub(super) sockets: HashMap<u64, Socket>,
    pub(super) size: Option<Size>,
    display_up: bool,
    pub(super) proved: bool,
    next_tick: Instant,
    pub(super) stall_at: Option<Instant>,
    stopping: bool,
    /// Where the clock of frames on WebSockets begins.
    pub(super) epoch: Instant,
    /// Frames so far.
    pub(super) frames: u32,
}

impl Heart {
    /// A loop over `parts` that takes commands from `queue`.
    pub fn new(parts: Parts, queue: Receiver<Command>) -> Self {
        Self {
            parts,
            queue,
            sockets: HashMap::new(),
            size: None,
            display_up: false,
            proved: false,
            next_tick: Instant::now(),
            stall_at: None,
            stopping: false,
            epoch: Instant::now(),
            frames: 0,
        }
    }

    /// Runs until [`Command::Shutdown`].
    pub fn run(mut self) {
        while !self.stopping {
            let now = Instant::now();
            self.timeouts(now);
            let mut more = true;
            for _ in 0..COMMANDS {
                let Ok(command) = self.queue.try_recv() else {
                    more = false;
                    break;
                };
                self.command(command, Instant::now());
            }
            let mux = &mut self.parts.mux;
            self.parts
                .net
                .receive(|local, from, bytes| mux.handle_datagram(Instant::now(), local, from, bytes));
            let streams = &mut self.parts.net.streams;
            streams.serve(now, |source, bytes| mux.handle_stream(Instant::now(), source, bytes));
            streams.take_closed().into_iter().for_each(|source| mux.stream_closed(source));
            self.pump();
            self.parts.net.send(self.parts.mux.stage(), Instant::now());
            let sending = !self.parts.mux.stage().is_empty();
            let deadline = if more { now } else { self.deadline() };
            self.parts.net.wait(Some(deadline), sending);
        }
    }

    fn deadline(&mut self) -> Instant {
        [self.parts.mux.poll_timeout(), self.parts.session.poll_timeout()]
            .into_iter()
            .flatten()
            .fold(self.next_tick, Instant::min)
    }

    fn timeouts(&mut self, now: Instant) {
        if self.parts.mux.poll_timeout().is_some_and(|at| at <= now) {
            self.parts.mux.handle_timeout(now);
        }
        if self.parts.session.poll_timeout().is_some_and(|at| at <= now) {
            self.parts.session.handle_timeout(now);
        }
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            self.tick(now);
        }
        self.pump();
    }

    fn tick(&mut self, now: Instant) {
        let unix = unix_now();
        self.parts.session.set_unix_time(unix);
        self.parts.mux.tick(now, unix);
        self.parts.net.streams.expire(now, |source| self.parts.mux.uses_stream(source));
        self.close_deaf_streams(now);
        self.tell_round_trips(now);
        if self.stall_at.take_if(|at| now >= *at).is_some() {
            self.parts.renditions.stall();
        }
        let bits: u64 =
            self.parts.mux.viewers().filter_map(|v| Some(self.parts.mux.ledger(v)?.bitrate(now, TICK))).sum();
        let metrics = &self.parts.metrics;
        metrics.bitrate.set(bits as f64);
        metrics.viewers.set(self.parts.session.viewer_count() as i64);
        let stats = self.parts.capture.stats();
        let captured = stats.fresh + stats.repeats;
        metrics.captured.inc_by(captured.saturating_sub(metrics.captured.get()));
    }

    /// Runs events of peers into the session and its outputs into the world, until both are dry.
    fn pump(&mut self) {
        loop {
            if let Some((viewer, event)) = self.parts.mux.poll_event() {
                self.peer_event(viewer, event);
            } else if let Some(output) = self.parts.session.poll() {
                self.output(output);
            } else {
                return;
            }
        }
    }

    fn command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Socket { socket, event } => self.socket_event(socket, event, now),
            Command::Capture(event) => self.capture_event(event, now),
            Command::Desktop(DesktopEvent::Locks { caps, num }) => {
                self.parts.session.handle(Input::Locks { caps, num }, now);
            }
            Command::Desktop(DesktopEvent::Up) => tracing::info!("input reaches the desktop"),
            Command::Desktop(DesktopEvent::Down { reason }) => {
                tracing::info!(reason, "input does not reach the desktop");
            }
            Command::Frame { rendition, key, frame } => {
                if self.parts.renditions.key_of(rendition) == Some(key) {
                    self.frame(key, &frame, now);
                }
            }
            Command::Rendition { rendition, event } => {
                if let Some(key) = self.parts.renditions.key_of(rendition) {
                    self.rendition_event(key, event, now);
                }
            }
            Command::Revoked(tokens) => self.parts.session.handle(Input::Revoked { tokens }, now),
            Command::Media(accepted) => {
                if let Err(error) = self.parts.net.streams.add(accepted, now) {
                    tracing::debug!(%error, "a media connection was refused");
                }
            }
            // Nobody waits for these any more if sending fails.
            Command::Status(reply) => drop(reply.send(self.status(now))),
            Command::Activity(reply) => drop(reply.send(self.parts.session.activity(now))),
            Command::Notice { notice, done } => {
                match &notice {
                    Some(notice) => tracing::info!(%notice, "viewers are told"),
                    None => tracing::info!("nothing is going to happen any more"),
                }
                self.parts.session.handle(Input::Notice(notice), now);
                let _ = done.send(());
            }
            Command::Shutdown => {
                self.parts.session.handle(Input::Shutdown, now);
                self.stopping = true;
            }
        }
        self.pump();
    }

    fn socket_event(&mut self, socket: u64, event: SocketEvent, now: Instant) {
        match event {
            SocketEvent::Hello { principal, tls, hello, outbox } => {
                self.sockets.insert(socket, Socket { outbox, tls, viewer: None, stream: None });
                let ticket = self.ticket(&principal, &hello);
                // Without randomness there are no sessions to resume; joining works all the same.
                let nonce = getrandom::u64().unwrap_or_default();
                self.parts.session.handle(Input::Hello { socket, principal, hello, ticket, nonce }, now);
            }
            SocketEvent::Closed => {
                self.sockets.remove(&socket);
                self.parts.session.handle(Input::Closed { socket }, now);
            }
            event => {
                let Some(viewer) = self.sockets.get(&socket).and_then(|s| s.viewer) else { return };
                if let SocketEvent::Frame(bytes) = &event
                    && let Some(number) = media::acknowledged(bytes)
                {
                    return self.acknowledged(socket, viewer, number, now);
                }
                let input = match event {
                    SocketEvent::Message(message) => Input::Message { viewer, message },
                    SocketEvent::Frame(bytes) => {
                        self.parts.metrics.input.inc();
                        Input::Frame { viewer, bytes }
                    }
                    _ => Input::Malformed { viewer },
                };
                self.parts.session.handle(input, now);
            }
        }
    }

    fn ticket(&self, principal: &Principal, hello: &ClientMessage) -> Option<Ticket> {
        let ClientMessage::Hello { resume: Some(text), .. } = hello else { return None };
        let parts = &self.parts;
        Ticket::verify(text, &parts.ticket_key, &parts.name, &principal.subject, unix_now())
            .inspect_err(|error| tracing::info!(%error, "not resumed"))
            .ok()
    }

    fn capture_event(&mut self, event: CaptureEvent, now: Instant) {
        match event {
            CaptureEvent::Up { size, can_resize, shm } => {
                tracing::info!(width = size.width, height = size.height, ?shm, "display captured");
                self.display(size, can_resize, now);
            }
            CaptureEvent::Resized(size) => {
                let can_resize = self.parts.session.status().can_resize;
                self.display(size, can_resize, now);
            }
            CaptureEvent::Down { reason } => {
                tracing::info!(reason, "no display");
                self.display_up = false;
                self.publish_ready();
                self.parts.session.handle(Input::NoDisplay { reason }, now);
            }
            CaptureEvent::ResizeRefused { reason } => {
                self.parts.session.handle(Input::ResizeRefused { reason }, now)
            }
            CaptureEvent::Cursor(image) => {
                self.parts.session.handle(Input::Cursor(cursor_message(image)), now)
            }
            CaptureEvent::Slots { kept } => self.parts.session.handle(Input::Slots { kept }, now),
            CaptureEvent::MissedDamage { polling } => {
                tracing::warn!(
                    polling,
                    code = "missed-damage",
                    "the screen changed without damage being reported"
                );
            }
        }
    }

    fn display(&mut self, size: Size, can_resize: bool, now: Instant) {
        self.size = Some(size);
        self.display_up = true;
        self.publish_ready();
        self.parts.renditions.set_size(size);
        self.parts.session.handle(Input::Display { size, can_resize }, now);
    }

    pub(super) fn publish_ready(&self) {
        self.parts.link.flags().ready.store(self.display_up && self.proved, Ordering::Relaxed);
    }

    fn rendition_event(&mut self, key: RenditionKey, event: RenditionEvent, now: Instant) {
        let RenditionKey { codec, tier } = key;
        match event {
            RenditionEvent::AccessUnit(_) => {}
            RenditionEvent::Started { encoder } => {
                tracing::info!(codec = codec.name(), ?tier, encoder, "encoding");
                let fallback = self.parts.renditions.started(key, encoder.clone());
                self.parts.session.handle(Input::Encoder { key, name: encoder, fallback }, now);
                // On a still screen nothing else would make the first frame.
                self.parts.capture.refresh();
            }
            RenditionEvent::Fallback { from, to, reason } => {
                tracing::warn!(
                    codec = codec.name(),
                    ?tier,
                    from,
                    to,
                    reason,
                    code = "encoder-fallback",
                    "encoder left"
                );
                self.parts.renditions.left(key, &from, &reason);
                self.parts.capture.refresh();
            }
            RenditionEvent::Exhausted { reasons } => {
                let reason = reasons.iter().map(|(e, r)| format!("{e}: {r}")).collect::<Vec<_>>().join("; ");
                tracing::error!(codec = codec.name(), ?tier, reason, code = "no-encoder", "no encoder works");
                self.parts.renditions.exhausted(key, &reasons);
                self.parts.session.handle(Input::NoEncoder { key, reason }, now);
            }
        }
    }

    fn peer_event(&mut self, viewer: u32, event: PeerEvent) {
        let now = Instant::now();
        let input = match event {
            PeerEvent::Connected => {
                let limit = self.parts.mux.expect(viewer, self.parts.session.carried_kbps(viewer));
                Input::Connected { viewer, limit }
            }
            PeerEvent::Failed(reason) => {
                tracing::info!(viewer, reason, "media ended");
                self.parts.mux.remove(viewer);
                Input::Disconnected { viewer }
            }
            PeerEvent::Path(path) => Input::Path { viewer, path },
            PeerEvent::KeyframeRequest => Input::NeedKeyframe { viewer },
            PeerEvent::Input(bytes) => {
                self.parts.metrics.input.inc();
                Input::Frame { viewer, bytes }
            }
            PeerEvent::Text(text) => match serde_json::from_slice(&text) {
                Ok(message) => Input::Message { viewer, message },
                Err(_) => Input::Malformed { viewer },
            },
            PeerEvent::Disconnected => Input::Silent { viewer },
            PeerEvent::Limit(limit) => Input::Limit { viewer, websocket: false, limit },
            PeerEvent::ControlOpen | PeerEvent::Arrivals(_) | PeerEvent::Missing(_) => return,
        };
        self.parts.session.handle(input, now);
    }

    fn output(&mut self, output: Output) {
        let now = Instant::now();
        match output {
            Output::Send { viewer, mut message } => {
                self.add_access(viewer, &mut message);
                self.send(viewer, &message, now);
            }
            Output::Joined { socket, viewer } => {
                if let Some(s) = self.sockets.get_mut(&socket) {
                    s.viewer = Some(viewer);
                }
            }
            Output::Close { socket, reason, message } => self.close(socket, reason, message),
            Output::Answer { viewer, sdp } => self.answer(viewer, &sdp, now),
            Output::Candidate { viewer, candidate, mid, index } => {
                self.parts.mux.add_remote_candidate(now, viewer, candidate, mid, index);
            }
            Output::Stream { viewer, codecs } => self.stream(viewer, &codecs, now),
            Output::DropPeer { viewer } => self.parts.mux.dismiss(viewer),
            Output::Desktop(action) => {
                if let Some(desktop) = &self.parts.desktop
                    && !desktop.send(action)
                {
                    tracing::debug!("input dropped: the desktop does not keep up");
                }
            }
            Output::Renditions { running, fed } => self.parts.renditions.set(running, fed),
            Output::Keyframe(key) => self.parts.renditions.keyframe(key),
            Output::Fps(fps) => {
                self.parts.capture.set_fps(fps);
                self.parts.renditions.set_fps(fps);
            }
            Output::Bitrate(key, kbps) => self.parts.renditions.set_bitrate(key, kbps),
            Output::Phase(PhaseChange::Unlock) => self.parts.capture.set_phase(None),
            Output::Phase(PhaseChange::Lock { interval, later_ms }) => {
                self.parts.capture.set_phase(Some(interval));
                self.parts.capture.adjust_phase((later_ms * 1e3) as i64);
            }
            Output::Resize(wanted) => self.parts.capture.resize(wanted),
        }
    }

    /// By the control channel once that is open (lower latency, survives the socket), else by the socket.
    pub(super) fn send(&mut self, viewer: u32, message: &ServerMessage, now: Instant) {
        let text = match serde_json::to_string(message) {
            Ok(text) => text,
            Err(error) => return tracing::error!(%error, code = "unserialisable", "message lost"),
        };
        // Signalling must arrive on the socket that it is about.
        let signalling = matches!(
            message,
            ServerMessage::Hello { .. } | ServerMessage::Answer { .. } | ServerMessage::Ticket { .. }
        );
        if !signalling && self.parts.mux.send_text(now, viewer, text.clone()) {
            return;
        }
        let Some((&id, socket)) = self.sockets.iter().find(|(_, s)| s.viewer == Some(viewer)) else { return };
        if let Err(mpsc::error::TrySendError::Full(_)) = socket.outbox.try_send(ToSocket::Text(text)) {
            tracing::info!(viewer, code = "slow-socket", "its socket takes no more messages");
            // Dropping the outbox closes the socket, which then reports that it closed.
            self.sockets.remove(&id);
        }
    }

    fn close(&mut self, socket: u64, reason: ByeReason, message: String) {
        let Some(socket) = self.sockets.remove(&socket) else { return };
        let bye = ServerMessage::Bye { reason, message };
        // A full outbox is closed by being dropped.
        let _ = socket.outbox.try_send(ToSocket::Bye(serde_json::to_string(&bye).unwrap_or_default()));
    }
}

fn cursor_message(image: Option<CursorImage>) -> ServerMessage {
    match image {
        Some(image) => ServerMessage::Cursor {
            png: Some(STANDARD.encode(&image.png)),
            hot_x: image.hot_x,
            hot_y: image.hot_y,
            width: image.size.width,
            height: image.size.height,
        },
        None => ServerMessage::Cursor { png: None, hot_x: 0, hot_y: 0, width: 0, height: 0 },
    }
}
