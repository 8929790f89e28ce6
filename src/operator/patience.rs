//! A limit for every call to the API server but watches: one that is taken and never answered must not keep a session, or
//! the lease, for ever.

use std::time::Duration;

use hyper::Request;
use kube::Client;
use kube::client::Body;
use thiserror::Error;
use tower::{BoxError, service_fn};

/// Longest wait for the head of an answer.
const LONGEST: Duration = Duration::from_secs(15);

/// Nobody knows what became of a call.
#[derive(Debug, Error)]
#[error("the API server has not answered within {} s", LONGEST.as_secs())]
pub struct Unanswered;

/// The same client, whose calls end.
pub fn limited(client: Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    let call = move |request: Request<Body>| {
        // A watch answers when there is something to tell; its end is asked of the server.
        let query = request.uri().query().unwrap_or_default();
        let is_watch = query.split('&').any(|part| part == "watch=true" || part == "watch=1");
        let client = client.clone();
        async move {
            let answer = async { client.send(request).await.map_err(BoxError::from) };
            if is_watch {
                return answer.await;
            }
            tokio::time::timeout(LONGEST, answer).await.unwrap_or_else(|_| Err(Unanswered.into()))
        }
    };
    Client::new(service_fn(call), namespace)
}
