//! PURE. What a pod's status says.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ContainerState, ContainerStatus, Node, Pod};
use k8s_openapi::jiff::Timestamp;

use crate::inject;

/// Whether all its containers are ready.
pub fn is_ready(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none() && condition(pod, "Ready").is_some_and(|c| c.0)
}

/// A condition of the pod: whether it is True, its reason and its message.
pub fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<(bool, &'a str, &'a str)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|c| c.type_ == kind)?;
    let text = |t: &'a Option<String>| t.as_deref().unwrap_or_default();
    Some((found.status == "True", text(&found.reason), text(&found.message)))
}

/// Since when the pod has been ready.
pub fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|c| c.type_ == "Ready" && c.status == "True")?;
    Some(ready.last_transition_time.as_ref()?.0)
}

/// The phase, as the kubelet has it.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("Pending")
}

/// When it was made.
pub fn created(pod: &Pod) -> Option<Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|t| t.0)
}

/// Slices of GPUs that it takes: resources with a domain in their names are devices (extended resources), and the pods
/// that are made here have no others.
pub fn slices(pod: &Pod) -> u32 {
    let spec = pod.spec.as_ref();
    let sidecars = spec.and_then(|s| s.init_containers.as_deref()).unwrap_or_default();
    let others = spec.map(|s| s.containers.as_slice()).unwrap_or_default();
    let limits = sidecars.iter().chain(others).filter_map(|c| c.resources.as_ref()?.limits.as_ref());
    let devices = limits.flatten().filter(|(name, _)| name.contains('/'));
    devices.filter_map(|(_, count)| count.0.parse::<u32>().ok()).fold(0, u32::saturating_add)
}

/// How long it is given to end.
pub fn grace(pod: Option<&Pod>) -> Duration {
    const USUAL: i64 = 30;
    let seconds = pod.and_then(|pod| pod.spec.as_ref()?.termination_grace_period_seconds).unwrap_or(USUAL);
    Duration::from_secs(seconds.max(0).unsigned_abs())
}

/// Whether it will never run again.
pub fn has_ended(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Statuses of all containers, the sidecars first: they start first.
pub fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let sidecars = status.and_then(|s| s.init_container_statuses.as_deref()).unwrap_or_default();
    let others = status.and_then(|s| s.container_statuses.as_deref()).unwrap_or_default();
    sidecars.iter().chain(others)
}

/// A container that waits for something that it names: container, reason, message.
pub fn waiting(pod: &Pod) -> Option<(&str, &str, &str)> {
    const HARMLESS: [&str; 2] = ["ContainerCreating", "PodInitializing"];
    containers(pod).find_map(|c| {
        let waiting = c.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref().filter(|r| !HARMLESS.contains(r))?;
        Some((c.name.as_str(), reason, waiting.message.as_deref().unwrap_or_default()))
    })
}

/// A container that the kernel ended for want of memory, now or the time before.
pub fn out_of_memory(pod: &Pod) -> Option<&str> {
    let killed = |state: Option<&ContainerState>| {
        state.and_then(|s| s.terminated.as_ref()).is_some_and(|t| t.reason.as_deref() == Some("OOMKilled"))
    };
    containers(pod)
        .find(|c| killed(c.state.as_ref()) || (!c.ready && killed(c.last_state.as_ref())))
        .map(|c| c.name.as_str())
}

/// How a container ended: container, exit code, reason.
pub fn terminated(pod: &Pod) -> Option<(&str, i32, &str)> {
    containers(pod).find_map(|c| {
        let end = c.state.as_ref()?.terminated.as_ref().filter(|t| t.exit_code != 0)?;
        Some((c.name.as_str(), end.exit_code, end.reason.as_deref().unwrap_or("Error")))
    })
}

/// Whether a node does not answer.
pub fn node_is_lost(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|c| c.type_ == "Ready" && c.status == "Unknown")
}

/// The pod's own address.
pub fn address(pod: &Pod) -> Option<std::net::IpAddr> {
    pod.status.as_ref()?.pod_ip.as_deref()?.parse().ok()
}

/// The gateway's container.
fn gateway(pod: &Pod) -> Option<&Container> {
    pod.spec.as_ref()?.init_containers.as_ref()?.iter().find(|c| c.name == inject::CONTAINER)
}

/// The port that its gateway was told to listen on, whatever the template says by now.
pub fn gateway_port(pod: &Pod) -> u16 {
    let port = gateway(pod).and_then(|c| c.ports.as_ref()?.first()?.container_port.try_into().ok());
    port.unwrap_or(inject::PORT)
}

/// Whether its gateway was told an address of direct UDP.
pub fn is_exposed(pod: &Pod) -> bool {
    let arguments = gateway(pod).and_then(|c| c.args.as_deref()).unwrap_or_default();
    arguments.iter().any(|argument| argument.starts_with("--advertise="))
}

/// Whether it mounts a claim.
pub fn mounts(pod: &Pod, claim: &str) -> bool {
    let volumes = pod.spec.as_ref().and_then(|s| s.volumes.as_deref()).unwrap_or_default();
    volumes.iter().any(|v| v.persistent_volume_claim.as_ref().is_some_and(|c| c.claim_name == claim))
}

/// Whether a container runs.
pub fn runs(pod: &Pod, container: &str) -> bool {
    containers(pod).any(|c| c.name == container && c.state.as_ref().is_some_and(|s| s.running.is_some()))
}
