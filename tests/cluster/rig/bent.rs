//! A client whose calls can be made to go wrong: on the way, so that the API server knows nothing of it.

use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::json;
use tower::{BoxError, service_fn};

/// What becomes of a call.
pub enum Bend {
    /// Nothing unusual.
    Pass,
    /// It is late.
    Delay(Duration),
    /// It is never answered.
    Hang,
    /// It gets an answer that the API server knows nothing of.
    Answer(StatusCode, String),
}

/// A client like `client`, but for the calls that `rule` bends.
pub fn bent(client: Client, rule: impl Fn(&Request<Body>) -> Bend + Send + Sync + 'static) -> Client {
    let call = move |request: Request<Body>| {
        let (bend, client) = (rule(&request), client.clone());
        async move {
            match bend {
                Bend::Pass => {}
                Bend::Delay(wait) => tokio::time::sleep(wait).await,
                Bend::Hang => std::future::pending().await,
                Bend::Answer(status, message) => return Ok(refusal(status, "", &message)),
            }
            client.send(request).await.map_err(BoxError::from)
        }
    };
    Client::new(service_fn(call), "default")
}

/// Whether a request is a call of this kind, watches aside.
pub fn is_call(request: &Request<Body>, method: &Method, resource: &str) -> bool {
    request.method() == method
        && request.uri().path().split('/').any(|part| part == resource)
        && !request.uri().query().unwrap_or_default().contains("watch=")
}

/// What an API server answers to a call that it refuses.
pub fn refusal(status: StatusCode, reason: &str, message: &str) -> Response<Body> {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": status.as_u16(),
    });
    let mut response = Response::new(Body::from(body.to_string().into_bytes()));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    response
}
