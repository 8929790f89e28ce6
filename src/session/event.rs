//! PURE. What goes into a session and what comes out.

use std::collections::{BTreeSet, HashSet};
use std::time::Instant;

use bytes::Bytes;

use super::action::DesktopAction;
use super::notice::Notice;
use super::phase::PhaseChange;
use super::principal::Principal;
use super::ticket::Ticket;
use super::tier::{Limit, RenditionKey};
use crate::frame::{Codec, ScreenMode, Size};
use crate::wire::signal::{ByeReason, ClientMessage, MediaPath, ServerMessage};

/// Something happened.
#[derive(Debug)]
pub enum Input {
    /// A WebSocket said hello; it is authenticated, its ticket (if any) verified.
    Hello {
        /// Number of the socket.
        socket: u64,
        /// Who it is.
        principal: Principal,
        /// The `hello` message.
        hello: ClientMessage,
        /// What its ticket said.
        ticket: Option<Ticket>,
        /// Random: a new viewer's [`Ticket::nonce`].
        nonce: u64,
    },
    /// A JSON message of a viewer, by whatever way.
    Message {
        /// From whom.
        viewer: u32,
        /// What.
        message: ClientMessage,
    },
    /// Something of a viewer that is no message of the protocol.
    Malformed {
        /// From whom.
        viewer: u32,
    },
    /// A binary input frame of a viewer.
    Frame {
        /// From whom.
        viewer: u32,
        /// The frame.
        bytes: Bytes,
    },
    /// A WebSocket closed.
    Closed {
        /// Number of the socket.
        socket: u64,
    },
    /// The offer was answered.
    Answered {
        /// Whose.
        viewer: u32,
        /// The codec that it gets.
        codec: Codec,
    },
    /// Frames leave the capture in the slots of the phase lock, or as the screen changes. In slots at first.
    Slots {
        /// In slots.
        kept: bool,
    },
    /// Media flows.
    Connected {
        /// To whom.
        viewer: u32,
        /// What the way is expected to carry; none where nothing is known of it.
        limit: Option<Limit>,
    },
    /// Media takes this way now.
    Path {
        /// To whom.
        viewer: u32,
        /// Which.
        path: MediaPath,
    },
    /// Nothing is heard of a viewer on its media path.
    Silent {
        /// Of whom.
        viewer: u32,
    },
    /// Media ended.
    Disconnected {
        /// For whom.
        viewer: u32,
    },
    /// Video goes over its WebSocket, or no longer.
    Streaming {
        /// To whom.
        viewer: u32,
        /// The codec that it gets.
        codec: Option<Codec>,
    },
    /// What a way to a viewer carries.
    Limit {
        /// To whom.
        viewer: u32,
        /// Its WebSocket, not WebRTC.
        websocket: bool,
        /// How much.
        limit: Limit,
    },
    /// A decoder needs a key frame.
    NeedKeyframe {
        /// Whose.
        viewer: u32,
    },
    /// The display is captured, at this size.
    Display {
        /// Size of the screen.
        size: Size,
        /// True where it can take another one.
        can_resize: bool,
    },
    /// The display is not there.
    NoDisplay {
        /// Why, for people.
        reason: String,
    },
    /// The screen cannot take the size that was asked for.
    ResizeRefused {
        /// Why, for people.
        reason: String,
    },
    /// The remote pointer's shape: a [`ServerMessage::Cursor`].
    Cursor(ServerMessage),
    /// The desktop's lock keys.
    Locks {
        /// Caps Lock.
        caps: bool,
        /// Num Lock.
        num: bool,
    },
    /// A rendition has an encoder (again).
    Encoder {
        /// Which rendition.
        key: RenditionKey,
        /// Catalogue entry.
        name: String,
        /// Why an earlier one was left.
        fallback: Option<String>,
    },
    /// No encoder is left for a rendition.
    NoEncoder {
        /// Which rendition.
        key: RenditionKey,
        /// Why, for people.
        reason: String,
    },
    /// These tokens hold no longer: who came in by one of them has to leave.
    Revoked {
        /// Their ids.
        tokens: HashSet<String>,
    },
    /// Something is going to happen to the desktop, or nothing any more.
    Notice(Option<Notice>),
    /// The gateway stops.
    Shutdown,
}

/// Something is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send a message to a viewer, by the control channel or its socket.
    Send {
        /// To whom.
        viewer: u32,
        /// What.
        message: ServerMessage,
    },
    /// A socket belongs to a viewer from now on. Comes before anything is sent to it.
    Joined {
        /// Number of the socket.
        socket: u64,
        /// The viewer.
        viewer: u32,
    },
    /// Close a socket that is no viewer's, or no longer.
    Close {
        /// Number of the socket.
        socket: u64,
        /// Its last message says why.
        reason: ByeReason,
        /// For people.
        message: String,
    },
    /// Answer an offer; then [`Input::Answered`], or an error to the viewer.
    Answer {
        /// Whose.
        viewer: u32,
        /// The offer.
        sdp: String,
    },
    /// Pass a candidate on.
    Candidate {
        /// Whose.
        viewer: u32,
        /// As in `RTCIceCandidate.candidate`.
        candidate: String,
        /// Media stream identification.
        mid: Option<String>,
        /// Index of the m-line.
        index: Option<u16>,
    },
    /// Send video over a viewer's WebSocket, or no longer.
    Stream {
        /// Whose.
        viewer: u32,
        /// Codecs that it can decode, best first; empty: end it.
        codecs: Vec<String>,
    },
    /// End a viewer's media.
    DropPeer {
        /// Whose.
        viewer: u32,
    },
    /// Act on the desktop.
    Desktop(DesktopAction),
    /// Which renditions exist, and which of them are fed.
    Renditions {
        /// Encoders to have.
        running: BTreeSet<RenditionKey>,
        /// Encoders to feed. Empty: nobody looks, nothing is captured.
        fed: BTreeSet<RenditionKey>,
    },
    /// Make a key frame, although the screen may be still.
    Keyframe(RenditionKey),
    /// Frame limit, frames a second.
    Fps(u32),
    /// Bitrate of a rendition, kbit/s; also of one that is about to be started.
    Bitrate(RenditionKey, u32),
    /// Move the capture's slots.
    Phase(PhaseChange),
    /// Give the screen another size.
    Resize(ScreenMode),
}

/// When something is due, earliest of several.
pub(super) fn earliest(times: impl IntoIterator<Item = Option<Instant>>) -> Option<Instant> {
    times.into_iter().flatten().min()
}
