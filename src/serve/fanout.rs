//! A frame goes to everybody who looks: as RTP, or as messages of a WebSocket.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::heart::{Heart, Socket};
use crate::frame::Codec;
use crate::http::ToSocket;
use crate::session::{Input, RenditionKey};
use crate::transport::flow::{Flow, Verdict};
use crate::transport::packetize::PacketizedFrame;
use crate::wire::media::VideoHeader;
use crate::wire::signal::{ErrorCode, ServerMessage};

/// See `Fault::StallEncoder`.
const STALL_AFTER: Duration = Duration::from_secs(3);

impl Heart {
    pub(super) fn frame(&mut self, key: RenditionKey, frame: &PacketizedFrame, now: Instant) {
        let codec = key.codec;
        if self.parts.renditions.proved(key) || !self.proved {
            self.proved = true;
            self.publish_ready();
        }
        let gap = self.parts.link.flags().take_lost(key);
        let watchers: BTreeSet<u32> = self.parts.session.watchers(key).collect();
        let before = self.parts.renditions.swap_reached(key, watchers.clone());
        for &viewer in
            watchers.iter().filter(|viewer| self.parts.mux.carries(**viewer, codec)).collect::<Vec<_>>()
        {
            let gap = gap || !before.contains(&viewer);
            self.packets(codec, viewer, frame, gap, now);
        }
        self.messages(codec, frame, |viewer| gap || !before.contains(&viewer), &watchers, now);
        if !watchers.is_empty() {
            if std::mem::take(&mut self.parts.stall_encoder) {
                self.stall_at = Some(now + STALL_AFTER);
            }
            let latency = Instant::now().saturating_duration_since(frame.damaged_at);
            self.parts.metrics.capture_to_sent.observe(latency.as_secs_f64());
        }
    }

    /// To one viewer's peer, if it has one.
    fn packets(&mut self, codec: Codec, viewer: u32, frame: &PacketizedFrame, gap: bool, now: Instant) {
        if gap {
            self.parts.mux.require_keyframe(viewer);
        }
        // What waits in a stream only gets older: the viewer goes on with a key frame once it has caught up.
        let waits_here = |id| self.parts.net.streams.is_behind(id, now);
        if self.parts.mux.is_behind(viewer, frame.keyframe, now)
            || self.parts.mux.stream_of(viewer).is_some_and(waits_here)
        {
            self.parts.mux.require_keyframe(viewer);
            self.parts.metrics.dropped.inc();
            return;
        }
        if self.parts.mux.send_frame(now, codec, viewer, frame) {
            self.parts.metrics.sent.inc();
        } else {
            self.parts.metrics.dropped.inc();
            self.parts.session.handle(Input::NeedKeyframe { viewer }, now);
        }
        // One viewer's frame at a time: the stage is for what the socket does not take.
        self.parts.net.send(self.parts.mux.stage(), now);
    }

    /// To every WebSocket that carries video for one of `watchers`.
    fn messages(
        &mut self,
        codec: Codec,
        frame: &PacketizedFrame,
        gap: impl Fn(u32) -> bool,
        watchers: &BTreeSet<u32>,
        now: Instant,
    ) {
        let streams = self.sockets.iter_mut().filter_map(|(id, socket)| {
            let viewer = socket.viewer.filter(|viewer| watchers.contains(viewer))?;
            let (_, flow) = socket.stream.as_mut().filter(|(of, _)| *of == codec)?;
            Some((*id, viewer, flow, &socket.outbox))
        });
        self.frames = self.frames.wrapping_add(1);
        let header = VideoHeader {
            codec,
            keyframe: frame.keyframe,
            number: self.frames,
            captured_us: frame.captured_at.saturating_duration_since(self.epoch).as_micros() as u64,
        };
        // The same bytes for everybody, made for the first.
        let mut message: Option<Bytes> = None;
        let (mut full, mut starved) = (Vec::new(), Vec::new());
        for (id, viewer, flow, outbox) in streams {
            if gap(viewer) {
                flow.require_keyframe();
            }
            match flow.verdict(frame.keyframe, now) {
                Verdict::Behind => self.parts.metrics.dropped.inc(),
                Verdict::NeedsKeyframe => {
                    starved.push(viewer);
                    self.parts.metrics.dropped.inc()
                }
                Verdict::Send => {
                    let bytes = message.get_or_insert_with(|| header.message(&frame.unit)).clone();
                    flow.sent(header.number, bytes.len(), now);
                    if outbox.try_send(ToSocket::Frame(bytes)).is_err() {
                        full.push(id);
                    }
                    self.parts.metrics.sent.inc()
                }
            };
        }
        for viewer in starved {
            self.parts.session.handle(Input::NeedKeyframe { viewer }, now);
        }
        for id in full {
            tracing::info!(code = "slow-socket", "a WebSocket with video takes no more messages");
            self.sockets.remove(&id);
        }
    }

    /// The page has got a frame.
    pub(super) fn acknowledged(&mut self, socket: u64, viewer: u32, number: u32, now: Instant) {
        let Some((_, flow)) = self.sockets.get_mut(&socket).and_then(|s| s.stream.as_mut()) else { return };
        if flow.acknowledged(number, now).is_none() {
            return;
        }
        let (limit, keyframe) = (flow.limit_news(), flow.wants_keyframe());
        if let Some(limit) = limit {
            self.parts.session.handle(Input::Limit { viewer, websocket: true, limit }, now);
        }
        if keyframe {
            self.parts.session.handle(Input::NeedKeyframe { viewer }, now);
        }
    }

    /// Begins or ends video on a viewer's WebSocket.
    pub(super) fn stream(&mut self, viewer: u32, codecs: &[String], now: Instant) {
        let usable = self.parts.renditions.usable();
        let shared = self.parts.mux.codec_of(viewer);
        let decodes = |codec: &&Codec| codecs.iter().any(|name| name == codec.name());
        // What is encoded for this viewer already, to spare a second encoder.
        let codec = shared.as_ref().filter(decodes).or(usable.iter().find(decodes)).copied();
        if codec.is_none() && !codecs.is_empty() {
            let message = "this browser decodes none of the codecs that are encoded here".to_owned();
            return self.send(viewer, &ServerMessage::Error { code: ErrorCode::NoStream, message }, now);
        }
        let Some(socket) = self.sockets.values_mut().find(|s| s.viewer == Some(viewer)) else { return };
        let expected = self.parts.session.carried_kbps(viewer);
        socket.stream = codec.map(|codec| (codec, Flow::new(expected, now)));
        tracing::info!(viewer, codec = codec.map(Codec::name), "video on the WebSocket");
        self.parts.session.handle(Input::Streaming { viewer, codec }, now);
    }

    /// A page cannot tell by itself how far away the other end of its WebSocket is.
    pub(super) fn tell_round_trips(&mut self, now: Instant) {
        let told = |socket: &Socket| Some((socket.viewer?, socket.stream.as_ref()?.1.round_trip()?));
        let all: Vec<_> = self.sockets.values().filter_map(told).collect();
        for (viewer, round_trip) in all {
            self.send(viewer, &ServerMessage::RoundTrip { ms: round_trip.as_secs_f64() * 1e3 }, now);
        }
    }

    /// Closes WebSockets whose pages take no frames: the page comes back when it is able to.
    pub(super) fn close_deaf_streams(&mut self, now: Instant) {
        let deaf = |socket: &Socket| socket.stream.as_ref().is_some_and(|(_, flow)| flow.is_deaf(now));
        let deaf: Vec<u64> = self.sockets.iter().filter(|(_, s)| deaf(s)).map(|(id, _)| *id).collect();
        for id in deaf {
            tracing::info!(code = "deaf-socket", "a page acknowledged no frame for 5 seconds");
            self.sockets.remove(&id);
        }
    }
}
