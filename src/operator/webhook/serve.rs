//! Answers the API server over TLS, with whichever certificate is shown at the moment; connections outlive it.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::PATH;
use super::certificates::Pair;
use super::review::{LARGEST, Verdict, review};
use crate::inject::Injection;

/// Most connections at a time; more wait to be accepted.
const CONNECTIONS: usize = 256;
/// Most reviews that are read at a time: what strangers can make this process hold.
const BODIES: usize = 16;
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long a review may take to arrive; the API server itself gives up sooner.
const ARRIVAL: Duration = Duration::from_secs(10);
/// How long a connection may idle. An API server keeps its own for 90 s and does not repeat a call on one that ends as
/// it begins, so it has to be the one to hang up.
const IDLE: Duration = Duration::from_secs(300);
/// After connections could not be accepted, such as for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(200);

/// Why a certificate cannot be shown.
#[derive(Debug, Error)]
pub enum ShowError {
    /// Not PEM.
    #[error("not PEM: {0}")]
    Pem(#[from] pem::Error),
    /// Not a certificate with its key.
    #[error(transparent)]
    Pair(#[from] rustls::Error),
}

/// The certificate that handshakes show.
#[derive(Default)]
pub struct Shown(RwLock<Option<(String, Arc<CertifiedKey>)>>);

impl Shown {
    /// Shows a certificate from now on. True if it is another one than before.
    ///
    /// # Errors
    /// [`ShowError`]; the one before stays.
    pub fn show(&self, pair: &Pair) -> Result<bool, ShowError> {
        let is_shown = |shown: &(String, _)| shown.0 == pair.certificate;
        if self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(is_shown) {
            return Ok(false);
        }
        let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(pair.key.0.as_bytes())?;
        let certified = Arc::new(CertifiedKey::from_der(chain, key, &ring::default_provider())?);
        let shown = Some((pair.certificate.clone(), certified));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = shown;
        Ok(true)
    }

    /// Nothing to show yet.
    pub fn is_empty(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").field("is_empty", &self.is_empty()).finish()
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = self.0.read().unwrap_or_else(PoisonError::into_inner);
        shown.as_ref().map(|(_, certified)| Arc::clone(certified))
    }
}

/// Answers until `stop`; what is being answered then, is.
pub async fn serve(listener: TcpListener, shown: Arc<Shown>, how: Injection, stop: CancellationToken) {
    let acceptor = match acceptor(shown) {
        Ok(acceptor) => acceptor,
        Err(error) => {
            tracing::error!(code = "server_failed", %error, "the webhook cannot serve TLS");
            return;
        }
    };
    let router = router(how);
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let accept = async |connections: &mut JoinSet<()>| {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let talk = talk(stream, acceptor.clone(), router.clone(), stop.clone());
                connections.spawn(async move {
                    talk.await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(code = "accept_failed", %error, "the webhook could not accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    while stop.run_until_cancelled(accept(&mut connections)).await.is_some() {
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

fn acceptor(shown: Arc<Shown>) -> Result<TlsAcceptor, rustls::Error> {
    // Named, not taken from the process: which one that has depends on what else is linked.
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(shown);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn talk(stream: TcpStream, acceptor: TlsAcceptor, router: Router, stop: CancellationToken) {
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(code = "handshake_failed", %error, "a caller of the webhook went away");
            return;
        }
        Err(_) => return,
    };
    let mut connection = std::pin::pin!(
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
    );
    let ended = match stop.run_until_cancelled(connection.as_mut()).await {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(code = "connection_failed", %error, "a connection to the webhook broke");
    }
}

/// What reviews are answered with.
struct Desk {
    how: Injection,
    room: Semaphore,
}

fn router(how: Injection) -> Router {
    let desk = Desk { how, room: Semaphore::new(BODIES) };
    Router::new().route(PATH, post(answer)).with_state(Arc::new(desk))
}

async fn answer(State(desk): State<Arc<Desk>>, body: Body) -> Response {
    let Ok(_permit) = desk.room.acquire().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let body = match tokio::time::timeout(ARRIVAL, axum::body::to_bytes(body, LARGEST)).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) => return (StatusCode::PAYLOAD_TOO_LARGE, format!("{error}\n")).into_response(),
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    match review(&body, &desk.how) {
        Ok((answer, verdict)) => {
            let response = answer.response.as_ref();
            let uid = response.map(|r| r.uid.as_str()).unwrap_or_default();
            if verdict == Verdict::Refused {
                let why = response.map(|r| r.result.message.as_str()).unwrap_or_default();
                tracing::info!(code = "pod_refused", %uid, %why, "a pod gets no sidecar");
            } else {
                tracing::debug!(code = "pod_reviewed", %uid, ?verdict, "a pod was reviewed");
            }
            Json(answer).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}
