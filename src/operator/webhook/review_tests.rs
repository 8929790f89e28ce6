//! PURE. Reviews as an API server sends them.

use serde_json::{Value, json};

use super::*;
use crate::inject::{CONTAINER, INJECTED};

fn how() -> Injection {
    Injection::new("registry.example/deskgate:1")
}

/// A pod as the API server has it when it asks: with its defaults, quantities as texts, no name yet.
fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "generateName": "xterm-7d4b9c-", "namespace": "desks", "creationTimestamp": null,
            "labels": {"app": "xterm", "pod-template-hash": "7d4b9c", "vdi.kasm.io/inject": "true"},
            "annotations": {"vdi.kasm.io/secret": "xterm-token"},
            "managedFields": [{"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1",
                "time": "2026-01-02T03:04:05Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {}}}],
        },
        "spec": {
            "volumes": [{"name": "kube-api-access-x7k2p", "projected": {"defaultMode": 420, "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}]}}],
            "containers": [{
                "name": "xterm", "image": "registry.example/xterm:1", "imagePullPolicy": "IfNotPresent",
                "env": [{"name": "DISPLAY", "value": ":1"}],
                "resources": {"limits": {"cpu": "2", "memory": "1Gi"}},
                "volumeMounts": [{"name": "kube-api-access-x7k2p", "readOnly": true,
                    "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                "aFieldOfANewerKubernetes": {"kept": true},
            }],
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
            "serviceAccountName": "default", "serviceAccount": "default", "securityContext": {},
            "schedulerName": "default-scheduler", "priority": 0, "enableServiceLinks": true,
            "preemptionPolicy": "PreemptLowerPriority",
        },
        "status": {},
    })
}

fn request(pod: &Value) -> Value {
    json!({
        "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
            "requestResource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": "desks", "operation": "CREATE",
            "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller",
                "uid": "b1", "groups": ["system:serviceaccounts", "system:authenticated"]},
            "object": pod, "oldObject": null, "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    })
}

fn asked(request: &Value) -> (AdmissionResponse, Verdict) {
    let (review, verdict) = review(request.to_string().as_bytes(), &how()).unwrap();
    assert_eq!(review.types.api_version, "admission.k8s.io/v1");
    let response = review.response.unwrap();
    assert_eq!(response.uid, request["request"]["uid"].as_str().unwrap());
    (response, verdict)
}

/// The pod as the API server has it after the answer.
fn patched(pod: &Value, response: &AdmissionResponse) -> Value {
    let patch: Patch = serde_json::from_slice(response.patch.as_ref().expect("a patch")).unwrap();
    let mut pod = pod.clone();
    json_patch::patch(&mut pod, &patch).unwrap();
    pod
}

#[test]
fn a_labelled_pod_gets_the_sidecar_and_keeps_everything_else() {
    let (response, verdict) = asked(&request(&pod()));
    assert!(response.allowed && verdict == Verdict::Injected);
    let new = patched(&pod(), &response);
    let sidecar = &new["spec"]["initContainers"][0];
    assert_eq!(
        (sidecar["name"].as_str(), sidecar["restartPolicy"].as_str()),
        (Some(CONTAINER), Some("Always"))
    );
    assert_eq!(sidecar["image"], "registry.example/deskgate:1");
    assert!(new["spec"]["volumes"].to_string().contains("xterm-token"));
    assert_eq!(new["metadata"]["annotations"][INJECTED], "xterm");
    assert_eq!(new["spec"]["containers"][0]["aFieldOfANewerKubernetes"], json!({"kept": true}));
    assert_eq!(new["metadata"]["managedFields"], pod()["metadata"]["managedFields"]);
    assert_eq!(response.warnings, None);
}

#[test]
fn without_a_secret_it_listens_on_loopback_and_says_so() {
    let mut pod = pod();
    pod["metadata"].as_object_mut().unwrap().remove("annotations");
    let (response, _) = asked(&request(&pod));
    let sidecar = patched(&pod, &response)["spec"]["initContainers"][0].to_string();
    assert!(sidecar.contains("127.0.0.1") && !sidecar.contains("token-secret"), "{sidecar}");
    assert!(response.warnings.unwrap()[0].contains("vdi.kasm.io/secret"));
}

#[test]
fn asked_again_about_its_own_work_it_changes_nothing() {
    let (response, _) = asked(&request(&pod()));
    let (again, verdict) = asked(&request(&patched(&pod(), &response)));
    assert!(again.allowed && again.patch.is_none() && verdict == Verdict::Unchanged);
}

#[test]
fn asked_again_after_another_webhook_it_fits_the_sidecar_to_that() {
    let (response, _) = asked(&request(&pod()));
    let mut pod = patched(&pod(), &response);
    pod["metadata"]["annotations"]["vdi.kasm.io/port"] = json!("9090");
    let (again, verdict) = asked(&request(&pod));
    assert_eq!(verdict, Verdict::Injected);
    let new = patched(&pod, &again);
    assert_eq!(new["spec"]["initContainers"].as_array().unwrap().len(), 1);
    assert_eq!(new["spec"]["initContainers"][0]["ports"][0]["containerPort"], 9090);
}

#[test]
fn what_makes_no_sense_is_refused_with_the_reason() {
    let mut pod = pod();
    pod["spec"]["hostNetwork"] = json!(true);
    let (response, verdict) = asked(&request(&pod));
    assert!(!response.allowed && response.patch.is_none() && verdict == Verdict::Refused);
    assert_eq!((response.result.code, response.result.reason.as_str()), (403, "Forbidden"));
    assert_eq!(response.result.message, inject::Refusal::HostNetwork.to_string());
}

#[test]
fn a_pod_that_cannot_be_read_is_a_bad_request() {
    let mut pod = pod();
    pod["spec"]["containers"] = json!("none");
    let (response, _) = asked(&request(&pod));
    assert!(!response.allowed);
    assert_eq!((response.result.code, response.result.reason.as_str()), (400, "BadRequest"));
    assert!(response.result.message.contains("this is no Pod"), "{}", response.result.message);
}

#[test]
fn what_is_none_of_its_business_is_allowed_as_it_is() {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut request = request(&pod());
        change(&mut request["request"]);
        request
    };
    let label = |value: Value| {
        with(&move |r| r["object"]["metadata"]["labels"]["vdi.kasm.io/inject"] = value.clone())
    };
    for request in [
        label(json!("false")),
        label(json!("")),
        with(&|r| drop(r["object"]["metadata"].as_object_mut().unwrap().remove("labels"))),
        with(&|r| r["operation"] = json!("UPDATE")),
        with(&|r| (r["operation"], r["object"]) = (json!("DELETE"), Value::Null)),
        with(&|r| (r["operation"], r["subResource"]) = (json!("CREATE"), json!("eviction"))),
        with(&|r| r["kind"] = json!({"group": "apps", "version": "v1", "kind": "Deployment"})),
        with(&|r| r["kind"] = json!({"group": "", "version": "v1", "kind": "PodTemplate"})),
    ] {
        let (response, verdict) = asked(&request);
        assert!(response.allowed && response.patch.is_none() && verdict == Verdict::Unchanged, "{request}");
    }
}

#[test]
fn what_is_no_review_is_an_error_and_no_panic() {
    let mut older = request(&pod());
    older["apiVersion"] = json!("admission.k8s.io/v1beta1");
    let mut answer = request(&pod());
    answer.as_object_mut().unwrap().remove("request");
    let mut nobody = request(&pod());
    nobody["request"].as_object_mut().unwrap().remove("uid");
    let mut labels = request(&pod());
    labels["request"]["object"]["metadata"]["labels"] = json!([1]);
    for text in [older, answer, nobody, labels, json!([]), json!(null), json!({})] {
        let error = review(text.to_string().as_bytes(), &how()).unwrap_err();
        assert!(error.to_string().contains("AdmissionReview"), "{error}");
    }
    let whole = request(&pod()).to_string();
    for end in 0..whole.len() {
        assert!(review(&whole.as_bytes()[..end], &how()).is_err(), "{end}");
    }
    assert!(review(&[0xff; 64], &how()).is_err());
    let deep = format!("{{\"request\":{}1", "[".repeat(100_000));
    assert!(review(deep.as_bytes(), &how()).is_err());
}
