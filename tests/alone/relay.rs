//! Who can be reached through a relay: this gateway's, and as the negative control Debian's coturn as it comes.

use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rtc::stun::attributes::{ATTR_NONCE, ATTR_REALM, ATTR_USERNAME};
use rtc::stun::error_code::ErrorCodeAttribute;
use rtc::stun::integrity::MessageIntegrity;
use rtc::stun::message::{
    CLASS_REQUEST, Getter, METHOD_ALLOCATE, METHOD_CHANNEL_BIND, METHOD_CREATE_PERMISSION, Message,
    MessageType, Method, Setter, TransactionId,
};
use rtc::stun::textattrs::TextAttribute;
use rtc::turn::proto::PROTO_UDP;
use rtc::turn::proto::channum::ChannelNumber;
use rtc::turn::proto::peeraddr::PeerAddress;
use rtc::turn::proto::reqfamily::RequestedAddressFamily;
use rtc::turn::proto::reqtrans::RequestedTransport;

use crate::gateway::viewer::Viewer;
use crate::gateway::{DEADLINE, Gateway, LIGHT};
use crate::turn::access;
use crate::xvfb::within;

/// Where an allocation must not lead, IPv4 and IPv6. The whole list is in `src/turn/fault_tests.rs`.
const FORBIDDEN: [&[&str]; 2] = [
    &[
        "127.0.0.3:22",
        "127.0.0.2:80",
        "0.0.0.0:80",
        "169.254.169.254:80",
        "10.96.0.1:443",
        "172.16.0.1:80",
        "192.168.0.1:80",
        "100.64.0.1:80",
        "224.0.0.1:5353",
        "255.255.255.255:9",
        "8.8.8.8:53",
    ],
    &[
        "[::1]:22",
        "[::]:80",
        "[::ffff:127.0.0.2]:22",
        "[::127.0.0.2]:22",
        "[::ffff:169.254.169.254]:80",
        "[64:ff9b::a60:1]:443",
        "[2002:a60:1::]:443",
        "[2001:0:a60:1::]:443",
        "[fe80::1]:80",
        "[fd00:ec2::254]:80",
        "[ff02::1]:5353",
    ],
];

/// A client of a TURN server, over UDP.
struct Relay {
    socket: UdpSocket,
    access: (String, String),
    realm: String,
    nonce: String,
    transactions: u8,
}

impl Relay {
    fn new(server: SocketAddr, access: (String, String)) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        Self { socket, access, realm: String::new(), nonce: String::new(), transactions: 0 }
    }

    /// The answer's error code, or 0; nothing without an answer. A challenge is learned from.
    fn ask(&mut self, method: Method, with: &[&dyn Setter]) -> Option<u16> {
        self.transactions += 1;
        let mut message = Message::new();
        message.typ = MessageType::new(method, CLASS_REQUEST);
        message.transaction_id = TransactionId([self.transactions; 12]);
        message.write_header();
        with.iter().for_each(|setter| setter.add_to(&mut message).unwrap());
        if !self.nonce.is_empty() {
            self.sign(&mut message);
        }
        let mut answer = Message::new();
        for _ in 0..5 {
            let mut buffer = [0; 1_500];
            let _ = self.socket.send(&message.raw);
            let Ok(length) = self.socket.recv(&mut buffer) else { continue };
            answer.unmarshal_binary(&buffer[..length]).unwrap();
            if answer.transaction_id != message.transaction_id {
                continue;
            }
            let text = |kind| answer.get(kind).map(|value| String::from_utf8(value).unwrap());
            if let (Ok(realm), Ok(nonce)) = (text(ATTR_REALM), text(ATTR_NONCE)) {
                (self.realm, self.nonce) = (realm, nonce);
            }
            let mut error = ErrorCodeAttribute::default();
            return Some(error.get_from(&answer).map_or(0, |()| error.code.0));
        }
        None
    }

    fn sign(&self, message: &mut Message) {
        let (username, password) = self.access.clone();
        let provider = rtc::crypto::default_provider().unwrap();
        TextAttribute::new(ATTR_USERNAME, username.clone()).add_to(message).unwrap();
        TextAttribute::new(ATTR_REALM, self.realm.clone()).add_to(message).unwrap();
        TextAttribute::new(ATTR_NONCE, self.nonce.clone()).add_to(message).unwrap();
        let realm = self.realm.clone();
        MessageIntegrity::new_long_term_integrity_with_provider(username, realm, password, provider.crypto())
            .unwrap()
            .add_to(message)
            .unwrap();
    }

    /// Error code of an Allocate for a family (1 or 2).
    fn allocate(&mut self, family: u8) -> Option<u16> {
        let (udp, family) = (RequestedTransport { protocol: PROTO_UDP }, RequestedAddressFamily(family));
        let with: [&dyn Setter; 2] = [&udp, &family];
        match self.ask(METHOD_ALLOCATE, &with) {
            Some(401) => self.ask(METHOD_ALLOCATE, &with),
            other => other,
        }
    }

    /// Error codes of both ways to a peer.
    fn reach(&mut self, peer: &str, channel: u16) -> [u16; 2] {
        let peer: SocketAddr = peer.parse().unwrap();
        let peer = PeerAddress { ip: peer.ip(), port: peer.port() };
        let permission = self.ask(METHOD_CREATE_PERMISSION, &[&peer]);
        let channel = self.ask(METHOD_CHANNEL_BIND, &[&ChannelNumber(channel), &peer]);
        [permission, channel].map(|code| code.expect("an answer"))
    }
}

/// A peer, and the error codes on both ways to it.
type Verdict = (&'static str, [u16; 2]);

/// Every forbidden peer and what was said of it, by family; nothing for a family that cannot be had.
fn matrix(server: SocketAddr, access: &(String, String)) -> [Option<Vec<Verdict>>; 2] {
    [1, 2].map(|family| {
        let mut relay = Relay::new(server, access.clone());
        if relay.allocate(family) != Some(0) {
            return None;
        }
        let peers = FORBIDDEN[usize::from(family) - 1].iter().zip(0x4000..);
        Some(peers.map(|(peer, channel)| (*peer, relay.reach(peer, channel))).collect())
    })
}

/// Debian's coturn with a user, and nothing else said.
struct Coturn {
    child: Child,
    address: SocketAddr,
    access: (String, String),
    _folder: tempfile::TempDir,
}

impl Coturn {
    fn start() -> Self {
        let address = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let port = address.port().to_string();
        // It exits without a place for its database and its own number.
        let child = Command::new("turnserver")
            .args(["-n", "--lt-cred-mech", "-u", "somebody:secret", "-r", "control", "--no-cli", "--no-tls"])
            .args(["--no-dtls", "-L", "127.0.0.1", "-p", &port, "--log-file", "stdout"])
            .args(["--userdb", &file("db"), "--pidfile", &file("pid")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("turnserver is installed (Debian: coturn)");
        let access = ("somebody".to_owned(), "secret".to_owned());
        let coturn = Self { child, address, access, _folder: folder };
        within(DEADLINE, "coturn to answer", || {
            Relay::new(address, coturn.access.clone()).ask(METHOD_ALLOCATE, &[])
        });
        coturn
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn nobody_is_reached_through_this_gateway_and_somebody_through_coturn_as_it_comes() {
    let gateway = Gateway::start(&LIGHT);
    let viewer = Viewer::watching(&gateway);
    let access = access(&viewer);
    let ours = matrix(gateway.address, &access);
    for family in ours {
        for (peer, codes) in family.expect("an allocation of either family") {
            assert_eq!(codes, [403, 403], "{peer}");
        }
    }

    // Its own other ports: a permission is for an address (RFC 8656 §9), so there is nothing but the channel to refuse.
    let mut relay = Relay::new(gateway.address, access);
    assert_eq!(relay.allocate(1), Some(0));
    let host = gateway.address.ip();
    assert_eq!(relay.reach(&format!("{host}:22"), 0x4000), [0, 403]);
    assert_eq!(relay.reach(&gateway.address.to_string(), 0x4000), [0, 0]);
    // The relay is no way to itself: what it takes for the gateway is ICE and media.
    let unknown = || gateway.status()["refused"]["unknown"].as_u64().unwrap();
    let before = unknown();
    let allocate = [&[0, 3, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
    let framed = [&[0x40, 0, 0, 20][..], &allocate].concat();
    relay.socket.send(&framed).unwrap();
    within(DEADLINE, "it to be refused", || (unknown() > before).then_some(()));
    assert!(relay.socket.recv(&mut [0; 1_500]).is_err(), "and answered");

    // The control: were the client or the list wrong, nobody would be reached there either.
    let coturn = Coturn::start();
    let control: Vec<_> = matrix(coturn.address, &coturn.access).into_iter().flatten().flatten().collect();
    let reached: Vec<_> =
        control.iter().filter(|(_, codes)| codes.contains(&0)).map(|(peer, _)| *peer).collect();
    eprintln!("coturn: {control:?}");
    for expected in ["169.254.169.254:80", "10.96.0.1:443", "192.168.0.1:80"] {
        assert!(reached.contains(&expected), "coturn lets nobody through to {expected}: {control:?}");
    }
}
