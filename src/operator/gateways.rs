//! Asks the gateways of running sessions what they do: display, encoder, viewers, idleness.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::http::response::Parts;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::{Api, Client};
use serde::Deserialize;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::names;
use super::snapshot::{GatewayState, GatewayView, RouteProbe};
use crate::inject::SECRET_KEY;
use crate::token::{self, Claims};
use crate::wire::api::{Activity, NoticeRequest, Status, Stream};
use crate::wire::signal::{DisplayState, Right};

/// Longest wait for an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// Largest answer that is read.
const LARGEST: usize = 256 * 1024;
/// How long the operator's token is good for: one call.
const TOKEN_LIFE: u64 = 60;

/// How long a key is good for checking visitors' tokens.
const VISITORS_KEY: SignedDuration = SignedDuration::from_secs(10);
/// How long a Secret that could not be read is not read again for visitors.
const UNREAD_KEY: SignedDuration = SignedDuration::from_secs(2);

/// Where notices are posted.
const NOTICE: &str = "/api/notice";

/// Why a gateway did not say.
#[derive(Debug, Error)]
pub enum GatewayError {
    /// No connection, or it broke.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// No HTTP.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// It took too long.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Slow,
    /// It answered, and refused.
    #[error("{path}: {status}")]
    Status {
        /// What was asked for.
        path: &'static str,
        /// What it said.
        status: StatusCode,
    },
    /// Its answer cannot be read.
    #[error("{path}: the answer cannot be read: {why}")]
    Answer {
        /// What was asked for.
        path: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The session's Secret.
    #[error("the session's Secret cannot be read: {0}")]
    Secret(String),
}

/// What gateways said last, and the keys to ask them. Entries go with their sessions.
pub struct Gateways {
    client: Client,
    known: Mutex<HashMap<String, Known>>,
    /// One Secret at a time is read for visitors, whose requests are strangers'.
    for_visitors: tokio::sync::Mutex<()>,
}

#[derive(Clone, Default)]
struct Known {
    key: Option<Vec<u8>>,
    /// What was read for visitors, and when; nothing if it could not be read.
    visitors_key: Option<(Timestamp, Option<Vec<u8>>)>,
    view: Option<GatewayView>,
    probed: Option<(Timestamp, RouteProbe)>,
    warned: Option<String>,
}

/// One gateway to ask.
#[derive(Clone, Debug)]
pub struct Target {
    /// UID of the session.
    pub session_uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name, which tokens are for.
    pub session: String,
    /// UID of its pod.
    pub pod_uid: String,
    /// Where its gateway listens.
    pub address: SocketAddr,
}

impl Gateways {
    /// With the client that reads Secrets.
    pub fn new(client: Client) -> Self {
        Self { client, known: Mutex::default(), for_visitors: tokio::sync::Mutex::default() }
    }

    fn with<T>(&self, uid: &str, act: impl FnOnce(&mut Known) -> T) -> T {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        act(known.entry(uid.to_owned()).or_default())
    }

    /// What is known of a session, without making an entry of it.
    fn known<T>(&self, uid: &str, read: impl FnOnce(&Known) -> Option<T>) -> Option<T> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(uid).and_then(read)
    }

    /// Keeps only these sessions.
    pub fn retain(&self, is_kept: impl Fn(&str) -> bool) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| is_kept(uid));
    }

    /// Forgets a session.
    pub fn forget(&self, uid: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// What the gateway of a session said last.
    pub fn last(&self, session_uid: &str) -> Option<GatewayView> {
        self.known(session_uid, |known| known.view.clone())
    }

    /// What Traefik said last, and when.
    pub fn last_probe(&self, session_uid: &str) -> Option<(Timestamp, RouteProbe)> {
        self.known(session_uid, |known| known.probed.clone())
    }

    /// Remembers what Traefik said: nothing wrong, or why the route does not lead to the session.
    pub fn probed(&self, session_uid: &str, now: Timestamp, answer: Result<(), String>) -> RouteProbe {
        self.with(session_uid, |known| {
            let probe = match (answer, &known.probed) {
                (Ok(()), _) => RouteProbe::Leads,
                (Err(why), Some((_, RouteProbe::Fails { since, .. }))) => {
                    RouteProbe::Fails { why, since: *since }
                }
                (Err(why), _) => RouteProbe::Fails { why, since: now },
            };
            known.probed = Some((now, probe.clone()));
            probe
        })
    }

    /// Asks a gateway, and remembers what it says.
    pub async fn ask(&self, target: &Target, now: Timestamp) -> GatewayView {
        let answer = self.state(target, now).await.map_err(|error| error.to_string());
        let is_trouble = !matches!(&answer, Ok(state) if state.streams());
        self.with(&target.session_uid, |known| {
            let before = known.view.as_ref().filter(|view| view.pod_uid == target.pod_uid);
            let trouble_since = is_trouble.then(|| before.and_then(|view| view.trouble_since).unwrap_or(now));
            let view = GatewayView { pod_uid: target.pod_uid.clone(), asked: now, trouble_since, answer };
            known.view = Some(view.clone());
            view
        })
    }

    async fn state(&self, target: &Target, now: Timestamp) -> Result<GatewayState, GatewayError> {
        let bearer = self.bearer(target, now).await?;
        let status: Status = self.get(target, "/api/status", &bearer).await?;
        let activity: Activity = self.get(target, "/api/activity", &bearer).await?;
        Ok(GatewayState {
            viewers: u32::try_from(activity.viewers).unwrap_or(u32::MAX),
            idle: Duration::from_secs(activity.idle_seconds),
            ..read_status(status)
        })
    }

    /// Tells viewers that the run ends at `at`; once for each end, so that a settled operator is silent.
    ///
    /// # Errors
    /// [`GatewayError`]; it is tried again at the next look.
    pub async fn warn(
        &self,
        target: &Target,
        notice: &NoticeRequest,
        now: Timestamp,
    ) -> Result<(), GatewayError> {
        let text = serde_json::to_string(notice)
            .map_err(|e| GatewayError::Answer { path: NOTICE, why: e.to_string() })?;
        let mark = format!("{} {text}", target.pod_uid);
        if self.with(&target.session_uid, |known| known.warned.as_deref() == Some(&mark)) {
            return Ok(());
        }
        let bearer = self.bearer(target, now).await?;
        self.call(target, Method::POST, NOTICE, &bearer, text).await?;
        self.with(&target.session_uid, |known| known.warned = notice.at.is_some().then_some(mark));
        Ok(())
    }

    /// Whether viewers of this pod have been told of an end.
    pub fn has_warned(&self, target: &Target) -> bool {
        self.known(&target.session_uid, |known| Some(known.warned.as_ref()?.starts_with(&target.pod_uid)))
            .unwrap_or_default()
    }

    /// The key that a visitor's token is checked with. However many ask, a session's Secret is read once in
    /// [`VISITORS_KEY`]: a key that was made anew counts that late.
    ///
    /// # Errors
    /// Why the Secret could not be read; nothing more is known of a failure that is younger than [`UNREAD_KEY`].
    pub async fn visitors_key(
        &self,
        session_uid: &str,
        namespace: &str,
        session: &str,
    ) -> Result<Vec<u8>, String> {
        let _turn = self.for_visitors.lock().await;
        let now = Timestamp::now();
        let recent = self.known(session_uid, |known| known.visitors_key.clone()).filter(|(read, key)| {
            let lasts = if key.is_some() { VISITORS_KEY } else { UNREAD_KEY };
            (SignedDuration::ZERO..lasts).contains(&now.duration_since(*read))
        });
        if let Some((_, key)) = recent {
            return key.ok_or_else(|| "it could not be read a moment ago".to_owned());
        }
        let reading = tokio::time::timeout(PATIENCE, secret(&self.client, namespace, session)).await;
        let key = reading.unwrap_or_else(|_| Err("the API server does not answer".to_owned()));
        self.with(session_uid, |known| known.visitors_key = Some((now, key.clone().ok())));
        key
    }

    /// A token that is good for a minute, signed with the session's own secret.
    async fn bearer(&self, target: &Target, now: Timestamp) -> Result<String, GatewayError> {
        let key = match self.with(&target.session_uid, |known| known.key.clone()) {
            Some(key) => key,
            None => {
                let key = secret(&self.client, &target.namespace, &target.session)
                    .await
                    .map_err(GatewayError::Secret)?;
                self.with(&target.session_uid, |known| known.key = Some(key.clone()));
                key
            }
        };
        let now = u64::try_from(now.as_second()).unwrap_or_default();
        let mut id = [0_u8; 8];
        getrandom::fill(&mut id).map_err(|error| GatewayError::Secret(error.to_string()))?;
        let claims = Claims::new(id, &target.session, [Right::Operate], now + TOKEN_LIFE);
        token::sign(&key, &claims).map_err(|error| GatewayError::Secret(error.to_string()))
    }

    async fn get<T: for<'de> Deserialize<'de>>(
        &self,
        target: &Target,
        path: &'static str,
        bearer: &str,
    ) -> Result<T, GatewayError> {
        let body = self.call(target, Method::GET, path, bearer, String::new()).await?;
        serde_json::from_slice(&body).map_err(|e| GatewayError::Answer { path, why: e.to_string() })
    }

    async fn call(
        &self,
        target: &Target,
        method: Method,
        path: &'static str,
        bearer: &str,
        body: String,
    ) -> Result<Bytes, GatewayError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", target.address.to_string())
            .header(AUTHORIZATION, format!("Bearer {bearer}"))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| GatewayError::Answer { path, why: e.to_string() })?;
        let (parts, body) = tokio::time::timeout(PATIENCE, send_full(target.address, request))
            .await
            .map_err(|_| GatewayError::Slow)??;
        let status = parts.status;
        if status == StatusCode::UNAUTHORIZED {
            // The Secret was made anew; the next call reads it.
            self.with(&target.session_uid, |known| known.key = None);
        }
        if status.is_success() { Ok(body) } else { Err(GatewayError::Status { path, status }) }
    }
}

/// One request on a connection of its own.
pub(super) async fn send_full(
    address: SocketAddr,
    request: Request<Full<Bytes>>,
) -> Result<(Parts, Bytes), GatewayError> {
    exchange(TcpStream::connect(address).await?, request).await
}

/// The same, on a connection that is there.
pub(super) async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin,
    request: Request<Full<Bytes>>,
) -> Result<(Parts, Bytes), GatewayError> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, LARGEST).collect().await;
        let body = body.map_err(|e| GatewayError::Answer { path: "", why: e.to_string() })?;
        Ok((parts, body.to_bytes()))
    };
    tokio::select! {
        answer = exchange => answer,
        ended = connection => match ended {
            Ok(()) => Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()),
            Err(error) => Err(error.into()),
        },
    }
}

/// The key that signs a session's tokens.
async fn secret(client: &Client, namespace: &str, session: &str) -> Result<Vec<u8>, String> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let name = names::child(session);
    let secret = api.get(&name).await.map_err(|error| error.to_string())?;
    let data = secret.data.unwrap_or_default();
    let text = data.get(SECRET_KEY).ok_or_else(|| format!("{name} has no {}", SECRET_KEY))?;
    Ok(text.0.trim_ascii().to_vec())
}

/// What `/api/status` says, as far as it concerns the operator.
fn read_status(status: Status) -> GatewayState {
    let Stream { display, encoder, exhausted, unusable, .. } = status.stream;
    let waits = (display.state != DisplayState::Live).then(|| {
        if display.message.is_empty() {
            "the gateway waits for its display".to_owned()
        } else {
            display.message
        }
    });
    GatewayState {
        display_waits: waits,
        hardware: encoder.as_ref().is_some_and(|e| e.hardware),
        encoder: encoder.map(|e| e.name),
        exhausted,
        unusable: unusable.into_iter().map(|u| (u.name, u.reason)).collect(),
        ..GatewayState::default()
    }
}
