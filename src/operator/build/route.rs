//! PURE. Traefik's routes: HTTPS to the page, and TURN over TLS on a host of its own.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;

use super::{Plan, host};
use crate::operator::names;
use crate::operator::traefik::{
    IngressRoute, IngressRouteSpec, IngressRouteTCP, IngressRouteTCPSpec, ObjectRef, Route, RouteService,
    RouteTls, TcpRoute,
};

/// Annotation by which a Traefik among several knows its routes.
const INGRESS_CLASS: &str = "kubernetes.io/ingress.class";

/// The route of the session's host.
pub fn route(plan: &Plan) -> IngressRoute {
    let settings = &plan.settings.route;
    IngressRoute {
        metadata: metadata(plan),
        spec: IngressRouteSpec {
            entry_points: settings.entry_points.clone(),
            routes: vec![Route {
                kind: "Rule".to_owned(),
                rule: format!("Host(`{}`)", host(plan)),
                priority: None,
                middlewares: settings.middlewares.iter().map(|text| object(text)).collect(),
                services: vec![backend(plan)],
            }],
            tls: settings.tls.then_some(RouteTls {}),
        },
    }
}

/// The route of TURN over TLS, where an entry point for it is set. Traefik ends TLS; plain TURN goes to the one port.
/// Its host is another one: an HTTPS router of the same host would win.
pub fn turn_route(plan: &Plan) -> Option<IngressRouteTCP> {
    let entry_point = plan.settings.route.turn_entry_point.clone()?;
    Some(IngressRouteTCP {
        metadata: metadata(plan),
        spec: IngressRouteTCPSpec {
            entry_points: vec![entry_point],
            routes: vec![TcpRoute {
                rule: format!("HostSNI(`{}`)", names::turn_host(&host(plan))),
                services: vec![backend(plan)],
            }],
            tls: Some(RouteTls {}),
        },
    })
}

fn metadata(plan: &Plan) -> ObjectMeta {
    let mut metadata = plan.child_metadata();
    if let Some(class) = &plan.settings.route.ingress_class {
        metadata.annotations.get_or_insert_default().insert(INGRESS_CLASS.to_owned(), class.clone());
    }
    metadata
}

fn backend(plan: &Plan) -> RouteService {
    RouteService { name: plan.child(), port: Some(IntOrString::Int(plan.effective.port.into())) }
}

/// `namespace/name`, or `name` in the route's own namespace.
fn object(text: &str) -> ObjectRef {
    match text.split_once('/') {
        Some((namespace, name)) => ObjectRef { name: name.to_owned(), namespace: Some(namespace.to_owned()) },
        None => ObjectRef { name: text.to_owned(), namespace: None },
    }
}
