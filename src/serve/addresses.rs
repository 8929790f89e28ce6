//! Which addresses a gateway binds and offers.

use std::net::{IpAddr, SocketAddr};

/// Addresses of this machine that others can reach it by, IPv4 first.
fn interface_addresses() -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = if_addrs::get_if_addrs()
        .unwrap_or_else(|error| {
            tracing::warn!(%error, code = "interfaces", "interfaces could not be listed");
            Vec::new()
        })
        .into_iter()
        .filter(|i| !i.is_loopback() && !i.is_link_local())
        .map(|i| i.ip())
        .collect();
    addresses.sort_by_key(|a| a.is_ipv6());
    addresses
}

/// The host candidates of a listener, and what to bind besides it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// One more address to bind, if it can be had.
    pub also: Option<SocketAddr>,
    /// What viewers are offered.
    pub candidates: Vec<SocketAddr>,
}

/// For a listener at `bound`, with `advertised` addresses (port 0: the listener's).
pub fn addresses(bound: SocketAddr, advertised: &[SocketAddr]) -> Addresses {
    plan(bound, advertised, &interface_addresses())
}

fn plan(bound: SocketAddr, advertised: &[SocketAddr], interfaces: &[IpAddr]) -> Addresses {
    let port = bound.port();
    // Firefox never pairs loopback with non-loopback candidates, and its own are not loopback.
    let also = bound
        .ip()
        .is_loopback()
        .then(|| interfaces.iter().find(|a| a.is_ipv4()).map(|a| SocketAddr::new(*a, port)))
        .flatten();
    if !advertised.is_empty() {
        let with_port = |a: &SocketAddr| SocketAddr::new(a.ip(), if a.port() == 0 { port } else { a.port() });
        return Addresses { also: None, candidates: advertised.iter().map(with_port).collect() };
    }
    let candidates = if bound.ip().is_unspecified() {
        let reachable = |a: &&IpAddr| bound.is_ipv6() || a.is_ipv4();
        interfaces.iter().filter(reachable).map(|a| SocketAddr::new(*a, port)).collect()
    } else {
        [Some(bound), also].into_iter().flatten().collect()
    };
    Addresses { also, candidates }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn loopback_binds_one_more_for_firefox() {
        let interfaces = ["fd00::1".parse().unwrap(), "10.0.0.5".parse().unwrap()];
        let plan = plan(at("127.0.0.1:80"), &[], &interfaces);
        assert_eq!(plan.also, Some(at("10.0.0.5:80")));
        assert_eq!(plan.candidates, [at("127.0.0.1:80"), at("10.0.0.5:80")]);
    }

    #[test]
    fn a_wildcard_offers_every_interface_of_its_family() {
        let interfaces = ["10.0.0.5".parse().unwrap(), "fd00::1".parse().unwrap()];
        assert_eq!(plan(at("0.0.0.0:80"), &[], &interfaces).candidates, [at("10.0.0.5:80")]);
        assert_eq!(plan(at("[::]:80"), &[], &interfaces).candidates.len(), 2);
    }

    #[test]
    fn advertised_addresses_replace_them_all() {
        let plan = plan(at("0.0.0.0:80"), &[at("203.0.113.1:0"), at("203.0.113.2:30080")], &[]);
        assert_eq!(plan.candidates, [at("203.0.113.1:80"), at("203.0.113.2:30080")]);
    }
}
