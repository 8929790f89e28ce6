//! `create`, `list`, help, errors.

use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use super::stage::{Stage, condition, ready};
use crate::rig::deskgate::BINARY;
use crate::rig::process::command;
use crate::rig::programs::program;

#[tokio::test]
async fn a_session_is_made_for_whoever_asks_and_what_was_not_said_stays_absent() {
    let stage = Stage::new("create").await;
    let dry = stage.run(&["create", "desk", "--template", "ubuntu", "--dry-run", "-o", "yaml"]).await;
    assert!(dry.success && dry.stdout.contains("user: alice"), "{dry:?}");
    assert!(stage.sessions().get_opt("desk").await.unwrap().is_none(), "a dry run stores nothing");

    let said = stage
        .run(&[
            "create",
            "desk",
            "--template",
            "ubuntu",
            "--gpu",
            "1",
            "--cpu",
            "1.5",
            "--memory",
            "4Gi",
            "--size",
            "10Gi",
            "--timeout",
            "8h",
            "--idle-timeout",
            "90",
        ])
        .await;
    assert!(said.success, "{said:?}");
    assert_eq!(
        said.stdout,
        format!("session {}/desk created: template ubuntu, user alice\n", stage.namespace)
    );
    let spec = serde_json::to_value(stage.get("desk").await.spec).unwrap();
    assert_eq!(
        spec,
        json!({
            "user": "alice", "template": "ubuntu", "resources": {"gpu": 1, "cpu": "1.5", "memory": "4Gi"},
            "persistence": {"size": "10Gi"}, "timeout": "8h", "idleTimeout": 90,
        })
    );
    let again = stage.run(&["create", "desk", "--template", "ubuntu"]).await;
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("there is a session desk") && again.stderr.contains("next:"), "{again:?}");
    let refused = stage.run(&["create", "other", "--template", "ubuntu", "--memory", "4Pi"]).await;
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("spec.resources.memory"), "{refused:?}");
}

#[tokio::test]
async fn a_wait_shows_each_change_and_ends_ready_or_with_what_is_wrong_or_in_time() {
    let stage = Stage::new("wait").await;
    let mut waits = stage.start(&["create", "desk", "--template", "ubuntu", "--wait"]).await;
    let made = || async { stage.sessions().get_opt("desk").await.unwrap().ok_or("not made".to_owned()) };
    crate::rig::wait::wait_until(crate::rig::wait::DEADLINE, "session", made).await;
    let missing = condition("TemplateResolved", "False", "TemplateMissing", "no template ubuntu");
    stage.status("desk", json!({"phase": "Pending", "conditions": [missing]})).await;
    waits.tells("TemplateMissing: no template ubuntu (kubectl get vditemplates").await;
    stage.status("desk", ready("desk")).await;
    let said = waits.end().await;
    assert!(said.success && said.stderr.contains("ready: https://desk.example/"), "{said:?}");

    let mut fails = stage.start(&["create", "wrong", "--template", "ubuntu", "--wait"]).await;
    let made = || async { stage.sessions().get_opt("wrong").await.unwrap().ok_or("not made".to_owned()) };
    crate::rig::wait::wait_until(crate::rig::wait::DEADLINE, "session", made).await;
    let past = condition("TemplateResolved", "False", "LimitExceeded", "gpu 9 is past the limit 1");
    stage.status("wrong", json!({"phase": "Failed", "conditions": [past]})).await;
    fails.tells("LimitExceeded").await;
    let said = fails.end().await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stderr.contains("next: ask for less"), "{said:?}");

    let late = stage.run(&["create", "late", "--template", "ubuntu", "--wait", "--wait-timeout", "1s"]).await;
    assert_eq!(late.code, 3, "{late:?}");
    assert!(late.stderr.contains("the operator has said nothing of it"), "{late:?}");
}

#[tokio::test]
async fn lists_are_tables_or_data_and_the_plugin_is_kubectls() {
    let stage = Stage::new("list").await;
    let none = stage.run(&["list"]).await;
    assert!(none.success && none.stdout.is_empty() && none.stderr.contains("no sessions in"), "{none:?}");
    stage.session("desk", json!({})).await;
    stage.status("desk", ready("desk")).await;
    let table = stage.run(&["list", "-o", "wide"]).await;
    let row = table.stdout.lines().nth(1).unwrap();
    for cell in ["desk", "alice", "Running", "True", "https://desk.example/", "node-1"] {
        assert!(row.split_whitespace().any(|c| c == cell), "{cell}: {table:?}");
    }
    let data: Value = serde_json::from_str(&stage.run(&["list", "-o", "json"]).await.stdout).unwrap();
    assert_eq!(data["items"][0]["metadata"]["name"], "desk");
    assert_eq!(data["items"][0]["metadata"]["managedFields"], Value::Null);
    let yaml = stage.run(&["list", "-o", "yaml"]).await.stdout;
    let yaml: Value = serde_saphyr::from_str(&yaml).unwrap();
    assert_eq!(yaml, data);
    let all = stage.run(&["list", "-A"]).await;
    assert!(!all.success && all.stderr.contains("alice may not list vdisessions.vdi.kasm.io"), "{all:?}");
    assert!(all.stderr.contains("kubectl create clusterrole"), "{all:?}");

    // Under kubectl's own roof.
    let folder = stage.cluster.folder().join(&stage.namespace);
    std::fs::create_dir(&folder).unwrap();
    symlink(BINARY, folder.join("kubectl-vdi")).unwrap();
    let mut kubectl = command(program("kubectl"));
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    kubectl.env("PATH", path).env("KUBECONFIG", stage.cluster.kubeconfig("alice"));
    kubectl.args(["vdi", "list", "-n", &stage.namespace]);
    let output = tokio::process::Command::from(kubectl).output().await.unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && stdout.contains("desk"), "{stdout}");
    let wrong = std::process::Command::new(folder.join("kubectl-vdi"))
        .args(["open", "nobody", "-n", &stage.namespace])
        .env("KUBECONFIG", stage.cluster.kubeconfig("alice"))
        .output()
        .unwrap();
    assert!(String::from_utf8(wrong.stderr).unwrap().starts_with("kubectl vdi: there is no session nobody"));
}

#[tokio::test]
async fn an_unknown_session_names_close_matches() {
    let stage = Stage::new("close").await;
    stage.session("alice", json!({})).await;
    for verb in ["open", "share", "suspend", "resume", "restart", "delete", "logs"] {
        let said = stage.run(&[verb, "alcie"]).await;
        assert_eq!(said.code, 1, "{verb}: {said:?}");
        assert!(said.stderr.contains("did you mean alice?"), "{verb}: {said:?}");
    }
}

#[tokio::test]
async fn who_is_not_known_or_nowhere_is_told_so() {
    let stage = Stage::new("who").await;
    let stranger = stage.cluster.credentials().kubeconfig("stranger", "no-such-token");
    let said = stage.cluster.deskgate(&stranger, &["session", "list"]).await;
    assert!(said.stderr.contains("does not know who you are") && said.code == 1, "{said:?}");
    let said = stage.cluster.deskgate(std::path::Path::new("/nowhere"), &["session", "list"]).await;
    assert!(said.stderr.contains("no cluster to talk to"), "{said:?}");
    let said = stage.run(&["list", "--context", "nowhere"]).await;
    assert!(said.stderr.contains("nowhere") && said.code == 1, "{said:?}");
    // Acting as somebody else needs a right that only the administrator has.
    let said = stage.run(&["list", "--as", "bob"]).await;
    assert_eq!(said.code, 1, "{said:?}");
    let admin = stage.cluster.kubeconfig("admin");
    let args = ["session", "-n", &stage.namespace, "create", "his", "-t", "ubuntu", "--as", "alice"];
    let said = stage.cluster.deskgate(&admin, &args).await;
    assert!(said.success && said.stdout.contains("user alice"), "{said:?}");
}
