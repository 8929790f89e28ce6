//! HTTP on one connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::TaskTracker;

use super::routes::{self, Shared};
use super::{Front, Gateway, Guard};

/// A connection without a whole request head by then is closed.
pub const HEAD: Duration = Duration::from_secs(10);

/// A connection's place among those that are allowed; a WebSocket keeps it past the upgrade.
pub type Permit = Arc<OwnedSemaphorePermit>;

/// The other side of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// True if the connection is TLS that ends in this gateway.
    pub tls: bool,
}

/// Everything that is HTTP. Cheap to clone.
#[derive(Clone)]
pub struct Site {
    router: axum::Router,
}

impl Site {
    /// The page, the API and the WebSocket of `gateway`; WebSockets run in `sockets`.
    pub fn new<G: Gateway>(gateway: Arc<G>, guard: Arc<Guard>, front: Front, sockets: TaskTracker) -> Self {
        Self { router: routes::router(Arc::new(Shared { gateway, guard, front, sockets })) }
    }

    /// Serves requests until the connection ends.
    pub async fn serve<S>(self, stream: S, peer: Peer, permit: Permit)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let router = TowerToHyperService::new(self.router);
        let held = permit.clone();
        let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(peer);
            request.extensions_mut().insert(held.clone());
            router.call(request)
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
            .await;
        if let Err(error) = served {
            tracing::trace!(%error, peer = %peer.address, "connection ended");
        }
        drop(permit);
    }
}
