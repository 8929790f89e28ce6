//! Which sessions of a namespace name which home: looked up for each event of a claim, and for each start.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::names;
use crate::crd::VDISession;

/// See the module. Bounded by the number of sessions.
#[derive(Debug, Default)]
pub struct Residents(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Names of sessions, by the claim of their home.
    sessions: HashMap<String, BTreeSet<String>>,
    /// The claim, by the name of the session.
    claims: HashMap<String, String>,
}

impl Known {
    fn remove(&mut self, session: &str) {
        let Some(claim) = self.claims.remove(session) else { return };
        if let Some(sessions) = self.sessions.get_mut(&claim) {
            sessions.remove(session);
            if sessions.is_empty() {
                self.sessions.remove(&claim);
            }
        }
    }

    fn insert(&mut self, session: &str, claim: String) {
        self.sessions.entry(claim.clone()).or_default().insert(session.to_owned());
        self.claims.insert(session.to_owned(), claim);
    }
}

impl Residents {
    fn known(&self) -> MutexGuard<'_, Known> {
        // Each change is one of both maps, and none of them can panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up what the store has of a session of this name. It is read in here: else a late note could bring back one
    /// that has gone since.
    pub fn note(&self, name: &str, read: impl FnOnce() -> Option<Arc<VDISession>>) {
        let mut known = self.known();
        let claim = read().map(|session| names::home(&session.spec.user, &session.spec.template));
        if known.claims.get(name) == claim.as_ref() {
            return;
        }
        known.remove(name);
        if let Some(claim) = claim {
            known.insert(name, claim);
        }
    }

    /// Names of the sessions whose home this claim is, or would be.
    pub fn of(&self, claim: &str) -> Vec<String> {
        self.known().sessions.get(claim).map(|names| names.iter().cloned().collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::VDISessionSpec;

    fn session(user: &str) -> Option<Arc<VDISession>> {
        let spec = VDISessionSpec {
            user: user.to_owned(),
            template: "ubuntu".to_owned(),
            ..VDISessionSpec::default()
        };
        Some(Arc::new(VDISession::new("any", spec)))
    }

    #[test]
    fn a_home_has_those_sessions_that_are_there() {
        let (alice, bob) = (names::home("alice", "ubuntu"), names::home("bob", "ubuntu"));
        let residents = Residents::default();
        residents.note("b", || session("alice"));
        residents.note("a", || session("alice"));
        residents.note("a", || session("alice"));
        assert_eq!(residents.of(&alice), ["a", "b"]);
        residents.note("b", || session("bob"));
        assert_eq!(residents.of(&alice), ["a"], "made anew, of another user");
        assert_eq!(residents.of(&bob), ["b"]);
        residents.note("a", || None);
        residents.note("b", || None);
        residents.note("never", || None);
        assert_eq!(residents.of(&alice), [""; 0]);
        let known = residents.known();
        assert!(known.sessions.is_empty() && known.claims.is_empty(), "{known:?}");
    }
}
