//! The leader's work: one queue of sessions for each namespace, worked off with bounded concurrency.

use std::sync::Arc;

use futures_util::future::join_all;
use kube::runtime::reflector::ObjectRef;

use super::context::Context;
use super::reconcile::reconcile;
use super::stores::Space;

/// Works until it is dropped. What is in flight then is dropped too: every step can be made twice, by whoever leads next.
pub async fn lead(context: Arc<Context>) {
    join_all(context.stores.spaces.values().map(|space| lead_in(&context, space))).await;
}

async fn lead_in(context: &Context, space: &Space) {
    context.stores.ready(&space.namespace).await;
    let _open = space.begin();
    join_all((0..context.settings.concurrency).map(|_| work(context, space))).await;
}

async fn work(context: &Context, space: &Space) {
    loop {
        let turn = space.queue.next().await;
        let session = ObjectRef::new(turn.session()).within(&space.namespace);
        // Deleted meanwhile: its children are the garbage collector's.
        let Some(session) = space.sessions.get(&session) else {
            context.forget_the_gone();
            continue;
        };
        if let Some(wait) = reconcile(context, space, session).await {
            turn.again_in(wait);
        }
    }
}
