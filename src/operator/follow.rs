//! Keeps a store true, for ever, whatever comes: a watch that breaks is begun anew, and an object that cannot be read
//! stands in nobody's way but its own.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

/// How often the API server is asked whether it knows a kind, until it does.
const DISCOVERY: Duration = Duration::from_secs(10);

/// What a store can hold.
pub trait Watched:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
}
impl<K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static> Watched for K {}

/// What an event of one kind means for sessions: of the object, and of what it was before if it merely changed.
pub type Touches<K> = Arc<dyn Fn(&K, Option<&K>) + Send + Sync>;

/// What the store has for an object that cannot be read; `None`: nothing, as if it were not there.
pub type StandIn<K> = fn(InvalidObject) -> Option<K>;

/// As if it were not there.
pub fn left_out<K>(_: InvalidObject) -> Option<K> {
    None
}

/// A store, and what fills it.
pub fn writer<K: Watched>() -> (Writer<K>, Store<K>) {
    let writer = Writer::default();
    let store = writer.as_reader();
    (writer, store)
}

/// How a watch goes.
#[derive(Debug)]
pub enum Told<'a> {
    /// All that there is stands in the store.
    Listed,
    /// It is begun anew.
    Failed(&'a watcher::Error),
}

impl Told<'_> {
    /// The API server's words, if it refused the list: nothing comes of trying again until a person has mended that.
    pub fn refusal(&self) -> Option<&str> {
        match self {
            Self::Failed(watcher::Error::InitialListFailed(kube::Error::Api(status)))
                if matches!(status.code, 401 | 403) =>
            {
                Some(&status.message)
            }
            _ => None,
        }
    }
}

/// Keeps a store true: a watch that breaks is listed anew (410, dropped connections, an API server that is away), with a
/// growing wait.
pub async fn follow<K: Watched>(
    api: Api<DeserializeGuard<K>>,
    config: watcher::Config,
    mut known: Known<K>,
    tell: impl Fn(Told<'_>) + Send + Sync + 'static,
) {
    let events = watcher(api, config).default_backoff().modify(|object: &mut DeserializeGuard<K>| {
        // Half of an object's size, and nobody reads it.
        object.managed_fields_mut().clear();
    });
    let mut events = pin!(events);
    loop {
        match events.try_next().await {
            Ok(Some(event)) => {
                let done = matches!(event, watcher::Event::InitDone);
                known.take(event);
                if done {
                    tell(Told::Listed);
                }
            }
            Ok(None) => return,
            Err(error) => {
                tell(Told::Failed(&error));
                let kind = K::kind(&());
                if is_expired(&error) {
                    tracing::debug!(code = "watch_expired", %kind, %error, "a watch is listed anew");
                } else {
                    tracing::warn!(code = "watch_failed", %kind, %error, "a watch broke; it is begun anew");
                }
            }
        }
    }
}

/// Whether the API server has merely forgotten where the watch stood (410), as it does every few minutes.
fn is_expired(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchError(status) if status.code == 410)
}

/// A store with what its events touch. After a new list, what vanished meanwhile has been touched too: its deletion
/// was never told.
pub struct Known<K: Watched> {
    writer: Writer<K>,
    store: Store<K>,
    touches: Touches<K>,
    stand_in: StandIn<K>,
    listing: HashSet<ObjectRef<K>>,
    unreadable: HashMap<ObjectRef<K>, Unreadable>,
    lists: u64,
}

/// What was told of an object that cannot be read.
struct Unreadable {
    text: String,
    /// The list that had it last, so that what vanished between two lists is forgotten.
    list: u64,
}

impl<K: Watched> Known<K> {
    /// An empty store.
    pub fn new(writer: Writer<K>, touches: Touches<K>, stand_in: StandIn<K>) -> Self {
        Self {
            store: writer.as_reader(),
            writer,
            touches,
            stand_in,
            listing: HashSet::new(),
            unreadable: HashMap::new(),
            lists: 0,
        }
    }

    fn take(&mut self, event: watcher::Event<DeserializeGuard<K>>) {
        match event {
            watcher::Event::Apply(object) => match self.read(object) {
                Ok(object) => self.apply(object),
                Err(reference) => self.delete(self.store.get(&reference)),
            },
            watcher::Event::Delete(object) => {
                let reference = reference(object.meta());
                self.unreadable.remove(&reference);
                self.delete(object.0.map(Arc::new).ok().or_else(|| self.store.get(&reference)));
            }
            watcher::Event::Init => {
                self.lists += 1;
                self.listing.clear();
                self.writer.apply_watcher_event(&watcher::Event::Init);
            }
            watcher::Event::InitApply(object) => {
                if let Ok(object) = self.read(object) {
                    self.listing.insert(reference(object.meta()));
                    self.writer.apply_watcher_event(&watcher::Event::InitApply(object));
                }
            }
            watcher::Event::InitDone => self.listed(),
        }
    }

    // In all of these the store goes first: whoever is woken reads it.

    fn apply(&mut self, object: K) {
        let before = self.store.get(&reference(object.meta()));
        let event = watcher::Event::Apply(object);
        self.writer.apply_watcher_event(&event);
        if let watcher::Event::Apply(object) = &event {
            (self.touches)(object, before.as_deref());
        }
    }

    fn delete(&mut self, object: Option<Arc<K>>) {
        let Some(object) = object else { return };
        self.writer.apply_watcher_event(&watcher::Event::Delete(object.as_ref().clone()));
        (self.touches)(&object, None);
    }

    fn listed(&mut self) {
        let mut touched = self.store.state();
        touched.retain(|object| !self.listing.contains(&reference(object.meta())));
        self.writer.apply_watcher_event(&watcher::Event::InitDone);
        self.listing.clear();
        self.unreadable.retain(|_, unreadable| unreadable.list == self.lists);
        touched.extend(self.store.state());
        touched.iter().for_each(|object| (self.touches)(object, None));
    }

    /// The object, or what stands for it; the name of one that is left out.
    fn read(&mut self, object: DeserializeGuard<K>) -> Result<K, ObjectRef<K>> {
        let reference = reference(object.meta());
        match object.0 {
            Ok(object) => {
                self.unreadable.remove(&reference);
                Ok(object)
            }
            Err(invalid) => {
                self.tell(&reference, &invalid);
                (self.stand_in)(invalid).ok_or(reference)
            }
        }
    }

    /// Told once, however often it comes by.
    fn tell(&mut self, reference: &ObjectRef<K>, invalid: &InvalidObject) {
        let unreadable = Unreadable { text: invalid.error.clone(), list: self.lists };
        let before = self.unreadable.insert(reference.clone(), unreadable);
        if before.is_none_or(|before| before.text != invalid.error) {
            let (kind, error) = (K::kind(&()), &invalid.error);
            tracing::error!(code = "object_unreadable", %kind, object = %reference, %error, "an object cannot be read");
        }
    }
}

fn reference<K: Watched>(metadata: &ObjectMeta) -> ObjectRef<K> {
    let reference = ObjectRef::new(metadata.name.as_deref().unwrap_or_default());
    match &metadata.namespace {
        Some(namespace) => reference.within(namespace),
        None => reference,
    }
}

/// Waits until the API server serves a kind.
pub async fn await_kind<K: Watched>(client: &Client, is_absent: impl Fn()) {
    let version = K::api_version(&());
    loop {
        match client.list_api_group_resources(&version).await {
            Ok(list) if list.resources.iter().any(|r| r.kind == K::kind(&())) => return,
            Ok(_) => is_absent(),
            Err(kube::Error::Api(status)) if status.code == 404 => is_absent(),
            Err(error) => {
                tracing::warn!(code = "discovery_failed", kind = %K::kind(&()), %error, "asking for a kind failed")
            }
        }
        tokio::time::sleep(DISCOVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::{Value, json};

    use super::*;
    use crate::crd::VDITemplate;

    type Names = Arc<Mutex<Vec<String>>>;

    fn known(stand_in: StandIn<VDITemplate>) -> (Known<VDITemplate>, Store<VDITemplate>, Names) {
        let touched = Names::default();
        let notes = Arc::clone(&touched);
        let (writer, store) = writer();
        let touches: Touches<VDITemplate> =
            Arc::new(move |object, _| notes.lock().unwrap().push(object.name_any()));
        (Known::new(writer, touches, stand_in), store, touched)
    }

    fn object(name: &str, user: Value) -> DeserializeGuard<VDITemplate> {
        let spec = json!({"image": "a", "securityContext": {"runAsUser": user}});
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
    }

    fn names(store: &Store<VDITemplate>) -> Vec<String> {
        let mut names: Vec<String> = store.state().iter().map(|object| object.name_any()).collect();
        names.sort();
        names
    }

    fn list(known: &mut Known<VDITemplate>, objects: Vec<DeserializeGuard<VDITemplate>>) {
        known.take(watcher::Event::Init);
        objects.into_iter().for_each(|object| known.take(watcher::Event::InitApply(object)));
        known.take(watcher::Event::InitDone);
    }

    #[test]
    fn what_cannot_be_read_is_left_out_and_holds_nobody() {
        let (mut known, store, touched) = known(left_out);
        list(&mut known, vec![object("bad", json!("1000")), object("good", json!(1000))]);
        assert_eq!(names(&store), ["good"]);
        known.take(watcher::Event::Apply(object("bad", json!(1))));
        assert_eq!(names(&store), ["bad", "good"]);
        touched.lock().unwrap().clear();
        known.take(watcher::Event::Apply(object("good", json!("root"))));
        assert_eq!(names(&store), ["bad"], "it was readable once");
        assert_eq!(*touched.lock().unwrap(), ["good"]);
    }

    #[test]
    fn what_cannot_be_read_has_a_stand_in_that_goes_with_it() {
        let (mut known, store, touched) =
            known(|invalid| Some(VDITemplate { metadata: invalid.metadata, ..VDITemplate::default() }));
        list(&mut known, vec![object("bad", json!("1000"))]);
        assert_eq!(names(&store), ["bad"]);
        known.take(watcher::Event::Delete(object("bad", json!("1000"))));
        assert_eq!(names(&store), [""; 0]);
        assert_eq!(*touched.lock().unwrap(), ["bad", "bad"]);
    }

    #[test]
    fn what_vanished_between_two_lists_is_touched_and_forgotten() {
        let (mut known, store, touched) = known(left_out);
        list(&mut known, vec![object("bad", json!("1000")), object("good", json!(1000))]);
        assert_eq!(known.unreadable.len(), 1);
        touched.lock().unwrap().clear();
        list(&mut known, vec![]);
        assert_eq!(names(&store), [""; 0]);
        assert_eq!(*touched.lock().unwrap(), ["good"]);
        assert!(known.unreadable.is_empty());
    }
}
