//! PURE. What tests of the pure parts begin from: a session, its template, and the world as the API server shows it once
//! everything is made.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStatus, PersistentVolumeClaimStatus, Pod, PodCondition,
    PodStatus,
};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};

use super::admit::Admission;
use super::build::claim::AccessMode;
use super::build::{self, Plan};
use super::names;
use super::settings::Settings;
use super::snapshot::{Child, GatewayState, GatewayView, RouteProbe, Snapshot};
use super::validate;
use crate::crd::{VDISession, VDISessionSpec, VDITemplate, VDITemplateSpec};

pub const UID: &str = "0f3b2a51-6a56-4b5c-9f0e-0c7f3c1f2d11";
pub const POD_UID: &str = "pod-uid-1";

/// So many seconds after the session was made.
pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

pub fn settings() -> Settings {
    let settings = Settings::new("vdi.example.com", "desks", "registry.example/deskgate:1");
    Settings { own_namespace: "kasm".to_owned(), concurrency: 8, ..settings }
}

pub fn session(change: impl FnOnce(&mut VDISessionSpec)) -> VDISession {
    let mut spec = VDISessionSpec {
        user: "alice@example.com".to_owned(),
        template: "ubuntu".to_owned(),
        ..VDISessionSpec::default()
    };
    change(&mut spec);
    let mut session = VDISession::new("desk", spec);
    session.metadata.namespace = Some("desks".to_owned());
    session.metadata.uid = Some(UID.to_owned());
    session.metadata.generation = Some(1);
    session.metadata.creation_timestamp = Some(Time(at(0)));
    session
}

pub fn template(change: impl FnOnce(&mut VDITemplateSpec)) -> VDITemplate {
    let mut spec =
        VDITemplateSpec { image: "registry.example/ubuntu:24.04".to_owned(), ..VDITemplateSpec::default() };
    change(&mut spec);
    VDITemplate::new("ubuntu", spec)
}

/// Nothing is made yet.
pub fn empty(session: VDISession, template: VDITemplate) -> Snapshot {
    Snapshot {
        class_refuses_single_pod: false,
        session: Arc::new(session),
        template: Some(Arc::new(template)),
        admission: Admission::Admitted,
        home_holder: None,
        pod: Child::Absent,
        service: Child::Absent,
        policy: Child::Absent,
        route: Child::Absent,
        turn_route: Child::Absent,
        route_served: true,
        route_refused: None,
        claim: None,
        slices: Vec::new(),
        warnings: Vec::new(),
        node: None,
        gateway: None,
        probe: RouteProbe::Off,
    }
}

/// Everything is made, and streams.
pub fn running(session: VDISession, template: VDITemplate) -> Snapshot {
    let mut session = session;
    session.metadata.finalizers = Some(vec![names::FINALIZER.to_owned()]);
    let settings = settings();
    let effective = validate::validate(&session, Some(&template)).unwrap();
    let plan = Plan::new(&session, UID, &template, &effective, &settings);
    let mut pod = build::pod::pod(&plan);
    pod.metadata.uid = Some(POD_UID.to_owned());
    pod.metadata.creation_timestamp = Some(Time(at(1)));
    pod.status = Some(ready_status());
    let claim = build::claim::claim(&plan, AccessMode::OnePod).map(|mut claim| {
        claim.metadata.uid = Some("claim-uid".to_owned());
        claim.status = Some(PersistentVolumeClaimStatus {
            phase: Some("Bound".to_owned()),
            ..PersistentVolumeClaimStatus::default()
        });
        Arc::new(claim)
    });
    let slice = EndpointSlice {
        endpoints: vec![Endpoint {
            conditions: Some(EndpointConditions { ready: Some(true), ..EndpointConditions::default() }),
            ..Endpoint::default()
        }],
        ..EndpointSlice::default()
    };
    Snapshot {
        pod: made(pod),
        service: made(build::service::service(&plan)),
        policy: made(build::policy::policy(&plan)),
        route: made(build::route::route(&plan)),
        claim,
        slices: vec![Arc::new(slice)],
        gateway: Some(streaming(0, 0)),
        ..empty(session.clone(), template.clone())
    }
}

/// An object as the API server hands it back.
pub fn made<K: Resource<DynamicType = ()>>(mut object: K) -> Child<K> {
    if object.meta().uid.is_none() {
        object.meta_mut().uid = Some(format!("uid-of-{}", object.name_any()));
    }
    Child::Ours(Arc::new(object))
}

/// What a gateway says that streams to so many viewers, idle for so long.
pub fn streaming(viewers: u32, idle: u64) -> GatewayView {
    GatewayView {
        pod_uid: POD_UID.to_owned(),
        asked: at(2),
        trouble_since: None,
        answer: Ok(GatewayState {
            encoder: Some("x264".to_owned()),
            viewers,
            idle: Duration::from_secs(idle),
            ..GatewayState::default()
        }),
    }
}

/// The pod of a snapshot, changed.
pub fn with_pod(snapshot: &mut Snapshot, change: impl FnOnce(&mut Pod)) {
    let mut pod = snapshot.pod.ours().unwrap().as_ref().clone();
    change(&mut pod);
    snapshot.pod = Child::Ours(Arc::new(pod));
}

/// The session of a snapshot, changed.
pub fn with_session(snapshot: &mut Snapshot, change: impl FnOnce(&mut VDISession)) {
    change(Arc::make_mut(&mut snapshot.session));
}

pub fn ready_status() -> PodStatus {
    let condition = |type_: &str| PodCondition {
        type_: type_.to_owned(),
        status: "True".to_owned(),
        last_transition_time: Some(Time(at(2))),
        ..PodCondition::default()
    };
    let container = |name: &str| ContainerStatus {
        name: name.to_owned(),
        ready: true,
        state: Some(ContainerState {
            running: Some(ContainerStateRunning::default()),
            ..ContainerState::default()
        }),
        ..ContainerStatus::default()
    };
    PodStatus {
        phase: Some("Running".to_owned()),
        pod_ip: Some("127.1.0.1".to_owned()),
        conditions: Some(vec![condition("PodScheduled"), condition("Ready")]),
        init_container_statuses: Some(vec![container("gateway")]),
        container_statuses: Some(vec![container("desktop")]),
        ..PodStatus::default()
    }
}
