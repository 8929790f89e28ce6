//! PURE. The Service: what the route, or direct UDP, leads to.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Plan;
use crate::crd::Exposure;

/// The Service of a session.
pub fn service(plan: &Plan) -> Service {
    let (kind, udp) = match plan.effective.exposure {
        Exposure::Ingress => ("ClusterIP", false),
        Exposure::NodePort => ("NodePort", true),
        Exposure::LoadBalancer => ("LoadBalancer", true),
    };
    let number = i32::from(plan.effective.port);
    let port = |name: &str, protocol: &str| ServicePort {
        name: Some(name.to_owned()),
        port: number,
        protocol: Some(protocol.to_owned()),
        target_port: Some(IntOrString::Int(number)),
        ..ServicePort::default()
    };
    // Two protocols of one port get one node port: the API server sees to it.
    let mut ports = vec![port("http", "TCP")];
    ports.extend(udp.then(|| port("media", "UDP")));
    Service {
        metadata: plan.child_metadata(),
        spec: Some(ServiceSpec {
            type_: Some(kind.to_owned()),
            selector: Some(plan.selector()),
            ports: Some(ports),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
