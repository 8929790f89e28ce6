//! PURE. NVIDIA time-slicing: eight sessions for each GPU.

use serde_json::{Value, json};

const NAMESPACE: &str = "gpu-operator";
const CONFIG: &str = "time-slicing-config";
const KEY: &str = "any";

fn sharing() -> String {
    "version: v1\nsharing:\n  timeSlicing:\n    resources:\n    - name: nvidia.com/gpu\n      replicas: 8\n"
        .to_owned()
}

fn config_map(namespace: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": CONFIG, "namespace": namespace },
        "data": { KEY: sharing() },
    })
}

/// For NVIDIA's GPU Operator. The ClusterPolicy is that which is there: applied server-side, these fields are put into
/// it. `default` names the key, without which no node takes it up.
pub fn operator() -> Vec<Value> {
    vec![
        config_map(NAMESPACE),
        json!({
            "apiVersion": "nvidia.com/v1", "kind": "ClusterPolicy", "metadata": { "name": "cluster-policy" },
            "spec": { "devicePlugin": { "config": { "name": CONFIG, "default": KEY } } },
        }),
    ]
}

/// For the device plug-in on its own: its chart takes the ConfigMap's name (`config.name=time-slicing-config`).
pub fn device_plugin() -> Vec<Value> {
    vec![config_map("nvidia-device-plugin")]
}
