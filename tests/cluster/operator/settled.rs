//! A settled operator writes nothing.

use std::collections::BTreeMap;

use deskgate::crd::Phase;
use serde_json::json;

use super::life::serve_for_real;
use super::{Desks, Operator, settings};
use crate::rig::wait::{DEADLINE, wait_until};

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
    let writes = |mark| {
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
    };
    // Several looks at the gateway pass: the metric counts reconciles.
    let looks = async |operator: &Operator, more: u32| {
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
    };
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
