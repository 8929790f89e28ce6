//! Whose turn it is: quotas and homes hold for sessions that are made together, and for what runs rather than for what
//! is written down by now.

use deskgate::crd::VDISession;
use futures_util::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{Desks, found, settings};
use crate::rig::wait::{DEADLINE, wait_gone, wait_until};

fn homeless() -> Value {
    json!({"persistence": {"enabled": false}})
}

/// Waits until each of a user's sessions has its desktop, or is told for whom it waits; then one alone has a desktop.
async fn one_of_each_user_runs(desks: &Desks, sessions: usize, told: &str) {
    let is_settled = |session: &VDISession| {
        let holds = |condition: &str, reason: &str| {
            found(session, condition).is_some_and(|(status, why, _)| {
                if reason.is_empty() { status == "True" } else { why == reason }
            })
        };
        holds("PodReady", "") || holds("Admitted", told) || holds("StorageReady", told)
    };
    wait_until(DEADLINE, "all desktops, or reasons to wait", async || {
        let all = desks.sessions().list(&Default::default()).await.unwrap().items;
        let open: Vec<String> = all.iter().filter(|s| !is_settled(s)).map(ResourceExt::name_any).collect();
        if all.len() == sessions && open.is_empty() { Ok(()) } else { Err(format!("{open:?}")) }
    })
    .await;
    let mut owners: Vec<String> = Vec::new();
    for pod in desks.api::<Pod>().list(&Default::default()).await.unwrap().items {
        owners.push(pod.annotations()[deskgate::operator::names::USER].clone());
    }
    owners.sort();
    let all = owners.clone();
    owners.dedup();
    assert_eq!(all, owners, "a pod for each user");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_holds_for_sessions_that_are_made_at_once() {
    let desks = Desks::new("rush").await;
    desks.make_template(homeless()).await;
    let mut settings = settings(&desks.namespace);
    settings.quotas.sessions_per_user = Some(1);
    let _operator = desks.operator_with(settings).await;
    for user in ["ann", "ben", "cleo", "dan", "eve"] {
        let desks = &desks;
        join_all((0..10).map(|n| async move {
            desks.make_session(&format!("{user}-{n}"), json!({"user": user})).await;
        }))
        .await;
    }
    one_of_each_user_runs(&desks, 50, "SessionQuotaExceeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_is_in_one_session_though_two_are_made_at_once() {
    let desks = Desks::new("twins").await;
    desks.make_template(json!({})).await;
    let _operator = desks.operator().await;
    for user in 0..20 {
        // As `kubectl apply` of one file with two documents does it.
        for n in 0..2 {
            desks.make_session(&format!("user-{user}-{n}"), json!({"user": format!("user-{user}")})).await;
        }
    }
    one_of_each_user_runs(&desks, 40, "HomeInUse").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desktop_without_a_home_waits_for_nobodys() {
    let desks = Desks::new("passing").await;
    desks.make_template(json!({})).await;
    let _operator = desks.operator().await;
    desks.make_session("kept", json!({})).await;
    desks.holds("kept", "PodReady").await;
    desks.make_session("passing", homeless()).await;
    desks.holds("passing", "PodReady").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gpu_quota_counts_what_runs_and_not_what_the_spec_says_by_now() {
    let desks = Desks::new("gpu-quota").await;
    desks.make_template(homeless()).await;
    let mut settings = settings(&desks.namespace);
    settings.quotas.gpu_per_user = Some(1);
    let _operator = desks.operator_with(settings).await;
    desks.make_session("first", json!({"resources": {"gpu": 1}})).await;
    desks.holds("first", "PodReady").await;
    // Its pod keeps the slice: a live pod is not touched by a change of its spec.
    desks.patch_session("first", json!({"spec": {"resources": {"gpu": 0}}})).await;
    desks.reason("first", "UpToDate", "RestartRequired").await;
    desks.make_session("second", json!({"resources": {"gpu": 1}})).await;
    desks.reason("second", "Admitted", "GpuQuotaExceeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_runs_counts_though_its_spec_is_refused_by_now() {
    let desks = Desks::new("unfit").await;
    let mut template = homeless();
    template["overrides"] = json!({"maxTimeout": "1h"});
    template["timeout"] = json!("1h");
    desks.make_template(template).await;
    let mut settings = settings(&desks.namespace);
    settings.quotas.sessions_per_user = Some(1);
    let _operator = desks.operator_with(settings).await;
    desks.make_session("first", json!({})).await;
    desks.holds("first", "PodReady").await;
    desks.patch_session("first", json!({"spec": {"timeout": 0}})).await;
    desks.reason("first", "TemplateResolved", "LimitExceeded").await;
    desks.make_session("second", json!({})).await;
    desks.reason("second", "Admitted", "SessionQuotaExceeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_stays_held_by_a_pod_whose_session_is_gone() {
    let desks = Desks::new("ghost").await;
    desks.make_template(json!({})).await;
    let _operator = desks.operator().await;
    desks.make_session("old", json!({})).await;
    desks.holds("old", "PodReady").await;
    // As on a node that is lost: the pod may still run, and the finalizer goes all the same.
    desks.kubelet.acknowledge_deletions(false);
    desks.delete_session("old").await;
    wait_gone(&desks.sessions(), "old").await;
    assert_eq!(desks.names::<Pod>().await, ["vdi-old"]);
    desks.make_session("new", json!({})).await;
    let message = desks.reason("new", "StorageReady", "HomeInUse").await;
    assert!(message.contains("whose pod vdi-old is still there"), "{message}");
    desks.kubelet.acknowledge_deletions(true);
    desks.holds("new", "PodReady").await;
}
