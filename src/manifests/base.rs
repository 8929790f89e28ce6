//! PURE. The operator itself: namespace, account, Deployment, Services, the catch-all route.

use serde_json::{Value, json};

use super::rbac::{self, Scope};
use super::{NAME, SETTINGS_FILE, Values, labels, pod_labels, restricted};
use crate::operator::{names, webhook};

/// Everything of the operator's but CRDs and admission policies.
pub fn objects(values: &Values) -> Vec<Value> {
    let mut all = vec![namespace(values), account(values)];
    all.extend(cluster_roles(values));
    all.extend(own_role(values));
    all.push(settings(values));
    all.extend([deployment(values), budget(values), entry(values), policy(values), catch_all(values)]);
    all.extend([webhook_service(values), webhook_configuration(values)]);
    all
}

fn metadata(values: &Values, name: &str) -> Value {
    json!({ "name": name, "namespace": values.own_namespace, "labels": labels() })
}

fn namespace(values: &Values) -> Value {
    let mut all = labels();
    all.extend(restricted());
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": values.own_namespace, "labels": all } })
}

fn account(values: &Values) -> Value {
    json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(values, NAME) })
}

/// The operator as the subject of a binding.
pub(super) fn subject(values: &Values) -> Value {
    json!([{ "kind": "ServiceAccount", "name": NAME, "namespace": values.own_namespace }])
}

fn cluster_roles(values: &Values) -> Vec<Value> {
    let role = |name: &str, aggregate: Option<&str>, rules: Value| {
        let mut all = labels();
        all.extend(aggregate.map(|to| {
            (format!("rbac.authorization.k8s.io/aggregate-to-{to}"), Value::String("true".to_owned()))
        }));
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": { "name": name, "labels": all }, "rules": rules,
        })
    };
    let read = json!(["get", "list", "watch"]);
    let group = json!(["vdi.kasm.io"]);
    vec![
        role(NAME, None, Value::Array(rbac::rules(Scope::Cluster))),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": { "name": NAME, "labels": labels() },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAME },
            "subjects": subject(values),
        }),
        // Who may view or edit a namespace may view or edit its sessions. Using a template is another right, and
        // reading a session's Secret, which opens its desktop, a third.
        role(
            "deskgate-view",
            Some("view"),
            json!([
                { "apiGroups": group, "resources": ["vdisessions"], "verbs": read },
            ]),
        ),
        role(
            "deskgate-edit",
            Some("edit"),
            json!([
                { "apiGroups": group, "resources": ["vdisessions"], "verbs": ["create", "delete", "patch", "update"] },
            ]),
        ),
        // Who administers a namespace may make sessions there for others, and change theirs.
        role(
            "deskgate-admin",
            Some("admin"),
            json!([
                { "apiGroups": group, "resources": ["vdisessions"], "verbs": ["impersonate"] },
            ]),
        ),
        role(
            "deskgate-templates-view",
            None,
            json!([
                { "apiGroups": group, "resources": ["vditemplates"], "verbs": read },
            ]),
        ),
        role(
            "deskgate-templates-use",
            None,
            json!([
                { "apiGroups": group, "resources": ["vditemplates"], "verbs": ["get", "list", "watch", "use"] },
            ]),
        ),
    ]
}

fn own_role(values: &Values) -> Vec<Value> {
    role_with_binding(values, &values.own_namespace, &rbac::rules(Scope::Own))
}

/// A Role of the operator in a namespace, with its binding.
pub(super) fn role_with_binding(values: &Values, namespace: &str, rules: &[Value]) -> Vec<Value> {
    let metadata = json!({ "name": NAME, "namespace": namespace, "labels": labels() });
    vec![
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": rules,
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME },
            "subjects": subject(values),
        }),
    ]
}

fn settings(values: &Values) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(values, NAME),
        "data": { "operator.toml": values.settings_file },
    })
}

fn deployment(values: &Values) -> Value {
    let mut arguments = values.command_line();
    arguments.push(format!("--config={SETTINGS_FILE}"));
    // The file is read at the start: a change of it is a new start.
    let settings_hash = names::hex(&[&values.settings_file], 16);
    let probe = |path: &str| json!({ "httpGet": { "path": path, "port": "health" } });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata(values, NAME),
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": pod_labels() },
            "template": {
                "metadata": {
                    "labels": pod_labels(),
                    "annotations": { "vdi.kasm.io/settings-hash": settings_hash },
                },
                "spec": {
                    "serviceAccountName": NAME,
                    "terminationGracePeriodSeconds": 15,
                    "securityContext": {
                        "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532,
                        "seccompProfile": { "type": "RuntimeDefault" },
                    },
                    "topologySpreadConstraints": [{
                        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
                        "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": { "matchLabels": pod_labels() },
                    }],
                    "containers": [{
                        "name": "operator",
                        "image": values.image,
                        "args": arguments,
                        "env": [{ "name": "DESKGATE_LOG_FORMAT", "value": "json" }],
                        "ports": [
                            { "name": "entry", "containerPort": 8080 },
                            { "name": "health", "containerPort": 8081 },
                            { "name": "webhook", "containerPort": 8443 },
                        ],
                        // Until nobody is sent here any more: a call to the webhook that fails is a pod that is refused.
                        "lifecycle": { "preStop": { "sleep": { "seconds": 5 } } },
                        "startupProbe": { "httpGet": { "path": "/healthz", "port": "health" }, "failureThreshold": 30, "periodSeconds": 1 },
                        "livenessProbe": probe("/healthz"),
                        "readinessProbe": probe("/readyz"),
                        "resources": {
                            "requests": { "cpu": "50m", "memory": "64Mi" }, "limits": { "memory": "256Mi" },
                        },
                        "securityContext": {
                            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                            "capabilities": { "drop": ["ALL"] },
                        },
                        "volumeMounts": [{ "name": "settings", "mountPath": "/etc/deskgate", "readOnly": true }],
                    }],
                    "volumes": [{ "name": "settings", "configMap": { "name": NAME } }],
                },
            },
        },
    })
}

fn budget(values: &Values) -> Value {
    json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata(values, NAME),
        "spec": { "minAvailable": 1, "selector": { "matchLabels": pod_labels() } },
    })
}

fn entry(values: &Values) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": metadata(values, NAME),
        "spec": {
            "selector": pod_labels(),
            "ports": [
                { "name": "entry", "port": 80, "targetPort": "entry" },
                { "name": "health", "port": 8081, "targetPort": "health" },
            ],
        },
    })
}

fn webhook_service(values: &Values) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": metadata(values, webhook::SERVICE),
        "spec": {
            "selector": pod_labels(),
            "ports": [{ "name": "webhook", "port": 443, "targetPort": "webhook" }],
        },
    })
}

/// The leader adds `caBundle`; whoever applies this again without one leaves it there.
fn webhook_configuration(values: &Values) -> Value {
    let mut configuration = json!(webhook::configuration(&values.own_namespace));
    configuration["metadata"]["labels"] = json!(labels());
    configuration
}

fn policy(values: &Values) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata(values, NAME),
        "spec": {
            "podSelector": { "matchLabels": pod_labels() },
            "policyTypes": ["Ingress"],
            "ingress": [
                // Desktops' pods have no business there: they could claim to be anybody's forward-auth.
                { "from": [{ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": values.route.traefik_namespace } } }], "ports": [{ "port": "entry" }] },
                { "ports": [{ "port": "health" }, { "port": "webhook" }] },
            ],
        },
    })
}

/// Behind all sessions' routes. Without its priority the longer rule, this one, would win.
fn catch_all(values: &Values) -> Value {
    let domain = values.domain.replace('.', r"\.");
    let mut metadata = metadata(values, "deskgate-catch-all");
    if let Some(class) = &values.route.ingress_class {
        metadata["annotations"] = json!({ "kubernetes.io/ingress.class": class });
    }
    let mut route = json!({
        "kind": "Rule",
        "match": format!("HostRegexp(`^[a-z0-9-]+\\.{domain}$`)"),
        "priority": 1,
        "services": [{ "name": NAME, "port": "entry" }],
    });
    if !values.route.middlewares.is_empty() {
        let middlewares = values.route.middlewares.iter();
        route["middlewares"] = middlewares.map(|name| middleware(name)).collect();
    }
    let mut spec = json!({ "entryPoints": values.route.entry_points, "routes": [route] });
    if values.route.tls {
        spec["tls"] = json!({});
    }
    json!({ "apiVersion": "traefik.io/v1alpha1", "kind": "IngressRoute", "metadata": metadata, "spec": spec })
}

/// `namespace/name`, or `name` in the operator's own namespace.
fn middleware(text: &str) -> Value {
    match text.split_once('/') {
        Some((namespace, name)) => json!({ "name": name, "namespace": namespace }),
        None => json!({ "name": text }),
    }
}
