//! Ports and pod addresses that belong to one cluster alone, whoever else tests on this machine.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the ephemeral range, so that nobody's outgoing connection takes one.
const FIRST_PORT: u16 = 21_000;
const PORTS: u16 = 16;
const SLOTS: u16 = 128;
/// Pods of one slot: a /22.
const PODS: u32 = 1 << 10;

/// A share of the ports and pod addresses, held while this lives.
pub struct Slot {
    number: u16,
    pods: AtomicU32,
    _claim: TcpListener,
}

impl Slot {
    /// Takes a free one.
    pub fn claim() -> Self {
        let start = std::process::id() as u16 % SLOTS;
        (0..SLOTS)
            .find_map(|i| {
                let number = (start + i) % SLOTS;
                let claim = TcpListener::bind(loopback(FIRST_PORT + number * PORTS)).ok()?;
                let slot = Self { number, pods: AtomicU32::new(0), _claim: claim };
                let free = (1..PORTS).all(|port| TcpListener::bind(loopback(slot.port(port))).is_ok());
                free.then_some(slot)
            })
            .expect("no 16 ports in a row are free from 21000 to 23047")
    }

    /// The n-th port, from 1.
    pub fn port(&self, n: u16) -> u16 {
        assert!((1..PORTS).contains(&n), "port {n} of a slot");
        FIRST_PORT + self.number * PORTS + n
    }

    /// The next pod's address. After a thousand pods, they come again.
    ///
    /// The API server takes no loopback address into an EndpointSlice. 198.18.0.0/15 is for benchmarks of
    /// network devices (RFC 2544): no network has it; `tools/netns` gives it to the namespace that tests run in.
    pub fn next_pod_address(&self) -> Ipv4Addr {
        let n = self.pods.fetch_add(1, Ordering::Relaxed);
        let base = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + u32::from(self.number) * PODS;
        Ipv4Addr::from(base + 1 + n % (PODS - 2))
    }
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
