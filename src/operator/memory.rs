//! What the API server answered to our own writes of a session. A watch tells of them a moment later; until then a
//! decision on what the watch has would forget what was just written.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::ResourceExt;

use crate::crd::VDISession;

/// Sessions as they were after our last write, by UID.
#[derive(Default)]
pub struct Memory {
    sessions: Mutex<HashMap<String, Arc<VDISession>>>,
}

impl Memory {
    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Arc<VDISession>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what a write answered.
    pub fn remember(&self, session: VDISession) {
        if let Some(uid) = session.uid() {
            self.sessions().insert(uid, Arc::new(session));
        }
    }

    /// The newer of what the watch has and what is remembered.
    pub fn newest(&self, watched: Arc<VDISession>) -> Arc<VDISession> {
        let uid = watched.uid().unwrap_or_default();
        let mut sessions = self.sessions();
        match sessions.get(&uid) {
            Some(written) if version(written) > version(&watched) => Arc::clone(written),
            // The watch has caught up.
            _ => {
                sessions.remove(&uid);
                watched
            }
        }
    }

    /// Keeps only these sessions.
    pub fn retain(&self, is_kept: impl Fn(&str) -> bool) {
        self.sessions().retain(|uid, _| is_kept(uid));
    }

    /// A session is gone.
    pub fn forget(&self, uid: &str) {
        self.sessions().remove(uid);
    }
}

/// Resource versions of one object grow (KEP-5504); one that is no number counts as the oldest.
fn version(session: &VDISession) -> u128 {
    session.resource_version().and_then(|v| v.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::VDISessionSpec;

    fn session(version: &str) -> VDISession {
        let mut session = VDISession::new("desk", VDISessionSpec::default());
        session.metadata.uid = Some("uid".to_owned());
        session.metadata.resource_version = Some(version.to_owned());
        session
    }

    #[test]
    fn our_own_write_counts_until_the_watch_has_caught_up() {
        let memory = Memory::default();
        let newest = |v: &str| memory.newest(Arc::new(session(v))).resource_version().unwrap();
        assert_eq!(newest("9"), "9");
        memory.remember(session("10"));
        assert_eq!(newest("9"), "10");
        assert_eq!(newest("10"), "10");
        assert_eq!(newest("9"), "9", "caught up once, it is no longer needed");
    }
}
