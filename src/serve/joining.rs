//! How a viewer's media comes to be: its offer, our answer, where it may send to.

use std::net::SocketAddr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::heart::Heart;
use crate::frame::Codec;
use crate::http::unix_now;
use crate::session::Input;
use crate::transport::build::PeerConfig;
use crate::transport::offer::OfferError;
use crate::transport::peer::Peer;
use crate::turn::credential::Credentials;
use crate::turn::relayed;
use crate::wire::signal::{ErrorCode, ServerMessage, TurnAccess};

impl Heart {
    pub(super) fn answer(&mut self, viewer: u32, offer: &str, now: Instant) {
        match self.make_peer(viewer, offer, now) {
            Ok((codec, sdp)) => {
                self.parts.session.handle(Input::Answered { viewer, codec }, now);
                self.send(viewer, &ServerMessage::Answer { sdp }, now);
            }
            Err(error) => {
                tracing::info!(viewer, %error, "offer refused");
                let code = match error {
                    OfferError::NoCodec(_) => ErrorCode::NoCodec,
                    _ => ErrorCode::BadOffer,
                };
                self.send(viewer, &ServerMessage::Error { code, message: error.to_string() }, now);
            }
        }
    }

    /// Where a viewer can send to: by its own network, or through the TURN server.
    fn reachable(&self) -> Vec<SocketAddr> {
        let addresses = &self.parts.addresses;
        addresses.candidates().into_iter().chain(relayed::gateway(addresses.bound().port())).collect()
    }

    /// Greetings and tickets come with the credentials of TURN servers, which the session knows nothing of.
    pub(super) fn add_access(&mut self, viewer: u32, message: &mut ServerMessage) {
        let (ServerMessage::Hello { turn, ice_servers, .. }
        | ServerMessage::Ticket { turn, ice_servers, .. }) = message
        else {
            return;
        };
        let tls = self.sockets.values().any(|socket| socket.viewer == Some(viewer) && socket.tls);
        match self.parts.mux.admit(viewer) {
            Ok(own) => {
                *ice_servers = self.parts.ice.of(viewer, &own, unix_now());
                let Credentials { username, password } = own;
                *turn = Some(TurnAccess { username, credential: password, tls })
            }
            Err(error) => tracing::error!(%error, code = "turn-credentials", "no TURN for this viewer"),
        }
    }

    fn make_peer(&mut self, viewer: u32, offer: &str, now: Instant) -> Result<(Codec, String), OfferError> {
        let random = Random::new().map_err(|e| OfferError::Refused(e.to_string()))?;
        let candidates = self.reachable();
        self.parts.mux.offered(viewer, candidates.clone());
        let config = random.peer(candidates);
        let ufrag = config.ufrag.clone();
        let usable = self.parts.renditions.usable();
        let (peer, sdp) = Peer::answer(config, offer, &usable, now)?;
        let codec = peer.codec();
        self.parts.mux.insert(viewer, ufrag, peer, now);
        Ok((codec, sdp))
    }
}

/// Random bytes of one peer.
struct Random([u8; 48]);

impl Random {
    fn new() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 48];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    fn peer(&self, candidates: Vec<SocketAddr>) -> PeerConfig {
        // `ice-char` is ALPHA, DIGIT, + and / (RFC 8839 §5.4): base64 without padding.
        let text = |range: std::ops::Range<usize>| STANDARD.encode(&self.0[range]);
        let word =
            |at: usize| u32::from_be_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]]);
        PeerConfig {
            ufrag: text(0..9),
            password: text(9..33),
            candidates,
            ssrc: word(33) | 1,
            rtx_ssrc: word(33) & !1,
            sequence: word(37) as u16 & 0x7fff,
            timestamp: word(41),
            unix: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        }
    }
}
