//! PURE. Addresses that exist nowhere: what an allocation, or a TCP connection, is known by inside the gateway.
//!
//! They come from the documentation ranges (RFC 5737, RFC 3849), which nobody can have: a packet can neither come
//! from one nor leave for one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where browsers are told the gateway is when they reach it through a relay: such a candidate pairs with a relay
/// candidate of its family, and with nothing else.
const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// Where ICE-TCP connections come to, as far as the WebRTC core is concerned. Our real address would not do: behind a
/// forwarder it is none that the browser connected to, and UDP from the same address and port must stay another path.
const ICE_TCP_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const ICE_TCP_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
/// Relayed addresses lie in 198.51.100.0/24 and 2001:db8:1::/64.
const RELAY_V4: [u8; 3] = [198, 51, 100];
const RELAY_V6: [u16; 7] = [0x2001, 0xdb8, 1, 0, 0, 0, 0];
/// The port of addresses that have none (RFC 6544 §4.5).
const DISCARD: u16 = 9;
/// Dynamic ports (RFC 6335 §6): RFC 8656 §7.2 wants relayed ports among them.
const FIRST_PORT: u16 = 49_152;
const PORTS: u32 = 16_384;
const HOSTS: u32 = 254;

/// Address family (RFC 8656 §18.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// The one that is meant when nothing is said.
    #[default]
    V4,
    /// Asked for by REQUESTED-ADDRESS-FAMILY.
    V6,
}

impl Family {
    /// An address's.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// The gateway's own virtual candidates, one for each family.
pub fn gateway(port: u16) -> [SocketAddr; 2] {
    [SocketAddr::from((GATEWAY_V4, port)), SocketAddr::from((GATEWAY_V6, port))]
}

/// The local end of every ICE-TCP connection, one for each family.
pub const ICE_TCP: [SocketAddr; 2] =
    [SocketAddr::new(IpAddr::V4(ICE_TCP_V4), DISCARD), SocketAddr::new(IpAddr::V6(ICE_TCP_V6), DISCARD)];

/// The one of [`ICE_TCP`] that a client of this address comes to.
pub fn ice_tcp(client: SocketAddr) -> SocketAddr {
    ICE_TCP[usize::from(client.is_ipv6())]
}

/// Whether this is where an allocation is reached: packets to it go through the TURN server.
pub fn is_relayed(address: SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => ip.octets()[..3] == RELAY_V4,
        IpAddr::V6(ip) => ip.segments()[..7] == RELAY_V6,
    }
}

/// The `number`th relayed address of a family; they repeat after four million.
pub(super) fn nth(number: u32, family: Family) -> SocketAddr {
    let host = (number / PORTS % HOSTS) as u8 + 1;
    let port = FIRST_PORT + (number % PORTS) as u16;
    let [a, b, c] = RELAY_V4;
    let [d, e, f, g, h, i, j] = RELAY_V6;
    match family {
        Family::V4 => SocketAddr::from((Ipv4Addr::new(a, b, c, host), port)),
        Family::V6 => SocketAddr::from((Ipv6Addr::new(d, e, f, g, h, i, j, host.into()), port)),
    }
}

/// The address that is meant: IPv4 written as IPv6 (mapped, compatible, NAT64, 6to4, Teredo's server aside) is IPv4,
/// so that a list of who may be reached cannot be walked around.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    let IpAddr::V6(ip) = address.ip() else { return address };
    let segments = ip.segments();
    let v4 = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    let meant = match segments {
        // ::ffff:a.b.c.d (RFC 4291 §2.5.5.2).
        [0, 0, 0, 0, 0, 0xffff, high, low] => Some(v4(high, low)),
        // ::a.b.c.d (RFC 4291 §2.5.5.1, deprecated); :: and ::1 are addresses of their own.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => Some(v4(high, low)),
        // 64:ff9b::a.b.c.d (RFC 6052 §2.1) and 64:ff9b:1::/48 (RFC 8215).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 1, _, _, _, high, low] => Some(v4(high, low)),
        // 2002:aabb:ccdd::/48 (RFC 3056 §2).
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    };
    meant.map_or(address, |ip| SocketAddr::new(ip.into(), address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relayed_addresses_differ_and_are_known_again() {
        let mut seen = std::collections::HashSet::new();
        for number in (0..200_000).step_by(7) {
            for family in [Family::V4, Family::V6] {
                let address = nth(number, family);
                assert!(is_relayed(address) && seen.insert(address), "{address}");
                assert!(Family::of(address.ip()) == family && address.port() >= FIRST_PORT);
            }
        }
        assert!(gateway(8080).iter().all(|address| !is_relayed(*address)));
    }

    #[test]
    fn every_way_to_write_ipv4_is_ipv4() {
        for text in [
            "[::ffff:10.0.0.1]:5",
            "[::10.0.0.1]:5",
            "[64:ff9b::10.0.0.1]:5",
            "[64:ff9b:1:2:3:4:10.0.0.1]:5",
            "[2002:a00:1::7]:5",
            "10.0.0.1:5",
        ] {
            assert_eq!(canonical(text.parse().unwrap()).to_string(), "10.0.0.1:5", "{text}");
        }
        for text in ["[::1]:5", "[::]:5", "[2001:db8::1]:5", "[fe80::1]:5"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(canonical(address), address);
        }
    }
}
