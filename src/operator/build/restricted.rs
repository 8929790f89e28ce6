//! Pod Security "restricted", checked by hand: <https://kubernetes.io/docs/concepts/security/pod-security-standards/>.

use k8s_openapi::api::core::v1::{Container, PodSpec, Volume};

/// What of a pod "restricted" forbids.
pub fn violations(spec: &PodSpec) -> Vec<String> {
    let mut found = Vec::new();
    let mut wrong = |is: bool, what: String| {
        if is {
            found.push(what);
        }
    };
    wrong(spec.host_network == Some(true), "hostNetwork".into());
    wrong(spec.host_pid == Some(true), "hostPID".into());
    wrong(spec.host_ipc == Some(true), "hostIPC".into());
    for volume in spec.volumes.iter().flatten() {
        wrong(!is_listed(volume), format!("volume {}", volume.name));
    }
    let pod = spec.security_context.clone().unwrap_or_default();
    wrong(pod.run_as_user == Some(0), "pod: runAsUser 0".into());
    wrong(pod.sysctls.is_some(), "pod: sysctls".into());
    for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        let context = container.security_context.clone().unwrap_or_default();
        let non_root = context.run_as_non_root.or(pod.run_as_non_root);
        let seccomp = context.seccomp_profile.as_ref().or(pod.seccomp_profile.as_ref());
        let name = |what: &str| format!("{}: {what}", container.name);
        wrong(non_root != Some(true), name("runAsNonRoot"));
        wrong(context.run_as_user == Some(0), name("runAsUser 0"));
        wrong(context.privileged == Some(true), name("privileged"));
        wrong(context.allow_privilege_escalation != Some(false), name("allowPrivilegeEscalation"));
        wrong(
            !seccomp.is_some_and(|s| matches!(s.type_.as_str(), "RuntimeDefault" | "Localhost")),
            name("seccompProfile"),
        );
        wrong(!drops_all(container), name("capabilities"));
        wrong(container.ports.iter().flatten().any(|p| p.host_port.is_some()), name("hostPort"));
    }
    found
}

fn is_listed(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.csi.is_some()
        || volume.downward_api.is_some()
        || volume.empty_dir.is_some()
        || volume.ephemeral.is_some()
        || volume.persistent_volume_claim.is_some()
        || volume.projected.is_some()
        || volume.secret.is_some()
}

fn drops_all(container: &Container) -> bool {
    let capabilities = container.security_context.as_ref().and_then(|c| c.capabilities.as_ref());
    capabilities.is_some_and(|c| {
        c.drop.iter().flatten().any(|d| d == "ALL") && c.add.iter().flatten().all(|a| a == "NET_BIND_SERVICE")
    })
}
