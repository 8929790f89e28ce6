use std::time::Duration;

use super::*;
use crate::crd::RunState;
use crate::operator::conditions::findings;
use crate::operator::decide::decide;
use crate::operator::fixtures::{
    at, empty, running, session, settings, streaming, template, with_pod, with_session,
};
use crate::operator::snapshot::Child;

fn look(snapshot: &Snapshot, second: i64) -> VDISessionStatus {
    let settings = settings();
    let decision = decide(snapshot, &settings, at(second));
    status(snapshot, &decision, &findings(snapshot, &decision, &[]), &settings, at(second))
}

fn phase_of(snapshot: &Snapshot) -> Phase {
    look(snapshot, 100).phase.unwrap()
}

#[test]
fn phases_are_a_table_over_conditions() {
    let mut snapshot = running(session(|_| {}), template(|_| {}));
    assert_eq!(phase_of(&snapshot), Phase::Running);
    with_pod(&mut snapshot, |pod| pod.status = None);
    assert_eq!(phase_of(&snapshot), Phase::Creating);
    let mut snapshot = empty(session(|_| {}), template(|_| {}));
    assert_eq!(phase_of(&snapshot), Phase::Creating);
    snapshot.home_holder = Some("other".to_owned());
    assert_eq!(phase_of(&snapshot), Phase::Pending);
    snapshot.template = None;
    assert_eq!(phase_of(&snapshot), Phase::Pending, "it heals when the template appears");
    let bad = empty(
        session(|s| s.timeout = Some(crate::crd::IntOrText::Text("soon".to_owned()))),
        template(|_| {}),
    );
    assert_eq!(phase_of(&bad), Phase::Failed);
    let mut asleep = running(session(|s| s.state = Some(RunState::Suspended)), template(|_| {}));
    assert_eq!(phase_of(&asleep), Phase::Suspended);
    with_session(&mut asleep, |s| s.metadata.deletion_timestamp = Some(Time(at(99))));
    assert_eq!(phase_of(&asleep), Phase::Terminating);
}

#[test]
fn a_settled_status_does_not_change() {
    let mut snapshot = running(session(|_| {}), template(|_| {}));
    let first = look(&snapshot, 100);
    with_session(&mut snapshot, |s| s.status = Some(first.clone()));
    assert_eq!(look(&snapshot, 160), first);
    assert!(first.url.as_deref().is_some_and(|url| url.starts_with("https://desk-")), "{:?}", first.url);
    assert_eq!(first.pod_name.as_deref(), Some("vdi-desk"));
    assert_eq!(first.start_time, Some(Time(at(1))));
}

#[test]
fn a_condition_keeps_its_time_while_its_status_stays() {
    let mut snapshot = running(session(|_| {}), template(|_| {}));
    let first = look(&snapshot, 100);
    with_session(&mut snapshot, |s| s.status = Some(first));
    snapshot.route = Child::Absent;
    snapshot.route_served = false;
    let second = look(&snapshot, 200);
    let time =
        |type_: &str| second.conditions.iter().find(|c| c.type_ == type_).unwrap().last_transition_time.0;
    assert_eq!((time("PodReady"), time("RouteReady"), time("Ready")), (at(100), at(200), at(200)));
}

#[test]
fn activity_is_noted_when_somebody_comes_and_now_and_then() {
    let mut snapshot = running(
        session(|s| s.idle_timeout = Some(crate::crd::IntOrText::Text("30m".to_owned()))),
        template(|_| {}),
    );
    let note = |snapshot: &mut Snapshot, viewers, idle, second| {
        snapshot.gateway = Some(streaming(viewers, idle));
        let after = look(snapshot, second);
        with_session(snapshot, |s| s.status = Some(after.clone()));
        (after.viewers, after.last_activity_time.map(|t| t.0))
    };
    assert_eq!(note(&mut snapshot, 0, 50, 100), (Some(0), Some(at(50))));
    assert_eq!(note(&mut snapshot, 0, 80, 130), (Some(0), Some(at(50))));
    assert_eq!(note(&mut snapshot, 1, 0, 140), (Some(1), Some(at(140))));
    assert_eq!(note(&mut snapshot, 2, 0, 200), (Some(1), Some(at(140))), "no write for each visitor");
    let tenth = i64::try_from(Duration::from_secs(180).as_secs()).unwrap();
    assert_eq!(note(&mut snapshot, 2, 0, 141 + tenth), (Some(2), Some(at(141 + tenth))));
}
