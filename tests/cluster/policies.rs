//! Who may what, as the API server decides it with exactly what `deskgate manifests` prints: people, their roles, the
//! admission policies. Every rule of a policy has a row.

use deskgate::manifests::{self, NAME, Values, admission, sessions};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::mutations::mutated;
use crate::rig::Cluster;
use crate::rig::wait::{DEADLINE, wait_for, wait_until};

const NAMESPACE: &str = "desks";
const UID: &str = "2f6a7c1e-8a53-4c8e-9d0e-5a1b3c4d5e6f";
/// The claim of bob's home; whose it is stands in the name.
const HOME: &str = "vdi-home-bob-ubuntu-0123456789";

/// What somebody tries.
enum Try {
    Make(&'static str, Value),
    Change(&'static str, &'static str, Value),
    Delete(&'static str, &'static str),
}
use Try::{Change, Delete, Make};

/// Somebody, what he tries, and what he is told; empty: he may.
struct Row(&'static str, Try, &'static str);

fn session(name: &str, user: &str, template: &str) -> Value {
    json!({
        "apiVersion": "vdi.kasm.io/v1alpha1", "kind": "VDISession", "metadata": {"name": name},
        "spec": {"user": user, "template": template},
    })
}

/// A pod as the namespace's Pod Security wants it, with something more.
fn pod(more: &Value) -> Value {
    let good = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "mine"},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "a", "image": "a", "securityContext": {
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
            }}],
        },
    });
    mutated(&good, more)
}

fn mounting(claim: &str) -> Value {
    pod(&json!({"spec": {"volumes": [{"name": "home", "persistentVolumeClaim": {"claimName": claim}}]}}))
}

fn labelled(key: &str, value: &str) -> Value {
    pod(&json!({"metadata": {"labels": {key: value}}}))
}

fn claim(name: &str, more: &Value) -> Value {
    let good = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    });
    mutated(&good, more)
}

/// `carol` has Kubernetes' own `admin` in the namespace, `alice` and `bob` have `edit`.
fn rows() -> Vec<Row> {
    const SELF: &str = "may make sessions for himself only";
    const NOT_HIS: &str = "this is a session of ";
    const TEMPLATE: &str = "may not use template ";
    const MOUNT: &str = "homes of sessions are mounted by the operator's pods only";
    const POSING: &str = "pods of sessions are made by the operator only";
    const PLACE: &str = "leads viewers to a pod";
    const MAKING: &str = "are made by the operator only";
    const COPY: &str = "homes are not copied";
    let wake =
        json!({"metadata": {"annotations": {"vdi.kasm.io/wake-requested-at": "2026-11-28T00:00:00Z"}}});
    let suspend = json!({"spec": {"state": "Suspended"}});
    let copied = |field: &str| json!({"spec": {field: {"kind": "PersistentVolumeClaim", "name": HOME}}});
    vec![
        Row("alice", Make("VDISession", session("hers", "alice", "open")), ""),
        Row("alice", Make("VDISession", session("his", "bob", "open")), SELF),
        Row("alice", Make("VDISession", session("hers", "alice", "closed")), TEMPLATE),
        Row("alice", Make("VDISession", session("hers", "alice", "not-there")), TEMPLATE),
        Row("carol", Make("VDISession", session("his", "bob", "open")), ""),
        Row("carol", Make("VDISession", session("his", "bob", "closed")), TEMPLATE),
        Row("alice", Change("VDISession", "of-bob", wake.clone()), NOT_HIS),
        Row("alice", Change("VDISession", "of-bob", suspend.clone()), NOT_HIS),
        Row("alice", Delete("VDISession", "of-bob"), NOT_HIS),
        Row("bob", Change("VDISession", "of-bob", wake.clone()), ""),
        Row("bob", Change("VDISession", "of-bob", suspend.clone()), ""),
        Row("bob", Delete("VDISession", "of-bob"), ""),
        Row("carol", Change("VDISession", "of-bob", suspend.clone()), ""),
        Row("operator", Change("VDISession", "of-bob", wake), ""),
        Row("operator", Delete("VDISession", "of-bob"), ""),
        Row("replicaset-controller", Delete("VDISession", "of-bob"), ""),
        Row("alice", Make("Pod", pod(&json!({}))), ""),
        Row("alice", Make("Pod", mounting("shared-files")), ""),
        Row("alice", Make("Pod", mounting(HOME)), MOUNT),
        Row("replicaset-controller", Make("Pod", mounting(HOME)), MOUNT),
        Row("carol", Make("Pod", mounting(HOME)), ""),
        Row("operator", Make("Pod", mounting(HOME)), ""),
        Row("alice", Make("Pod", labelled("app.kubernetes.io/name", "vdi-session")), POSING),
        Row("carol", Make("Pod", labelled("app.kubernetes.io/name", "vdi-session")), POSING),
        Row("operator", Make("Pod", labelled("app.kubernetes.io/name", "vdi-session")), ""),
        Row("alice", Make("Pod", labelled("vdi.kasm.io/session-uid", UID)), PLACE),
        Row("alice", Make("Pod", labelled("app.kubernetes.io/name", "something-else")), ""),
        Row(
            "alice",
            Change(
                "Pod",
                "of-alice",
                json!({"metadata": {"labels": {"app.kubernetes.io/name": "vdi-session"}}}),
            ),
            POSING,
        ),
        Row(
            "alice",
            Change("Pod", "of-alice", json!({"metadata": {"labels": {"vdi.kasm.io/session-uid": UID}}})),
            PLACE,
        ),
        Row("alice", Change("Pod", "of-alice", json!({"metadata": {"labels": {"tier": "one"}}})), ""),
        Row("alice", Change("Pod", "of-bob", json!({"metadata": {"annotations": {"note": "kept"}}})), ""),
        Row(
            "alice",
            Change("Pod", "of-bob", json!({"metadata": {"labels": {"vdi.kasm.io/session-uid": "another"}}})),
            PLACE,
        ),
        Row("alice", Make("PersistentVolumeClaim", claim("files", &json!({}))), ""),
        Row("alice", Make("PersistentVolumeClaim", claim(HOME, &json!({}))), MAKING),
        Row("alice", Make("PersistentVolumeClaim", claim("files", &copied("dataSource"))), COPY),
        Row("alice", Make("PersistentVolumeClaim", claim("files", &copied("dataSourceRef"))), COPY),
        Row("operator", Make("PersistentVolumeClaim", claim(HOME, &json!({}))), ""),
        Row("carol", Make("PersistentVolumeClaim", claim(HOME, &json!({}))), ""),
    ]
}

fn api(client: &Client, kind: &str) -> Api<DynamicObject> {
    let (group, version) = if kind == "VDISession" { ("vdi.kasm.io", "v1alpha1") } else { ("", "v1") };
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    Api::namespaced_with(client.clone(), NAMESPACE, &resource)
}

/// Tries without leaving anything behind.
async fn attempt(client: &Client, what: &Try) -> Result<(), String> {
    let words = |error: kube::Error| match error {
        kube::Error::Api(status) => status.message,
        other => panic!("{other}"),
    };
    match what {
        Make(kind, object) => {
            let params = PostParams { dry_run: true, ..PostParams::default() };
            let object = serde_json::from_value(object.clone()).unwrap();
            api(client, kind).create(&params, &object).await.map(drop).map_err(words)
        }
        Change(kind, name, patch) => {
            let params = PatchParams { dry_run: true, ..PatchParams::default() };
            api(client, kind).patch(name, &params, &Patch::Merge(patch)).await.map(drop).map_err(words)
        }
        Delete(kind, name) => {
            let params = DeleteParams { dry_run: true, ..DeleteParams::default() };
            api(client, kind).delete(name, &params).await.map(drop).map_err(words)
        }
    }
}

/// Everything that is printed, and roles as an administrator would give them.
async fn install(cluster: &Cluster) {
    cluster.apply_yaml(&manifests::text(&Values::default()).unwrap()).await;
    let rbac = "rbac.authorization.k8s.io";
    let bind = |role: &str, subject: Value| {
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding",
            "metadata": {"name": format!("{role}-{}", subject["name"].as_str().unwrap()), "namespace": NAMESPACE},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": role}, "subjects": [subject],
        })
    };
    let user = |name: &str| json!({"kind": "User", "apiGroup": rbac, "name": name});
    let everybody = json!({"kind": "Group", "apiGroup": rbac, "name": "desk-users"});
    let objects = [
        bind("edit", user("alice")),
        bind("edit", user("bob")),
        bind("admin", user("carol")),
        // What the controllers of Kubernetes may anywhere, and more, so that it is the policy that decides.
        bind(
            "edit",
            json!({"kind": "ServiceAccount", "name": "replicaset-controller", "namespace": "kube-system"}),
        ),
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRole", "metadata": {"name": "use-open"},
            "rules": [{
                "apiGroups": ["vdi.kasm.io"], "resources": ["vditemplates"], "resourceNames": ["open"],
                "verbs": ["use"],
            }],
        }),
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": "use-open"},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "use-open"}, "subjects": [everybody],
        }),
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "replicaset-controller", "namespace": "kube-system"},
        }),
    ];
    let text: Vec<String> = objects.iter().map(Value::to_string).collect();
    cluster.apply_yaml(&text.join("\n---\n")).await;
}

/// The objects that rows change, made by whoever may.
async fn populate(cluster: &Cluster, operator: &Client) {
    let accounts = Api::<ServiceAccount>::namespaced(cluster.client(), NAMESPACE);
    wait_for(&accounts, "default", "service account", |_| true).await;
    let of_bob = [("app.kubernetes.io/name", "vdi-session"), ("vdi.kasm.io/session-uid", UID)];
    let of_bob =
        of_bob.into_iter().fold(pod(&json!({"metadata": {"name": "of-bob"}})), |pod, (key, value)| {
            mutated(&pod, &json!({"metadata": {"labels": {key: value}}}))
        });
    let made = [
        (cluster.client(), "VDISession", session("of-bob", "bob", "open")),
        (cluster.client_as("alice"), "Pod", pod(&json!({"metadata": {"name": "of-alice"}}))),
        (operator.clone(), "Pod", of_bob),
    ];
    for (client, kind, object) in made {
        let object = serde_json::from_value(object).unwrap();
        api(&client, kind).create(&PostParams::default(), &object).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_do_what_they_may_and_are_told_what_they_may_not() {
    let cluster = Cluster::start().await;
    install(&cluster).await;
    let operator = cluster.client_as_service_account(&Values::default().own_namespace, NAME).await;
    let controller = cluster.client_as_service_account("kube-system", "replicaset-controller").await;
    let client = |who: &str| match who {
        "operator" => operator.clone(),
        "replicaset-controller" => controller.clone(),
        person => cluster.client_as(person),
    };
    // Roles are aggregated, and policies are in force, a moment after they were made.
    for refused in rows().iter().filter(|row| !row.2.is_empty() && matches!(row.1, Make(..))) {
        wait_until(DEADLINE, refused.2, async || match attempt(&client(refused.0), &refused.1).await {
            Err(words) if words.contains(refused.2) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    }
    populate(&cluster, &operator).await;

    for (number, Row(who, what, says)) in rows().iter().enumerate() {
        let result = attempt(&client(who), what).await;
        match result {
            Ok(()) => assert!(says.is_empty(), "row {number}: {who} may, and should be told: {says}"),
            Err(words) => assert!(!says.is_empty() && words.contains(says), "row {number}: {who}: {words}"),
        }
    }

    no_expression_is_doubtful(&cluster).await;
    another_namespace_takes_a_folder_of_two_lines(&cluster).await;
    // Deleted as the namespace controller does it: nothing of ours is in the way.
    cluster.delete_yaml(r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "desks"}}"#).await;
}

/// The API server checks the types of the policies' expressions after they are made, and refuses none.
async fn no_expression_is_doubtful(cluster: &Cluster) {
    let policies = Api::<ValidatingAdmissionPolicy>::all(cluster.client());
    for policy in [admission::SESSIONS, admission::PODS, admission::CLAIMS] {
        let checked = wait_for(&policies, policy, "checked types", |p| {
            p.status.as_ref().is_some_and(|status| status.observed_generation.is_some())
        })
        .await;
        let doubts = checked.status.unwrap().type_checking.and_then(|t| t.expression_warnings);
        assert_eq!(doubts.unwrap_or_default(), [], "{policy}");
    }
}

/// As the component's first lines say.
async fn another_namespace_takes_a_folder_of_two_lines(cluster: &Cluster) {
    let folder = cluster.folder().canonicalize().unwrap().join("lab");
    std::fs::create_dir(&folder).unwrap();
    let up = "../".repeat(folder.components().count() - 1);
    let component = format!(
        "{up}{}/manifests/components/session-namespace",
        env!("CARGO_MANIFEST_DIR").trim_start_matches('/')
    );
    let text = format!("namespace: lab\ncomponents: [{component}]\n");
    std::fs::write(folder.join("kustomization.yaml"), text).unwrap();
    let said = cluster.kubectl("admin", &["apply", "--server-side", "-k", folder.to_str().unwrap()]).await;
    assert!(said.success, "{said:?}");
    let namespace = Api::<Namespace>::all(cluster.client()).get("lab").await.unwrap();
    assert_eq!(namespace.labels().get(sessions::LABEL).map(String::as_str), Some("true"));
    let bindings = Api::<RoleBinding>::namespaced(cluster.client(), "lab");
    let subject = bindings.get(NAME).await.unwrap().subjects.unwrap().remove(0);
    assert_eq!((subject.name.as_str(), subject.namespace.as_deref()), (NAME, Some("kasm")));
}

#[test]
fn every_rule_of_a_policy_has_a_row() {
    let rows = rows();
    let mut rules = 0;
    for policy in admission::policies(&Values::default()) {
        for rule in policy["spec"]["validations"].as_array().into_iter().flatten() {
            rules += 1;
            let words = rule["message"].as_str().or(rule["messageExpression"].as_str()).unwrap();
            assert!(rows.iter().any(|row| !row.2.is_empty() && words.contains(row.2)), "no row: {words}");
        }
    }
    assert!(rules >= 8, "{rules}");
}
