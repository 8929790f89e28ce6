//! Crashes at every call of a session's life, before it is sent and after its answer; calls that fail at random.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use deskgate::crd::Phase;
use deskgate::operator::{names, run};
use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::task::JoinHandle;

use super::{Desks, Operator, settings};
use crate::faults::{Faults, Moment, Site};
use crate::rig::wait::wait_gone;

/// What every life calls at least twice: to begin and to resume, to suspend and to end.
const TWICE: [&str; 6] = [
    "create pods",
    "create secrets",
    "create ingressroutes",
    "delete pods",
    "delete ingressroutes",
    "patch vdisessions",
];

/// Lives in which a call that was seen once has to be seen again.
const LIVES: u32 = 4;
/// For the crash itself to be noted, once the life is over.
const STRIKES: Duration = Duration::from_secs(5);

/// Watches pods, and notes whenever two live ones belong to one session.
pub struct OnePod {
    doubled: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl OnePod {
    pub fn watch(desks: &Desks) -> Self {
        let doubled = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&doubled);
        let api: Api<Pod> = desks.api();
        let task = tokio::spawn(async move {
            let mut live: BTreeSet<(String, String)> = BTreeSet::new();
            let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
            while let Ok(Some(event)) = events.try_next().await {
                let key = |p: &Pod| (p.owner_references()[0].uid.clone(), p.uid().unwrap());
                match event {
                    watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) => {
                        live.insert(key(&pod));
                    }
                    watcher::Event::Delete(pod) => {
                        live.remove(&key(&pod));
                    }
                    watcher::Event::Init | watcher::Event::InitDone => {}
                }
                let owners: BTreeSet<&String> = live.iter().map(|(owner, _)| owner).collect();
                if owners.len() < live.len() {
                    noted.lock().unwrap().push(format!("{live:?}"));
                }
            }
        });
        Self { doubled, task }
    }
}

impl Drop for OnePod {
    fn drop(&mut self) {
        self.task.abort();
        if !std::thread::panicking() {
            assert_eq!(*self.doubled.lock().unwrap(), Vec::<String>::new(), "two pods of one session");
        }
    }
}

/// Made, suspended, resumed, deleted; the state after each is the same whatever happened on the way.
async fn live(desks: &Desks) {
    desks.make_session("desk", json!({"persistence": {"reclaim": "Delete"}})).await;
    desks.holds("desk", "RouteReady").await;
    let all = desks.everything().await;
    let child = vec!["vdi-desk".to_owned()];
    for kind in ["pods", "secrets", "services", "policies", "routes"] {
        assert_eq!(all[kind], child, "{kind}");
    }
    assert_eq!(all["claims"], [desks.home()]);
    desks.patch_session("desk", json!({"spec": {"state": "Suspended"}})).await;
    desks.phase("desk", Phase::Suspended).await;
    wait_gone(&desks.api::<Pod>(), "vdi-desk").await;
    desks.patch_session("desk", json!({"spec": {"state": "Running"}})).await;
    desks.holds("desk", "RouteReady").await;
    desks.delete_session("desk").await;
    wait_gone(&desks.sessions(), "desk").await;
    wait_gone(&desks.api::<k8s_openapi::api::core::v1::PersistentVolumeClaim>(), &desks.home()).await;
    for kind in ["pods", "services", "routes", "policies", "secrets"] {
        crate::rig::wait::wait_until(crate::rig::wait::DEADLINE, &format!("end of all {kind}"), async || {
            let left = desks.everything().await[kind].clone();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await;
    }
}

/// Made, suspended by the operator when its time is up, woken, suspended again, deleted; the home stays.
async fn time_out(desks: &Desks) {
    desks.make_session("desk", json!({"timeout": 2})).await;
    for _ in 0..2 {
        desks.phase("desk", Phase::Suspended).await;
        desks.reason("desk", "Ready", "SuspendedTimeout").await;
        wait_gone(&desks.api::<Pod>(), "vdi-desk").await;
        let session = desks.sessions().get("desk").await.unwrap();
        let at = run::wake_time(&session, Timestamp::now()).to_string();
        desks.patch_session("desk", json!({"metadata": {"annotations": {names::WAKE_AT: at}}})).await;
        desks.holds("desk", "PodReady").await;
    }
    desks.delete_session("desk").await;
    wait_gone(&desks.sessions(), "desk").await;
    assert_eq!(desks.everything().await["claims"], [desks.home()]);
}

/// What happens to a session.
#[derive(Clone, Copy)]
enum Life {
    /// See [`live`].
    Asked,
    /// See [`time_out`].
    TimesOut,
}

/// A life under an operator that crashes once, and another one that takes over.
async fn live_through(life: Life, site: Site, nth: u32, moment: Moment) -> bool {
    let desks = Desks::new("crash").await;
    desks.make_template(json!({})).await;
    let one_pod = OnePod::watch(&desks);
    let faults = Faults::crash_at(site, nth, moment);
    let first =
        Operator::start(faults.client(desks.client.clone()), settings(&desks.namespace), "first").await;
    let namespace = desks.namespace.clone();
    let client = desks.client.clone();
    let crash = faults.clone();
    let successor = tokio::spawn(async move {
        crash.crashed().await;
        drop(first);
        let second = Operator::start(client, settings(&namespace), "second").await;
        std::future::pending::<()>().await;
        drop(second);
    });
    match life {
        Life::Asked => live(&desks).await,
        Life::TimesOut => time_out(&desks).await,
    }
    let struck = tokio::time::timeout(STRIKES, faults.crashed()).await.is_ok();
    successor.abort();
    drop(one_pod);
    struck
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_call_changes_nothing_in_the_end() {
    let desks = Desks::new("crash").await;
    desks.make_template(json!({})).await;
    let recorder = Faults::default();
    let client = recorder.client(desks.client.clone());
    let operator = Operator::start(client, settings(&desks.namespace), "recorder").await;
    live(&desks).await;
    drop(operator);
    let sites = recorder.sites();
    let names: Vec<&str> = sites.keys().map(|s| s.0.as_str()).collect();
    for twice in TWICE {
        assert!(sites[&Site(twice.to_owned())] >= 2, "{twice}: on resume, or on deletion, too: {sites:?}");
    }
    for expected in [
        "create pods",
        "create secrets",
        "create services",
        "create networkpolicies",
        "create ingressroutes",
        "create persistentvolumeclaims",
        "delete pods",
        "delete ingressroutes",
        "delete persistentvolumeclaims",
        "patch vdisessions",
        "patch vdisessions/status",
        "get secrets",
        "list vdisessions",
    ] {
        assert!(names.contains(&expected), "{expected} is no call site: {names:?}");
    }
    let cases = sites.into_keys().flat_map(|site| {
        // More calls than these are made as often as things happen to be seen.
        let calls = if TWICE.contains(&site.0.as_str()) { 1..=2 } else { 1..=1 };
        calls.flat_map(move |nth| [Moment::Before, Moment::After].map(|moment| (site.clone(), nth, moment)))
    });
    let cases: Vec<(Site, u32, Moment)> = cases.collect();
    let lives = futures_util::stream::iter(cases).map(|(site, nth, moment)| async move {
        let case = format!("{site:?} {nth} {moment:?}");
        let struck = tokio::spawn(async move {
            // Some calls are made only if a watch tells two things in one order, so not in every life.
            for _ in 0..LIVES {
                if live_through(Life::Asked, site.clone(), nth, moment).await {
                    return true;
                }
            }
            false
        });
        (case, struck.await)
    });
    let results: Vec<_> = lives.buffer_unordered(6).collect().await;
    for (case, struck) in results {
        assert!(struck.unwrap_or_else(|e| panic!("{case}: {e}")), "{case} was never hit");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_a_timeout_ends_a_run_changes_nothing_in_the_end() {
    // The first patch is the finalizer's, the second the suspension.
    for (call, nth) in [("patch vdisessions", 2), ("delete pods", 1), ("delete ingressroutes", 1)] {
        for moment in [Moment::Before, Moment::After] {
            let struck = live_through(Life::TimesOut, Site(call.to_owned()), nth, moment).await;
            assert!(struck, "{call} {nth} {moment:?} was never hit");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quarter_of_all_calls_may_fail() {
    for seed in [7, 77, 777] {
        let desks = Desks::new("random").await;
        desks.make_template(json!({})).await;
        let one_pod = OnePod::watch(&desks);
        let faults = Faults::failing(25, seed);
        let client = faults.client(desks.client.clone());
        let _operator = Operator::start(client, settings(&desks.namespace), "unlucky").await;
        live(&desks).await;
        assert!(faults.failed() >= 5, "{} calls failed", faults.failed());
        drop(one_pod);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_that_both_lead_make_one_pod() {
    // Neither knows of the other, and each acts on what it saw last.
    let desks = Desks::new("double").await;
    desks.make_template(json!({})).await;
    let one_pod = OnePod::watch(&desks);
    let mut other = settings(&desks.namespace);
    other.own_namespace = desks.cluster.namespace("double-lease").await;
    let _first = desks.operator().await;
    let _second = Operator::start(desks.client.clone(), other, "second").await;
    live(&desks).await;
    drop(one_pod);
}
