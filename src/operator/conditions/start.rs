//! PURE. From quota to a ready pod.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::{Verdict, no, suspended, unknown, yes};
use crate::operator::admit::Admission;
use crate::operator::decide::{Decision, Stage};
use crate::operator::reason::Reason;
use crate::operator::refusal::bounded;
use crate::operator::snapshot::{Child, Snapshot};
use crate::operator::{homes, pods};

pub(super) fn admitted(snapshot: &Snapshot) -> Verdict {
    match &snapshot.admission {
        Admission::Admitted => yes(Reason::Admitted, ""),
        Admission::Waits { reason, message } => no(*reason, message.clone()),
    }
}

pub(super) fn template(decision: &Decision) -> Verdict {
    match &decision.effective {
        Ok(_) => yes(Reason::Resolved, ""),
        Err(refusal) => no(refusal.reason, refusal.message.clone()),
    }
}

pub(super) fn storage(snapshot: &Snapshot, decision: &Decision) -> Verdict {
    let Ok(effective) = &decision.effective else {
        return unknown(Reason::Blocked, "waits for TemplateResolved");
    };
    if effective.home.is_none() {
        return yes(Reason::NoHome, "nothing outlives the pod");
    }
    let Some(claim) = snapshot.claim.as_deref() else {
        return match decision.stage {
            Stage::Off(_) | Stage::Terminating => yes(Reason::NoHome, "the home is made at the first start"),
            _ => no(Reason::ProvisioningPending, "the home's claim is being made"),
        };
    };
    let name = claim.name_any();
    match homes::phase(claim) {
        "Bound" => yes(Reason::HomeBound, ""),
        "Lost" => no(Reason::HomeLost, format!("the volume of claim {name} is gone")),
        _ => {
            let failed = snapshot.warning(claim.metadata.uid.as_deref(), &["ProvisioningFailed"]);
            match failed.and_then(|e| e.message.as_deref()) {
                Some(message) => {
                    no(Reason::ProvisioningPending, format!("claim {name}: {}", bounded(message)))
                }
                None => no(Reason::ProvisioningPending, format!("claim {name} has no volume yet")),
            }
        }
    }
}

/// What is so because no pod is there.
fn without_pod(decision: &Decision) -> Option<Verdict> {
    Some(match &decision.stage {
        Stage::Terminating => no(Reason::Terminating, ""),
        Stage::Off(reason) => no(*reason, suspended(*reason)),
        Stage::BackOff { message } => no(Reason::ReplacementBackOff, message.clone()),
        Stage::Exhausted { message } => no(Reason::ReplacementsExhausted, message.clone()),
        Stage::Stopping => no(Reason::Stopping, "the old pod is on its way out"),
        Stage::Lost => {
            no(Reason::NodeLost, "the pod's node does not answer: it may still run, so no second one is made")
        }
        Stage::Blocked { .. } | Stage::Starting | Stage::Up => return None,
    })
}

pub(super) fn scheduled(snapshot: &Snapshot, decision: &Decision) -> Verdict {
    let Child::Ours(pod) = &snapshot.pod else {
        return without_pod(decision).unwrap_or_else(|| no(Reason::PodMissing, "the pod is being made"));
    };
    match pods::condition(pod, "PodScheduled") {
        Some((true, ..)) => yes(Reason::Scheduled, ""),
        Some((false, _, message)) => no(scheduling(message), bounded(message)),
        None if pods::phase(pod) == "Pending" => {
            no(Reason::Scheduling, "the scheduler has not looked at it yet")
        }
        None => yes(Reason::Scheduled, ""),
    }
}

/// The resource that no node has, from the scheduler's words.
fn scheduling(message: &str) -> Reason {
    let lacks = |what: &str| message.contains(&format!("Insufficient {what}"));
    if message.contains("Insufficient ")
        && (lacks("nvidia.com/") || message.contains(".com/gpu") || lacks("gpu"))
    {
        Reason::InsufficientGpu
    } else if lacks("cpu") {
        Reason::InsufficientCpu
    } else if lacks("memory") {
        Reason::InsufficientMemory
    } else if message.is_empty() {
        Reason::Scheduling
    } else {
        Reason::FailedScheduling
    }
}

pub(super) fn pod(snapshot: &Snapshot, decision: &Decision) -> Verdict {
    if let Some(verdict) = without_pod(decision) {
        return verdict;
    }
    match &snapshot.pod {
        Child::Ours(pod) => live(snapshot, pod),
        Child::Foreign { owner } => no(Reason::NameTaken, format!("the pod's name belongs to {owner}")),
        Child::Absent => no(Reason::PodMissing, "the pod is being made"),
    }
}

fn live(snapshot: &Snapshot, pod: &Pod) -> Verdict {
    if snapshot.node.as_deref().is_some_and(pods::node_is_lost) {
        return unknown(Reason::NodeLost, "the pod's node does not answer");
    }
    if pods::is_ready(pod) {
        return yes(Reason::PodReady, "");
    }
    if let Some(container) = pods::out_of_memory(pod) {
        return no(Reason::OOMKilled, format!("container {container} used up its memory"));
    }
    if let Some((container, reason, message)) = pods::waiting(pod) {
        return no(waiting(reason), format!("container {container}: {}", said(reason, message)));
    }
    const MOUNT: [&str; 2] = ["FailedMount", "FailedAttachVolume"];
    if let Some(event) = snapshot.warning(pod.metadata.uid.as_deref(), &MOUNT) {
        return no(Reason::FailedMount, bounded(event.message.as_deref().unwrap_or_default()));
    }
    if pods::condition(pod, "PodScheduled").is_none_or(|c| !c.0) {
        return no(Reason::ContainersStarting, "waits for a node");
    }
    no(Reason::ContainersStarting, "the containers are starting")
}

fn waiting(reason: &str) -> Reason {
    match reason {
        "ImagePullBackOff" | "ErrImagePull" | "InvalidImageName" | "ErrImageNeverPull" => {
            Reason::ImagePullBackOff
        }
        "CrashLoopBackOff" => Reason::CrashLoopBackOff,
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            Reason::ContainerConfigError
        }
        _ => Reason::ContainersStarting,
    }
}

/// Reason and message in one; the kubelet's back-off time in it would change with every try.
fn said(reason: &str, message: &str) -> String {
    match reason {
        _ if message.is_empty() => reason.to_owned(),
        "CrashLoopBackOff" => "it ends again and again".to_owned(),
        _ => format!("{reason}: {}", bounded(message)),
    }
}
