//! PURE. What of a pod speaks against a gateway in it.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use super::{CONTAINER, INJECTED, Placement, Refusal};

/// Annotation of the API server's shadow of a static pod.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Label of nodes, in node selectors.
const OS: &str = "kubernetes.io/os";

/// True for native sidecars, which run as long as the pod does.
pub(super) fn stays(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// True for a native sidecar of our name.
pub(super) fn is_gateway(container: &Container) -> bool {
    container.name == CONTAINER && stays(container)
}

/// Position of a sidecar of ours among the init containers.
pub(super) fn ours(pod: &Pod) -> Option<usize> {
    pod.metadata.annotations.as_ref()?.get(INJECTED)?;
    pod.spec.as_ref()?.init_containers.as_ref()?.iter().position(is_gateway)
}

pub(super) fn check(pod: &Pod, placement: &Placement) -> Result<(), Refusal> {
    let spec = pod.spec.as_ref().ok_or(Refusal::NoContainer)?;
    let os = spec.os.as_ref().map(|os| os.name.as_str());
    let selected = spec.node_selector.as_ref().and_then(|s| s.get(OS)).map(String::as_str);
    if os == Some("windows") || selected == Some("windows") {
        return Err(Refusal::Windows);
    }
    if pod.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(MIRROR)) {
        return Err(Refusal::Mirror);
    }
    if has_a_stranger(pod, spec) {
        return Err(Refusal::NameTaken);
    }
    network(spec, placement)?;
    if spec.share_process_namespace == Some(true) && placement.secret.is_some() {
        return Err(Refusal::SharedProcesses);
    }
    Ok(())
}

/// A container of the sidecar's name that is not ours.
fn has_a_stranger(pod: &Pod, spec: &PodSpec) -> bool {
    let own = ours(pod);
    let init = spec.init_containers.iter().flatten().enumerate();
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|c| &c.name);
    spec.containers.iter().any(|c| c.name == CONTAINER)
        || init.into_iter().any(|(at, c)| c.name == CONTAINER && Some(at) != own)
        || ephemeral.into_iter().any(|name| name == CONTAINER)
}

fn network(spec: &PodSpec, placement: &Placement) -> Result<(), Refusal> {
    let host = spec.host_network == Some(true);
    if host && !placement.port_is_said {
        return Err(Refusal::HostNetwork);
    }
    if host && placement.secret.is_none() {
        return Err(Refusal::HostLoopback);
    }
    // Other init containers have ended when the gateway starts.
    let beside =
        spec.init_containers.iter().flatten().filter(|c| stays(c) && !is_gateway(c)).chain(&spec.containers);
    let port = i32::from(placement.port);
    let has = |c: &&Container| {
        c.ports.iter().flatten().any(|p| p.container_port == port || (host && p.host_port == Some(port)))
    };
    match beside.into_iter().find(has) {
        Some(container) => {
            Err(Refusal::PortTaken { container: container.name.clone(), port: placement.port })
        }
        None => Ok(()),
    }
}
