//! PURE. `VDISession`: one desktop of one user.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{VDISessionStatus, rules};

/// What a session is to be. What is absent comes from the template.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "vdi.kasm.io",
    version = "v1alpha1",
    kind = "VDISession",
    plural = "vdisessions",
    shortname = "vdi",
    category = "deskgate",
    namespaced,
    status = "VDISessionStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "One desktop of one user, made from a VDITemplate and reached at status.url.",
    printcolumn(name = "User", type_ = "string", json_path = ".spec.user"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason",
        priority = 1
    ),
    printcolumn(name = "Template", type_ = "string", json_path = ".spec.template", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]{0,48}[a-z0-9])?$')")
        .message("metadata.name: at most 50 of a-z, 0-9 and '-', a letter first, no '-' at the end")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.persistence) || !has(self.persistence.enabled) || self.persistence.enabled \
        || !(has(self.persistence.size) || has(self.persistence.storageClassName) || has(self.persistence.reclaim))")
        .message("persistence.enabled is false: size, storageClassName and reclaim say nothing then; leave them out")
)]
pub struct VDISessionSpec {
    /// The user whose desktop this is, by the name that the cluster's authentication gives him.
    #[schemars(length(min = 1, max = 254), regex(pattern = r"^[^\s]+$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("user is immutable: make another session"))]
    pub user: String,
    /// Name of the VDITemplate that it is made from.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("template is immutable: make another session"))]
    pub template: String,
    /// Running, or Suspended: the pod goes and the home stays. Absent means Running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<RunState>,
    /// Compute; what is absent comes from the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<SessionResources>,
    /// The home volume; what is absent comes from the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistence: Option<PersistenceSpec>,
    /// Longest run, counted from the start of the current one: 8h, 90m, or seconds; 0 never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::int_or_text")]
    #[x_kube(validation = Rule::new(rules::TIMEOUT_RULE)
        .message("timeout: a time such as 8h, 90m or 1h30m, seconds as a number, or 0 for never"))]
    pub timeout: Option<IntOrText>,
    /// What happens at the timeout. Absent: Suspend with a home, Delete without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_action: Option<EndAction>,
    /// How long nobody may be there (no viewer and no input); 0 for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::int_or_text")]
    #[x_kube(validation = Rule::new(rules::TIMEOUT_RULE)
        .message("idleTimeout: a time such as 30m or 2h, seconds as a number, or 0 for never"))]
    pub idle_timeout: Option<IntOrText>,
    /// What happens then. Absent: Suspend with a home, Delete without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_action: Option<EndAction>,
}

/// Whether the desktop is to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = rules::undescribed)]
pub enum RunState {
    /// A pod is there.
    #[default]
    Running,
    /// No pod; the home stays.
    Suspended,
}

/// What ends a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = rules::undescribed)]
pub enum EndAction {
    /// The pod goes, the home stays; a visit or `kubectl vdi resume` brings it back.
    Suspend,
    /// The session is deleted.
    Delete,
}

/// An integer or a text: people write `cpu: 2` and `cpu: 500m`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IntOrText {
    /// As a number.
    Int(i64),
    /// As a text.
    Text(String),
}

impl std::fmt::Display for IntOrText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Int(n) => n.fmt(f),
            Self::Text(t) => f.write_str(t),
        }
    }
}

/// Compute of a session's desktop container.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionResources {
    /// Slices of a GPU; 0 is a session that encodes in software.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 64))]
    pub gpu: Option<u32>,
    /// Processors: 2, "1.5", 500m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::int_or_text")]
    #[x_kube(validation = Rule::new(rules::CPU_RULE)
        .message("resources.cpu: processors such as 2, \"1.5\" or 500m"))]
    pub cpu: Option<IntOrText>,
    /// Memory: 4Gi, 512Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = rules::MEMORY))]
    pub memory: Option<String>,
}

/// The home volume of a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PersistenceSpec {
    /// False: nothing outlives the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Size of a home that has to be made: 10Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = rules::SIZE))]
    pub size: Option<String>,
    /// Storage class of a home that has to be made; absent: the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = rules::SUBDOMAIN))]
    pub storage_class_name: Option<String>,
    /// What becomes of the home when the last session that names it is deleted. Absent: Retain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reclaim: Option<Reclaim>,
}

/// What becomes of a home.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = rules::undescribed)]
pub enum Reclaim {
    /// It stays.
    #[default]
    Retain,
    /// It goes with the last session that names it.
    Delete,
}
