//! PURE. How often those are answered who have not said who they are.
//!
//! An answer is four times as long as the shortest question, and its address may be forged: the server must not be an
//! amplifier, and a flood from one address must leave answers for the others.

use std::net::IpAddr;
use std::time::Instant;

use crate::session::Bucket;

/// Answers to all of them, a second and at once.
const ALL: (u32, u32) = (500, 1_000);
/// Answers to one address. A forwarder's is that of many viewers.
pub(super) const ONE: (u32, u32) = (10, 100);
/// Answers to one address over connections, which prove that it is no forged one: nothing is amplified there, and a
/// forwarder's address is that of many viewers.
const CONNECTED: (u32, u32) = (200, 1_000);
/// Buckets for addresses: memory does not depend on how many there are. Some share one.
const BUCKETS: usize = 1_024;

pub(super) struct Strangers {
    all: Bucket,
    sources: Vec<Bucket>,
    connected: Vec<Bucket>,
}

impl Strangers {
    pub fn new(now: Instant) -> Self {
        let bucket = |(rate, burst)| Bucket::new(rate, burst, now);
        Self {
            all: bucket(ALL),
            sources: vec![bucket(ONE); BUCKETS],
            connected: vec![bucket(CONNECTED); BUCKETS],
        }
    }

    /// The same for one who has a connection. No flood of forged datagrams takes anything from it.
    pub fn take_connected(&mut self, source: IpAddr, now: Instant) -> bool {
        self.connected[slot(source)].take(now)
    }

    /// Whether this one is answered now.
    pub fn take(&mut self, source: IpAddr, now: Instant) -> bool {
        let bucket = &mut self.sources[slot(source)];
        bucket.take(now) && self.all.take(now)
    }
}

/// FNV-1a. An IPv6 host has a whole /64 to send from.
fn slot(source: IpAddr) -> usize {
    let octets = match source {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => (ip.to_bits() >> 64 << 64).to_be_bytes(),
    };
    let hash = octets.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash % BUCKETS as u64) as usize
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_address_uses_up_its_own_answers_only() {
        let now = Instant::now();
        let mut strangers = Strangers::new(now);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let answered = |strangers: &mut Strangers, text: &str, now| {
            (0..500).filter(|_| strangers.take(address(text), now)).count()
        };
        assert_eq!(answered(&mut strangers, "198.18.0.5", now), 100);
        assert_eq!(answered(&mut strangers, "198.18.0.6", now), 100);
        assert_eq!(answered(&mut strangers, "2001:db8::1", now), 100);
        assert_eq!(answered(&mut strangers, "2001:db8::2", now), 0, "the same host");
        assert_eq!(answered(&mut strangers, "198.18.0.5", now + Duration::from_secs(1)), 10);
    }

    #[test]
    fn spoofed_addresses_use_up_all_answers() {
        let now = Instant::now();
        let mut strangers = Strangers::new(now);
        let answered = (0..100_000_u32).filter(|n| strangers.take(IpAddr::V4((*n).into()), now)).count();
        assert_eq!((answered, strangers.sources.len()), (1_000, BUCKETS));
        assert!(strangers.take_connected([198, 18, 0, 5].into(), now));
    }
}
