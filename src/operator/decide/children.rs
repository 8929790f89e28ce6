//! PURE. What the pod needs beside it: made when it is missing, brought back when it was edited, never adopted.

use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::{LoadBalancerIngress, Pod, Service};
use kube::{Resource, ResourceExt};
use serde::Serialize;

use super::{Decider, Stage, blocked};
use crate::crd::{ConditionType, Exposure};
use crate::operator::build::claim::AccessMode;
use crate::operator::build::{self, Plan};
use crate::operator::effective::Effective;
use crate::operator::reason::Reason;
use crate::operator::snapshot::Child;
use crate::operator::step::{Kind, Object, Step};
use crate::operator::{drift, homes, pods};

impl Decider<'_> {
    /// The address of direct UDP, once the Service has one.
    pub(super) fn advertise(&self, effective: &Effective) -> Option<String> {
        let service = self.snapshot.service.ours()?;
        match effective.exposure {
            Exposure::Ingress => None,
            Exposure::NodePort => node_port(service).map(|port| build::advertised(self.settings, port)),
            Exposure::LoadBalancer => {
                Some(SocketAddr::new(balancer_address(service)?, effective.port).to_string())
            }
        }
    }

    /// What is in force around the pod: while one lives, what it was made with. Its gateway listens where it was told to,
    /// whatever the template says by now.
    pub(super) fn around(&self, effective: &Effective) -> Effective {
        let Some(pod) = self.snapshot.pod.ours() else { return effective.clone() };
        let exposure = match self.snapshot.service.ours().and_then(|s| s.spec.as_ref()?.type_.as_deref()) {
            _ if !pods::is_exposed(pod) => Exposure::Ingress,
            Some("LoadBalancer") => Exposure::LoadBalancer,
            _ => Exposure::NodePort,
        };
        let home = effective.home.clone().filter(|home| pods::mounts(pod, &home.claim));
        Effective { port: pods::gateway_port(pod), exposure, home, ..effective.clone() }
    }

    /// Steps for Service, policy and claim. `Some`: the pod cannot be made yet.
    pub(super) fn ensure_children(&mut self, plan: &Plan<'_>) -> Option<Stage> {
        let snapshot = self.snapshot;
        let taken = self
            .ensure(&snapshot.policy, build::policy::policy(plan), Object::Policy)
            .or_else(|| self.ensure(&snapshot.service, build::service::service(plan), Object::Service));
        if taken.is_some() {
            return taken;
        }
        self.ensure_claim(plan);
        if plan.effective.exposure != Exposure::Ingress && plan.advertise.is_none() {
            let balanced = plan.effective.exposure == Exposure::LoadBalancer;
            let host = snapshot.service.ours().filter(|_| balanced).and_then(|s| balancer_host(s));
            let nothing = || "the Service has no port or address for direct UDP yet".to_owned();
            let message = host.map_or_else(nothing, only_a_host);
            return Some(blocked(ConditionType::RouteReady, Reason::AddressPending, &message));
        }
        None
    }

    /// Steps for a child that is applied: all but pods, Secrets and claims.
    fn ensure<K>(&mut self, child: &Child<K>, wanted: K, object: fn(Box<K>) -> Object) -> Option<Stage>
    where
        K: Resource<DynamicType = ()> + Serialize + Debug,
    {
        match child {
            Child::Absent => self.step(Step::Create(object(Box::new(wanted)))),
            Child::Ours(actual) if actual.meta().deletion_timestamp.is_none() => {
                if !same(&wanted, actual.as_ref()) {
                    let uid = actual.uid().unwrap_or_default();
                    self.step(Step::Update { object: object(Box::new(wanted)), uid });
                }
            }
            Child::Ours(_) => {}
            Child::Foreign { owner } => return Some(taken::<K>(&wanted, owner)),
        }
        None
    }

    fn ensure_claim(&mut self, plan: &Plan<'_>) {
        let refused = self.snapshot.class_refuses_single_pod;
        let mode = if refused { AccessMode::OneNode } else { AccessMode::OnePod };
        match (&self.snapshot.claim, build::claim::claim(plan, mode)) {
            (None, Some(claim)) => self.step(Step::Create(Object::Claim(Box::new(claim)))),
            // Never bound, so nothing can be lost: made again with an access mode that the class takes.
            (Some(claim), Some(_))
                if refused && homes::wants_single_pod(claim) && homes::phase(claim) == "Pending" =>
            {
                self.step(Step::Delete {
                    kind: Kind::UnboundClaim,
                    name: claim.name_any(),
                    uid: claim.uid().unwrap_or_default(),
                });
            }
            _ => {}
        }
    }

    /// Routes are there from the pod's first Ready until the pod goes.
    pub(super) fn ensure_routes(&mut self, plan: &Plan<'_>) {
        if !self.snapshot.route_served {
            return;
        }
        let snapshot = self.snapshot;
        // A foreign route is told of by the condition: the pod runs all the same.
        let _ = self.ensure(&snapshot.route, build::route::route(plan), Object::Route);
        if let Some(route) = build::route::turn_route(plan) {
            let _ = self.ensure(&snapshot.turn_route, route, Object::TurnRoute);
        }
    }

    /// Routes go, if there are any.
    pub(super) fn delete_routes(&mut self) {
        if let Some(route) = self.snapshot.route.ours().filter(|r| r.meta().deletion_timestamp.is_none()) {
            self.delete(Kind::Route, route.as_ref());
        }
        if let Some(route) = self.snapshot.turn_route.ours().filter(|r| r.meta().deletion_timestamp.is_none())
        {
            self.delete(Kind::TurnRoute, route.as_ref());
        }
    }

    pub(super) fn delete_pod(&mut self, pod: &Pod) {
        self.delete(Kind::Pod, pod);
    }

    fn delete<K: Resource>(&mut self, kind: Kind, object: &K) {
        self.step(Step::Delete { kind, name: object.name_any(), uid: object.uid().unwrap_or_default() });
    }
}

/// The stage of a session whose child's name somebody else uses.
pub(super) fn taken<K: Resource<DynamicType = ()>>(wanted: &K, owner: &str) -> Stage {
    let message = format!("{} {} belongs to {owner}", K::kind(&()), wanted.name_any());
    blocked(ConditionType::PodReady, Reason::NameTaken, &message)
}

/// Compared as what is said: labels, annotations, spec.
fn same<K: Serialize>(wanted: &K, actual: &K) -> bool {
    match (serde_json::to_value(wanted), serde_json::to_value(actual)) {
        (Ok(wanted), Ok(actual)) => drift::holds(&wanted, &actual),
        // What cannot be written cannot be brought back either.
        _ => true,
    }
}

fn node_port(service: &Service) -> Option<u16> {
    let ports = service.spec.as_ref()?.ports.as_ref()?;
    ports.iter().find(|p| p.protocol.as_deref() == Some("UDP"))?.node_port?.try_into().ok()
}

/// What a balancer is reached by.
fn entries(service: &Service) -> &[LoadBalancerIngress] {
    let balancer = service.status.as_ref().and_then(|s| s.load_balancer.as_ref());
    balancer.and_then(|b| b.ingress.as_deref()).unwrap_or_default()
}

fn balancer_address(service: &Service) -> Option<IpAddr> {
    entries(service).iter().find_map(|entry| entry.ip.as_deref()?.parse().ok())
}

fn balancer_host(service: &Service) -> Option<&str> {
    entries(service).iter().find_map(|entry| entry.hostname.as_deref())
}

/// Some clouds give no address, ever, and a candidate has one (RFC 8839 §5.1).
fn only_a_host(host: &str) -> String {
    format!(
        "the load balancer has a host name, {host}, and no address yet, which direct UDP needs; if it never gets one, set \
         the template's exposure to NodePort or Ingress"
    )
}
