//! `open`, `share`.

use deskgate::operator::names::{SUSPENDED_AT, WAKE_AT};
use deskgate::token;
use deskgate::wire::signal::Right;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::stage::{SECRET, Stage, condition, ready};

fn rights(link: &str, session: &str) -> Vec<Right> {
    let url = format!("https://{session}.example/#token=");
    let token = link.trim_end().strip_prefix(&url).unwrap_or_else(|| panic!("{link}"));
    let claims = token::verify(SECRET.as_bytes(), token, session, 1).expect("a token of this session");
    claims.rights.into_iter().collect()
}

#[tokio::test]
async fn open_and_share_sign_links_under_the_callers_own_rights() {
    let stage = Stage::new("open").await;
    let session = stage.session("desk", json!({})).await;
    stage.secret(&session).await;
    stage.status("desk", ready("desk")).await;
    let refused = stage.run(&["open", "desk"]).await;
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("alice may not get secrets vdi-desk in namespace"), "{refused:?}");
    assert!(refused.stderr.contains("--resource-name=vdi-desk"), "{refused:?}");

    // What the message says to do is what helps.
    let next = refused.stderr.split("that right: ").nth(1).unwrap().trim();
    for step in next.split(" && ") {
        let args: Vec<String> = step.split_whitespace().skip(1).map(|arg| arg.replace('\'', "")).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let said = stage.cluster.kubectl("admin", &args).await;
        assert!(said.success, "{step}: {said:?}");
    }
    let opened = stage.run(&["open", "desk"]).await;
    assert!(opened.success, "{opened:?}");
    assert_eq!(rights(&opened.stdout, "desk"), [Right::View, Right::Control]);
    let shared = stage.run(&["share", "desk", "--ttl", "5m"]).await;
    assert_eq!(rights(&shared.stdout, "desk"), [Right::View], "{shared:?}");
    assert!(!shared.stderr.contains("#token"), "{shared:?}");
    let shared = stage.run(&["share", "desk", "--rights", "control"]).await;
    assert_eq!(rights(&shared.stdout, "desk"), [Right::View, Right::Control]);
    assert_eq!(stage.annotation("desk", WAKE_AT).await, None, "it was awake");
}

#[tokio::test]
async fn who_may_not_read_the_secret_wakes_nobody() {
    let stage = Stage::new("no-wake").await;
    let session = stage.session("desk", json!({"state": "Suspended"})).await;
    stage.secret(&session).await;
    assert_eq!(stage.run(&["open", "desk"]).await.code, 1);
    assert_eq!(stage.annotation("desk", WAKE_AT).await, None);
}

#[tokio::test]
async fn open_wakes_a_sleeper_and_waits_until_it_can_be_opened() {
    let stage = Stage::new("wake").await;
    stage.allow_secrets().await;
    let session = stage.session("desk", json!({})).await;
    stage.secret(&session).await;
    // By a clock that is ahead of this machine's: the wake request must be newer all the same.
    let idle = json!({"metadata": {"annotations": {SUSPENDED_AT: "2040-01-01T00:00:00Z"}}});
    stage.sessions().patch("desk", &PatchParams::default(), &Patch::Merge(idle)).await.unwrap();
    let mut asleep = ready("desk");
    asleep["conditions"] = json!([condition("Ready", "False", "SuspendedIdle", "nobody was there for 30m")]);
    stage.status("desk", asleep).await;

    let left = stage.run(&["open", "desk", "--no-wake"]).await;
    assert!(left.success && left.stderr.contains("because nobody was there"), "{left:?}");
    assert_eq!(stage.annotation("desk", WAKE_AT).await, None);

    let mut opens = stage.start(&["open", "desk"]).await;
    opens.tells("waking it").await;
    let woken = || async { stage.annotation("desk", WAKE_AT).await.ok_or("not woken".to_owned()) };
    let woken = crate::rig::wait::wait_until(crate::rig::wait::DEADLINE, "wake request", woken).await;
    assert_eq!(woken, "2040-01-01T00:00:01Z");
    let starts = condition("PodReady", "False", "ContainersStarting", "the desktop starts");
    stage.status("desk", json!({"conditions": [starts]})).await;
    opens.tells("ContainersStarting: the desktop starts").await;
    stage.status("desk", ready("desk")).await;
    let said = opens.end().await;
    assert!(said.success, "{said:?}");
    rights(&said.stdout, "desk");
}

#[tokio::test]
async fn a_secret_of_somebody_else_signs_nothing() {
    let stage = Stage::new("foreign").await;
    stage.allow_secrets().await;
    let other = stage.session("other", json!({})).await;
    stage.session("desk", json!({})).await;
    stage.status("desk", ready("desk")).await;
    let missing = stage.run(&["share", "desk"]).await;
    assert!(missing.stderr.contains("has no Secret vdi-desk"), "{missing:?}");
    stage.secret_named("vdi-desk", &other).await;
    let said = stage.run(&["open", "desk"]).await;
    assert!(said.code == 1 && said.stderr.contains("does not belong to session desk"), "{said:?}");
}

#[tokio::test]
async fn the_browser_gets_a_file_that_only_its_owner_reads_and_no_token_as_argument() {
    use std::os::unix::fs::PermissionsExt;
    let stage = Stage::new("browser").await;
    stage.allow_secrets().await;
    let session = stage.session("desk", json!({})).await;
    stage.secret(&session).await;
    stage.status("desk", ready("desk")).await;
    let folder = stage.cluster.folder().join(&stage.namespace);
    std::fs::create_dir(&folder).unwrap();
    let opener = folder.join("xdg-open");
    std::fs::write(&opener, format!("#!/bin/sh\necho \"$@\" > {}/opened\n", folder.display())).unwrap();
    std::fs::set_permissions(&opener, std::fs::Permissions::from_mode(0o755)).unwrap();
    for _ in 0..2 {
        let mut command = stage.cluster.deskgate_command(&stage.cluster.kubeconfig("alice"));
        command.args(["session", "-n", &stage.namespace, "open", "desk", "--browser"]);
        let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
        command.env("PATH", path).env("XDG_RUNTIME_DIR", &folder);
        let output = tokio::process::Command::from(command).output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
        let link = String::from_utf8(output.stdout).unwrap();
        let argument = std::fs::read_to_string(folder.join("opened")).unwrap();
        let file = std::path::Path::new(argument.trim());
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let page = std::fs::read_to_string(file).unwrap();
        assert!(page.contains(link.trim()) && !argument.contains("token="), "{argument}{page}");
    }
}
