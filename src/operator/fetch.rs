//! Reads what is known of a session from the stores, and asks its gateway and its route when that is due.

use std::net::SocketAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Event;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::context::Context;
use super::gateways::Target;
use super::homes;
use super::snapshot::{Child, RouteProbe, Snapshot};
use super::stores::Space;
use super::{names, pods, probe, roll};
use crate::crd::VDISession;
use crate::inject::CONTAINER;

/// Everything that is known of a session at `now`.
pub async fn fetch(context: &Context, space: &Space, session: Arc<VDISession>, now: Timestamp) -> Snapshot {
    let mut snapshot = from_stores(context, space, session, now);
    look_at_gateway(context, &mut snapshot, now).await;
    look_at_route(context, &mut snapshot, now).await;
    snapshot
}

/// The part of a snapshot that needs no call.
pub fn from_stores(context: &Context, space: &Space, session: Arc<VDISession>, now: Timestamp) -> Snapshot {
    let uid = session.uid().unwrap_or_default();
    let name = names::child(&session.name_any());
    let namespace = space.namespace.as_str();
    let pod = roll::pod_of(space, &session);
    let turn = context.roll.turn(context.view(now), space, &session);
    let told = space.warnings.state();
    let claim_name = names::home(&session.spec.user, &session.spec.template);
    let claim = space.claims.get(&ObjectRef::new(&claim_name).within(namespace));
    let node = pod.ours().and_then(|p| p.spec.as_ref()?.node_name.clone());
    let subjects = [pod.ours().and_then(|p| p.uid()), claim.as_ref().and_then(|c| c.uid())];
    let own = |labels: &std::collections::BTreeMap<String, String>| {
        labels.get(names::LABEL_SESSION_UID).is_some_and(|owner| *owner == uid)
    };
    Snapshot {
        template: context.stores.templates.get(&ObjectRef::new(&session.spec.template)),
        admission: turn.admission,
        home_holder: turn.home_holder,
        service: Child::of(space.services.get(&ObjectRef::new(&name).within(namespace)), &uid),
        policy: Child::of(space.policies.get(&ObjectRef::new(&name).within(namespace)), &uid),
        route: Child::of(space.routes.get(&ObjectRef::new(&name).within(namespace)), &uid),
        turn_route: Child::of(space.turn_routes.get(&ObjectRef::new(&name).within(namespace)), &uid),
        route_served: space.routes_served.is_listed(),
        route_refused: space.routes_served.refusal(),
        slices: space.slices.state().into_iter().filter(|slice| own(slice.labels())).collect(),
        class_refuses_single_pod: class_refuses_single_pod(&told, &claim_name),
        warnings: warnings(told, &subjects),
        node: node.and_then(|node| context.stores.nodes.get(&ObjectRef::new(&node))),
        gateway: context.gateways.last(&uid),
        probe: RouteProbe::Off,
        pod,
        claim,
        session,
    }
}

/// Warnings about these objects, newest first.
fn warnings(told: Vec<Arc<Event>>, subjects: &[Option<String>]) -> Vec<Arc<Event>> {
    let about = |event: &Arc<Event>| {
        event.involved_object.uid.is_some() && subjects.contains(&event.involved_object.uid)
    };
    let mut events: Vec<Arc<Event>> = told.into_iter().filter(about).collect();
    events.sort_by_key(|event| std::cmp::Reverse(last_seen(event)));
    events
}

/// Whether the provisioner said that it cannot make a volume for one pod alone: of a claim of this name, also of one
/// that was deleted for it.
fn class_refuses_single_pod(told: &[Arc<Event>], claim: &str) -> bool {
    told.iter().any(|event| {
        event.involved_object.kind.as_deref() == Some("PersistentVolumeClaim")
            && event.involved_object.name.as_deref() == Some(claim)
            && homes::refuses_single_pod(event)
    })
}

fn last_seen(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().and_then(|s| s.last_observed_time.as_ref()).map(|t| t.0);
    let last = event.last_timestamp.as_ref().map(|t| t.0);
    let made = event.event_time.as_ref().map(|t| t.0);
    series.or(last).or(made)
}

/// The gateway of a session's pod, if it listens already.
pub fn target(snapshot: &Snapshot) -> Option<Target> {
    let pod = snapshot.pod.ours().filter(|pod| pod.metadata.deletion_timestamp.is_none())?;
    let address = pods::address(pod).filter(|_| pods::runs(pod, CONTAINER))?;
    Some(Target {
        session_uid: snapshot.uid().to_owned(),
        namespace: snapshot.session.namespace().unwrap_or_default(),
        session: snapshot.name(),
        pod_uid: pod.uid().unwrap_or_default(),
        address: SocketAddr::new(address, pods::gateway_port(pod)),
    })
}

async fn look_at_gateway(context: &Context, snapshot: &mut Snapshot, now: Timestamp) {
    let Some(target) = target(snapshot) else { return };
    let pace = &context.settings.pace;
    let interval = match snapshot.gateway_state() {
        Some(Ok(state)) if state.streams() => pace.gateway_running,
        _ => snapshot.until_gateway_look(pace, now),
    };
    let asked = snapshot.gateway.as_ref().filter(|g| g.pod_uid == target.pod_uid).map(|g| g.asked);
    // A little early is on time: the timer that led here was rounded.
    let due =
        asked.is_none_or(|at| now.duration_since(at) >= interval.mul_f64(0.9).try_into().unwrap_or_default());
    if due {
        snapshot.gateway = Some(context.gateways.ask(&target, now).await);
    }
}

async fn look_at_route(context: &Context, snapshot: &mut Snapshot, now: Timestamp) {
    let Some(url) = &context.settings.ingress_probe else { return };
    if snapshot.route.ours().is_none() {
        snapshot.probe = RouteProbe::Due;
        return;
    }
    let uid = snapshot.uid().to_owned();
    let pace = &context.settings.pace;
    let last = context.gateways.last_probe(&uid);
    let fresh = last.filter(|(at, probe)| {
        let interval = probe.until_look(pace, now);
        now.duration_since(*at) < interval.mul_f64(0.9).try_into().unwrap_or_default()
    });
    snapshot.probe = match fresh {
        Some((_, probe)) => probe,
        None => {
            let namespace = snapshot.session.namespace().unwrap_or_default();
            let host = names::host(&namespace, &snapshot.name(), &context.settings.domain);
            context.gateways.probed(&uid, now, probe::route(url, &host, &uid).await)
        }
    };
}
