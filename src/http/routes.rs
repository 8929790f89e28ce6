//! The routes. All are relative to wherever a proxy has put the gateway.

use std::sync::Arc;

use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use tokio_util::task::TaskTracker;

use super::auth::Denied;
use super::site::{Peer, Permit};
use super::{Front, Gateway, Guard, api, assets, socket, unix_now};
use crate::session::Principal;
use crate::wire::api::SESSION_UID;
use crate::wire::signal::Right;

/// What every route shares.
pub(super) struct Shared<G> {
    pub gateway: Arc<G>,
    pub guard: Arc<Guard>,
    pub front: Front,
    pub sockets: TaskTracker,
}

pub(super) type App<G> = Arc<Shared<G>>;

pub(super) fn router<G: Gateway>(shared: App<G>) -> Router {
    let uid = shared.front.session_uid.as_ref().and_then(|uid| HeaderValue::from_str(uid.as_str()).ok());
    let router = Router::new()
        .route("/", get(|| async { assets::asset("") }))
        .route("/{*path}", get(|Path(path): Path<String>| async move { assets::asset(&path) }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready::<G>))
        .route("/api/session", post(swap_token::<G>))
        .route("/api/status", get(api::status::<G>))
        .route("/api/activity", get(api::activity::<G>))
        .route("/api/notice", post(api::notice::<G>))
        .route("/metrics", get(api::metrics::<G>))
        .route("/ws", get(websocket::<G>))
        .with_state(shared);
    let Some(uid) = uid else { return router };
    router.layer(map_response(move |mut response: Response| {
        response.headers_mut().insert(SESSION_UID, uid.clone());
        std::future::ready(response)
    }))
}

impl<G: Gateway> Shared<G> {
    fn principal(&self, headers: &HeaderMap, peer: Peer) -> Result<Principal, Denied> {
        self.guard.principal(headers, peer.address.ip())
    }

    /// Who sends this, if one of these rights is theirs.
    pub(super) fn permitted(
        &self,
        headers: &HeaderMap,
        peer: Peer,
        one_of: &[Right],
    ) -> Result<Principal, Denied> {
        let principal = self.principal(headers, peer)?;
        if one_of.iter().any(|right| principal.may(*right)) { Ok(principal) } else { Err(Denied::Forbidden) }
    }

    pub(super) fn refuse(&self, denied: Denied) -> Response {
        let status = match denied {
            Denied::Unauthenticated => StatusCode::UNAUTHORIZED,
            Denied::Host | Denied::Origin | Denied::Forbidden => StatusCode::FORBIDDEN,
        };
        let mut body = json!({ "code": format!("{denied:?}").to_lowercase(), "message": denied.to_string() });
        if let Some(hint) = self.front.sign_in_hint.as_ref().filter(|_| status == StatusCode::UNAUTHORIZED) {
            body["hint"] = hint.as_str().into();
        }
        let body = Json(body);
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
    // The cookie is the page's, and the page shows the picture.
    let principal = match app.permitted(&headers, peer, &[Right::View]) {
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

async fn websocket<G: Gateway>(
    State(app): State<App<G>>,
    Extension(peer): Extension<Peer>,
    Extension(permit): Extension<Permit>,
    request: Request,
) -> Response {
    match app.permitted(request.headers(), peer, &[Right::View]) {
        Ok(principal) => {
            let visitor = socket::Visitor { principal, tls: peer.tls };
            socket::upgrade(app.gateway.clone(), &app.sockets, visitor, permit, request)
        }
        Err(denied) => app.refuse(denied),
    }
}
