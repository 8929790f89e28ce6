//! PURE. How a session comes along: a line for each condition that changes, until it is ready or will not be.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::text::plain;
use crate::crd::{Condition, ConditionStatus, VDISession};
use crate::operator::reason::{Reason, is_final, is_suspension};

/// What of a condition makes it another one.
type Stamp = (ConditionStatus, String, Time);

/// What a waiting person is shown, and what is waited for.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// What stood there before the request: it says nothing of what came of it.
    stale: BTreeMap<String, Stamp>,
    /// What was shown.
    shown: BTreeMap<String, (ConditionStatus, String, String)>,
}

/// What an observation comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// On its way.
    Waiting,
    /// The desktop can be opened.
    Ready,
    /// It will not be, without help: this condition says so.
    Ended {
        /// The condition's type.
        condition: String,
        /// Its reason.
        reason: String,
        /// Its message.
        message: String,
        /// What to do.
        next: &'static str,
    },
}

fn conditions(session: &VDISession) -> &[Condition] {
    session.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default()
}

fn stamp(condition: &Condition) -> Stamp {
    (condition.status, condition.reason.clone(), condition.last_transition_time.clone())
}

/// The condition that sums up the others.
pub const READY: &str = "Ready";

fn is_ready(type_: &str) -> bool {
    type_ == READY
}

impl Progress {
    /// Waits for what comes of a request that was made when `session` stood as it does here.
    pub fn since(session: &VDISession) -> Self {
        let mut progress = Self::default();
        progress.disregard(session);
        progress
    }

    /// Takes what stands there now for old.
    pub fn disregard(&mut self, session: &VDISession) {
        for condition in conditions(session) {
            self.stale.insert(condition.type_.clone(), stamp(condition));
            self.shown.insert(condition.type_.clone(), shown(condition));
        }
    }

    /// What is new: lines to show, and what it comes to. `elapsed`: since the wait began.
    pub fn observe(&mut self, session: &VDISession, elapsed: Duration) -> (Vec<String>, Verdict) {
        let all = conditions(session);
        let lines = self.lines(all, elapsed);
        let stale = &mut self.stale;
        for condition in all {
            // What changed once is fresh from then on, even if it comes to look as it did.
            if stale.get(&condition.type_).is_some_and(|old| *old != stamp(condition)) {
                stale.remove(&condition.type_);
            }
        }
        let fresh = |c: &&Condition| !stale.contains_key(&c.type_);
        (lines, verdict(session, all.iter().filter(fresh)))
    }

    fn lines(&mut self, conditions: &[Condition], elapsed: Duration) -> Vec<String> {
        let mut lines = Vec::new();
        for condition in conditions {
            let now = shown(condition);
            let before = self.shown.insert(condition.type_.clone(), now.clone());
            // What was never known is no news.
            let news = before.as_ref() != Some(&now)
                && (before.is_some() || condition.status != ConditionStatus::Unknown);
            if news && !is_echo(condition, conditions) {
                lines.push(line(condition, elapsed));
            }
        }
        lines
    }
}

/// Ready repeats the cause of another condition while it is false.
fn is_echo(condition: &Condition, all: &[Condition]) -> bool {
    is_ready(&condition.type_)
        && condition.status != ConditionStatus::True
        && all.iter().any(|c| !is_ready(&c.type_) && c.reason == condition.reason)
}

fn shown(condition: &Condition) -> (ConditionStatus, String, String) {
    (condition.status, condition.reason.clone(), condition.message.clone())
}

/// Column widths hold the longest of the names that the operator writes.
fn line(condition: &Condition, elapsed: Duration) -> String {
    let Condition { type_, status, reason, message, .. } = condition;
    let mut text = format!("{:>4}s  {type_:<16}  {:<7}  {reason}", elapsed.as_secs(), format!("{status:?}"));
    if !message.is_empty() {
        text.push_str(&format!(": {message}"));
    }
    let hint = Reason::parse(reason).map(Reason::hint).unwrap_or_default();
    if *status != ConditionStatus::True && !hint.is_empty() {
        text.push_str(&format!(" ({hint})"));
    }
    plain(&text)
}

fn verdict<'a>(session: &VDISession, fresh: impl Iterator<Item = &'a Condition>) -> Verdict {
    let observed = session.status.as_ref().and_then(|s| s.observed_generation);
    // A status of an earlier spec says nothing of this one.
    let current = observed.zip(session.metadata.generation).is_none_or(|(seen, is)| seen >= is);
    if session.metadata.deletion_timestamp.is_some() {
        return Verdict::Ended {
            condition: READY.to_owned(),
            reason: Reason::Terminating.as_str().to_owned(),
            message: "the session is being deleted".to_owned(),
            next: "`kubectl vdi create` makes it anew once it is gone",
        };
    }
    let mut verdict = Verdict::Waiting;
    for condition in fresh.filter(|_| current) {
        let reason = Reason::parse(&condition.reason);
        if condition.status == ConditionStatus::True {
            if is_ready(&condition.type_) && session.status.as_ref().is_some_and(|s| s.url.is_some()) {
                return Verdict::Ready;
            }
        } else if let Some(reason) = reason.filter(|r| is_final(*r) || is_suspension(*r)) {
            let Condition { type_, message, .. } = condition;
            let ended = Verdict::Ended {
                condition: plain(type_),
                reason: reason.as_str().to_owned(),
                message: plain(message),
                next: reason.hint(),
            };
            // The condition that is at fault, rather than Ready, which repeats it.
            if verdict == Verdict::Waiting || !is_ready(type_) {
                verdict = ended;
            }
        }
    }
    verdict
}

/// What stands in the way at the moment, in one line: for those who stop waiting.
pub fn standing(session: &VDISession) -> String {
    let not_yet = |c: &&Condition| c.status != ConditionStatus::True && !c.message.is_empty();
    let blocking = conditions(session).iter().find(|c| c.status == ConditionStatus::False && not_yet(c));
    let condition =
        blocking.or_else(|| conditions(session).iter().find(|c| c.status != ConditionStatus::True));
    condition.map_or_else(
        || "the operator has said nothing of it: is it running?".to_owned(),
        |c| plain(&format!("{} {}: {}", c.type_, c.reason, c.message)),
    )
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::crd::{VDISessionSpec, VDISessionStatus};

    fn condition(type_: &str, status: ConditionStatus, reason: Reason, at: i64) -> Condition {
        Condition {
            type_: type_.to_owned(),
            status,
            reason: reason.as_str().to_owned(),
            message: format!("{reason:?} it is"),
            last_transition_time: Time(Timestamp::from_second(at).unwrap()),
            observed_generation: None,
        }
    }

    fn session(conditions: &[Condition]) -> VDISession {
        let mut session = VDISession::new("alice", VDISessionSpec::default());
        session.metadata.generation = Some(2);
        session.status = Some(VDISessionStatus {
            conditions: conditions.to_vec(),
            observed_generation: Some(2),
            url: Some("https://alice".to_owned()),
            ..VDISessionStatus::default()
        });
        session
    }

    use ConditionStatus::{False, True, Unknown};
    const NONE: Duration = Duration::ZERO;

    #[test]
    fn each_change_is_one_line_and_ready_repeats_nothing() {
        let mut progress = Progress::default();
        let waits = session(&[
            condition("PodScheduled", False, Reason::InsufficientGpu, 1),
            condition("PodReady", Unknown, Reason::WaitingForPod, 1),
            condition("Ready", False, Reason::InsufficientGpu, 1),
        ]);
        let (lines, verdict) = progress.observe(&waits, Duration::from_secs(3));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0]
                .starts_with("   3s  PodScheduled      False    InsufficientGpu: InsufficientGpu it is (all")
        );
        assert_eq!(verdict, Verdict::Waiting);
        assert_eq!(progress.observe(&waits, NONE), (vec![], Verdict::Waiting));
        let ready = session(&[
            condition("PodScheduled", True, Reason::Scheduled, 2),
            condition("Ready", True, Reason::Ready, 2),
        ]);
        let (lines, verdict) = progress.observe(&ready, NONE);
        assert_eq!((lines.len(), verdict), (2, Verdict::Ready));
    }

    #[test]
    fn what_stood_there_before_the_request_is_not_its_outcome() {
        let suspended = session(&[condition("Ready", False, Reason::SuspendedIdle, 1)]);
        let mut progress = Progress::since(&suspended);
        assert_eq!(progress.observe(&suspended, NONE), (vec![], Verdict::Waiting));
        let starts = session(&[condition("Ready", False, Reason::ContainersStarting, 1)]);
        assert_eq!(progress.observe(&starts, NONE).1, Verdict::Waiting);
        assert!(matches!(progress.observe(&suspended, NONE).1, Verdict::Ended { .. }));
        let ready = session(&[condition("Ready", True, Reason::Ready, 1)]);
        let mut restarted = Progress::since(&ready);
        assert_eq!(restarted.observe(&ready, NONE).1, Verdict::Waiting);
        let again = session(&[condition("Ready", True, Reason::Ready, 9)]);
        assert_eq!(restarted.observe(&again, NONE).1, Verdict::Ready);
    }

    #[test]
    fn a_status_of_an_earlier_spec_ends_nothing() {
        let mut stale = session(&[condition("TemplateResolved", False, Reason::LimitExceeded, 1)]);
        stale.metadata.generation = Some(3);
        assert_eq!(Progress::default().observe(&stale, NONE).1, Verdict::Waiting);
    }

    #[test]
    fn what_does_not_heal_ends_the_wait_with_its_own_condition() {
        let failed = session(&[
            condition("Ready", False, Reason::LimitExceeded, 1),
            condition("TemplateResolved", False, Reason::LimitExceeded, 1),
        ]);
        let (_, verdict) = Progress::default().observe(&failed, NONE);
        let Verdict::Ended { condition, reason, next, .. } = verdict else { panic!("{verdict:?}") };
        assert_eq!((condition.as_str(), reason.as_str()), ("TemplateResolved", "LimitExceeded"));
        assert_eq!(next, Reason::LimitExceeded.hint());
        let mut heals = Progress::default();
        let missing =
            session(&[super::tests::condition("TemplateResolved", False, Reason::TemplateMissing, 1)]);
        assert_eq!(heals.observe(&missing, NONE).1, Verdict::Waiting);
        assert_eq!(standing(&missing), "TemplateResolved TemplateMissing: TemplateMissing it is");
    }

    #[test]
    fn a_deletion_ends_the_wait() {
        let mut going = session(&[condition("Ready", True, Reason::Ready, 1)]);
        going.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        assert!(matches!(Progress::default().observe(&going, NONE).1, Verdict::Ended { .. }));
    }
}
