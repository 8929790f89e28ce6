//! A client whose calls meet what a rule says: an answer of the test's own, or none at all.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::json;
use tower::{BoxError, Service};

/// What becomes of a call.
pub enum Bend {
    /// It goes on to the API server.
    Pass,
    /// It is never answered.
    Hang,
    /// The API server does not see it, and it is refused with these words.
    Refuse(StatusCode, &'static str),
}

#[derive(Clone)]
struct Bent<F> {
    inner: Client,
    rule: Arc<F>,
}

impl<F: Fn(&Request<Body>) -> Bend + Send + Sync + 'static> Service<Request<Body>> for Bent<F> {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (bend, inner) = ((self.rule)(&request), self.inner.clone());
        Box::pin(async move {
            match bend {
                Bend::Pass => inner.send(request).await.map_err(Into::into),
                Bend::Hang => std::future::pending().await,
                Bend::Refuse(status, message) => Ok(refusal(status, message)),
            }
        })
    }
}

fn refusal(status: StatusCode, message: &str) -> Response<Body> {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": "", "code": status.as_u16(),
    });
    let mut response = Response::new(Body::from(body.to_string().into_bytes()));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    response
}

/// A client that goes by a rule.
pub fn bent<F: Fn(&Request<Body>) -> Bend + Send + Sync + 'static>(client: Client, rule: F) -> Client {
    Client::new(Bent { inner: client, rule: Arc::new(rule) }, "default")
}

/// Whether a call is of this method and about this kind.
pub fn is(request: &Request<Body>, method: &Method, resource: &str) -> bool {
    request.method() == method && request.uri().path().split('/').any(|part| part == resource)
}
