//! The Node object. Each fake kubelet has its own, so that tests can lose one without each other.

use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

pub struct Node {
    name: String,
    api: Api<NodeObject>,
}

impl Node {
    pub async fn register(client: Client, namespace: &str) -> Self {
        let node = Self { name: format!("rig-node-{namespace}"), api: Api::all(client) };
        node.report(true).await;
        node
    }

    pub fn name(&self) -> String {
        self.name.clone()
    }

    /// What the node and the node life cycle controller write about it.
    pub async fn report(&self, alive: bool) {
        let unreachable = json!({"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"});
        let spec = json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name},
            "spec": {"taints": if alive { json!([]) } else { json!([unreachable]) }},
        });
        let (ready, reason, message) = if alive {
            ("True", "KubeletReady", "kubelet is posting ready status")
        } else {
            ("Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.")
        };
        let resources = json!({"cpu": "8", "memory": "32Gi", "pods": "110", "nvidia.com/gpu": "8"});
        let status = json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name},
            "status": {
                "capacity": resources, "allocatable": resources,
                "conditions": [{"type": "Ready", "status": ready, "reason": reason, "message": message}],
            },
        });
        let params = PatchParams::apply("rig-kubelet").force();
        self.api.patch(&self.name, &params, &Patch::Apply(&spec)).await.unwrap();
        self.api.patch_status(&self.name, &params, &Patch::Apply(&status)).await.unwrap();
    }
}
