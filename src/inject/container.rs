//! PURE. The sidecar itself, its volumes, and how they come into a pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, Pod, PodSpec, Probe,
    ResourceRequirements, SeccompProfile, SecretVolumeSource, SecurityContext, TCPSocketAction, Volume,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::options::mount;
use super::{CONTAINER, INJECTED, Injection, Placement, SECRET_DIR, SECRET_KEY, STATE_DIR, X11_DIR, examine};

/// What the scheduler sets aside for the sidecar.
pub const DEFAULT_REQUESTS: [(&str, &str); 2] = [("cpu", "200m"), ("memory", "128Mi")];
/// What the sidecar may take at most. No processors: an encoder that is throttled is a stuttering picture.
pub const DEFAULT_LIMITS: [(&str, &str); 1] = [("memory", "1Gi")];
/// Sockets, a cookie: what lies there is small.
const X11_SIZE: &str = "16Mi";
/// A key, a list of plugins.
const STATE_SIZE: &str = "64Mi";
/// Who the gateway runs as, where the pod does not say.
const USER: i64 = 1000;
const ROOT: i64 = 0;

/// The sidecar's compute by default.
pub fn default_resources() -> ResourceRequirements {
    let map = |list: &[(&str, &str)]| {
        list.iter().map(|(name, text)| ((*name).to_owned(), Quantity((*text).to_owned()))).collect()
    };
    ResourceRequirements {
        requests: Some(map(&DEFAULT_REQUESTS)),
        limits: Some(map(&DEFAULT_LIMITS)),
        ..ResourceRequirements::default()
    }
}

/// Puts the sidecar into a pod, or where one of ours stands. Cannot fail: [`super::inject`] checks before.
pub fn add(mut pod: Pod, how: &Injection, placement: &Placement) -> Pod {
    let at = examine::ours(&pod);
    let spec = pod.spec.get_or_insert_default();
    let older = at.and_then(|at| spec.init_containers.as_ref()?.get(at).cloned());
    let socket = share_socket(spec, placement);
    let names = Names::choose(spec, older.as_ref());
    if let Some(secret) = &placement.secret {
        put_volume(spec, secret_volume(&names.token, secret));
    } else if older.as_ref().is_some_and(|c| mounted(c, SECRET_DIR).is_some()) {
        spec.volumes.get_or_insert_default().retain(|v| v.name != names.token);
    }
    put_volume(spec, empty_dir(&names.state, None, STATE_SIZE));
    let container = sidecar(spec, how, placement, &names, socket);
    let init = spec.init_containers.get_or_insert_default();
    match at.and_then(|at| init.get_mut(at)) {
        Some(place) => *place = container,
        None => init.push(container),
    }
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(INJECTED.to_owned(), placement.desktop.clone());
    pod
}

/// Names of the volumes that only the gateway mounts.
struct Names {
    token: String,
    state: String,
}

impl Names {
    /// Those of the older sidecar, else names that are free.
    fn choose(spec: &PodSpec, older: Option<&Container>) -> Self {
        let name = |path, base| {
            older.and_then(|c| mounted(c, path)).map_or_else(|| free(spec, base), |m| m.name.clone())
        };
        Self { token: name(SECRET_DIR, "deskgate-token"), state: name(STATE_DIR, "deskgate-state") }
    }
}

fn mounted<'a>(container: &'a Container, path: &str) -> Option<&'a VolumeMount> {
    container.volume_mounts.iter().flatten().find(|m| m.mount_path == path)
}

/// `base`, or `base-2`, `base-3`… if the pod has volumes of that name.
fn free(spec: &PodSpec, base: &str) -> String {
    let taken = |name: &str| spec.volumes.iter().flatten().any(|v| v.name == name);
    let numbered = |n: usize| if n == 1 { base.to_owned() } else { format!("{base}-{n}") };
    // One more than there are volumes: one of them is free.
    let most = spec.volumes.iter().flatten().count() + 1;
    (1..=most).map(numbered).find(|name| !taken(name)).unwrap_or_else(|| numbered(most + 1))
}

fn put_volume(spec: &mut PodSpec, volume: Volume) {
    let volumes = spec.volumes.get_or_insert_default();
    match volumes.iter_mut().find(|v| v.name == volume.name) {
        Some(old) => *old = volume,
        None => volumes.push(volume),
    }
}

/// Has the X server's folder shared by the desktop; gives the gateway's mount of it.
fn share_socket(spec: &mut PodSpec, placement: &Placement) -> VolumeMount {
    let there = placement.socket.clone().unwrap_or_else(|| {
        let name = free(spec, "deskgate-x11");
        put_volume(spec, empty_dir(&name, Some("Memory"), X11_SIZE));
        VolumeMount { name, mount_path: X11_DIR.to_owned(), ..VolumeMount::default() }
    });
    let desktop = spec.containers.iter_mut().find(|c| c.name == placement.desktop);
    if let Some(desktop) = desktop.filter(|c| mount(c).is_none()) {
        desktop.volume_mounts.get_or_insert_default().push(VolumeMount { read_only: None, ..there.clone() });
    }
    // A socket is connected to through a read-only mount, too; nothing there is the gateway's to change.
    VolumeMount { mount_path: X11_DIR.to_owned(), read_only: Some(true), ..there }
}

/// An emptyDir with a limit.
pub(crate) fn empty_dir(name: &str, medium: Option<&str>, limit: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: medium.map(str::to_owned),
            size_limit: Some(Quantity(limit.to_owned())),
        }),
        ..Volume::default()
    }
}

/// All keys, so that a list of revoked tokens can be added to the Secret.
fn secret_volume(name: &str, secret: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.to_owned()),
            // Readable without a group: a pod that is injected need not have an fsGroup. Only the gateway mounts it.
            default_mode: Some(0o444),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn sidecar(
    spec: &PodSpec,
    how: &Injection,
    placement: &Placement,
    names: &Names,
    socket: VolumeMount,
) -> Container {
    let own = |name: &str, path: &str, read_only: Option<bool>| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only,
        ..VolumeMount::default()
    };
    let mut mounts = vec![socket];
    mounts.extend(placement.secret.as_ref().map(|_| own(&names.token, SECRET_DIR, Some(true))));
    mounts.push(own(&names.state, STATE_DIR, None));
    let probe = placement.secret.as_ref().map(|_| listens(placement.port));
    Container {
        name: CONTAINER.to_owned(),
        image: Some(how.image.clone()),
        image_pull_policy: how.image_pull_policy.map(|p| p.as_str().to_owned()),
        restart_policy: Some("Always".to_owned()),
        args: Some(arguments(how, placement)),
        env: Some(environment(how)),
        ports: Some(ports(placement.port)),
        resources: Some(how.resources.clone()),
        startup_probe: probe.clone().map(|p| Probe {
            period_seconds: Some(1),
            failure_threshold: Some(60),
            ..p
        }),
        readiness_probe: probe.map(|p| Probe { period_seconds: Some(5), ..p }),
        security_context: Some(confined(who(spec, placement))),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}

/// With `=`: a value that begins with `-` is a value still.
fn arguments(how: &Injection, placement: &Placement) -> Vec<String> {
    let address = if placement.secret.is_some() { "0.0.0.0" } else { "127.0.0.1" };
    let mut args = vec![
        "serve".to_owned(),
        format!("--display={}", placement.display),
        format!("--listen={address}:{}", placement.port),
        format!("--state-dir={STATE_DIR}"),
    ];
    args.extend(placement.secret.as_ref().map(|_| format!("--token-secret-file={SECRET_DIR}/{SECRET_KEY}")));
    args.extend(placement.xauthority.as_ref().map(|path| format!("--xauthority={}", literal(path))));
    args.extend(how.args.iter().cloned());
    args
}

/// Kubernetes expands `$(NAME)` in arguments and values, and takes `$$` for a dollar.
pub(crate) fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

fn environment(how: &Injection) -> Vec<EnvVar> {
    // GStreamer keeps its list of plugins there: the root file system is read-only.
    let home = EnvVar { name: "HOME".to_owned(), value: Some(STATE_DIR.to_owned()), value_from: None };
    [home].into_iter().chain(how.env.iter().cloned()).collect()
}

/// Names of our own: a Service that leads to a named port must not find ours.
fn ports(port: u16) -> Vec<ContainerPort> {
    let one = |name: &str, protocol: &str| ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(port),
        protocol: Some(protocol.to_owned()),
        ..ContainerPort::default()
    };
    vec![one("deskgate", "TCP"), one("deskgate-udp", "UDP")]
}

/// Asks whether the port listens, and nothing else: the desktop starts after the startup probe, so a probe that waits
/// for a display would never pass. A loopback listener gets none, since the kubelet asks from outside.
fn listens(port: u16) -> Probe {
    Probe {
        tcp_socket: Some(TCPSocketAction { port: IntOrString::Int(i32::from(port)), host: None }),
        timeout_seconds: Some(2),
        ..Probe::default()
    }
}

/// The desktop's user, who alone can read its cookie, unless that is root.
fn who(spec: &PodSpec, placement: &Placement) -> (i64, Option<i64>) {
    let desktop = spec.containers.iter().find(|c| c.name == placement.desktop);
    let own = desktop.and_then(|c| c.security_context.as_ref());
    let pod = spec.security_context.as_ref();
    let user = own.and_then(|c| c.run_as_user).or_else(|| pod.and_then(|c| c.run_as_user));
    let group = own.and_then(|c| c.run_as_group).or_else(|| pod.and_then(|c| c.run_as_group));
    (user.filter(|u| *u != ROOT).unwrap_or(USER), group.filter(|g| *g != ROOT))
}

/// As Pod Security "restricted" wants it, and with a root file system that is read-only.
fn confined((user, group): (i64, Option<i64>)) -> SecurityContext {
    SecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(user),
        run_as_group: group,
        privileged: Some(false),
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..SecurityContext::default()
    }
}

/// Amounts of resources, as containers have them.
pub fn quantities(map: &BTreeMap<String, String>) -> Option<BTreeMap<String, Quantity>> {
    (!map.is_empty()).then(|| map.iter().map(|(name, text)| (name.clone(), Quantity(text.clone()))).collect())
}
