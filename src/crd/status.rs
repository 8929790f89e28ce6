//! PURE. Status of a session: conditions, and what is derived from them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// What the operator has seen. It never holds a secret.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VDISessionStatus {
    /// A summary of the conditions, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// What holds and what does not, with the cause.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "rules::conditions")]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that this status is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What is in force: the session's spec over the template's defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<EffectiveSpec>,
    /// The pod of the current run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_name: Option<String>,
    /// The node that it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// The Secret that signs this session's links.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// Where the desktop is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Start of the current run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When somebody was there last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_activity_time: Option<Time>,
    /// Browsers that look at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub viewers: Option<u32>,
    /// Since when spec.state has been Suspended; an earlier wake request does not lift it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended_since: Option<Time>,
    /// Failed pods of this session that were replaced, one after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacements: Option<u32>,
    /// When the last of them was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_replacement_time: Option<Time>,
    /// UID of the last of them, so that each is counted once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_replaced_pod_uid: Option<String>,
    /// The message of the condition that matters most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A summary of the conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = rules::undescribed)]
pub enum Phase {
    /// Something outside has to happen first: quota, template, another session's home.
    Pending,
    /// On its way.
    Creating,
    /// The desktop can be opened.
    Running,
    /// No pod, by wish or for want of visitors.
    Suspended,
    /// Being deleted.
    Terminating,
    /// Does not heal without a change of the spec or a restart.
    Failed,
}

/// What a condition is about. In the order in which a session passes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = rules::undescribed)]
pub enum ConditionType {
    /// Within the quotas of the operator's configuration.
    Admitted,
    /// The template is there, and session and template fit.
    TemplateResolved,
    /// The home is there, or none is wanted.
    StorageReady,
    /// The pod has a node.
    PodScheduled,
    /// The pod's containers are ready.
    PodReady,
    /// The URL leads to the pod.
    RouteReady,
    /// The gateway has a display and an encoder.
    StreamReady,
    /// What runs is what spec and template say now.
    UpToDate,
    /// The desktop can be opened.
    Ready,
}

impl ConditionType {
    /// All, in the order in which a session passes them.
    pub const ALL: [Self; 9] = [
        Self::Admitted,
        Self::TemplateResolved,
        Self::StorageReady,
        Self::PodScheduled,
        Self::PodReady,
        Self::RouteReady,
        Self::StreamReady,
        Self::UpToDate,
        Self::Ready,
    ];
}

/// True, False, or not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = rules::undescribed)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It cannot be told.
    Unknown,
}

/// One condition, as Kubernetes' API conventions have it. The type is a text: other field managers may add theirs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about: one of ours, in the order in which a session passes them, or another manager's.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 316))]
    pub type_: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// The cause, in one CamelCase word that programs may rely on.
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"))]
    pub reason: String,
    /// The cause, for people.
    #[serde(default)]
    #[schemars(length(max = 32768))]
    pub message: String,
    /// When the status changed last.
    pub last_transition_time: Time,
    /// The generation of the spec that this was seen for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// What is in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveSpec {
    /// The desktop's image.
    pub image: String,
    /// Slices of a GPU.
    pub gpu: u32,
    /// Processors.
    pub cpu: String,
    /// Memory.
    pub memory: String,
    /// The home's claim; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// Longest run; 0 never ends.
    pub timeout: String,
    /// What happens then.
    pub timeout_action: super::EndAction,
    /// How long nobody may be there; 0 for ever.
    pub idle_timeout: String,
    /// What happens then.
    pub idle_action: super::EndAction,
    /// How the port is reached.
    pub exposure: super::Exposure,
}
