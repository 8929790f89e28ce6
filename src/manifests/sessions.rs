//! PURE. What a namespace with sessions needs.

use serde_json::{Value, json};

use super::rbac::{self, Scope};
use super::{Values, base, labels, restricted};

/// Label of namespaces with sessions: there the policies on pods and claims hold.
pub const LABEL: &str = "vdi.kasm.io/sessions";

/// Namespace, the operator's rights in it, and a wall around it.
pub fn objects(values: &Values, name: &str) -> Vec<Value> {
    let mut objects = vec![namespace(name)];
    objects.extend(inside(values, name));
    objects
}

/// The namespace.
pub fn namespace(name: &str) -> Value {
    let mut all = labels();
    all.extend(restricted());
    all.insert(LABEL.to_owned(), json!("true"));
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": all } })
}

/// What is in it.
pub fn inside(values: &Values, namespace: &str) -> Vec<Value> {
    let mut objects = base::role_with_binding(values, namespace, &rbac::rules(Scope::Sessions));
    // Pods of sessions have a policy of their own that lets through what they need.
    objects.push(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": { "name": "default-deny", "namespace": namespace, "labels": labels() },
        "spec": { "podSelector": {}, "policyTypes": ["Ingress", "Egress"] },
    }));
    objects
}
