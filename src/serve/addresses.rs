//! Which addresses a gateway binds and offers.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

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

/// What a listener is reached by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    bound: SocketAddr,
    advertised: Vec<SocketAddr>,
    also: Option<SocketAddr>,
}

impl Addresses {
    /// For a listener at `bound`, with `advertised` addresses (port 0: the listener's).
    pub fn new(bound: SocketAddr, advertised: &[SocketAddr]) -> Self {
        Self::with(bound, advertised, &interface_addresses())
    }

    fn with(bound: SocketAddr, advertised: &[SocketAddr], interfaces: &[IpAddr]) -> Self {
        let port = bound.port();
        let with_port = |a: &SocketAddr| SocketAddr::new(a.ip(), if a.port() == 0 { port } else { a.port() });
        let advertised: Vec<SocketAddr> = advertised.iter().map(with_port).collect();
        // Firefox never pairs loopback with non-loopback candidates, and its own are not loopback.
        let wanted = bound.ip().is_loopback() && advertised.is_empty();
        let also = interfaces.iter().find(|a| wanted && a.is_ipv4()).map(|a| SocketAddr::new(*a, port));
        Self { bound, advertised, also }
    }

    /// Where the listener is bound.
    pub fn bound(&self) -> SocketAddr {
        self.bound
    }

    /// One more address to bind, if it can be had.
    pub fn also(&self) -> Option<SocketAddr> {
        self.also
    }

    /// What the outside knows this listener by, where that was configured.
    pub fn advertised(&self) -> &[SocketAddr] {
        &self.advertised
    }

    /// Every address that this machine is, or is known by.
    pub fn hosts(&self) -> BTreeSet<IpAddr> {
        let known = self.advertised.iter().chain([&self.bound]).map(SocketAddr::ip);
        known.chain(interface_addresses()).collect()
    }

    /// What a viewer is offered now: interfaces come and go.
    pub fn candidates(&self) -> Vec<SocketAddr> {
        self.candidates_among(&interface_addresses())
    }

    fn candidates_among(&self, interfaces: &[IpAddr]) -> Vec<SocketAddr> {
        if !self.advertised.is_empty() {
            return self.advertised.clone();
        }
        if !self.bound.ip().is_unspecified() {
            return [Some(self.bound), self.also].into_iter().flatten().collect();
        }
        let at = |ip: IpAddr| SocketAddr::new(ip, self.bound.port());
        let reachable = |a: &&IpAddr| self.bound.is_ipv6() || a.is_ipv4();
        let found: Vec<SocketAddr> = interfaces.iter().filter(reachable).map(|ip| at(*ip)).collect();
        if found.is_empty() {
            tracing::warn!(
                code = "no-interface",
                "no interface but loopback: only a browser on this machine gets a picture (see --advertise)"
            );
            return vec![at(Ipv4Addr::LOCALHOST.into())];
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn offered(bound: &str, advertised: &[SocketAddr], interfaces: &[IpAddr]) -> Vec<SocketAddr> {
        Addresses::with(at(bound), advertised, interfaces).candidates_among(interfaces)
    }

    #[test]
    fn loopback_binds_one_more_for_firefox() {
        let interfaces = ["fd00::1".parse().unwrap(), "10.0.0.5".parse().unwrap()];
        let addresses = Addresses::with(at("127.0.0.1:80"), &[], &interfaces);
        assert_eq!(addresses.also(), Some(at("10.0.0.5:80")));
        assert_eq!(addresses.candidates_among(&[]), [at("127.0.0.1:80"), at("10.0.0.5:80")]);
    }

    #[test]
    fn a_wildcard_offers_every_interface_of_its_family_that_is_there_now() {
        let interfaces = ["10.0.0.5".parse().unwrap(), "fd00::1".parse().unwrap()];
        assert_eq!(offered("0.0.0.0:80", &[], &interfaces), [at("10.0.0.5:80")]);
        assert_eq!(offered("[::]:80", &[], &interfaces).len(), 2);
        let addresses = Addresses::with(at("0.0.0.0:80"), &[], &interfaces);
        assert_eq!(addresses.candidates_among(&["10.0.0.9".parse().unwrap()]), [at("10.0.0.9:80")]);
    }

    #[test]
    fn a_wildcard_without_interfaces_offers_loopback() {
        assert_eq!(offered("0.0.0.0:80", &[], &[]), [at("127.0.0.1:80")]);
    }

    #[test]
    fn advertised_addresses_replace_them_all() {
        let advertised = [at("203.0.113.1:0"), at("203.0.113.2:30080")];
        let expected = [at("203.0.113.1:80"), at("203.0.113.2:30080")];
        assert_eq!(offered("0.0.0.0:80", &advertised, &[]), expected);
        assert_eq!(
            Addresses::with(at("127.0.0.1:80"), &advertised, &["10.0.0.5".parse().unwrap()]).also(),
            None
        );
    }
}
