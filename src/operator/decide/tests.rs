use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::crd::{EndAction, Exposure, IntOrText, RunState, VDISessionStatus};
use crate::operator::fixtures::{
    POD_UID, UID, at, empty, made, running, session, settings, streaming, template, with_pod, with_session,
};
use crate::operator::snapshot::Child;
use crate::operator::step::{Insist, Kind, Object, Why};

fn text(t: &str) -> Option<IntOrText> {
    Some(IntOrText::Text(t.to_owned()))
}

/// Steps in short.
fn short(decision: &Decision) -> Vec<String> {
    let name = |step: &Step| match step {
        Step::Create(object) => format!("create {}", object.kind()),
        Step::Update { object, .. } => format!("update {}", object.kind()),
        Step::Delete { kind, .. } => format!("delete {kind:?}"),
        Step::Warn { .. } => "warn".to_owned(),
        Step::EnsureSecret(_) => "ensure secret".to_owned(),
        other => format!("{other:?}"),
    };
    decision.steps.iter().map(name).collect()
}

fn look(snapshot: &Snapshot, second: i64) -> Decision {
    decide(snapshot, &settings(), at(second))
}

#[test]
fn a_new_session_gets_everything_in_order() {
    let decision = look(&empty(session(|_| {}), template(|_| {})), 1);
    assert_eq!(
        short(&decision),
        [
            "AddFinalizer",
            "create networkpolicy",
            "create service",
            "create persistentvolumeclaim",
            "ensure secret",
            "create pod",
        ]
    );
    assert_eq!(decision.stage, Stage::Starting);
}

#[test]
fn a_settled_session_is_left_alone() {
    let decision = look(&running(session(|_| {}), template(|_| {})), 100);
    assert_eq!(short(&decision), Vec::<String>::new());
    assert_eq!((decision.stage, decision.up_to_date), (Stage::Up, Some(true)));
    assert_eq!(decision.look_again, Some(Duration::from_secs(30)));
}

#[test]
fn what_was_edited_or_deleted_is_brought_back_under_the_pod() {
    let mut snapshot = running(session(|_| {}), template(|_| {}));
    let mut service = snapshot.service.ours().unwrap().as_ref().clone();
    service.spec.as_mut().unwrap().ports.as_mut().unwrap()[0].port = 9;
    snapshot.service = made(service);
    snapshot.policy = Child::Absent;
    snapshot.route = Child::Absent;
    let decision = look(&snapshot, 100);
    assert_eq!(short(&decision), ["create ingressroute", "create networkpolicy", "update service"]);
    let Step::Update { uid, .. } = &decision.steps[2] else { panic!("{:?}", decision.steps[2]) };
    assert_eq!(uid, "uid-of-vdi-desk");
}

#[test]
fn a_foreign_object_is_never_touched() {
    let mut snapshot = empty(session(|_| {}), template(|_| {}));
    snapshot.service = Child::Foreign { owner: "VDISession other".to_owned() };
    let decision = look(&snapshot, 1);
    assert!(matches!(&decision.stage, Stage::Blocked { reason: Reason::NameTaken, message, .. }
        if message == "Service vdi-desk belongs to VDISession other"));
    assert!(!short(&decision).iter().any(|s| s.contains("pod") || s.contains("service")));
    snapshot.service = Child::Absent;
    snapshot.pod = Child::Foreign { owner: "nobody".to_owned() };
    let decision = look(&snapshot, 1);
    assert!(matches!(decision.stage, Stage::Blocked { reason: Reason::NameTaken, .. }));
    assert!(!short(&decision).contains(&"create pod".to_owned()));
}

#[test]
fn a_live_pod_is_not_touched_by_what_changes_around_it() {
    let mut snapshot = running(session(|_| {}), template(|_| {}));
    let mut changed = snapshot.template.as_deref().unwrap().clone();
    changed.spec.image = "registry.example/ubuntu:26.04".to_owned();
    snapshot.template = Some(Arc::new(changed));
    let decision = look(&snapshot, 100);
    assert_eq!((short(&decision), decision.up_to_date), (vec![], Some(false)));
    let mut moved = snapshot.template.as_deref().unwrap().clone();
    moved.spec.gateway = Some(crate::crd::GatewaySpec { port: Some(9090), ..Default::default() });
    moved.spec.exposure = Some(Exposure::NodePort);
    snapshot.template = Some(Arc::new(moved));
    let decision = look(&snapshot, 100);
    assert_eq!((short(&decision), decision.up_to_date), (vec![], Some(false)), "its gateway did not move");
    snapshot.template = None;
    let decision = look(&snapshot, 100);
    assert_eq!((short(&decision), decision.stage), (vec![], Stage::Up));
    snapshot.home_holder = Some("other".to_owned());
    assert_eq!(look(&snapshot, 100).stage, Stage::Up);
}

#[test]
fn gates_are_passed_before_anything_is_made() {
    let mut snapshot = empty(session(|_| {}), template(|_| {}));
    snapshot.home_holder = Some("other".to_owned());
    let decision = look(&snapshot, 1);
    assert!(matches!(&decision.stage, Stage::Blocked { reason: Reason::HomeInUse, message, .. }
        if message.contains("other")));
    assert_eq!(decision.steps, []);
    snapshot.template = None;
    let decision = look(&snapshot, 1);
    assert!(matches!(decision.stage, Stage::Blocked { reason: Reason::TemplateMissing, .. }));
    assert_eq!(decision.steps, []);
}

fn failed(mut snapshot: Snapshot, uid: &str) -> Snapshot {
    with_pod(&mut snapshot, |pod| {
        pod.metadata.uid = Some(uid.to_owned());
        let status = pod.status.as_mut().unwrap();
        status.phase = Some("Failed".to_owned());
        status.reason = Some("Evicted".to_owned());
        status.message = Some("The node was low on resource: memory.".to_owned());
    });
    snapshot
}

fn remember(snapshot: &mut Snapshot, replacements: &Replacements) {
    with_session(snapshot, |session| {
        session.status = Some(VDISessionStatus {
            replacements: Some(replacements.count),
            last_replacement_time: replacements.last.map(Time),
            last_replaced_pod_uid: replacements.pod_uid.clone(),
            ..VDISessionStatus::default()
        });
    });
}

#[test]
fn a_failed_pod_is_replaced_with_growing_waits_and_counted_once() {
    let mut snapshot = failed(running(session(|_| {}), template(|_| {})), "p1");
    let decision = look(&snapshot, 100);
    assert_eq!(short(&decision), ["delete Route"], "it is counted first");
    assert!(matches!(&decision.stage, Stage::BackOff { message } if message.contains("low on resource")));
    assert_eq!(decision.replacements.count, 1);

    remember(&mut snapshot, &decision.replacements);
    snapshot.route = Child::Absent;
    let counted = look(&snapshot, 101);
    assert_eq!(short(&counted), ["delete Pod"]);
    assert_eq!(counted.replacements, decision.replacements, "a stale cache shows the same pod");

    snapshot.pod = Child::Absent;
    let waiting = look(&snapshot, 105);
    assert_eq!((short(&waiting), waiting.look_again), (vec![], Some(Duration::from_secs(5))));
    assert_eq!(short(&look(&snapshot, 110)), ["ensure secret", "create pod"]);

    remember(&mut snapshot, &Replacements { count: 3, last: Some(at(200)), pod_uid: Some("p3".to_owned()) });
    assert_eq!(look(&snapshot, 200).look_again, Some(Duration::from_secs(40)));
}

#[test]
fn after_too_many_failures_the_last_pod_stays_until_somebody_restarts() {
    let mut snapshot = failed(running(session(|_| {}), template(|_| {})), "p6");
    remember(&mut snapshot, &Replacements { count: 5, last: Some(at(90)), pod_uid: Some("p5".to_owned()) });
    let decision = look(&snapshot, 100);
    assert_eq!(short(&decision), ["delete Route"]);
    assert!(matches!(decision.stage, Stage::Exhausted { .. }));
    snapshot.route = Child::Absent;
    with_session(&mut snapshot, |session| {
        session.metadata.annotations = Some([(names::RESTART.to_owned(), "p6".to_owned())].into());
    });
    let decision = look(&snapshot, 100);
    assert_eq!((short(&decision), decision.replacements.count), (vec!["delete Pod".to_owned()], 0));
}

#[test]
fn failures_are_forgotten_once_a_pod_was_well_for_a_while() {
    let mut snapshot = running(session(|_| {}), template(|_| {}));
    remember(&mut snapshot, &Replacements { count: 2, last: Some(at(0)), pod_uid: Some("p2".to_owned()) });
    assert_eq!(look(&snapshot, 300).replacements.count, 2);
    assert_eq!(look(&snapshot, 700).replacements.count, 0);
}

#[test]
fn a_restart_ends_with_the_pod_that_it_names() {
    let mut snapshot = running(session(|_| {}), template(|_| {}));
    let ask = |uid: &str| Some([(names::RESTART.to_owned(), uid.to_owned())].into());
    with_session(&mut snapshot, |session| session.metadata.annotations = ask(POD_UID));
    assert_eq!(short(&look(&snapshot, 100)), ["delete Pod", "delete Route"]);
    with_session(&mut snapshot, |session| session.metadata.annotations = ask("an earlier pod"));
    assert_eq!(short(&look(&snapshot, 100)), Vec::<String>::new());
}

#[test]
fn a_logout_suspends() {
    let mut snapshot = running(session(|_| {}), template(|_| {}));
    with_pod(&mut snapshot, |pod| pod.status.as_mut().unwrap().phase = Some("Succeeded".to_owned()));
    assert_eq!(short(&look(&snapshot, 100)), ["Suspend(Logout)", "delete Route"]);
}

#[test]
fn a_suspended_session_loses_route_and_pod_and_keeps_the_rest() {
    let mut snapshot = running(session(|s| s.state = Some(RunState::Suspended)), template(|_| {}));
    let decision = look(&snapshot, 100);
    assert_eq!(short(&decision), ["delete Route", "delete Pod"]);
    assert_eq!(decision.stage, Stage::Off(Reason::Suspended));
    snapshot.route = Child::Absent;
    with_pod(&mut snapshot, |pod| pod.metadata.deletion_timestamp = Some(Time(at(130))));
    assert_eq!(short(&look(&snapshot, 101)), Vec::<String>::new());
}

#[test]
fn a_pod_that_leaves_is_waited_for_and_never_doubled() {
    let mut snapshot = running(session(|_| {}), template(|_| {}));
    with_pod(&mut snapshot, |pod| pod.metadata.deletion_timestamp = Some(Time(at(130))));
    let decision = look(&snapshot, 120);
    assert_eq!((short(&decision), decision.stage), (vec!["delete Route".to_owned()], Stage::Stopping));
    snapshot.route = Child::Absent;
    let decision = look(&snapshot, 400);
    assert_eq!((short(&decision), decision.stage), (vec![], Stage::Lost));
}

#[test]
fn the_timeout_warns_and_then_ends() {
    let spec = |action| {
        session(move |s| {
            s.timeout = text("1h");
            s.timeout_action = action;
        })
    };
    let snapshot = running(spec(None), template(|_| {}));
    assert_eq!(look(&snapshot, 100).steps, []);
    let end = at(3601);
    let decision = look(&snapshot, 3400);
    assert_eq!(decision.steps, [Step::Warn { at: end, action: EndAction::Suspend }]);
    assert_eq!(look(&snapshot, 3601).steps, [Step::Suspend(Why::Timeout)]);
    let snapshot = running(spec(Some(EndAction::Delete)), template(|_| {}));
    assert_eq!(look(&snapshot, 3601).steps, [Step::DeleteSession(Why::Timeout)]);
}

#[test]
fn nobody_there_for_the_idle_timeout_suspends_and_what_cannot_be_read_is_not_idle() {
    let mut snapshot = running(session(|s| s.idle_timeout = text("30m")), template(|_| {}));
    let asked = |viewers, idle| Some(streaming(viewers, idle));
    snapshot.gateway = asked(0, 1799);
    let decision = look(&snapshot, 4000);
    assert_eq!((decision.steps, decision.look_again), (vec![], Some(Duration::from_secs(1))));
    snapshot.gateway = asked(1, 1800);
    assert_eq!(look(&snapshot, 4000).steps, []);
    snapshot.gateway = asked(0, 1800);
    assert_eq!(look(&snapshot, 4000).steps, [Step::Suspend(Why::Idle)]);
    let mut view = streaming(0, 1800);
    view.answer = Err("no answer".to_owned());
    snapshot.gateway = Some(view);
    assert_eq!(look(&snapshot, 4000).steps, []);
    let mut view = streaming(0, 1800);
    view.pod_uid = "the pod before".to_owned();
    snapshot.gateway = Some(view);
    assert_eq!(look(&snapshot, 4000).steps, []);
}

#[test]
fn a_deleted_session_goes_after_its_pod_or_after_a_while() {
    let mut snapshot = running(session(|_| {}), template(|_| {}));
    with_session(&mut snapshot, |s| s.metadata.deletion_timestamp = Some(Time(at(100))));
    assert_eq!(short(&look(&snapshot, 100)), ["delete Route", "delete Pod"]);
    assert!(
        look(&snapshot, 190).steps.contains(&Step::RemoveFinalizer),
        "nor does one that may not be deleted"
    );
    with_pod(&mut snapshot, |pod| pod.metadata.deletion_timestamp = Some(Time(at(130))));
    snapshot.route = Child::Absent;
    let decision = look(&snapshot, 110);
    assert_eq!((short(&decision), decision.look_again), (vec![], Some(Duration::from_secs(80))));
    assert_eq!(look(&snapshot, 190).steps, [Step::RemoveFinalizer], "a lost node does not hold it for ever");
    snapshot.pod = Child::Absent;
    assert_eq!(look(&snapshot, 111).steps, [Step::RemoveFinalizer]);
    with_session(&mut snapshot, |s| s.metadata.finalizers = None);
    assert_eq!(look(&snapshot, 111).steps, []);
}

#[test]
fn a_home_goes_only_where_the_spec_says_so() {
    let reclaim = |s: &mut crate::crd::VDISessionSpec| {
        s.persistence = Some(crate::crd::PersistenceSpec {
            reclaim: Some(Reclaim::Delete),
            ..crate::crd::PersistenceSpec::default()
        });
    };
    let mut snapshot = running(session(reclaim), template(|_| {}));
    with_session(&mut snapshot, |s| s.metadata.deletion_timestamp = Some(Time(at(100))));
    (snapshot.pod, snapshot.route) = (Child::Absent, Child::Absent);
    let claim = names::home("alice@example.com", "ubuntu");
    let both = vec![Step::DeleteHome { claim: claim.clone(), insist: Insist::Always }, Step::RemoveFinalizer];
    assert_eq!(look(&snapshot, 110).steps, both);
    let at_last = vec![Step::DeleteHome { claim, insist: Insist::UnlessRefused }, Step::RemoveFinalizer];
    assert_eq!(
        look(&snapshot, 160).steps,
        at_last,
        "a home that may not be deleted does not hold it for ever"
    );
    let Step::DeleteHome { insist, .. } = &look(&snapshot, 700).steps[0] else { panic!("no deletion") };
    assert_eq!(*insist, Insist::Never, "nor does an API server that fails");
    snapshot.template = None;
    assert_eq!(look(&snapshot, 110).steps, both, "the session's own word is enough");
}

#[test]
fn a_balancer_that_has_only_a_name_is_told_of() {
    let balanced = |t: &mut crate::crd::VDITemplateSpec| t.exposure = Some(Exposure::LoadBalancer);
    let mut snapshot = empty(session(|_| {}), template(balanced));
    let Some(Step::Create(Object::Service(service))) =
        look(&snapshot, 1).steps.into_iter().find(|s| matches!(s, Step::Create(Object::Service(_))))
    else {
        panic!("no service")
    };
    let mut service = *service;
    let mut told = |ip: Option<&str>| {
        let status =
            serde_json::json!({"loadBalancer": {"ingress": [{"hostname": "a.elb.example", "ip": ip}]}});
        service.status = Some(serde_json::from_value(status).unwrap());
        snapshot.service = made(service.clone());
        match look(&snapshot, 2).stage {
            Stage::Blocked { reason: Reason::AddressPending, message, .. } => Some(message),
            _ => None,
        }
    };
    let message = told(None).unwrap();
    assert!(message.contains("a.elb.example") && message.contains("NodePort"), "{message}");
    assert_eq!(told(Some("203.0.113.7")), None);
}

#[test]
fn direct_udp_waits_for_its_port_before_the_pod_is_made() {
    let node_port = |t: &mut crate::crd::VDITemplateSpec| t.exposure = Some(Exposure::NodePort);
    let mut snapshot = empty(session(|_| {}), template(node_port));
    let decision = look(&snapshot, 1);
    assert!(matches!(decision.stage, Stage::Blocked { reason: Reason::AddressPending, .. }));
    assert!(!short(&decision).contains(&"create pod".to_owned()));
    let Some(Step::Create(Object::Service(service))) =
        decision.steps.iter().find(|s| matches!(s, Step::Create(Object::Service(_))))
    else {
        panic!("no service")
    };
    let mut service = service.as_ref().clone();
    for port in service.spec.as_mut().unwrap().ports.as_mut().unwrap() {
        port.node_port = Some(30_123);
    }
    snapshot.service = made(service);
    let decision = look(&snapshot, 2);
    let pod = decision.steps.iter().find_map(|s| match s {
        Step::Create(Object::Pod(pod)) => Some(serde_json::to_string(pod).unwrap()),
        _ => None,
    });
    assert!(pod.unwrap().contains(":30123"));
}

#[test]
fn routes_wait_for_traefik_and_for_the_first_ready() {
    let mut snapshot = running(session(|_| {}), template(|_| {}));
    snapshot.route = Child::Absent;
    snapshot.route_served = false;
    assert_eq!(look(&snapshot, 100).steps, []);
    snapshot.route_served = true;
    with_pod(&mut snapshot, |pod| pod.status.as_mut().unwrap().conditions = None);
    assert_eq!(look(&snapshot, 100).steps, []);
}

#[test]
fn a_claim_that_no_class_can_make_is_made_otherwise() {
    let mut snapshot = empty(session(|_| {}), template(|_| {}));
    let claim = |snapshot: &Snapshot| {
        look(snapshot, 1).steps.into_iter().find_map(|s| match s {
            Step::Create(Object::Claim(claim)) => Some(*claim),
            _ => None,
        })
    };
    let mut first = claim(&snapshot).unwrap();
    assert!(homes::wants_single_pod(&first));
    first.metadata.uid = Some("claim-uid".to_owned());
    snapshot.class_refuses_single_pod = true;
    snapshot.claim = Some(Arc::new(first));
    let decision = look(&snapshot, 2);
    let remade = Step::Delete {
        kind: Kind::UnboundClaim,
        name: names::home("alice@example.com", "ubuntu"),
        uid: "claim-uid".to_owned(),
    };
    assert!(decision.steps.contains(&remade), "{:?}", decision.steps);
    snapshot.claim = None;
    assert!(!homes::wants_single_pod(&claim(&snapshot).unwrap()));
}

#[test]
fn uids_are_those_that_were_seen() {
    let mut snapshot = running(session(|s| s.state = Some(RunState::Suspended)), template(|_| {}));
    snapshot.turn_route = Child::Absent;
    assert_eq!(snapshot.uid(), UID);
    let uids: Vec<String> = look(&snapshot, 100)
        .steps
        .into_iter()
        .filter_map(|s| match s {
            Step::Delete { uid, .. } => Some(uid),
            _ => None,
        })
        .collect();
    assert_eq!(uids, ["uid-of-vdi-desk", POD_UID]);
}

/// A session that no longer fits its template (its user asked for more than is let, while it runs).
fn unfit(change: impl FnOnce(&mut crate::crd::VDISessionSpec)) -> Snapshot {
    let limited = |t: &mut crate::crd::VDITemplateSpec| {
        t.timeout = Some("1h".to_owned());
        t.idle_timeout = Some("30m".to_owned());
        t.overrides = Some(crate::crd::Overrides {
            max_timeout: Some("1h".to_owned()),
            ..crate::crd::Overrides::default()
        });
    };
    let mut snapshot = running(session(|_| {}), template(limited));
    let effective = validate::validate(&snapshot.session, snapshot.template.as_deref()).unwrap();
    let status = validate::effective_status(&effective, snapshot.template.as_deref().unwrap());
    with_session(&mut snapshot, |s| {
        s.status = Some(VDISessionStatus { effective: Some(status), ..VDISessionStatus::default() });
        change(&mut s.spec);
    });
    snapshot
}

#[test]
fn a_live_session_does_not_escape_its_timeout_by_a_spec_that_is_refused() {
    let never = unfit(|s| s.timeout = text("0"));
    assert!(validate::validate(&never.session, never.template.as_deref()).is_err());
    assert_eq!(look(&unfit(|_| {}), 3601).steps, [Step::Suspend(Why::Timeout)], "as it was");
    assert_eq!(look(&never, 3601).steps, [Step::Suspend(Why::Timeout)], "the limit that it ran under holds");
}

#[test]
fn a_live_session_does_not_escape_idle_suspension_by_a_spec_that_is_refused() {
    let mut never = unfit(|s| s.timeout = text("0"));
    never.gateway = Some(streaming(0, 1801));
    assert_eq!(look(&never, 1900).steps, [Step::Suspend(Why::Idle)]);
}

#[test]
fn the_route_goes_with_the_pod() {
    let snapshot = failed(running(session(|_| {}), template(|_| {})), "p1");
    assert_eq!(short(&look(&snapshot, 100)), ["delete Route"]);
    let mut gone = snapshot;
    gone.pod = Child::Absent;
    remember(&mut gone, &Replacements { count: 3, last: Some(at(100)), pod_uid: Some("p1".to_owned()) });
    let decision = look(&gone, 105);
    assert!(matches!(decision.stage, Stage::BackOff { .. }));
    assert!(
        short(&decision).contains(&"delete Route".to_owned()),
        "no pod for 40 s, and the route stays: {:?}",
        short(&decision)
    );
}

#[test]
fn what_a_live_homeless_desktop_does_not_need_does_not_hold_its_end() {
    let homeless = |enabled: bool| {
        move |t: &mut crate::crd::VDITemplateSpec| {
            t.timeout = Some("1h".to_owned());
            t.persistence =
                Some(crate::crd::PersistenceDefaults { enabled: Some(enabled), ..Default::default() });
        }
    };
    let mut snapshot = running(session(|_| {}), template(homeless(false)));
    assert!(snapshot.claim.is_none());
    snapshot.template = Some(Arc::new(template(homeless(true))));
    let decision = look(&snapshot, 3601);
    // `apply` stops at the first step that fails and is not optional: a PVC quota then holds the timeout for ever.
    let end = decision.steps.iter().position(|s| matches!(s, Step::Suspend(Why::Timeout))).unwrap();
    let before: Vec<&Step> = decision.steps[..end].iter().filter(|s| !s.is_optional(false)).collect();
    assert!(before.is_empty(), "{:?}", short(&decision));
}

#[test]
fn a_change_of_exposure_is_a_change() {
    let mut snapshot = running(session(|_| {}), template(|_| {}));
    snapshot.template = Some(Arc::new(template(|t| t.exposure = Some(Exposure::NodePort))));
    assert_eq!(look(&snapshot, 100).up_to_date, Some(false));
}

#[test]
fn who_wakes_a_desktop_after_a_logout_is_not_sent_to_sleep_by_the_pod_that_ended() {
    let mut snapshot = running(session(|_| {}), template(|_| {}));
    with_pod(&mut snapshot, |pod| pod.status.as_mut().unwrap().phase = Some("Succeeded".to_owned()));
    // Its deletion was refused, or the watch is behind: it is there, and the wake is newer than the logout.
    with_session(&mut snapshot, |s| {
        let times = [(names::SUSPENDED_AT, at(90)), (names::WAKE_AT, at(95))];
        s.metadata.annotations = Some(times.map(|(name, at)| (name.to_owned(), at.to_string())).into());
    });
    assert_eq!(short(&look(&snapshot, 100)), ["delete Pod", "delete Route"]);
}
