//! A namespace with people in it, sessions, what the operator would write, and the program.

use std::process::Stdio;

use deskgate::crd::{VDISession, VDISessionSpec, VDITemplate, definitions};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout};
use tokio::sync::OnceCell;

use crate::rig::Cluster;
use crate::rig::clients::Said;
use crate::rig::wait::DEADLINE;

/// What the Secrets here hold.
pub const SECRET: &str = "a secret of thirty-two bytes ....";

/// A namespace of its own.
pub struct Stage {
    pub cluster: &'static Cluster,
    pub namespace: String,
}

impl Stage {
    /// A namespace in which alice may do with sessions and pods what she likes, and read templates; no Secrets.
    pub async fn new(start: &str) -> Self {
        let cluster = Cluster::shared().await;
        static CRDS: OnceCell<()> = OnceCell::const_new();
        CRDS.get_or_init(|| async {
            for crd in definitions() {
                cluster.apply_yaml(&serde_saphyr::to_string(&crd).unwrap()).await;
            }
        })
        .await;
        let stage = Self { cluster, namespace: cluster.namespace(start).await };
        stage
            .allow(
                "desks",
                "[{apiGroups: [vdi.kasm.io], resources: [vdisessions], verbs: ['*']}, \
                 {apiGroups: [''], resources: [pods, pods/log], verbs: [get, delete]}]",
            )
            .await;
        let name = &stage.namespace;
        let templates = format!(
            "{{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {{name: {name}}}, \
             rules: [{{apiGroups: [vdi.kasm.io], resources: [vditemplates], verbs: [get]}}]}}\n---\n\
             {{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {{name: {name}}}, \
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {name}}}, \
             subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: alice}}]}}"
        );
        cluster.apply_yaml(&templates).await;
        stage
    }

    /// Gives alice rights in the namespace.
    pub async fn allow(&self, role: &str, rules: &str) {
        let yaml = format!(
            "{{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {{name: {role}}}, rules: {rules}}}\n---\n\
             {{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {{name: {role}}}, \
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {role}}}, \
             subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: alice}}]}}"
        );
        self.cluster.apply_yaml_in(&self.namespace, &yaml).await;
    }

    pub async fn allow_secrets(&self) {
        self.allow("secrets", "[{apiGroups: [''], resources: [secrets], verbs: [get]}]").await;
    }

    pub fn sessions(&self) -> Api<VDISession> {
        Api::namespaced(self.cluster.client(), &self.namespace)
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.cluster.client(), &self.namespace)
    }

    pub async fn get(&self, name: &str) -> VDISession {
        self.sessions().get(name).await.unwrap()
    }

    /// A session of alice's, from a template of the namespace's name.
    pub async fn session(&self, name: &str, spec: Value) -> VDISession {
        let mut all = json!({"user": "alice", "template": self.namespace});
        all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let spec: VDISessionSpec = serde_json::from_value(all).unwrap();
        self.sessions().create(&PostParams::default(), &VDISession::new(name, spec)).await.unwrap()
    }

    pub async fn template(&self, spec: Value) {
        let mut all = json!({"image": "desktop:1"});
        all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let template = VDITemplate::new(&self.namespace, serde_json::from_value(all).unwrap());
        Api::all(self.cluster.client()).create(&PostParams::default(), &template).await.unwrap();
    }

    /// Writes a status, as the operator does: for the present generation.
    pub async fn status(&self, name: &str, mut status: Value) {
        let generation = self.get(name).await.metadata.generation;
        status["observedGeneration"] = json!(generation);
        let patch = json!({ "status": status });
        let params = PatchParams::default();
        self.sessions().patch_status(name, &params, &Patch::Merge(patch)).await.unwrap();
    }

    /// What was done to a session from outside.
    pub async fn annotation(&self, name: &str, annotation: &str) -> Option<String> {
        self.get(name).await.annotations().get(annotation).cloned()
    }

    /// The session's Secret, as the operator makes it.
    pub async fn secret(&self, session: &VDISession) {
        self.secret_named(&format!("vdi-{}", session.name_any()), session).await;
    }

    /// The same under another name. Its owner has to exist, or the garbage collector takes it.
    pub async fn secret_named(&self, name: &str, session: &VDISession) {
        let owner = json!({
            "apiVersion": "vdi.kasm.io/v1alpha1", "kind": "VDISession", "name": session.name_any(),
            "uid": session.uid(), "controller": true,
        });
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "ownerReferences": [owner]},
            "stringData": {"token-secret": format!("{SECRET}\n")},
        });
        self.cluster.apply_yaml_in(&self.namespace, &secret.to_string()).await;
    }

    /// A pod, on a node if it names one; nothing runs it.
    pub async fn pod(&self, name: &str, node: Option<&str>) -> Pod {
        let pod = json!({
            "metadata": {"name": name},
            "spec": {"nodeName": node, "containers": [
                {"name": "desktop", "image": "desktop"}, {"name": "gateway", "image": "gateway"}]},
        });
        let pod: Pod = serde_json::from_value(pod).unwrap();
        self.pods().create(&PostParams::default(), &pod).await.unwrap()
    }

    /// Runs `deskgate session` as alice, to its end.
    pub async fn run(&self, args: &[&str]) -> Said {
        self.start(args).await.end().await
    }

    /// Starts it.
    pub async fn start(&self, args: &[&str]) -> Started {
        let mut command = self.cluster.deskgate_command(&self.cluster.kubeconfig("alice"));
        command.args(["session", "-n", &self.namespace]).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = tokio::process::Command::from(command).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Started { child, lines, stderr: String::new() }
    }
}

/// A command that runs.
pub struct Started {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    stderr: String,
}

impl Started {
    /// Reads what it tells until a line has these words.
    pub async fn tells(&mut self, words: &str) {
        let search = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                self.stderr.push_str(&format!("{line}\n"));
                if line.contains(words) {
                    return;
                }
            }
            panic!("it ended without {words:?}:\n{}", self.stderr);
        };
        tokio::time::timeout(DEADLINE, search).await.unwrap_or_else(|_| panic!("no {words:?} in time"));
    }

    /// What it prints, to be read as it comes.
    pub fn stdout(&mut self) -> BufReader<ChildStdout> {
        BufReader::new(self.child.stdout.take().unwrap())
    }

    /// Answers its question.
    pub async fn answer(mut self, text: &str) -> Said {
        self.child.stdin.take().unwrap().write_all(text.as_bytes()).await.unwrap();
        self.end().await
    }

    /// Waits for its end.
    pub async fn end(mut self) -> Said {
        drop(self.child.stdin.take());
        let whole = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                self.stderr.push_str(&format!("{line}\n"));
            }
            let mut stdout = String::new();
            self.child.stdout.take().unwrap().read_to_string(&mut stdout).await.unwrap();
            (stdout, self.child.wait().await.unwrap())
        };
        let (stdout, status) = tokio::time::timeout(DEADLINE, whole).await.expect("it ends");
        let code = status.code().unwrap_or(-1);
        Said { success: status.success(), code, stdout, stderr: self.stderr }
    }
}

/// A condition, as the operator writes it.
pub fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    condition_at(type_, status, reason, message, "2026-01-01T00:00:00Z")
}

/// The same with the time of its last change.
pub fn condition_at(type_: &str, status: &str, reason: &str, message: &str, time: &str) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": time})
}

/// The status of a session that can be opened.
pub fn ready(name: &str) -> Value {
    json!({
        "phase": "Running", "podName": format!("vdi-{name}"), "secretName": format!("vdi-{name}"),
        "url": format!("https://{name}.example/"), "nodeName": "node-1",
        "conditions": [condition("Ready", "True", "Ready", "")],
    })
}
