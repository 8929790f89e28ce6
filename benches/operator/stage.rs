//! A namespace with a template, sessions, and the operator as a process.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use deskgate::crd::{VDISession, VDITemplate};
use deskgate::operator::names;
use deskgate::operator::settings::Settings;
use deskgate::token::{self, Claims};
use deskgate::wire::signal::Right;
use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::sync::{Notify, mpsc};

use crate::rig::Cluster;
use crate::rig::audit::AuditMark;
use crate::rig::deskgate::Deskgate;
use crate::rig::kubelet::Kubelet;
use crate::rig::wait::{wait_gone, wait_until};

/// For what takes long by nature.
const PATIENCE: Duration = Duration::from_secs(600);

/// The operator's process.
pub struct Operator(Deskgate);

impl Operator {
    /// Resident memory, bytes.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.pid())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

/// A namespace of its own.
pub struct Stage {
    pub cluster: &'static Cluster,
    pub client: Client,
    pub namespace: String,
    kubelet: Kubelet,
    template: String,
}

impl Stage {
    pub async fn new(start: &str) -> Self {
        let cluster = Cluster::shared().await;
        let namespace = cluster.namespace(start).await;
        let client = cluster.client();
        let kubelet = Kubelet::fake(cluster, &namespace).await;
        let template = format!("t-{namespace}");
        let made = json!({
            "apiVersion": "vdi.kasm.io/v1alpha1", "kind": "VDITemplate", "metadata": {"name": template},
            "spec": {"image": "registry.example/desktop:1"},
        });
        let api = Api::<VDITemplate>::all(client.clone());
        let params = PatchParams::apply("bench").force();
        api.patch(&template, &params, &Patch::Apply(&made)).await.unwrap();
        Self { cluster, client, namespace, kubelet, template }
    }

    pub async fn template(&self) -> VDITemplate {
        Api::<VDITemplate>::all(self.client.clone()).get(&self.template).await.unwrap()
    }

    pub fn settings(&self) -> Settings {
        Settings::new("vdi.example.com", &self.namespace, "registry.example/deskgate:1")
    }

    /// Starts the operator, and waits until it leads.
    pub async fn operator(&self) -> Operator {
        let kubeconfig = self.cluster.kubeconfig("admin");
        let mut operator = Deskgate::operator(&self.namespace, &kubeconfig, &[]);
        operator.wait_for_log("this replica leads").await;
        Operator(operator)
    }

    fn sessions(&self) -> Api<VDISession> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Makes a session of a user of its own.
    pub async fn make(&self, name: &str) -> VDISession {
        let session = serde_json::from_value(json!({
            "apiVersion": "vdi.kasm.io/v1alpha1", "kind": "VDISession", "metadata": {"name": name},
            "spec": {"user": format!("user-{name}"), "template": self.template},
        }))
        .unwrap();
        self.sessions().create(&PostParams::default(), &session).await.unwrap()
    }

    pub async fn make_all(&self, count: usize, concurrency: usize) {
        futures_util::stream::iter(0..count)
            .for_each_concurrent(concurrency, async |n| drop(self.make(&format!("s{n}")).await))
            .await;
    }

    pub async fn remove(&self, name: &str) {
        self.sessions().delete(name, &DeleteParams::default()).await.unwrap();
        wait_gone(&self.sessions(), name).await;
        wait_gone(&self.pods(), &names::child(name)).await;
    }

    /// Sessions and pods as they come, from now on.
    pub async fn watch(&self) -> Told {
        let (teller, events) = mpsc::unbounded_channel();
        let (sessions, pods) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        tokio::spawn(tell(self.sessions(), What::Session, teller.clone(), Arc::clone(&sessions)));
        tokio::spawn(tell(self.pods(), What::Pod, teller, Arc::clone(&pods)));
        sessions.notified().await;
        pods.notified().await;
        Told { events, first: HashMap::new() }
    }

    pub async fn wait_for_pods(&self, count: usize) {
        let mut seen = std::collections::BTreeSet::new();
        let config = watcher::Config::default().labels(&format!("{}={}", names::LABEL_NAME, names::APP));
        let pods = watcher(self.pods(), config).default_backoff().applied_objects();
        let mut pods = std::pin::pin!(pods);
        let all = async {
            while let Ok(Some(pod)) = pods.try_next().await {
                seen.insert(pod.name_any());
                if seen.len() >= count {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, all).await.expect("all pods");
    }

    pub async fn wait_until_running(&self, count: usize) {
        self.wait_for_sessions("running", count, super::is_running).await;
    }

    pub async fn wait_for_viewers(&self, count: usize) {
        let has = |s: &VDISession| s.status.as_ref().and_then(|s| s.viewers) == Some(1);
        self.wait_for_sessions("with a viewer", count, has).await;
    }

    async fn wait_for_sessions(&self, what: &str, count: usize, wanted: impl Fn(&VDISession) -> bool) {
        wait_until(PATIENCE, &format!("{count} sessions {what}"), async || {
            let list = self.sessions().list(&ListParams::default()).await.unwrap();
            let now = list.items.iter().filter(|s| wanted(s)).count();
            tokio::time::sleep(Duration::from_millis(500)).await;
            if now >= count { Ok(()) } else { Err(format!("{now}")) }
        })
        .await;
    }

    /// A real gateway behind every pod.
    pub fn serve_for_real(&self) {
        let (client, namespace) = (self.client.clone(), self.namespace.clone());
        let runtime = tokio::runtime::Handle::current();
        self.kubelet.on_pod_ready(move |pod, address| {
            let session = pod.labels()[names::LABEL_INSTANCE].clone();
            let key = runtime.block_on(key(&client, &namespace, &session));
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("token-secret");
            std::fs::write(&file, key).unwrap();
            let args = ["--token-secret-file", file.to_str().unwrap(), "--session", &session];
            (Deskgate::serve(address, 8080, &args, &[]), folder)
        });
    }

    /// A viewer for each session, until dropped.
    pub async fn watch_each(&self, count: usize) -> Vec<(Deskgate, tempfile::TempDir)> {
        let mut watchers = Vec::with_capacity(count);
        for n in 0..count {
            let name = format!("s{n}");
            let pod = self.pods().get(&names::child(&name)).await.unwrap();
            let address = pod.status.and_then(|s| s.pod_ip).unwrap();
            let key = key(&self.client, &self.namespace, &name).await;
            let claims = Claims::new([1; 8], &name, [Right::View], u64::MAX / 2);
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("link");
            let link = token::link(&format!("http://{address}:8080/"), &token::sign(&key, &claims).unwrap());
            std::fs::write(&file, link).unwrap();
            let url = format!("http://{address}:8080/");
            let args = [
                "probe",
                &url,
                "--token-file",
                file.to_str().unwrap(),
                "--viewers",
                "0",
                "--idle",
                "1",
                "--seconds",
                "600",
            ];
            let mut watcher = Deskgate::start(&args, &[]);
            watcher.wait_for_log("watching").await;
            watchers.push((watcher, folder));
        }
        watchers
    }

    /// Writes since `mark` in this namespace, but those of the lease and of what stands in for a cluster.
    pub fn writes(&self, mark: AuditMark) -> BTreeMap<String, u32> {
        let events = self.cluster.audit_events(mark, |e| {
            e.is_write() && e.object_ref.namespace == self.namespace && e.object_ref.resource != "leases"
        });
        let mut counts = BTreeMap::new();
        for event in events {
            *counts.entry(format!("{} {}", event.verb, event.object_ref.resource)).or_default() += 1;
        }
        counts
    }

    /// Takes the sessions away without waiting for their operator.
    pub async fn clear(&self) {
        let params = ListParams::default();
        for session in self.sessions().list(&params).await.unwrap() {
            let patch = json!({"metadata": {"finalizers": null}});
            let name = session.name_any();
            let _ = self.sessions().patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        }
        self.sessions().delete_collection(&DeleteParams::default(), &params).await.unwrap();
    }
}

/// Kind of an object that a watch tells of.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    Session,
    Pod,
}

/// When watches told of objects first.
pub struct Told {
    events: mpsc::UnboundedReceiver<(What, String, Instant)>,
    first: HashMap<(What, String), Instant>,
}

impl Told {
    pub async fn first_of(&mut self, what: What, name: &str) -> Instant {
        let wanted = (what, name.to_owned());
        while !self.first.contains_key(&wanted) {
            let (what, name, at) = self.events.recv().await.expect("watches go on for ever");
            self.first.entry((what, name)).or_insert(at);
        }
        self.first[&wanted]
    }
}

async fn tell<K>(
    api: Api<K>,
    what: What,
    teller: mpsc::UnboundedSender<(What, String, Instant)>,
    listed: Arc<Notify>,
) where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::InitDone) => listed.notify_one(),
            Ok(watcher::Event::Apply(object)) => drop(teller.send((what, object.name_any(), Instant::now()))),
            _ => {}
        }
    }
}

async fn key(client: &Client, namespace: &str, session: &str) -> Vec<u8> {
    let api = Api::<Secret>::namespaced(client.clone(), namespace);
    let secret = api.get(&names::child(session)).await.unwrap();
    secret.data.unwrap()["token-secret"].0.clone()
}
