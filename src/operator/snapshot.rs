//! PURE. Everything that is known of one session at one moment, read from the operator's stores.
//!
//! The decision, the conditions and (later) the doctor's diagnosis are functions of it.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Node, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};

use super::admit::Admission;
use super::settings::Pace;
use super::traefik::{IngressRoute, IngressRouteTCP};
use crate::crd::{VDISession, VDITemplate};

/// What stands at the name of a child.
#[derive(Clone, Debug, PartialEq)]
pub enum Child<K> {
    /// Nothing.
    Absent,
    /// A child of this very session (its controller reference has the session's UID).
    Ours(Arc<K>),
    /// Somebody else's object: never touched.
    Foreign {
        /// Whose, for people.
        owner: String,
    },
}

impl<K: Resource> Child<K> {
    /// Tells whose an object is.
    pub fn of(object: Option<Arc<K>>, uid: &str) -> Self {
        let Some(object) = object else { return Self::Absent };
        match controller(object.as_ref()) {
            Some((_, owner_uid)) if owner_uid == uid => Self::Ours(object),
            Some((owner, _)) => Self::Foreign { owner },
            None => Self::Foreign { owner: "nobody's controller".to_owned() },
        }
    }
}

impl<K> Child<K> {
    /// The object, if it is ours.
    pub fn ours(&self) -> Option<&Arc<K>> {
        match self {
            Self::Ours(object) => Some(object),
            _ => None,
        }
    }

    /// Whose it is, if it is not ours.
    pub fn foreign(&self) -> Option<&str> {
        match self {
            Self::Foreign { owner } => Some(owner),
            _ => None,
        }
    }
}

/// Kind, name and UID of an object's controller.
fn controller<K: Resource>(object: &K) -> Option<(String, String)> {
    let owner = object.owner_references().iter().find(|o| o.controller == Some(true))?;
    Some((format!("{} {}", owner.kind, owner.name), owner.uid.clone()))
}

/// What the gateway said when it was asked last.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayView {
    /// UID of the pod that was asked.
    pub pod_uid: String,
    /// When.
    pub asked: Timestamp,
    /// Since when it has not streamed; `None`: it streams.
    pub trouble_since: Option<Timestamp>,
    /// What it said, or why it did not.
    pub answer: Result<GatewayState, String>,
}

/// What a gateway says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayState {
    /// `None`: the display is connected; otherwise what is waited for.
    pub display_waits: Option<String>,
    /// The encoder in use, by its name in `deskgate encoders`; `None`: none yet, or none works.
    pub encoder: Option<String>,
    /// Whether none works.
    pub exhausted: bool,
    /// Whether that encoder is a GPU's.
    pub hardware: bool,
    /// Why others are not in use: name and cause.
    pub unusable: Vec<(String, String)>,
    /// Browsers that are connected.
    pub viewers: u32,
    /// Time since the last input, or since the last viewer left.
    pub idle: Duration,
}

impl GatewayState {
    /// Whether it has a display, and an encoder for it.
    pub fn streams(&self) -> bool {
        self.display_waits.is_none() && self.encoder.is_some()
    }
}

/// What Traefik answered for the session's host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteProbe {
    /// It is not asked (no `--ingress-probe`).
    Off,
    /// Not yet asked.
    Due,
    /// An answer that carries this session's UID.
    Leads,
    /// Something else came.
    Fails {
        /// What.
        why: String,
        /// Since when that has been so.
        since: Timestamp,
    },
}

impl RouteProbe {
    /// Until Traefik is asked again.
    pub fn until_look(&self, pace: &Pace, now: Timestamp) -> Duration {
        match self {
            Self::Leads => pace.gateway_running,
            Self::Fails { since, .. } => pace.until_look(span(Some(*since), now)),
            Self::Off | Self::Due => pace.gateway_starting,
        }
    }
}

/// Time from `since` to `now`; none if it has not begun.
fn span(since: Option<Timestamp>, now: Timestamp) -> Duration {
    since.and_then(|since| now.duration_since(since).try_into().ok()).unwrap_or_default()
}

/// Everything that is known of one session.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Whether the home's storage class is known to make no volume for one pod alone.
    pub class_refuses_single_pod: bool,
    /// The session.
    pub session: Arc<VDISession>,
    /// Its template, if there is one of that name.
    pub template: Option<Arc<VDITemplate>>,
    /// What quotas say.
    pub admission: Admission,
    /// The session that holds the home now, if it is another one.
    pub home_holder: Option<String>,
    /// The pod.
    pub pod: Child<Pod>,
    /// The Service.
    pub service: Child<Service>,
    /// The NetworkPolicy.
    pub policy: Child<NetworkPolicy>,
    /// The route.
    pub route: Child<IngressRoute>,
    /// The route of TURN over TLS.
    pub turn_route: Child<IngressRouteTCP>,
    /// Whether Traefik's kinds can be used.
    pub route_served: bool,
    /// Why they cannot, if the API server refuses to tell what there is of them.
    pub route_refused: Option<String>,
    /// The claim of the home's name, whoever's it is.
    pub claim: Option<Arc<PersistentVolumeClaim>>,
    /// EndpointSlices of the Service.
    pub slices: Vec<Arc<EndpointSlice>>,
    /// Warnings about the pod and the claim, newest first.
    pub warnings: Vec<Arc<Event>>,
    /// The node of the pod.
    pub node: Option<Arc<Node>>,
    /// What the gateway said.
    pub gateway: Option<GatewayView>,
    /// What Traefik said.
    pub probe: RouteProbe,
}

impl Snapshot {
    /// UID of the session; empty only before the API server has seen it, which no object of a store is.
    pub fn uid(&self) -> &str {
        self.session.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Name of the session.
    pub fn name(&self) -> String {
        self.session.name_any()
    }

    /// An annotation that holds an instant.
    pub fn instant(&self, annotation: &str) -> Option<Timestamp> {
        self.session.annotations().get(annotation)?.parse().ok()
    }

    /// What the gateway said, if it is of the present pod.
    pub fn gateway_view(&self) -> Option<&GatewayView> {
        let pod = self.pod.ours()?;
        self.gateway.as_ref().filter(|g| pod.metadata.uid.as_deref() == Some(&g.pod_uid))
    }

    /// The gateway's state, if it is of the present pod.
    pub fn gateway_state(&self) -> Option<&Result<GatewayState, String>> {
        self.gateway_view().map(|view| &view.answer)
    }

    /// Until the next look at a gateway that does not stream.
    pub fn until_gateway_look(&self, pace: &Pace, now: Timestamp) -> Duration {
        pace.until_look(span(self.gateway_view().and_then(|view| view.trouble_since), now))
    }

    /// The newest warning about an object, by its UID, with one of these reasons.
    pub fn warning(&self, uid: Option<&str>, reasons: &[&str]) -> Option<&Event> {
        let about = |event: &&Arc<Event>| {
            event.involved_object.uid.as_deref() == uid
                && event.reason.as_deref().is_some_and(|reason| reasons.contains(&reason))
        };
        self.warnings.iter().find(about).map(AsRef::as_ref)
    }
}
