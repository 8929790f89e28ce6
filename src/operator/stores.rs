//! What the operator knows of the cluster: one watch for each kind and namespace, kept in memory.
//!
//! Every replica watches, so that followers can serve the wake page; the leader alone acts on it.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::{Event, Node, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::error_boundary::InvalidObject;
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::runtime::reflector::Store;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use tokio::task::JoinSet;

use super::follow::{Known, StandIn, Touches, Watched, await_kind, follow, left_out, writer};
use super::queue::{Open, Queue, Urgency};
use super::traefik::{IngressRoute, IngressRouteTCP};
use super::{names, refusal};
use crate::crd::{VDISession, VDITemplate, VDITemplateSpec};

/// What is known of one namespace.
pub struct Space {
    /// Its name.
    pub namespace: String,
    /// Sessions.
    pub sessions: Store<VDISession>,
    /// Pods of sessions.
    pub pods: Store<Pod>,
    /// Services of sessions.
    pub services: Store<Service>,
    /// NetworkPolicies of sessions.
    pub policies: Store<NetworkPolicy>,
    /// All claims: one of a home's name may be anybody's.
    pub claims: Store<PersistentVolumeClaim>,
    /// EndpointSlices of sessions' Services.
    pub slices: Store<EndpointSlice>,
    /// Warnings.
    pub warnings: Store<Event>,
    /// Routes.
    pub routes: Store<IngressRoute>,
    /// Routes of TURN over TLS.
    pub turn_routes: Store<IngressRouteTCP>,
    /// Sessions that have to be looked at.
    pub queue: Arc<Queue>,
}

/// What is known of the cluster.
pub struct Stores {
    /// Templates.
    pub templates: Store<VDITemplate>,
    /// Nodes.
    pub nodes: Store<Node>,
    /// Namespaces with sessions.
    pub spaces: BTreeMap<String, Space>,
    routes: Arc<AtomicU8>,
    seen: Arc<Seen>,
}

/// Watches that have not listed yet.
#[derive(Default)]
struct Seen {
    waiting: Mutex<HashSet<String>>,
    changed: tokio::sync::Notify,
}

impl Seen {
    fn expect(&self, watch: &str) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(watch.to_owned());
    }

    fn listed(&self, watch: &str) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(watch);
        self.changed.notify_waiters();
    }

    fn missing(&self) -> Vec<String> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Waits until nothing of this place is missing.
    async fn all_of(&self, place: &str) {
        loop {
            let changed = self.changed.notified();
            if !self.missing().iter().any(|watch| is_of(watch, place)) {
                return;
            }
            changed.await;
        }
    }
}

impl Stores {
    /// Starts all watches; they end with `tasks`.
    pub fn start(client: &Client, namespaces: &[String], tasks: &mut JoinSet<()>) -> Arc<Self> {
        let seen = Arc::new(Seen::default());
        let routes = Arc::new(AtomicU8::new(0));
        let queues: BTreeMap<String, Arc<Queue>> =
            namespaces.iter().map(|n| (n.clone(), Arc::new(Queue::default()))).collect();
        let mut start = Start { client: client.clone(), seen: Arc::clone(&seen), tasks };
        let mut users: Vec<(Store<VDISession>, Arc<Queue>)> = Vec::new();
        let mut spaces = BTreeMap::new();
        for (namespace, queue) in &queues {
            let space = start.space(namespace, Arc::clone(queue), &routes);
            users.push((space.sessions.clone(), Arc::clone(queue)));
            spaces.insert(namespace.clone(), space);
        }
        let templates = start.templates(users);
        let nodes = start.cluster(Arc::new(|_: &Node, _| {}), left_out);
        Arc::new(Self { templates, nodes, spaces, routes, seen })
    }

    /// Watches that have not listed yet; empty: everything is known.
    pub fn missing(&self) -> Vec<String> {
        self.seen.missing()
    }

    /// Whether what all sessions need is known, and all of at least one namespace. One that is not there, or that the
    /// operator has no right to, keeps nobody waiting but itself.
    pub fn is_ready(&self) -> bool {
        let missing = self.missing();
        let knows = |place: &str| !missing.iter().any(|watch| is_of(watch, place));
        knows(CLUSTER) && self.spaces.keys().any(|namespace| knows(namespace))
    }

    /// Waits until all is known that a session of this namespace needs.
    pub async fn ready(&self, namespace: &str) {
        self.seen.all_of(CLUSTER).await;
        self.seen.all_of(namespace).await;
        // Whether there are routes to be made: not known is not the same as not there.
        while self.routes() == Routes::Unknown {
            let changed = self.seen.changed.notified();
            if self.routes() == Routes::Unknown {
                changed.await;
            }
        }
    }

    /// A number that grows whenever something that sessions hang on has changed, after the stores have it.
    pub fn changes(&self) -> u64 {
        self.spaces.values().map(|space| space.queue.marks()).fold(0, u64::wrapping_add)
    }

    /// Whether Traefik's kinds are served and watched.
    pub fn routes_are_served(&self) -> bool {
        self.routes() == Routes::Served
    }

    fn routes(&self) -> Routes {
        match self.routes.load(Ordering::Acquire) {
            SERVED => Routes::Served,
            ABSENT => Routes::Absent,
            _ => Routes::Unknown,
        }
    }
}

/// What the API server says of Traefik's kinds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Routes {
    Unknown,
    Absent,
    Served,
}

const ABSENT: u8 = 1;
const SERVED: u8 = 2;
/// Where watches of what is in no namespace belong.
const CLUSTER: &str = "the cluster";

fn is_of(watch: &str, place: &str) -> bool {
    watch.strip_suffix(place).is_some_and(|rest| rest.ends_with(" in "))
}

struct Start<'a> {
    client: Client,
    seen: Arc<Seen>,
    tasks: &'a mut JoinSet<()>,
}

/// Name of a watch, for people.
fn watch_name<K: Resource<DynamicType = ()>>(namespace: &str) -> String {
    format!("{} in {namespace}", K::plural(&()))
}

impl Start<'_> {
    fn space(&mut self, namespace: &str, queue: Arc<Queue>, known: &Arc<AtomicU8>) -> Space {
        let ours = || watcher::Config::default().labels(&format!("{}={}", names::LABEL_NAME, names::APP));
        let all = watcher::Config::default;
        let (sessions_writer, sessions) = writer::<VDISession>();
        Space {
            namespace: namespace.to_owned(),
            pods: self.watch(namespace, ours(), by_label(&queue)),
            services: self.watch(namespace, ours(), by_label(&queue)),
            policies: self.watch(namespace, ours(), by_label(&queue)),
            slices: self.watch(namespace, ours(), by_label(&queue)),
            claims: self.watch(namespace, all(), by_home(&queue, &sessions)),
            warnings: self.watch(namespace, all().fields("type=Warning"), by_subject(&queue, &sessions)),
            routes: self.watch_when_served(namespace, &queue, known, empty_route),
            turn_routes: self.watch_when_served(namespace, &queue, known, empty_turn_route),
            sessions: self.watch_sessions(namespace, &queue, sessions_writer, sessions),
            queue,
        }
    }

    fn watch_sessions(
        &mut self,
        namespace: &str,
        queue: &Arc<Queue>,
        writer: Writer<VDISession>,
        store: Store<VDISession>,
    ) -> Store<VDISession> {
        let api = Api::namespaced(self.client.clone(), namespace);
        let queue = Arc::clone(queue);
        let touches: Touches<VDISession> = Arc::new(move |session, before| match before {
            Some(before) if is_echo(before, session) => queue.echo(session.name_any()),
            _ => queue.mark(session.name_any(), urgency(session)),
        });
        let known = Known::new(writer, touches, left_out);
        self.run(api, watch_name::<VDISession>(namespace), watcher::Config::default(), known);
        store
    }

    fn watch<K>(&mut self, namespace: &str, config: watcher::Config, touches: Touches<K>) -> Store<K>
    where
        K: Resource<Scope = NamespaceResourceScope> + Watched,
    {
        let (writer, store) = writer();
        let api = Api::namespaced(self.client.clone(), namespace);
        self.run(api, watch_name::<K>(namespace), config, Known::new(writer, touches, left_out));
        store
    }

    fn cluster<K: Watched>(&mut self, touches: Touches<K>, stand_in: StandIn<K>) -> Store<K> {
        let (writer, store) = writer();
        let known = Known::new(writer, touches, stand_in);
        let api = Api::all(self.client.clone());
        self.run(api, watch_name::<K>(CLUSTER), watcher::Config::default(), known);
        store
    }

    fn run<K: Watched>(
        &mut self,
        api: Api<DeserializeGuard<K>>,
        name: String,
        config: watcher::Config,
        known: Known<K>,
    ) {
        self.seen.expect(&name);
        let seen = Arc::clone(&self.seen);
        self.tasks.spawn(follow(api, config, known, move || seen.listed(&name)));
    }

    /// Traefik may come later than the operator, or never.
    fn watch_when_served<K>(
        &mut self,
        namespace: &str,
        queue: &Arc<Queue>,
        known: &Arc<AtomicU8>,
        stand_in: StandIn<K>,
    ) -> Store<K>
    where
        K: Resource<Scope = NamespaceResourceScope> + Watched,
    {
        let (writer, store) = writer();
        let api = Api::namespaced(self.client.clone(), namespace);
        let ours = watcher::Config::default().labels(&format!("{}={}", names::LABEL_NAME, names::APP));
        let (client, known, queue) = (self.client.clone(), Arc::clone(known), Arc::clone(queue));
        let seen = Arc::clone(&self.seen);
        let tell = move |what: u8| {
            known.fetch_max(what, Ordering::AcqRel);
            seen.changed.notify_waiters();
        };
        self.tasks.spawn(async move {
            await_kind::<K>(&client, || tell(ABSENT)).await;
            let objects = Known::new(writer, by_label(&queue), stand_in);
            follow(api, ours, objects, move || tell(SERVED)).await;
        });
        store
    }

    fn templates(&mut self, users: Vec<(Store<VDISession>, Arc<Queue>)>) -> Store<VDITemplate> {
        let touches: Touches<VDITemplate> = Arc::new(move |template, _| {
            let name = template.name_any();
            for (sessions, queue) in &users {
                for session in sessions.state().iter().filter(|s| s.spec.template == name) {
                    queue.mark(session.name_any(), Urgency::Routine);
                }
            }
        });
        self.cluster(touches, unreadable_template)
    }
}

impl Space {
    /// Opens the queue for whoever acts, and puts all sessions into it: each is looked at.
    pub fn begin(&self) -> Open<'_> {
        let open = self.queue.open();
        for session in self.sessions.state() {
            self.queue.mark(session.name_any(), urgency(&session));
        }
        open
    }
}

/// A session without a pod is one that somebody waits for, or that sleeps and causes no events.
fn urgency(session: &VDISession) -> Urgency {
    let has_pod = session.status.as_ref().is_some_and(|status| status.pod_name.is_some());
    if has_pod { Urgency::Routine } else { Urgency::Waiting }
}

/// Whether nothing of a session has changed but its status, which is the operator's own word. A look because of it would
/// make void any wait before the next try: each try whose refusal has other words writes another status.
fn is_echo(before: &VDISession, after: &VDISession) -> bool {
    let said = |metadata: &ObjectMeta| ObjectMeta {
        resource_version: None,
        managed_fields: None,
        ..metadata.clone()
    };
    before.spec == after.spec && said(&before.metadata) == said(&after.metadata)
}

/// A template that cannot be read is known all the same: its sessions say why they do not start.
fn unreadable_template(invalid: InvalidObject) -> Option<VDITemplate> {
    let unreadable = Some(refusal::bounded(&invalid.error));
    let spec = VDITemplateSpec { unreadable, ..VDITemplateSpec::default() };
    Some(VDITemplate { metadata: invalid.metadata, spec })
}

/// A route that cannot be read is an edited one, whatever stands in it: it is brought back.
fn empty_route(invalid: InvalidObject) -> Option<IngressRoute> {
    Some(IngressRoute { metadata: invalid.metadata, ..IngressRoute::default() })
}

fn empty_turn_route(invalid: InvalidObject) -> Option<IngressRouteTCP> {
    Some(IngressRouteTCP { metadata: invalid.metadata, ..IngressRouteTCP::default() })
}

fn by_label<K: Resource>(queue: &Arc<Queue>) -> Touches<K> {
    let queue = Arc::clone(queue);
    Arc::new(move |object, _| {
        if let Some(session) = object.labels().get(names::LABEL_INSTANCE) {
            queue.mark(session.clone(), Urgency::Routine);
        }
    })
}

/// A claim touches the sessions of its user and template.
fn by_home(queue: &Arc<Queue>, sessions: &Store<VDISession>) -> Touches<PersistentVolumeClaim> {
    let (queue, sessions) = (Arc::clone(queue), sessions.clone());
    Arc::new(move |claim, _| {
        let name = claim.name_any();
        if name.starts_with(names::HOME_PREFIX) {
            mark_users_of(&name, &sessions, &queue);
        }
    })
}

fn mark_users_of(claim: &str, sessions: &Store<VDISession>, queue: &Queue) {
    for session in sessions.state() {
        if names::home(&session.spec.user, &session.spec.template) == claim {
            queue.mark(session.name_any(), Urgency::Routine);
        }
    }
}

/// A warning touches the session whose pod or claim it is about.
fn by_subject(queue: &Arc<Queue>, sessions: &Store<VDISession>) -> Touches<Event> {
    let (queue, sessions) = (Arc::clone(queue), sessions.clone());
    Arc::new(move |event, _| {
        let Some(name) = event.involved_object.name.as_deref() else { return };
        match event.involved_object.kind.as_deref() {
            Some("Pod") => {
                if let Some(session) = name.strip_prefix(names::CHILD_PREFIX) {
                    queue.mark(session, Urgency::Routine);
                }
            }
            Some("PersistentVolumeClaim") if name.starts_with(names::HOME_PREFIX) => {
                mark_users_of(name, &sessions, &queue);
            }
            _ => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::crd::{VDISessionSpec, VDISessionStatus};
    use crate::operator::fixtures;

    #[test]
    fn a_status_is_an_echo_and_what_people_write_is_none() {
        let session = || {
            let spec = VDISessionSpec { user: "alice".to_owned(), ..VDISessionSpec::default() };
            let metadata = ObjectMeta { uid: Some("one".to_owned()), ..ObjectMeta::default() };
            VDISession { metadata, spec, status: None }
        };
        let echoes = |change: fn(&mut VDISession)| {
            let mut after = session();
            after.metadata.resource_version = Some("2".to_owned());
            after.status = Some(VDISessionStatus { replacements: Some(1), ..VDISessionStatus::default() });
            change(&mut after);
            is_echo(&session(), &after)
        };
        assert!(echoes(|_| {}));
        assert!(!echoes(|s| s.spec.timeout = Some("1h".to_owned())));
        assert!(!echoes(|s| s.metadata.annotations = Some([("a".to_owned(), "b".to_owned())].into())));
        assert!(!echoes(|s| s.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into())));
        assert!(!echoes(|s| s.metadata.finalizers = Some(vec!["a".to_owned()])));
        assert!(!echoes(|s| s.metadata.deletion_timestamp = Some(Time(fixtures::at(1)))));
        assert!(!echoes(|s| s.metadata.uid = Some("another".to_owned())));
    }
}
