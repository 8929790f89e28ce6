//! The leader's work: one queue of sessions for each namespace, worked off with bounded concurrency.

use std::sync::Arc;

use futures_util::future::join_all;
use kube::runtime::reflector::ObjectRef;

use super::context::Context;
use super::reconcile::reconcile;
use super::stores::Space;

/// Works until it is dropped. What is in flight then is dropped too: every step can be made twice, by whoever leads next.
pub async fn lead(context: Arc<Context>) {
    context.stores.ready().await;
    context.stores.mark_all();
    let workers = |space| (0..context.settings.concurrency).map(move |_| space);
    join_all(context.stores.spaces.values().flat_map(workers).map(|space| work(&context, space))).await;
}

async fn work(context: &Context, space: &Space) {
    loop {
        let turn = space.queue.next().await;
        let session = ObjectRef::new(turn.session()).within(&space.namespace);
        // Deleted meanwhile: its children are the garbage collector's.
        let Some(session) = space.sessions.get(&session) else { continue };
        if let Some(wait) = reconcile(context, space, session).await {
            turn.again_in(wait);
        }
    }
}
