//! `suspend`, `resume`, `restart`, `delete`.

use deskgate::crd::RunState;
use deskgate::operator::names::{FINALIZER, RESTART, SUSPENDED_AT, WAKE_AT};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::stage::{Stage, condition, condition_at, ready};
use crate::rig::wait::wait_gone;

#[tokio::test]
async fn suspend_and_resume_set_the_state_and_lift_every_suspension() {
    let stage = Stage::new("power").await;
    stage.template(json!({})).await;
    stage.session("desk", json!({})).await;
    let said = stage.run(&["resume", "desk"]).await;
    assert!(said.success && said.stdout.contains("is not suspended"), "{said:?}");
    let said = stage.run(&["suspend", "desk"]).await;
    assert!(said.success && said.stdout.contains("suspended"), "{said:?}");
    assert_eq!(stage.get("desk").await.spec.state, Some(RunState::Suspended));
    let said = stage.run(&["suspend", "desk"]).await;
    assert!(said.stdout.contains("already"), "{said:?}");

    let since = Timestamp::now();
    stage.status("desk", json!({"suspendedSince": since.strftime("%FT%TZ").to_string()})).await;
    let mut resumes = stage.start(&["resume", "desk", "--wait"]).await;
    let lifted = || async { stage.annotation("desk", WAKE_AT).await.ok_or("not yet".to_owned()) };
    let wake = crate::rig::wait::wait_until(crate::rig::wait::DEADLINE, "wake request", lifted).await;
    assert!(wake.parse::<Timestamp>().unwrap() > since, "{wake}");
    assert_eq!(stage.get("desk").await.spec.state, None);
    stage.status("desk", ready("desk")).await;
    resumes.tells("ready: https://desk.example/").await;
    assert!(resumes.end().await.success);

    // A wake request that lifted an explicit suspension is in the way of the next one.
    let woken = json!({"spec": {"state": "Suspended"}, "metadata": {"annotations": {WAKE_AT: "2039-01-01T00:00:00Z"}}});
    stage.sessions().patch("desk", &PatchParams::default(), &Patch::Merge(woken)).await.unwrap();
    stage.status("desk", json!({"suspendedSince": "2038-01-01T00:00:00Z"})).await;
    assert!(stage.run(&["suspend", "desk"]).await.stdout.contains("suspended: its pod goes"));
    assert_eq!(stage.annotation("desk", WAKE_AT).await, None);

    let idle =
        json!({"spec": {"state": null}, "metadata": {"annotations": {SUSPENDED_AT: "2040-01-01T00:00:00Z"}}});
    stage.sessions().patch("desk", &PatchParams::default(), &Patch::Merge(idle)).await.unwrap();
    assert!(stage.run(&["resume", "desk"]).await.stdout.contains("resumed"));
    assert_eq!(stage.annotation("desk", WAKE_AT).await.unwrap(), "2040-01-01T00:00:01Z");
}

#[tokio::test]
async fn a_session_without_a_home_is_suspended_only_after_a_question() {
    let stage = Stage::new("homeless").await;
    stage.template(json!({"persistence": {"enabled": false}})).await;
    stage.session("desk", json!({})).await;
    let no = stage.start(&["suspend", "desk"]).await.answer("y\n").await;
    assert!(
        no.code == 1 && no.stderr.contains("has no home") && no.stderr.contains("nothing was done"),
        "{no:?}"
    );
    assert_eq!(stage.get("desk").await.spec.state, None);
    assert!(stage.run(&["suspend", "desk", "--yes"]).await.success);
    assert_eq!(stage.get("desk").await.spec.state, Some(RunState::Suspended));
}

#[tokio::test]
async fn restart_names_the_run_that_ends_and_waits_for_the_next() {
    let stage = Stage::new("restart").await;
    stage.session("desk", json!({})).await;
    let none = stage.run(&["restart", "desk"]).await;
    assert!(none.code == 1 && none.stderr.contains("session desk has no pod"), "{none:?}");
    let old = stage.pod("vdi-desk", None).await.uid().unwrap();
    let mut sick = ready("desk");
    sick["conditions"] = json!([condition("Ready", "False", "GatewayUnreachable", "no answer")]);
    stage.status("desk", sick).await;

    let mut restarts = stage.start(&["restart", "desk"]).await;
    let asked = || async { stage.annotation("desk", RESTART).await.ok_or("not yet".to_owned()) };
    let asked = crate::rig::wait::wait_until(crate::rig::wait::DEADLINE, "request", asked).await;
    assert_eq!(asked, old);
    // The old pod gets well before it is ended: that is not the restart.
    stage.status("desk", ready("desk")).await;
    restarts.tells("Ready             True").await;
    let stopping = condition_at("Ready", "False", "Stopping", "the old pod ends", "2026-01-02T00:00:00Z");
    stage.status("desk", json!({"conditions": [stopping]})).await;
    restarts.tells("Stopping: the old pod ends").await;
    stage.pods().delete("vdi-desk", &DeleteParams::default().grace_period(0)).await.unwrap();
    wait_gone(&stage.pods(), "vdi-desk").await;
    stage.pod("vdi-desk", None).await;
    let mut again = ready("desk");
    again["conditions"] = json!([condition_at("Ready", "True", "Ready", "", "2026-01-03T00:00:00Z")]);
    stage.status("desk", again).await;
    restarts.tells("ready: https://desk.example/").await;
    assert!(restarts.end().await.success);
}

#[tokio::test]
async fn force_strikes_off_the_pod_of_a_lost_node_after_a_question() {
    let stage = Stage::new("force").await;
    stage.session("desk", json!({})).await;
    let pod = stage.pod("vdi-desk", Some("lost-node")).await;
    let mut lost = ready("desk");
    lost["conditions"] =
        json!([condition("PodReady", "Unknown", "NodeLost", "node-1 has not answered for 5m")]);
    stage.status("desk", lost).await;
    // Its node is to end it, and never will.
    stage.pods().delete("vdi-desk", &DeleteParams::default()).await.unwrap();
    let no = stage.start(&["restart", "desk", "--force", "--no-wait"]).await.answer("no\n").await;
    assert!(no.code == 1 && no.stderr.contains("node-1 has not answered for 5m"), "{no:?}");
    assert!(no.stderr.contains("two desktops may write to one home"), "{no:?}");
    assert_eq!(stage.pods().get("vdi-desk").await.unwrap().uid(), pod.uid());
    assert_eq!(stage.annotation("desk", RESTART).await, None);
    let yes = stage.start(&["restart", "desk", "--force", "--no-wait"]).await.answer("yes\n").await;
    assert!(yes.success, "{yes:?}");
    assert!(stage.pods().get_opt("vdi-desk").await.unwrap().is_none());
    assert_eq!(stage.annotation("desk", RESTART).await, pod.uid());
}

#[tokio::test]
async fn delete_says_what_becomes_of_the_home_and_asks_before_it_goes() {
    let stage = Stage::new("delete").await;
    stage.template(json!({"persistence": {"reclaim": "Delete"}})).await;
    stage.session("desk", json!({})).await;
    stage.session("second", json!({})).await;
    let shared = stage.run(&["delete", "second"]).await;
    assert!(
        shared.success
            && shared.stdout.contains("the home stays")
            && shared.stdout.contains("desk has it too"),
        "{shared:?}"
    );
    wait_gone(&stage.sessions(), "second").await;

    let no = stage.start(&["delete", "desk"]).await.answer("\n").await;
    assert!(no.code == 1 && no.stderr.contains("the home goes with it"), "{no:?}");
    assert!(stage.sessions().get_opt("desk").await.unwrap().is_some());

    let held = json!({"metadata": {"finalizers": [FINALIZER]}});
    stage.sessions().patch("desk", &PatchParams::default(), &Patch::Merge(held)).await.unwrap();
    let mut deletes = stage.start(&["delete", "desk", "--yes", "--wait"]).await;
    let going = || async {
        let deleted = stage.get("desk").await.metadata.deletion_timestamp;
        deleted.ok_or("not deleted".to_owned())
    };
    crate::rig::wait::wait_until(crate::rig::wait::DEADLINE, "deletion", going).await;
    let stops = condition("Ready", "False", "Terminating", "waiting for pod vdi-desk");
    stage.status("desk", json!({"phase": "Terminating", "conditions": [stops]})).await;
    deletes.tells("Terminating: waiting for pod vdi-desk").await;
    let free = json!({"metadata": {"finalizers": null}});
    stage.sessions().patch("desk", &PatchParams::default(), &Patch::Merge(free)).await.unwrap();
    let said = deletes.end().await;
    assert!(said.success && said.stderr.contains("session desk is gone"), "{said:?}");

    stage.session("kept", json!({"persistence": {"reclaim": "Retain"}})).await;
    let kept = stage.run(&["delete", "kept"]).await;
    assert!(kept.success && kept.stdout.contains("the home stays (claim vdi-home-alice-"), "{kept:?}");
}
