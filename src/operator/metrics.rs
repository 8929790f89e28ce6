//! Counters of the operator, in Prometheus' text format.

use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::stores::Stores;
use crate::crd::Phase;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    phase: PhaseValue,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct PhaseValue(Phase);

impl EncodeLabelValue for PhaseValue {
    fn encode(
        &self,
        encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>,
    ) -> Result<(), std::fmt::Error> {
        format!("{:?}", self.0).as_str().encode(encoder)
    }
}

/// Counters of the operator.
pub struct Metrics {
    registry: Registry,
    sessions: Family<PhaseLabel, Gauge>,
    queue: Gauge,
    leading: Gauge,
    reconciles: Histogram,
    errors: Counter,
    time_to_ready: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let metrics = Self {
            sessions: Family::default(),
            queue: Gauge::default(),
            leading: Gauge::default(),
            reconciles: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            errors: Counter::default(),
            time_to_ready: Histogram::new(exponential_buckets(0.5, 2.0, 12)),
            registry: Registry::default(),
        };
        registry.register("vdi_sessions", "Sessions by phase", metrics.sessions.clone());
        registry.register("vdi_queue_depth", "Sessions that wait to be looked at", metrics.queue.clone());
        registry.register("vdi_leading", "1 on the replica that acts", metrics.leading.clone());
        let reconciles = metrics.reconciles.clone();
        registry.register_with_unit(
            "vdi_reconcile_duration",
            "Time of one reconcile",
            Unit::Seconds,
            reconciles,
        );
        registry.register("vdi_reconcile_errors", "Reconciles that are tried again", metrics.errors.clone());
        let ready = metrics.time_to_ready.clone();
        registry.register_with_unit("vdi_time_to_ready", "From pod to open desktop", Unit::Seconds, ready);
        Self { registry, ..metrics }
    }
}

impl Metrics {
    /// One reconcile ended.
    pub fn reconciled(&self, took: Duration, succeeded: bool) {
        self.reconciles.observe(took.as_secs_f64());
        if !succeeded {
            self.errors.inc();
        }
    }

    /// A desktop can be opened so long after its pod was made.
    pub fn ready_after(&self, took: Duration) {
        self.time_to_ready.observe(took.as_secs_f64());
    }

    /// Whether this replica acts.
    pub fn leads(&self, leads: bool) {
        self.leading.set(i64::from(leads));
    }

    /// All of it as text.
    pub fn text(&self, stores: &Stores) -> String {
        const PHASES: [Phase; 6] = [
            Phase::Pending,
            Phase::Creating,
            Phase::Running,
            Phase::Suspended,
            Phase::Terminating,
            Phase::Failed,
        ];
        let sessions: Vec<_> = stores.spaces.values().flat_map(|s| s.sessions.state()).collect();
        for phase in PHASES {
            let of = |s: &&std::sync::Arc<crate::crd::VDISession>| {
                s.status.as_ref().and_then(|s| s.phase).unwrap_or(Phase::Pending) == phase
            };
            let count = sessions.iter().filter(of).count();
            let label = PhaseLabel { phase: PhaseValue(phase) };
            self.sessions.get_or_create(&label).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let waiting: usize = stores.spaces.values().map(|s| s.queue.len()).sum();
        self.queue.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        let mut text = String::new();
        // Writing into a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
