//! What the API server itself refuses: schema, CEL rules, admission policies; and that everything that is printed to be
//! applied can be.

use deskgate::crd;
use deskgate::manifests::{Values, admission, sessions};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::mutations::{Layer, Of, good_session, good_template, mutated, mutations};
use crate::rig::Cluster;
use crate::rig::wait::{DEADLINE, wait_until};

fn api(client: &Client, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("vdi.kasm.io", "v1alpha1", kind);
    let resource = ApiResource::from_gvk(&kind);
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

async fn create(api: &Api<DynamicObject>, object: &Value) -> Result<DynamicObject, String> {
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let object = serde_json::from_value(object.clone()).unwrap();
    api.create(&params, &object).await.map_err(words)
}

fn words(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message,
        other => panic!("{other}"),
    }
}

/// Policies for one namespace; alice and bob may use the template, and edit.
async fn policies(cluster: &Cluster, namespace: &str, template: &str) {
    let values = Values { namespaces: vec![namespace.to_owned()], ..Values::default() };
    let mut objects = admission::policies(&values);
    objects.extend([
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": format!("use-{template}")},
            "rules": [{"apiGroups": ["vdi.kasm.io"], "resources": ["vditemplates"], "resourceNames": [template], "verbs": ["use"]}]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": format!("use-{template}")},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": format!("use-{template}")},
            "subjects": [{"kind": "Group", "name": "desk-users", "apiGroup": "rbac.authorization.k8s.io"}]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": "desks", "namespace": namespace},
            "rules": [
                {"apiGroups": ["vdi.kasm.io"], "resources": ["vdisessions"], "verbs": ["get", "list", "create", "update", "patch", "delete"]},
                {"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]},
            ]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "desks", "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "desks"},
            "subjects": [{"kind": "Group", "name": "desk-users", "apiGroup": "rbac.authorization.k8s.io"}]}),
    ]);
    let text: Vec<String> = objects.iter().map(Value::to_string).collect();
    cluster.apply_yaml(&text.join("\n---\n")).await;
    // A policy is in force a moment after it was made.
    let bobs = mutated(&good_session("probe", template), &json!({"spec": {"user": "bob"}}));
    let sessions = api(&cluster.client_as("alice"), "VDISession", Some(namespace));
    wait_until(DEADLINE, "policies in force", async || match create(&sessions, &bobs).await {
        Err(words) if words.contains("himself") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mutation_is_refused_by_its_layer_in_words_for_people() {
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start().await));
    let namespace = cluster.namespace("mutations").await;
    let template = "good-template";
    policies(cluster, &namespace, template).await;
    let alice = cluster.client_as("alice");
    let sessions = api(&alice, "VDISession", Some(&namespace));
    let templates = api(&cluster.client(), "VDITemplate", None);
    let (session, kind) = (good_session("good", template), good_template(template));
    create(&sessions, &session).await.expect("the good session");
    create(&templates, &kind).await.expect("the good template");
    let there: DynamicObject = serde_json::from_value(session.clone()).unwrap();
    sessions.create(&PostParams::default(), &there).await.unwrap();

    let rows = mutations();
    assert!(rows.len() >= 40);
    for row in &rows {
        let result = match row.of {
            Of::Session => create(&sessions, &mutated(&session, &row.patch)).await,
            Of::Template => create(&templates, &mutated(&kind, &row.patch)).await,
            Of::Update => {
                let params = PatchParams { dry_run: true, ..PatchParams::default() };
                sessions.patch("good", &params, &Patch::Merge(&row.patch)).await.map_err(words)
            }
        };
        let words = result.expect_err(&row.patch.to_string());
        assert!(words.contains(row.says), "{}: {words}", row.patch);
        let policy = words.contains("ValidatingAdmissionPolicy");
        assert_eq!(policy, row.layer == Layer::Policy, "{}: {words}", row.patch);
    }

    // No rule is without a row.
    let definitions = serde_json::to_value(crd::definitions()).unwrap();
    let mut messages = Vec::new();
    collect(&definitions, &mut messages);
    assert!(messages.len() >= 10, "{messages:?}");
    for message in messages {
        let covered = rows.iter().any(|row| row.layer == Layer::Cel && message.contains(row.says));
        assert!(covered, "no row for the rule: {message}");
    }
}

/// Messages of all CEL rules.
fn collect(value: &Value, messages: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, messages)),
        Value::Object(fields) => {
            for rule in fields.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten()
            {
                messages.push(rule["message"].as_str().expect("a message for people").to_owned());
            }
            fields.values().for_each(|inner| collect(inner, messages));
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_at_anothers_home_or_a_template_that_is_not_for_him() {
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start().await));
    let namespace = cluster.namespace_with("people", &[(sessions::LABEL, "true")]).await;
    policies(cluster, &namespace, "shared").await;
    let of = |user: &str| api(&cluster.client_as(user), "VDISession", Some(&namespace));
    let own = good_session("own", "shared");
    create(&of("alice"), &own).await.expect("her own");
    let refused = create(&of("bob"), &own).await.unwrap_err();
    assert!(refused.contains("bob may make sessions for himself only"), "{refused}");
    create(&of("admin"), &own).await.expect("who may impersonate makes sessions for others");

    let pods = |user: &str| Api::<Pod>::namespaced(cluster.client_as(user), &namespace);
    let pod = |volumes: Value, labels: Value| -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "mine", "labels": labels},
            "spec": {"containers": [{"name": "a", "image": "a"}], "volumes": volumes},
        }))
        .unwrap()
    };
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let claim =
        json!([{"name": "home", "persistentVolumeClaim": {"claimName": "vdi-home-alice-shared-0123456789"}}]);
    let refused = pods("bob").create(&params, &pod(claim, json!({}))).await.map_err(words).unwrap_err();
    assert!(refused.contains("homes of sessions are mounted by the operator's pods only"), "{refused}");
    let posing = pod(json!([]), json!({"app.kubernetes.io/name": "vdi-session"}));
    let refused = pods("bob").create(&params, &posing).await.map_err(words).unwrap_err();
    assert!(refused.contains("pods of sessions are made by the operator only"), "{refused}");
    pods("bob").create(&params, &pod(json!([]), json!({"app": "mine"}))).await.expect("any other pod");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_printed_can_be_applied() {
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start().await));
    let kubeconfig = cluster.kubeconfig("admin");
    let args = [
        "manifests",
        "--image",
        "registry.example/a:1",
        "--gateway-image",
        "registry.example/b:1",
        "--domain",
        "vdi.test",
        "--namespace",
        "desks",
        "--namespace",
        "labs",
    ];
    let printed = cluster.deskgate(&kubeconfig, &args).await;
    assert!(printed.success, "{}", printed.stderr);
    // Namespaces first, as a dry run makes none.
    for namespace in ["kasm", "desks", "labs", "gpu-operator", "nvidia-device-plugin"] {
        cluster.apply_yaml(&format!("{{\"apiVersion\": \"v1\", \"kind\": \"Namespace\", \"metadata\": {{\"name\": \"{namespace}\"}}}}")).await;
    }
    let file = cluster.folder().join("printed.yaml");
    std::fs::write(&file, &printed.stdout).unwrap();
    let path = file.to_str().unwrap();
    let said = cluster
        .kubectl("admin", &["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", path])
        .await;
    assert!(said.success, "{}{}", said.stdout, said.stderr);
    assert!(said.stdout.contains("deployment.apps/kasm-operator"), "{}", said.stdout);

    let root = env!("CARGO_MANIFEST_DIR");
    let dry = async |what: &[&str]| {
        let all = [&["apply", "--server-side", "--dry-run=server"][..], what].concat();
        let said = cluster.kubectl("admin", &all).await;
        assert!(said.success, "{what:?}: {}{}", said.stdout, said.stderr);
    };
    for overlay in ["base", "overlays/k3s", "overlays/gpu"] {
        dry(&["-k", &format!("{root}/manifests/{overlay}")]).await;
    }
    dry(&["-n", "desks", "-f", &format!("{root}/manifests/examples/")]).await;
    dry(&["-f", &format!("{root}/manifests/gpu-time-slicing-device-plugin.yaml")]).await;

    // Onto a ClusterPolicy that is there: alone the document lacks nine fields that NVIDIA's schema wants.
    let gpu = format!("{root}/manifests/gpu-time-slicing.yaml");
    let said = cluster.kubectl("admin", &["apply", "--server-side", "-f", &gpu]).await;
    assert!(said.stderr.contains("Required value"), "{}{}", said.stdout, said.stderr);
    let empty = json!({});
    let policy = json!({
        "apiVersion": "nvidia.com/v1", "kind": "ClusterPolicy", "metadata": {"name": "cluster-policy"},
        "spec": {
            "daemonsets": empty, "dcgm": empty, "dcgmExporter": empty, "devicePlugin": empty, "driver": empty,
            "gfd": empty, "nodeStatusExporter": empty, "operator": empty, "toolkit": empty,
        },
    });
    cluster.apply_yaml(&policy.to_string()).await;
    let said = cluster.kubectl("admin", &["apply", "--server-side", "--force-conflicts", "-f", &gpu]).await;
    assert!(said.success, "{}{}", said.stdout, said.stderr);
    let said = cluster
        .kubectl(
            "admin",
            &["get", "clusterpolicy", "cluster-policy", "-o", "jsonpath={.spec.devicePlugin.config}"],
        )
        .await;
    assert!(
        said.stdout.contains("\"default\":\"any\"") && said.stdout.contains("time-slicing-config"),
        "{}",
        said.stdout
    );
}
