//! PURE. One viewer, as the session knows it.

use std::time::Instant;

use super::held::Held;
use super::principal::Principal;
use super::rate::Bucket;
use super::tier::{Limit, Place, RenditionKey};
use crate::frame::Codec;
use crate::wire::signal::{CssSize, Fit, MediaPath, Right, Status, Tier};

/// Messages a second, and at once, before a viewer is told to slow down.
const MESSAGES: (u32, u32) = (50, 200);
/// Offers: each builds a peer connection, and may start an encoder.
const OFFERS: (u32, u32) = (1, 10);
/// Input frames: a 1 kHz mouse and some.
const INPUT: (u32, u32) = (2_000, 4_000);

/// Window of a viewer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Viewport {
    /// Size of the area for the picture.
    pub css: CssSize,
    /// CSS pixels to device pixels.
    pub ratio: f64,
    /// Resize the screen, or scale the picture.
    pub fit: Fit,
}

/// How far a viewer's media has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// No peer connection.
    None,
    /// Answered, not yet connected.
    Connecting(Codec),
    /// Flowing.
    Connected(Codec),
    /// Nothing was heard of the viewer for some seconds: paused, and may come back.
    Silent(Codec),
}

impl Media {
    /// The negotiated codec.
    pub fn codec(self) -> Option<Codec> {
        match self {
            Self::None => None,
            Self::Connecting(codec) | Self::Connected(codec) | Self::Silent(codec) => Some(codec),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Viewer {
    /// Who it is and what it may do.
    pub principal: Principal,
    /// See `Ticket::nonce`.
    pub nonce: u64,
    /// Its WebSocket, while open.
    pub socket: Option<u64>,
    /// Its media.
    pub media: Media,
    /// Video on its WebSocket, for as long as WebRTC does not reach it.
    pub stream: Option<Codec>,
    /// What WebRTC carries to it; none where no limit has shown.
    pub media_limit: Option<Limit>,
    /// What its WebSocket carries, likewise.
    pub stream_limit: Option<Limit>,
    /// Which rendition of a codec is for it.
    pub place: Place,
    /// Which one it gets, until that one is there.
    pub tier: Tier,
    /// The way that WebRTC takes to it; the last one, while there is none.
    pub path: Option<MediaPath>,
    /// False while its tab is hidden.
    pub visible: bool,
    /// Its window.
    pub viewport: Viewport,
    /// What it holds down.
    pub held: Held,
    /// When it last said anything about keys or buttons.
    pub input_at: Instant,
    /// Newest input sequence number.
    pub seq: Option<u32>,
    /// Running totals of relative motion.
    pub relative: Option<(i32, i32)>,
    /// Budget of JSON messages.
    pub messages: Bucket,
    /// Budget of offers.
    pub offers: Bucket,
    /// Budget of input frames.
    pub input: Bucket,
    /// The status that it was last sent.
    pub told: Option<Status>,
    /// When it became unreachable: neither socket nor media.
    pub gone_at: Option<Instant>,
}

impl Viewer {
    /// A viewer that has just said hello.
    pub fn new(
        principal: Principal,
        nonce: u64,
        socket: u64,
        visible: bool,
        viewport: Viewport,
        now: Instant,
    ) -> Self {
        Self {
            principal,
            nonce,
            socket: Some(socket),
            media: Media::None,
            stream: None,
            media_limit: None,
            stream_limit: None,
            place: Place::default(),
            tier: Tier::Main,
            path: None,
            visible,
            viewport,
            held: Held::default(),
            input_at: now,
            seq: None,
            relative: None,
            messages: Bucket::new(MESSAGES.0, MESSAGES.1, now),
            offers: Bucket::new(OFFERS.0, OFFERS.1, now),
            input: Bucket::new(INPUT.0, INPUT.1, now),
            told: None,
            gone_at: None,
        }
    }

    /// True if it has this right.
    pub fn may(&self, right: Right) -> bool {
        self.principal.may(right)
    }

    /// How its media reaches it now.
    pub fn media_path(&self) -> Option<MediaPath> {
        match self.media {
            Media::Connected(_) => self.path,
            _ => self.stream.map(|_| MediaPath::Websocket),
        }
    }

    /// Its WebSocket carries no picture any more. What it carried is remembered until something else is known.
    pub fn stop_streaming(&mut self) {
        let limit = self.stream_limit.take().filter(|_| self.stream.is_some());
        self.stream = None;
        if !matches!(self.media, Media::Connected(_)) && limit.is_some() {
            self.media_limit = limit;
        }
    }

    /// What the way that carries its picture takes, or did last; none where no limit has shown.
    pub fn limit(&self) -> Option<Limit> {
        let by_stream = self.stream.is_some() && !matches!(self.media, Media::Connected(_));
        if by_stream { self.stream_limit } else { self.media_limit }
    }

    /// What is encoded on its account, looking or not: what it gets, and what it is to get.
    pub fn renditions(&self) -> impl Iterator<Item = RenditionKey> + use<> {
        let tiers = [self.tier, self.place.tier()];
        let codecs = self.media.codec().into_iter().chain(self.stream);
        codecs.flat_map(move |codec| tiers.map(|tier| RenditionKey { codec, tier }))
    }

    /// True if frames of this rendition are for it.
    pub fn watches(&self, key: RenditionKey) -> bool {
        self.tier == key.tier && self.sees(key.codec)
    }

    /// True if they are, or will be once there are any.
    pub fn wants(&self, key: RenditionKey) -> bool {
        (self.tier == key.tier || self.place.tier() == key.tier) && self.sees(key.codec)
    }

    fn sees(&self, codec: Codec) -> bool {
        self.visible && (self.media == Media::Connected(codec) || self.stream == Some(codec))
    }

    /// The codec of the picture that it looks at.
    pub fn looks_at(&self) -> Option<Codec> {
        let codec = match self.media {
            Media::Connected(codec) => Some(codec),
            _ => self.stream,
        };
        codec.filter(|_| self.visible)
    }

    /// True if neither its socket nor its media is there.
    pub fn is_gone(&self) -> bool {
        self.socket.is_none() && !matches!(self.media, Media::Connected(_))
    }
}
