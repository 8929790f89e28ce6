//! Who is admitted at the moment: quotas over all sessions that are to run.
//!
//! Every look at a session asks, and an answer is about all of them; so one is worked out when something about sessions
//! has changed, and kept until something changes again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::admit::{self, Admission, Admissions, Candidate};
use super::run::{self, Run};
use super::settings::Quotas;
use super::stores::{Space, Stores};
use super::{fetch, validate};
use crate::crd::VDISession;

/// How long an answer may be kept though nothing changes: wishes have times, and those come by themselves.
const LASTS: SignedDuration = SignedDuration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub struct Roll(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    last: Option<Answer>,
    slices: HashMap<String, Slices>,
}

#[derive(Debug)]
struct Answer {
    changes: u64,
    at: Timestamp,
    admissions: Arc<Admissions>,
}

/// GPU slices that a session takes; nothing if it cannot start. Of these versions of session and template.
#[derive(Clone, Debug)]
struct Slices {
    versions: (Option<String>, Option<String>),
    count: Option<u32>,
}

impl Roll {
    /// What quotas say of the session of `uid`.
    pub fn admission(&self, stores: &Stores, quotas: &Quotas, uid: &str, now: Timestamp) -> Admission {
        if *quotas == Quotas::default() {
            return Admission::Admitted;
        }
        self.admissions(stores, quotas, now).of(uid)
    }

    fn admissions(&self, stores: &Stores, quotas: &Quotas, now: Timestamp) -> Arc<Admissions> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Before the stores are read: what changes from here on is for the next answer.
        let changes = stores.changes();
        let lasts = |last: &&Answer| {
            last.changes == changes && (SignedDuration::ZERO..LASTS).contains(&now.duration_since(last.at))
        };
        if let Some(last) = known.last.as_ref().filter(lasts) {
            return Arc::clone(&last.admissions);
        }
        let admissions = Arc::new(admit::admit(&known.candidates(stores, now), quotas));
        known.last = Some(Answer { changes, at: now, admissions: Arc::clone(&admissions) });
        admissions
    }
}

impl Known {
    /// All that are to run. What is known of slices is kept for those alone.
    fn candidates(&mut self, stores: &Stores, now: Timestamp) -> Vec<Candidate> {
        let before = std::mem::take(&mut self.slices);
        let mut candidates = Vec::new();
        for space in stores.spaces.values() {
            for session in space.sessions.state() {
                let leaves = session.metadata.deletion_timestamp.is_some();
                if leaves || run::wanted(&session, now) != Run::On {
                    continue;
                }
                let uid = session.uid().unwrap_or_default();
                let slices = slices(stores, &session, before.get(&uid));
                // What cannot start takes nothing.
                candidates.extend(slices.count.map(|gpu| candidate(space, &session, gpu)));
                self.slices.insert(uid, slices);
            }
        }
        candidates
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

fn candidate(space: &Space, session: &VDISession, gpu: u32) -> Candidate {
    Candidate {
        has_pod: fetch::pod_of(space, session).ours().is_some(),
        uid: session.uid().unwrap_or_default(),
        name: format!("{}/{}", space.namespace, session.name_any()),
        user: session.spec.user.clone(),
        template: session.spec.template.clone(),
        gpu,
        created: fetch::created(session),
    }
}
