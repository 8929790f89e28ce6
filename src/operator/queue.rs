//! Which sessions have to be looked at, and when: a work queue with two lanes, as controller-runtime has one.
//!
//! kube's own applier works off what waits in no order. Here a session that somebody waits for goes before one whose pod
//! merely moved on, and within a lane the first is the first, so that a burst of new desktops is not held up by its own
//! echo.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Which lane a session waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Something about it changed.
    Routine,
    /// Somebody waits for its desktop.
    Waiting,
}

/// When an echo is looked at, unless something else leads to a look before.
const ECHO: Duration = Duration::from_secs(10);
/// One take in this many is of the routine lane whatever waits in the other.
const ROUTINE_SHARE: u32 = 8;

/// PURE. Names of sessions (of one namespace): each stands in it once, so that it is bounded by the number of sessions
/// whatever happens.
#[derive(Debug, Default)]
struct Lanes {
    waiting: VecDeque<String>,
    routine: VecDeque<String>,
    queued: HashMap<String, Urgency>,
    /// Being worked on; what came up meanwhile is for the next look.
    busy: HashMap<String, Meanwhile>,
    timers: BTreeSet<(Instant, String)>,
    due: HashMap<String, Instant>,
    takes: u32,
    /// Nobody works while it is closed, and what happens is not noted: who opens it looks at everything.
    open: bool,
}

/// What came up during a look.
#[derive(Debug, Default)]
struct Meanwhile {
    marked: Option<Urgency>,
    echo: Option<Instant>,
}

impl Lanes {
    fn mark(&mut self, session: String, urgency: Urgency) {
        if !self.open {
            return;
        }
        if let Some(meanwhile) = self.busy.get_mut(&session) {
            meanwhile.marked = meanwhile.marked.max(Some(urgency));
            return;
        }
        match self.queued.insert(session.clone(), urgency) {
            None => {}
            Some(before) if before >= urgency => {
                self.queued.insert(session, before);
                return;
            }
            Some(_) => self.routine.retain(|waits| *waits != session),
        }
        self.lane(urgency).push_back(session);
    }

    /// A look at `at`, if none is due anyway: nothing is brought forward.
    fn echo(&mut self, session: String, at: Instant) {
        if !self.open || self.queued.contains_key(&session) || self.due.contains_key(&session) {
            return;
        }
        match self.busy.get_mut(&session) {
            Some(meanwhile) => meanwhile.echo = Some(at),
            None => self.arm(session, at),
        }
    }

    fn lane(&mut self, urgency: Urgency) -> &mut VecDeque<String> {
        match urgency {
            Urgency::Waiting => &mut self.waiting,
            Urgency::Routine => &mut self.routine,
        }
    }

    fn take(&mut self, now: Instant) -> Option<String> {
        self.fire(now);
        self.takes = self.takes.wrapping_add(1);
        let turn = self.takes.is_multiple_of(ROUTINE_SHARE);
        let first = if turn { Urgency::Routine } else { Urgency::Waiting };
        let then = if turn { Urgency::Waiting } else { Urgency::Routine };
        let session = self.lane(first).pop_front().or_else(|| self.lane(then).pop_front())?;
        self.queued.remove(&session);
        self.disarm(&session);
        self.busy.insert(session.clone(), Meanwhile::default());
        Some(session)
    }

    fn fire(&mut self, now: Instant) {
        while let Some((at, session)) = self.timers.first().cloned()
            && at <= now
        {
            self.disarm(&session);
            self.mark(session, Urgency::Routine);
        }
    }

    fn arm(&mut self, session: String, at: Instant) {
        self.due.insert(session.clone(), at);
        self.timers.insert((at, session));
    }

    fn disarm(&mut self, session: &str) {
        if let Some(at) = self.due.remove(session) {
            self.timers.remove(&(at, session.to_owned()));
        }
    }

    /// The look is over; the next one is due at `again`, or when something happens.
    fn done(&mut self, session: &str, again: Option<Instant>) {
        let meanwhile = self.busy.remove(session).unwrap_or_default();
        if let Some(at) = again.or(meanwhile.echo) {
            self.arm(session.to_owned(), at);
        }
        if let Some(urgency) = meanwhile.marked {
            self.mark(session.to_owned(), urgency);
        }
    }
}

/// The queue of one namespace, for any number of workers.
#[derive(Debug, Default)]
pub struct Queue {
    lanes: Mutex<Lanes>,
    changed: Notify,
    marks: AtomicU64,
}

impl Queue {
    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        // Names are whole whatever panicked while they were held.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something happened to a session.
    pub fn mark(&self, session: impl Into<String>, urgency: Urgency) {
        self.marks.fetch_add(1, Ordering::Release);
        self.lanes().mark(session.into(), urgency);
        self.changed.notify_one();
    }

    /// A session's status was written, most likely by whoever looks at it: looked at after a while, since another replica
    /// may have written it late, and not sooner, since it has nothing new to say.
    pub fn echo(&self, session: impl Into<String>) {
        self.lanes().echo(session.into(), Instant::now() + ECHO);
        self.changed.notify_one();
    }

    /// How often something has happened, whether anybody works here or not.
    pub fn marks(&self) -> u64 {
        self.marks.load(Ordering::Acquire)
    }

    /// Takes marks until the returned guard is dropped.
    pub fn open(&self) -> Open<'_> {
        self.lanes().open = true;
        Open(self)
    }

    /// The next session to look at; waits for one.
    pub async fn next(&self) -> Turn<'_> {
        loop {
            let changed = self.changed.notified();
            let (session, due) = {
                let mut lanes = self.lanes();
                (lanes.take(Instant::now()), lanes.timers.first().map(|(at, _)| *at))
            };
            if let Some(session) = session {
                // One notice may stand for several sessions: the next worker looks for itself.
                self.changed.notify_one();
                return Turn { queue: self, session, again: None };
            }
            match due {
                // A timer that ran out is found by the next take.
                Some(at) => drop(tokio::time::timeout_at(at.into(), changed).await),
                None => changed.await,
            }
        }
    }

    /// How many wait to be looked at.
    pub fn len(&self) -> usize {
        self.lanes().queued.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A queue that somebody works off. What waits when this is dropped is forgotten.
#[derive(Debug)]
pub struct Open<'a>(&'a Queue);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        *self.0.lanes() = Lanes::default();
    }
}

/// A session that is being looked at: nobody else gets it until this is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    queue: &'a Queue,
    session: String,
    again: Option<Instant>,
}

impl Turn<'_> {
    /// Whose turn it is.
    pub fn session(&self) -> &str {
        &self.session
    }

    /// Looks again after a while, though nothing changes.
    pub fn again_in(mut self, wait: Duration) {
        self.again = Instant::now().checked_add(wait);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.queue.lanes().done(&self.session, self.again);
        self.queue.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> Lanes {
        Lanes { open: true, ..Lanes::default() }
    }

    #[test]
    fn nothing_is_noted_where_nobody_works() {
        let queue = Queue::default();
        queue.mark("a", Urgency::Waiting);
        assert!(queue.is_empty());
        let guard = queue.open();
        queue.mark("a", Urgency::Waiting);
        assert_eq!(queue.len(), 1);
        drop(guard);
        assert!(queue.is_empty());
    }

    fn drain(lanes: &mut Lanes, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| {
            let session = lanes.take(now)?;
            lanes.done(&session, None);
            Some(session)
        })
        .collect()
    }

    #[test]
    fn each_waits_once_and_in_order_and_who_is_waited_for_goes_first() {
        let mut lanes = open();
        for name in ["b", "a", "b", "c"] {
            lanes.mark(name.to_owned(), Urgency::Routine);
        }
        lanes.mark("new".to_owned(), Urgency::Waiting);
        lanes.mark("c".to_owned(), Urgency::Waiting);
        lanes.mark("c".to_owned(), Urgency::Routine);
        assert_eq!(drain(&mut lanes, Instant::now()), ["new", "c", "b", "a"]);
    }

    #[test]
    fn routine_is_not_starved() {
        let mut lanes = open();
        lanes.mark("old".to_owned(), Urgency::Routine);
        for n in 0..100 {
            lanes.mark(format!("new-{n}"), Urgency::Waiting);
        }
        let order = drain(&mut lanes, Instant::now());
        assert_eq!(order.len(), 101);
        assert!(order.iter().position(|s| s == "old").unwrap() < ROUTINE_SHARE as usize, "{order:?}");
    }

    #[test]
    fn what_comes_up_during_a_look_is_looked_at_after_it_and_by_one_worker_at_a_time() {
        let (mut lanes, now) = (open(), Instant::now());
        lanes.mark("a".to_owned(), Urgency::Waiting);
        assert_eq!(lanes.take(now).as_deref(), Some("a"));
        lanes.mark("a".to_owned(), Urgency::Routine);
        assert_eq!(lanes.take(now), None);
        lanes.done("a", None);
        assert_eq!(lanes.take(now).as_deref(), Some("a"));
        lanes.done("a", None);
        assert_eq!(lanes.take(now), None);
    }

    #[test]
    fn a_later_look_replaces_the_one_that_was_due() {
        let (mut lanes, now) = (open(), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        lanes.mark("a".to_owned(), Urgency::Routine);
        lanes.take(now);
        lanes.done("a", Some(after(10)));
        assert_eq!(lanes.take(after(9)), None);
        lanes.mark("a".to_owned(), Urgency::Routine);
        assert_eq!(lanes.take(after(9)).as_deref(), Some("a"));
        lanes.done("a", Some(after(30)));
        assert_eq!(lanes.take(after(20)), None, "the first one is forgotten");
        assert_eq!(lanes.take(after(30)).as_deref(), Some("a"));
        lanes.done("a", None);
        assert!(lanes.timers.is_empty() && lanes.due.is_empty() && lanes.busy.is_empty());
    }

    #[test]
    fn an_echo_brings_nothing_forward_and_is_looked_at_in_the_end() {
        let (mut lanes, now) = (open(), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        let echo = |lanes: &mut Lanes| lanes.echo("a".to_owned(), after(10));
        // During a look that has its own next one, and after it.
        lanes.mark("a".to_owned(), Urgency::Routine);
        lanes.take(now);
        echo(&mut lanes);
        lanes.done("a", Some(after(30)));
        echo(&mut lanes);
        assert_eq!(lanes.take(after(29)), None);
        assert_eq!(lanes.take(after(30)).as_deref(), Some("a"));
        // During a look that has none.
        echo(&mut lanes);
        lanes.done("a", None);
        assert_eq!(lanes.take(after(9)), None);
        assert_eq!(lanes.take(after(10)).as_deref(), Some("a"));
        // After it.
        lanes.done("a", None);
        echo(&mut lanes);
        assert_eq!(lanes.take(after(10)).as_deref(), Some("a"));
        lanes.done("a", None);
        assert!(lanes.timers.is_empty() && lanes.due.is_empty() && lanes.busy.is_empty());
    }

    #[tokio::test]
    async fn workers_wait_for_marks_and_for_time() {
        let queue = Queue::default();
        let _open = queue.open();
        let looks = Mutex::new(Vec::new());
        let worker = async || {
            loop {
                let turn = queue.next().await;
                looks.lock().unwrap().push(turn.session().to_owned());
                tokio::task::yield_now().await;
            }
        };
        let script = async {
            for name in ["a", "b", "c"] {
                queue.mark(name, Urgency::Routine);
            }
            while looks.lock().unwrap().len() < 3 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = script => {}
            () = worker() => {}
            () = worker() => {}
        }
        assert!(queue.is_empty());
        queue.mark("d", Urgency::Routine);
        queue.next().await.again_in(Duration::ZERO);
        assert_eq!(queue.next().await.session(), "d");
    }
}
