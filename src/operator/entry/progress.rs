//! PURE. How a session stands, for the page that waits for it.

use kube::ResourceExt;
use serde::Serialize;

use super::access::Visitor;
use crate::crd::{ConditionStatus, ConditionType, Phase, VDISession};
use crate::operator::reason::Reason;

/// How a session stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Its name.
    session: String,
    /// Its phase.
    phase: Phase,
    /// Whether this visitor may wake it.
    may_wake: bool,
    /// Whether anything is known of this visitor; strangers see no messages.
    known: bool,
    /// How to get in, for strangers.
    how: String,
    /// What is the matter, in one sentence.
    message: Option<String>,
    /// What to do about it.
    hint: Option<&'static str>,
    /// What has been passed.
    steps: Vec<Stage>,
}

/// One condition, as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Stage {
    name: &'static str,
    state: State,
    message: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum State {
    Done,
    Now,
    Later,
}

/// What the page shows. Strangers get the phase and how to get in: messages of conditions name nodes and images.
pub fn progress(session: &VDISession, visitor: &Visitor) -> Progress {
    let status = session.status.as_ref();
    let known = *visitor != Visitor::Unknown;
    let phase = status.and_then(|s| s.phase).unwrap_or(Phase::Pending);
    let namespace = session.namespace().unwrap_or_default();
    let ready = status.and_then(|s| s.conditions.iter().find(|c| c.type_ == "Ready"));
    let reason = ready.and_then(|c| Reason::parse(&c.reason));
    Progress {
        session: session.name_any(),
        phase,
        may_wake: phase == Phase::Suspended && *visitor == Visitor::Controls,
        known,
        how: format!("kubectl vdi open {} -n {namespace}", session.name_any()),
        message: status.and_then(|s| s.message.clone()).filter(|_| known),
        // A suspension's message says it already.
        hint: reason.map(Reason::hint).filter(|hint| known && !hint.is_empty() && phase != Phase::Suspended),
        steps: if phase == Phase::Suspended { Vec::new() } else { stages(session, known) },
    }
}

fn stages(session: &VDISession, known: bool) -> Vec<Stage> {
    const SHOWN: [(ConditionType, &str); 6] = [
        (ConditionType::Admitted, "Within quota"),
        (ConditionType::StorageReady, "Home"),
        (ConditionType::PodScheduled, "A place on a node"),
        (ConditionType::PodReady, "Desktop starts"),
        (ConditionType::RouteReady, "Way to it"),
        (ConditionType::StreamReady, "Picture"),
    ];
    let conditions = session.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    let mut current = false;
    SHOWN
        .iter()
        .map(|(type_, name)| {
            let type_ = format!("{type_:?}");
            let condition = conditions.iter().find(|c| c.type_ == type_);
            let holds = condition.is_some_and(|c| c.status == ConditionStatus::True);
            let state = match (holds, current) {
                (true, _) => State::Done,
                (false, false) => State::Now,
                (false, true) => State::Later,
            };
            current |= !holds;
            let says = known && state == State::Now;
            let message = condition.map(|c| c.message.clone()).filter(|m| says && !m.is_empty());
            Stage { name, state, message }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::{Condition, VDISessionSpec, VDISessionStatus};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    fn session(phase: Phase, conditions: &[(&str, ConditionStatus, &str)]) -> VDISession {
        let mut session = VDISession::new("desk", VDISessionSpec::default());
        session.metadata.namespace = Some("desks".to_owned());
        let conditions = conditions.iter().map(|(type_, status, message)| Condition {
            type_: (*type_).to_owned(),
            status: *status,
            reason: "InsufficientGpu".to_owned(),
            message: (*message).to_owned(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: None,
        });
        session.status = Some(VDISessionStatus {
            phase: Some(phase),
            conditions: conditions.collect(),
            message: Some("0/1 nodes".to_owned()),
            ..VDISessionStatus::default()
        });
        session
    }

    #[test]
    fn the_first_thing_that_does_not_hold_is_what_happens_now() {
        let session = session(
            Phase::Pending,
            &[
                ("Admitted", ConditionStatus::True, ""),
                ("StorageReady", ConditionStatus::True, ""),
                ("PodScheduled", ConditionStatus::False, "0/1 nodes"),
                ("PodReady", ConditionStatus::False, "waits for a node"),
                ("Ready", ConditionStatus::False, "0/1 nodes"),
            ],
        );
        let shown = progress(&session, &Visitor::Controls);
        let states: Vec<State> = shown.steps.iter().map(|s| s.state).collect();
        use State::{Done, Later, Now};
        assert_eq!(states, [Done, Done, Now, Later, Later, Later]);
        assert_eq!(shown.steps[2].message.as_deref(), Some("0/1 nodes"));
        assert!(shown.steps[3].message.is_none(), "what comes later waits for this, and says nothing more");
        assert!(shown.hint.is_some() && !shown.may_wake);
    }

    #[test]
    fn strangers_learn_how_to_get_in_and_nothing_else() {
        let asleep = session(Phase::Suspended, &[("Ready", ConditionStatus::False, "secret things")]);
        let shown = progress(&asleep, &Visitor::Unknown);
        assert!(!shown.may_wake && shown.message.is_none() && shown.hint.is_none() && shown.steps.is_empty());
        assert_eq!(shown.how, "kubectl vdi open desk -n desks");
        let awaited = progress(&asleep, &Visitor::Controls);
        assert!(awaited.may_wake && awaited.hint.is_none());
        assert!(!progress(&asleep, &Visitor::Looks).may_wake);
    }
}
