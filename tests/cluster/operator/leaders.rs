//! Two replicas as processes: one acts, both serve; one that fell silent and comes back does no harm.

use deskgate::crd::Phase;
use deskgate::manifests::NAME;
use deskgate::operator::lease::LEASE;
use deskgate::operator::{names, traefik::IngressRoute};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::api::DeleteParams;
use rustix::process::Signal;
use serde_json::json;

use super::crashes::OnePod;
use super::life::ask;
use super::{Desks, Operator, settings};
use crate::rig::deskgate::Deskgate;
use crate::rig::wait::{DEADLINE, wait_for, wait_until};

const LEADS: &str = "this replica leads";

async fn replica(desks: &Desks) -> Deskgate {
    let kubeconfig = desks.cluster.service_account_kubeconfig(&desks.namespace, NAME).await;
    let mut replica = Deskgate::operator(&desks.namespace, &kubeconfig, &[]);
    replica.wait_for_log("the operator runs").await;
    replica
}

/// An address that a replica says it listens on.
fn address(replica: &Deskgate, what: &str) -> String {
    let log = replica.log();
    let rest = log.split_once(&format!("{what}=\"")).expect("an address in the log").1;
    rest.split_once('"').unwrap().0.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_falls_silent_and_comes_back_does_no_harm() {
    let desks = Desks::new("leaders").await;
    desks.make_template(json!({"persistence": {"enabled": false}})).await;
    desks.account().await;
    let one_pod = OnePod::watch(&desks);
    let mut first = replica(&desks).await;
    first.wait_for_log(LEADS).await;
    let second = replica(&desks).await;
    desks.make_session("before", json!({})).await;
    desks.holds("before", "RouteReady").await;
    let uids = async || {
        let pod = desks.api::<Pod>().get("vdi-before").await.unwrap().uid();
        let service = desks.api::<Service>().get("vdi-before").await.unwrap().uid();
        (pod, service, desks.api::<IngressRoute>().get("vdi-before").await.unwrap().uid())
    };
    let before = uids().await;

    // The follower is ready, and serves the page.
    let health = format!("http://{}/readyz", address(&second, "health"));
    wait_until(DEADLINE, "a ready follower", async || {
        let (code, text) = ask("GET", &health, "x", &[]).await;
        if code == 200 { Ok(()) } else { Err(text) }
    })
    .await;
    let host = names::host(&desks.namespace, "before", "vdi.example.com");
    let page = format!("http://{}/", address(&second, "entry"));
    assert_eq!(ask("GET", &page, &host, &[]).await.0, 503);
    assert!(!second.log().contains(LEADS));

    first.signal(Signal::STOP);
    let mut second = second;
    second.wait_for_log(LEADS).await;
    desks.make_session("meanwhile", json!({"user": "bob"})).await;
    desks.holds("meanwhile", "RouteReady").await;
    first.signal(Signal::CONT);
    first.wait_for_log("this replica follows").await;
    desks.patch_session("meanwhile", json!({"spec": {"state": "Suspended"}})).await;
    desks.phase("meanwhile", Phase::Suspended).await;
    desks.make_session("after", json!({"user": "carol"})).await;
    desks.holds("after", "RouteReady").await;
    assert_eq!(uids().await, before, "nothing was made anew");

    // A leader that is asked to stop hands over at once.
    second.signal(Signal::TERM);
    wait_until(DEADLINE, "two turns of the first", async || {
        let turns = first.log().matches(LEADS).count();
        if turns >= 2 { Ok(()) } else { Err(format!("{turns}")) }
    })
    .await;
    wait_until(DEADLINE, "the end of the second", || {
        let ended = second.exit().ok_or_else(|| "it runs".to_owned());
        std::future::ready(ended.map(|status| assert!(status.success(), "{status}")))
    })
    .await;
    drop(one_pod);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_was_deleted_is_made_anew_and_somebody_leads() {
    let desks = Desks::new("lease").await;
    desks.make_template(json!({"persistence": {"enabled": false}})).await;
    let account = desks.account().await;
    let start = async |name| Operator::start(account.clone(), settings(&desks.namespace), name).await;
    let first = start("first").await;
    desks.make_session("before", json!({})).await;
    desks.holds("before", "PodReady").await;
    let _second = start("second").await;
    let leases = desks.api::<Lease>();
    leases.delete(LEASE, &DeleteParams::default()).await.unwrap();
    let is_held = |lease: &Lease| lease.spec.as_ref().is_some_and(|s| s.holder_identity.is_some());
    wait_for(&leases, LEASE, "a holder", is_held).await;
    desks.make_session("between", json!({"user": "bob"})).await;
    desks.holds("between", "PodReady").await;
    drop(first);
    desks.make_session("after", json!({"user": "carol"})).await;
    desks.holds("after", "PodReady").await;
}
