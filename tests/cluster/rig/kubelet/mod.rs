//! Plays scheduler, kubelet and volume provisioner for one namespace, well or as badly as a test scripts it.
//!
//! What the API server sees is what a real node would write: the binding, the pod's status, events, the last
//! deletion without grace. Nothing runs, unless the test starts something at the pod's address.

mod claims;
mod node;
mod play;
pub mod state;

use std::any::Any;
use std::net::Ipv4Addr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Cluster;
pub use state::PodState;

/// Started for a pod before it is reported ready; dropped when the pod ends.
pub type Running = Box<dyn Any + Send>;
type OnReady = Arc<dyn Fn(&Pod, Ipv4Addr) -> Running + Send + Sync>;

/// What the node does from now on.
#[derive(Clone)]
struct Script {
    state: PodState,
    of_pods: Vec<(String, PodState)>,
    acknowledges_deletions: bool,
    binds_claims: bool,
    node_lost: bool,
    on_ready: Option<OnReady>,
}

impl Script {
    fn state_of(&self, pod: &str) -> &PodState {
        let own = self.of_pods.iter().rev().find(|(start, _)| pod.starts_with(start));
        own.map_or(&self.state, |(_, state)| state)
    }
}

/// The node of one namespace. Ends when dropped; pods then stay as they are.
pub struct Kubelet {
    script: watch::Sender<Script>,
    node: node::Node,
    _tasks: JoinSet<()>,
}

impl Kubelet {
    /// A node where every pod gets ready and every claim is bound.
    pub async fn fake(cluster: &Cluster, namespace: &str) -> Self {
        let (script, changes) = watch::channel(Script {
            state: PodState::Ready,
            of_pods: Vec::new(),
            acknowledges_deletions: true,
            binds_claims: true,
            node_lost: false,
            on_ready: None,
        });
        let client = cluster.client();
        let node = node::Node::register(client.clone(), namespace).await;
        let mut tasks = JoinSet::new();
        let slot = cluster.slot.clone();
        let addresses = move || slot.next_pod_address();
        tasks.spawn(play::play(
            client.clone(),
            namespace.to_owned(),
            node.name(),
            changes.clone(),
            addresses,
        ));
        tasks.spawn(claims::bind(client, namespace.to_owned(), changes));
        Self { script, node, _tasks: tasks }
    }

    /// Name of the node that its pods are bound to.
    pub fn node(&self) -> String {
        self.node.name()
    }

    /// What becomes of every pod, those that are there included. One that is bound is not unbound again, and one
    /// that has failed or succeeded stays so.
    pub fn behave(&self, state: PodState) {
        self.script.send_modify(|script| {
            script.state = state;
            script.of_pods.clear();
        });
    }

    /// What becomes of pods whose names start so. The latest word counts.
    pub fn behave_for(&self, start: &str, state: PodState) {
        self.script.send_modify(|script| script.of_pods.push((start.to_owned(), state)));
    }

    /// Whether pods that are being deleted end. If not, they stay `Terminating`.
    pub fn acknowledge_deletions(&self, yes: bool) {
        self.script.send_modify(|script| script.acknowledges_deletions = yes);
    }

    /// Whether claims get bound. If not, they stay `Pending`.
    pub fn bind_claims(&self, yes: bool) {
        self.script.send_modify(|script| script.binds_claims = yes);
    }

    /// Starts something for each pod from now on, such as [`super::deskgate::Deskgate::serve`], on a thread where it
    /// may block. The pod is reported ready when this returns; what it returns is dropped when the pod ends.
    pub fn on_pod_ready<T: Send + 'static>(
        &self,
        start: impl Fn(&Pod, Ipv4Addr) -> T + Send + Sync + 'static,
    ) {
        let start: OnReady = Arc::new(move |pod, address| Box::new(start(pod, address)));
        self.script.send_modify(|script| script.on_ready = Some(start));
    }

    /// The node falls silent: it is `Unknown` and tainted, its pods are not ready, nothing ends, nothing starts.
    pub async fn lose_node(&self) {
        self.node.report(false).await;
        self.script.send_modify(|script| script.node_lost = true);
    }

    /// It is back; pods that should have ended end now.
    pub async fn recover_node(&self) {
        self.node.report(true).await;
        self.script.send_modify(|script| script.node_lost = false);
    }
}
