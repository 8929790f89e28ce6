//! What can go wrong on the way: each is a condition that names its cause, and heals without a restart.

use deskgate::crd::Phase;
use deskgate::operator::names;
use k8s_openapi::api::core::v1::{Event, Namespace, PersistentVolumeClaim, Pod, ResourceQuota, Service};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::{Desks, found, settings};
use crate::rig::kubelet::PodState;
use crate::rig::wait::{wait_for, wait_gone};

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_template_is_waited_for_and_a_bad_session_is_not() {
    let desks = Desks::new("template").await;
    let _operator = desks.operator().await;
    desks.make_session("desk", json!({})).await;
    let message = desks.reason("desk", "TemplateResolved", "TemplateMissing").await;
    assert!(message.contains(&desks.template), "{message}");
    desks.phase("desk", Phase::Pending).await;
    assert_eq!(desks.names::<Pod>().await, Vec::<String>::new());
    desks.make_template(json!({"overrides": {"maxGpu": 0}})).await;
    desks.holds("desk", "PodReady").await;

    desks.make_session("greedy", json!({"user": "bob", "resources": {"gpu": 1}})).await;
    let message = desks.reason("greedy", "TemplateResolved", "LimitExceeded").await;
    assert!(message.contains("gpu"), "{message}");
    desks.phase("greedy", Phase::Failed).await;
    desks.make_template(json!({"overrides": {"maxGpu": 1}})).await;
    desks.holds("greedy", "PodReady").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_home_is_waited_for_and_never_taken_from_others() {
    let desks = Desks::new("home").await;
    desks.make_template(json!({})).await;
    desks.kubelet.bind_claims(false);
    let _operator = desks.operator().await;
    desks.make_session("desk", json!({})).await;
    desks.reason("desk", "StorageReady", "ProvisioningPending").await;
    desks.kubelet.bind_claims(true);
    desks.holds("desk", "StorageReady").await;

    // A claim of carol's home's name that is somebody else's.
    let name = names::home("carol", &desks.template);
    let claim: PersistentVolumeClaim = serde_json::from_value(json!({
        "metadata": {"name": name, "annotations": {names::USER: "mallory", names::TEMPLATE: desks.template}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }))
    .unwrap();
    let claims = desks.api::<PersistentVolumeClaim>();
    claims.create(&PostParams::default(), &claim).await.unwrap();
    desks.make_session("carols", json!({"user": "carol"})).await;
    let message = desks.reason("carols", "StorageReady", "HomeForeign").await;
    assert!(message.contains("mallory"), "{message}");
    desks.phase("carols", Phase::Pending).await;
    claims.delete(&name, &DeleteParams::default()).await.unwrap();
    desks.holds("carols", "PodReady").await;
    let home = claims.get(&name).await.unwrap();
    assert_eq!(home.annotations()[names::USER], "carol");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_the_childs_name_is_left_alone() {
    let desks = Desks::new("taken").await;
    desks.make_template(json!({})).await;
    let foreign: Service = serde_json::from_value(json!({
        "metadata": {"name": "vdi-desk"}, "spec": {"ports": [{"port": 1}]},
    }))
    .unwrap();
    let services = desks.api::<Service>();
    let before = services.create(&PostParams::default(), &foreign).await.unwrap();
    let _operator = desks.operator().await;
    desks.make_session("desk", json!({})).await;
    let message = desks.reason("desk", "PodReady", "NameTaken").await;
    assert!(message.contains("vdi-desk"), "{message}");
    assert_eq!(services.get("vdi-desk").await.unwrap().resource_version(), before.resource_version());
    assert_eq!(desks.names::<Pod>().await, Vec::<String>::new());
    services.delete("vdi-desk", &DeleteParams::default()).await.unwrap();
    desks.holds("desk", "PodReady").await;
    assert_ne!(services.get("vdi-desk").await.unwrap().uid(), before.uid());

    // The deletion of a session takes nothing of others with it.
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "vdi-other"}, "spec": {"containers": [{"name": "a", "image": "a"}]},
    }))
    .unwrap();
    desks.api::<Pod>().create(&PostParams::default(), &pod).await.unwrap();
    desks.make_session("other", json!({"user": "bob"})).await;
    desks.reason("other", "PodReady", "NameTaken").await;
    desks.delete_session("other").await;
    wait_gone(&desks.sessions(), "other").await;
    assert!(desks.names::<Pod>().await.contains(&"vdi-other".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_scheduler_and_kubelet_say_is_the_reason() {
    let desks = Desks::new("pods").await;
    desks.make_template(json!({})).await;
    desks.kubelet.behave(PodState::no_gpu());
    let _operator = desks.operator().await;
    desks.make_session("desk", json!({"resources": {"gpu": 1}})).await;
    let message = desks.reason("desk", "PodScheduled", "InsufficientGpu").await;
    assert!(message.contains("nvidia.com/gpu"), "{message}");
    desks.phase("desk", Phase::Pending).await;
    desks.kubelet.behave(PodState::image_pull_back_off("desktop"));
    desks.reason("desk", "PodReady", "ImagePullBackOff").await;
    desks.kubelet.behave(PodState::crash_loop("desktop"));
    desks.reason("desk", "PodReady", "CrashLoopBackOff").await;
    desks.kubelet.behave(PodState::oom_killed("desktop"));
    desks.reason("desk", "PodReady", "OOMKilled").await;
    desks.kubelet.behave(PodState::FailedMount("MountVolume.SetUp failed for volume \"home\"".to_owned()));
    let message = desks.reason("desk", "PodReady", "FailedMount").await;
    assert!(message.contains("home"), "{message}");
    desks.kubelet.behave(PodState::Ready);
    desks.holds("desk", "PodReady").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_pods_are_replaced_until_there_were_too_many() {
    let desks = Desks::new("evicted").await;
    desks.make_template(json!({})).await;
    let _operator = desks.operator().await;
    desks.make_session("desk", json!({})).await;
    desks.holds("desk", "PodReady").await;
    let pod = desks.api::<Pod>().get("vdi-desk").await.unwrap();
    desks.kubelet.behave(PodState::evicted());
    desks.reason("desk", "PodReady", "ReplacementBackOff").await;
    desks.kubelet.behave(PodState::Ready);
    let session = desks.holds("desk", "PodReady").await;
    assert!(session.status.unwrap().replacements.is_some_and(|n| n >= 1));
    assert_ne!(desks.api::<Pod>().get("vdi-desk").await.unwrap().uid(), pod.uid());
    desks.kubelet.behave(PodState::evicted());
    desks.reason("desk", "PodReady", "ReplacementsExhausted").await;
    desks.phase("desk", Phase::Failed).await;
    // The last one stays to be looked at, until a restart names it.
    let last = desks.api::<Pod>().get("vdi-desk").await.unwrap();
    desks.kubelet.behave(PodState::Ready);
    desks.patch_session("desk", json!({"metadata": {"annotations": {names::RESTART: last.uid()}}})).await;
    desks.holds("desk", "PodReady").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_node_makes_no_second_pod_and_holds_no_deletion() {
    let desks = Desks::new("lost").await;
    desks.make_template(json!({})).await;
    let _operator = desks.operator().await;
    desks.make_session("desk", json!({})).await;
    desks.holds("desk", "PodReady").await;
    let pod = desks.api::<Pod>().get("vdi-desk").await.unwrap();
    desks.kubelet.lose_node().await;
    desks.reason("desk", "PodReady", "NodeLost").await;
    desks.patch_session("desk", json!({"metadata": {"annotations": {names::RESTART: pod.uid()}}})).await;
    let leaving = |p: &Pod| p.metadata.deletion_timestamp.is_some();
    let there = wait_for(&desks.api::<Pod>(), "vdi-desk", "a deletion", leaving).await;
    assert_eq!(there.uid(), pod.uid());
    desks.reason("desk", "PodReady", "NodeLost").await;
    assert_eq!(desks.names::<Pod>().await, ["vdi-desk"]);
    desks.kubelet.recover_node().await;
    let another = |p: &Pod| p.uid() != pod.uid();
    wait_for(&desks.api::<Pod>(), "vdi-desk", "another pod", another).await;
    desks.holds("desk", "PodReady").await;
    desks.kubelet.lose_node().await;
    desks.delete_session("desk").await;
    wait_gone(&desks.sessions(), "desk").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_of_a_pod_has_its_own_cause() {
    let restricted = [("pod-security.kubernetes.io/enforce", "restricted")];
    let desks = Desks::with_labels("refused", &restricted).await;
    let quota: ResourceQuota = serde_json::from_value(json!({
        "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}},
    }))
    .unwrap();
    let quotas = desks.api::<ResourceQuota>();
    quotas.create(&PostParams::default(), &quota).await.unwrap();
    let counted = |q: &ResourceQuota| q.status.as_ref().and_then(|s| s.hard.as_ref()).is_some();
    wait_for(&quotas, "none", "hard limits in its status", counted).await;
    desks.make_template(json!({})).await;
    let _operator = desks.operator().await;
    desks.make_session("desk", json!({})).await;
    let message = desks.reason("desk", "PodReady", "ResourceQuotaExceeded").await;
    assert!(message.contains("exceeded quota: none"), "{message}");
    quotas.delete("none", &DeleteParams::default()).await.unwrap();
    desks.holds("desk", "PodReady").await;
    desks.delete_session("desk").await;
    wait_gone(&desks.sessions(), "desk").await;

    desks.make_template(json!({"securityContext": {"privileged": true}})).await;
    desks.make_session("root", json!({"user": "bob"})).await;
    let message = desks.reason("root", "PodReady", "PodSecurityViolation").await;
    assert!(message.contains("privileged"), "{message}");
    let namespaces = Api::<Namespace>::all(desks.client.clone());
    let lift = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}});
    namespaces.patch(&desks.namespace, &PatchParams::default(), &Patch::Merge(&lift)).await.unwrap();
    desks.holds("root", "PodReady").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_let_the_oldest_in_and_name_the_holders() {
    let desks = Desks::new("quota").await;
    desks.make_template(json!({})).await;
    let mut settings = settings(&desks.namespace);
    settings.quotas.sessions_per_user = Some(1);
    let _operator = desks.operator_with(settings).await;
    let no_home = json!({"persistence": {"enabled": false}});
    desks.make_session("first", no_home.clone()).await;
    desks.holds("first", "PodReady").await;
    // A second apart: the API server's creation times have whole seconds.
    desks.make_session("second", no_home).await;
    let message = desks.reason("second", "Admitted", "SessionQuotaExceeded").await;
    assert!(message.contains(&format!("{}/first", desks.namespace)), "{message}");
    desks.phase("second", Phase::Pending).await;
    desks.patch_session("first", json!({"spec": {"state": "Suspended"}})).await;
    desks.holds("second", "PodReady").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_edited_or_deleted_is_brought_back() {
    let desks = Desks::new("drift").await;
    desks.make_template(json!({})).await;
    let _operator = desks.operator().await;
    desks.make_session("desk", json!({})).await;
    desks.holds("desk", "RouteReady").await;
    let routes = desks.api::<deskgate::operator::traefik::IngressRoute>();
    let route = routes.get("vdi-desk").await.unwrap();
    routes.delete("vdi-desk", &DeleteParams::default()).await.unwrap();
    wait_for(&routes, "vdi-desk", "another route", |r| r.uid() != route.uid()).await;
    let services = desks.api::<Service>();
    let edit = json!({"spec": {"ports": [{"name": "http", "port": 1234, "targetPort": 8080}]}});
    services.patch("vdi-desk", &PatchParams::default(), &Patch::Merge(&edit)).await.unwrap();
    let port = |s: &Service| s.spec.as_ref().unwrap().ports.as_ref().unwrap()[0].port == 8080;
    wait_for(&services, "vdi-desk", "its port", port).await;
    desks.api::<Pod>().delete("vdi-desk", &DeleteParams::default()).await.unwrap();
    let alive = |p: &Pod| p.metadata.deletion_timestamp.is_none();
    wait_for(&desks.api::<Pod>(), "vdi-desk", "a live pod", alive).await;
    desks.holds("desk", "PodReady").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_made_anew_under_the_old_name_gets_its_own_children() {
    let desks = Desks::new("again").await;
    desks.make_template(json!({})).await;
    let operator = desks.operator().await;
    desks.make_session("desk", json!({})).await;
    let first = desks.holds("desk", "PodReady").await;
    drop(operator);
    // While no operator runs: the old session goes without its finalizer, and a new one takes the name.
    desks.patch_session("desk", json!({"metadata": {"finalizers": null}})).await;
    desks.delete_session("desk").await;
    wait_gone(&desks.sessions(), "desk").await;
    let second = desks.make_session("desk", json!({})).await;
    assert_ne!(first.uid(), second.uid());
    let _operator = desks.operator().await;
    desks.holds("desk", "PodReady").await;
    let pod = desks.api::<Pod>().get("vdi-desk").await.unwrap();
    assert_eq!(pod.owner_references()[0].uid, second.uid().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_conditions_are_kept() {
    let desks = Desks::new("foreign").await;
    desks.make_template(json!({})).await;
    let _operator = desks.operator().await;
    desks.make_session("desk", json!({})).await;
    desks.holds("desk", "PodReady").await;
    let status = json!({
        "apiVersion": "vdi.kasm.io/v1alpha1", "kind": "VDISession",
        "status": {"conditions": [{
            "type": "example.com/Billed", "status": "True", "reason": "Paid", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]},
    });
    let params = PatchParams::apply("billing");
    desks.sessions().patch_status("desk", &params, &Patch::Apply(&status)).await.unwrap();
    desks.patch_session("desk", json!({"spec": {"state": "Suspended"}})).await;
    let session = desks.phase("desk", Phase::Suspended).await;
    assert_eq!(found(&session, "example.com/Billed").unwrap().1, "Paid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_is_made_again_where_no_volume_for_one_pod_alone_can_be_made() {
    let desks = Desks::new("modes").await;
    desks.kubelet.bind_claims(false);
    // Without its volume a pod gets no node.
    let unbound = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.";
    desks.kubelet.behave(PodState::Unschedulable(unbound.to_owned()));
    desks.make_template(json!({})).await;
    let _operator = desks.operator().await;
    desks.make_session("desk", json!({})).await;
    let claims = desks.api::<PersistentVolumeClaim>();
    let modes = |claim: &PersistentVolumeClaim| claim.spec.as_ref().unwrap().access_modes.clone().unwrap();
    let first = wait_for(&claims, &desks.home(), "a claim", |_| true).await;
    assert_eq!(modes(&first), ["ReadWriteOncePod"]);
    // What rancher.io/local-path said of such a claim before its version 0.0.25.
    let refusal = serde_json::from_value(json!({
        "metadata": {"name": "refused"},
        "involvedObject": {
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "namespace": desks.namespace, "name": desks.home(), "uid": first.uid(),
        },
        "type": "Warning", "reason": "ProvisioningFailed",
        "message": "failed to provision volume with StorageClass \"local-path\": Only support ReadWriteOnce access mode",
    }))
    .unwrap();
    desks.api::<Event>().create(&PostParams::default(), &refusal).await.unwrap();
    let second = wait_for(&claims, &desks.home(), "another claim", |c| c.uid() != first.uid()).await;
    assert_eq!(modes(&second), ["ReadWriteOnce"]);
    desks.kubelet.bind_claims(true);
    desks.kubelet.behave(PodState::Ready);
    desks.holds("desk", "StorageReady").await;
    desks.holds("desk", "PodReady").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_quota_does_not_hold_a_home() {
    let desks = Desks::new("quota-home").await;
    desks.make_template(json!({})).await;
    let mut settings = settings(&desks.namespace);
    settings.quotas.gpu_per_user = Some(1);
    let _operator = desks.operator_with(settings).await;
    desks.make_session("large", json!({"resources": {"gpu": 2}})).await;
    desks.reason("large", "Admitted", "GpuQuotaExceeded").await;
    // Younger, of the same home.
    desks.make_session("small", json!({})).await;
    desks.holds("small", "PodReady").await;
}
