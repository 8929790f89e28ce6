//! PURE. What holds of a session and what does not, with the cause, as a function of what is known and what was decided.

mod route;
mod start;
mod stream;

use super::decide::{Decision, Stage};
use super::reason::Reason;
use super::snapshot::Snapshot;
use crate::crd::{ConditionStatus, ConditionType};

/// A condition before it has a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub condition: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// The cause.
    pub reason: Reason,
    /// The cause, for people.
    pub message: String,
}

/// A step that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The condition that tells of it.
    pub condition: ConditionType,
    /// The cause.
    pub reason: Reason,
    /// The cause, for people.
    pub message: String,
}

/// Status, reason and message of one condition.
pub(super) type Verdict = (ConditionStatus, Reason, String);

pub(super) fn yes(reason: Reason, message: impl Into<String>) -> Verdict {
    (ConditionStatus::True, reason, message.into())
}

pub(super) fn no(reason: Reason, message: impl Into<String>) -> Verdict {
    (ConditionStatus::False, reason, message.into())
}

pub(super) fn unknown(reason: Reason, message: impl Into<String>) -> Verdict {
    (ConditionStatus::Unknown, reason, message.into())
}

/// All conditions, in the order in which a session passes them; `Ready` last.
pub fn findings(snapshot: &Snapshot, decision: &Decision, failures: &[Failure]) -> Vec<Finding> {
    let mut found = Vec::with_capacity(ConditionType::ALL.len());
    for condition in ConditionType::ALL {
        let (status, reason, message) = if condition == ConditionType::Ready {
            ready(&decision.stage, &found)
        } else {
            let failed = failures.iter().find(|f| f.condition == condition);
            failed.map_or_else(
                || judge(condition, snapshot, decision),
                |failure| no(failure.reason, failure.message.clone()),
            )
        };
        found.push(Finding { condition, status, reason, message });
    }
    found
}

fn judge(condition: ConditionType, snapshot: &Snapshot, decision: &Decision) -> Verdict {
    if let Stage::Blocked { condition: cause, reason, message } = &decision.stage {
        if *cause == condition {
            return no(*reason, message.clone());
        }
        // What comes after the gate that is closed has not been tried.
        if condition > *cause
            && !matches!(condition, ConditionType::UpToDate)
            && snapshot.pod.ours().is_none()
        {
            return unknown(Reason::Blocked, format!("waits for {cause:?}"));
        }
    }
    match condition {
        ConditionType::Admitted => start::admitted(snapshot),
        ConditionType::TemplateResolved => start::template(decision),
        ConditionType::StorageReady => start::storage(snapshot, decision),
        ConditionType::PodScheduled => start::scheduled(snapshot, decision),
        ConditionType::PodReady => start::pod(snapshot, decision),
        ConditionType::RouteReady => route::route(snapshot, decision),
        ConditionType::StreamReady => stream::stream(snapshot, decision),
        ConditionType::UpToDate | ConditionType::Ready => up_to_date(decision),
    }
}

fn up_to_date(decision: &Decision) -> Verdict {
    match decision.up_to_date {
        Some(true) => yes(Reason::UpToDate, ""),
        Some(false) => no(
            Reason::RestartRequired,
            "session, template or gateway image changed since the pod was made; the next start takes it up",
        ),
        None => yes(Reason::UpToDate, "nothing runs"),
    }
}

/// The first condition that does not hold is the cause of all.
fn ready(stage: &Stage, found: &[Finding]) -> Verdict {
    match stage {
        Stage::Terminating => return no(Reason::Terminating, "the session is being deleted"),
        Stage::Off(reason) => return no(*reason, suspended(*reason)),
        _ => {}
    }
    let cause = found
        .iter()
        .filter(|f| f.condition != ConditionType::UpToDate)
        .find(|f| f.status != ConditionStatus::True);
    match cause {
        Some(cause) => no(cause.reason, cause.message.clone()),
        None => yes(Reason::Ready, "the desktop can be opened"),
    }
}

/// What a suspension is, for people.
pub(super) const fn suspended(reason: Reason) -> &'static str {
    match reason {
        Reason::SuspendedIdle => "suspended: nobody was there for the idle timeout; a visit brings it back",
        Reason::SuspendedTimeout => "suspended: the run reached its timeout; a visit brings it back",
        Reason::SuspendedLogout => "suspended: the desktop was logged out of; a visit brings it back",
        _ => "suspended by spec.state; a visit with control rights or kubectl vdi resume brings it back",
    }
}

#[cfg(test)]
mod tests;
