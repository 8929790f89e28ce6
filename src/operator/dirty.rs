//! Which sessions have to be looked at, in the order in which something happened: each stands in it once, so that it is
//! bounded by the number of sessions whatever happens.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Names of sessions (of one namespace) that something happened to.
#[derive(Debug, Default)]
pub struct Dirty {
    queue: Mutex<Queue>,
    added: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    // In order: who was looked at often must not keep others waiting.
    order: VecDeque<String>,
    names: HashSet<String>,
}

impl Dirty {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Names are whole whatever panicked while they were held.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something happened to a session.
    pub fn mark(&self, session: impl Into<String>) {
        let session = session.into();
        let mut queue = self.queue();
        if queue.names.insert(session.clone()) {
            queue.order.push_back(session);
            self.added.notify_one();
        }
    }

    /// The next session to look at; waits for one. For one worker.
    pub async fn next(&self) -> String {
        loop {
            let added = self.added.notified();
            if let Some(name) = self.pop() {
                return name;
            }
            added.await;
        }
    }

    fn pop(&self) -> Option<String> {
        let mut queue = self.queue();
        let name = queue.order.pop_front()?;
        queue.names.remove(&name);
        Some(name)
    }

    /// How many wait to be looked at.
    pub fn len(&self) -> usize {
        self.queue().order.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_waits_once_and_in_order() {
        let dirty = Dirty::default();
        for name in ["b", "a", "b", "c"] {
            dirty.mark(name);
        }
        assert_eq!(dirty.len(), 3);
        assert_eq!((dirty.next().await, dirty.next().await), ("b".to_owned(), "a".to_owned()));
        dirty.mark("b");
        assert_eq!((dirty.next().await, dirty.next().await), ("c".to_owned(), "b".to_owned()));
        assert!(dirty.is_empty());
    }
}
