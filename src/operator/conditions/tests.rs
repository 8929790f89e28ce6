use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStateWaiting, Event, Node, NodeCondition, NodeStatus,
    PodCondition,
};

use super::*;
use crate::crd::GpuEncoder;
use crate::operator::decide::decide;
use crate::operator::fixtures::{
    POD_UID, at, empty, running, session, settings, streaming, template, with_pod,
};
use crate::operator::snapshot::{Child, RouteProbe};

fn found(snapshot: &Snapshot) -> Vec<Finding> {
    findings(snapshot, &decide(snapshot, &settings(), at(100)), &[])
}

fn of(snapshot: &Snapshot, condition: ConditionType) -> (ConditionStatus, Reason, String) {
    let found = found(snapshot);
    let finding = found.into_iter().find(|f| f.condition == condition).unwrap();
    (finding.status, finding.reason, finding.message)
}

fn reason(snapshot: &Snapshot, condition: ConditionType) -> Reason {
    of(snapshot, condition).1
}

fn up() -> Snapshot {
    running(session(|_| {}), template(|_| {}))
}

#[test]
fn all_that_holds_makes_ready() {
    let found = found(&up());
    assert_eq!(found.len(), ConditionType::ALL.len());
    for finding in &found {
        assert_eq!(finding.status, ConditionStatus::True, "{finding:?}");
    }
    assert_eq!(found.last().unwrap().reason, Reason::Ready);
}

#[test]
fn the_first_cause_is_the_cause_of_all() {
    let mut snapshot = empty(session(|_| {}), template(|_| {}));
    snapshot.template = None;
    let found = found(&snapshot);
    let missing = found.iter().find(|f| f.condition == ConditionType::TemplateResolved).unwrap();
    assert_eq!((missing.status, missing.reason), (ConditionStatus::False, Reason::TemplateMissing));
    assert!(missing.message.contains("ubuntu"), "{}", missing.message);
    let behind = found.iter().find(|f| f.condition == ConditionType::PodReady).unwrap();
    assert_eq!((behind.status, behind.reason), (ConditionStatus::Unknown, Reason::Blocked));
    assert_eq!(found.last().unwrap().reason, Reason::TemplateMissing);
}

fn unscheduled(message: &str) -> Snapshot {
    let mut snapshot = up();
    snapshot.route = Child::Absent;
    with_pod(&mut snapshot, |pod| {
        let status = pod.status.as_mut().unwrap();
        status.phase = Some("Pending".to_owned());
        status.conditions = Some(vec![PodCondition {
            type_: "PodScheduled".to_owned(),
            status: "False".to_owned(),
            reason: Some("Unschedulable".to_owned()),
            message: Some(message.to_owned()),
            ..PodCondition::default()
        }]);
    });
    snapshot
}

#[test]
fn the_scheduler_is_taken_at_its_word() {
    let scheduled = |message: &str| reason(&unscheduled(message), ConditionType::PodScheduled);
    assert_eq!(scheduled("0/1 nodes are available: 1 Insufficient nvidia.com/gpu."), Reason::InsufficientGpu);
    assert_eq!(scheduled("0/1 nodes are available: 1 Insufficient cpu."), Reason::InsufficientCpu);
    assert_eq!(scheduled("0/1 nodes are available: 1 Insufficient memory."), Reason::InsufficientMemory);
    assert_eq!(scheduled("0/1 nodes are available: 1 node(s) had taints"), Reason::FailedScheduling);
    assert_eq!(
        reason(&unscheduled("0/1 nodes are available: 1 Insufficient cpu."), ConditionType::Ready),
        Reason::InsufficientCpu
    );
}

fn container(change: impl FnOnce(&mut k8s_openapi::api::core::v1::ContainerStatus)) -> Snapshot {
    let mut snapshot = up();
    with_pod(&mut snapshot, |pod| {
        let status = pod.status.as_mut().unwrap();
        status.conditions.as_mut().unwrap().retain(|c| c.type_ != "Ready");
        let desktop = &mut status.container_statuses.as_mut().unwrap()[0];
        desktop.ready = false;
        change(desktop);
    });
    snapshot
}

fn waits(reason: &str, message: &str) -> Snapshot {
    container(|c| {
        c.state = Some(ContainerState {
            waiting: Some(ContainerStateWaiting {
                reason: Some(reason.to_owned()),
                message: Some(message.to_owned()),
            }),
            ..ContainerState::default()
        });
    })
}

#[test]
fn the_kubelet_is_taken_at_its_word() {
    let pod = |snapshot: &Snapshot| reason(snapshot, ConditionType::PodReady);
    assert_eq!(pod(&waits("ImagePullBackOff", "Back-off pulling image")), Reason::ImagePullBackOff);
    assert_eq!(pod(&waits("CreateContainerConfigError", "no secret")), Reason::ContainerConfigError);
    assert_eq!(pod(&waits("ContainerCreating", "")), Reason::ContainersStarting);
    let crash = waits("CrashLoopBackOff", "back-off 40s restarting");
    assert_eq!(pod(&crash), Reason::CrashLoopBackOff);
    assert!(!of(&crash, ConditionType::PodReady).2.contains("40s"), "what changes by itself makes writes");
    let killed = container(|c| {
        c.last_state = Some(ContainerState {
            terminated: Some(ContainerStateTerminated {
                reason: Some("OOMKilled".to_owned()),
                exit_code: 137,
                ..ContainerStateTerminated::default()
            }),
            ..ContainerState::default()
        });
    });
    assert_eq!(pod(&killed), Reason::OOMKilled);
}

#[test]
fn a_volume_that_cannot_be_mounted_is_named() {
    let mut snapshot = container(|_| {});
    let mut event = Event::default();
    event.involved_object.uid = Some(POD_UID.to_owned());
    event.reason = Some("FailedMount".to_owned());
    event.message = Some("MountVolume.SetUp failed for volume \"home\"".to_owned());
    snapshot.warnings = vec![Arc::new(event)];
    let (_, reason, message) = of(&snapshot, ConditionType::PodReady);
    assert_eq!((reason, message.contains("\"home\"")), (Reason::FailedMount, true));
}

#[test]
fn a_node_that_does_not_answer_makes_nothing_sure() {
    let mut snapshot = up();
    snapshot.node = Some(Arc::new(Node {
        status: Some(NodeStatus {
            conditions: Some(vec![NodeCondition {
                type_: "Ready".to_owned(),
                status: "Unknown".to_owned(),
                ..NodeCondition::default()
            }]),
            ..NodeStatus::default()
        }),
        ..Node::default()
    }));
    let (status, reason, _) = of(&snapshot, ConditionType::PodReady);
    assert_eq!((status, reason), (ConditionStatus::Unknown, Reason::NodeLost));
}

#[test]
fn the_route_counts_once_it_leads_somewhere() {
    let route = |snapshot: &Snapshot| {
        let (status, reason, _) = of(snapshot, ConditionType::RouteReady);
        (status, reason)
    };
    let mut snapshot = up();
    assert_eq!(route(&snapshot), (ConditionStatus::True, Reason::NotProbed));
    snapshot.probe = RouteProbe::Leads;
    assert_eq!(route(&snapshot), (ConditionStatus::True, Reason::Routed));
    snapshot.probe = RouteProbe::Fails { why: "404".to_owned(), since: at(0) };
    assert_eq!(route(&snapshot), (ConditionStatus::False, Reason::ProbeFailed));
    snapshot.slices.clear();
    assert_eq!(route(&snapshot), (ConditionStatus::False, Reason::NoReadyEndpoint));
    snapshot.route = Child::Absent;
    assert_eq!(route(&snapshot), (ConditionStatus::False, Reason::WaitingForPod));
    snapshot.route_served = false;
    assert_eq!(route(&snapshot), (ConditionStatus::False, Reason::RouteKindMissing));
    snapshot.route_refused = Some("ingressroutes.traefik.io is forbidden".to_owned());
    assert_eq!(route(&snapshot), (ConditionStatus::False, Reason::Forbidden));
}

#[test]
fn the_stream_is_what_the_gateway_says() {
    let mut snapshot = up();
    let mut says = |change: fn(&mut crate::operator::snapshot::GatewayState)| {
        let mut view = streaming(0, 0);
        change(view.answer.as_mut().unwrap());
        snapshot.gateway = Some(view);
        let (status, reason, message) = of(&snapshot, ConditionType::StreamReady);
        (status == ConditionStatus::True, reason, message)
    };
    assert_eq!(says(|_| {}).1, Reason::Streaming);
    let (holds, reason, message) = says(|s| s.display_waits = Some("display :0 is not there".to_owned()));
    assert_eq!(
        (holds, reason, message.as_str()),
        (false, Reason::WaitingForDisplay, "display :0 is not there")
    );
    let (holds, reason, message) = says(|s| {
        s.encoder = None;
        s.exhausted = true;
        s.unusable = vec![("nvh264enc".to_owned(), "no device".to_owned())];
    });
    assert_eq!((holds, reason, message.as_str()), (false, Reason::NoEncoder, "nvh264enc: no device"));
    assert_eq!(says(|s| s.encoder = None).1, Reason::StreamStarting, "none was tried yet");
    snapshot.gateway = None;
    assert_eq!(reason_of_stream(&snapshot), Reason::WaitingForPod);
}

fn reason_of_stream(snapshot: &Snapshot) -> Reason {
    reason(snapshot, ConditionType::StreamReady)
}

#[test]
fn a_gpu_that_was_asked_for_and_does_not_encode_is_told_of() {
    let gpu = |s: &mut crate::crd::VDISessionSpec| {
        s.resources =
            Some(crate::crd::SessionResources { gpu: Some(1), ..crate::crd::SessionResources::default() });
    };
    let snapshot = running(session(gpu), template(|_| {}));
    let (status, reason, message) = of(&snapshot, ConditionType::StreamReady);
    assert_eq!((status, reason), (ConditionStatus::True, Reason::EncoderFellBack));
    assert!(message.contains("gpu.encoder"), "{message}");
    let software = template(|t| {
        t.gpu =
            Some(crate::crd::GpuSpec { encoder: Some(GpuEncoder::None), ..crate::crd::GpuSpec::default() });
    });
    assert_eq!(reason_of_stream(&running(session(gpu), software)), Reason::Streaming);
}

#[test]
fn a_step_that_failed_is_the_condition() {
    let snapshot = empty(session(|_| {}), template(|_| {}));
    let failure = Failure {
        condition: ConditionType::PodReady,
        reason: Reason::ResourceQuotaExceeded,
        message: "exceeded quota: small".to_owned(),
    };
    let found = findings(&snapshot, &decide(&snapshot, &settings(), at(1)), &[failure]);
    let pod = found.iter().find(|f| f.condition == ConditionType::PodReady).unwrap();
    assert_eq!((pod.status, pod.reason), (ConditionStatus::False, Reason::ResourceQuotaExceeded));
}
