//! What every reconcile shares.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};

use super::gateways::Gateways;
use super::memory::Memory;
use super::metrics::Metrics;
use super::names;
use super::roll::{Roll, View};
use super::settings::Settings;
use super::stores::Stores;
use super::webhook::serve::Shown;

/// What every reconcile shares.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// Settings.
    pub settings: Settings,
    /// What is known of the cluster.
    pub stores: Arc<Stores>,
    /// What gateways said.
    pub gateways: Gateways,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Who is admitted.
    pub roll: Roll,
    /// What our own writes answered.
    pub memory: Memory,
    /// What the webhook shows in handshakes.
    pub certificate: Arc<Shown>,
    /// Writes Events.
    pub recorder: Recorder,
    tries: Mutex<HashMap<String, u32>>,
}

impl Context {
    /// For a replica that goes by `identity`.
    pub fn new(
        client: Client,
        settings: Settings,
        stores: Arc<Stores>,
        metrics: Arc<Metrics>,
        identity: &str,
    ) -> Self {
        let reporter =
            Reporter { controller: names::MANAGER.to_owned(), instance: Some(identity.to_owned()) };
        Self {
            gateways: Gateways::new(client.clone()),
            recorder: Recorder::new(client.clone(), reporter),
            client,
            settings,
            stores,
            metrics,
            roll: Roll::default(),
            memory: Memory::default(),
            certificate: Arc::default(),
            tries: Mutex::default(),
        }
    }

    /// What decides whose turn it is, at `now`.
    pub fn view(&self, now: Timestamp) -> View<'_> {
        View { stores: &self.stores, quotas: &self.settings.quotas, now }
    }

    /// How often in a row a session's reconcile has failed now.
    pub fn failed(&self, uid: &str) -> u32 {
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        let count = tries.entry(uid.to_owned()).or_default();
        *count = count.saturating_add(1);
        *count
    }

    /// A reconcile succeeded.
    pub fn succeeded(&self, uid: &str) {
        self.tries.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// Forgets the sessions that are no more, were they deleted by whomever.
    pub fn forget_the_gone(&self) {
        let sessions = self.stores.spaces.values().flat_map(|space| space.sessions.state());
        let live: HashSet<String> = sessions.filter_map(|session| session.metadata.uid.clone()).collect();
        self.tries.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| live.contains(uid));
        self.gateways.retain(|uid| live.contains(uid));
        self.memory.retain(|uid| live.contains(uid));
    }

    /// A session is gone.
    pub fn forget(&self, uid: &str) {
        self.succeeded(uid);
        self.gateways.forget(uid);
        self.memory.forget(uid);
    }
}
