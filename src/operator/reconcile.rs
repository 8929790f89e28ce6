//! One reconcile: fetch, decide (validate and build in it), apply, status.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use thiserror::Error;

use super::apply::{Applier, Done, StepError};
use super::conditions::{self, Failure, Finding};
use super::context::Context;
use super::decide::{self, Decision, Stage};
use super::snapshot::Snapshot;
use super::step::{Object, Step, Why};
use super::stores::Space;
use super::{events, fetch, status};
use crate::crd::{ConditionStatus, ConditionType, EndAction, Reclaim, VDISession, VDISessionStatus};
use crate::wire::api::NoticeRequest;
use crate::wire::signal::NoticeAction;

/// Longest reconcile: each of its calls has a limit of its own.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a refusal that only a person can mend is left alone: nobody tells when a quota or a Role was changed.
const REFUSED: Duration = Duration::from_secs(10);
/// When to look again after another session of the same home or quota was faster: by then that can be told.
const BEATEN: Duration = Duration::from_secs(1);
/// How often a session that waits for another one looks whether that one is gone.
const WAITING: Duration = Duration::from_secs(3);

/// A reconcile that has to be tried again.
#[derive(Debug, Error)]
pub enum ReconcileError {
    /// A step failed and passes by itself.
    #[error("{step}: {error}")]
    Step {
        /// What was done.
        step: String,
        /// What went wrong.
        error: StepError,
    },
    /// It has taken too long.
    #[error("no end after {} s", PATIENCE.as_secs())]
    Slow,
    /// The status could not be written.
    #[error("status: {0}")]
    Status(StepError),
}

/// Brings a session nearer to what it is to be; gives when to look again though nothing changes.
pub async fn reconcile(context: &Context, space: &Space, session: Arc<VDISession>) -> Option<Duration> {
    let begun = Instant::now();
    let (uid, name) = (session.uid().unwrap_or_default(), session.name_any());
    // Whatever it waits for: a session must not keep a worker for ever.
    let result = tokio::time::timeout(PATIENCE, run(context, space, session)).await;
    let result = result.unwrap_or(Err(ReconcileError::Slow));
    context.metrics.reconciled(begun.elapsed(), result.is_ok());
    match result {
        Ok(again) => {
            context.succeeded(&uid);
            again.map(jittered)
        }
        Err(error) => {
            let tries = context.failed(&uid);
            let (namespace, session) = (&space.namespace, name);
            tracing::warn!(code = "reconcile_failed", %namespace, %session, tries, %error, "a reconcile is tried again");
            // Growing waits, and not all at once.
            Some(jittered(context.settings.pace.until_try(tries)))
        }
    }
}

async fn run(
    context: &Context,
    space: &Space,
    session: Arc<VDISession>,
) -> Result<Option<Duration>, ReconcileError> {
    // Whole seconds: what the API server would cut off must not look like a change.
    let now = whole_second(Timestamp::now());
    let session = context.memory.newest(session);
    let snapshot = fetch::fetch(context, space, session, now).await;
    let decision = decide::decide(&snapshot, &context.settings, now);
    let outcome = apply(context, space, &snapshot, &decision, now).await;
    withdraw(context, &snapshot, &decision, now).await;
    if outcome.gone {
        if decision.left_behind {
            let (namespace, session) = (snapshot.session.namespace().unwrap_or_default(), snapshot.name());
            tracing::warn!(code = "left_behind", %namespace, %session, "the session goes while its pod is still there");
        }
        context.forget(snapshot.uid());
        return Ok(None);
    }
    // The pod's own event leads to the next look, which writes the status: a write and an Event less for every start.
    if !outcome.begun {
        write_status(context, &snapshot, &decision, &outcome.failures, now).await?;
    }
    if let Some((step, error)) = outcome.passing {
        return Err(ReconcileError::Step { step, error });
    }
    Ok(next_look(&decision, &outcome))
}

fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

#[derive(Default)]
struct Outcome {
    failures: Vec<Failure>,
    /// A failure that passes by itself.
    passing: Option<(String, StepError)>,
    /// The finalizer is off: the session is no more.
    gone: bool,
    /// A pod was made.
    begun: bool,
    /// Another session was faster, for which this one has to wait.
    waits: bool,
}

async fn apply(
    context: &Context,
    space: &Space,
    snapshot: &Snapshot,
    decision: &Decision,
    now: Timestamp,
) -> Outcome {
    let applier = Applier::new(&context.client, &context.memory, snapshot);
    let mut outcome = Outcome::default();
    for step in &decision.steps {
        if !still_wanted(context, snapshot, decision, step, now).await {
            continue;
        }
        if let Step::Warn { at, action } = step {
            warn(context, snapshot, decision, (*at, *action), now).await;
            continue;
        }
        let is_pod = matches!(step, Step::Create(Object::Pod(_)));
        if is_pod && !context.roll.begin(context.view(now), space, &snapshot.session).has_come() {
            outcome.waits = true;
            break;
        }
        match applier.step(step, now).await {
            Ok(done) => {
                tracing::debug!(code = "step", session = %snapshot.name(), step = describe(step), "done");
                outcome.gone |= matches!(step, Step::RemoveFinalizer);
                outcome.begun |= done == Done::Done && is_pod;
            }
            Err(error) => {
                // Without a word of the API server the pod may have been made.
                if is_pod && error.is_refusal() {
                    context.roll.failed(snapshot.uid());
                }
                let is_optional = step.is_optional(error.is_passing());
                note(snapshot, step, error, &mut outcome);
                if !is_optional {
                    break;
                }
            }
        }
    }
    outcome
}

fn note(snapshot: &Snapshot, step: &Step, error: StepError, outcome: &mut Outcome) {
    let session = snapshot.name();
    let namespace = snapshot.session.namespace().unwrap_or_default();
    match error.failure(step.condition()) {
        Some(failure) => {
            let reason = failure.reason.as_str();
            tracing::warn!(code = "step_failed", %namespace, %session, step = describe(step), reason, %error, "a step failed");
            outcome.failures.push(failure);
        }
        None => {
            tracing::debug!(code = "step_raced", %namespace, %session, step = describe(step), %error, "tried again")
        }
    }
    if error.is_passing() && outcome.passing.is_none() {
        outcome.passing = Some((describe(step).to_owned(), error));
    }
}

/// Asks the gateway once more before a run ends for want of visitors: one may have come since.
async fn still_wanted(
    context: &Context,
    snapshot: &Snapshot,
    decision: &Decision,
    step: &Step,
    now: Timestamp,
) -> bool {
    let (Step::Suspend(Why::Idle) | Step::DeleteSession(Why::Idle)) = step else { return true };
    let Some(target) = fetch::target(snapshot) else { return false };
    let limit = decision.ends.and_then(|ends| ends.idle_timeout.span());
    let view = context.gateways.ask(&target, now).await;
    matches!((view.answer, limit), (Ok(state), Some(limit)) if state.viewers == 0 && state.idle >= limit)
}

async fn warn(
    context: &Context,
    snapshot: &Snapshot,
    decision: &Decision,
    (at, action): (Timestamp, EndAction),
    now: Timestamp,
) {
    let Some(target) = fetch::target(snapshot) else { return };
    let sleeps = action == EndAction::Suspend;
    let stays = match &decision.effective {
        Ok(effective) => effective.home.as_ref().is_some_and(|h| sleeps || h.reclaim == Reclaim::Retain),
        Err(_) => sleeps && snapshot.claim.is_some(),
    };
    let notice = NoticeRequest {
        action: Some(match action {
            EndAction::Suspend => NoticeAction::Suspend,
            EndAction::Delete => NoticeAction::Delete,
        }),
        at: Some(at.to_string()),
        reason: Some("timeout".to_owned()),
        home_stays: Some(stays),
    };
    if let Err(error) = context.gateways.warn(&target, &notice, now).await {
        tracing::warn!(code = "warning_failed", session = %snapshot.name(), %error, "viewers could not be warned");
    }
}

/// An end that was put off is told of too.
async fn withdraw(context: &Context, snapshot: &Snapshot, decision: &Decision, now: Timestamp) {
    let is_due = decision.steps.iter().any(|step| matches!(step, Step::Warn { .. }));
    let Some(target) = fetch::target(snapshot) else { return };
    if is_due || decision.stage != Stage::Up || !context.gateways.has_warned(&target) {
        return;
    }
    let nothing = NoticeRequest { action: None, at: None, reason: None, home_stays: None };
    if let Err(error) = context.gateways.warn(&target, &nothing, now).await {
        tracing::warn!(code = "warning_failed", session = %snapshot.name(), %error, "a warning could not be withdrawn");
    }
}

async fn write_status(
    context: &Context,
    snapshot: &Snapshot,
    decision: &Decision,
    failures: &[Failure],
    now: Timestamp,
) -> Result<(), ReconcileError> {
    let findings = conditions::findings(snapshot, decision, failures);
    let after = status::status(snapshot, decision, &findings, &context.settings, now);
    let before = snapshot.session.status.clone().unwrap_or_default();
    if ours(before.clone()) == after {
        return Ok(());
    }
    Applier::new(&context.client, &context.memory, snapshot)
        .status(&after)
        .await
        .or_else(gone)
        .map_err(ReconcileError::Status)?;
    announce(context, snapshot, &before, &after, &findings).await;
    Ok(())
}

/// A session that was deleted in the meantime needs no status.
fn gone(error: StepError) -> Result<(), StepError> {
    match error {
        StepError::Api(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        other => Err(other),
    }
}

/// The part of a status that is this operator's: other field managers may have conditions of their own.
fn ours(mut status: VDISessionStatus) -> VDISessionStatus {
    status.conditions.retain(|c| ConditionType::ALL.iter().any(|ours| format!("{ours:?}") == c.type_));
    status
}

async fn announce(
    context: &Context,
    snapshot: &Snapshot,
    before: &VDISessionStatus,
    after: &VDISessionStatus,
    findings: &[Finding],
) {
    let Some(ready) = findings.iter().find(|f| f.condition == ConditionType::Ready) else { return };
    let same = before.conditions.iter().any(|c| c.type_ == "Ready" && c.reason == ready.reason.as_str());
    if same {
        return;
    }
    let (namespace, session) = (snapshot.session.namespace().unwrap_or_default(), snapshot.name());
    let (user, phase) = (&snapshot.session.spec.user, after.phase);
    tracing::info!(code = "session_changed", %namespace, %session, %user, ?phase, reason = ready.reason.as_str(), message = %ready.message, "the session changed");
    if ready.status == ConditionStatus::True
        && let Some(start) = &after.start_time
    {
        context.metrics.ready_after(Timestamp::now().duration_since(start.0).try_into().unwrap_or_default());
    }
    events::publish(&context.recorder, &snapshot.session, ready).await;
}

fn next_look(decision: &Decision, outcome: &Outcome) -> Option<Duration> {
    let mut wait = decision.look_again;
    let mut sooner = |candidate: Duration| wait = Some(wait.map_or(candidate, |w| w.min(candidate)));
    if !outcome.failures.is_empty() {
        sooner(REFUSED);
    }
    if outcome.waits {
        sooner(BEATEN);
    }
    if let Stage::Blocked { condition, .. } = &decision.stage
        && matches!(condition, ConditionType::Admitted | ConditionType::StorageReady)
    {
        sooner(WAITING);
    }
    wait
}

/// Up to a tenth later, so that what began together does not stay together.
fn jittered(wait: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or_default();
    wait + wait.mul_f64(0.1 * f64::from(random) / f64::from(u32::MAX))
}

const fn describe(step: &Step) -> &'static str {
    match step {
        Step::AddFinalizer => "add-finalizer",
        Step::RemoveFinalizer => "remove-finalizer",
        Step::EnsureSecret(_) => "ensure-secret",
        Step::Create(object) | Step::Update { object, .. } => object.kind(),
        Step::Delete { .. } => "delete",
        Step::DeleteUnseenPod => "delete-unseen-pod",
        Step::DeleteHome { .. } => "delete-home",
        Step::Suspend(_) => "suspend",
        Step::DeleteSession(_) => "delete-session",
        Step::Warn { .. } => "warn",
    }
}
