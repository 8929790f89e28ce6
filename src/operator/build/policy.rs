//! PURE. The NetworkPolicy: who reaches a session, and what it reaches.

use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Plan;
use crate::crd::Exposure;

/// Label that every namespace has: its name.
const NAMESPACE: &str = "kubernetes.io/metadata.name";
/// Where name servers run, and by which label they are known.
const DNS_NAMESPACE: &str = "kube-system";
const DNS_LABEL: (&str, &str) = ("k8s-app", "kube-dns");
/// Address of NodeLocal DNSCache, which is no pod of the network.
const DNS_ON_NODE: &str = "169.254.20.10/32";
/// What is not the Internet: private networks (RFC 1918), shared address space (RFC 6598), link-local addresses (RFC
/// 3927), among them the clouds' 169.254.169.254.
const NOT_INTERNET: [&str; 5] =
    ["10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"];
/// The same of IPv6: unique local (RFC 4193) and link-local addresses (RFC 4291 §2.5.6).
const NOT_INTERNET_6: [&str; 2] = ["fc00::/7", "fe80::/10"];

/// The policy of a session's pod.
pub fn policy(plan: &Plan) -> NetworkPolicy {
    NetworkPolicy {
        metadata: plan.child_metadata(),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(plan.selector()),
                match_expressions: None,
            }),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![ingress(plan)]),
            egress: Some(vec![names(), internet()]),
        }),
    }
}

/// The one port: for Traefik and the operator, or for anybody where it is exposed to anybody.
fn ingress(plan: &Plan) -> NetworkPolicyIngressRule {
    let own = plan.effective.port;
    let settings = plan.settings;
    match plan.effective.exposure {
        Exposure::Ingress => NetworkPolicyIngressRule {
            from: Some(vec![
                namespace(&settings.route.traefik_namespace),
                namespace(&settings.own_namespace),
            ]),
            ports: Some(vec![port("TCP", own)]),
        },
        Exposure::NodePort | Exposure::LoadBalancer => {
            NetworkPolicyIngressRule { from: None, ports: Some(vec![port("TCP", own), port("UDP", own)]) }
        }
    }
}

fn names() -> NetworkPolicyEgressRule {
    let (key, value) = DNS_LABEL;
    let mut servers = namespace(DNS_NAMESPACE);
    servers.pod_selector = Some(labels(key, value));
    NetworkPolicyEgressRule {
        to: Some(vec![servers, block(DNS_ON_NODE, &[])]),
        ports: Some(vec![port("UDP", 53), port("TCP", 53)]),
    }
}

fn internet() -> NetworkPolicyEgressRule {
    NetworkPolicyEgressRule {
        to: Some(vec![block("0.0.0.0/0", &NOT_INTERNET), block("::/0", &NOT_INTERNET_6)]),
        ports: None,
    }
}

fn labels(key: &str, value: &str) -> LabelSelector {
    LabelSelector { match_labels: Some([(key.to_owned(), value.to_owned())].into()), match_expressions: None }
}

fn namespace(name: &str) -> NetworkPolicyPeer {
    NetworkPolicyPeer { namespace_selector: Some(labels(NAMESPACE, name)), ..NetworkPolicyPeer::default() }
}

fn block(cidr: &str, except: &[&str]) -> NetworkPolicyPeer {
    let except = (!except.is_empty()).then(|| except.iter().map(|e| (*e).to_owned()).collect());
    NetworkPolicyPeer {
        ip_block: Some(IPBlock { cidr: cidr.to_owned(), except }),
        ..NetworkPolicyPeer::default()
    }
}

fn port(protocol: &str, number: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(i32::from(number))),
        end_port: None,
    }
}
