//! Accepting connections: how many, and how long they may dawdle.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::routes::{self, Shared};
use super::{Gateway, Guard};

/// Connections at a time, authenticated or not, WebSockets included.
const MAX_CONNECTIONS: usize = 1_024;
/// Descriptors that are not for connections: encoders, the display, files of the page.
const OTHER_DESCRIPTORS: usize = 128;
/// A connection without a whole request head by then is closed.
const HEAD: Duration = Duration::from_secs(10);
/// A connection whose other side takes nothing of what it is sent for this long is closed, by the kernel.
const UNREAD: Duration = Duration::from_secs(20);

/// A connection's place among [`MAX_CONNECTIONS`]; a WebSocket keeps it past the upgrade.
pub(super) type Permit = Arc<OwnedSemaphorePermit>;

/// As many connections as leave descriptors for the rest of the gateway, which would fail first otherwise.
fn max_connections() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.and_then(|l| usize::try_from(l).ok()).unwrap_or(usize::MAX);
    limit.saturating_sub(OTHER_DESCRIPTORS).clamp(limit.min(8), MAX_CONNECTIONS)
}

/// Serves HTTP on `listener` until the returned future is dropped; WebSockets run on in `sockets`.
///
/// # Errors
/// Only those that end the listener; a failing connection ends alone.
pub async fn serve<G: Gateway>(
    listener: TcpListener,
    gateway: Arc<G>,
    guard: Arc<Guard>,
    sockets: TaskTracker,
) -> io::Result<()> {
    let router = routes::router(Arc::new(Shared { gateway, guard, sockets }));
    let permits = Arc::new(Semaphore::new(max_connections()));
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            // The connection was reset before it was taken, or descriptors ran out: both pass.
            Err(error) => {
                tracing::warn!(%error, code = "accept", "a connection could not be taken");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let Ok(permit) = permits.clone().try_acquire_owned() else {
            tracing::debug!(%peer, "over the limit of connections");
            continue;
        };
        let router = router.clone();
        tokio::spawn(async move {
            connection(stream, peer, router, Arc::new(permit)).await;
        });
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: axum::Router, permit: Permit) {
    // Signalling is small messages, and each of them is waited for.
    let _ = stream.set_nodelay(true);
    let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, UNREAD.as_millis() as u32);
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let router = TowerToHyperService::new(router);
    let service = service_fn(|mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(routes::Peer(peer));
        request.extensions_mut().insert(permit.clone());
        router.call(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::trace!(%error, %peer, "connection ended");
    }
    drop(permit);
}
