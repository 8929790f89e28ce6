//! A limit for every call to the API server but watches: one that is taken and never answered must not keep a session, or
//! the lease, for ever.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::{Request, Response};
use kube::Client;
use kube::client::Body;
use thiserror::Error;
use tower::{BoxError, Service};

/// Longest wait for the head of an answer.
const LONGEST: Duration = Duration::from_secs(15);

/// Nobody knows what became of a call.
#[derive(Debug, Error)]
#[error("the API server has not answered within {} s", LONGEST.as_secs())]
pub struct Unanswered;

/// The same client, whose calls end.
pub fn limited(client: Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    Client::new(Limited(client), namespace)
}

#[derive(Clone)]
struct Limited(Client);

impl Service<Request<Body>> for Limited {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // A watch answers when there is something to tell; its end is asked of the server.
        let query = request.uri().query().unwrap_or_default();
        let is_watch = query.split('&').any(|part| part == "watch=true" || part == "watch=1");
        let client = self.0.clone();
        Box::pin(async move {
            let answer = async { client.send(request).await.map_err(BoxError::from) };
            if is_watch {
                return answer.await;
            }
            tokio::time::timeout(LONGEST, answer).await.unwrap_or_else(|_| Err(Unanswered.into()))
        })
    }
}
