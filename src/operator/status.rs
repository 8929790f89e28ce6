//! PURE. The status that is written, and the one table that makes a phase of conditions.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::conditions::Finding;
use super::decide::Decision;
use super::reason::{self, Reason};
use super::run;
use super::settings::Settings;
use super::snapshot::Snapshot;
use super::{build, names, validate};
use crate::crd::{Condition, ConditionStatus, ConditionType, Phase, VDISessionStatus};

/// Longest time between two notes of activity in the status, where no idle timeout asks for more.
const ACTIVITY_NOTE: Duration = Duration::from_secs(600);

/// The phase that conditions make: the first row that fits.
pub fn phase(findings: &[Finding]) -> Phase {
    let of = |condition| findings.iter().find(|f| f.condition == condition);
    let ready = of(ConditionType::Ready);
    let ready_reason = ready.map_or(Reason::Blocked, |f| f.reason);
    let fails = |f: &&Finding| f.status == ConditionStatus::False;
    let waits_outside = |f: &Finding| match f.condition {
        ConditionType::Admitted | ConditionType::TemplateResolved => true,
        ConditionType::StorageReady => f.reason != Reason::ProvisioningPending,
        ConditionType::PodScheduled => !matches!(
            f.reason,
            Reason::PodMissing | Reason::Scheduling | Reason::Stopping | Reason::ReplacementBackOff
        ),
        _ => false,
    };
    let rows = [
        (ready_reason == Reason::Terminating, Phase::Terminating),
        (findings.iter().filter(fails).any(|f| reason::is_final(f.reason)), Phase::Failed),
        (reason::is_suspension(ready_reason), Phase::Suspended),
        (ready.is_some_and(|f| f.status == ConditionStatus::True), Phase::Running),
        (findings.iter().filter(fails).any(waits_outside), Phase::Pending),
    ];
    rows.into_iter().find(|(fits, _)| *fits).map_or(Phase::Creating, |(_, phase)| phase)
}

/// The status after this reconcile. Equal to the stored one if nothing changed, so that nothing is written.
pub fn status(
    snapshot: &Snapshot,
    decision: &Decision,
    findings: &[Finding],
    settings: &Settings,
    now: Timestamp,
) -> VDISessionStatus {
    let session = &snapshot.session;
    let before = session.status.clone().unwrap_or_default();
    let pod = snapshot.pod.ours();
    let effective = match (&decision.effective, &snapshot.template) {
        (Ok(effective), Some(template)) => Some(validate::effective_status(effective, template)),
        // What was in force last: it says which home a session has whose template went away.
        _ => before.effective.clone(),
    };
    let generation = session.metadata.generation;
    let (viewers, last_activity) = activity(snapshot, decision, &before, now);
    let known = effective.is_some();
    let replaced = Some(&decision.replacements).filter(|r| r.count > 0);
    VDISessionStatus {
        phase: Some(phase(findings)),
        conditions: conditions(findings, &before.conditions, generation, now),
        observed_generation: generation,
        effective,
        pod_name: pod.map(|p| p.name_any()),
        node_name: pod.and_then(|p| p.spec.as_ref()?.node_name.clone()),
        secret_name: before.secret_name.clone().or_else(|| pod.map(|_| names::child(&session.name_any()))),
        url: if known { Some(build::url(session, settings)) } else { before.url.clone() },
        start_time: pod.and_then(|p| p.metadata.creation_timestamp.clone()),
        last_activity_time: last_activity,
        viewers,
        suspended_since: run::suspended_since(session, now).map(Time),
        replacements: replaced.map(|r| r.count),
        last_replacement_time: replaced.and_then(|r| r.last).map(Time),
        last_replaced_pod_uid: replaced.and_then(|r| r.pod_uid.clone()),
        message: findings
            .iter()
            .find(|f| f.condition == ConditionType::Ready)
            .map(|f| f.message.clone())
            .filter(|m| !m.is_empty()),
    }
}

/// Our conditions over those that are there; other managers' are not ours to write.
fn conditions(
    findings: &[Finding],
    before: &[Condition],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    findings
        .iter()
        .map(|finding| {
            let type_ = format!("{:?}", finding.condition);
            let same = before.iter().find(|c| c.type_ == type_ && c.status == finding.status);
            Condition {
                last_transition_time: same.map_or(Time(now), |c| c.last_transition_time.clone()),
                type_,
                status: finding.status,
                reason: finding.reason.as_str().to_owned(),
                message: finding.message.clone(),
                observed_generation: generation,
            }
        })
        .collect()
}

/// Viewers and the last activity: written only when somebody comes or the last one leaves, and now and then.
fn activity(
    snapshot: &Snapshot,
    decision: &Decision,
    before: &VDISessionStatus,
    now: Timestamp,
) -> (Option<u32>, Option<Time>) {
    let kept = (before.viewers, before.last_activity_time.clone());
    if snapshot.pod.ours().is_none() {
        return (None, kept.1);
    }
    let Some(Ok(state)) = snapshot.gateway_state() else { return kept };
    let seen = now.checked_sub(state.idle).unwrap_or(now);
    let note = decision
        .effective
        .as_ref()
        .ok()
        .and_then(|e| e.idle_timeout.span())
        .map_or(ACTIVITY_NOTE, |idle| idle / 10);
    let turned = before.viewers.is_none_or(|then| (then == 0) != (state.viewers == 0));
    let old = before
        .last_activity_time
        .as_ref()
        .is_none_or(|then| Duration::try_from(then.0.duration_until(seen)).is_ok_and(|since| since > note));
    if turned || old { (Some(state.viewers), Some(Time(whole_seconds(seen)))) } else { kept }
}

/// The API server keeps whole seconds: what it would cut off must not look like a change.
fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
