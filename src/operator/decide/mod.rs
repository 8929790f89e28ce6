//! PURE. What to do about a session, as a function of what is known of it.

mod children;
mod pod;

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::admit::Admission;
use super::build::Plan;
use super::effective::{Effective, Ends};
use super::reason::Reason;
use super::run::{self, Run};
use super::settings::Settings;
use super::snapshot::{Child, Snapshot};
use super::step::{Insist, Step};
use super::validate::{self, Refusal};
use super::{homes, names, pods};
use crate::crd::{ConditionType, Phase, Reclaim};

/// Where a session stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// It is being deleted.
    Terminating,
    /// No pod is wanted, for this reason.
    Off(Reason),
    /// Something has to happen first.
    Blocked {
        /// What it is about.
        condition: ConditionType,
        /// The cause.
        reason: Reason,
        /// The cause, for people.
        message: String,
    },
    /// A failed pod is replaced after a while.
    BackOff {
        /// Why it failed.
        message: String,
    },
    /// Too many pods failed, one after the other; the last one stays to be looked at.
    Exhausted {
        /// Why the last one failed.
        message: String,
    },
    /// The pod is being made.
    Starting,
    /// The old pod is on its way out.
    Stopping,
    /// The pod's node does not answer: nobody knows whether it still runs.
    Lost,
    /// The pod is there.
    Up,
}

/// Failed pods in a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replacements {
    /// How many were replaced.
    pub count: u32,
    /// When the last one was.
    pub last: Option<Timestamp>,
    /// Its UID: a cache that still shows it must not count it again.
    pub pod_uid: Option<String>,
}

/// What to do about a session.
#[derive(Clone, Debug)]
pub struct Decision {
    /// Where it stands.
    pub stage: Stage,
    /// What is in force, or why nothing can be.
    pub effective: Result<Effective, Refusal>,
    /// When the run ends by itself. What was in force last holds for a pod that lives while spec and template do not fit:
    /// else a spec that is refused would be the way to stay for ever.
    pub ends: Option<Ends>,
    /// Whether what runs is what would be made now; `None`: nothing runs.
    pub up_to_date: Option<bool>,
    /// The session goes while its pod is still there.
    pub left_behind: bool,
    /// What to do, in this order.
    pub steps: Vec<Step>,
    /// Failed pods in a row.
    pub replacements: Replacements,
    /// When to look again though nothing changed.
    pub look_again: Option<Duration>,
}

/// Decides.
pub fn decide(snapshot: &Snapshot, settings: &Settings, now: Timestamp) -> Decision {
    let effective = validate::validate(&snapshot.session, snapshot.template.as_deref());
    let status = snapshot.session.status.as_ref();
    let remembered = || Ends::remembered(status?.effective.as_ref()?);
    let ends = effective.as_ref().ok().map(Effective::ends).or_else(remembered);
    let replacements = Replacements {
        count: status.and_then(|s| s.replacements).unwrap_or(0),
        last: status.and_then(|s| s.last_replacement_time.as_ref()).map(|t| t.0),
        pod_uid: status.and_then(|s| s.last_replaced_pod_uid.clone()),
    };
    let mut decider = Decider {
        snapshot,
        settings,
        now,
        decision: Decision {
            stage: Stage::Starting,
            effective,
            ends,
            up_to_date: None,
            left_behind: false,
            steps: Vec::new(),
            replacements,
            look_again: None,
        },
    };
    decider.decision.stage = if snapshot.session.metadata.deletion_timestamp.is_some() {
        decider.terminate()
    } else {
        match run::wanted(&snapshot.session, now) {
            Run::Off(reason) => decider.stop(reason),
            Run::On => decider.start(),
        }
    };
    decider.decision
}

struct Decider<'a> {
    snapshot: &'a Snapshot,
    settings: &'a Settings,
    now: Timestamp,
    decision: Decision,
}

impl Decider<'_> {
    fn step(&mut self, step: Step) {
        self.decision.steps.push(step);
    }

    fn look_again_in(&mut self, wait: Duration) {
        let sooner = self.decision.look_again.is_none_or(|before| wait < before);
        if sooner {
            self.decision.look_again = Some(wait);
        }
    }

    /// Time until `at`; zero if it has passed.
    fn until(&self, at: Timestamp) -> Duration {
        self.now.duration_until(at).try_into().unwrap_or(Duration::ZERO)
    }

    fn has_finalizer(&self) -> bool {
        self.snapshot.session.finalizers().iter().any(|f| f == names::FINALIZER)
    }

    /// It always ends: what could not be cleaned up in time is left to the garbage collector, or to its owner.
    fn terminate(&mut self) -> Stage {
        if !self.has_finalizer() {
            return Stage::Terminating;
        }
        let pod = self.snapshot.pod.ours();
        let left = self.until_given_up(pod.map(AsRef::as_ref));
        let is_late = left.is_zero();
        self.delete_routes();
        if !is_late {
            self.look_again_in(left);
            if let Some(pod) = pod {
                if pod.metadata.deletion_timestamp.is_none() {
                    self.delete_pod(pod);
                }
                return Stage::Terminating;
            }
        }
        self.decision.left_behind = pod.is_some();
        if self.reclaims() {
            let session = &self.snapshot.session.spec;
            let claim = names::home(&session.user, &session.template);
            let insist = match is_late {
                false => Insist::Always,
                true if self.until_given_up_for_good().is_zero() => Insist::Never,
                true => Insist::UnlessRefused,
            };
            self.step(Step::DeleteHome { claim, insist });
        }
        self.step(Step::RemoveFinalizer);
        Stage::Terminating
    }

    /// How long what the session leaves is still waited for: its pod's grace period, and a while.
    fn until_given_up(&self, pod: Option<&Pod>) -> Duration {
        let session = self.snapshot.session.metadata.deletion_timestamp.as_ref().map(|t| t.0);
        // The pod's timestamp has its grace period in it.
        let ends = match pod.map(|pod| &pod.metadata.deletion_timestamp) {
            Some(Some(ends)) => Some(ends.0),
            Some(None) => session.map(|at| after(at, pods::grace(pod))),
            None => session,
        };
        ends.map_or(Duration::ZERO, |ends| self.until(after(ends, self.settings.pace.cleanup)))
    }

    /// How long an API server that fails is still asked to delete the home.
    fn until_given_up_for_good(&self) -> Duration {
        let deleted = self.snapshot.session.metadata.deletion_timestamp.as_ref();
        let cleanup = self.settings.pace.cleanup.saturating_mul(10);
        deleted.map_or(Duration::ZERO, |at| self.until(after(at.0, cleanup)))
    }

    /// Whether the home goes with the session. If the template is gone, only the session's own word counts.
    fn reclaims(&self) -> bool {
        let own = self.snapshot.session.spec.persistence.as_ref();
        match &self.decision.effective {
            Ok(effective) => effective.home.as_ref().is_some_and(|home| home.reclaim == Reclaim::Delete),
            Err(_) => own.is_some_and(|p| p.reclaim == Some(Reclaim::Delete) && p.enabled != Some(false)),
        }
    }

    fn stop(&mut self, reason: Reason) -> Stage {
        self.finalizer();
        self.delete_routes();
        if let Some(pod) = self.snapshot.pod.ours()
            && pod.metadata.deletion_timestamp.is_none()
        {
            self.delete_pod(pod);
        }
        let was_off = self.snapshot.session.status.as_ref().and_then(|s| s.phase) == Some(Phase::Suspended);
        if matches!(self.snapshot.pod, Child::Absent) && !was_off {
            self.step(Step::DeleteUnseenPod);
        }
        self.decision.replacements = Replacements::default();
        Stage::Off(reason)
    }

    fn finalizer(&mut self) {
        if !self.has_finalizer() {
            self.step(Step::AddFinalizer);
        }
    }

    fn start(&mut self) -> Stage {
        let live = self.snapshot.pod.ours().is_some();
        let blocked = self.gate();
        if let Some(blocked) = blocked.filter(|_| !live) {
            return blocked;
        }
        self.finalizer();
        let stage = self.run(live);
        // Behind a route without a pod there is Traefik's own word; without the route, the page that tells how it stands.
        if stage != Stage::Up {
            self.delete_routes();
        }
        stage
    }

    fn run(&mut self, live: bool) -> Stage {
        let (Ok(effective), Some(template)) =
            (self.decision.effective.clone(), self.snapshot.template.clone())
        else {
            // A live pod is not touched by a template that went away.
            return self.mind_pod(None);
        };
        let plan = Plan {
            session: &self.snapshot.session,
            uid: self.snapshot.uid(),
            template: &template,
            effective: &effective,
            settings: self.settings,
            advertise: self.advertise(&effective),
        };
        let around = self.around(&effective);
        let around = Plan { effective: &around, advertise: self.advertise(&around), ..plan.clone() };
        if live {
            // The pod first: its end does not hang on a child that is refused.
            let stage = self.mind_pod(Some((&plan, &around)));
            let _ = self.ensure_children(&around);
            return stage;
        }
        match self.ensure_children(&around) {
            Some(blocked) => blocked,
            None => self.mind_pod(Some((&plan, &around))),
        }
    }

    /// What has to hold before anything of the session is made.
    fn gate(&self) -> Option<Stage> {
        if let Admission::Waits { reason, message } = &self.snapshot.admission {
            return Some(blocked(ConditionType::Admitted, *reason, message));
        }
        let effective = match &self.decision.effective {
            Ok(effective) => effective,
            Err(refusal) => return Some(blocked(refusal.condition, refusal.reason, &refusal.message)),
        };
        effective.home.as_ref()?;
        let storage = |reason, message: &str| Some(blocked(ConditionType::StorageReady, reason, message));
        if let Some(holder) = &self.snapshot.home_holder {
            return storage(Reason::HomeInUse, &format!("the home is in use by session {holder}"));
        }
        let claim = self.snapshot.claim.as_deref()?;
        if let Some(other) = homes::foreign(claim, &self.snapshot.session) {
            let name = claim.name_any();
            return storage(Reason::HomeForeign, &format!("claim {name} is {other}"));
        }
        if claim.metadata.deletion_timestamp.is_some() {
            return storage(Reason::HomeTerminating, "the home is being deleted");
        }
        (homes::phase(claim) == "Lost")
            .then(|| blocked(ConditionType::StorageReady, Reason::HomeLost, "the home's volume is gone"))
    }
}

fn blocked(condition: ConditionType, reason: Reason, message: &str) -> Stage {
    Stage::Blocked { condition, reason, message: message.to_owned() }
}

/// `at` and a while; the end of time if there is no such instant.
fn after(at: Timestamp, wait: Duration) -> Timestamp {
    at.checked_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
