//! PURE. Which patch does what was asked, and whether a session sleeps.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::crd::{RunState, VDISession};
use crate::operator::names::{RESTART, WAKE_AT};
use crate::operator::reason::Reason;
use crate::operator::run::{self, Run};

/// Why a session sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// Somebody suspended it.
    Asked,
    /// The operator did, for this reason.
    Operator(Reason),
}

impl Sleep {
    /// In words.
    pub fn text(&self) -> &'static str {
        match self {
            Self::Asked => "it was suspended",
            Self::Operator(Reason::SuspendedTimeout) => "it was suspended at its timeout",
            Self::Operator(Reason::SuspendedLogout) => "it was suspended when its user logged out",
            Self::Operator(_) => "it was suspended because nobody was there",
        }
    }
}

/// Whether a session sleeps, and why: the operator's own rule. A suspension that it has not seen yet is newer than any
/// wake request.
pub fn sleep(session: &VDISession) -> Option<Sleep> {
    match run::wanted(session, Timestamp::MAX) {
        Run::On => None,
        Run::Off(Reason::Suspended) => Some(Sleep::Asked),
        Run::Off(reason) => Some(Sleep::Operator(reason)),
    }
}

/// What every patch begins with: the UID of the session that was looked at. The API server refuses the patch of
/// another one that has taken its name.
fn of(session: &VDISession) -> Value {
    match &session.metadata.uid {
        Some(uid) => json!({ "metadata": { "uid": uid } }),
        None => json!({ "metadata": {} }),
    }
}

fn annotate(mut patch: Value, name: &str, value: Option<String>) -> Value {
    patch["metadata"]["annotations"] = json!({ name: value });
    patch
}

/// Suspends. The wake request goes too: with one that lifted an earlier `state: Suspended`, the same word again would
/// change nothing.
pub fn suspend(session: &VDISession) -> Value {
    let mut patch = annotate(of(session), WAKE_AT, None);
    patch["spec"] = json!({ "state": RunState::Suspended });
    patch
}

/// Asks for the desktop without a change of the spec.
pub fn wake(session: &VDISession, now: Timestamp) -> Value {
    annotate(of(session), WAKE_AT, Some(run::wake_time(session, now).to_string()))
}

/// Lifts every suspension: the spec's and the operator's.
pub fn resume(session: &VDISession, now: Timestamp) -> Value {
    let mut patch = wake(session, now);
    if session.spec.state == Some(RunState::Suspended) {
        patch["spec"] = json!({ "state": null });
    }
    patch
}

/// Asks the operator to end the run of this pod.
pub fn restart(session: &VDISession, pod_uid: &str) -> Value {
    annotate(of(session), RESTART, Some(pod_uid.to_owned()))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::crd::{VDISessionSpec, VDISessionStatus};
    use crate::operator::names::{SUSPENDED_AT, SUSPENDED_WHY};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn session(state: Option<RunState>, since: Option<i64>, annotations: &[(&str, String)]) -> VDISession {
        let mut session = VDISession::new("alice", VDISessionSpec { state, ..VDISessionSpec::default() });
        session.metadata.uid = Some("u-1".to_owned());
        session.metadata.annotations =
            Some(annotations.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect());
        let suspended_since = since.map(|s| Time(at(s)));
        session.status = Some(VDISessionStatus { suspended_since, ..VDISessionStatus::default() });
        session
    }

    #[test]
    fn the_newest_of_suspension_and_wake_wins() {
        let wake = |s| (WAKE_AT, at(s).to_string());
        let idle = |s| (SUSPENDED_AT, at(s).to_string());
        let why = (SUSPENDED_WHY, "Timeout".to_owned());
        let suspended = Some(RunState::Suspended);
        let idle_sleep = Some(Sleep::Operator(Reason::SuspendedIdle));
        assert_eq!(sleep(&session(None, None, &[])), None);
        assert_eq!(sleep(&session(Some(RunState::Running), None, &[wake(1)])), None);
        assert_eq!(sleep(&session(suspended, None, &[wake(9)])), Some(Sleep::Asked));
        assert_eq!(sleep(&session(suspended, Some(5), &[wake(4)])), Some(Sleep::Asked));
        assert_eq!(sleep(&session(suspended, Some(5), &[wake(6)])), None);
        assert_eq!(sleep(&session(None, None, &[idle(5)])), idle_sleep);
        assert_eq!(sleep(&session(None, None, &[idle(5), wake(4)])), idle_sleep);
        assert_eq!(sleep(&session(None, None, &[idle(5), wake(6)])), None);
        let timeout = sleep(&session(None, None, &[idle(5), why])).unwrap();
        assert_eq!(timeout.text(), "it was suspended at its timeout");
        assert_eq!(sleep(&session(None, None, &[idle(5), wake(5)])), None, "as the operator has it");
    }

    #[test]
    fn a_wake_request_is_newer_than_any_suspension_even_if_this_clock_is_behind() {
        let both = session(Some(RunState::Suspended), Some(50), &[(SUSPENDED_AT, at(60).to_string())]);
        assert_eq!(run::wake_time(&both, at(10)), at(61));
        assert_eq!(run::wake_time(&both, at(100)), at(100));
        let mut woken = both.clone();
        let time = run::wake_time(&both, at(10)).to_string();
        woken.metadata.annotations.as_mut().unwrap().insert(WAKE_AT.to_owned(), time);
        assert_eq!(sleep(&woken), None);
    }

    #[test]
    fn patches_say_what_was_asked_and_nothing_else() {
        let running = session(None, None, &[]);
        let suspended = session(Some(RunState::Suspended), Some(5), &[]);
        let annotated = |name: &str, value: Value| json!({"uid": "u-1", "annotations": {name: value}});
        assert_eq!(
            suspend(&running),
            json!({"metadata": annotated(WAKE_AT, Value::Null), "spec": {"state": "Suspended"}})
        );
        let woken = annotated(WAKE_AT, json!("2023-11-14T22:13:29Z"));
        assert_eq!(resume(&suspended, at(9)), json!({"metadata": woken, "spec": {"state": null}}));
        assert_eq!(resume(&running, at(9)), json!({"metadata": woken}));
        assert_eq!(wake(&suspended, at(9)), json!({"metadata": woken}));
        assert_eq!(restart(&running, "p-1"), json!({"metadata": annotated(RESTART, json!("p-1"))}));
    }
}
