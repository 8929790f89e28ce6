//! PURE. The pod: made once the old one is gone, never touched while it lives, replaced when it failed, ended when its
//! time is up.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::children::taken;
use super::{Decider, Replacements, Stage, after};
use crate::crd::EndAction;
use crate::operator::build::{self, Plan};
use crate::operator::effective::Ends;
use crate::operator::snapshot::{Child, GatewayState, RouteProbe};
use crate::operator::step::{Object, Step, Why};
use crate::operator::{names, pods};

/// How long a pod has to be ready before earlier failures are forgotten.
const HEALED: Duration = Duration::from_secs(600);
/// When to look again after a failure was counted, should nobody tell that it stands in the status.
const COUNTED: Duration = Duration::from_secs(1);
/// How long past its grace period a pod that is deleted may still be there before its node counts as lost.
const OVERDUE: Duration = Duration::from_secs(60);

impl Decider<'_> {
    /// The plans, of a pod that would be made now and of what is around the one that lives, are absent while session and
    /// template do not fit: then nothing is made, and nothing is ended.
    pub(super) fn mind_pod(&mut self, plans: Option<(&Plan<'_>, &Plan<'_>)>) -> Stage {
        let plan = plans.map(|(plan, _)| plan);
        let snapshot = self.snapshot;
        let pod = match &snapshot.pod {
            Child::Foreign { owner } => {
                return plan.map_or(Stage::Starting, |plan| taken(&build::pod::pod(plan), owner));
            }
            Child::Absent => return plan.map_or(Stage::Starting, |plan| self.make_pod(plan)),
            Child::Ours(pod) => pod,
        };
        if let Some(ends) = &pod.metadata.deletion_timestamp {
            return self.leaving(ends.0);
        }
        if self.restart_requested(pod) {
            self.decision.replacements = Replacements::default();
            self.delete_pod(pod);
            return Stage::Stopping;
        }
        match pods::phase(pod) {
            "Failed" => self.replace(pod),
            "Succeeded" if self.was_suspended_and_woken(pod) => {
                self.delete_pod(pod);
                Stage::Stopping
            }
            "Succeeded" => {
                self.step(Step::Suspend(Why::Logout));
                Stage::Stopping
            }
            _ => self.mind_live_pod(pod, plans),
        }
    }

    fn make_pod(&mut self, plan: &Plan<'_>) -> Stage {
        let Replacements { count, last, .. } = self.decision.replacements;
        if let Some(last) = last.filter(|_| count > 0) {
            let wait = self.until(after(last, self.settings.pace.until_replacement(count)));
            if !wait.is_zero() {
                self.look_again_in(wait);
                return Stage::BackOff { message: format!("the pod failed; replacement {count} is due") };
            }
        }
        self.step(Step::EnsureSecret(Box::new(build::secret::metadata(plan))));
        self.step(Step::Create(Object::Pod(Box::new(build::pod::pod(plan)))));
        Stage::Starting
    }

    /// A pod that is on its way out. No second one is made: it might still run.
    fn leaving(&mut self, ends: Timestamp) -> Stage {
        let lost = self.snapshot.node.as_deref().is_some_and(pods::node_is_lost);
        let left = self.until(after(ends, OVERDUE));
        if lost || left.is_zero() {
            return Stage::Lost;
        }
        self.look_again_in(left);
        Stage::Stopping
    }

    /// `kubectl vdi restart` names the pod that is to go, so that the wish ends with that pod.
    fn restart_requested(&self, pod: &Pod) -> bool {
        let wish = self.snapshot.session.annotations().get(names::RESTART);
        wish.is_some() && wish == pod.metadata.uid.as_ref()
    }

    /// Whether the end of this very pod has suspended the session already, and somebody wants it back.
    fn was_suspended_and_woken(&self, pod: &Pod) -> bool {
        let (slept, woken) =
            (self.snapshot.instant(names::SUSPENDED_AT), self.snapshot.instant(names::WAKE_AT));
        slept.is_some_and(|slept| pods::created(pod).is_some_and(|made| slept > made) && woken >= Some(slept))
    }

    fn replace(&mut self, pod: &Pod) -> Stage {
        let message = failure(pod);
        let Replacements { count, pod_uid: counted, .. } = &self.decision.replacements;
        if counted.is_some() && *counted == pod.metadata.uid {
            self.delete_pod(pod);
        } else if *count >= self.settings.pace.replacements {
            return Stage::Exhausted { message };
        } else {
            // The status first, the pod at the next look: a crash between the two must not forget a failure.
            self.decision.replacements =
                Replacements { count: count + 1, last: Some(self.now), pod_uid: pod.metadata.uid.clone() };
            self.look_again_in(COUNTED);
        }
        Stage::BackOff { message }
    }

    fn mind_live_pod(&mut self, pod: &Pod, plans: Option<(&Plan<'_>, &Plan<'_>)>) -> Stage {
        self.look_again_in(self.gateway_interval());
        // Traefik takes a moment to load a route.
        if matches!(self.snapshot.probe, RouteProbe::Due | RouteProbe::Fails { .. }) {
            self.look_again_in(self.snapshot.probe.until_look(&self.settings.pace, self.now));
        }
        if let Some((plan, around)) = plans {
            let wanted = build::pod::pod(plan);
            let hash = |pod: &Pod| pod.annotations().get(names::SPEC_HASH).cloned();
            let same_way = plan.effective.exposure == around.effective.exposure;
            self.decision.up_to_date = Some(same_way && hash(&wanted) == hash(pod));
            if pods::is_ready(pod) || self.snapshot.route.ours().is_some() {
                self.ensure_routes(around);
            }
        }
        if let Some(ends) = self.decision.ends {
            self.mind_time(pod, &ends);
            self.mind_visitors(&ends);
        }
        self.forget_failures(pod);
        Stage::Up
    }

    fn forget_failures(&mut self, pod: &Pod) {
        if self.decision.replacements.count == 0 {
            return;
        }
        let Some(since) = pods::ready_since(pod) else { return };
        let left = self.until(after(since, HEALED));
        if left.is_zero() {
            self.decision.replacements = Replacements::default();
        } else {
            self.look_again_in(left);
        }
    }

    /// Between two looks at the gateway: often at first, until it streams, then as often as idleness has to be noticed.
    fn gateway_interval(&self) -> Duration {
        let pace = &self.settings.pace;
        match self.snapshot.gateway_state() {
            Some(Ok(state)) if state.streams() => {
                let idle = self.decision.ends.and_then(|ends| ends.idle_timeout.span());
                idle.map_or(pace.gateway_running, |idle| (idle / 20).max(pace.gateway_running))
            }
            _ => self.snapshot.until_gateway_look(pace, self.now),
        }
    }

    /// The timeout, and the warning before it.
    fn mind_time(&mut self, pod: &Pod, ends: &Ends) {
        let (Some(span), Some(start)) = (ends.timeout.span(), pods::created(pod)) else { return };
        let end = after(start, span);
        let left = self.until(end);
        if left.is_zero() {
            self.end(ends.timeout_action, Why::Timeout);
            return;
        }
        let warning = self.settings.pace.warning;
        if left <= warning {
            self.step(Step::Warn { at: end, action: ends.timeout_action });
            self.look_again_in(left);
        } else {
            self.look_again_in(left.saturating_sub(warning));
        }
    }

    /// Idleness. What cannot be read is not idle.
    fn mind_visitors(&mut self, ends: &Ends) {
        let Some(limit) = ends.idle_timeout.span() else { return };
        let Some(Ok(GatewayState { viewers: 0, idle, .. })) = self.snapshot.gateway_state() else { return };
        if *idle >= limit {
            self.end(ends.idle_action, Why::Idle);
        } else {
            self.look_again_in(limit.saturating_sub(*idle));
        }
    }

    fn end(&mut self, action: EndAction, why: Why) {
        self.step(match action {
            EndAction::Suspend => Step::Suspend(why),
            EndAction::Delete => Step::DeleteSession(why),
        });
    }
}

/// Why a pod failed, in its own words.
fn failure(pod: &Pod) -> String {
    let status = pod.status.as_ref();
    let own = status.and_then(|s| s.reason.as_deref()).map(|reason| {
        let message = status.and_then(|s| s.message.as_deref()).unwrap_or_default();
        if message.is_empty() { reason.to_owned() } else { format!("{reason}: {message}") }
    });
    own.or_else(|| {
        let (container, code, reason) = pods::terminated(pod)?;
        Some(format!("container {container} ended with code {code} ({reason})"))
    })
    .unwrap_or_else(|| "the pod failed without a reason".to_owned())
}
