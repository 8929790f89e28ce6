//! PURE: what a node writes into a pod's status, for each fate of a pod.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

/// What becomes of a pod. An empty container name means the first one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodState {
    /// Bound, started, ready.
    Ready,
    /// Everything runs, the readiness of one container is not there.
    NotReady {
        /// Which.
        container: String,
    },
    /// The scheduler finds no node, with these words.
    Unschedulable(String),
    /// Bound; a volume does not come, with these words in an event `FailedMount`.
    FailedMount(String),
    /// Bound; a container waits for such a reason: `ImagePullBackOff`, `CreateContainerConfigError`…
    Waiting {
        /// Which.
        container: String,
        /// One word.
        reason: String,
        /// The node's words.
        message: String,
    },
    /// A container ends again and again.
    CrashLoop {
        /// Which.
        container: String,
        /// Why it ended: `Error`, `OOMKilled`.
        reason: String,
        /// Its exit status.
        exit_code: i32,
    },
    /// The pod has failed for good.
    Failed {
        /// `Evicted`, `NodeShutdown`, `OutOfcpu`; may be empty.
        reason: String,
        /// The node's words.
        message: String,
    },
    /// All containers ended well.
    Succeeded,
    /// Bound to a node that is silent.
    NodeLost,
}

impl PodState {
    /// No graphics card is free.
    pub fn no_gpu() -> Self {
        Self::Unschedulable("0/1 nodes are available: 1 Insufficient nvidia.com/gpu.".to_owned())
    }

    /// The image of a container is not there.
    pub fn image_pull_back_off(container: &str) -> Self {
        Self::Waiting {
            container: container.to_owned(),
            reason: "ImagePullBackOff".to_owned(),
            message: "Back-off pulling image: not found".to_owned(),
        }
    }

    /// A container ends with an error, again and again.
    pub fn crash_loop(container: &str) -> Self {
        Self::CrashLoop { container: container.to_owned(), reason: "Error".to_owned(), exit_code: 1 }
    }

    /// A container is killed for its memory.
    pub fn oom_killed(container: &str) -> Self {
        Self::CrashLoop { container: container.to_owned(), reason: "OOMKilled".to_owned(), exit_code: 137 }
    }

    /// The node was short of memory.
    pub fn evicted() -> Self {
        Self::Failed {
            reason: "Evicted".to_owned(),
            message: "The node was low on resource: memory.".to_owned(),
        }
    }

    /// Whether the scheduler has found a node.
    pub fn is_bound(&self) -> bool {
        !matches!(self, Self::Unschedulable(_))
    }

    /// Whether everything in it has started.
    pub fn runs(&self) -> bool {
        matches!(self, Self::Ready | Self::NotReady { .. })
    }

    /// The event that comes with it: reason, message, component.
    pub fn event(&self) -> Option<(&str, &str, &str)> {
        match self {
            Self::Unschedulable(words) => Some(("FailedScheduling", words, "default-scheduler")),
            Self::FailedMount(words) => Some(("FailedMount", words, "kubelet")),
            Self::CrashLoop { .. } => Some(("BackOff", "Back-off restarting failed container", "kubelet")),
            Self::Failed { reason, message } if reason == "Evicted" => Some(("Evicted", message, "kubelet")),
            _ => None,
        }
    }

    fn phase(&self) -> &'static str {
        match self {
            Self::Ready | Self::NotReady { .. } | Self::CrashLoop { .. } | Self::NodeLost => "Running",
            Self::Unschedulable(_) | Self::FailedMount(_) | Self::Waiting { .. } => "Pending",
            Self::Failed { .. } => "Failed",
            Self::Succeeded => "Succeeded",
        }
    }
}

/// A merge patch for the pod's status.
pub fn status(pod: &Pod, state: &PodState, address: Ipv4Addr, now: Timestamp) -> Value {
    let spec = pod.spec.as_ref();
    let containers = spec.map(|s| s.containers.as_slice()).unwrap_or_default();
    let init = spec.and_then(|s| s.init_containers.as_deref()).unwrap_or_default();
    let first = containers.first().map_or("", |c| c.name.as_str());
    let container = |c: &Container, one_off: bool| container_status(c, one_off, state, first, now);
    let mut status = json!({
        "phase": state.phase(),
        "conditions": conditions(pod, state, now),
        "reason": null,
        "message": null,
    });
    if let PodState::Failed { reason, message } = state {
        status["reason"] = json!((!reason.is_empty()).then_some(reason));
        status["message"] = json!(message);
    }
    if state.is_bound() {
        let one_off = |c: &Container| c.restart_policy.as_deref() != Some("Always");
        status["startTime"] = json!(
            pod.status.as_ref().and_then(|s| s.start_time.clone()).map_or_else(|| time(now), |t| time(t.0))
        );
        status["containerStatuses"] = containers.iter().map(|c| container(c, false)).collect();
        status["initContainerStatuses"] = init.iter().map(|c| container(c, one_off(c))).collect();
        if state.phase() == "Running" {
            status["podIP"] = json!(address);
            status["podIPs"] = json!([{ "ip": address }]);
        }
    }
    json!({ "metadata": {"uid": pod.metadata.uid}, "status": status })
}

fn conditions(pod: &Pod, state: &PodState, now: Timestamp) -> Vec<Value> {
    let yes = |yes| if yes { "True" } else { "False" };
    let condition = |kind: &str, status: &str, reason: Option<&str>, message: Option<&str>| {
        let before = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
        let since = before
            .filter(|c| c.type_ == kind && c.status == status)
            .find_map(|c| c.last_transition_time.as_ref())
            .map_or(now, |t| t.0);
        json!({"type": kind, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": time(since)})
    };
    if let PodState::Unschedulable(words) = state {
        return vec![condition("PodScheduled", "False", Some("Unschedulable"), Some(words))];
    }
    let starting = matches!(state, PodState::FailedMount(_) | PodState::Waiting { .. });
    let ready = *state == PodState::Ready;
    let reason = match state {
        PodState::Ready => None,
        PodState::Failed { .. } => Some("PodFailed"),
        PodState::Succeeded => Some("PodCompleted"),
        _ => Some("ContainersNotReady"),
    };
    // The node life cycle controller takes `Ready` back, what the silent node said last stays.
    let containers_ready = ready || *state == PodState::NodeLost;
    vec![
        condition("PodScheduled", "True", None, None),
        condition("PodReadyToStartContainers", yes(!matches!(state, PodState::FailedMount(_))), None, None),
        condition("Initialized", yes(!starting), None, None),
        condition("ContainersReady", yes(containers_ready), reason, None),
        condition("Ready", yes(ready), reason, None),
    ]
}

fn container_status(
    container: &Container,
    one_off: bool,
    state: &PodState,
    first: &str,
    now: Timestamp,
) -> Value {
    let is = |name: &str| container.name == name || (name.is_empty() && container.name == first);
    let ended = |reason: &str, code: i32| {
        json!({"terminated": {
            "reason": reason, "exitCode": code, "startedAt": time(now), "finishedAt": time(now),
        }})
    };
    let running = json!({"running": {"startedAt": time(now)}});
    let waiting = |reason: &str, message: &str| json!({"waiting": {"reason": reason, "message": message}});
    let (mut now_in, mut last, mut restarts) = (running, json!({}), 0);
    let mut ready = true;
    match state {
        PodState::Ready | PodState::NodeLost if one_off => now_in = ended("Completed", 0),
        PodState::Ready | PodState::NodeLost => {}
        PodState::NotReady { .. } | PodState::CrashLoop { .. } if one_off => now_in = ended("Completed", 0),
        PodState::NotReady { container } => ready = !is(container),
        PodState::CrashLoop { container, reason, exit_code } => {
            if is(container) {
                now_in = waiting("CrashLoopBackOff", "back-off 10s restarting failed container");
                last = ended(reason, *exit_code);
                (ready, restarts) = (false, 3);
            }
        }
        PodState::Waiting { container, reason, message } if is(container) => {
            now_in = waiting(reason, message);
            ready = false;
        }
        PodState::Unschedulable(_) | PodState::FailedMount(_) | PodState::Waiting { .. } => {
            now_in = waiting("ContainerCreating", "");
            ready = false;
        }
        PodState::Failed { .. } => {
            now_in = ended("Error", 137);
            ready = false;
        }
        PodState::Succeeded => {
            now_in = ended("Completed", 0);
            ready = false;
        }
    }
    json!({
        "name": container.name, "image": container.image, "imageID": "", "ready": ready,
        "started": ready && !one_off, "restartCount": restarts, "state": now_in, "lastState": last,
    })
}

fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
