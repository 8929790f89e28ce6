//! Rows of `docs/faults.md` that are about the table and its methods.

use super::*;

/// Where nobody may get through a relay, and every way to write it.
const FORBIDDEN: [&str; 40] = [
    // Loopback, "this host", and what some systems take for it.
    "127.0.0.1:8080",
    "127.0.0.53:53",
    "127.255.255.254:1",
    "0.0.0.0:8080",
    "0.1.2.3:80",
    "[::1]:8080",
    "[::]:8080",
    "[::ffff:127.0.0.1]:8080",
    "[::127.0.0.1]:8080",
    "[::ffff:0:127.0.0.1]:8080",
    // Link-local, the metadata services among it.
    "169.254.169.254:80",
    "[::ffff:169.254.169.254]:80",
    "[64:ff9b::169.254.169.254]:80",
    "[2002:a9fe:a9fe::1]:80",
    "[fd00:ec2::254]:80",
    "[fe80::1]:80",
    // Private and shared networks: the cluster's DNS, its API server, other pods.
    "10.96.0.10:53",
    "10.96.0.1:443",
    "10.43.0.1:443",
    "172.16.0.1:80",
    "172.31.255.254:80",
    "192.168.0.1:80",
    "100.64.0.1:80",
    "[::ffff:10.96.0.1]:443",
    "[::10.96.0.1]:443",
    "[64:ff9b::10.96.0.1]:443",
    "[64:ff9b:1::10.96.0.1]:443",
    "[2002:a60:1::]:443",
    // Teredo (RFC 4380 §4): server and client are inside, the latter inverted.
    "[2001:0:a60:1::]:443",
    "[2001:0:4136:e378:8000:63bf:f59f:fffe]:443",
    "[fd12:3456::1]:443",
    "[fec0::1]:443",
    // Multicast, broadcast, reserved.
    "224.0.0.1:5353",
    "239.255.255.250:1900",
    "[ff02::1]:5353",
    "255.255.255.255:9",
    "240.0.0.1:9",
    // The rest of the world, and the gateway's other ports and virtual addresses.
    "8.8.8.8:53",
    "[2606:4700::1111]:53",
    "192.0.2.2:9",
];

#[test]
fn every_forbidden_peer_is_refused_by_every_method_in_both_families() {
    for family in [1, 2] {
        let mut rig = Rig::new();
        rig.credentials = rig.server.keys().mint(User { expires: u64::MAX, viewer: 7 }).unwrap();
        let said = rig.ask(METHOD_ALLOCATE, &[&UDP, &RequestedAddressFamily(family)]);
        assert_eq!(said.code, 0);
        let (relayed, now) = (said.relayed(), rig.at.now);
        let ours = if family == 1 { GATEWAY } else { "[2001:db8::1]:8080" };
        assert_eq!((rig.permit(ours), rig.bind(0x4000, ours)), (0, 0), "the list is not simply empty");
        for elsewhere in FORBIDDEN {
            assert_eq!(rig.permit(elsewhere), 403, "{elsewhere}");
            assert_eq!(rig.bind(0x4001, elsewhere), 403, "{elsewhere}");
            assert_eq!(rig.send(elsewhere, b"x"), None, "{elsewhere}");
            assert_eq!(rig.server.to_client(now, relayed, address(elsewhere), b"x"), None, "{elsewhere}");
        }
        // Ports of its own that are not its candidate, and the relay itself.
        for other in ["192.0.2.1:22", "192.0.2.1:8081", &relayed.to_string()] {
            assert_eq!(rig.bind(0x4001, other), 403, "{other}");
            assert_eq!(rig.send(other, b"x"), None, "{other}");
        }
    }
}

#[test]
fn credentials_of_another_gateway_are_nothing_here() {
    let mut rig = Rig::new();
    rig.credentials =
        Keys::new(b"another".to_vec(), provider()).mint(User { expires: u64::MAX, viewer: 7 }).unwrap();
    assert_eq!(rig.ask(METHOD_ALLOCATE, &[&UDP]).code, 401);
    assert!(rig.server.allocations.is_empty());
}

#[test]
fn forged_requests_leave_nothing_and_are_answered_only_so_often() {
    let mut rig = Rig::new();
    rig.credentials.password = "guess".to_owned();
    let mut answered = 0;
    for _ in 0..5_000 {
        let mut message = rig.message(METHOD_ALLOCATE, &[&UDP]);
        rig.sign(&mut message);
        if let Some(said) = rig.give(&message) {
            assert_eq!(said.code, 401);
            answered += 1;
        }
    }
    assert!((1..=ONE.1).contains(&answered), "{answered}");
    assert!(rig.server.allocations.is_empty() && rig.server.by_relayed.is_empty());
}

#[test]
fn every_method_tells_a_stale_nonce_and_takes_the_new_one() {
    type Ask = fn(&mut Rig) -> Said;
    let asks: [Ask; 4] = [
        |rig| rig.ask(METHOD_REFRESH, &[]),
        |rig| rig.ask(METHOD_CREATE_PERMISSION, &[&peer(GATEWAY)]),
        |rig| rig.ask(METHOD_CHANNEL_BIND, &[&ChannelNumber(0x4000), &peer(GATEWAY)]),
        |rig| {
            rig.client.remote.set_port(4_001);
            rig.nonce = rig.server.keys().nonce(rig.client, rig.at.unix - 3_601).unwrap();
            rig.ask(METHOD_ALLOCATE, &[&UDP])
        },
    ];
    for (n, ask) in asks.into_iter().enumerate() {
        let mut rig = Rig::new();
        rig.credentials = rig.server.keys().mint(User { expires: u64::MAX, viewer: 7 }).unwrap();
        rig.allocate();
        rig.nonce = rig.server.keys().nonce(rig.client, rig.at.unix - 3_601).unwrap();
        let said = ask(&mut rig);
        assert_eq!(said.code, 438, "method {n}");
        rig.nonce = said.text(ATTR_NONCE);
        let again = if n == 3 { rig.ask(METHOD_ALLOCATE, &[&UDP]) } else { ask(&mut rig) };
        assert_eq!(again.code, 0, "method {n}");
    }
}

/// Allocations of one viewer from this port on, until one is refused.
fn fill(rig: &mut Rig, viewer: u32, port: u16) -> (usize, u16) {
    rig.server.admit(viewer);
    rig.credentials = rig.server.keys().mint(User { expires: u64::MAX, viewer }).unwrap();
    for made in 0..=MAX_PER_VIEWER {
        rig.client.remote.set_port(port + made as u16);
        rig.nonce = rig.server.keys().nonce(rig.client, rig.at.unix).unwrap();
        let code = rig.ask(METHOD_ALLOCATE, &[&UDP]).code;
        if code != 0 {
            return (made, code);
        }
    }
    unreachable!("there is a quota");
}

#[test]
fn one_viewers_quota_is_nobody_elses() {
    let mut rig = Rig::new();
    assert_eq!(fill(&mut rig, 7, 5_000), (MAX_PER_VIEWER, 486));
    assert_eq!(fill(&mut rig, 8, 6_000), (MAX_PER_VIEWER, 486));
}

#[test]
fn a_full_table_says_so_and_recovers_when_clients_vanish() {
    let mut rig = Rig::new();
    let viewers = (MAX_ALLOCATIONS / MAX_PER_VIEWER) as u32;
    for viewer in 0..viewers {
        assert_eq!(fill(&mut rig, viewer, viewer as u16 * 20).1, 486);
    }
    let rest = MAX_ALLOCATIONS % MAX_PER_VIEWER;
    assert_eq!(fill(&mut rig, viewers, 50_000), (rest, 508));
    // Nobody refreshes: the lifetime ends them all, and a viewer that was at its quota has it back.
    rig.pass(599);
    assert_eq!(fill(&mut rig, viewers + 1, 51_000), (0, 508));
    rig.pass(1);
    assert!(rig.server.allocations.is_empty() && rig.server.by_relayed.is_empty());
    assert_eq!(fill(&mut rig, 0, 0), (MAX_PER_VIEWER, 486));
}

#[test]
fn renewed_credentials_allocate_beside_the_old_ones_without_a_gap() {
    let mut rig = Rig::new();
    let old = rig.allocate();
    assert_eq!(rig.bind(0x4000, GATEWAY), 0);
    let (client, nonce, credentials) = (rig.client, rig.nonce.clone(), rig.credentials.clone());
    rig.pass(50);
    rig.credentials = rig.server.keys().mint(User { expires: u64::MAX, viewer: 7 }).unwrap();
    rig.client.remote.set_port(4_001);
    rig.learn_nonce();
    let new = rig.allocate();
    assert_ne!(old, new);
    (rig.client, rig.nonce, rig.credentials) = (client, nonce, credentials);
    let frame = [0x40, 0, 0, 1, 7];
    for _ in 0..3 {
        // Long after the old credentials have expired.
        rig.pass(200);
        assert_eq!((rig.ask(METHOD_REFRESH, &[]).code, rig.bind(0x4000, GATEWAY)), (0, 0));
        assert!(rig.server.handle(rig.at, rig.client, &frame).is_some());
    }
}
