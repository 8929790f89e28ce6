//! A real API server for tests: etcd, kube-apiserver, and the controllers that collect garbage, empty namespaces,
//! count quotas and make EndpointSlices. Nodes, scheduler and kubelet are played by [`kubelet`].
//!
//! Most tests share one cluster and take namespaces of their own; those that stop the API server or take CRDs away
//! start a private one.

pub mod apply;
pub mod audit;
pub mod bent;
pub mod clients;
pub mod credentials;
pub mod deskgate;
pub mod kubelet;
pub mod process;
pub mod programs;
pub mod servers;
pub mod slot;
pub mod wait;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{DynamicObject, ObjectMeta, PostParams};
use kube::{Api, ResourceExt};
use tokio::sync::OnceCell;

use credentials::{ADMIN, Credentials};
use process::{Folder, Process};
use slot::Slot;

/// What a cluster has beyond the API server.
#[derive(Clone, Debug)]
pub struct Options {
    /// Traefik's CRDs.
    pub traefik: bool,
    /// NVIDIA's ClusterPolicy.
    pub cluster_policy: bool,
    /// This repository's `crds/`.
    pub own: bool,
    /// More flags for kube-apiserver.
    pub api_server_flags: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { traefik: true, cluster_policy: true, own: true, api_server_flags: Vec::new() }
    }
}

/// A running cluster. Its processes end with this, and with the test process.
pub struct Cluster {
    // Dropped in this order: clients of a server before it, the folder last.
    controllers: Mutex<Option<Process>>,
    api_server: Mutex<Option<Process>>,
    etcd: Mutex<Option<Process>>,
    options: Options,
    credentials: Credentials,
    slot: Arc<Slot>,
    folder: Folder,
}

impl Cluster {
    /// The one that tests share, started by whoever comes first.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Cluster> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// A cluster of one's own.
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    /// A cluster of one's own, other than usual.
    pub async fn start_with(options: Options) -> Self {
        // Whichever features are built, the provider is clear.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = Folder::new();
        let slot = Arc::new(Slot::claim());
        let server = format!("https://127.0.0.1:{}", slot.port(servers::API_PORT));
        let cluster = Self {
            controllers: Mutex::default(),
            api_server: Mutex::default(),
            etcd: Mutex::default(),
            credentials: Credentials::write(folder.path(), &server),
            options,
            slot,
            folder,
        };
        cluster.start_etcd();
        cluster.start_api_server().await;
        // The garbage collector looks for new kinds every 30 s only: what it shall know is there before it.
        cluster.apply_crds().await;
        cluster.start_controllers();
        cluster.wait_for_service_account("default").await;
        cluster
    }

    /// `https://127.0.0.1:PORT`.
    pub fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.slot.port(servers::API_PORT))
    }

    /// The cluster's own folder, for whatever else a test writes.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Everything about keys, tokens and kubeconfig files.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// A port on loopback that this cluster's servers do not use: 8 to 15 are for tests of a private cluster.
    pub fn port(&self, n: u16) -> u16 {
        assert!(n >= servers::FIRST_SPARE_PORT, "ports below 8 are the servers'");
        self.slot.port(n)
    }

    /// A new namespace whose name starts so; ready for pods.
    pub async fn namespace(&self, start: &str) -> String {
        self.namespace_with(start, &[]).await
    }

    /// A new namespace with labels, such as those of Pod Security.
    pub async fn namespace_with(&self, start: &str, labels: &[(&str, &str)]) -> String {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let namespace = Namespace {
            metadata: ObjectMeta {
                generate_name: Some(format!("{start}-")),
                labels: Some(labels.collect()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        let api = Api::<Namespace>::all(self.client());
        let name = api.create(&PostParams::default(), &namespace).await.unwrap().name_any();
        self.wait_for_service_account(&name).await;
        name
    }

    /// Applies YAML documents as the administrator, see [`apply::apply`].
    pub async fn apply_yaml(&self, text: &str) -> Vec<DynamicObject> {
        self.apply_yaml_in("default", text).await
    }

    /// The same, for documents that name no namespace.
    pub async fn apply_yaml_in(&self, namespace: &str, text: &str) -> Vec<DynamicObject> {
        apply::apply(&self.client(), namespace, text).await.unwrap()
    }

    /// Deletes what YAML documents name, and waits until it is gone.
    pub async fn delete_yaml(&self, text: &str) {
        apply::delete(&self.client(), "default", text).await;
    }

    /// Traefik's CRDs, also again.
    pub async fn apply_traefik_crds(&self) {
        self.apply_yaml(&programs::traefik_crds()).await;
    }

    /// Takes Traefik's CRDs and all routes away. For a private cluster.
    pub async fn delete_traefik_crds(&self) {
        self.delete_yaml(&programs::traefik_crds()).await;
    }

    async fn apply_crds(&self) {
        let Options { traefik, cluster_policy, own, .. } = self.options;
        let wanted = traefik.then(programs::traefik_crds).into_iter();
        let wanted = wanted.chain(cluster_policy.then(programs::cluster_policy_crd));
        for text in wanted.chain(own.then(programs::own_crds).into_iter().flatten()) {
            self.apply_yaml(&text).await;
        }
    }

    /// Until it is there, every pod is forbidden.
    async fn wait_for_service_account(&self, namespace: &str) {
        let api = Api::<ServiceAccount>::namespaced(self.client(), namespace);
        wait::wait_for(&api, "default", "service account", |_| true).await;
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn audit_log(&self) -> PathBuf {
        self.file("audit.log")
    }

    /// The kubeconfig of who may do everything.
    pub fn kubeconfig_of_admin(&self) -> PathBuf {
        self.credentials.kubeconfig_of(ADMIN)
    }
}
