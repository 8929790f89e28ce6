//! The page, the API and the WebSocket: everything of the one port that is HTTP.

mod api;
mod assets;
pub mod auth;
mod routes;
pub mod site;
mod socket;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::config::{SessionUid, SignInHint};
use crate::session::{Notice, Principal};
use crate::wire::api::Activity;
use crate::wire::signal::ClientMessage;

use self::auth::Auth;

/// Messages that wait for one socket. A page that does not read this many is gone.
pub const OUTBOX: usize = 256;

/// What a WebSocket has to say to the gateway.
#[derive(Debug)]
pub enum SocketEvent {
    /// It said hello.
    Hello {
        /// Who it is.
        principal: Principal,
        /// True if its connection is TLS that ends in this gateway.
        tls: bool,
        /// The message.
        hello: ClientMessage,
        /// Where messages to it go.
        outbox: mpsc::Sender<ToSocket>,
    },
    /// A message.
    Message(ClientMessage),
    /// Something that is no message.
    Malformed,
    /// A binary input frame.
    Frame(Bytes),
    /// It closed.
    Closed,
}

/// What the gateway sends to a WebSocket.
#[derive(Clone, Debug)]
pub enum ToSocket {
    /// A JSON message.
    Text(String),
    /// A frame of video.
    Frame(Bytes),
    /// The last message; the socket closes behind it.
    Bye(String),
}

/// What HTTP needs of the gateway behind it.
pub trait Gateway: Send + Sync + 'static {
    /// Hands an event of a socket over; false if the gateway has stopped or is overloaded.
    fn socket_event(&self, socket: u64, event: SocketEvent) -> bool;
    /// `/api/status`.
    fn status(&self) -> impl Future<Output = serde_json::Value> + Send;
    /// `/api/activity`; nothing if the gateway has stopped or is overloaded.
    fn activity(&self) -> impl Future<Output = Option<Activity>> + Send;
    /// `/api/notice`: tells every viewer, now and later; false if the gateway has stopped or is overloaded.
    fn notice(&self, notice: Option<Notice>) -> impl Future<Output = bool> + Send;
    /// `/metrics`, in the text format of Prometheus.
    fn metrics(&self) -> String;
    /// True once a frame has been captured and encoded.
    fn ready(&self) -> bool;
}

/// What anybody is told who asks.
#[derive(Clone, Debug, Default)]
pub struct Front {
    /// Whose gateway this is: a header of every answer.
    pub session_uid: Option<SessionUid>,
    /// How to get in: for whoever has no credential.
    pub sign_in_hint: Option<SignInHint>,
}

/// The list of revoked tokens, and the time and size of the file that it was read from.
#[derive(Default)]
struct Revoked {
    stamp: Option<(SystemTime, u64)>,
    ids: HashSet<String>,
}

/// Authentication with its two outside sources: the clock and the list of revoked tokens.
pub struct Guard {
    auth: Auth,
    revoked_file: Option<PathBuf>,
    revoked: Mutex<Revoked>,
}

impl Guard {
    /// True if tokens can be revoked while the gateway runs.
    pub fn watches_revocations(&self) -> bool {
        self.revoked_file.is_some()
    }

    /// A guard; `revoked_file` is read again whenever it has changed.
    pub fn new(auth: Auth, revoked_file: Option<PathBuf>) -> Self {
        Self { auth, revoked_file, revoked: Mutex::default() }
    }

    fn principal(
        &self,
        headers: &axum::http::HeaderMap,
        peer: std::net::IpAddr,
    ) -> Result<Principal, auth::Denied> {
        let revoked = self.revoked();
        self.auth.principal(headers, peer, &revoked, unix_now())
    }

    /// Ids of revoked tokens, as the file lists them now.
    pub fn revoked(&self) -> HashSet<String> {
        let mut cached = self.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = &self.revoked_file else { return HashSet::new() };
        let found = std::fs::metadata(file).and_then(|m| Ok((m.modified()?, m.len())));
        match found.and_then(|stamp| Ok((stamp, std::fs::read_to_string(file)?))) {
            Ok((stamp, _)) if cached.stamp == Some(stamp) => {}
            Ok((stamp, text)) => {
                *cached =
                    Revoked { stamp: Some(stamp), ids: text.lines().map(|l| l.trim().to_owned()).collect() };
            }
            // A list that was there and cannot be read must not let its tokens back in.
            Err(error) if cached.stamp.is_some() => {
                tracing::error!(%error, code = "revoked-unreadable", "keeping the earlier list of revoked tokens");
            }
            Err(_) => {}
        }
        cached.ids.clone()
    }
}

/// Seconds since the Unix epoch.
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
