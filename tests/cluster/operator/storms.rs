//! What happens around an operator: the API server goes and comes, namespaces go, objects lose what marks them; and what
//! must never show.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use deskgate::crd::Phase;
use deskgate::manifests::NAME;
use http::{Method, StatusCode};
use k8s_openapi::api::core::v1::{Event, Namespace, Pod, Secret, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::crashes::OnePod;
use super::{Desks, Operator, found, settings};
use crate::rig::bent::{Bend, bent, is_call};
use crate::rig::deskgate::Deskgate;
use crate::rig::wait::{DEADLINE, wait_for, wait_gone, wait_until};
use crate::rig::{Cluster, Options};

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_goes_and_comes_back_loses_nothing() {
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start().await));
    let desks = Desks::on(cluster, "restart", &[]).await;
    desks.make_template(json!({})).await;
    let _operator = desks.operator().await;
    desks.make_session("before", json!({})).await;
    desks.holds("before", "RouteReady").await;
    let pod = desks.api::<Pod>().get("vdi-before").await.unwrap().uid();
    cluster.stop_api_server();
    cluster.start_api_server().await;
    // The watches find out by themselves, whatever they missed.
    desks.make_session("after", json!({"user": "bob"})).await;
    desks.holds("after", "RouteReady").await;
    desks.delete_session("after").await;
    wait_gone(&desks.sessions(), "after").await;
    assert_eq!(desks.api::<Pod>().get("vdi-before").await.unwrap().uid(), pod);
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_are_made_when_traefik_comes_and_nothing_waits_for_it() {
    let options = Options { traefik: false, ..Options::default() };
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start_with(options).await));
    let desks = Desks::on(cluster, "traefik", &[]).await;
    desks.make_template(json!({})).await;
    let _operator = desks.operator().await;
    desks.make_session("desk", json!({})).await;
    desks.reason("desk", "RouteReady", "RouteKindMissing").await;
    desks.holds("desk", "PodReady").await;
    desks.make_session("ends", json!({"user": "bob"})).await;
    desks.holds("ends", "PodReady").await;
    desks.delete_session("ends").await;
    wait_gone(&desks.sessions(), "ends").await;
    cluster.apply_traefik_crds().await;
    desks.holds("desk", "RouteReady").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_deleted_goes_with_its_sessions() {
    let desks = Desks::new("gone").await;
    desks.make_template(json!({})).await;
    let operator = desks.operator().await;
    desks.make_session("desk", json!({})).await;
    desks.holds("desk", "PodReady").await;
    // Nobody is there when the deletion comes; whoever comes later ends it. Its own account goes with the namespace.
    drop(operator);
    desks.delete_session("desk").await;
    let namespaces = Api::<Namespace>::all(desks.client.clone());
    namespaces.delete(&desks.namespace, &DeleteParams::default()).await.unwrap();
    let _operator =
        super::Operator::start(desks.client.clone(), super::settings(&desks.namespace), "late").await;
    // No lease can be made in a namespace that goes; so another one has it.
    let mut settings = super::settings(&desks.namespace);
    settings.own_namespace = desks.cluster.namespace("gone-lease").await;
    let _other = super::Operator::start(desks.client.clone(), settings, "other").await;
    wait_gone(&desks.sessions(), "desk").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_lost_their_marks_are_neither_doubled_nor_deleted() {
    let desks = Desks::new("marks").await;
    desks.make_template(json!({})).await;
    let one_pod = OnePod::watch(&desks);
    let _operator = desks.operator().await;
    desks.make_session("desk", json!({})).await;
    desks.holds("desk", "RouteReady").await;
    let services = desks.api::<Service>();
    let service = services.get("vdi-desk").await.unwrap();
    let orphan = json!({"metadata": {"ownerReferences": null}});
    services.patch("vdi-desk", &PatchParams::default(), &Patch::Merge(&orphan)).await.unwrap();
    let pods = desks.api::<Pod>();
    let pod = pods.get("vdi-desk").await.unwrap();
    let bare = json!({"metadata": {"labels": null}});
    pods.patch("vdi-desk", &PatchParams::default(), &Patch::Merge(&bare)).await.unwrap();
    // The operator looks again, and again: at a change of the session, and at what it finds.
    desks.patch_session("desk", json!({"spec": {"resources": {"memory": "2Gi"}}})).await;
    let generation = desks.sessions().get("desk").await.unwrap().metadata.generation;
    let seen =
        |s: &deskgate::crd::VDISession| s.status.as_ref().and_then(|s| s.observed_generation) == generation;
    wait_for(&desks.sessions(), "desk", "a look at the change", seen).await;
    assert_eq!(pods.get("vdi-desk").await.unwrap().uid(), pod.uid());
    assert_eq!(services.get("vdi-desk").await.unwrap().uid(), service.uid());
    // Given back, all is well again.
    let labels = json!({"metadata": {"labels": pod.labels()}});
    pods.patch("vdi-desk", &PatchParams::default(), &Patch::Merge(&labels)).await.unwrap();
    let owners = json!({"metadata": {"ownerReferences": service.owner_references()}});
    services.patch("vdi-desk", &PatchParams::default(), &Patch::Merge(&owners)).await.unwrap();
    desks.holds("desk", "PodReady").await;
    drop(one_pod);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_lost_its_labels_is_not_doubled_and_still_ends_with_its_run() {
    let desks = Desks::new("unseen").await;
    desks.make_template(json!({})).await;
    let _operator = desks.operator().await;
    desks.make_session("desk", json!({})).await;
    desks.holds("desk", "RouteReady").await;
    let pods = desks.api::<Pod>();
    let uid = pods.get("vdi-desk").await.unwrap().uid();
    let bare = json!({"metadata": {"labels": null}});
    pods.patch("vdi-desk", &PatchParams::default(), &Patch::Merge(&bare)).await.unwrap();
    desks.reason("desk", "PodReady", "PodMissing").await;
    assert_eq!(pods.get("vdi-desk").await.unwrap().uid(), uid);
    desks.patch_session("desk", json!({"spec": {"state": "Suspended"}})).await;
    wait_gone(&pods, "vdi-desk").await;
    desks.phase("desk", deskgate::crd::Phase::Suspended).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_not_there_keeps_the_others_not_waiting() {
    let desks = Desks::new("present").await;
    desks.make_template(json!({})).await;
    let mut settings = super::settings(&desks.namespace);
    settings.namespaces.push("not-there-or-not-allowed".to_owned());
    let _operator = desks.operator_with(settings).await;
    desks.make_session("desk", json!({})).await;
    desks.holds("desk", "RouteReady").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sessions_secret_shows_nowhere() {
    let desks = Desks::new("canary").await;
    desks.make_template(json!({})).await;
    desks.account().await;
    let kubeconfig = desks.cluster.service_account_kubeconfig(&desks.namespace, NAME).await;
    let operator = Deskgate::operator(&desks.namespace, &kubeconfig, &[("RUST_LOG", "debug")]);
    super::life::serve_for_real(&desks);
    desks.make_session("desk", json!({})).await;
    let session = desks.phase("desk", Phase::Running).await;
    let secret = desks.api::<Secret>().get("vdi-desk").await.unwrap().data.unwrap();
    let key = String::from_utf8(secret["token-secret"].0.clone()).unwrap();
    let encoded = serde_json::to_value(&secret["token-secret"]).unwrap();
    let certificates = wait_for_webhook_key(&desks).await;
    let canaries: Vec<&str> = [key.as_str(), encoded.as_str().unwrap()]
        .into_iter()
        .chain(certificates.iter().map(String::as_str))
        .collect();
    let pod = desks.api::<Pod>().get("vdi-desk").await.unwrap();
    let events = desks.api::<Event>().list(&ListParams::default()).await.unwrap();
    let places = [
        ("status", serde_json::to_string(&session).unwrap()),
        ("pod", serde_json::to_string(&pod).unwrap()),
        ("events", serde_json::to_string(&events).unwrap()),
        ("log", operator.log()),
        (
            "arguments",
            String::from_utf8_lossy(&std::fs::read(format!("/proc/{}/cmdline", operator.pid())).unwrap())
                .into(),
        ),
    ];
    for (place, text) in places {
        assert!(!text.is_empty());
        for canary in &canaries {
            assert!(!text.contains(*canary), "the secret stands in {place}");
        }
    }
    assert!(operator.log().len() > 1000, "the log was looked at");
    assert_eq!(found(&session, "Ready").unwrap().0, "True");
}

/// Lines of the private keys of the webhook's certificates.
async fn wait_for_webhook_key(desks: &Desks) -> Vec<String> {
    let secrets = desks.api::<Secret>();
    wait_until(DEADLINE, "the webhook's key", async || {
        let secret = secrets.get_opt("kasm-operator-webhook").await.unwrap().ok_or("no Secret")?;
        let data = secret.data.unwrap_or_default();
        let text: String =
            data.values().map(|v| String::from_utf8_lossy(&v.0).replace("\\n", "\n")).collect();
        let keys =
            text.split("BEGIN PRIVATE KEY-----").skip(1).map(|key| key.split("-----END").next().unwrap());
        let lines: Vec<String> =
            keys.flat_map(str::lines).filter(|line| line.len() >= 40).map(str::to_owned).collect();
        if lines.is_empty() { Err(format!("no key in {:?}", data.keys())) } else { Ok(lines) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_sessions_at_once_are_all_made_and_the_api_server_is_not_stormed() {
    let desks = Desks::new("crowd").await;
    desks.make_template(json!({"persistence": {"enabled": false}})).await;
    let operator = desks.operator().await;
    let mark = desks.cluster.audit_mark();
    for n in 0..100 {
        desks.make_session(&format!("s{n}"), json!({"user": format!("user-{n}")})).await;
    }
    wait_until(3 * DEADLINE, "100 pods", async || {
        let pods = desks.names::<Pod>().await.len();
        if pods == 100 { Ok(()) } else { Err(format!("{pods}")) }
    })
    .await;
    let throttled = desks.cluster.audit_events(mark, |e| e.response_status.code == 429).len();
    assert_eq!(throttled, 0, "no storm");
    drop(operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_between_tries_grow_though_every_refusal_has_other_words() {
    let desks = Desks::new("refusals").await;
    desks.make_template(json!({"persistence": {"enabled": false}})).await;
    let posts = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&posts);
    let client = bent(desks.client.clone(), move |request| {
        if !is_call(request, &Method::POST, "pods") {
            return Bend::Pass;
        }
        let port = 32768 + count.fetch_add(1, Ordering::Relaxed);
        let message = format!(
            "Internal error occurred: failed calling webhook \"x.example\": failed to call webhook: Post \
             \"https://x.example.svc:443/\": read tcp 10.0.0.1:{port}->10.0.0.2:443: read: connection reset by peer"
        );
        Bend::Answer(StatusCode::INTERNAL_SERVER_ERROR, message)
    });
    let mut slow = settings(&desks.namespace);
    slow.pace.retry_first = Duration::from_millis(500);
    slow.pace.retry_most = Duration::from_secs(10);
    let _operator = Operator::start(client, slow, "replica-1").await;
    desks.make_session("desk", json!({})).await;
    let tries = async |wanted: u32| {
        wait_until(DEADLINE, &format!("try {wanted}"), async || {
            let tries = posts.load(Ordering::Relaxed);
            if tries >= wanted { Ok(()) } else { Err(format!("{tries}")) }
        })
        .await;
    };
    tries(1).await;
    let begun = Instant::now();
    // Half a second, one, two and four between them; what is written before the first one may bring one forward.
    tries(5).await;
    assert!(begun.elapsed() > Duration::from_secs(4), "{:?}", begun.elapsed());
}
