//! PURE. Templates and sessions to begin with.

use serde_json::{Value, json};

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": "vdi.kasm.io/v1alpha1", "kind": kind, "metadata": { "name": name }, "spec": spec })
}

/// A desktop that encodes in software.
pub fn template_software() -> Value {
    object(
        "VDITemplate",
        "ubuntu-desktop",
        &json!({
            "displayName": "Ubuntu desktop",
            "description": "A desktop with browser and office, encoded in software.",
            "applications": [{ "name": "Firefox" }, { "name": "LibreOffice" }],
            "image": "registry.example/desktops/ubuntu:24.04",
            "resources": { "cpu": "2", "memory": "4Gi" },
            "persistence": { "size": "10Gi" },
            "idleTimeout": "1h",
            "overrides": { "maxCpu": "4", "maxMemory": "8Gi", "maxSize": "50Gi" },
        }),
    )
}

/// A desktop with an eighth of a GPU.
pub fn template_gpu() -> Value {
    object(
        "VDITemplate",
        "ubuntu-gpu",
        &json!({
            "displayName": "GPU workstation",
            "description": "A desktop with a slice of a GPU, for drawing and for encoding.",
            "image": "registry.example/desktops/ubuntu-gpu:24.04",
            "resources": { "gpu": 1, "cpu": "4", "memory": "16Gi" },
            "gpu": { "runtimeClassName": "nvidia", "encoder": "env" },
            "persistence": { "size": "100Gi" },
            "timeout": "12h",
            "idleTimeout": "30m",
            "overrides": { "maxGpu": 1 },
        }),
    )
}

/// Alice's desktop.
pub fn session_alice() -> Value {
    object("VDISession", "alice", &json!({ "user": "alice@example.com", "template": "ubuntu-desktop" }))
}

/// Bob's workstation.
pub fn session_gpu() -> Value {
    object(
        "VDISession",
        "bob-gpu",
        &json!({
            "user": "bob@example.com",
            "template": "ubuntu-gpu",
            "resources": { "memory": "8Gi" },
            "timeout": "8h",
        }),
    )
}

/// A group whose members may have desktops of one template.
pub fn users() -> Vec<Value> {
    let rbac = "rbac.authorization.k8s.io";
    let group = json!([{ "kind": "Group", "apiGroup": rbac, "name": "desk-users" }]);
    let binding = |kind: &str, metadata: Value, role: &str| {
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": kind, "metadata": metadata,
            "roleRef": { "apiGroup": rbac, "kind": "ClusterRole", "name": role }, "subjects": group,
        })
    };
    let name = "use-ubuntu-desktop";
    vec![
        binding("RoleBinding", json!({ "name": "desk-users-view", "namespace": "desks" }), "deskgate-view"),
        binding("RoleBinding", json!({ "name": "desk-users-edit", "namespace": "desks" }), "deskgate-edit"),
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRole", "metadata": { "name": name },
            "rules": [{
                "apiGroups": ["vdi.kasm.io"], "resources": ["vditemplates"],
                "resourceNames": ["ubuntu-desktop"], "verbs": ["get", "use"],
            }],
        }),
        binding("ClusterRoleBinding", json!({ "name": name }), name),
    ]
}
