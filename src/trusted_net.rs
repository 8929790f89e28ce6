//! PURE. Networks whose word is taken: what a proxy that connects from them says of a user.

use std::net::IpAddr;

/// A network in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustedNet {
    base: IpAddr,
    bits: u8,
}

impl TrustedNet {
    /// Parses `10.42.0.0/16`, or one address.
    pub fn parse(text: &str) -> Option<Self> {
        let (base, bits) = match text.split_once('/') {
            Some((base, bits)) => (base.parse().ok()?, bits.parse().ok()?),
            None => (text.parse().ok()?, if text.contains(':') { 128 } else { 32 }),
        };
        let max = if matches!(base, IpAddr::V4(_)) { 32 } else { 128 };
        (bits <= max).then_some(Self { base, bits })
    }

    /// True if `address` lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let wide = |ip: IpAddr| match ip {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, true),
            IpAddr::V6(v6) => (v6.to_bits(), false),
        };
        let ((base, base_v4), (address, v4)) = (wide(self.base), wide(address.to_canonical()));
        let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
        base_v4 == v4 && (base ^ address) & mask == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let net = TrustedNet::parse("10.42.0.0/16").unwrap();
        assert!(net.contains([10, 42, 9, 9].into()) && !net.contains([10, 43, 0, 1].into()));
        assert!(net.contains("::ffff:10.42.0.1".parse().unwrap()));
        assert!(!TrustedNet::parse("::/0").unwrap().contains([10, 42, 0, 1].into()));
        assert!(TrustedNet::parse("0.0.0.0/0").unwrap().contains([1, 2, 3, 4].into()));
    }
}
