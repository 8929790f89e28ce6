//! PURE. Whether a session is to run: its spec, and the newest of what was asked by annotation.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::names;
use super::reason::Reason;
use crate::crd::{RunState, VDISession};

/// Whether a pod is to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// Yes.
    On,
    /// No, for this reason.
    Off(Reason),
}

/// Since when `spec.state` has been Suspended: what the status remembers, else now.
pub fn suspended_since(session: &VDISession, now: Timestamp) -> Option<Timestamp> {
    let remembered = session.status.as_ref().and_then(|s| s.suspended_since.as_ref()).map(|t| t.0);
    (session.spec.state == Some(RunState::Suspended)).then(|| remembered.unwrap_or(now))
}

/// How far a clock may be ahead of ours.
const SKEW: SignedDuration = SignedDuration::from_secs(60);

/// The time of an annotation. One that is still to come is nobody's wish: else a wake in the year 2999 would outlast
/// every timeout.
fn instant(session: &VDISession, name: &str, now: Timestamp) -> Option<Timestamp> {
    let at: Timestamp = session.annotations().get(name)?.parse().ok()?;
    (now.duration_until(at) <= SKEW).then_some(at)
}

/// Surely later, also by clocks of whole seconds, as those of a status are.
fn after(at: Timestamp) -> Timestamp {
    at.saturating_add(SignedDuration::from_secs(1)).unwrap_or(at)
}

/// The time of a suspension: later than the wake before it, whose clock may be ahead.
pub fn sleep_time(session: &VDISession, now: Timestamp) -> Timestamp {
    instant(session, names::WAKE_AT, now).map_or(now, |woken| now.max(after(woken)))
}

/// The time of a wake request: later than every suspension that is known, whose clock may be ahead.
pub fn wake_time(session: &VDISession, now: Timestamp) -> Timestamp {
    let remembered = session.status.as_ref().and_then(|s| s.suspended_since.as_ref()).map(|t| t.0);
    let slept = instant(session, names::SUSPENDED_AT, Timestamp::MAX);
    [remembered, slept].into_iter().flatten().map(after).fold(now, Timestamp::max)
}

/// Whether the session is to run. The operator never writes the spec: what it and visitors want are annotations, and
/// the newest wins.
pub fn wanted(session: &VDISession, now: Timestamp) -> Run {
    let (slept, woken) = (instant(session, names::SUSPENDED_AT, now), instant(session, names::WAKE_AT, now));
    if slept.is_some_and(|slept| woken.is_none_or(|woken| woken < slept)) {
        let explicit = session.spec.state == Some(RunState::Suspended);
        return Run::Off(if explicit { Reason::Suspended } else { why(session) });
    }
    match suspended_since(session, now) {
        Some(since) if woken.is_none_or(|woken| woken <= since) => Run::Off(Reason::Suspended),
        _ => Run::On,
    }
}

fn why(session: &VDISession) -> Reason {
    match session.annotations().get(names::SUSPENDED_WHY).map(String::as_str) {
        Some("Timeout") => Reason::SuspendedTimeout,
        Some("Logout") => Reason::SuspendedLogout,
        _ => Reason::SuspendedIdle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::{VDISessionSpec, VDISessionStatus};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()
    }

    fn session(
        state: Option<RunState>,
        slept: Option<i64>,
        woken: Option<i64>,
        since: Option<i64>,
    ) -> VDISession {
        let mut session = VDISession::new("a", VDISessionSpec { state, ..VDISessionSpec::default() });
        for (name, minute) in [(names::SUSPENDED_AT, slept), (names::WAKE_AT, woken)] {
            if let Some(minute) = minute {
                session.annotations_mut().insert(name.to_owned(), at(minute).to_string());
            }
        }
        session.status = Some(VDISessionStatus {
            suspended_since: since.map(|m| Time(at(m))),
            ..VDISessionStatus::default()
        });
        session
    }

    #[test]
    fn the_newest_wish_wins() {
        let run = |state, slept, woken, since| wanted(&session(state, slept, woken, since), at(100));
        let suspended = Some(RunState::Suspended);
        assert_eq!(run(None, None, None, None), Run::On);
        assert_eq!(run(Some(RunState::Running), Some(5), None, None), Run::Off(Reason::SuspendedIdle));
        assert_eq!(run(None, Some(5), Some(6), None), Run::On);
        assert_eq!(run(None, Some(7), Some(6), None), Run::Off(Reason::SuspendedIdle));
        assert_eq!(run(None, Some(6), Some(6), None), Run::On, "who comes at the very moment is let in");
        assert_eq!(run(suspended, None, None, None), Run::Off(Reason::Suspended));
        assert_eq!(
            run(suspended, None, Some(5), Some(6)),
            Run::Off(Reason::Suspended),
            "an old wake lifts nothing"
        );
        assert_eq!(run(suspended, None, Some(7), Some(6)), Run::On);
        assert_eq!(run(suspended, Some(8), Some(7), Some(6)), Run::Off(Reason::Suspended));
        assert_eq!(run(None, Some(99), Some(200), None), Run::Off(Reason::SuspendedIdle), "a wake to come");
        let ahead = session(None, None, Some(101), None);
        assert!(sleep_time(&ahead, at(100)) > at(101), "later than a wake by a clock that is ahead");
        assert_eq!(sleep_time(&session(None, None, Some(200), None), at(100)), at(100));
    }

    #[test]
    fn nonsense_in_an_annotation_is_nobodys_wish() {
        let mut session = session(None, None, None, None);
        session.annotations_mut().insert(names::SUSPENDED_AT.to_owned(), "yesterday".to_owned());
        assert_eq!(wanted(&session, at(0)), Run::On);
    }
}
