//! GStreamer's webrtcbin: offers like the page, decodes what comes.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer_sdp::SDPMessage;
use gstreamer_webrtc::{
    WebRTCDataChannel, WebRTCICE, WebRTCICEConnectionState, WebRTCPeerConnectionState, WebRTCRTPTransceiver,
    WebRTCRTPTransceiverDirection, WebRTCSDPType, WebRTCSessionDescription,
};
use tokio::sync::{mpsc, oneshot};

use super::decoder::{self, Seen, lock};
use super::path::End;
use crate::frame::Codec;
use crate::wire::{CONTROL_CHANNEL, MOTION_CHANNEL};

/// Events that may wait. A client has a few dozen candidates.
const QUEUE: usize = 1_024;
/// Formats of video, as the page orders them: constrained baseline in packetization mode 1, then VP8.
const VIDEO: &str = "application/x-rtp,media=video,encoding-name=H264,payload=96,clock-rate=90000,\
    packetization-mode=(string)1,profile-level-id=(string)42e01f,level-asymmetry-allowed=(string)1,\
    rtcp-fb-nack=true,rtcp-fb-nack-pli=true,rtcp-fb-ccm-fir=true;\
    application/x-rtp,media=video,encoding-name=VP8,payload=98,clock-rate=90000,\
    rtcp-fb-nack=true,rtcp-fb-nack-pli=true,rtcp-fb-ccm-fir=true";
const AUDIO: &str = "application/x-rtp,media=audio,encoding-name=OPUS,payload=111,clock-rate=48000,\
    encoding-params=(string)2";

/// What webrtcbin says, from its own threads.
#[derive(Debug)]
pub enum PeerEvent {
    /// The offer is made.
    Offer(String),
    /// A candidate of ours, and its m-line.
    Candidate(u32, String),
    /// ICE found a pair.
    Ice,
    /// ICE and DTLS are through.
    Connected,
    /// The gateway is lost, or was never found.
    Lost,
    /// A message on the control channel.
    Text(String),
    /// The pipeline broke.
    Failed(String),
}

/// How ICE is held to a path.
#[derive(Clone, Debug, Default)]
pub struct IceConfig {
    /// `iceTransportPolicy: relay`.
    pub relay_only: bool,
    /// Ways to the TURN server, as libnice takes them.
    pub turn: Vec<String>,
    /// Addresses of ours to use; none: what libnice finds, which leaves loopback out.
    pub local: Vec<IpAddr>,
}

/// Counters of what was received.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// Never came.
    pub lost: u64,
    /// Milliseconds.
    pub jitter_ms: Option<f64>,
    /// The pair in use.
    pub pair: Option<(End, End)>,
}

/// A peer connection. Ends when dropped.
pub struct Peer {
    pipeline: gst::Pipeline,
    webrtc: gst::Element,
    // Kept: webrtcbin holds its channels weakly.
    channels: Vec<WebRTCDataChannel>,
}

/// Starts GStreamer. What libraries below say goes where log lines go: libnice warns of TURN allocations that are
/// open at the end, which the gateway ends with the viewer.
fn init() -> Result<(), String> {
    gst::init().map_err(|e| e.to_string())?;
    glib::log_set_default_handler(|domain, _, message| {
        tracing::debug!(domain = domain.unwrap_or_default(), "{message}");
    });
    Ok(())
}

fn broken(what: &str) -> impl Fn(glib::BoolError) -> String + '_ {
    move |e| format!("{what}: {e}")
}

impl Peer {
    /// Builds the connection and begins its offer.
    ///
    /// # Errors
    /// What this machine lacks; for people.
    pub fn start(
        config: &IceConfig,
        seen: &Arc<Mutex<Seen>>,
    ) -> Result<(Self, mpsc::Receiver<PeerEvent>), String> {
        init()?;
        decoder::decoder(Codec::H264)?;
        let (events, inbox) = mpsc::channel(QUEUE);
        let pipeline = gst::Pipeline::new();
        let webrtc = gst::ElementFactory::make("webrtcbin")
            .property_from_str("bundle-policy", "max-bundle")
            .property_from_str("ice-transport-policy", if config.relay_only { "relay" } else { "all" })
            // How long a gap is waited for. Nothing waits without one: the sink shows at once. With 0, the jitter
            // buffer of GStreamer 1.22 gives up packets that are only a little apart.
            .property("latency", 200_u32)
            .build()
            .map_err(|e| {
                format!("webrtcbin is missing ({e}): install gstreamer1.0-plugins-bad and gstreamer1.0-nice")
            })?;
        configure_ice(&webrtc, config)?;
        pipeline.add(&webrtc).map_err(broken("webrtcbin"))?;
        let mut peer = Self { pipeline, webrtc, channels: Vec::new() };
        peer.connect(&events, seen);
        // Channels can be made only once its thread runs.
        peer.pipeline.set_state(gst::State::Playing).map_err(|e| {
            format!("webrtcbin does not start ({e}): install gstreamer1.0-nice and gstreamer1.0-plugins-bad")
        })?;
        peer.add_media(&events)?;
        peer.offer(events);
        Ok((peer, inbox))
    }

    fn connect(&self, events: &mpsc::Sender<PeerEvent>, seen: &Arc<Mutex<Seen>>) {
        let tell = events.clone();
        self.webrtc.connect("on-ice-candidate", false, move |values| {
            let line = values.get(1)?.get::<u32>().ok()?;
            let candidate = values.get(2)?.get::<String>().ok()?;
            say(&tell, PeerEvent::Candidate(line, candidate));
            None
        });
        let tell = events.clone();
        self.webrtc.connect_notify(Some("ice-connection-state"), move |webrtc, _| {
            match webrtc.property::<WebRTCICEConnectionState>("ice-connection-state") {
                WebRTCICEConnectionState::Connected | WebRTCICEConnectionState::Completed => {
                    say(&tell, PeerEvent::Ice);
                }
                WebRTCICEConnectionState::Failed => say(&tell, PeerEvent::Lost),
                _ => {}
            }
        });
        let tell = events.clone();
        self.webrtc.connect_notify(Some("connection-state"), move |webrtc, _| match webrtc
            .property::<WebRTCPeerConnectionState>(
            "connection-state",
        ) {
            WebRTCPeerConnectionState::Connected => say(&tell, PeerEvent::Connected),
            WebRTCPeerConnectionState::Failed => say(&tell, PeerEvent::Lost),
            _ => {}
        });
        self.pipeline.connect_deep_element_added(|_, _, element| {
            // Otherwise the first packet waits as long as a gap, in case an earlier one comes.
            if element.has_property("faststart-min-packets") {
                element.set_property("faststart-min-packets", 1_u32);
            }
        });
        let (tell, seen, pipeline) = (events.clone(), seen.clone(), self.pipeline.downgrade());
        self.webrtc.connect_pad_added(move |_, pad| {
            let Some(pipeline) = pipeline.upgrade().filter(|_| pad.direction() == gst::PadDirection::Src)
            else {
                return;
            };
            if let Err(why) = decode(&pipeline, pad, &seen) {
                say(&tell, PeerEvent::Failed(why));
            }
        });
        if let Some(bus) = self.pipeline.bus() {
            let tell = events.clone();
            bus.set_sync_handler(move |_, message| {
                if let gst::MessageView::Error(error) = message.view() {
                    say(&tell, PeerEvent::Failed(error.error().to_string()));
                }
                gst::BusSyncReply::Drop
            });
        }
    }

    /// The m-lines and channels of web/src/media/peer.ts.
    fn add_media(&mut self, events: &mpsc::Sender<PeerEvent>) -> Result<(), String> {
        let caps = |text: &str| text.parse::<gst::Caps>().map_err(broken("caps"));
        for (direction, media) in [
            (WebRTCRTPTransceiverDirection::Recvonly, VIDEO),
            (WebRTCRTPTransceiverDirection::Recvonly, AUDIO),
            (WebRTCRTPTransceiverDirection::Inactive, AUDIO),
        ] {
            let transceiver = self.webrtc.emit_by_name::<Option<WebRTCRTPTransceiver>>(
                "add-transceiver",
                &[&direction, &caps(media)?],
            );
            let transceiver = transceiver.ok_or("webrtcbin takes no transceiver")?;
            transceiver.set_property("do-nack", media == VIDEO);
        }
        let negotiated =
            |id: u16| gst::Structure::builder("options").field("negotiated", true).field("id", i32::from(id));
        let control = negotiated(CONTROL_CHANNEL).field("ordered", true).build();
        let motion = negotiated(MOTION_CHANNEL).field("ordered", false).field("max-retransmits", 0).build();
        for (label, options) in [("control", control), ("motion", motion)] {
            let channel = self
                .webrtc
                .emit_by_name::<Option<WebRTCDataChannel>>("create-data-channel", &[&label, &options])
                .ok_or("webrtcbin makes no data channel: install gstreamer1.0-plugins-bad (sctp)")?;
            let tell = events.clone();
            channel.connect_on_message_string(move |_, text| {
                if let Some(text) = text {
                    say(&tell, PeerEvent::Text(text.to_owned()));
                }
            });
            self.channels.push(channel);
        }
        Ok(())
    }

    fn offer(&self, events: mpsc::Sender<PeerEvent>) {
        let webrtc = self.webrtc.downgrade();
        let promise = gst::Promise::with_change_func(move |reply| {
            let offer = reply.ok().flatten().and_then(|s| s.get::<WebRTCSessionDescription>("offer").ok());
            let Some((webrtc, offer)) = webrtc.upgrade().zip(offer) else {
                return say(&events, PeerEvent::Failed("webrtcbin makes no offer".to_owned()));
            };
            webrtc.emit_by_name::<()>("set-local-description", &[&offer, &None::<gst::Promise>]);
            match offer.sdp().as_text() {
                Ok(sdp) => say(&events, PeerEvent::Offer(sdp)),
                Err(e) => say(&events, PeerEvent::Failed(e.to_string())),
            }
        });
        self.webrtc.emit_by_name::<()>("create-offer", &[&None::<gst::Structure>, &promise]);
    }

    /// Takes the gateway's answer.
    ///
    /// # Errors
    /// When it is no SDP.
    pub fn accept(&self, sdp: &str) -> Result<(), String> {
        let message =
            SDPMessage::parse_buffer(sdp.as_bytes()).map_err(|_| "the answer is no SDP".to_owned())?;
        let answer = WebRTCSessionDescription::new(WebRTCSDPType::Answer, message);
        self.webrtc.emit_by_name::<()>("set-remote-description", &[&answer, &None::<gst::Promise>]);
        Ok(())
    }

    /// Counters of this moment.
    pub async fn counters(&self) -> Counters {
        let (tell, told) = oneshot::channel();
        let promise = gst::Promise::with_change_func(move |reply| {
            let counters = reply.ok().flatten().map(read_stats).unwrap_or_default();
            // The probe may have given up meanwhile.
            let _ = tell.send(counters);
        });
        self.webrtc.emit_by_name::<()>("get-stats", &[&None::<gst::Pad>, &promise]);
        told.await.unwrap_or_default()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Ends every thread of GStreamer's; there is nothing to do about one that does not.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn say(events: &mpsc::Sender<PeerEvent>, event: PeerEvent) {
    if let Err(mpsc::error::TrySendError::Full(event)) = events.try_send(event) {
        tracing::warn!(?event, "dropped: too many events of webrtcbin wait");
    }
}

fn configure_ice(webrtc: &gst::Element, config: &IceConfig) -> Result<(), String> {
    let ice = webrtc.property::<WebRTCICE>("ice-agent");
    if ice.has_property("agent") {
        // What libnice does over TCP besides TURN is not what RFC 6544 says often enough to be of use here.
        ice.property::<glib::Object>("agent").set_property("ice-tcp", false);
    }
    for address in &config.local {
        ice.emit_by_name::<bool>("add-local-ip-address", &[&address.to_string()]);
    }
    for turn in &config.turn {
        webrtc.emit_by_name::<bool>("add-turn-server", &[turn]);
    }
    Ok(())
}

fn decode(pipeline: &gst::Pipeline, pad: &gst::Pad, seen: &Arc<Mutex<Seen>>) -> Result<(), String> {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let name = caps.structure(0).and_then(|s| s.get::<String>("encoding-name").ok()).unwrap_or_default();
    let codec = [Codec::H264, Codec::Vp8].into_iter().find(|c| c.name() == name);
    let sink: gst::Element = match codec {
        Some(codec) => {
            let packets = seen.clone();
            pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, _| {
                lock(&packets).packet();
                gst::PadProbeReturn::Remove
            });
            decoder::bin(codec, seen)?.upcast()
        }
        // Sound is not judged.
        None => gst::ElementFactory::make("fakesink")
            .property("async", false)
            .build()
            .map_err(broken("fakesink"))?,
    };
    pipeline.add(&sink).map_err(broken("decoder"))?;
    sink.sync_state_with_parent().map_err(broken("decoder"))?;
    let target = sink.static_pad("sink").ok_or("a decoder without a pad")?;
    pad.link(&target).map_err(|e| format!("decoder: {e}"))?;
    Ok(())
}

/// webrtcbin of GStreamer 1.22 names the types of the two candidates the wrong way round: the pair tells which is ours.
fn read_stats(stats: &gst::StructureRef) -> Counters {
    let entries: Vec<gst::Structure> =
        stats.iter().filter_map(|(_, value)| value.get::<gst::Structure>().ok()).collect();
    let named = |name: &'static str| entries.iter().filter(move |e| e.name() == name);
    let mut counters = Counters::default();
    let mut most = 0;
    // Retransmissions have a stream of their own, which shares the other one's jitter buffer and its losses.
    for stream in named("inbound-rtp") {
        let packets = number(stream, "packets-received");
        counters.packets += packets;
        counters.bytes += number(stream, "bytes-received");
        if packets > most {
            most = packets;
            counters.lost = number(stream, "packets-lost");
            counters.jitter_ms = stream.get::<f64>("jitter").ok().map(|s| (s * 100_000.0).round() / 100.0);
        }
    }
    counters.pair = named("candidate-pair").next().and_then(|pair| {
        let end = |field: &str| {
            let id = pair.get::<&str>(field).ok()?;
            entries.iter().find(|e| e.get::<&str>("id") == Ok(id)).map(read_end)
        };
        Some((end("local-candidate-id")?, end("remote-candidate-id")?))
    });
    counters
}

/// What is no number is none, and what was never lost is not negative.
fn number(entry: &gst::StructureRef, field: &str) -> u64 {
    let unsigned = entry.get::<u64>(field).ok();
    unsigned.or_else(|| entry.get::<i64>(field).ok().and_then(|n| n.try_into().ok())).unwrap_or_default()
}

fn read_end(candidate: &gst::Structure) -> End {
    let text = |field: &str| candidate.get::<String>(field).ok().filter(|t| !t.is_empty());
    let address = text("address").unwrap_or_default();
    let port = candidate.get::<u32>("port").unwrap_or_default();
    End {
        kind: text("candidate-type").unwrap_or_default(),
        // libnice says which role a TCP candidate has, too: `tcp-active`.
        protocol: text("protocol").unwrap_or_default().chars().take(3).collect::<String>().to_lowercase(),
        address: if address.contains(':') {
            format!("[{address}]:{port}")
        } else {
            format!("{address}:{port}")
        },
        relay_protocol: None,
    }
}
