//! The routes. All are relative to wherever a proxy has put the gateway.

use std::sync::Arc;

use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use tokio_util::task::TaskTracker;

use super::auth::Denied;
use super::site::{Peer, Permit};
use super::{Gateway, Guard, assets, socket, unix_now};
use crate::session::Principal;

/// What every route shares.
pub(super) struct Shared<G> {
    pub gateway: Arc<G>,
    pub guard: Arc<Guard>,
    pub sockets: TaskTracker,
}

pub(super) type App<G> = Arc<Shared<G>>;

pub(super) fn router<G: Gateway>(shared: App<G>) -> Router {
    Router::new()
        .route("/", get(|| async { assets::asset("") }))
        .route("/{*path}", get(|Path(path): Path<String>| async move { assets::asset(&path) }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready::<G>))
        .route("/api/session", post(swap_token::<G>))
        .route("/api/status", get(status::<G>))
        .route("/metrics", get(metrics::<G>))
        .route("/ws", get(websocket::<G>))
        .with_state(shared)
}

impl<G: Gateway> Shared<G> {
    fn principal(&self, headers: &HeaderMap, peer: Peer) -> Result<Principal, Denied> {
        self.guard.principal(headers, peer.address.ip())
    }

    fn refuse(&self, denied: Denied) -> Response {
        let status = match denied {
            Denied::Unauthenticated => StatusCode::UNAUTHORIZED,
            Denied::Host | Denied::Origin => StatusCode::FORBIDDEN,
        };
        let body =
            Json(json!({ "code": format!("{denied:?}").to_lowercase(), "message": denied.to_string() }));
        if status == StatusCode::UNAUTHORIZED && self.guard.auth.asks_for_password() {
            return (status, [(header::WWW_AUTHENTICATE, "Basic realm=\"Deskgate\"")], body).into_response();
        }
        (status, body).into_response()
    }
}

async fn ready<G: Gateway>(State(app): State<App<G>>) -> Response {
    if app.gateway.ready() {
        (StatusCode::OK, "ready\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no frame has been captured and encoded yet\n").into_response()
    }
}

/// Swaps the token of the page's fragment for a cookie that scripts cannot read.
async fn swap_token<G: Gateway>(
    State(app): State<App<G>>,
    Extension(peer): Extension<Peer>,
    mut headers: HeaderMap,
) -> Response {
    // The token alone is to be judged, not a cookie beside it: it is the token that is kept.
    if headers.contains_key(header::AUTHORIZATION) {
        headers.remove(header::COOKIE);
    }
    let principal = match app.principal(&headers, peer) {
        Ok(principal) => principal,
        Err(denied) => return app.refuse(denied),
    };
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.strip_prefix("Bearer "));
    let (Some(token), Some(expires)) = (token, principal.expires) else {
        return StatusCode::NO_CONTENT.into_response();
    };
    // Behind a proxy that ends TLS only the page knows.
    let https =
        peer.tls || headers.get(header::ORIGIN).is_some_and(|o| o.as_bytes().starts_with(b"https://"));
    let cookie = format!(
        "{}={token}; HttpOnly; SameSite=Strict; Path=/; Max-Age={}{}",
        app.guard.auth.cookie_name(https),
        expires.saturating_sub(unix_now()),
        if https { "; Secure" } else { "" },
    );
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response()
}

async fn status<G: Gateway>(
    State(app): State<App<G>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Response {
    match app.principal(&headers, peer) {
        Ok(_) => Json(app.gateway.status().await).into_response(),
        Err(denied) => app.refuse(denied),
    }
}

async fn metrics<G: Gateway>(
    State(app): State<App<G>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Response {
    match app.principal(&headers, peer) {
        Ok(_) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], app.gateway.metrics()).into_response()
        }
        Err(denied) => app.refuse(denied),
    }
}

async fn websocket<G: Gateway>(
    State(app): State<App<G>>,
    Extension(peer): Extension<Peer>,
    Extension(permit): Extension<Permit>,
    request: Request,
) -> Response {
    match app.principal(request.headers(), peer) {
        Ok(principal) => {
            let visitor = socket::Visitor { principal, tls: peer.tls };
            socket::upgrade(app.gateway.clone(), &app.sockets, visitor, permit, request)
        }
        Err(denied) => app.refuse(denied),
    }
}
