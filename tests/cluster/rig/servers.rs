//! The servers of a cluster: their flags, start, stop.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::process::Signal;

use super::process::{Process, command};
use super::programs::program;
use super::wait::{DEADLINE, wait_until};
use super::{Cluster, credentials};

const ETCD_PORT: u16 = 1;
const ETCD_PEER_PORT: u16 = 2;
pub const API_PORT: u16 = 3;
const CONTROLLERS_PORT: u16 = 4;
pub const FIRST_SPARE_PORT: u16 = 8;

/// No scheduler, no node life cycle: those are scripted, see `kubelet`. Claims lose their finalizer by the real one.
const CONTROLLERS: [&str; 8] = [
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "resourcequota-controller",
    "endpointslice-controller",
    "clusterrole-aggregation-controller",
    "persistentvolumeclaim-protection-controller",
    "validatingadmissionpolicy-status-controller",
];

const AUDIT_POLICY: &str =
    "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n";

impl Cluster {
    pub(super) fn start_etcd(&self) {
        let client = format!("http://127.0.0.1:{}", self.slot.port(ETCD_PORT));
        let peer = format!("http://127.0.0.1:{}", self.slot.port(ETCD_PEER_PORT));
        let mut etcd = command(program("etcd"));
        etcd.args(["--name=rig", "--unsafe-no-fsync", "--log-level=warn"])
            .arg(format!("--data-dir={}", self.file("etcd").display()))
            .args([format!("--listen-client-urls={client}"), format!("--advertise-client-urls={client}")])
            .args([format!("--listen-peer-urls={peer}"), format!("--initial-advertise-peer-urls={peer}")])
            .arg(format!("--initial-cluster=rig={peer}"));
        put(&self.etcd, Process::spawn("etcd", etcd, &self.file("etcd.log")));
    }

    /// Starts the API server, also again, and waits until it is ready.
    pub async fn start_api_server(&self) {
        let file = |name: &str| self.file(name).display().to_string();
        std::fs::write(file("audit.yaml"), AUDIT_POLICY).unwrap();
        let mut server = command(program("kube-apiserver"));
        server
            .arg(format!("--etcd-servers=http://127.0.0.1:{}", self.slot.port(ETCD_PORT)))
            .arg(format!("--secure-port={}", self.slot.port(API_PORT)))
            .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
            // It would refuse to write its own loopback address into an EndpointSlice, again and again.
            .arg("--endpoint-reconciler-type=none")
            .arg("--service-cluster-ip-range=10.96.0.0/16")
            .arg(format!("--tls-cert-file={}", file("server.crt")))
            .arg(format!("--tls-private-key-file={}", file("server.key")))
            .arg(format!("--token-auth-file={}", file("tokens.csv")))
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg(format!("--service-account-key-file={}", file("service-accounts.pub")))
            .arg(format!("--service-account-signing-key-file={}", file("service-accounts.key")))
            .arg("--authorization-mode=RBAC")
            .arg("--enable-admission-plugins=OwnerReferencesPermissionEnforcement")
            .arg("--allow-privileged=true")
            // Webhooks are called at the pods behind their Service: there is no kube-proxy.
            .arg("--enable-aggregator-routing=true")
            .arg(format!("--audit-policy-file={}", file("audit.yaml")))
            .arg(format!("--audit-log-path={}", self.audit_log().display()))
            // In MB: never rotated, readers remember places in it.
            .arg("--audit-log-maxsize=100000")
            .arg("--profiling=false")
            .args(&self.options.api_server_flags);
        put(&self.api_server, Process::spawn("kube-apiserver", server, &self.file("kube-apiserver.log")));
        self.wait_until_ready().await;
    }

    /// Kills the API server. etcd keeps everything.
    pub fn stop_api_server(&self) {
        take(&self.api_server);
    }

    /// SIGSTOP and SIGCONT: a server that accepts connections and answers nothing.
    pub fn signal_api_server(&self, signal: Signal) {
        with(&self.api_server, |server| server.signal(signal));
    }

    /// Starts the controllers, also again: they then know every kind that is served.
    pub fn start_controllers(&self) {
        take(&self.controllers);
        let kubeconfig = self.kubeconfig_of_admin();
        let mut manager = command(program("kube-controller-manager"));
        manager
            .arg(format!("--controllers={}", CONTROLLERS.join(",")))
            .args(
                ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"]
                    .map(|flag| format!("--{flag}={}", kubeconfig.display())),
            )
            .arg(format!("--secure-port={}", self.slot.port(CONTROLLERS_PORT)))
            .args(["--bind-address=127.0.0.1", "--leader-elect=false", "--profiling=false"])
            .arg(format!("--cert-dir={}", self.file("controllers").display()))
            .args(["--kube-api-qps=1000", "--kube-api-burst=2000"]);
        let log = self.file("kube-controller-manager.log");
        put(&self.controllers, Process::spawn("kube-controller-manager", manager, &log));
    }

    /// Process id of the API server, etcd and the controllers, those that run.
    pub fn pids(&self) -> Vec<u32> {
        [&self.api_server, &self.etcd, &self.controllers]
            .iter()
            .filter_map(|held| held.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Process::pid))
            .collect()
    }

    /// Path of a server's log: `etcd`, `kube-apiserver`, `kube-controller-manager`.
    pub fn server_log(&self, name: &str) -> String {
        read(&self.file(&format!("{name}.log")))
    }

    async fn wait_until_ready(&self) {
        wait_until(DEADLINE * 2, "ready API server", || async {
            with(&self.etcd, Process::assert_alive);
            with(&self.api_server, Process::assert_alive);
            let request = hyper::Request::get("/readyz").body(Vec::new()).unwrap();
            let answer = self.client_as(credentials::ADMIN).request_text(request).await;
            answer.map(drop).map_err(|e| e.to_string())
        })
        .await;
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

fn put(place: &Mutex<Option<Process>>, process: Process) {
    *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
}

fn take(place: &Mutex<Option<Process>>) {
    place.lock().unwrap_or_else(PoisonError::into_inner).take();
}

fn with<T>(place: &Mutex<Option<Process>>, act: impl FnOnce(&mut Process) -> T) -> T {
    act(place.lock().unwrap_or_else(PoisonError::into_inner).as_mut().expect("it runs"))
}
