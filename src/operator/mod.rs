//! The operator: a `VDISession` becomes a running desktop behind a URL.
//!
//! A reconcile is a row of steps, a file each: [`fetch`] reads what is known, [`validate`] makes of session and template
//! what is in force, [`build`] makes the objects, [`decide`] says what to do, [`apply`] does it, [`status`] says what came
//! of it. All but `fetch` and `apply` are pure.

pub mod admit;
pub mod apply;
pub mod build;
pub mod conditions;
pub mod context;
pub mod decide;
pub mod drift;
pub mod effective;
pub mod entry;
pub mod events;
pub mod fetch;
#[cfg(test)]
mod fixtures;
pub mod follow;
pub mod gateways;
pub mod homes;
pub mod lead;
pub mod lease;
pub mod memory;
pub mod metrics;
pub mod names;
pub mod patience;
pub mod pods;
pub mod probe;
pub mod queue;
pub mod reason;
pub mod reconcile;
pub mod refusal;
pub mod residents;
pub mod roll;
pub mod run;
pub mod server;
pub mod settings;
pub mod snapshot;
pub mod status;
pub mod step;
pub mod stores;
pub mod traefik;
pub mod validate;
pub mod webhook;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use kube::Client;
use kube_lease_manager::{LeaseCreateMode, LeaseManager, LeaseParams};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::context::Context;
use self::metrics::Metrics;
use self::settings::Settings;
use self::stores::Stores;

/// What a replica of the operator needs besides its settings.
#[derive(Debug)]
pub struct Replica {
    /// Its name among the replicas: the pod's.
    pub identity: String,
    /// Health, readiness, metrics.
    pub health: TcpListener,
    /// The catch-all behind all routes: progress, wake page, 404.
    pub entry: TcpListener,
    /// The admission webhook (TLS).
    pub webhook: TcpListener,
    /// How long a leader that is silent is still the leader.
    pub lease: Duration,
    /// How long before that the lease is renewed.
    pub lease_grace: Duration,
}

/// Why the operator does not run.
#[derive(Debug, Error)]
pub enum OperatorError {
    /// Nobody minds the lease any longer: a restart begins anew.
    #[error("the leader's lease is minded no longer")]
    Lease,
    /// A store is no longer kept true: a restart reads it anew.
    #[error("a watch ended")]
    Watch,
}

/// How long giving the lease back may take.
const FAREWELL: Duration = Duration::from_secs(5);
/// Between two tries to get at the lease at the start.
const LEASE_RETRY: Duration = Duration::from_secs(2);

/// Runs a replica until `shutdown`.
///
/// # Errors
/// [`OperatorError`]: watches and lease. An API server that is away is waited for.
pub async fn run(
    client: Client,
    settings: Settings,
    replica: Replica,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), OperatorError> {
    let client = patience::limited(client);
    let mut tasks = JoinSet::new();
    let stop = CancellationToken::new();
    let mut watches = JoinSet::new();
    let stores = Stores::start(&client, &settings.namespaces, &mut watches);
    let metrics = Arc::new(Metrics::default());
    let own_namespace = settings.own_namespace.clone();
    let context = Arc::new(Context::new(client, settings, stores, metrics, &replica.identity));
    let Replica { identity, health, entry, webhook, lease, lease_grace } = replica;
    let address = |listener: &TcpListener| listener.local_addr().map(|a| a.to_string()).unwrap_or_default();
    let (health_at, entry_at, webhook_at) = (address(&health), address(&entry), address(&webhook));
    serve(&mut tasks, &stop, health, server::router(Arc::clone(&context)));
    serve(&mut tasks, &stop, entry, entry::router(Arc::clone(&context)));
    let injection = webhook::injection(&context.settings);
    tasks.spawn(webhook::serve::serve(webhook, Arc::clone(&context.certificate), injection, stop.clone()));
    tasks.spawn(webhook::keep::follow(Arc::clone(&context)));
    tasks.spawn(lease::keep(context.client.clone(), own_namespace.clone(), lease));
    tracing::info!(
        code = "started",
        %identity,
        health = health_at,
        entry = entry_at,
        webhook = webhook_at,
        "the operator runs"
    );
    let asked_to_stop = stop.clone();
    tasks.spawn(async move {
        shutdown.await;
        asked_to_stop.cancel();
    });
    let params = LeaseParams::new(&identity, lease.as_secs(), lease_grace.as_secs());
    let turns = take_turns(&context, &own_namespace, params, &stop);
    let ended = until_one_ends(turns, &mut watches, &stop).await;
    tracing::info!(code = "stopping", %identity, "the operator stops");
    stop.cancel();
    tasks.shutdown().await;
    watches.shutdown().await;
    ended
}

/// Works until it is done, or until a watch ends: none does by itself, so it broke, and what it keeps is true no longer.
async fn until_one_ends(
    work: impl Future<Output = Result<(), OperatorError>>,
    watches: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> Result<(), OperatorError> {
    let mut work = pin!(work);
    tokio::select! {
        ended = &mut work => ended,
        ended = watches.join_next() => {
            tracing::error!(code = "watch_ended", ?ended, "a watch ended; the operator ends too");
            stop.cancel();
            work.await.and(Err(OperatorError::Watch))
        }
    }
}

/// Leads and follows, as the lease has it. An API server that is away at the start is waited for.
async fn take_turns(
    context: &Arc<Context>,
    namespace: &str,
    params: LeaseParams,
    stop: &CancellationToken,
) -> Result<(), OperatorError> {
    let manager = loop {
        let (client, mode) = (context.client.clone(), LeaseCreateMode::default());
        match LeaseManager::new(client, lease::LEASE, namespace, params.clone(), mode).await {
            Ok(manager) => break manager,
            Err(error) => {
                tracing::warn!(code = "lease_unreadable", %error, "the lease cannot be had yet; tried again");
                if stop.run_until_cancelled(tokio::time::sleep(LEASE_RETRY)).await.is_none() {
                    return Ok(());
                }
            }
        }
    };
    let (leading, lease) = manager.watch().await;
    if stop.run_until_cancelled(follow_lease(context, leading)).await.is_some() {
        return Err(OperatorError::Lease);
    }
    // The channel is closed by now, so the manager gives the lease back and another replica leads at once.
    if tokio::time::timeout(FAREWELL, lease).await.is_err() {
        tracing::warn!(code = "lease_kept", "the lease could not be given back; it expires by itself");
    }
    Ok(())
}

/// Leads while the lease is held; ends when nobody minds the lease any longer.
async fn follow_lease(context: &Arc<Context>, mut leading: watch::Receiver<bool>) {
    loop {
        if leading.wait_for(|leads| *leads).await.is_err() {
            return;
        }
        tracing::info!(code = "leading", "this replica leads");
        context.metrics.leads(true);
        tokio::select! {
            () = lead::lead(Arc::clone(context)) => {}
            () = webhook::keep::lead(Arc::clone(context)) => {}
            _ = leading.wait_for(|leads| !*leads) => {}
        }
        context.metrics.leads(false);
        tracing::info!(code = "following", "this replica follows");
    }
}

fn serve(tasks: &mut JoinSet<()>, stop: &CancellationToken, listener: TcpListener, router: Router) {
    let stop = stop.clone();
    tasks.spawn(async move {
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        if let Err(error) =
            axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned()).await
        {
            tracing::error!(code = "server_failed", %error, "a server ended");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watch_that_ends_ends_the_operator_in_order() {
        let stop = CancellationToken::new();
        let work = async {
            stop.cancelled().await;
            Ok(())
        };
        let mut watches = JoinSet::new();
        watches.spawn(std::future::pending());
        watches.spawn(async { panic!("as a watch may") });
        let ended = until_one_ends(work, &mut watches, &stop).await;
        assert!(matches!(ended, Err(OperatorError::Watch)), "{ended:?}");
        let ended = until_one_ends(async { Ok(()) }, &mut watches, &stop).await;
        assert!(ended.is_ok(), "what runs on is no matter");
    }
}
