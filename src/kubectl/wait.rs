//! Watching one session until something is so.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watch_object};
use kube::{ResourceExt, core::Status};
use tokio::time::{Instant, timeout_at};

use super::cluster::Cluster;
use super::error::Error;
use super::progress::{Progress, Verdict, standing};
use super::text::age;
use crate::crd::VDISession;

type Watch<'a> = Pin<Box<dyn Stream<Item = watcher::Result<Option<VDISession>>> + Send + 'a>>;

/// A watch of one session, by its UID: another one of the same name is not it.
pub struct Wait<'a> {
    cluster: &'a Cluster,
    name: String,
    uid: Option<String>,
    watch: Watch<'a>,
    progress: Progress,
    started: Instant,
    limit: Option<Duration>,
    tell: &'a dyn Fn(&str),
    /// The last that was seen, for whoever gives up.
    last: String,
    is_cut_off: bool,
}

impl<'a> Wait<'a> {
    /// Begins to watch `session`. `progress`: what is old; `limit`: how long to watch; `tell` gets each line.
    pub fn new(
        cluster: &'a Cluster,
        session: &VDISession,
        progress: Progress,
        limit: Option<Duration>,
        tell: &'a dyn Fn(&str),
    ) -> Self {
        let name = session.name_any();
        let watch = watch_object(cluster.sessions(), &name).default_backoff().boxed();
        Self {
            cluster,
            uid: session.uid(),
            watch,
            progress,
            started: Instant::now(),
            limit,
            tell,
            last: standing(session),
            is_cut_off: false,
            name,
        }
    }

    /// Waits until the desktop can be opened.
    ///
    /// # Errors
    /// [`Error::Ended`] for a reason that does not heal, [`Error::Gone`], [`Error::TimedOut`], any refusal.
    pub async fn ready(&mut self) -> Result<VDISession, Error> {
        loop {
            let Some(session) = self.next().await? else { return Err(Error::Gone(self.name.clone())) };
            match self.observe(&session) {
                Verdict::Waiting => {}
                Verdict::Ready => return Ok(session),
                Verdict::Ended { condition, reason, message, next } => {
                    let name = self.name.clone();
                    return Err(Error::Ended { name, condition, reason, message, next });
                }
            }
        }
    }

    /// Waits until it is gone.
    ///
    /// # Errors
    /// [`Error::TimedOut`], any refusal.
    pub async fn gone(&mut self) -> Result<(), Error> {
        while let Some(session) = self.next().await? {
            self.observe(&session);
        }
        Ok(())
    }

    /// Takes what stands there now for old: it was not what is waited for.
    pub fn disregard(&mut self, session: &VDISession) {
        self.progress.disregard(session);
    }

    fn observe(&mut self, session: &VDISession) -> Verdict {
        self.last = standing(session);
        let (lines, verdict) = self.progress.observe(session, self.started.elapsed());
        lines.iter().for_each(|line| (self.tell)(line));
        verdict
    }

    /// The session's next state; `None`: it is gone.
    async fn next(&mut self) -> Result<Option<VDISession>, Error> {
        loop {
            let next = match self.limit {
                Some(limit) => match timeout_at(self.started + limit, self.watch.next()).await {
                    Ok(next) => next,
                    Err(_) => return Err(self.timed_out(limit)),
                },
                None => self.watch.next().await,
            };
            match next {
                Some(Ok(found)) => {
                    self.is_cut_off = false;
                    return Ok(found.filter(|s| self.uid.is_none() || s.uid() == self.uid));
                }
                Some(Err(error)) => self.cut_off(error)?,
                None => return Err(Error::Gone(self.name.clone())),
            }
        }
    }

    fn timed_out(&self, limit: Duration) -> Error {
        Error::TimedOut { name: self.name.clone(), limit: age(limit), last: self.last.clone() }
    }

    /// A watch that breaks off begins anew by itself; one that is refused never will.
    fn cut_off(&mut self, error: watcher::Error) -> Result<(), Error> {
        let (verb, error) = match error {
            watcher::Error::InitialListFailed(e) => ("list", e),
            watcher::Error::WatchStartFailed(e) | watcher::Error::WatchFailed(e) => ("watch", e),
            watcher::Error::WatchError(status) => ("watch", kube::Error::Api(status)),
            watcher::Error::NoResourceVersion => ("watch", kube::Error::Api(Box::new(no_version()))),
        };
        let error = self.cluster.of_session(verb, &self.name, error);
        if matches!(
            error,
            Error::Forbidden { .. }
                | Error::Denied { .. }
                | Error::Unauthorized(_)
                | Error::KindMissing { .. }
        ) {
            return Err(error);
        }
        if !std::mem::replace(&mut self.is_cut_off, true) {
            (self.tell)(&format!("still trying: {error}"));
        }
        Ok(())
    }
}

fn no_version() -> Status {
    Status::failure("the list has no resourceVersion", "InternalError").with_code(500)
}
