//! PURE. What is in force: a session's spec over its template's defaults.

use crate::crd::{EffectiveSpec, EndAction, Exposure, GpuEncoder, Quantity, Reclaim, Timeout};

/// A session and its template, parsed: nothing behind this looks at the raw texts again.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    /// Compute of the desktop's container.
    pub compute: Compute,
    /// The home; `None`: nothing outlives the pod.
    pub home: Option<Home>,
    /// Most that the home's folder of a session without a home may hold.
    pub scratch: Quantity,
    /// Longest run.
    pub timeout: Timeout,
    /// What happens then.
    pub timeout_action: EndAction,
    /// How long nobody may be there.
    pub idle_timeout: Timeout,
    /// What happens then.
    pub idle_action: EndAction,
    /// How the one port is reached.
    pub exposure: Exposure,
    /// The gateway's port, in the pod and of the Service.
    pub port: u16,
}

/// When a run ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Longest run.
    pub timeout: Timeout,
    /// What happens then.
    pub timeout_action: EndAction,
    /// How long nobody may be there.
    pub idle_timeout: Timeout,
    /// What happens then.
    pub idle_action: EndAction,
}

impl Ends {
    /// What was in force last, as a status remembers it.
    pub fn remembered(status: &EffectiveSpec) -> Option<Self> {
        Some(Self {
            timeout: status.timeout.parse().ok()?,
            timeout_action: status.timeout_action,
            idle_timeout: status.idle_timeout.parse().ok()?,
            idle_action: status.idle_action,
        })
    }
}

impl Effective {
    /// When a run under it ends.
    pub fn ends(&self) -> Ends {
        let Self { timeout, timeout_action, idle_timeout, idle_action, .. } = *self;
        Ends { timeout, timeout_action, idle_timeout, idle_action }
    }
}

/// Compute of the desktop's container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compute {
    /// Slices of a GPU.
    pub gpu: u32,
    /// The resource that a slice is.
    pub gpu_resource: String,
    /// How the gateway comes to the encoder.
    pub gpu_encoder: GpuEncoder,
    /// Processors.
    pub cpu: Quantity,
    /// Memory.
    pub memory: Quantity,
}

impl Compute {
    /// Slices of a GPU that the whole pod takes, the gateway's own among them.
    pub fn slices(&self) -> u32 {
        self.gpu + u32::from(self.gpu > 0 && self.gpu_encoder == GpuEncoder::Slice)
    }
}

/// The home of a user for a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// Name of its claim.
    pub claim: String,
    /// Size, if it has to be made.
    pub size: Quantity,
    /// Storage class, if it has to be made; `None`: the cluster's default.
    pub storage_class: Option<String>,
    /// What becomes of it with the last session.
    pub reclaim: Reclaim,
}
