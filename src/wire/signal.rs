//! PURE. JSON messages: signalling, settings, control, status.
//!
//! They travel as WebSocket text frames, or as text messages of the control data channel once it is open.

use serde::{Deserialize, Serialize};

use crate::frame::{Rect, Size};

/// What a viewer says to the gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ClientMessage {
    /// First message on every WebSocket.
    Hello {
        /// Protocol version; 1.
        version: u32,
        /// What this page can do beyond version 1.
        #[serde(default)]
        features: Vec<String>,
        /// Size of the area for the picture, in CSS pixels.
        css: CssSize,
        /// CSS pixels to device pixels.
        device_pixel_ratio: f64,
        /// False while the tab is hidden.
        visible: bool,
        /// What to do when the window is not the size of the screen.
        #[serde(default)]
        fit: Fit,
        /// The ticket of an earlier [`ServerMessage::Hello`] or [`ServerMessage::Ticket`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resume: Option<String>,
        /// The rights that are wanted; absent: all that the credential gives. Who only looks never gets control by
        /// being the first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rights: Option<Vec<Right>>,
    },
    /// The browser's offer (RFC 8829). It is the browser that offers, always.
    Offer {
        /// SDP text.
        sdp: String,
    },
    /// A trickled candidate; absent `candidate` or an empty one ends the candidates.
    Candidate {
        /// As in `RTCIceCandidate.candidate`.
        #[serde(default)]
        candidate: Option<String>,
        /// Media stream identification.
        #[serde(default)]
        sdp_mid: Option<String>,
        /// Index of the m-line.
        #[serde(default)]
        sdp_m_line_index: Option<u16>,
    },
    /// The tab was hidden or shown.
    Visibility {
        /// False while nobody can see the picture.
        visible: bool,
    },
    /// The window changed.
    Viewport {
        /// Size of the area for the picture, in CSS pixels.
        css: CssSize,
        /// CSS pixels to device pixels.
        device_pixel_ratio: f64,
        /// What to do about it.
        #[serde(default)]
        fit: Fit,
    },
    /// Changes of settings; what is absent stays. Only the controller's are followed.
    Settings(SettingsChange),
    /// About who has keyboard and mouse.
    Control {
        /// What is wanted.
        action: ControlAction,
        /// Whom to give it to ([`ControlAction::Grant`]).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        viewer: Option<u32>,
    },
    /// Send video over this WebSocket, as [`super::media`] has it, or no longer.
    Stream {
        /// What the page can decode, as in SDP (`H264`, `VP8`), best first; empty: end it.
        codecs: Vec<String>,
    },
    /// The decoder of the WebSocket's video needs a key frame.
    Keyframe {},
    /// When frames arrive against the viewer's display, for the phase lock; sent about once a second.
    Feedback(Feedback),
    /// The viewer leaves on purpose.
    Bye {},
    /// A type that this version does not know: ignored, so that a newer page works.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// What the gateway says to a viewer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ServerMessage {
    /// Answer to [`ClientMessage::Hello`].
    Hello {
        /// Protocol version; 1.
        version: u32,
        /// What this gateway can do beyond version 1.
        features: Vec<String>,
        /// This viewer's number; stable over a resume.
        viewer: u32,
        /// What this viewer may do.
        rights: Vec<Right>,
        /// Settings in force.
        settings: Settings,
        /// Geometry: a list, so that a second monitor needs no new message.
        screens: Vec<Rect>,
        /// Present it in the next `hello` to go on as the same viewer.
        ticket: String,
        /// True when a valid ticket was presented and media, if any, goes on.
        resumed: bool,
        /// How often held keys must be repeated, in milliseconds.
        heartbeat_ms: u64,
        /// For the TURN server on this port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        turn: Option<TurnAccess>,
        /// More STUN and TURN servers, for `RTCConfiguration.iceServers`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ice_servers: Vec<IceServer>,
    },
    /// Answer to the offer.
    Answer {
        /// SDP text; complete, candidates inside.
        sdp: String,
    },
    /// A newer ticket; the older one stays valid for what it says.
    Ticket {
        /// See [`ServerMessage::Hello`].
        ticket: String,
        /// Likewise: credentials expire too.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        turn: Option<TurnAccess>,
        /// Likewise.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ice_servers: Vec<IceServer>,
    },
    /// How long a frame on the WebSocket takes to the page, and its acknowledgement back; about once a second.
    RoundTrip {
        /// Milliseconds.
        ms: f64,
    },
    /// The state of everything the page shows; sent whole, on change.
    Status(Status),
    /// Something is going to happen to the desktop; sent on change, and to everybody who comes later.
    Notice {
        /// What; absent: nothing any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        notice: Option<Notice>,
    },
    /// The screen has another size.
    Screens {
        /// See [`ServerMessage::Hello`].
        screens: Vec<Rect>,
    },
    /// The remote pointer's shape, for the browser to draw.
    Cursor {
        /// PNG, base64; absent when the pointer is hidden.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        png: Option<String>,
        /// Hot spot, pixels from the left.
        hot_x: u16,
        /// Hot spot, pixels from the top.
        hot_y: u16,
        /// Size of the image.
        width: u16,
        /// Size of the image.
        height: u16,
    },
    /// Where the controller's pointer is: to viewers that do not have control.
    Pointer {
        /// Screen pixels from the left.
        x: u16,
        /// Screen pixels from the top.
        y: u16,
    },
    /// Lock keys of the desktop.
    Locks {
        /// Caps Lock is on.
        caps: bool,
        /// Num Lock is on.
        num: bool,
    },
    /// Another viewer asks for control.
    ControlRequest {
        /// Who asks.
        viewer: u32,
    },
    /// Something this viewer asked for was refused, or went wrong.
    Error {
        /// For programs.
        code: ErrorCode,
        /// For people: what, why, what to do next.
        message: String,
    },
    /// The gateway ends this viewer. Nothing follows.
    Bye {
        /// For programs.
        reason: ByeReason,
        /// For people.
        message: String,
    },
}

/// Size in CSS pixels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CssSize {
    /// Across.
    pub width: f64,
    /// Down.
    pub height: f64,
}

/// What to do when window and screen differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fit {
    /// The screen takes the window's size.
    #[default]
    Resize,
    /// The screen keeps its size; the picture is scaled.
    Scale,
}

/// One thing that a viewer may do. A set, not a role: more will come (clipboard, files, sound).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Right {
    /// See the picture.
    View,
    /// Have keyboard and mouse, change settings, resize.
    Control,
    /// Ask for activity and post notices ([`super::api`]), as what runs this gateway does. Gives no picture.
    Operate,
}

/// See [`ClientMessage::Control`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ControlAction {
    /// Ask the one who has it.
    Request,
    /// Take it (right `control`).
    Take,
    /// Give it to another viewer.
    Grant,
    /// Give it up.
    Release,
}

/// Settings that a page can show and change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Video bitrate, kbit/s.
    pub bitrate_kbps: u32,
    /// Frame limit, frames a second.
    pub fps: u32,
}

/// See [`ClientMessage::Settings`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SettingsChange {
    /// Video bitrate, kbit/s; clamped to 100..=200000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bitrate_kbps: Option<u32>,
    /// Frame limit; clamped to 5..=240.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fps: Option<u32>,
}

/// See [`ClientMessage::Feedback`]. All times in milliseconds, over the frames since the last one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Feedback {
    /// The display's interval, measured.
    pub interval_ms: f64,
    /// Median of (display tick − arrival) modulo the interval: how long a frame waited for its tick.
    pub slack_ms: f64,
    /// p90 − p10 of the arrival's phase.
    pub jitter_ms: f64,
    /// Frames presented.
    pub frames: u32,
    /// Median from a frame's arrival to its picture: jitter buffer, decoding and processing.
    #[serde(default)]
    pub decode_ms: f64,
    /// Round trip of the selected candidate pair.
    #[serde(default)]
    pub rtt_ms: f64,
}

/// State of the desktop and of the stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The X display.
    pub display: DisplayState,
    /// What is being waited for or what went wrong, for people; empty when all is well.
    #[serde(default)]
    pub message: String,
    /// Codec of this viewer's rendition, as in SDP (`H264`, `VP8`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
    /// Which of that codec's renditions.
    #[serde(default, skip_serializing_if = "Tier::is_main")]
    pub tier: Tier,
    /// Catalogue entry that encodes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<String>,
    /// Why an earlier entry was left, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
    /// How media reaches this viewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<MediaPath>,
    /// True where the X server can take another size.
    pub can_resize: bool,
    /// Everyone here.
    pub viewers: Vec<ViewerStatus>,
    /// Who has control.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<u32>,
    /// Settings in force.
    pub settings: Settings,
}

/// See [`ServerMessage::Notice`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// What is going to happen.
    pub action: NoticeAction,
    /// When, in seconds since the Unix epoch: a page knows by it that it has shown this notice before.
    pub at: u64,
    /// How long it is until then; clocks of browsers are not to be relied on.
    pub left_ms: u64,
    /// Why: `timeout`, `idle`, or a word that a newer page knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the home outlives it; absent where nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home_stays: Option<bool>,
}

/// What is going to happen to a desktop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NoticeAction {
    /// Its programs end; it can be started again.
    Suspend,
    /// It goes for good.
    Delete,
}

/// How media reaches a viewer; best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MediaPath {
    /// UDP, with nothing between.
    Udp,
    /// Through the TURN server inside, over UDP.
    TurnUdp,
    /// ICE-TCP (RFC 6544).
    IceTcp,
    /// Through the TURN server inside, over TCP.
    TurnTcp,
    /// The same over TLS.
    Turns,
    /// As messages of its WebSocket.
    Websocket,
}

/// How many bits a rendition takes, beside the other one of its codec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Tier {
    /// As many as the settings say, or most ways carry.
    #[default]
    Main,
    /// What those ways carry that are much narrower than the widest.
    Low,
}

impl Tier {
    fn is_main(&self) -> bool {
        *self == Self::Main
    }
}

/// The X display, as capture sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DisplayState {
    /// Not there yet, or gone; tried again without end.
    Waiting,
    /// Captured.
    Live,
}

/// One viewer, as the others see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ViewerStatus {
    /// Its number.
    pub viewer: u32,
    /// What it may do.
    pub rights: Vec<Right>,
    /// False while its tab is hidden.
    pub visible: bool,
}

/// See [`ServerMessage::Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ErrorCode {
    /// The message was not understood.
    Malformed,
    /// `hello.version` is not 1.
    Version,
    /// The right for it is missing.
    Forbidden,
    /// Too many messages.
    RateLimited,
    /// The offer has no codec in common.
    NoCodec,
    /// Video on this WebSocket has no codec in common; WebRTC, if there is any, goes on.
    NoStream,
    /// The offer was refused.
    BadOffer,
    /// Control changed hands three times in 5 s; wait.
    ControlBusy,
    /// The X server cannot take that size.
    CannotResize,
    /// No encoder works here.
    NoEncoder,
}

/// See [`ServerMessage::Bye`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ByeReason {
    /// The gateway stops (SIGTERM).
    Shutdown,
    /// The same viewer came back on another socket.
    Replaced,
    /// The credential was revoked.
    Revoked,
    /// The gateway is full.
    Full,
    /// The viewer broke the rules (message sizes, rates, order).
    Protocol,
}

/// Credentials of the TURN server that the page was loaded from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnAccess {
    /// `RTCIceServer.username`.
    pub username: String,
    /// `RTCIceServer.credential`.
    pub credential: String,
    /// True if TLS on this port ends in the gateway, as on the connection that this came by: TURNS works too.
    #[serde(default)]
    pub tls: bool,
}

/// An `RTCIceServer`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceServer {
    /// Its URLs.
    pub urls: Vec<String>,
    /// For TURN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// For TURN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// The geometry of one screen that begins at the origin.
pub fn screens_of(size: Size) -> Vec<Rect> {
    vec![Rect { x: 0, y: 0, width: size.width, height: size.height }]
}
