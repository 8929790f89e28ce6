//! The leader's work: one queue of sessions for each namespace, worked off with bounded concurrency.

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use kube::runtime::controller::{Config, ReconcileRequest};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{applier, controller};

use super::context::Context;
use super::reconcile::{Scope, on_error, reconcile};
use super::stores::Space;
use crate::crd::VDISession;

/// Works until it is dropped. What is in flight then is dropped too: every step can be made twice, by whoever leads next.
pub async fn lead(context: Arc<Context>) {
    context.stores.ready().await;
    context.stores.mark_all();
    join_all(context.stores.spaces.values().map(|space| work(&context, space))).await;
}

async fn work(context: &Arc<Context>, space: &Space) {
    let scope = Arc::new(Scope { context: Arc::clone(context), namespace: space.namespace.clone() });
    let (dirty, namespace) = (Arc::clone(&space.dirty), space.namespace.clone());
    let queue = stream::unfold((dirty, namespace), |(dirty, namespace)| async move {
        let session = dirty.next().await;
        let reference = ObjectRef::<VDISession>::new(&session).within(&namespace);
        Some((Ok::<_, Infallible>(ReconcileRequest::from(reference)), (dirty, namespace)))
    });
    let config = Config::default().concurrency(context.settings.concurrency);
    let results = applier(
        |session, scope| Box::pin(reconcile(session, scope)),
        on_error,
        scope,
        space.sessions.clone(),
        Box::pin(queue),
        config,
    );
    results.for_each(|result| async { log(result) }).await;
}

fn log<T>(result: Result<T, controller::Error<super::reconcile::ReconcileError, Infallible>>) {
    match result {
        // Deleted meanwhile: its children are the garbage collector's.
        Ok(_) | Err(controller::Error::ObjectNotFound(_)) => {}
        Err(error) => tracing::warn!(code = "reconcile_failed", %error, "a reconcile is tried again"),
    }
}
