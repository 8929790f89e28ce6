//! PURE. Pod in, pod with the gateway's sidecar out: for the operator, the admission webhook, `deskgate inject`.
//!
//! The sidecar is a native one, last of the init containers, so that the desktop starts when the port listens. It
//! shares `/tmp/.X11-unix` with the desktop's container and nothing else; the token secret is its own.

mod container;
mod document;
mod examine;
mod options;

use k8s_openapi::api::core::v1::{EnvVar, Pod, ResourceRequirements};
use thiserror::Error;

pub use self::container::{add, default_resources, quantities};
pub(crate) use self::container::{empty_dir, literal};
pub use self::document::{DocumentError, TextError, difference, inject_object, inject_text};
pub use self::options::Placement;
use crate::crd::ImagePullPolicy;

/// Name of the sidecar.
pub const CONTAINER: &str = "gateway";
/// The one port, where nobody says otherwise.
pub const PORT: u16 = 8080;
/// Where X servers listen; what the desktop and the gateway share.
pub const X11_DIR: &str = "/tmp/.X11-unix";
/// Where the session's Secret is mounted, in the gateway alone.
pub const SECRET_DIR: &str = "/run/deskgate";
/// Key of that Secret with what signs tokens.
pub const SECRET_KEY: &str = "token-secret";
/// The one folder that the gateway writes to.
pub const STATE_DIR: &str = "/var/lib/deskgate";

/// Label of pods that the admission webhook injects: `"true"`.
pub const INJECT: &str = "vdi.kasm.io/inject";
/// Annotation: the Secret with the key `token-secret`; without it the gateway listens on loopback.
pub const SECRET: &str = "vdi.kasm.io/secret";
/// Annotation: the X display, `:1` or `1`.
pub const DISPLAY: &str = "vdi.kasm.io/display";
/// Annotation: authority file of the X server, in `/tmp/.X11-unix`.
pub const XAUTHORITY: &str = "vdi.kasm.io/xauthority";
/// Annotation: which container is the desktop.
pub const DESKTOP: &str = "vdi.kasm.io/container";
/// Annotation: the gateway's port.
pub const PORT_ANNOTATION: &str = "vdi.kasm.io/port";
/// Annotation that marks a pod whose container `gateway` is ours; it names the container that is the desktop.
pub const INJECTED: &str = "vdi.kasm.io/injected";

/// What the sidecar is to be. Annotations of the pod go before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Injection {
    /// Its image.
    pub image: String,
    /// When that is pulled; `None`: Kubernetes' own rule.
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// Its compute.
    pub resources: ResourceRequirements,
    /// The one port.
    pub port: u16,
    /// Number of the X display; `None`: what `DISPLAY` of the desktop's container says, else 0.
    pub display: Option<u32>,
    /// Authority file of the X server.
    pub xauthority: Option<String>,
    /// The Secret with the key `token-secret`; `None`: the gateway listens on loopback, for port-forward alone.
    pub secret: Option<String>,
    /// More arguments of `deskgate serve`. Kubernetes expands `$(NAME)` in them.
    pub args: Vec<String>,
    /// Its environment.
    pub env: Vec<EnvVar>,
}

impl Injection {
    /// A sidecar of this image, with everything else as it is by default.
    pub fn new(image: impl Into<String>) -> Self {
        Self {
            image: image.into(),
            image_pull_policy: None,
            resources: default_resources(),
            port: PORT,
            display: None,
            xauthority: None,
            secret: None,
            args: Vec::new(),
            env: Vec::new(),
        }
    }
}

/// A pod with the sidecar.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The pod.
    pub pod: Pod,
    /// What became of it.
    pub change: Change,
}

/// What became of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It had the sidecar just like this.
    Unchanged,
    /// It had another one of ours, which was replaced where it stood.
    Updated,
    /// It has one now.
    Injected,
}

/// Why a pod gets no sidecar.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Nothing to stream.
    #[error("the pod has no container")]
    NoContainer,
    /// The annotation names a container that is not there.
    #[error("annotation {DESKTOP}: the pod has no container {0:?}, only {1}")]
    NoSuchContainer(String, String),
    /// An annotation that cannot be read.
    #[error("annotation {name}: {value:?}: {expected}")]
    Annotation {
        /// The annotation.
        name: &'static str,
        /// What it holds.
        value: String,
        /// What is expected.
        expected: &'static str,
    },
    /// `DISPLAY` leads elsewhere.
    #[error(
        "DISPLAY of container {container:?} is {value:?}: only displays of the pod itself (:0, :1, …) can be \
             streamed; annotation {DISPLAY} names another one"
    )]
    DisplayElsewhere {
        /// The container.
        container: String,
        /// Its `DISPLAY`.
        value: String,
    },
    /// The containers of a pod share one network.
    #[error(
        "container {container:?} has port {port}, which the gateway needs; annotation {PORT_ANNOTATION} names \
             another one"
    )]
    PortTaken {
        /// The container.
        container: String,
        /// The port.
        port: u16,
    },
    /// The pods of a node share one network.
    #[error(
        "the pod has hostNetwork: the gateway's port would be the node's own, one for all its pods; annotation \
             {PORT_ANNOTATION} names one that is free there"
    )]
    HostNetwork,
    /// Loopback of a node is not private.
    #[error(
        "the pod has hostNetwork and no annotation {SECRET}: without a Secret the gateway trusts whoever \
             reaches it on loopback, and that would be everybody on the node"
    )]
    HostLoopback,
    /// Processes that see each other see each other's files.
    #[error(
        "the pod has shareProcessNamespace: programs of the desktop could read the gateway's secret through \
             /proc; set it to false, or leave annotation {SECRET} out"
    )]
    SharedProcesses,
    /// No X server.
    #[error("it is a pod for Windows: there is no X display in it")]
    Windows,
    /// A shadow of a file on a node.
    #[error("it is the mirror of a static pod: its file on the node is what counts")]
    Mirror,
    /// A container of the sidecar's name.
    #[error("the pod has a container {CONTAINER:?} of its own, which is not Deskgate's; rename it")]
    NameTaken,
    /// What the desktop has at `/tmp/.X11-unix` cannot be shared.
    #[error(
        "container {container:?} has volume {volume:?} at {X11_DIR}, which is {what}: the gateway shares an \
             emptyDir alone"
    )]
    Socket {
        /// The container.
        container: String,
        /// The volume.
        volume: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Several displays.
    #[error(
        "containers have different volumes at {X11_DIR}: {0}; annotation {DESKTOP} says which is the desktop"
    )]
    SeveralSockets(String),
}

/// Adds the sidecar, or brings one of ours up to date. Injecting twice is injecting once.
///
/// # Errors
/// [`Refusal`] where a gateway would not work, or would be a danger.
pub fn inject(pod: Pod, how: &Injection) -> Result<Outcome, Refusal> {
    let placement = Placement::of(&pod, how)?;
    examine::check(&pod, &placement)?;
    let had_one = examine::ours(&pod).is_some();
    let injected = add(pod.clone(), how, &placement);
    let change = match (injected == pod, had_one) {
        (true, _) => Change::Unchanged,
        (false, true) => Change::Updated,
        (false, false) => Change::Injected,
    };
    Ok(Outcome { pod: injected, change })
}

#[cfg(test)]
mod tests;
