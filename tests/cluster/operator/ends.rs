//! What must come to an end does, though calls are refused or never answered.

use deskgate::crd::Phase;
use http::{Method, StatusCode};
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use kube::api::PostParams;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Desks, Operator, settings};
use crate::rig::bent::{Bend, bent, is_call};
use crate::rig::wait::{wait_for, wait_gone};

/// An operator whose deletions of one kind are refused.
async fn forbidden(desks: &Desks, resource: &'static str, message: &'static str) -> Operator {
    let client = bent(desks.client.clone(), move |request| {
        if is_call(request, &Method::DELETE, resource) {
            return Bend::Answer(StatusCode::FORBIDDEN, message.to_owned());
        }
        Bend::Pass
    });
    Operator::start(client, settings(&desks.namespace), "replica-1").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_ends_though_the_home_may_not_be_deleted() {
    let desks = Desks::new("kept-home").await;
    desks.make_template(json!({})).await;
    let words = "admission webhook \"keep.example\" denied the request: claims are kept";
    let _operator = forbidden(&desks, "persistentvolumeclaims", words).await;
    desks.make_session("desk", json!({"persistence": {"reclaim": "Delete"}})).await;
    desks.holds("desk", "PodReady").await;
    desks.delete_session("desk").await;
    wait_gone(&desks.sessions(), "desk").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_ends_though_the_pod_may_not_be_deleted() {
    let desks = Desks::new("kept-pod").await;
    desks.make_template(json!({"persistence": {"enabled": false}})).await;
    let words = "pods \"vdi-desk\" is forbidden: User \"x\" cannot delete resource \"pods\"";
    let _operator = forbidden(&desks, "pods", words).await;
    desks.make_session("desk", json!({})).await;
    desks.holds("desk", "PodReady").await;
    desks.delete_session("desk").await;
    wait_gone(&desks.sessions(), "desk").await;
    // By the garbage collector.
    wait_gone(&desks.api::<Pod>(), "vdi-desk").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_an_answer_is_given_up() {
    let desks = Desks::new("hang").await;
    desks.make_template(json!({"persistence": {"enabled": false}})).await;
    let posts = AtomicU32::new(0);
    let client = bent(desks.client.clone(), move |request| {
        let is_first = is_call(request, &Method::POST, "pods") && posts.fetch_add(1, Ordering::Relaxed) == 0;
        if is_first { Bend::Hang } else { Bend::Pass }
    });
    let _operator = Operator::start(client, settings(&desks.namespace), "replica-1").await;
    desks.make_session("desk", json!({})).await;
    wait_for(&desks.api::<Pod>(), "vdi-desk", "a pod", |_| true).await;
}

/// A template with or without homes, whose sessions end after a while.
fn template(homes: bool) -> Value {
    json!({"persistence": {"enabled": homes}, "timeout": "15s", "timeoutAction": "Suspend"})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_does_not_outlive_its_timeout_because_a_claim_is_refused() {
    let desks = Desks::new("no-claims").await;
    desks.make_template(template(false)).await;
    let quota = json!({"metadata": {"name": "none"}, "spec": {"hard": {"persistentvolumeclaims": "0"}}});
    let quotas = desks.api::<ResourceQuota>();
    quotas.create(&PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();
    let counted = |q: &ResourceQuota| q.status.as_ref().and_then(|s| s.hard.as_ref()).is_some();
    wait_for(&quotas, "none", "hard limits in its status", counted).await;
    let _operator = desks.operator().await;
    desks.make_session("desk", json!({})).await;
    desks.holds("desk", "PodReady").await;
    desks.make_template(template(true)).await;
    // A desktop that lives without a home gets none.
    desks.reason("desk", "UpToDate", "RestartRequired").await;
    assert_eq!(desks.everything().await["claims"], Vec::<String>::new());
    desks.phase("desk", Phase::Suspended).await;
}
