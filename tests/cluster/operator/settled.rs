//! A settled operator writes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use deskgate::crd::Phase;
use http::Method;
use serde_json::json;

use super::life::serve_for_real;
use super::{Desks, Operator, settings};
use crate::rig::audit::AuditMark;
use crate::rig::bent::{Bend, bent, is_call};
use crate::rig::wait::{DEADLINE, wait_until};

/// What was written in a namespace, leases aside.
fn writes(desks: &Desks, mark: AuditMark) -> BTreeMap<String, u32> {
    let events = desks.cluster.audit_events(mark, |e| {
        e.is_write()
            && e.object_ref.namespace == desks.namespace
            && e.object_ref.resource != "leases"
            && e.user_agent.is_empty() | !e.user_agent.contains("kube-controller-manager")
    });
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for event in events {
        *counts.entry(format!("{} {}", event.verb, event.object_ref.resource)).or_default() += 1;
    }
    counts
}

/// Waits for so many more looks at sessions: the metric counts them.
async fn looks(operator: &Operator, more: u32) {
    let url = format!("http://{}/metrics", operator.health);
    let count = async || {
        let text = super::life::ask("GET", &url, "x", &[]).await.1;
        let line = text.lines().find(|l| l.starts_with("vdi_reconcile_duration_seconds_count")).unwrap();
        line.rsplit(' ').next().unwrap().parse::<u32>().unwrap()
    };
    let before = count().await;
    wait_until(DEADLINE, "reconciles", async || {
        let now = count().await;
        if now >= before + more { Ok(()) } else { Err(format!("{now}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settled_session_causes_no_writes_and_a_restart_none_either() {
    let desks = Desks::new("settled").await;
    desks.make_template(json!({})).await;
    serve_for_real(&desks);
    let account = desks.account().await;
    let start = async || Operator::start(account.clone(), settings(&desks.namespace), "replica-1").await;
    let operator = start().await;
    desks.make_session("desk", json!({})).await;
    desks.phase("desk", Phase::Running).await;
    let writes = |mark| writes(&desks, mark);
    looks(&operator, 2).await;
    let mark = desks.cluster.audit_mark();
    looks(&operator, 4).await;
    assert_eq!(writes(mark), BTreeMap::new());
    drop(operator);
    let mark = desks.cluster.audit_mark();
    let operator = start().await;
    looks(&operator, 3).await;
    assert_eq!(writes(mark), BTreeMap::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_kind_of_routes_that_is_listed_first_does_not_speak_for_the_other() {
    let desks = Desks::new("slowlist").await;
    desks.make_template(json!({})).await;
    serve_for_real(&desks);
    let operator = Operator::start(desks.client.clone(), settings(&desks.namespace), "replica-1").await;
    desks.make_session("desk", json!({})).await;
    desks.phase("desk", Phase::Running).await;
    looks(&operator, 2).await;
    drop(operator);
    let slow = bent(desks.client.clone(), |request| {
        let is_list = is_call(request, &Method::GET, "ingressroutes");
        if is_list { Bend::Delay(Duration::from_secs(5)) } else { Bend::Pass }
    });
    let mark = desks.cluster.audit_mark();
    // Under the name that it had: it leads at once.
    let operator = Operator::start(slow, settings(&desks.namespace), "replica-1").await;
    looks(&operator, 3).await;
    assert_eq!(writes(&desks, mark), BTreeMap::new());
}
