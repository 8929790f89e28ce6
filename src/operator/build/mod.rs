//! PURE. What a session consists of, built from what was validated. Cannot fail.

pub mod claim;
pub mod pod;
pub mod policy;
pub mod route;
pub mod secret;
pub mod security;
pub mod service;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};

use super::effective::Effective;
use super::names;
use super::settings::Settings;
use crate::crd::{VDISession, VDITemplate};

/// The environment variable with the node's address that [`advertised`] refers to.
const NODE_IP: &str = "NODE_IP";

/// A session that is about to be made.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// The session.
    pub session: &'a VDISession,
    /// Its UID.
    pub uid: &'a str,
    /// Its template.
    pub template: &'a VDITemplate,
    /// What is in force.
    pub effective: &'a Effective,
    /// The operator's settings.
    pub settings: &'a Settings,
    /// Address of direct UDP, once it is known: `IP:PORT`, or what [`advertised`] gives.
    pub advertise: Option<String>,
}

impl<'a> Plan<'a> {
    /// A plan without direct UDP.
    pub fn new(
        session: &'a VDISession,
        uid: &'a str,
        template: &'a VDITemplate,
        effective: &'a Effective,
        settings: &'a Settings,
    ) -> Self {
        Self { session, uid, template, effective, settings, advertise: None }
    }
}

impl Plan<'_> {
    /// The session's name.
    pub fn name(&self) -> String {
        self.session.name_any()
    }

    /// Its namespace.
    pub fn namespace(&self) -> String {
        self.session.namespace().unwrap_or_default()
    }

    /// Name of its children.
    pub fn child(&self) -> String {
        names::child(&self.name())
    }

    /// Metadata of a child: labels, annotations, and the session as its controller.
    fn child_metadata(&self) -> ObjectMeta {
        ObjectMeta {
            name: Some(self.child()),
            namespace: self.session.namespace(),
            labels: Some(names::labels(&self.name(), self.uid, &self.session.spec.user)),
            annotations: Some(self.origin()),
            owner_references: Some(vec![self.owner()]),
            ..ObjectMeta::default()
        }
    }

    /// Annotations that say whose an object is, in full.
    fn origin(&self) -> BTreeMap<String, String> {
        let spec = &self.session.spec;
        [(names::USER, &spec.user), (names::TEMPLATE, &spec.template)]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .collect()
    }

    fn owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: VDISession::api_version(&()).into_owned(),
            kind: VDISession::kind(&()).into_owned(),
            name: self.name(),
            uid: self.uid.to_owned(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }

    /// What Services and NetworkPolicies find the pod by. The UID: another session of the same name has another.
    fn selector(&self) -> BTreeMap<String, String> {
        [(names::LABEL_SESSION_UID.to_owned(), self.uid.to_owned())].into()
    }
}

/// The session's host.
pub fn host(plan: &Plan) -> String {
    names::host(&plan.namespace(), &plan.name(), &plan.settings.domain)
}

/// Where the desktop is reached.
pub fn url(session: &VDISession, settings: &Settings) -> String {
    let route = &settings.route;
    let scheme = if route.tls { "https" } else { "http" };
    let port = route.public_port.map(|p| format!(":{p}")).unwrap_or_default();
    let namespace = session.namespace().unwrap_or_default();
    format!("{scheme}://{}{port}/", names::host(&namespace, &session.name_any(), &settings.domain))
}

/// What is advertised for direct UDP on a node port: the configured address, or the address of whichever node the pod
/// comes to, which the kubelet fills in.
pub fn advertised(settings: &Settings, node_port: u16) -> String {
    match settings.node_address {
        Some(address) => std::net::SocketAddr::new(address, node_port).to_string(),
        None => format!("$({NODE_IP}):{node_port}"),
    }
}

#[cfg(test)]
mod restricted;
#[cfg(test)]
mod tests;
