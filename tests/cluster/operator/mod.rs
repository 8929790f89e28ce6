//! The operator on a real API server, in this process: its calls can be made to fail, and it can be ended at any of them.

mod crashes;
mod ends;
mod failures;
mod leaders;
mod life;
mod rights;
mod route;
mod settled;
mod storms;
mod turns;
mod unreadable;
mod webhook;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Duration;

use deskgate::crd::{Phase, VDISession, VDITemplate};
use deskgate::manifests::{self, Values};
use deskgate::operator::settings::{Pace, Settings};
use deskgate::operator::{self, Replica, names};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::rig::Cluster;
use crate::rig::kubelet::Kubelet;
use crate::rig::wait::wait_for;

/// Shorter waits than in life; none of them is asserted on.
pub const PACE: Pace = Pace {
    replace_first: Duration::from_millis(1500),
    replace_most: Duration::from_secs(3),
    replacements: 3,
    gateway_starting: Duration::from_millis(500),
    gateway_running: Duration::from_secs(2),
    warning: Duration::from_secs(300),
    cleanup: Duration::from_secs(2),
    retry_first: Duration::from_millis(100),
    retry_most: Duration::from_secs(1),
};

/// An operator of one namespace, which is also its own.
pub fn settings(namespace: &str) -> Settings {
    let settings = Settings::new("vdi.example.com", namespace, "registry.example/deskgate:1");
    Settings { concurrency: 8, pace: PACE, ..settings }
}

/// A replica that runs until it is dropped, which is a crash: nothing is given back.
pub struct Operator {
    task: JoinHandle<()>,
    pub health: SocketAddr,
    pub entry: SocketAddr,
}

impl Operator {
    /// Starts a replica.
    pub async fn start(client: Client, settings: Settings, identity: &str) -> Self {
        let webhook = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::start_at(client, settings, identity, webhook).await
    }

    /// The same with the webhook's listener.
    pub async fn start_at(client: Client, settings: Settings, identity: &str, webhook: TcpListener) -> Self {
        let listen = || TcpListener::bind("127.0.0.1:0");
        let (health, entry) = (listen().await.unwrap(), listen().await.unwrap());
        let addresses = (health.local_addr().unwrap(), entry.local_addr().unwrap());
        let replica = Replica {
            identity: identity.to_owned(),
            health,
            entry,
            webhook,
            lease: Duration::from_secs(2),
            lease_grace: Duration::from_secs(1),
        };
        let task = tokio::spawn(async move {
            operator::run(client, settings, replica, std::future::pending()).await.unwrap();
        });
        Self { task, health: addresses.0, entry: addresses.1 }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A namespace with a node, and templates of its own name.
pub struct Desks {
    pub cluster: &'static Cluster,
    pub client: Client,
    pub namespace: String,
    pub kubelet: Kubelet,
    pub template: String,
}

impl Desks {
    /// A new one, in the shared cluster.
    pub async fn new(start: &str) -> Self {
        Self::with_labels(start, &[]).await
    }

    /// The same with labels on the namespace.
    pub async fn with_labels(start: &str, labels: &[(&str, &str)]) -> Self {
        Self::on(Cluster::shared().await, start, labels).await
    }

    /// The same on a cluster of one's own.
    pub async fn on(cluster: &'static Cluster, start: &str, labels: &[(&str, &str)]) -> Self {
        let namespace = cluster.namespace_with(start, labels).await;
        let kubelet = Kubelet::fake(cluster, &namespace).await;
        let client = cluster.client();
        Self { cluster, client, template: format!("t-{namespace}"), namespace, kubelet }
    }

    /// Makes the template.
    pub async fn make_template(&self, spec: Value) {
        let mut spec = spec;
        spec["image"] = json!("registry.example/desktop:1");
        let template = json!({
            "apiVersion": "vdi.kasm.io/v1alpha1", "kind": "VDITemplate",
            "metadata": {"name": self.template}, "spec": spec,
        });
        let api = Api::<VDITemplate>::all(self.client.clone());
        let params = PatchParams::apply("test").force();
        api.patch(&self.template, &params, &Patch::Apply(&template)).await.unwrap();
    }

    /// A replica under its own account, with the rights of `manifests/` and no others.
    pub async fn operator(&self) -> Operator {
        self.operator_with(settings(&self.namespace)).await
    }

    /// The same with other settings.
    pub async fn operator_with(&self, settings: Settings) -> Operator {
        Operator::start(self.account().await, settings, "replica-1").await
    }

    /// A client of the operator's account, which is made with its rights if it is not there.
    pub async fn account(&self) -> Client {
        let values = Values {
            namespaces: vec![self.namespace.clone()],
            own_namespace: self.namespace.clone(),
            ..Values::default()
        };
        let is_right = |object: &Value| {
            let kind = object["kind"].as_str().unwrap();
            kind == "ServiceAccount" || kind.contains("Role")
        };
        let mut objects = manifests::base::objects(&values);
        objects.extend(manifests::sessions::inside(&values, &self.namespace));
        objects.retain(is_right);
        // Both Roles of one namespace have one name in life, where there are two namespaces.
        for (n, object) in objects.iter_mut().enumerate() {
            let kind = object["kind"].as_str().unwrap().to_owned();
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            if kind == "Role" || (kind == "RoleBinding") {
                object["metadata"]["name"] = json!(format!("{name}-{}", n / 2));
                if kind == "RoleBinding" {
                    object["roleRef"]["name"] = json!(format!("{name}-{}", (n - 1) / 2));
                    object["metadata"]["name"] = json!(format!("{name}-{}", (n - 1) / 2));
                }
            }
            if kind == "ClusterRoleBinding" {
                object["metadata"]["name"] = json!(format!("{name}-{}", self.namespace));
            }
        }
        let text: Vec<String> = objects.iter().map(|o| o.to_string()).collect();
        self.cluster.apply_yaml(&text.join("\n---\n")).await;
        self.cluster.client_as_service_account(&self.namespace, manifests::NAME).await
    }

    /// A client of the account as it is now.
    pub async fn account_as_it_is(&self) -> Client {
        self.cluster.client_as_service_account(&self.namespace, manifests::NAME).await
    }

    pub fn api<K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub fn sessions(&self) -> Api<VDISession> {
        self.api()
    }

    /// Makes a session of alice's.
    pub async fn make_session(&self, name: &str, spec: Value) -> VDISession {
        self.try_session(name, spec).await.unwrap()
    }

    pub async fn try_session(&self, name: &str, spec: Value) -> Result<VDISession, kube::Error> {
        let mut all = json!({"user": "alice@example.com", "template": self.template});
        all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let session = serde_json::from_value(json!({
            "apiVersion": "vdi.kasm.io/v1alpha1", "kind": "VDISession",
            "metadata": {"name": name}, "spec": all,
        }))
        .unwrap();
        self.sessions().create(&PostParams::default(), &session).await
    }

    pub async fn patch_session(&self, name: &str, patch: Value) {
        self.sessions().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    pub async fn delete_session(&self, name: &str) {
        self.sessions().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Waits for a phase.
    pub async fn phase(&self, name: &str, phase: Phase) -> VDISession {
        let has = |s: &VDISession| s.status.as_ref().and_then(|s| s.phase) == Some(phase);
        wait_for(&self.sessions(), name, &format!("phase {phase:?}"), has).await
    }

    /// Waits for a condition with this reason, and returns its message.
    pub async fn reason(&self, name: &str, condition: &str, reason: &str) -> String {
        let has = |s: &VDISession| found(s, condition).is_some_and(|(_, r, _)| r == reason);
        let what = format!("{condition} with reason {reason}");
        let session = wait_for(&self.sessions(), name, &what, has).await;
        found(&session, condition).unwrap().2
    }

    /// Waits until a condition is True.
    pub async fn holds(&self, name: &str, condition: &str) -> VDISession {
        let has = |s: &VDISession| found(s, condition).is_some_and(|(status, ..)| status == "True");
        wait_for(&self.sessions(), name, &format!("{condition} True"), has).await
    }

    /// Names of what there is of one kind, homes and roots of trust aside.
    pub async fn names<K>(&self) -> Vec<String>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let list = self.api::<K>().list(&Default::default()).await.unwrap();
        let mut names: Vec<String> = list.items.iter().map(ResourceExt::name_any).collect();
        names.sort();
        names
    }

    /// What there is of a session's kinds.
    pub async fn everything(&self) -> BTreeMap<&'static str, Vec<String>> {
        BTreeMap::from([
            ("pods", self.names::<Pod>().await),
            ("secrets", of_sessions(self.names::<Secret>().await)),
            ("services", self.names::<Service>().await),
            ("policies", self.names::<NetworkPolicy>().await),
            ("routes", self.names::<operator::traefik::IngressRoute>().await),
            ("claims", self.names::<PersistentVolumeClaim>().await),
        ])
    }

    pub fn home(&self) -> String {
        names::home("alice@example.com", &self.template)
    }
}

/// Less the webhook's, which is the operator's own.
fn of_sessions(mut secrets: Vec<String>) -> Vec<String> {
    secrets.retain(|name| name != operator::webhook::SECRET);
    secrets
}

/// Status, reason and message of a condition.
pub fn found(session: &VDISession, condition: &str) -> Option<(String, String, String)> {
    let conditions = &session.status.as_ref()?.conditions;
    let found = conditions.iter().find(|c| c.type_ == condition)?;
    Some((format!("{:?}", found.status), found.reason.clone(), found.message.clone()))
}

/// UID of a session.
pub fn uid(session: &VDISession) -> String {
    session.uid().unwrap()
}
