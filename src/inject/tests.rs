//! Pods before and after, as files to read; refusals with their reasons.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::*;
use crate::golden;

fn how() -> Injection {
    Injection::new("registry.example/deskgate:1")
}

fn inputs() -> Vec<(String, String)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/inject/in");
    let mut inputs: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    inputs.sort();
    inputs
}

#[test]
fn pods_come_out_as_the_files_say() {
    let good: Vec<_> = inputs().into_iter().filter(|(name, _)| name != "refused").collect();
    assert!(good.len() >= 15);
    for (name, text) in good {
        let out = inject_text(&text, &how()).unwrap_or_else(|e| panic!("{name}: {}", e[0]));
        golden::check(&format!("inject/{name}.yaml"), &out);
        assert_eq!(inject_text(&out, &how()).unwrap(), out, "{name}: injecting twice is injecting once");
    }
}

#[test]
fn refusals_name_document_object_and_reason() {
    let (_, text) = inputs().into_iter().find(|(name, _)| name == "refused").unwrap();
    let errors = inject_text(&text, &how()).unwrap_err();
    let all = text.split("---\n").count();
    assert_eq!(errors.len(), all - 1, "all but the last");
    let mut lines = String::new();
    for error in &errors {
        // Of what YAML's parser says, the first line.
        let _ = writeln!(lines, "{}", error.to_string().lines().next().unwrap());
    }
    golden::check("inject/refused.txt", &lines);
}

#[test]
fn every_refusal_has_a_row() {
    let (_, text) = inputs().into_iter().find(|(name, _)| name == "refused").unwrap();
    let kind = |error: &TextError| match &error.error {
        DocumentError::Refused(refusal) => {
            format!("{refusal:?}").split([' ', '(', '{']).next().unwrap().to_owned()
        }
        DocumentError::Malformed { .. } => "Malformed".to_owned(),
        DocumentError::Yaml(_) => "Yaml".to_owned(),
        DocumentError::Patch(_) => "Patch".to_owned(),
    };
    let errors = inject_text(&text, &how()).unwrap_err();
    let seen: BTreeSet<String> = errors.iter().map(kind).collect();
    let known = [
        "Annotation",
        "DisplayElsewhere",
        "HostLoopback",
        "HostNetwork",
        "Malformed",
        "Mirror",
        "NameTaken",
        "NoContainer",
        "NoSuchContainer",
        "PortTaken",
        "SeveralSockets",
        "SharedProcesses",
        "Socket",
        "Windows",
        "Yaml",
    ];
    assert_eq!(seen, known.map(str::to_owned).into());
}

fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": spec})).unwrap()
}

#[test]
fn what_injection_did_is_told() {
    let plain = pod(json!({"containers": [{"name": "desktop"}]}));
    let first = inject(plain, &how()).unwrap();
    assert_eq!(first.change, Change::Injected);
    let again = inject(first.pod.clone(), &how()).unwrap();
    assert_eq!((again.change, &again.pod), (Change::Unchanged, &first.pod));
    let newer = inject(first.pod, &Injection::new("registry.example/deskgate:2")).unwrap();
    assert_eq!(newer.change, Change::Updated);
    let spec = newer.pod.spec.unwrap();
    let init = spec.init_containers.unwrap();
    assert_eq!((init.len(), init[0].image.as_deref()), (1, Some("registry.example/deskgate:2")));
    assert_eq!(spec.volumes.unwrap().len(), 2);
}

#[test]
fn a_secret_that_comes_later_is_taken_up() {
    let first = inject(pod(json!({"containers": [{"name": "desktop"}]})), &how()).unwrap().pod;
    let with = inject(first.clone(), &Injection { secret: Some("links".into()), ..how() }).unwrap().pod;
    let names = |pod: &Pod| -> Vec<String> {
        pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()).map(|v| v.name.clone()).collect()
    };
    assert_eq!(names(&with), ["deskgate-x11", "deskgate-state", "deskgate-token"]);
    assert_eq!(inject(with, &how()).unwrap().pod, first);
}

#[test]
fn nothing_but_what_is_needed_is_touched() {
    let before = json!({
        "terminationGracePeriodSeconds": 5, "hostname": "own", "schedulerName": "other",
        "containers": [
            {"name": "desktop", "image": "x", "volumeMounts": [{"name": "a", "mountPath": "/a"}], "tty": true},
            {"name": "other", "image": "y", "ports": [{"containerPort": 9}]},
        ],
        "volumes": [{"name": "a", "emptyDir": {}}],
    });
    let after = inject(pod(before.clone()), &how()).unwrap().pod;
    let mut after = serde_json::to_value(after.spec).unwrap();
    let object = after.as_object_mut().unwrap();
    object.remove("initContainers").unwrap();
    let ours = |list: &mut Value| {
        list.as_array_mut().unwrap().retain(|v| !v["name"].as_str().unwrap().starts_with("deskgate-"))
    };
    ours(&mut object["volumes"]);
    ours(&mut object["containers"][0]["volumeMounts"]);
    assert_eq!(after, before);
}

#[test]
fn texts_that_are_no_yaml_documents_of_ours_do_no_harm() {
    for text in [
        "",
        "\n",
        "---\n",
        "--- \n...\n",
        "[1, 2]\n",
        "just a text\n",
        "a: 1\n--- # comment\nb: 2\n",
        "null\n",
        "kind: Pod\n",
    ] {
        let out = inject_text(text, &how());
        assert!(out.is_ok() != text.starts_with("kind"), "{text:?}: {out:?}");
    }
    // A kind of the same name in another group is somebody else's.
    let job = "apiVersion: batch.volcano.sh/v1alpha1\nkind: Job\nspec: {template: {}}\n";
    assert_eq!(inject_text(job, &how()).unwrap(), job);
    assert_eq!(inject_text("a: 1\n---\nb: 2", &how()).unwrap(), "a: 1\n---\nb: 2\n");
    assert_eq!(inject_text("a: 1\r\n---\r\nb: 2\r\n", &how()).unwrap(), "a: 1\r\n---\nb: 2\r\n");
}
