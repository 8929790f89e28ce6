//! PURE. Every reason that a condition can have, with its hint. Programs rely on the words, people on the hints.

macro_rules! reasons {
    ($($name:ident: $hint:literal;)*) => {
        /// Why a condition is as it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $(#[doc = concat!("`", stringify!($name), "`: ", $hint)] $name,)*
        }

        impl Reason {
            /// All reasons.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The word that stands in the condition.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// What to do about it; empty where nothing has to be done.
            pub const fn hint(self) -> &'static str {
                match self { $(Self::$name => $hint,)* }
            }

            /// Reads the word of a condition.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $(stringify!($name) => Some(Self::$name),)* _ => None }
            }
        }
    };
}

reasons! {
    Admitted: "";
    SessionQuotaExceeded: "suspend or delete one of the sessions that are named, or have the quota raised in the operator's settings file";
    GpuQuotaExceeded: "suspend or delete one of the sessions that are named, or ask for fewer slices in resources.gpu";
    Resolved: "";
    TemplateMissing: "kubectl get vditemplates lists what there is; the session starts by itself once the template exists";
    TemplateInvalid: "mend the template; the session takes it up by itself";
    OverrideNotAllowed: "take the field out of the session's spec: its template keeps it for itself";
    LimitExceeded: "ask for less: the template's spec.overrides has the limit";
    InvalidSpec: "mend the session's spec";
    NoHome: "";
    HomeBound: "";
    ProvisioningPending: "kubectl describe pvc shows what the provisioner says; is there a StorageClass of that name, or a default one?";
    HomeInUse: "suspend or delete the session that is named: one home is in one running session at a time";
    HomeForeign: "a claim of the home's name belongs to somebody else; rename or remove it";
    HomeLost: "the volume behind the claim is gone; restore it, or delete the claim to begin with an empty home";
    HomeTerminating: "the home is being deleted; the session starts when it is gone";
    Scheduled: "";
    Scheduling: "";
    InsufficientGpu: "all slices are taken, or no node offers any: kubectl describe nodes shows both";
    InsufficientCpu: "free processors on the nodes, or ask for fewer in resources.cpu";
    InsufficientMemory: "free memory on the nodes, or ask for less in resources.memory";
    FailedScheduling: "the scheduler's message says what no node has";
    PodReady: "";
    PodMissing: "";
    ContainersStarting: "";
    ImagePullBackOff: "is the image's name right, and are its credentials in the template's imagePullSecrets?";
    CrashLoopBackOff: "kubectl vdi logs shows what the container said last";
    OOMKilled: "give the session more memory in resources.memory";
    ContainerConfigError: "a Secret or ConfigMap that the template's env names is not there";
    FailedMount: "the message says which volume could not be mounted and why";
    NodeLost: "the node does not answer; no second pod is made while the first may still run. kubectl vdi restart --force gives it up";
    ReplacementBackOff: "";
    ReplacementsExhausted: "kubectl vdi restart begins anew once the cause is mended";
    Stopping: "";
    NameTaken: "an object of the child's name belongs to somebody else; rename or remove it, or name the session otherwise";
    ResourceQuotaExceeded: "the namespace's ResourceQuota is used up: free something, or have it raised";
    PodSecurityViolation: "the namespace enforces a Pod Security level that the template's security context does not meet";
    AdmissionDenied: "an admission webhook or policy of the cluster refused the object; its message says why";
    Forbidden: "the operator lacks a right: deskgate manifests prints the Role for each session namespace; apply it again";
    ApiError: "the API server refused; it is tried again";
    Routed: "";
    NotProbed: "";
    RouteKindMissing: "Traefik's CRDs are not installed; the route is made when they are";
    NoReadyEndpoint: "";
    ProbeFailed: "Traefik does not lead to this session: see the message, and Traefik's own log";
    AddressPending: "the load balancer has no address yet";
    Streaming: "";
    EncoderFellBack: "a GPU was asked for but frames are encoded in software; gpu.encoder and gpu.driverCapabilities (video) of the template decide";
    WaitingForDisplay: "the X server of the desktop does not answer yet: does the image open the display of spec.display?";
    StreamStarting: "";
    NoEncoder: "no encoder works in the gateway: the message says why for each";
    GatewayUnreachable: "the operator cannot reach the gateway's port in the pod: is a NetworkPolicy in the way?";
    WaitingForPod: "";
    UpToDate: "";
    RestartRequired: "kubectl vdi restart takes the change up; so does the next start";
    Suspended: "a visit, or kubectl vdi resume, brings it back";
    SuspendedIdle: "a visit, or kubectl vdi resume, brings it back";
    SuspendedTimeout: "a visit, or kubectl vdi resume, brings it back";
    SuspendedLogout: "a visit, or kubectl vdi resume, brings it back";
    Terminating: "";
    Blocked: "";
    Ready: "";
}

/// Reasons that do not heal without a change of the spec, of the template, or a restart.
pub const fn is_final(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::TemplateInvalid
            | Reason::OverrideNotAllowed
            | Reason::LimitExceeded
            | Reason::InvalidSpec
            | Reason::ReplacementsExhausted
    )
}

/// Reasons of a session that has no pod because none is wanted.
pub const fn is_suspension(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Suspended | Reason::SuspendedIdle | Reason::SuspendedTimeout | Reason::SuspendedLogout
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_a_word_of_the_conditions_schema() {
        for reason in Reason::ALL {
            assert!(reason.as_str().bytes().all(|b| b.is_ascii_alphanumeric()), "{reason:?}");
            assert_eq!(Reason::parse(reason.as_str()), Some(*reason));
        }
        assert_eq!(Reason::parse("nonsense"), None);
    }

    #[test]
    fn what_does_not_heal_by_itself_says_what_to_do() {
        for reason in Reason::ALL.iter().filter(|r| is_final(**r) || is_suspension(**r)) {
            assert!(!reason.hint().is_empty(), "{reason:?}");
        }
    }
}
