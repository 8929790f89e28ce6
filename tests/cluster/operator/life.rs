//! A session's whole life: made, running with a real gateway behind it, suspended, woken, deleted.

use deskgate::crd::Phase;
use deskgate::operator::{names, traefik::IngressRoute};
use deskgate::token::{self, Claims};
use deskgate::wire::signal::Right;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::{Resource, ResourceExt};
use serde_json::json;

use super::{Desks, found, uid};
use crate::rig::deskgate::Deskgate;
use crate::rig::wait::{wait_for, wait_gone};

/// Starts a real gateway behind every pod that gets ready, as its own sidecar would be.
pub fn serve_for_real(desks: &Desks) {
    let (client, namespace) = (desks.cluster.client(), desks.namespace.clone());
    let runtime = tokio::runtime::Handle::current();
    desks.kubelet.on_pod_ready(move |pod, address| {
        let session = pod.labels()[names::LABEL_INSTANCE].clone();
        let uid = pod.labels()[names::LABEL_SESSION_UID].clone();
        let secrets = kube::Api::<Secret>::namespaced(client.clone(), &namespace);
        let secret = runtime.block_on(secrets.get(&names::child(&session))).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token-secret");
        std::fs::write(&file, &secret.data.unwrap()["token-secret"].0).unwrap();
        let args =
            ["--token-secret-file", file.to_str().unwrap(), "--session", &session, "--session-uid", &uid];
        (Deskgate::serve(address, 8080, &args, &[]), folder)
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_becomes_a_desktop_behind_a_url_and_goes_without_a_trace() {
    let desks = Desks::new("life").await;
    desks.make_template(json!({"idleTimeout": "30m"})).await;
    serve_for_real(&desks);
    let _operator = desks.operator().await;
    let made = desks.make_session("desk", json!({})).await;
    let session = desks.phase("desk", Phase::Running).await;
    let status = session.status.clone().unwrap();
    let host = names::host(&desks.namespace, "desk", "vdi.example.com");
    assert_eq!(status.url.as_deref(), Some(format!("https://{host}/").as_str()));
    assert_eq!(status.pod_name.as_deref(), Some("vdi-desk"));
    assert_eq!(status.node_name.as_deref(), Some(desks.kubelet.node().as_str()));
    assert_eq!(status.viewers, Some(0));
    let (_, reason, message) = found(&session, "StreamReady").unwrap();
    assert_eq!(reason, "Streaming", "{message}");

    // Every child is the session's own, labelled, and named as it.
    let owned = |meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| {
        let owners = meta.owner_references.as_deref().unwrap_or_default();
        assert_eq!(owners.len(), 1);
        assert_eq!((owners[0].uid.as_str(), owners[0].controller), (uid(&made).as_str(), Some(true)));
        assert_eq!(meta.labels.as_ref().unwrap()[names::LABEL_NAME], names::APP);
    };
    owned(desks.api::<Pod>().get("vdi-desk").await.unwrap().meta());
    owned(desks.api::<Service>().get("vdi-desk").await.unwrap().meta());
    owned(desks.api::<Secret>().get("vdi-desk").await.unwrap().meta());
    owned(desks.api::<NetworkPolicy>().get("vdi-desk").await.unwrap().meta());
    owned(desks.api::<IngressRoute>().get("vdi-desk").await.unwrap().meta());
    let home = desks.api::<PersistentVolumeClaim>().get(&desks.home()).await.unwrap();
    assert_eq!(home.metadata.owner_references, None, "a home is nobody's child");

    desks.delete_session("desk").await;
    wait_gone(&desks.sessions(), "desk").await;
    wait_gone(&desks.api::<Pod>(), "vdi-desk").await;
    wait_gone(&desks.api::<Service>(), "vdi-desk").await;
    wait_gone(&desks.api::<Secret>(), "vdi-desk").await;
    wait_gone(&desks.api::<NetworkPolicy>(), "vdi-desk").await;
    wait_gone(&desks.api::<IngressRoute>(), "vdi-desk").await;
    assert_eq!(desks.names::<PersistentVolumeClaim>().await, [desks.home()], "the home stays");
}

/// The first has the home, the second waits for it; it goes with them. What the second is told.
async fn two_of_one_home(desks: &Desks) -> String {
    let reclaim = json!({"persistence": {"reclaim": "Delete"}});
    desks.make_session("first", reclaim.clone()).await;
    desks.holds("first", "PodReady").await;
    desks.make_session("second", reclaim).await;
    desks.reason("second", "StorageReady", "HomeInUse").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_with_reclaim_delete_goes_with_the_last_session_that_names_it() {
    let desks = Desks::new("reclaim").await;
    desks.make_template(json!({})).await;
    let _operator = desks.operator().await;
    let message = two_of_one_home(&desks).await;
    assert!(message.contains("first"), "{message}");
    desks.delete_session("first").await;
    wait_gone(&desks.sessions(), "first").await;
    // It takes the home over, and no pod of it was there before.
    desks.holds("second", "PodReady").await;
    assert_eq!(desks.names::<PersistentVolumeClaim>().await, [desks.home()]);
    desks.delete_session("second").await;
    wait_gone(&desks.sessions(), "second").await;
    wait_gone(&desks.api::<PersistentVolumeClaim>(), &desks.home()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_go_at_once_take_their_home_along() {
    let desks = Desks::new("together").await;
    desks.make_template(json!({})).await;
    let _operator = desks.operator().await;
    two_of_one_home(&desks).await;
    tokio::join!(desks.delete_session("first"), desks.delete_session("second"));
    wait_gone(&desks.sessions(), "first").await;
    wait_gone(&desks.sessions(), "second").await;
    wait_gone(&desks.api::<PersistentVolumeClaim>(), &desks.home()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn suspended_the_pod_goes_and_the_home_stays_and_a_visit_brings_it_back() {
    let desks = Desks::new("sleep").await;
    desks.make_template(json!({})).await;
    serve_for_real(&desks);
    let operator = desks.operator().await;
    desks.make_session("desk", json!({})).await;
    desks.phase("desk", Phase::Running).await;
    desks.patch_session("desk", json!({"spec": {"state": "Suspended"}})).await;
    desks.phase("desk", Phase::Suspended).await;
    wait_gone(&desks.api::<Pod>(), "vdi-desk").await;
    wait_gone(&desks.api::<IngressRoute>(), "vdi-desk").await;
    assert_eq!(desks.names::<PersistentVolumeClaim>().await, [desks.home()]);

    let host = names::host(&desks.namespace, "desk", "vdi.example.com");
    let url = |path: &str| format!("http://{}{path}", operator.entry);
    let page = ask("GET", &url("/"), &host, &[]).await;
    assert_eq!(page.0, 503);
    assert!(page.1.contains("<title>"), "{}", page.1);
    assert_eq!(ask("GET", &url("/"), "nobody-12345678.vdi.example.com", &[]).await.0, 404);
    let state = ask("GET", &url("/.deskgate/state"), &host, &[]).await.1;
    assert!(state.contains("\"phase\":\"Suspended\"") && state.contains("\"mayWake\":false"), "{state}");
    assert_eq!(ask("POST", &url("/.deskgate/wake"), &host, &[]).await.0, 401, "strangers wake nobody");

    let secret = desks.api::<Secret>().get("vdi-desk").await.unwrap();
    let key = secret.data.unwrap()["token-secret"].0.clone();
    let bearer = |rights: &[Right]| {
        let claims = Claims::new([7; 8], "desk", rights.iter().copied(), u64::MAX / 2);
        format!("Bearer {}", token::sign(&key, &claims).unwrap())
    };
    let view = bearer(&[Right::View]);
    assert_eq!(ask("POST", &url("/.deskgate/wake"), &host, &[("authorization", &view)]).await.0, 403);
    let control = bearer(&[Right::View, Right::Control]);
    let foreign = [("authorization", control.as_str()), ("origin", "https://evil.example")];
    assert_eq!(ask("POST", &url("/.deskgate/wake"), &host, &foreign).await.0, 403);
    assert_eq!(ask("GET", &url("/.deskgate/wake"), &host, &[("authorization", &control)]).await.0, 503);
    desks.phase("desk", Phase::Suspended).await;
    assert_eq!(ask("POST", &url("/.deskgate/wake"), &host, &[("authorization", &control)]).await.0, 202);
    desks.phase("desk", Phase::Running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_suspends_and_a_logout_too() {
    let desks = Desks::new("idle").await;
    desks.make_template(json!({})).await;
    serve_for_real(&desks);
    let _operator = desks.operator().await;
    desks.make_session("desk", json!({"idleTimeout": 2})).await;
    let session = desks.phase("desk", Phase::Suspended).await;
    assert!(session.annotations().contains_key(names::SUSPENDED_AT));
    assert_eq!(found(&session, "Ready").unwrap().1, "SuspendedIdle");
    wait_gone(&desks.api::<Pod>(), "vdi-desk").await;

    desks.make_session("other", json!({"user": "bob", "persistence": {"enabled": false}})).await;
    desks.phase("other", Phase::Running).await;
    desks.kubelet.behave_for("vdi-other", crate::rig::kubelet::PodState::Succeeded);
    desks.reason("other", "Ready", "SuspendedLogout").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timeout_ends_a_run_or_the_session() {
    let desks = Desks::new("timeout").await;
    desks.make_template(json!({})).await;
    let _operator = desks.operator().await;
    desks.make_session("sleeps", json!({"timeout": "3s"})).await;
    desks.reason("sleeps", "Ready", "SuspendedTimeout").await;
    let ends = json!({"user": "bob", "timeout": 3, "timeoutAction": "Delete"});
    desks.make_session("ends", ends).await;
    wait_gone(&desks.sessions(), "ends").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_pod_is_not_touched_until_a_restart() {
    let desks = Desks::new("changes").await;
    desks.make_template(json!({})).await;
    let _operator = desks.operator().await;
    desks.make_session("desk", json!({})).await;
    desks.holds("desk", "PodReady").await;
    let pod = desks.api::<Pod>().get("vdi-desk").await.unwrap();
    desks.patch_session("desk", json!({"spec": {"resources": {"memory": "2Gi"}}})).await;
    desks.reason("desk", "UpToDate", "RestartRequired").await;
    assert_eq!(desks.api::<Pod>().get("vdi-desk").await.unwrap().uid(), pod.uid());
    desks.patch_session("desk", json!({"metadata": {"annotations": {names::RESTART: pod.uid()}}})).await;
    let renewed = |p: &Pod| p.uid() != pod.uid() && p.metadata.deletion_timestamp.is_none();
    wait_for(&desks.api::<Pod>(), "vdi-desk", "another pod", renewed).await;
    desks.reason("desk", "UpToDate", "UpToDate").await;
}

/// Status and body of one request to this machine, by its Host.
pub async fn ask(method: &str, url: &str, host: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut command = tokio::process::Command::new("curl");
    command.args(["-sS", "--max-time", "20", "-o", "-", "-w", "\n%{http_code}", "-X", method, url]);
    command.args(["-H", &format!("Host: {host}")]);
    for (name, value) in headers {
        command.args(["-H", &format!("{name}: {value}")]);
    }
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, code) = text.rsplit_once('\n').unwrap();
    (code.parse().unwrap(), body.to_owned())
}
