//! PURE. A session and its template, checked and merged into what is in force.
//!
//! Schema and CEL rules of the CRDs refuse most of what is refused here, at an earlier time and to the person who
//! wrote it. All is checked again: a CRD may be older than this program, and objects older than their CRD.

mod session;
mod template;
mod words;

use std::fmt::Display;

use kube::ResourceExt;

use self::session::Wishes;
use self::template::{Checked, Limits};
use super::effective::{Compute, Effective, Home};
use super::names;
use super::reason::Reason;
use crate::crd::{
    ConditionType, EffectiveSpec, EndAction, Overridable, Quantity, Timeout, VDISession, VDITemplate,
};

/// Why nothing can be made of a session: what its condition says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The condition that is False.
    pub condition: ConditionType,
    /// Its reason.
    pub reason: Reason,
    /// Its message: the field, what it holds, what is expected.
    pub message: String,
}

impl Refusal {
    fn new(reason: Reason, message: String) -> Self {
        Self { condition: ConditionType::TemplateResolved, reason, message }
    }
}

/// Processors where nobody says.
const CPU: u32 = 2;
/// Mebibytes of memory where nobody says.
const MEMORY: u32 = 4 << 10;
/// Mebibytes of a home where nobody says.
pub(super) const HOME: u32 = 10 << 10;

/// Checks a session and its template, and lays one over the other.
///
/// # Errors
/// [`Refusal`]: the first thing that cannot be, in the session's spec, then in the template, then between the two.
pub fn validate(session: &VDISession, template: Option<&VDITemplate>) -> Result<Effective, Refusal> {
    let wishes = session::check(session).map_err(|m| Refusal::new(Reason::InvalidSpec, m))?;
    let template_name = &session.spec.template;
    let template = template.ok_or_else(|| {
        let message = format!("there is no VDITemplate {template_name:?}");
        Refusal::new(Reason::TemplateMissing, message)
    })?;
    if let Some(text) = &template.spec.unreadable {
        let message = format!("VDITemplate {template_name:?} cannot be read: {text}");
        return Err(Refusal::new(Reason::TemplateInvalid, message));
    }
    let checked = template::check(&template.spec).map_err(|m| {
        Refusal::new(Reason::TemplateInvalid, format!("VDITemplate {template_name:?}: spec.{m}"))
    })?;
    may_say(&session.spec, &checked)
        .map_err(|m| Refusal::new(Reason::OverrideNotAllowed, keeps(template_name, m)))?;
    within(&wishes, &checked.limits)
        .map_err(|m| Refusal::new(Reason::LimitExceeded, format!("{m} of VDITemplate {template_name:?}")))?;
    Ok(merge(session, wishes, checked))
}

fn keeps(template: &str, field: &str) -> String {
    format!(
        "spec.{field} is set, but overrides.allowed of VDITemplate {template:?} does not let a session set it"
    )
}

/// The first field of the session that its template keeps for itself.
fn may_say(spec: &crate::crd::VDISessionSpec, template: &Checked) -> Result<(), &'static str> {
    let Some(allowed) = &template.allowed else { return Ok(()) };
    let resources = spec.resources.clone().unwrap_or_default();
    let persistence = spec.persistence.clone().unwrap_or_default();
    let said = [
        (resources.gpu.is_some(), "resources.gpu", Overridable::Resources),
        (resources.cpu.is_some(), "resources.cpu", Overridable::Resources),
        (resources.memory.is_some(), "resources.memory", Overridable::Resources),
        (persistence.enabled.is_some(), "persistence.enabled", Overridable::Persistence),
        (persistence.size.is_some(), "persistence.size", Overridable::Persistence),
        (persistence.storage_class_name.is_some(), "persistence.storageClassName", Overridable::Persistence),
        (persistence.reclaim.is_some(), "persistence.reclaim", Overridable::Persistence),
        (spec.timeout.is_some(), "timeout", Overridable::Timeout),
        (spec.timeout_action.is_some(), "timeoutAction", Overridable::Timeout),
        (spec.idle_timeout.is_some(), "idleTimeout", Overridable::IdleTimeout),
        (spec.idle_action.is_some(), "idleAction", Overridable::IdleTimeout),
    ];
    let kept = said.into_iter().find(|(is_said, _, part)| *is_said && !allowed.contains(part));
    kept.map_or(Ok(()), |(_, field, _)| Err(field))
}

/// The first of `wishes` that is past a limit of the template.
fn within(wishes: &Wishes, limits: &Limits) -> Result<(), String> {
    let past = |field: &str, is: &dyn Display, limit: &dyn Display, name: &str| {
        format!("spec.{field} is {is}: at most {limit} is let, by overrides.{name}")
    };
    if let (Some(is), Some(most)) = (wishes.gpu, limits.gpu)
        && is > most
    {
        return Err(past("resources.gpu", &is, &most, "maxGpu"));
    }
    for (field, is, limit, name) in [
        ("resources.cpu", &wishes.cpu, &limits.cpu, "maxCpu"),
        ("resources.memory", &wishes.memory, &limits.memory, "maxMemory"),
        ("persistence.size", &wishes.size, &limits.size, "maxSize"),
    ] {
        if let (Some(is), Some(most)) = (is, limit)
            && is > most
        {
            return Err(past(field, is, most, name));
        }
    }
    // `Never` is longer than every span: see the order of `Timeout`.
    if let (Some(is), Some(most)) = (wishes.timeout, limits.timeout)
        && is > most
    {
        return Err(past("timeout", &is, &most, "maxTimeout"));
    }
    Ok(())
}

fn merge(session: &VDISession, wishes: Wishes, template: Checked) -> Effective {
    let Checked { defaults, limits, .. } = template;
    let quantity =
        |wish: Option<Quantity>, default: Option<Quantity>, most: Option<Quantity>, builtin: Quantity| {
            wish.or(default).unwrap_or_else(|| most.into_iter().fold(builtin, Quantity::min))
        };
    let size = quantity(wishes.size, defaults.size, limits.size, Quantity::mebibytes(HOME));
    let has_home = wishes.enabled.or(defaults.enabled).unwrap_or(true);
    let home = has_home.then(|| Home {
        claim: names::home(&session.spec.user, &session.spec.template),
        size: size.clone(),
        storage_class: wishes.storage_class.or(defaults.storage_class),
        reclaim: wishes.reclaim.or(defaults.reclaim).unwrap_or_default(),
    });
    // Without a home there is nothing to come back to.
    let by_home = if has_home { EndAction::Suspend } else { EndAction::Delete };
    Effective {
        compute: Compute {
            gpu: wishes.gpu.or(defaults.gpu).unwrap_or(0),
            gpu_resource: template.gpu_resource,
            gpu_encoder: template.gpu_encoder,
            cpu: quantity(wishes.cpu, defaults.cpu, limits.cpu, Quantity::units(CPU)),
            memory: quantity(wishes.memory, defaults.memory, limits.memory, Quantity::mebibytes(MEMORY)),
        },
        home,
        scratch: size,
        timeout: wishes.timeout.or(defaults.timeout).or(limits.timeout).unwrap_or(Timeout::Never),
        timeout_action: wishes.timeout_action.or(defaults.timeout_action).unwrap_or(by_home),
        idle_timeout: wishes.idle_timeout.or(defaults.idle_timeout).unwrap_or(Timeout::Never),
        idle_action: wishes.idle_action.or(defaults.idle_action).unwrap_or(by_home),
        exposure: template.exposure,
        port: template.port,
    }
}

/// What is in force, as the status has it.
pub fn effective_status(effective: &Effective, template: &VDITemplate) -> EffectiveSpec {
    EffectiveSpec {
        image: template.spec.image.clone(),
        gpu: effective.compute.gpu,
        cpu: effective.compute.cpu.to_string(),
        memory: effective.compute.memory.to_string(),
        home: effective.home.as_ref().map(|home| home.claim.clone()),
        timeout: effective.timeout.to_string(),
        timeout_action: effective.timeout_action,
        idle_timeout: effective.idle_timeout.to_string(),
        idle_action: effective.idle_action,
        exposure: effective.exposure,
    }
}

/// The name, also where the API server has not seen the object yet.
fn name_of(session: &VDISession) -> String {
    session.name_any()
}

#[cfg(test)]
mod tests;
