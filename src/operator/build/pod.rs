//! PURE. The pod: the template's desktop, and the gateway beside it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvVar, EnvVarSource, LocalObjectReference, ObjectFieldSelector,
    PersistentVolumeClaimVolumeSource, Pod, PodSpec, ResourceRequirements, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{NODE_IP, Plan, host, security};
use crate::crd::{ClipboardPolicy, GatewaySpec, GpuEncoder};
use crate::inject::{self, Injection, Placement};
use crate::operator::names;

/// Name of the desktop's container.
pub const DESKTOP: &str = "desktop";
/// Where the home is, where the template does not say.
const HOME: &str = "/home/user";
/// What both containers may use of NVIDIA's driver; `video` is the encoder.
const CAPABILITIES: &str = "compute,utility,graphics,video,display";
/// Time to say goodbye to viewers and for programs to save.
const GRACE_SECONDS: i64 = 30;
/// Mebibytes of `/dev/shm` at least: what container runtimes give.
const SHM_LEAST: u32 = 64;

/// The pod, with the hash of its spec in an annotation.
pub fn pod(plan: &Plan) -> Pod {
    let mut metadata = plan.child_metadata();
    let alone = Pod { metadata: metadata.clone(), spec: Some(spec(plan)), status: None };
    let how = injection(plan);
    let mut pod = inject::add(alone, &how, &Placement::fresh(DESKTOP, &how));
    let hash = spec_hash(&pod);
    metadata.annotations.get_or_insert_default().extend(pod.metadata.annotations.take().unwrap_or_default());
    metadata.annotations.get_or_insert_default().insert(names::SPEC_HASH.to_owned(), hash);
    Pod { metadata, ..pod }
}

/// Hash of what [`pod`] built: another one means that the session would start differently now. The API server fills in
/// defaults, so a live pod is compared by its annotation.
pub fn spec_hash(pod: &Pod) -> String {
    // Maps with texts as keys: writing them cannot fail.
    names::hex(&[&serde_json::to_string(&pod.spec).unwrap_or_default()], 16)
}

/// The sidecar of this session.
pub fn injection(plan: &Plan) -> Injection {
    let silent = GatewaySpec::default();
    let gateway = plan.template.spec.gateway.as_ref().unwrap_or(&silent);
    let image = gateway.image.clone().unwrap_or_else(|| plan.settings.gateway_image.clone());
    let mut resources =
        gateway.resources.as_ref().map_or_else(inject::default_resources, |r| ResourceRequirements {
            requests: inject::quantities(&r.requests),
            limits: inject::quantities(&r.limits),
            ..ResourceRequirements::default()
        });
    if gpu(plan) == Gpu::Slice {
        add_device(&mut resources, &plan.effective.compute.gpu_resource, 1);
    }
    Injection {
        image_pull_policy: plan.settings.gateway_pull_policy,
        resources,
        port: plan.effective.port,
        display: Some(display(plan)),
        xauthority: plan.template.spec.xauthority.clone(),
        secret: Some(plan.child()),
        args: arguments(plan, gateway),
        env: gateway_environment(plan, gateway),
        ..Injection::new(image)
    }
}

/// How the gateway of this session comes to an encoder.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gpu {
    /// In software.
    None,
    /// It sees the desktop's device.
    Env,
    /// It has a slice of its own.
    Slice,
}

fn gpu(plan: &Plan) -> Gpu {
    let compute = &plan.effective.compute;
    match compute.gpu_encoder {
        _ if compute.gpu == 0 => Gpu::None,
        GpuEncoder::None => Gpu::None,
        GpuEncoder::Env => Gpu::Env,
        GpuEncoder::Slice => Gpu::Slice,
    }
}

fn add_device(resources: &mut ResourceRequirements, name: &str, slices: u32) {
    let slices = Quantity(slices.to_string());
    resources.requests.get_or_insert_default().insert(name.to_owned(), slices.clone());
    resources.limits.get_or_insert_default().insert(name.to_owned(), slices);
}

fn display(plan: &Plan) -> u32 {
    plan.template.spec.display.unwrap_or(0)
}

/// Arguments of `deskgate serve` beside those that every sidecar has. Kubernetes expands `$(NAME)` in them: texts of
/// strangers are escaped.
fn arguments(plan: &Plan, gateway: &GatewaySpec) -> Vec<String> {
    let (name, namespace) = (plan.name(), plan.namespace());
    let mut args = vec![
        format!("--session={name}"),
        format!("--session-uid={}", plan.uid),
        format!("--sign-in-hint=Run `kubectl vdi open {name} -n {namespace}`"),
    ];
    args.extend(gateway.encoder.as_ref().map(|encoder| format!("--encoder={encoder}")));
    args.extend(gateway.frame_limit.map(|fps| format!("--fps={fps}")));
    args.extend(gateway.bitrate_kbps.map(|kbps| format!("--bitrate={kbps}")));
    args.extend(plan.advertise.as_ref().map(|address| format!("--advertise={address}")));
    if plan.settings.route.turn_entry_point.is_some() {
        let port = plan.settings.route.public_port.unwrap_or(443);
        args.push(format!("--advertise-turn=turns:{}:{port}", names::turn_host(&host(plan))));
    }
    if let Some(proxy) = &plan.settings.forward_auth {
        args.push(format!("--forward-auth-header={}", inject::literal(&proxy.header)));
        args.extend(proxy.from.iter().map(|net| format!("--forward-auth-from={}", inject::literal(net))));
        args.push(format!("--owner={}", inject::literal(&plan.session.spec.user)));
    }
    args
}

fn variable(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.into()), value_from: None }
}

fn gateway_environment(plan: &Plan, gateway: &GatewaySpec) -> Vec<EnvVar> {
    let mut env = Vec::new();
    env.extend(
        plan.template.spec.pulse_server.as_ref().map(|s| variable("PULSE_SERVER", inject::literal(s))),
    );
    env.extend(gateway.clipboard.map(|policy| {
        variable(
            "DESKGATE_CLIPBOARD",
            match policy {
                ClipboardPolicy::Off => "off",
                ClipboardPolicy::In => "in",
                ClipboardPolicy::Out => "out",
                ClipboardPolicy::Both => "both",
            },
        )
    }));
    match gpu(plan) {
        // The device plug-in sets NVIDIA_VISIBLE_DEVICES where a slice is asked for, and nowhere else.
        Gpu::Env => env.extend(nvidia(plan, Some("all"), true)),
        Gpu::Slice => env.extend(nvidia(plan, None, true)),
        Gpu::None => env.extend(nvidia(plan, Some("void"), false)),
    }
    if plan.advertise.as_ref().is_some_and(|a| a.contains(NODE_IP)) {
        let field = ObjectFieldSelector { field_path: "status.hostIP".to_owned(), api_version: None };
        let value_from = Some(EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() });
        env.push(EnvVar { name: NODE_IP.to_owned(), value: None, value_from });
    }
    env
}

/// Variables that NVIDIA's container runtime reads. `void`: an image that says `all` gets no device that the session
/// did not ask for.
fn nvidia(plan: &Plan, devices: Option<&str>, driver: bool) -> Vec<EnvVar> {
    if !plan.effective.compute.gpu_resource.starts_with("nvidia.com/") {
        return Vec::new();
    }
    let given = plan.template.spec.gpu.as_ref().and_then(|g| g.driver_capabilities.as_deref());
    let capabilities = || variable("NVIDIA_DRIVER_CAPABILITIES", given.unwrap_or(CAPABILITIES));
    let mut env: Vec<EnvVar> = devices.map(|d| variable("NVIDIA_VISIBLE_DEVICES", d)).into_iter().collect();
    env.extend(driver.then(capabilities));
    env
}

fn spec(plan: &Plan) -> PodSpec {
    let template = &plan.template.spec;
    let list = |items: Vec<LocalObjectReference>| (!items.is_empty()).then_some(items);
    let has_gpu = plan.effective.compute.gpu > 0;
    PodSpec {
        containers: vec![desktop(plan)],
        volumes: Some(volumes(plan)),
        security_context: Some(security::pod(template.pod_security_context.as_ref())),
        hostname: Some(plan.name()),
        restart_policy: Some("OnFailure".to_owned()),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        runtime_class_name: template
            .gpu
            .as_ref()
            .filter(|_| has_gpu)
            .and_then(|g| g.runtime_class_name.clone()),
        node_selector: (!template.node_selector.is_empty()).then(|| template.node_selector.clone()),
        tolerations: (!template.tolerations.is_empty()).then(|| template.tolerations.clone()),
        image_pull_secrets: list(
            template.image_pull_secrets.iter().map(|n| LocalObjectReference { name: n.clone() }).collect(),
        ),
        ..PodSpec::default()
    }
}

fn home_path(plan: &Plan) -> String {
    plan.template.spec.home_path.clone().unwrap_or_else(|| HOME.to_owned())
}

fn volumes(plan: &Plan) -> Vec<Volume> {
    let home = match &plan.effective.home {
        Some(home) => Volume {
            name: "home".to_owned(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: home.claim.clone(),
                read_only: None,
            }),
            ..Volume::default()
        },
        None => inject::empty_dir("home", None, &plan.effective.scratch.to_string()),
    };
    // It counts as the desktop's memory: half of that at most.
    let shm = (plan.effective.compute.memory.as_mebibytes() / 2).max(SHM_LEAST);
    vec![home, inject::empty_dir("shm", Some("Memory"), &format!("{shm}Mi"))]
}

fn desktop(plan: &Plan) -> Container {
    let template = &plan.template.spec;
    let some = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    let mount = |name: &str, path: String| VolumeMount {
        name: name.to_owned(),
        mount_path: path,
        ..VolumeMount::default()
    };
    let ports: Vec<ContainerPort> = template
        .ports
        .iter()
        .map(|port| ContainerPort {
            container_port: i32::from(*port),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        })
        .collect();
    Container {
        name: DESKTOP.to_owned(),
        image: Some(template.image.clone()),
        image_pull_policy: template.image_pull_policy.map(|p| p.as_str().to_owned()),
        command: some(&template.command),
        args: some(&template.args),
        env: Some(desktop_environment(plan)),
        ports: (!ports.is_empty()).then_some(ports),
        resources: Some(desktop_resources(plan)),
        security_context: Some(security::desktop(template.security_context.as_ref())),
        volume_mounts: Some(vec![mount("home", home_path(plan)), mount("shm", "/dev/shm".to_owned())]),
        ..Container::default()
    }
}

/// Ours first, so that the template's variables can refer to them; the template's go before ours of the same name.
fn desktop_environment(plan: &Plan) -> Vec<EnvVar> {
    let template = &plan.template.spec;
    let mut env = vec![
        variable("DISPLAY", format!(":{}", display(plan))),
        // Else the home of the image's user would be another folder than the one that is kept.
        variable("HOME", inject::literal(&home_path(plan))),
    ];
    env.extend(template.xauthority.as_ref().map(|path| variable("XAUTHORITY", inject::literal(path))));
    env.extend(template.pulse_server.as_ref().map(|s| variable("PULSE_SERVER", inject::literal(s))));
    let has_gpu = plan.effective.compute.gpu > 0;
    env.extend(nvidia(plan, (!has_gpu).then_some("void"), has_gpu));
    env.retain(|ours| template.env.iter().all(|theirs| theirs.name != ours.name));
    env.extend(template.env.iter().cloned());
    env
}

/// Requests are limits: a session gets what it was promised, and no more at its neighbours' cost.
fn desktop_resources(plan: &Plan) -> ResourceRequirements {
    let compute = &plan.effective.compute;
    let amounts: BTreeMap<String, Quantity> = [("cpu", &compute.cpu), ("memory", &compute.memory)]
        .into_iter()
        .map(|(name, amount)| (name.to_owned(), Quantity(amount.to_string())))
        .collect();
    let mut resources = ResourceRequirements {
        requests: Some(amounts.clone()),
        limits: Some(amounts),
        ..ResourceRequirements::default()
    };
    if compute.gpu > 0 {
        add_device(&mut resources, &compute.gpu_resource, compute.gpu);
    }
    resources
}
