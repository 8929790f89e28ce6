//! PURE. Whether the URL leads to the pod.

use super::{Verdict, no, suspended, yes};
use crate::operator::decide::{Decision, Stage};
use crate::operator::reason::Reason;
use crate::operator::snapshot::{Child, RouteProbe, Snapshot};

pub(super) fn route(snapshot: &Snapshot, decision: &Decision) -> Verdict {
    match &decision.stage {
        Stage::Terminating => return no(Reason::Terminating, ""),
        Stage::Off(reason) => return no(*reason, suspended(*reason)),
        _ => {}
    }
    if let Some(words) = &snapshot.route_refused {
        return no(Reason::Forbidden, words.clone());
    }
    if !snapshot.route_served {
        return no(Reason::RouteKindMissing, "the API server has no kind IngressRoute (traefik.io/v1alpha1)");
    }
    match &snapshot.route {
        Child::Foreign { owner } => no(Reason::NameTaken, format!("the route's name belongs to {owner}")),
        Child::Absent => no(Reason::WaitingForPod, "the route is made when the pod is ready"),
        Child::Ours(_) if !has_ready_endpoint(snapshot) => {
            no(Reason::NoReadyEndpoint, "the Service has no ready endpoint")
        }
        Child::Ours(_) => match &snapshot.probe {
            RouteProbe::Off => yes(Reason::NotProbed, "the route is there; it was not tried"),
            RouteProbe::Leads => yes(Reason::Routed, ""),
            RouteProbe::Due => no(Reason::ProbeFailed, "Traefik has not been asked yet"),
            RouteProbe::Fails { why, .. } => no(Reason::ProbeFailed, why.clone()),
        },
    }
}

fn has_ready_endpoint(snapshot: &Snapshot) -> bool {
    let ready = |e: &k8s_openapi::api::discovery::v1::Endpoint| {
        // Absent means ready, as the API has it.
        e.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true)
    };
    snapshot.slices.iter().any(|slice| slice.endpoints.iter().any(ready))
}
