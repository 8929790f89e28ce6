//! PURE. The custom resources: `VDISession` and `VDITemplate` of `vdi.kasm.io/v1alpha1`.
//!
//! No field that a template can set has a schema default: the API server would fill it in before the template is
//! read. What is in force stands in `status.effective`.

mod quantity;
mod rules;
mod session;
mod status;
mod template;
mod time;
mod yaml;

pub use self::quantity::{Quantity, QuantityError};
pub use self::session::{
    EndAction, IntOrText, PersistenceSpec, Reclaim, RunState, SessionResources, VDISession, VDISessionSpec,
};
pub use self::status::{Condition, ConditionStatus, ConditionType, EffectiveSpec, Phase, VDISessionStatus};
pub use self::template::{
    Application, ClipboardPolicy, ContainerResources, Exposure, GatewaySpec, GpuEncoder, GpuSpec,
    ImagePullPolicy, Overridable, Overrides, PersistenceDefaults, ResourceDefaults, VDITemplate,
    VDITemplateSpec,
};
pub use self::time::{Timeout, TimeoutError};
pub use self::yaml::{definition_texts, definitions};

/// API group of both kinds; annotations and labels of ours begin with it.
pub const GROUP: &str = "vdi.kasm.io";

#[cfg(test)]
mod cel_tests;
#[cfg(test)]
#[path = "../../tests/cluster/mutations.rs"]
mod mutations;
#[cfg(test)]
mod tests;
