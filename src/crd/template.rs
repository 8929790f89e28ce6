//! PURE. `VDITemplate`: what sessions are made from. Cluster-scoped; whoever may `use` one is RBAC's matter.

use k8s_openapi::api::core::v1::{EnvVar, PodSecurityContext, SecurityContext, Toleration};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::{EndAction, IntOrText, Reclaim, rules};

/// What sessions are made from.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "vdi.kasm.io",
    version = "v1alpha1",
    kind = "VDITemplate",
    plural = "vditemplates",
    shortname = "vdit",
    category = "deskgate",
    derive = "PartialEq",
    derive = "Default",
    doc = "A kind of desktop: image, gateway, defaults, and what a session may change.",
    printcolumn(name = "Display Name", type_ = "string", json_path = ".spec.displayName"),
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.image"),
    printcolumn(name = "GPU", type_ = "integer", json_path = ".spec.resources.gpu"),
    printcolumn(name = "Exposure", type_ = "string", json_path = ".spec.exposure", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 63 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name: at most 63 of a-z, 0-9 and '-', no '-' at either end")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.ports) || !self.ports.exists(p, p == (has(self.gateway) && has(self.gateway.port) ? self.gateway.port : 8080))")
        .message("ports: the image listens on the gateway's port; the two share the pod's network, so set gateway.port to another one"),
    validation = Rule::new("!has(self.env) || self.env.all(e, !e.name.startsWith('DESKGATE_'))")
        .message("env: names that begin with DESKGATE_ are the gateway's; see gateway"),
    validation = Rule::new("!has(self.xauthority) || self.xauthority.startsWith('/tmp/.X11-unix/')")
        .message("xauthority: has to lie in /tmp/.X11-unix/, the folder that the desktop and the gateway share"),
    validation = Rule::new("!has(self.homePath) || !(self.homePath in ['/', '/tmp', '/dev', '/proc', '/sys', '/etc', '/usr', '/bin', '/lib', '/var', '/run'])")
        .message("homePath: a home must not hide the system's own folders")
)]
pub struct VDITemplateSpec {
    /// Name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub display_name: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// What is installed, for portals to show.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub applications: Vec<Application>,
    /// Image of the desktop: an X server and what runs on it.
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^[^\s]+$"))]
    pub image: String,
    /// When the image is pulled; absent: Kubernetes' own rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// Names of Secrets with the registry's credentials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 253)))]
    pub image_pull_secrets: Vec<String>,
    /// Replaces the image's entry point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub command: Vec<String>,
    /// Replaces the image's arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub args: Vec<String>,
    /// Environment of the desktop; a session's user can read it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "rules::env")]
    pub env: Vec<EnvVar>,
    /// TCP ports that the image listens on by itself; the gateway's must not be among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(range(min = 1, max = 65535)))]
    pub ports: Vec<u16>,
    /// Number of the X display that the desktop opens. Absent: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 99))]
    pub display: Option<u32>,
    /// Authority file of the X server, if it wants cookies; in /tmp/.X11-unix/, which both containers see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub xauthority: Option<String>,
    /// Where PulseAudio or PipeWire listens, such as 127.0.0.1:4713 or unix:/tmp/.X11-unix/pulse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = r"^[^\s]+$"))]
    pub pulse_server: Option<String>,
    /// Where the home is mounted. Absent: /home/user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = r"^/[^:\s]*$"))]
    pub home_path: Option<String>,
    /// The sidecar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewaySpec>,
    /// How a GPU is asked for and used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuSpec>,
    /// Compute of a session that does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceDefaults>,
    /// Home of a session that does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistence: Option<PersistenceDefaults>,
    /// Longest run of a session that does not say. Absent: 0, never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = rules::TIMEOUT))]
    pub timeout: Option<String>,
    /// What happens then. Absent: Suspend with a home, Delete without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_action: Option<EndAction>,
    /// How long nobody may be there, for a session that does not say. Absent: 0, for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = rules::TIMEOUT))]
    pub idle_timeout: Option<String>,
    /// What happens then. Absent: Suspend with a home, Delete without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_action: Option<EndAction>,
    /// How the one port is reached. Absent: Ingress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposure: Option<Exposure>,
    /// Security of the pod; what is absent is as Pod Security "restricted" wants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::pass_through")]
    pub pod_security_context: Option<PodSecurityContext>,
    /// Security of the desktop's container; what is absent is as Pod Security "restricted" wants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::pass_through")]
    pub security_context: Option<SecurityContext>,
    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that are put up with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub tolerations: Vec<Toleration>,
    /// What a session may say for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrides: Option<Overrides>,
    /// Why it cannot be read, of what the operator has in place of a template that passed the schema and is none all the
    /// same. Never in a cluster.
    // Not `skip`: KubeSchema makes a copy of the struct in which a field that is skipped outright counts as dead.
    #[serde(skip_deserializing, skip_serializing_if = "is_the_operators_own")]
    #[schemars(skip)]
    pub unreadable: Option<String>,
}

/// True: what the operator notes for itself is never written.
const fn is_the_operators_own(_: &Option<String>) -> bool {
    true
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = rules::undescribed)]
pub enum ImagePullPolicy {
    /// At every start.
    Always,
    /// When the node lacks it.
    IfNotPresent,
    /// Never: it has to be on the node.
    Never,
}

impl ImagePullPolicy {
    /// As pods have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// A program of the desktop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Application {
    /// Its name.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// URL or name of its icon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub icon: Option<String>,
}

/// The gateway's sidecar.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewaySpec {
    /// Its image. Absent: the operator's --gateway-image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^[^\s]+$"))]
    pub image: Option<String>,
    /// Its compute. Absent: requests 200m and 128Mi, limit 1Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ContainerResources>,
    /// Encoder to use alone, by its name in `deskgate encoders`. Absent: the first that works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[a-z0-9]([-a-z0-9_.]*[a-z0-9])?$"))]
    pub encoder: Option<String>,
    /// Frame limit, frames a second. Absent: 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 5, max = 240))]
    pub frame_limit: Option<u32>,
    /// Video bitrate, kbit/s. Absent: 8000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 200_000))]
    pub bitrate_kbps: Option<u32>,
    /// Which way the clipboard may go. The gateway of this version has no clipboard yet: it is handed the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clipboard: Option<ClipboardPolicy>,
    /// The one port, in the pod and of the Service. Absent: 8080.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 65535))]
    pub port: Option<u16>,
}

/// Which way the clipboard may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = rules::undescribed)]
pub enum ClipboardPolicy {
    /// Not at all.
    Off,
    /// From the browser to the desktop.
    In,
    /// From the desktop to the browser.
    Out,
    /// Both ways.
    Both,
}

/// Requests and limits of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerResources {
    /// What the scheduler sets aside.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "rules::quantities")]
    pub requests: BTreeMap<String, String>,
    /// What it may take at most.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "rules::quantities")]
    pub limits: BTreeMap<String, String>,
}

/// How a GPU is asked for and used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GpuSpec {
    /// The resource that a slice is. Absent: nvidia.com/gpu.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?/[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$")
    )]
    pub resource_name: Option<String>,
    /// How the gateway comes to the encoder. Absent: Env.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<GpuEncoder>,
    /// The runtime class of pods with a GPU, such as nvidia. Absent: the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = rules::SUBDOMAIN))]
    pub runtime_class_name: Option<String>,
    /// NVIDIA_DRIVER_CAPABILITIES of both containers. Absent: compute,utility,graphics,video,display.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[a-z0-9]+(,[a-z0-9]+)*$"))]
    pub driver_capabilities: Option<String>,
}

/// How the gateway comes to the GPU's encoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = rules::undescribed)]
#[serde(rename_all = "lowercase")]
pub enum GpuEncoder {
    /// The desktop has the slice, and the gateway sees the device through the runtime's environment.
    #[default]
    Env,
    /// Each of the two asks for a slice of its own: eight sessions need sixteen.
    Slice,
    /// Software.
    None,
}

/// How the one port is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = rules::undescribed)]
pub enum Exposure {
    /// HTTPS through Traefik; media over TCP.
    #[default]
    Ingress,
    /// That, and a node port for direct UDP.
    NodePort,
    /// That, and a load balancer for direct UDP.
    LoadBalancer,
}

/// Compute of sessions that do not say.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceDefaults {
    /// Slices of a GPU. Absent: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 64))]
    pub gpu: Option<u32>,
    /// Processors. Absent: 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::int_or_text")]
    #[x_kube(validation = Rule::new(rules::CPU_RULE)
        .message("resources.cpu: processors such as 2, \"1.5\" or 500m"))]
    pub cpu: Option<IntOrText>,
    /// Memory. Absent: 4Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = rules::MEMORY))]
    pub memory: Option<String>,
}

/// Home of sessions that do not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PersistenceDefaults {
    /// Whether there is a home. Absent: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Its size. Absent: 10Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = rules::SIZE))]
    pub size: Option<String>,
    /// Its storage class. Absent: the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = rules::SUBDOMAIN))]
    pub storage_class_name: Option<String>,
    /// What becomes of it with the last session. Absent: Retain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reclaim: Option<Reclaim>,
}

/// What a session may say for itself. A limit also cuts what holds where the template has no default of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Overrides {
    /// The fields. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub allowed: Option<Vec<Overridable>>,
    /// Most GPU slices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 64))]
    pub max_gpu: Option<u32>,
    /// Most processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = rules::QUANTITY))]
    pub max_cpu: Option<String>,
    /// Most memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = rules::QUANTITY))]
    pub max_memory: Option<String>,
    /// Largest home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = rules::QUANTITY))]
    pub max_size: Option<String>,
    /// Longest run; a session that says 0, never, is past it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = rules::TIMEOUT))]
    pub max_timeout: Option<String>,
}

/// A part of a session's spec that a template can keep for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = rules::undescribed)]
pub enum Overridable {
    /// `resources`.
    Resources,
    /// `persistence`.
    Persistence,
    /// `timeout` and `timeoutAction`.
    Timeout,
    /// `idleTimeout` and `idleAction`.
    IdleTimeout,
}
