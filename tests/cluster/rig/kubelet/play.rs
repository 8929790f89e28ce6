//! Follows the pods of a namespace and does to each what the script says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{Binding, Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::{PodState, Running, Script, state};

/// Requests at the same time, when many pods come at once.
const AT_ONCE: usize = 64;
/// Between attempts, such as while the API server is down.
const RETRY: Duration = Duration::from_millis(100);

/// What is known of one pod beyond its object. Behind a lock, because one task at a time works on it.
#[derive(Default)]
struct Life {
    address: Option<Ipv4Addr>,
    bound: bool,
    reported: Option<PodState>,
    running: Option<Running>,
    ended: bool,
}

type Lives = BTreeMap<String, (Pod, Arc<Mutex<Life>>)>;

#[derive(Clone)]
struct Hands {
    pods: Api<Pod>,
    events: Api<Event>,
    node: String,
    limit: Arc<Semaphore>,
}

/// Runs until it is aborted.
pub async fn play(
    client: Client,
    namespace: String,
    node: String,
    mut script: watch::Receiver<Script>,
    next_address: impl Fn() -> Ipv4Addr,
) {
    let pods = Api::<Pod>::namespaced(client.clone(), &namespace);
    let events = Api::namespaced(client, &namespace);
    let hands = Hands { pods: pods.clone(), events, node, limit: Arc::new(Semaphore::new(AT_ONCE)) };
    let changes = watcher(pods, watcher::Config::default()).default_backoff();
    let mut changes = std::pin::pin!(changes);
    let mut lives = Lives::new();
    let mut seen_again = BTreeSet::new();
    let mut tasks = JoinSet::new();
    let mut busy = BTreeSet::new();
    loop {
        tokio::select! {
            // Errors of the watch: it backs off and comes back by itself.
            change = changes.next() => if let Some(Ok(change)) = change {
                take_in(change, &mut lives, &mut seen_again);
            },
            changed = script.changed() => if changed.is_err() { return },
            Some(done) = tasks.join_next() => { busy.remove::<String>(&done.unwrap()); }
        }
        let script = script.borrow().clone();
        for (uid, (pod, life)) in &lives {
            if busy.contains(uid) {
                continue;
            }
            let Some(step) = next_step(pod, &lock(life), &script) else { continue };
            let address = *lock(life).address.get_or_insert_with(&next_address);
            busy.insert(uid.clone());
            let (hands, pod, life, uid) = (hands.clone(), pod.clone(), life.clone(), uid.clone());
            let script = script.clone();
            tasks.spawn(async move {
                let _permit = hands.limit.clone().acquire_owned().await;
                if let Err(error) = hands.take(step, &pod, address, &life, &script).await {
                    // Normal for pods that went away meanwhile.
                    if !matches!(&error, kube::Error::Api(status) if status.is_not_found()) {
                        eprintln!("rig: pod {}: {error}", pod.name_any());
                    }
                    tokio::time::sleep(RETRY).await;
                }
                uid
            });
        }
    }
}

fn take_in(change: watcher::Event<Pod>, lives: &mut Lives, seen_again: &mut BTreeSet<String>) {
    let mut keep = |pod: Pod| {
        let uid = pod.uid().unwrap_or_default();
        let life = lives.get(&uid).map(|(_, life)| life.clone()).unwrap_or_default();
        lives.insert(uid.clone(), (pod, life));
        uid
    };
    match change {
        watcher::Event::Init => seen_again.clear(),
        watcher::Event::InitApply(pod) => {
            seen_again.insert(keep(pod));
        }
        watcher::Event::Apply(pod) => {
            keep(pod);
        }
        watcher::Event::InitDone => lives.retain(|uid, (_, life)| {
            let there = seen_again.contains(uid);
            if !there {
                spawn_stop(life);
            }
            there
        }),
        watcher::Event::Delete(pod) => {
            if let Some((_, life)) = lives.remove(&pod.uid().unwrap_or_default()) {
                spawn_stop(&life);
            }
        }
    }
}

fn lock(life: &Mutex<Life>) -> MutexGuard<'_, Life> {
    life.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends what runs for a pod that is gone, without waiting for it.
fn spawn_stop(life: &Arc<Mutex<Life>>) {
    let life = life.clone();
    tokio::spawn(async move { stop(&life).await });
}

/// Ends what runs for a pod.
async fn stop(life: &Mutex<Life>) {
    let running = lock(life).running.take();
    // Nothing is lost if that panics: it is printed.
    let _ = tokio::task::spawn_blocking(move || drop(running)).await;
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Bind,
    Report(PodState),
    End,
}

/// PURE: what to do next about a pod, if anything.
fn next_step(pod: &Pod, life: &Life, script: &Script) -> Option<Step> {
    if pod.metadata.deletion_timestamp.is_some() {
        let ends = script.acknowledges_deletions && !script.node_lost && !life.ended;
        return ends.then_some(Step::End);
    }
    if matches!(life.reported, Some(PodState::Failed { .. } | PodState::Succeeded)) {
        return None;
    }
    let bound = life.bound || pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    let wanted = match script.state_of(&pod.name_any()) {
        _ if script.node_lost && bound => PodState::NodeLost,
        _ if script.node_lost => PodState::Unschedulable(
            "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }."
                .to_owned(),
        ),
        // The scheduler does not take its word back.
        PodState::Unschedulable(_) if bound => return None,
        wanted => wanted.clone(),
    };
    if wanted.is_bound() && !bound {
        return Some(Step::Bind);
    }
    (life.reported.as_ref() != Some(&wanted)).then_some(Step::Report(wanted))
}

impl Hands {
    async fn take(
        &self,
        step: Step,
        pod: &Pod,
        address: Ipv4Addr,
        life: &Mutex<Life>,
        script: &Script,
    ) -> Result<(), kube::Error> {
        match step {
            Step::Bind => {
                self.bind(pod).await?;
                lock(life).bound = true;
            }
            Step::Report(state) => {
                if !state.runs() && state != PodState::NodeLost {
                    stop(life).await;
                }
                let starts = state.runs() && lock(life).running.is_none();
                if let Some(start) = script.on_ready.clone().filter(|_| starts) {
                    let pod = pod.clone();
                    match tokio::task::spawn_blocking(move || start(&pod, address)).await {
                        Ok(running) => lock(life).running = Some(running),
                        // Its panic has been printed. The pod does not get ready, and the test says so.
                        Err(_) => {
                            lock(life).reported = Some(state);
                            return Ok(());
                        }
                    }
                }
                self.report(pod, &state, address).await?;
                lock(life).reported = Some(state);
            }
            Step::End => {
                stop(life).await;
                let params = DeleteParams::default().grace_period(0);
                let same = Preconditions { uid: pod.uid(), resource_version: None };
                self.pods.delete(&pod.name_any(), &params.preconditions(same)).await?;
                lock(life).ended = true;
            }
        }
        Ok(())
    }

    async fn bind(&self, pod: &Pod) -> Result<(), kube::Error> {
        let name = pod.name_any();
        let binding = Binding {
            metadata: ObjectMeta { name: Some(name.clone()), uid: pod.uid(), ..ObjectMeta::default() },
            target: ObjectReference {
                kind: Some("Node".to_owned()),
                name: Some(self.node.clone()),
                ..ObjectReference::default()
            },
        };
        let _: serde_json::Value =
            self.pods.create_subresource("binding", &name, &PostParams::default(), &binding).await?;
        Ok(())
    }

    async fn report(&self, pod: &Pod, state: &PodState, address: Ipv4Addr) -> Result<(), kube::Error> {
        let status = state::status(pod, state, address, Timestamp::now());
        self.pods.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(status)).await?;
        let Some((reason, message, component)) = state.event() else { return Ok(()) };
        let event = Event {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}.", pod.name_any())),
                ..ObjectMeta::default()
            },
            involved_object: pod.object_ref(&()),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            type_: Some("Warning".to_owned()),
            source: Some(EventSource {
                component: Some(component.to_owned()),
                host: Some(self.node.clone()),
            }),
            first_timestamp: Some(Time(Timestamp::now())),
            last_timestamp: Some(Time(Timestamp::now())),
            event_time: Some(MicroTime(Timestamp::now())),
            reporting_component: Some(component.to_owned()),
            reporting_instance: Some(self.node.clone()),
            action: Some(reason.to_owned()),
            count: Some(1),
            ..Event::default()
        };
        self.events.create(&PostParams::default(), &event).await?;
        Ok(())
    }
}
