//! PURE. What a reconcile may do, as values: the decision says what, [`super::apply`] does it.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;

use super::traefik::{IngressRoute, IngressRouteTCP};
use crate::crd::{ConditionType, EndAction};

/// A child, as it is to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// The Service.
    Service(Box<Service>),
    /// The NetworkPolicy.
    Policy(Box<NetworkPolicy>),
    /// The home's claim, which is no child: it outlives the session.
    Claim(Box<PersistentVolumeClaim>),
    /// The pod.
    Pod(Box<Pod>),
    /// The route.
    Route(Box<IngressRoute>),
    /// The route of TURN over TLS.
    TurnRoute(Box<IngressRouteTCP>),
}

/// Kinds of what may be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The pod.
    Pod,
    /// The route.
    Route,
    /// The route of TURN over TLS.
    TurnRoute,
    /// A claim that was never bound, to be made again otherwise.
    UnboundClaim,
}

/// Why the operator ends a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nobody was there for so long.
    Idle,
    /// It ran for so long.
    Timeout,
    /// The desktop ended by itself.
    Logout,
}

impl Why {
    /// The word in annotations, notices and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Timeout => "Timeout",
            Self::Logout => "Logout",
        }
    }
}

/// For how long a session that is deleted waits for its home to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insist {
    /// Until it has gone.
    Always,
    /// Until then, or until the API server refuses what no second try will change.
    UnlessRefused,
    /// Not at all.
    Never,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Put the finalizer on the session.
    AddFinalizer,
    /// Take it off: the session goes.
    RemoveFinalizer,
    /// Make the session's Secret, unless it is there. Its random bytes are the edge's.
    EnsureSecret(Box<ObjectMeta>),
    /// Make an object, unless it is there.
    Create(Object),
    /// Bring an object of ours back to what it is to be.
    Update {
        /// What it is to be.
        object: Object,
        /// UID of the object that was looked at: another one of the name is left alone.
        uid: String,
    },
    /// Delete an object of ours.
    Delete {
        /// What kind.
        kind: Kind,
        /// Its name.
        name: String,
        /// UID of the object that was looked at: another one of the name is left alone.
        uid: String,
    },
    /// Delete the session's pod, if there is one that the store does not have.
    DeleteUnseenPod,
    /// Delete the home, unless another session names it.
    DeleteHome {
        /// Name of its claim.
        claim: String,
        /// Whether the session waits for it.
        insist: Insist,
    },
    /// End the run by an annotation on the session. For [`Why::Idle`] the gateway is asked once more before.
    Suspend(Why),
    /// Delete the session. For [`Why::Idle`] the gateway is asked once more before.
    DeleteSession(Why),
    /// Tell viewers that the run is about to end.
    Warn {
        /// When.
        at: Timestamp,
        /// What happens then.
        action: EndAction,
    },
}

impl Step {
    /// The condition that tells of it when it fails.
    pub const fn condition(&self) -> ConditionType {
        match self {
            Self::Create(Object::Claim(_)) | Self::Delete { kind: Kind::UnboundClaim, .. } => {
                ConditionType::StorageReady
            }
            Self::Create(Object::Route(_) | Object::TurnRoute(_))
            | Self::Update { object: Object::Route(_) | Object::TurnRoute(_), .. }
            | Self::Delete { kind: Kind::Route | Kind::TurnRoute, .. } => ConditionType::RouteReady,
            _ => ConditionType::PodReady,
        }
    }

    /// Whether the steps behind it are done though it failed. Only routes stand alone: a pod without its policy, or a
    /// session without its finalizer, must not be.
    pub const fn is_optional(&self, failure_passes: bool) -> bool {
        match self {
            Self::Warn { .. } | Self::DeleteHome { insist: Insist::Never, .. } => true,
            Self::DeleteHome { insist: Insist::UnlessRefused, .. } => !failure_passes,
            _ => matches!(self.condition(), ConditionType::RouteReady),
        }
    }
}

impl Object {
    /// Its kind, for logs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Service(_) => "service",
            Self::Policy(_) => "networkpolicy",
            Self::Claim(_) => "persistentvolumeclaim",
            Self::Pod(_) => "pod",
            Self::Route(_) => "ingressroute",
            Self::TurnRoute(_) => "ingressroutetcp",
        }
    }
}
