//! What answers behind all routes: a session that is on its way shows its progress, one that sleeps a button that wakes
//! it, a host that is nobody's a 404. GET never wakes: previews, crawlers and restored tabs are no visits.

mod access;
mod progress;

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use axum::extract::{ConnectInfo, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, RETRY_AFTER};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use sha2::{Digest, Sha256};

use self::access::{Access, Visitor};
use super::context::Context;
use super::{names, run};
use crate::crd::VDISession;

const PAGE: &str = include_str!("page.html");
/// Tells the page that it is still this server that answers, and not yet the desktop.
const MARK: &str = "deskgate-entry";
/// The page is one file: its own script and style run, by their hashes (CSP3 §2.3.1), and nothing else does.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; img-src data:; \
         frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        hash_of("script"),
        hash_of("style"),
    )
});

/// The page's one inline element of this name, as CSP names what may run.
fn hash_of(element: &str) -> String {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let text =
        PAGE.split_once(&open).and_then(|(_, rest)| rest.split_once(&close)).map_or("", |(text, _)| text);
    format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(text)))
}

/// Answers by Host.
pub fn router(context: Arc<Context>) -> Router {
    Router::new().fallback(answer).with_state(context)
}

/// The request, less its body, which nothing here reads.
struct Asked<'a> {
    method: &'a Method,
    path: &'a str,
    headers: &'a HeaderMap,
    peer: SocketAddr,
}

async fn answer(
    State(context): State<Arc<Context>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let asked = Asked { method: &method, path: uri.path(), headers: &headers, peer };
    let mut response = match find(&context, &headers) {
        None => page(StatusCode::NOT_FOUND),
        Some(session) => of_session(&context, &asked, session).await,
    };
    let headers = response.headers_mut();
    headers.insert(MARK, axum::http::HeaderValue::from_static("1"));
    headers.insert(CACHE_CONTROL, axum::http::HeaderValue::from_static("no-store"));
    response
}

/// The session of a Host: read from the stores, since the host has only a hash of its namespace.
fn find(context: &Context, headers: &HeaderMap) -> Option<Arc<VDISession>> {
    let host = headers.get(HOST)?.to_str().ok()?.to_ascii_lowercase();
    let host = host.rsplit_once(':').map_or(host.as_str(), |(name, _port)| name);
    let domain = &context.settings.domain;
    let (name, _) = names::parse_host(host, domain)?;
    context.stores.spaces.values().find_map(|space| {
        let matches = names::host(&space.namespace, name, domain) == host;
        let reference = kube::runtime::reflector::ObjectRef::new(name).within(&space.namespace);
        matches.then(|| space.sessions.get(&reference)).flatten()
    })
}

async fn of_session(context: &Context, asked: &Asked<'_>, session: Arc<VDISession>) -> Response {
    match (asked.method.as_str(), asked.path) {
        ("GET", "/.deskgate/state") => {
            let visitor = visitor(context, asked, &session).await;
            Json(progress::progress(&session, &visitor)).into_response()
        }
        ("POST", "/.deskgate/wake") => wake(context, asked, &session).await,
        ("GET" | "HEAD", _) => page(StatusCode::SERVICE_UNAVAILABLE),
        _ => (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "2")], "the desktop is not there yet\n")
            .into_response(),
    }
}

fn page(status: StatusCode) -> Response {
    let kind = "text/html; charset=utf-8";
    (status, [(CONTENT_TYPE, kind), (CONTENT_SECURITY_POLICY, POLICY.as_str()), (RETRY_AFTER, "2")], PAGE)
        .into_response()
}

/// Who asks: the best that proxy and tokens say of him. The session's key is wanted only when a token could say more.
async fn visitor(context: &Context, asked: &Asked<'_>, session: &VDISession) -> Visitor {
    let namespace = session.namespace().unwrap_or_default();
    let (name, uid) = (session.name_any(), session.uid().unwrap_or_default());
    let access = Access {
        session: &name,
        user: &session.spec.user,
        forward: context.settings.forward_auth.as_ref(),
        now: u64::try_from(Timestamp::now().as_second()).unwrap_or_default(),
    };
    let forwarded = access.forwarded(asked.headers, asked.peer.ip()).unwrap_or(Visitor::Unknown);
    let tokens = access.tokens(asked.headers);
    if tokens.is_empty() || forwarded == Visitor::Controls {
        return forwarded;
    }
    match context.gateways.visitors_key(&uid, &namespace, &name).await {
        Ok(key) => forwarded.max(access.bearer(&tokens, &key)),
        Err(error) => {
            tracing::debug!(code = "secret_unread", %namespace, session = %name, %error, "a visitor's token could not be checked");
            forwarded
        }
    }
}

/// Wakes a session for a visitor with control rights, by an annotation: the newest wish wins.
async fn wake(context: &Context, asked: &Asked<'_>, session: &VDISession) -> Response {
    let namespace = session.namespace().unwrap_or_default();
    let name = session.name_any();
    if !access::same_origin(asked.headers) {
        return refused(StatusCode::FORBIDDEN, "another site's page may not wake a desktop");
    }
    match visitor(context, asked, session).await {
        Visitor::Controls => {}
        Visitor::Looks => {
            return refused(StatusCode::FORBIDDEN, "waking a desktop takes the right to control it");
        }
        Visitor::Unknown => {
            let how = format!("open the link that `kubectl vdi open {name} -n {namespace}` prints");
            return refused(StatusCode::UNAUTHORIZED, &how);
        }
    }
    let patch = json!({ "metadata": {
        "uid": session.uid(),
        "annotations": { names::WAKE_AT: run::wake_time(session, Timestamp::now()).to_string() },
    }});
    let api: Api<VDISession> = Api::namespaced(context.client.clone(), &namespace);
    match api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(_) => {
            tracing::info!(code = "woken", %namespace, session = %name, "a visitor woke the session");
            StatusCode::ACCEPTED.into_response()
        }
        Err(error) => {
            tracing::warn!(code = "wake_failed", %namespace, session = %name, %error, "the session could not be woken");
            refused(StatusCode::SERVICE_UNAVAILABLE, "the cluster did not take the wish; try again")
        }
    }
}

fn refused(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({ "error": why }))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_own_script_and_style_are_the_only_ones() {
        for element in ["script", "style"] {
            assert_eq!(PAGE.matches(&format!("<{element}")).count(), 1);
            assert_ne!(hash_of(element), hash_of("nothing"), "{element} has no text");
        }
        for attribute in [" style=", " onclick=", " onload=", " src="] {
            assert!(!PAGE.contains(attribute), "{attribute}is not covered by a hash");
        }
        assert!(!POLICY.contains("unsafe"));
    }
}
