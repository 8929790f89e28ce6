//! What the operator knows of the cluster: one watch for each kind and namespace, kept in memory.
//!
//! Every replica watches, so that followers can serve the wake page; the leader alone acts on it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::{Event, Node, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::error_boundary::InvalidObject;
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use tokio::task::JoinSet;

use super::follow::{Known, StandIn, Told, Touches, Watched, await_kind, follow, left_out, writer};
use super::queue::{Open, Queue, Urgency};
use super::residents::Residents;
use super::traefik::{IngressRoute, IngressRouteTCP};
use super::{names, refusal};
use crate::crd::{VDISession, VDITemplate, VDITemplateSpec};

/// What is known of one namespace.
pub struct Space {
    /// Its name.
    pub namespace: String,
    /// Sessions.
    pub sessions: Store<VDISession>,
    /// Which of them name which home.
    pub residents: Arc<Residents>,
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
    /// Whether those can be used here.
    pub routes_served: Arc<Served>,
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
    seen: Arc<Seen>,
}

/// Whether a kind that need not be there can be used in one namespace.
#[derive(Debug, Default)]
pub struct Served(Mutex<Use>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Use {
    #[default]
    Unknown,
    /// The API server does not know the kind.
    Absent,
    /// It refuses to tell what there is, in these words.
    Refused(String),
    /// What there is stands in the store.
    Listed,
}

impl Served {
    fn state(&self) -> MutexGuard<'_, Use> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what there is of it is known.
    pub fn is_listed(&self) -> bool {
        *self.state() == Use::Listed
    }

    /// Why the API server does not tell what there is of it.
    pub fn refusal(&self) -> Option<String> {
        match &*self.state() {
            Use::Refused(words) => Some(words.clone()),
            _ => None,
        }
    }

    /// Whether that is news. Once listed, the store counts: a route is not gone because a watch is refused.
    fn becomes(&self, next: Use) -> bool {
        let mut state = self.state();
        let is_news = *state != Use::Listed && *state != next;
        if is_news {
            *state = next;
        }
        is_news
    }
}

/// Watches that have not listed yet.
#[derive(Default)]
struct Seen {
    missing: Mutex<HashMap<String, Missing>>,
    changed: tokio::sync::Notify,
}

/// What a watch that has not listed yet means for others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    /// They wait for it.
    Awaited,
    /// They do without.
    DoneWithout,
}

impl Seen {
    fn watches(&self) -> MutexGuard<'_, HashMap<String, Missing>> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expect(&self, watch: &str) {
        self.watches().insert(watch.to_owned(), Missing::Awaited);
    }

    fn listed(&self, watch: &str) {
        self.watches().remove(watch);
        self.changed.notify_waiters();
    }

    fn do_without(&self, watch: &str) {
        self.watches().insert(watch.to_owned(), Missing::DoneWithout);
        self.changed.notify_waiters();
    }

    fn missing(&self) -> Vec<String> {
        let mut missing: Vec<String> = self.watches().keys().cloned().collect();
        missing.sort();
        missing
    }

    fn knows(&self, place: &str) -> bool {
        !self.watches().iter().any(|(watch, missing)| *missing == Missing::Awaited && is_of(watch, place))
    }

    /// Waits until nothing of this place is missing.
    async fn all_of(&self, place: &str) {
        loop {
            let changed = self.changed.notified();
            if self.knows(place) {
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
        let queues: BTreeMap<String, Arc<Queue>> =
            namespaces.iter().map(|n| (n.clone(), Arc::new(Queue::default()))).collect();
        let mut start = Start { client: client.clone(), seen: Arc::clone(&seen), tasks };
        let mut users: Vec<(Store<VDISession>, Arc<Queue>)> = Vec::new();
        let mut spaces = BTreeMap::new();
        for (namespace, queue) in &queues {
            let space = start.space(namespace, Arc::clone(queue));
            users.push((space.sessions.clone(), Arc::clone(queue)));
            spaces.insert(namespace.clone(), space);
        }
        let templates = start.templates(users);
        let nodes = start.cluster(Arc::new(|_: &Node, _| {}), left_out);
        Arc::new(Self { templates, nodes, spaces, seen })
    }

    /// Watches that have not listed yet, also those that nobody waits for; empty: everything is known.
    pub fn missing(&self) -> Vec<String> {
        self.seen.missing()
    }

    /// Whether what all sessions need is known, and all of at least one namespace. One that is not there, or that the
    /// operator has no right to, keeps nobody waiting but itself.
    pub fn is_ready(&self) -> bool {
        self.seen.knows(CLUSTER) && self.spaces.keys().any(|namespace| self.seen.knows(namespace))
    }

    /// Waits until all is known that a session of this namespace needs. Of routes too: not known is not the same as not
    /// there.
    pub async fn ready(&self, namespace: &str) {
        self.seen.all_of(CLUSTER).await;
        self.seen.all_of(namespace).await;
    }

    /// A number that grows whenever something that sessions hang on has changed, after the stores have it.
    pub fn changes(&self) -> u64 {
        self.spaces.values().map(|space| space.queue.marks()).fold(0, u64::wrapping_add)
    }
}

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
    fn space(&mut self, namespace: &str, queue: Arc<Queue>) -> Space {
        let ours = || watcher::Config::default().labels(&format!("{}={}", names::LABEL_NAME, names::APP));
        let all = watcher::Config::default;
        let (sessions_writer, sessions) = writer::<VDISession>();
        let residents = Arc::<Residents>::default();
        let (routes, routes_served) =
            self.watch_when_served(namespace, ours(), &queue, &sessions, empty_route);
        let (turn_routes, _) = self.watch_when_served(namespace, ours(), &queue, &sessions, empty_turn_route);
        Space {
            namespace: namespace.to_owned(),
            pods: self.watch(namespace, ours(), by_label(&queue)),
            services: self.watch(namespace, ours(), by_label(&queue)),
            policies: self.watch(namespace, ours(), by_label(&queue)),
            slices: self.watch(namespace, ours(), by_label(&queue)),
            claims: self.watch(namespace, all(), by_home(&queue, &residents)),
            warnings: self.watch(namespace, all().fields("type=Warning"), by_subject(&queue, &residents)),
            routes,
            routes_served,
            turn_routes,
            sessions: self.watch_sessions(namespace, &queue, &residents, (sessions_writer, sessions)),
            residents,
            queue,
        }
    }

    fn watch_sessions(
        &mut self,
        namespace: &str,
        queue: &Arc<Queue>,
        residents: &Arc<Residents>,
        (writer, store): (Writer<VDISession>, Store<VDISession>),
    ) -> Store<VDISession> {
        let api = Api::namespaced(self.client.clone(), namespace);
        let (queue, residents, there) = (Arc::clone(queue), Arc::clone(residents), store.clone());
        let touches: Touches<VDISession> = Arc::new(move |session, before| {
            let name = session.name_any();
            // Before anybody looks at it: whoever looks at one session has to find it among the residents of its home.
            residents.note(&name, || there.get(&ObjectRef::from_obj(session)));
            match before {
                Some(before) if is_echo(before, session) => queue.echo(name),
                _ => queue.mark(name, urgency(session)),
            }
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
        self.tasks.spawn(follow(api, config, known, move |told| {
            if matches!(told, Told::Listed) {
                seen.listed(&name);
            }
        }));
    }

    /// Traefik may come later than the operator, or never, and so may the right to its kinds: sessions run without.
    fn watch_when_served<K>(
        &mut self,
        namespace: &str,
        config: watcher::Config,
        queue: &Arc<Queue>,
        sessions: &Store<VDISession>,
        stand_in: StandIn<K>,
    ) -> (Store<K>, Arc<Served>)
    where
        K: Resource<Scope = NamespaceResourceScope> + Watched,
    {
        let (writer, store) = writer();
        let api = Api::namespaced(self.client.clone(), namespace);
        let objects = Known::new(writer, by_label(queue), stand_in);
        let name = watch_name::<K>(namespace);
        self.seen.expect(&name);
        let served = Arc::<Served>::default();
        let (state, seen) = (Arc::clone(&served), Arc::clone(&self.seen));
        let (queue, sessions) = (Arc::clone(queue), sessions.clone());
        let tell = move |what: Use| {
            let is_refused = matches!(what, Use::Refused(_));
            if !state.becomes(what) {
                return;
            }
            if is_refused {
                seen.do_without(&name)
            } else {
                seen.listed(&name)
            }
            for session in sessions.state() {
                queue.mark(session.name_any(), Urgency::Routine);
            }
        };
        let client = self.client.clone();
        self.tasks.spawn(async move {
            await_kind::<K>(&client, || tell(Use::Absent)).await;
            let tell = move |told: Told<'_>| match told.refusal() {
                Some(words) => tell(Use::Refused(refusal::bounded(words))),
                None if matches!(told, Told::Listed) => tell(Use::Listed),
                None => {}
            };
            follow(api, config, objects, tell).await;
        });
        (store, served)
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

/// A claim touches the sessions whose home it is.
fn by_home(queue: &Arc<Queue>, residents: &Arc<Residents>) -> Touches<PersistentVolumeClaim> {
    let (queue, residents) = (Arc::clone(queue), Arc::clone(residents));
    Arc::new(move |claim, _| mark_residents(&claim.name_any(), &residents, &queue))
}

fn mark_residents(claim: &str, residents: &Residents, queue: &Queue) {
    for session in residents.of(claim) {
        queue.mark(session, Urgency::Routine);
    }
}

/// A warning touches the session whose pod or claim it is about.
fn by_subject(queue: &Arc<Queue>, residents: &Arc<Residents>) -> Touches<Event> {
    let (queue, residents) = (Arc::clone(queue), Arc::clone(residents));
    Arc::new(move |event, _| {
        let Some(name) = event.involved_object.name.as_deref() else { return };
        match event.involved_object.kind.as_deref() {
            Some("Pod") => {
                if let Some(session) = name.strip_prefix(names::CHILD_PREFIX) {
                    queue.mark(session, Urgency::Routine);
                }
            }
            Some("PersistentVolumeClaim") => mark_residents(name, &residents, &queue),
            _ => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::crd::{RunState, VDISessionSpec, VDISessionStatus};
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
        assert!(!echoes(|s| s.spec.state = Some(RunState::Suspended)));
        assert!(!echoes(|s| s.metadata.annotations = Some([("a".to_owned(), "b".to_owned())].into())));
        assert!(!echoes(|s| s.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into())));
        assert!(!echoes(|s| s.metadata.finalizers = Some(vec!["a".to_owned()])));
        assert!(!echoes(|s| s.metadata.deletion_timestamp = Some(Time(fixtures::at(1)))));
        assert!(!echoes(|s| s.metadata.uid = Some("another".to_owned())));
    }
}
