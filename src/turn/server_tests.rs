use std::sync::Arc;

use proptest::prelude::*;
use rtc::crypto::RTCCryptoProvider;
use rtc::stun::attributes::{ATTR_SOFTWARE, ATTR_USERNAME, ATTR_XOR_PEER_ADDRESS, AttrType};
use rtc::stun::error_code::ErrorCodeAttribute;
use rtc::stun::integrity::MessageIntegrity;
use rtc::stun::message::{CLASS_ERROR_RESPONSE, CLASS_SUCCESS_RESPONSE, Getter};
use rtc::turn::proto::Protocol;
use rtc::turn::proto::channum::ChannelNumber;
use rtc::turn::proto::reqfamily::RequestedAddressFamily;
use rtc::turn::proto::reqtrans::RequestedTransport;

use super::super::credential::Credentials;
use super::super::strangers::ONE;
use super::*;

const GATEWAY: &str = "192.0.2.1:8080";
const ELSEWHERE: &str = "10.96.0.1:443";
const UDP: RequestedTransport = RequestedTransport { protocol: PROTO_UDP };

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn peer(text: &str) -> PeerAddress {
    let address = address(text);
    PeerAddress { ip: address.ip(), port: address.port() }
}

fn provider() -> Arc<dyn RTCCryptoProvider> {
    rtc::crypto::default_provider().unwrap()
}

/// What the server said.
#[derive(Debug)]
struct Said {
    code: u16,
    message: Message,
}

impl Said {
    fn text(&self, kind: AttrType) -> String {
        String::from_utf8(self.message.get(kind).unwrap()).unwrap()
    }

    fn relayed(&self) -> SocketAddr {
        let mut relayed = RelayedAddress::default();
        relayed.get_from(&self.message).unwrap();
        SocketAddr::new(relayed.ip, relayed.port)
    }

    fn lifetime(&self) -> u64 {
        let mut lifetime = Lifetime::default();
        lifetime.get_from(&self.message).unwrap();
        lifetime.0.as_secs()
    }
}

/// A server and one client of it.
struct Rig {
    server: Server,
    at: Moment,
    client: Client,
    credentials: Credentials,
    nonce: String,
    transaction: u8,
}

impl Rig {
    fn new() -> Self {
        let now = Instant::now();
        let at = Moment { now, unix: 1_000_000 };
        let mut server = Server::new(Keys::new(b"secret".to_vec(), provider()), now);
        server.admit(7);
        server.offer(7, [address(GATEWAY), address("[2001:db8::1]:8080")]);
        let credentials = server.keys().mint(User { expires: 1_000_060, viewer: 7 }).unwrap();
        let client = Client {
            transport: Transport::Udp,
            local: address("203.0.113.9:8080"),
            remote: address("198.18.0.5:4000"),
        };
        let mut rig = Self { server, at, client, credentials, nonce: String::new(), transaction: 0 };
        rig.learn_nonce();
        rig
    }

    fn learn_nonce(&mut self) {
        let said = self.unsigned(METHOD_ALLOCATE, &[&UDP]).unwrap();
        assert_eq!((said.code, said.text(ATTR_REALM).as_str()), (401, REALM));
        self.nonce = said.text(ATTR_NONCE);
    }

    fn pass(&mut self, seconds: u64) {
        self.at.now += Duration::from_secs(seconds);
        self.at.unix += seconds;
        self.server.handle_timeout(self.at.now);
    }

    fn message(&mut self, method: Method, with: &[&dyn Setter]) -> Message {
        self.transaction = self.transaction.wrapping_add(1);
        let mut message = Message::new();
        message.typ = MessageType::new(method, CLASS_REQUEST);
        message.transaction_id = TransactionId([self.transaction; 12]);
        message.write_header();
        with.iter().for_each(|setter| setter.add_to(&mut message).unwrap());
        message
    }

    fn sign(&self, message: &mut Message) {
        let Credentials { username, password } = self.credentials.clone();
        TextAttribute::new(ATTR_USERNAME, username.clone()).add_to(message).unwrap();
        TextAttribute::new(ATTR_REALM, REALM.to_owned()).add_to(message).unwrap();
        TextAttribute::new(ATTR_NONCE, self.nonce.clone()).add_to(message).unwrap();
        let provider = provider();
        MessageIntegrity::new_long_term_integrity_with_provider(
            username,
            REALM.to_owned(),
            password,
            provider.crypto(),
        )
        .unwrap()
        .add_to(message)
        .unwrap();
    }

    fn give(&mut self, message: &Message) -> Option<Said> {
        let Some(Output::Reply(bytes)) = self.server.handle(self.at, self.client, &message.raw) else {
            return None;
        };
        let mut answer = Message::new();
        answer.unmarshal_binary(&bytes).unwrap();
        assert_eq!(answer.transaction_id, message.transaction_id);
        assert_eq!(answer.typ.method, message.typ.method);
        let mut error = ErrorCodeAttribute::default();
        let failed = error.get_from(&answer).is_ok();
        let class = if failed { CLASS_ERROR_RESPONSE } else { CLASS_SUCCESS_RESPONSE };
        assert_eq!(answer.typ.class, class);
        Some(Said { code: if failed { error.code.0 } else { 0 }, message: answer })
    }

    fn unsigned(&mut self, method: Method, with: &[&dyn Setter]) -> Option<Said> {
        let message = self.message(method, with);
        self.give(&message)
    }

    fn ask(&mut self, method: Method, with: &[&dyn Setter]) -> Said {
        let mut message = self.message(method, with);
        self.sign(&mut message);
        self.give(&message).expect("an answer")
    }

    fn allocate(&mut self) -> SocketAddr {
        let said = self.ask(METHOD_ALLOCATE, &[&UDP]);
        assert_eq!(said.code, 0, "{said:?}");
        said.relayed()
    }

    fn bind(&mut self, number: u16, to: &str) -> u16 {
        self.ask(METHOD_CHANNEL_BIND, &[&ChannelNumber(number), &peer(to)]).code
    }

    fn permit(&mut self, to: &str) -> u16 {
        self.ask(METHOD_CREATE_PERMISSION, &[&peer(to)]).code
    }

    fn send(&mut self, to: &str, data: &[u8]) -> Option<(SocketAddr, SocketAddr, Vec<u8>)> {
        let mut message = self.message(METHOD_SEND, &[&peer(to), &Data(data.to_vec())]);
        message.set_type(MessageType::new(METHOD_SEND, CLASS_INDICATION));
        match self.server.handle(self.at, self.client, &message.raw)? {
            Output::Relay { relayed, peer, data } => Some((relayed, peer, data.into_owned())),
            reply => panic!("an indication is not answered: {reply:?}"),
        }
    }
}

#[test]
fn an_allocation_is_made_kept_and_given_back() {
    let mut rig = Rig::new();
    let said = rig.ask(METHOD_ALLOCATE, &[&UDP]);
    assert_eq!((said.code, said.lifetime()), (0, 600));
    assert!(relayed::is_relayed(said.relayed()));
    let mut seen = XorMappedAddress::default();
    seen.get_from(&said.message).unwrap();
    assert_eq!(SocketAddr::new(seen.ip, seen.port), rig.client.remote);
    assert_eq!(said.text(ATTR_SOFTWARE), "deskgate");
    assert_eq!(rig.ask(METHOD_ALLOCATE, &[&UDP]).code, 437);
    assert_eq!(rig.ask(METHOD_REFRESH, &[&Lifetime(Duration::from_secs(9_000))]).lifetime(), 3_600);
    rig.pass(3_599);
    assert_eq!(rig.server.allocations.len(), 1);
    assert_eq!(rig.ask(METHOD_REFRESH, &[&Lifetime(Duration::ZERO)]).lifetime(), 0);
    assert!(rig.server.allocations.is_empty() && rig.server.by_relayed.is_empty());
    assert_eq!(rig.ask(METHOD_REFRESH, &[&Lifetime(Duration::ZERO)]).code, 0, "again: a retransmission");
    assert_eq!(rig.ask(METHOD_REFRESH, &[]).code, 437);
    rig.credentials = rig.server.keys().mint(User { expires: u64::MAX, viewer: 7 }).unwrap();
    rig.allocate();
    rig.pass(600);
    assert!(rig.server.allocations.is_empty());
}

#[test]
fn a_retransmitted_allocate_gets_the_same_answer() {
    let mut rig = Rig::new();
    let mut message = rig.message(METHOD_ALLOCATE, &[&UDP]);
    rig.sign(&mut message);
    let (first, second) = (rig.give(&message).unwrap(), rig.give(&message).unwrap());
    assert_eq!((first.code, first.message.raw), (0, second.message.raw));
    assert_eq!(rig.server.allocations.len(), 1);
}

#[test]
fn data_goes_to_the_candidate_and_back_and_nowhere_else() {
    let mut rig = Rig::new();
    let relayed = rig.allocate();
    let now = rig.at.now;
    assert_eq!(rig.send(GATEWAY, b"early"), None, "no permission yet");
    assert_eq!(rig.server.to_client(now, relayed, address(GATEWAY), b"early"), None);
    assert_eq!(rig.permit(GATEWAY), 0);
    assert_eq!(rig.send(GATEWAY, b"hello"), Some((relayed, address(GATEWAY), b"hello".to_vec())));
    assert_eq!(rig.send("192.0.2.1:8081", b"hello"), None, "another port was not offered");
    let (client, bytes) = rig.server.to_client(now, relayed, address(GATEWAY), b"back").unwrap();
    let mut indication = Message::new();
    indication.unmarshal_binary(&bytes).unwrap();
    assert_eq!(client, rig.client);
    assert_eq!(indication.typ, MessageType::new(METHOD_DATA, CLASS_INDICATION));
    let (mut from, mut data) = (PeerAddress::default(), Data::default());
    from.get_from(&indication).unwrap();
    data.get_from(&indication).unwrap();
    assert_eq!((SocketAddr::new(from.ip, from.port), data.0), (address(GATEWAY), b"back".to_vec()));

    assert_eq!(rig.bind(0x4001, GATEWAY), 0);
    let frame = [&[0x40, 1, 0, 3][..], b"abc", &[9]].concat();
    let output = rig.server.handle(rig.at, rig.client, &frame);
    assert_eq!(output, Some(Output::Relay { relayed, peer: address(GATEWAY), data: Cow::Borrowed(b"abc") }));
    let (_, bytes) = rig.server.to_client(now, relayed, address(GATEWAY), b"abc").unwrap();
    assert_eq!(bytes, [&[0x40, 1, 0, 3][..], b"abc"].concat(), "datagrams are not padded");
    for bad in [&[0x40, 2, 0, 3, 1, 2, 3][..], &[0x40, 1, 0, 4, 1, 2, 3], &[0x40, 1], &[0x4f]] {
        assert_eq!(rig.server.handle(rig.at, rig.client, bad), None, "{bad:?}");
    }
}

#[test]
fn nobody_but_this_gateway_can_be_reached() {
    let mut rig = Rig::new();
    rig.allocate();
    for elsewhere in [
        ELSEWHERE,
        "127.0.0.1:8080",
        "169.254.169.254:80",
        "192.0.2.2:8080",
        "[::ffff:10.96.0.1]:443",
        "[64:ff9b::a60:1]:443",
        "[::1]:8080",
        "0.0.0.0:0",
        "255.255.255.255:9",
        "198.51.100.1:49152",
    ] {
        assert_eq!(rig.permit(elsewhere), 403, "{elsewhere}");
        assert_eq!(rig.bind(0x4000, elsewhere), 403, "{elsewhere}");
        assert_eq!(rig.send(elsewhere, b"x"), None);
    }
    // The gateway's address in another spelling is the gateway's address.
    assert_eq!(rig.permit("[::ffff:192.0.2.1]:8080"), 0);
    // All of them, or none.
    let both = rig.ask(METHOD_CREATE_PERMISSION, &[&peer(GATEWAY), &peer(ELSEWHERE)]);
    assert_eq!(both.code, 403);
    assert_eq!(rig.bind(0x4000, "192.0.2.1:9"), 403, "a channel is to a port, too");
}

#[test]
fn requests_that_make_no_sense_are_told_why() {
    let mut rig = Rig::new();
    let tcp = RequestedTransport { protocol: Protocol(6) };
    let token = rtc::turn::proto::rsrvtoken::ReservationToken(vec![0; 8]);
    let (v6, odd) = (RequestedAddressFamily(2), RequestedAddressFamily(9));
    let cases: [(&[&dyn Setter], u16); 9] = [
        (&[], 400),
        (&[&tcp], 442),
        (&[&UDP, &odd], 440),
        (&[&UDP, &token], 508),
        (&[&UDP, &token, &v6], 400),
        (&[&UDP, &token, &RawValue(ATTR_EVEN_PORT, vec![0])], 400),
        (&[&UDP, &RawValue(ATTR_EVEN_PORT, vec![0x80])], 508),
        (&[&UDP, &Raw(0x7ff0)], 420),
        (&[&UDP, &Raw(0xfff0)], 0),
    ];
    for (with, code) in cases {
        assert_eq!(rig.ask(METHOD_ALLOCATE, with).code, code);
    }
    assert_eq!(rig.ask(METHOD_CHANNEL_BIND, &[&peer(GATEWAY)]).code, 400);
    assert_eq!(rig.ask(METHOD_CHANNEL_BIND, &[&ChannelNumber(0x4000)]).code, 400);
    for number in [0, 0x3fff, 0x8000, 0xffff] {
        assert_eq!(rig.bind(number, GATEWAY), 400, "{number:#x}");
    }
    assert_eq!(rig.ask(METHOD_CREATE_PERMISSION, &[]).code, 400);
    let short = RawValue(ATTR_XOR_PEER_ADDRESS, vec![0, 1, 2, 3, 4]);
    assert_eq!(rig.ask(METHOD_CREATE_PERMISSION, &[&short]).code, 400);
    assert_eq!(rig.permit("[2001:db8::1]:8080"), 443);
    assert_eq!(rig.bind(0x4000, "[2001:db8::1]:8080"), 443);
    assert_eq!(rig.ask(METHOD_REFRESH, &[&v6]).code, 443);
}

/// An attribute without a meaning.
struct Raw(u16);

impl Setter for Raw {
    fn add_to(&self, message: &mut Message) -> rtc::shared::error::Result<()> {
        message.add(AttrType(self.0), &[1, 2, 3, 4]);
        Ok(())
    }
}

struct RawValue(AttrType, Vec<u8>);

impl Setter for RawValue {
    fn add_to(&self, message: &mut Message) -> rtc::shared::error::Result<()> {
        message.add(self.0, &self.1);
        Ok(())
    }
}

#[test]
fn ipv6_and_even_ports_are_to_be_had() {
    let mut rig = Rig::new();
    let even = RawValue(ATTR_EVEN_PORT, vec![0]);
    let said = rig.ask(METHOD_ALLOCATE, &[&UDP, &RequestedAddressFamily(2), &even]);
    assert!(said.relayed().is_ipv6() && said.relayed().port().is_multiple_of(2));
    assert_eq!(rig.permit("[2001:db8::1]:8080"), 0);
    assert_eq!(rig.permit(GATEWAY), 443);
}

#[test]
fn channels_and_permissions_end() {
    let mut rig = Rig::new();
    let relayed = rig.allocate();
    rig.ask(METHOD_REFRESH, &[&Lifetime(Duration::from_secs(3_600))]);
    assert_eq!(rig.bind(0x4000, GATEWAY), 0);
    assert_eq!(rig.bind(0x4001, GATEWAY), 400, "one channel for a peer");
    assert_eq!(rig.bind(0x4000, GATEWAY), 0, "the same again refreshes it");
    let to_client =
        |rig: &mut Rig| rig.server.to_client(rig.at.now, relayed, address(GATEWAY), b"x").map(|t| t.1[0]);
    assert_eq!(to_client(&mut rig), Some(0x40));
    rig.pass(300);
    assert_eq!(to_client(&mut rig), None, "a permission holds five minutes, a channel ten");
    assert_eq!(rig.permit(GATEWAY), 0);
    assert_eq!(to_client(&mut rig), Some(0x40));
    rig.pass(299);
    let frame = [0x40, 0, 0, 1, 7];
    assert!(rig.server.handle(rig.at, rig.client, &frame).is_some());
    rig.pass(1);
    assert!(rig.server.handle(rig.at, rig.client, &frame).is_none());
    rig.permit(GATEWAY);
    assert_eq!(to_client(&mut rig), Some(0), "as an indication again");
    assert_eq!(rig.bind(0x4001, GATEWAY), 0);
}

#[test]
fn only_good_credentials_are_let_in() {
    let mut rig = Rig::new();
    let good = rig.credentials.clone();
    for (username, password) in [
        ("1000060:8", good.password.as_str()),
        ("1000061:7", &good.password),
        ("1000060:7", "guess"),
        ("nobody", "guess"),
        ("", ""),
    ] {
        rig.credentials = Credentials { username: username.into(), password: password.into() };
        let said = rig.ask(METHOD_ALLOCATE, &[&UDP]);
        assert_eq!(said.code, 401, "{username}");
        assert!(!said.text(ATTR_NONCE).is_empty());
    }
    rig.credentials = good;
    let mut message = rig.message(METHOD_ALLOCATE, &[&UDP]);
    rig.sign(&mut message);
    // Something that was not signed, behind the signature, does not count.
    let mut forged = message.clone();
    Lifetime(Duration::from_secs(3_600)).add_to(&mut forged).unwrap();
    assert_eq!(rig.give(&forged).map(|s| (s.code, s.lifetime())), Some((0, 600)));
    message.raw[20] ^= 1;
    assert!(rig.give(&message).is_none_or(|said| said.code != 0));
}

#[test]
fn an_integrity_without_a_name_is_a_bad_request() {
    let mut rig = Rig::new();
    let mut message = rig.message(METHOD_ALLOCATE, &[&UDP]);
    let provider = provider();
    MessageIntegrity::new_raw_integrity_with_provider(b"k".to_vec(), provider.crypto())
        .add_to(&mut message)
        .unwrap();
    assert_eq!(rig.give(&message).unwrap().code, 400);
}

#[test]
fn credentials_expire_for_new_allocations_only() {
    let mut rig = Rig::new();
    rig.allocate();
    rig.pass(120);
    assert_eq!(rig.ask(METHOD_REFRESH, &[]).code, 0, "it lives as long as its viewer");
    assert_eq!(rig.permit(GATEWAY), 0);
    rig.client.remote = address("198.18.0.5:4001");
    rig.learn_nonce();
    assert_eq!(rig.ask(METHOD_ALLOCATE, &[&UDP]).code, 401);
    rig.credentials = rig.server.keys().mint(User { expires: rig.at.unix + 60, viewer: 7 }).unwrap();
    assert_eq!(rig.ask(METHOD_ALLOCATE, &[&UDP]).code, 0);
}

#[test]
fn a_nonce_is_one_clients_and_gets_stale() {
    let mut rig = Rig::new();
    rig.allocate();
    rig.ask(METHOD_REFRESH, &[&Lifetime(Duration::from_secs(3_600))]);
    rig.pass(3_500);
    rig.ask(METHOD_REFRESH, &[&Lifetime(Duration::from_secs(3_600))]);
    rig.pass(101);
    let said = rig.ask(METHOD_REFRESH, &[]);
    assert_eq!(said.code, 438);
    rig.nonce = said.text(ATTR_NONCE);
    assert_eq!(rig.ask(METHOD_REFRESH, &[]).code, 0);
    for nonce in ["", "0", "zzzzzzzzzzzzzzzzzzzz", "00000000000f424000000000000000000000", "ü€ü€ü€ü€ü€ü€"]
    {
        rig.nonce = nonce.to_owned();
        assert_eq!(rig.ask(METHOD_REFRESH, &[]).code, 438, "{nonce}");
    }
    rig.learn_nonce();
    rig.client.remote = address("198.18.0.6:4000");
    assert_eq!(rig.ask(METHOD_ALLOCATE, &[&UDP]).code, 438, "another address");
}

#[test]
fn an_allocation_is_changed_by_its_maker_alone() {
    let mut rig = Rig::new();
    rig.allocate();
    rig.server.admit(8);
    rig.server.offer(8, [address(GATEWAY)]);
    rig.credentials = rig.server.keys().mint(User { expires: u64::MAX, viewer: 8 }).unwrap();
    assert_eq!(rig.ask(METHOD_REFRESH, &[&Lifetime(Duration::ZERO)]).code, 441);
    assert_eq!(rig.permit(GATEWAY), 441);
    assert_eq!(rig.bind(0x4000, GATEWAY), 441);
    assert_eq!(rig.server.allocations.len(), 1);
}

#[test]
fn quotas_hold_and_a_viewer_that_goes_frees_its_places() {
    let mut rig = Rig::new();
    let mut codes = Vec::new();
    for port in 0..MAX_PER_VIEWER as u16 + 2 {
        rig.client.remote.set_port(5_000 + port);
        rig.learn_nonce();
        codes.push(rig.ask(METHOD_ALLOCATE, &[&UDP]).code);
    }
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), MAX_PER_VIEWER);
    assert_eq!(codes[MAX_PER_VIEWER..], [486, 486]);
    rig.server.dismiss(7);
    assert!(rig.server.allocations.is_empty() && rig.server.by_relayed.is_empty());
    assert_eq!(rig.ask(METHOD_ALLOCATE, &[&UDP]).code, 401, "nobody knows that viewer any more");
    rig.server.admit(7);
    rig.server.offer(7, [address(GATEWAY)]);
    rig.allocate();
    let mut full = 0;
    for viewer in 100..1_000 {
        rig.server.admit(viewer);
        rig.server.offer(viewer, [address(GATEWAY)]);
        rig.credentials = rig.server.keys().mint(User { expires: u64::MAX, viewer }).unwrap();
        for port in 0..5 {
            rig.pass(0);
            rig.at.now += Duration::from_millis(10);
            rig.client.remote = SocketAddr::new(rig.client.remote.ip(), (viewer as u16) * 5 + port);
            rig.nonce = rig.server.keys().nonce(rig.client, rig.at.unix).unwrap();
            full += u32::from(rig.ask(METHOD_ALLOCATE, &[&UDP]).code == 508);
        }
    }
    assert_eq!((rig.server.allocations.len(), full), (MAX_ALLOCATIONS, 4_501 - MAX_ALLOCATIONS as u32));
}

#[test]
fn streams_pad_and_end_their_allocation() {
    let mut rig = Rig::new();
    rig.client.transport = Transport::Tcp(3);
    rig.learn_nonce();
    let relayed = rig.allocate();
    assert_eq!(rig.bind(0x4000, GATEWAY), 0);
    let (_, frame) = rig.server.to_client(rig.at.now, relayed, address(GATEWAY), b"12345").unwrap();
    assert_eq!(frame, [0x40, 0, 0, 5, b'1', b'2', b'3', b'4', b'5', 0, 0, 0]);
    rig.server.closed(rig.client);
    assert!(rig.server.allocations.is_empty());
}

#[test]
fn strangers_are_answered_only_so_often_and_leave_nothing() {
    let mut rig = Rig::new();
    rig.at.now += Duration::from_secs(10);
    let mut answered = 0;
    for port in 1..50_000 {
        rig.client.remote.set_port(port);
        answered += usize::from(rig.unsigned(METHOD_ALLOCATE, &[&UDP]).is_some());
    }
    assert_eq!(answered, ONE.1 as usize);
    assert!(rig.server.allocations.is_empty());
}

#[test]
fn a_plain_binding_request_is_told_its_address() {
    let mut rig = Rig::new();
    let said = rig.unsigned(BINDING_REQUEST.method, &[]).unwrap();
    let mut seen = XorMappedAddress::default();
    seen.get_from(&said.message).unwrap();
    assert_eq!(SocketAddr::new(seen.ip, seen.port), rig.client.remote);
}

#[path = "fault_tests.rs"]
mod faults;

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), method in 0u16..12, cookie: bool) {
        let mut rig = Rig::new();
        rig.allocate();
        let mut bytes = bytes;
        if cookie && bytes.len() >= 20 {
            let length = (bytes.len() - 20) as u16 & !3;
            bytes.truncate(20 + usize::from(length));
            bytes[..2].copy_from_slice(&method.to_be_bytes());
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
            bytes[4..8].copy_from_slice(&0x2112_a442_u32.to_be_bytes());
        }
        let _ = rig.server.handle(rig.at, rig.client, &bytes);
    }
}
