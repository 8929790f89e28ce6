//! What is built and injected, as the API server takes it: whole, and no looser than the namespace's Pod Security.

use std::path::PathBuf;

use deskgate::crd::{VDISession, VDITemplate};
use deskgate::manifests::{self, Values, examples};
use deskgate::operator::build::{self, Plan};
use deskgate::operator::validate::validate;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{PatchParams, PostParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::operator::settings;
use crate::rig::Cluster;
use crate::rig::apply;

const LEVEL: &str = "pod-security.kubernetes.io/enforce";
/// From the strictest on.
const LEVELS: [&str; 3] = ["restricted", "baseline", "privileged"];
const UID: &str = "2f6a7c1e-8a53-4c8e-9d0e-5a1b3c4d5e6f";

fn golden(folder: &str) -> Vec<(String, PathBuf)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder);
    let mut files: Vec<(String, PathBuf)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), path))
        .collect();
    files.sort();
    files
}

/// NVIDIA's GPU Operator makes it; the API server refuses pods that name one that is not there.
async fn make_runtime_class(client: &kube::Client) {
    let class = "{apiVersion: node.k8s.io/v1, kind: RuntimeClass, metadata: {name: nvidia}, handler: nvidia}";
    apply::apply(client, "default", class).await.unwrap();
}

/// Creates a pod without leaving it behind.
async fn dry_run(api: &Api<Pod>, pod: &Value) -> Result<(), String> {
    let mut pod = pod.clone();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["namespace"] = Value::Null;
    if pod["metadata"]["name"].is_null() {
        pod["metadata"]["name"] = json!("nameless");
    }
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let pod = serde_json::from_value(pod).unwrap();
    match api.create(&params, &pod).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err(status.message),
        Err(other) => panic!("{other}"),
    }
}

/// The pods of an object: itself, its template, or those of a list.
fn pods(object: &Value) -> Vec<Value> {
    let items = object["items"].as_array().into_iter().flatten().flat_map(pods);
    let template =
        ["/spec/template", "/spec/jobTemplate/spec/template"].iter().filter_map(|at| object.pointer(at));
    let itself = (object["kind"] == "Pod").then_some(object);
    itself.into_iter().chain(template).cloned().chain(items).collect()
}

fn documents(path: &PathBuf) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    let all: Vec<Option<Value>> = serde_saphyr::from_multiple_with_options(&text, options).unwrap();
    all.into_iter().flatten().collect()
}

#[tokio::test]
async fn golden_sessions_are_taken_where_restricted_is_enforced() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace_with("golden", &[(LEVEL, "restricted")]).await;
    let client = cluster.client();
    make_runtime_class(&client).await;
    let pods = Api::<Pod>::namespaced(client.clone(), &namespace);
    let files = golden("operator");
    assert!(files.len() >= 10, "{files:?}");
    for (file, path) in files {
        let text = std::fs::read_to_string(&path)
            .unwrap()
            .replace("namespace: desks", &format!("namespace: {namespace}"));
        let mut params = PatchParams::apply("test").dry_run();
        params.field_validation = Some(kube::api::ValidationDirective::Strict);
        let taken = apply::apply_with(&client, &namespace, &text, &params).await;
        let count = taken.unwrap_or_else(|error| panic!("{file}: {error}")).len();
        assert!(count >= 5, "{file}: {count} objects");
        let pod = documents(&path).into_iter().find(|o| o["kind"] == "Pod").unwrap();
        assert_eq!(dry_run(&pods, &pod).await, Ok(()), "{file}");
    }
}

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

#[tokio::test]
async fn examples_and_the_operator_itself_run_where_restricted_is_enforced() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace_with("examples", &[(LEVEL, "restricted")]).await;
    make_runtime_class(&cluster.client()).await;
    let pods = Api::<Pod>::namespaced(cluster.client(), &namespace);
    let settings = settings(&namespace);
    let pairs = [
        (examples::session_alice(), examples::template_software()),
        (examples::session_gpu(), examples::template_gpu()),
    ];
    for (session, template) in pairs {
        let (session, template): (VDISession, VDITemplate) = (read(session), read(template));
        let effective = &validate(&session, Some(&template)).unwrap();
        let plan = Plan::new(&session, UID, &template, effective, &settings);
        let pod = serde_json::to_value(build::pod::pod(&plan)).unwrap();
        assert_eq!(dry_run(&pods, &pod).await, Ok(()), "{pod}");
    }

    let objects = manifests::all(&Values::default());
    let deployment = objects.iter().find(|o| o["kind"] == "Deployment").unwrap();
    let mut pod = deployment["spec"]["template"].clone();
    // Its own is in its own namespace.
    pod["spec"]["serviceAccountName"] = json!("default");
    assert_eq!(dry_run(&pods, &pod).await, Ok(()), "{pod}");
}

/// The strictest level that takes a pod.
async fn strictest(apis: &[Api<Pod>], pod: &Value) -> (usize, String) {
    let mut refusal = String::new();
    for (level, api) in apis.iter().enumerate() {
        match dry_run(api, pod).await {
            Ok(()) => return (level, refusal),
            Err(words) => refusal = words,
        }
    }
    panic!("no level takes {pod}: {refusal}");
}

#[tokio::test]
async fn injection_needs_no_looser_a_level_than_the_pod_alone() {
    let cluster = Cluster::shared().await;
    let mut apis = Vec::new();
    for level in LEVELS {
        let namespace = cluster.namespace_with(level, &[(LEVEL, level)]).await;
        apis.push(Api::<Pod>::namespaced(cluster.client(), &namespace));
    }
    let mut seen = [0; LEVELS.len()];
    for (file, path) in golden("inject") {
        let before: Vec<Value> =
            documents(&path.with_file_name("in").join(&file)).iter().flat_map(pods).collect();
        let after: Vec<Value> = documents(&path).iter().flat_map(pods).collect();
        assert_eq!(before.len(), after.len(), "{file}");
        for (before, after) in before.iter().zip(&after) {
            let (alone, _) = strictest(&apis, before).await;
            let (injected, refusal) = strictest(&apis, after).await;
            assert!(injected <= alone, "{file}: {refusal}");
            seen[alone] += 1;
        }
    }
    assert!(seen.iter().sum::<usize>() >= 15, "{seen:?}");
}
