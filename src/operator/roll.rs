//! Who goes first at the moment: quotas over all sessions that are to run, and homes, which are in one session at a time.
//!
//! Stores do not show a pod that was made a moment ago. So whoever is to make one says so here before: at most one of two
//! sessions that were looked at together begins.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::admit::{self, Admission, Admissions, Candidate};
use super::homes::{self, Claimant};
use super::run::{self, Run};
use super::settings::Quotas;
use super::snapshot::Child;
use super::stores::{Space, Stores};
use super::{names, pods, validate};
use crate::crd::VDISession;

/// How long an answer about quotas may be kept though nothing changes: wishes have times, and those come by themselves.
const LASTS: SignedDuration = SignedDuration::from_secs(1);
/// How long a watch may take to tell of a pod that was made.
const UNSEEN: SignedDuration = SignedDuration::from_secs(60);

/// See the module.
#[derive(Debug, Default)]
pub struct Roll(Mutex<Known>);

/// What a session that is to run has to know of the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// What quotas say.
    pub admission: Admission,
    /// The session that holds the home now, if it is another one.
    pub home_holder: Option<String>,
}

impl Turn {
    /// Nobody else has to be waited for.
    pub fn has_come(&self) -> bool {
        self.admission == Admission::Admitted && self.home_holder.is_none()
    }
}

#[derive(Debug, Default)]
struct Known {
    last: Option<Answer>,
    slices: HashMap<String, Slices>,
    /// Sessions whose pod is being made, or was made and is in no store yet.
    begun: HashMap<String, Timestamp>,
}

#[derive(Debug)]
struct Answer {
    changes: u64,
    at: Timestamp,
    admissions: Arc<Admissions>,
}

/// GPU slices that a session would take; nothing if it cannot start. Of these versions of session and template.
#[derive(Clone, Debug)]
struct Slices {
    versions: (Option<String>, Option<String>),
    count: Option<u32>,
}

/// What is looked at: whose turn it is depends on all sessions.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// All that is known.
    pub stores: &'a Stores,
    /// Who may have how much.
    pub quotas: &'a Quotas,
    /// The moment.
    pub now: Timestamp,
}

impl Roll {
    /// Whether it is a session's turn.
    pub fn turn(&self, view: View<'_>, space: &Space, session: &VDISession) -> Turn {
        self.known().turn(view, space, session)
    }

    /// Notes that a session's pod is about to be made, if it is its turn.
    pub fn begin(&self, view: View<'_>, space: &Space, session: &VDISession) -> Turn {
        let mut known = self.known();
        let turn = known.turn(view, space, session);
        if turn.has_come() {
            known.begun.retain(|_, at| view.now.duration_since(*at) < UNSEEN);
            known.begun.insert(session.uid().unwrap_or_default(), view.now);
            known.last = None;
        }
        turn
    }

    /// The pod was not made.
    pub fn failed(&self, uid: &str) {
        let mut known = self.known();
        known.begun.remove(uid);
        known.last = None;
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn turn(&mut self, view: View<'_>, space: &Space, session: &VDISession) -> Turn {
        // Who has a desktop waits for nobody.
        if pod_of(space, session).ours().is_some() {
            return Turn { admission: Admission::Admitted, home_holder: None };
        }
        let uid = session.uid().unwrap_or_default();
        Turn { admission: self.admission(view, &uid), home_holder: self.home_holder(view, space, session) }
    }

    fn admission(&mut self, view: View<'_>, uid: &str) -> Admission {
        if *view.quotas == Quotas::default() {
            return Admission::Admitted;
        }
        self.admissions(view).of(uid)
    }

    fn admissions(&mut self, view: View<'_>) -> Arc<Admissions> {
        // Before the stores are read: what changes from here on is for the next answer.
        let changes = view.stores.changes();
        let lasts = |last: &&Answer| {
            last.changes == changes
                && (SignedDuration::ZERO..LASTS).contains(&view.now.duration_since(last.at))
        };
        if let Some(last) = self.last.as_ref().filter(lasts) {
            return Arc::clone(&last.admissions);
        }
        let admissions = Arc::new(admit::admit(&self.candidates(view), view.quotas));
        self.last = Some(Answer { changes, at: view.now, admissions: Arc::clone(&admissions) });
        admissions
    }

    /// All that run or are to run. What is known of slices is kept for those alone.
    fn candidates(&mut self, view: View<'_>) -> Vec<Candidate> {
        let before = std::mem::take(&mut self.slices);
        let mut candidates = Vec::new();
        for space in view.stores.spaces.values() {
            for session in space.sessions.state() {
                let uid = session.uid().unwrap_or_default();
                let pod = pod_of(space, &session);
                if let Some(pod) = pod.ours().filter(|pod| !pods::has_ended(pod)) {
                    // What runs counts as it runs, whatever the spec says by now.
                    self.begun.remove(&uid);
                    candidates.push(candidate(space, &session, pods::slices(pod), true));
                    continue;
                }
                let leaves = session.metadata.deletion_timestamp.is_some();
                if leaves || run::wanted(&session, view.now) != Run::On {
                    continue;
                }
                let slices = slices(view.stores, &session, before.get(&uid));
                // What cannot start takes nothing.
                let has_begun = self.has_begun(&uid, view.now);
                candidates.extend(slices.count.map(|gpu| candidate(space, &session, gpu, has_begun)));
                self.slices.insert(uid, slices);
            }
        }
        candidates
    }

    fn has_begun(&self, uid: &str, now: Timestamp) -> bool {
        self.begun.get(uid).is_some_and(|at| now.duration_since(*at) < UNSEEN)
    }

    fn home_holder(&mut self, view: View<'_>, space: &Space, own: &VDISession) -> Option<String> {
        let claim = names::home(&own.spec.user, &own.spec.template);
        let uid = own.metadata.uid.as_deref()?;
        let mut claimants = Vec::new();
        // All of these sessions are of one template.
        let template = view.stores.templates.get(&ObjectRef::new(&own.spec.template));
        let has_home =
            |s: &VDISession| validate::validate(s, template.as_deref()).is_ok_and(|e| e.home.is_some());
        if !has_home(own) {
            return None;
        }
        let named = |name: &str| space.sessions.get(&ObjectRef::new(name).within(&space.namespace));
        // After a new list the store is ahead of what has been noted, and whoever begins has to be found by the others.
        let name = own.name_any();
        space.residents.note(&name, || named(&name));
        for name in space.residents.of(&claim) {
            let there = named(&name);
            // The claim's name has only a hash of both.
            let is_of_it =
                |s: &Arc<VDISession>| s.spec.user == own.spec.user && s.spec.template == own.spec.template;
            let Some(session) = there.filter(is_of_it) else { continue };
            let of = session.uid().unwrap_or_default();
            let claimant =
                |has_pod| Claimant { name, has_pod, created: created(&session), ..claimant(&of, &claim) };
            match pod_of(space, &session).ours() {
                Some(pod) => {
                    self.begun.remove(&of);
                    // A desktop that lives without a home takes none.
                    claimants.extend(pods::mounts(pod, &claim).then(|| claimant(true)));
                }
                None => {
                    let has_begun = self.has_begun(&of, view.now);
                    let leaves = session.metadata.deletion_timestamp.is_some();
                    let wants = !leaves && run::wanted(&session, view.now) == Run::On && has_home(&session);
                    // Who waits for a quota does not keep those waiting whom it does not concern.
                    if wants && (has_begun || self.admission(view, &of) == Admission::Admitted) {
                        claimants.push(claimant(has_begun));
                    }
                }
            }
        }
        claimants.extend(left_behind(space, &claim));
        homes::holder(&claimants, uid, &claim).map(str::to_owned)
    }
}

/// Pods that mount a home though their sessions are gone: on a node that does not answer they may still run.
fn left_behind(space: &Space, claim: &str) -> Vec<Claimant> {
    let mounting = space.pods.state().into_iter().filter(|p| pods::mounts(p, claim) && !pods::has_ended(p));
    let of = |pod: &Pod| {
        let name = pod.labels().get(names::LABEL_INSTANCE)?;
        let uid = pod.labels().get(names::LABEL_SESSION_UID)?;
        let session = space.sessions.get(&ObjectRef::new(name).within(&space.namespace));
        let is_there = session.is_some_and(|session| session.metadata.uid.as_ref() == Some(uid));
        (!is_there).then(|| Claimant {
            name: format!("{name}, whose pod {} is still there", pod.name_any()),
            has_pod: true,
            created: pods::created(pod).unwrap_or(Timestamp::MIN),
            ..claimant(uid, claim)
        })
    };
    mounting.filter_map(|pod| of(&pod)).collect()
}

fn claimant(uid: &str, claim: &str) -> Claimant {
    Claimant {
        uid: uid.to_owned(),
        name: String::new(),
        claim: claim.to_owned(),
        has_pod: false,
        created: Timestamp::MAX,
    }
}

fn slices(stores: &Stores, session: &VDISession, before: Option<&Slices>) -> Slices {
    let template = stores.templates.get(&ObjectRef::new(&session.spec.template));
    let versions = (session.resource_version(), template.as_ref().and_then(|t| t.resource_version()));
    if let Some(same) = before.filter(|before| before.versions == versions) {
        return same.clone();
    }
    let effective = validate::validate(session, template.as_deref());
    Slices { versions, count: effective.ok().map(|effective| effective.compute.slices()) }
}

fn candidate(space: &Space, session: &VDISession, gpu: u32, has_pod: bool) -> Candidate {
    Candidate {
        has_pod,
        uid: session.uid().unwrap_or_default(),
        name: format!("{}/{}", space.namespace, session.name_any()),
        user: session.spec.user.clone(),
        template: session.spec.template.clone(),
        gpu,
        created: created(session),
    }
}

/// The pod of a session.
pub(super) fn pod_of(space: &Space, session: &VDISession) -> Child<Pod> {
    let name = names::child(&session.name_any());
    let pod = space.pods.get(&ObjectRef::new(&name).within(&space.namespace));
    Child::of(pod, &session.uid().unwrap_or_default())
}

/// Age, as it decides who goes first.
fn created(session: &VDISession) -> Timestamp {
    session.metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |t| t.0)
}
