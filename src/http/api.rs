//! The routes for programs: `docs/api.md`.

use std::time::{Duration, Instant};

use axum::Json;
use axum::body::to_bytes;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::time::timeout;

use super::routes::App;
use super::site::Peer;
use super::{Gateway, unix_now};
use crate::session::Notice;
use crate::wire::signal::Right;

/// Largest body of a notice, in bytes.
const NOTICE: usize = 4 << 10;
/// A body has to be there within this.
const BODY: Duration = Duration::from_secs(10);

/// Whoever is let in at all may read these.
const ANY: &[Right] = &[Right::View, Right::Control, Right::Operate];

pub(super) async fn status<G: Gateway>(
    State(app): State<App<G>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Response {
    match app.permitted(&headers, peer, ANY) {
        Ok(_) => Json(app.gateway.status().await).into_response(),
        Err(denied) => app.refuse(denied),
    }
}

pub(super) async fn metrics<G: Gateway>(
    State(app): State<App<G>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Response {
    match app.permitted(&headers, peer, ANY) {
        Ok(_) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], app.gateway.metrics()).into_response()
        }
        Err(denied) => app.refuse(denied),
    }
}

pub(super) async fn activity<G: Gateway>(
    State(app): State<App<G>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Response {
    if let Err(denied) = app.permitted(&headers, peer, &[Right::Operate, Right::Control]) {
        return app.refuse(denied);
    }
    match app.gateway.activity().await {
        Some(activity) => Json(activity).into_response(),
        None => unavailable(),
    }
}

pub(super) async fn notice<G: Gateway>(
    State(app): State<App<G>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    if let Err(denied) = app.permitted(request.headers(), peer, &[Right::Operate]) {
        return app.refuse(denied);
    }
    let body = match timeout(BODY, to_bytes(request.into_body(), NOTICE)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return failed(StatusCode::PAYLOAD_TOO_LARGE, "a notice has at most 4 KiB"),
        Err(_) => return failed(StatusCode::REQUEST_TIMEOUT, "the body did not come within 10 seconds"),
    };
    let notice = match Notice::parse(&body, unix_now(), Instant::now()) {
        Ok(notice) => notice,
        Err(error) => return failed(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    if app.gateway.notice(notice).await { StatusCode::NO_CONTENT.into_response() } else { unavailable() }
}

fn unavailable() -> Response {
    failed(StatusCode::SERVICE_UNAVAILABLE, "the gateway is stopping or overloaded")
}

fn failed(status: StatusCode, message: &str) -> Response {
    let code = status.canonical_reason().unwrap_or_default().to_lowercase().replace(' ', "-");
    (status, Json(json!({ "code": code, "message": message }))).into_response()
}
