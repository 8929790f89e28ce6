//! Health, readiness and metrics of the operator.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::context::Context;

/// `/healthz`, `/readyz`, `/metrics`.
pub fn router(context: Arc<Context>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(context)
}

/// Ready is who knows the cluster and can answer the API server: followers too, since they serve wake pages and reviews.
async fn readyz(State(context): State<Arc<Context>>) -> Response {
    if context.certificate.is_empty() {
        return (StatusCode::SERVICE_UNAVAILABLE, "no certificate for the webhook yet\n").into_response();
    }
    let missing = context.stores.missing();
    let text = format!("not listed yet: {}\n", missing.join(", "));
    match context.stores.is_ready() {
        true if missing.is_empty() => "ok\n".into_response(),
        true => format!("ok, but {text}").into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, text).into_response(),
    }
}

async fn metrics(State(context): State<Arc<Context>>) -> Response {
    let text = context.metrics.text(&context.stores);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, kind)], text).into_response()
}
