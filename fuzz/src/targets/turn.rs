//! The TURN server: clients on every transport, with and without credentials, over hours.
//!
//! Whatever they send, nothing reaches a peer but candidates that were offered to the viewer that made the allocation
//! and permitted by a signed request, and no answer is much longer than its question.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use deskgate::transport::framing::Framing;
use deskgate::turn::credential::{Keys, REALM, User};
use deskgate::turn::{Client, Moment, Output, Server, Transport, relayed};
use rtc::crypto::RTCCryptoProvider;
use rtc::stun::attributes::{
    ATTR_ERROR_CODE, ATTR_LIFETIME, ATTR_MESSAGE_INTEGRITY, ATTR_NONCE, ATTR_REALM, ATTR_USERNAME,
};
use rtc::stun::integrity::MessageIntegrity;
use rtc::stun::message::{
    BINDING_REQUEST, CLASS_ERROR_RESPONSE, CLASS_REQUEST, CLASS_SUCCESS_RESPONSE, Getter, METHOD_ALLOCATE,
    METHOD_CHANNEL_BIND, METHOD_CREATE_PERMISSION, METHOD_REFRESH, Message, MessageType, Setter,
    TransactionId,
};
use rtc::stun::textattrs::TextAttribute;
use rtc::turn::proto::relayaddr::RelayedAddress;

use super::script::{self, Step};
use super::stun;

/// Viewers; the last is not admitted at first.
const VIEWERS: u32 = 3;
/// 5-tuples: one more than a viewer may have allocations.
const CLIENTS: u8 = 14;
const MAX_PER_VIEWER: usize = 12;
/// The longest lifetime of a permission is that of a channel (RFC 8656 §12).
const PERMITTED: Duration = Duration::from_secs(600);
/// An answer is this much longer than what was asked, at most: six attributes, 401's reason and nonce among them.
const ANSWER: usize = 160;
/// The largest packet of a candidate, and what is put around it: a Data indication's header and two attributes.
const MAX_DATA: usize = 2_000;
const AROUND: usize = 20 + 24 + 4 + 3;

pub fn run(data: &[u8]) {
    let mut world = World::new();
    for step in script::steps(data) {
        world.step(&step);
        world.check_tables();
    }
}

/// What the server must have noted about an allocation.
struct Held {
    viewer: u32,
    relayed: SocketAddr,
    made_by: TransactionId,
    permitted: BTreeMap<IpAddr, Instant>,
}

impl Held {
    fn permits(&self, peer: SocketAddr, now: Instant) -> bool {
        self.permitted.get(&peer.ip()).is_some_and(|until| now < *until)
    }
}

struct World {
    crypto: Arc<dyn RTCCryptoProvider>,
    server: Server,
    at: Moment,
    offered: BTreeMap<u32, BTreeSet<SocketAddr>>,
    nonces: HashMap<Client, String>,
    held: HashMap<Client, Held>,
}

fn candidates(which: u8) -> [SocketAddr; 4] {
    let [v4, v6] = relayed::gateway(8080);
    let direct = SocketAddr::from(([203, 0, 113, which & 3], 8080));
    [v4, v6, direct, SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(which & 3)], 8080))]
}

/// Who: the 5-tuple in the low four bits, whose credentials in the high four.
fn client(who: u8) -> Client {
    let number = who % CLIENTS;
    let transport = match number % 3 {
        0 => Transport::Udp,
        1 => Transport::Tcp(number.into()),
        _ => Transport::Tls(number.into()),
    };
    let remote = SocketAddr::from(([198, 18, 0, number], 4_000));
    Client { transport, local: candidates(0)[2], remote }
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let crypto = rtc::crypto::default_provider().expect("a provider is compiled in");
        let server = Server::new(Keys::new(b"secret".to_vec(), crypto.clone()), now);
        let at = Moment { now, unix: 1_000_000 };
        let (offered, nonces, held) = Default::default();
        let mut world = Self { crypto, server, at, offered, nonces, held };
        (0..VIEWERS - 1).for_each(|viewer| world.admit(viewer, 0));
        world
    }

    fn admit(&mut self, viewer: u32, which: u8) {
        self.server.admit(viewer);
        self.server.offer(viewer, candidates(which));
        self.offered.insert(viewer, candidates(which).into());
    }

    fn step(&mut self, step: &Step<'_>) {
        let (client, viewer) = (client(step.who & 15), u32::from(step.who >> 4) % VIEWERS);
        match step.what & 7 {
            0 => self.heard(client, step.bytes),
            1 | 2 => self.signed(client, viewer, step.who >> 7 == 1, step.bytes),
            3 => self.candidates_send(step.bytes),
            4 => {
                self.at.now += Duration::from_secs(step.number().into());
                self.at.unix += u64::from(step.number());
                self.server.handle_timeout(self.at.now);
            }
            5 => self.server.closed(client),
            6 => {
                self.server.dismiss(viewer);
                self.offered.remove(&viewer);
                assert!(
                    !self
                        .held
                        .iter()
                        .any(|(c, held)| held.viewer == viewer && self.server.has_allocation(*c))
                );
            }
            _ => self.admit(viewer, step.who),
        }
    }

    /// As it comes: a datagram, or what a stream is cut into.
    fn heard(&mut self, client: Client, mut bytes: &[u8]) {
        if client.transport == Transport::Udp {
            return drop(self.said(client, bytes));
        }
        while let Ok(Some(frame)) = Framing::Turn.next(bytes) {
            self.said(client, &bytes[frame.message.clone()]);
            bytes = &bytes[frame.end..];
        }
    }

    fn said(&mut self, client: Client, bytes: &[u8]) -> Option<Message> {
        match self.server.handle(self.at, client, bytes)? {
            Output::Reply(reply) => Some(self.answered(client, bytes, &reply)),
            Output::Relay { relayed, peer, data } => {
                assert!(data.len() <= bytes.len());
                let held = self.held.get(&client).expect("an allocation that was answered");
                assert!(self.offered[&held.viewer].contains(&peer), "{peer} was not offered");
                assert!(held.permits(peer, self.at.now), "{peer} is not permitted");
                assert_eq!(relayed, held.relayed);
                None
            }
        }
    }

    /// RFC 8489 §6.3.
    fn answered(&mut self, client: Client, question: &[u8], reply: &[u8]) -> Message {
        let asked = stun::decode(question).expect("only what can be read is answered");
        let answer = stun::decode(reply).expect("an answer can be read");
        let MessageType { method, class } = answer.typ;
        assert_eq!((asked.typ.class, asked.typ.method), (CLASS_REQUEST, method));
        assert_eq!(stun::transaction(question), stun::transaction(reply));
        assert!(reply.len() <= question.len() + ANSWER, "{} for {}", reply.len(), question.len());
        assert!(asked.contains(ATTR_MESSAGE_INTEGRITY) || reply.len() <= ANSWER);
        assert_eq!(answer.contains(ATTR_ERROR_CODE), class == CLASS_ERROR_RESPONSE);
        let known = answer.contains(ATTR_MESSAGE_INTEGRITY);
        assert!(known || class == CLASS_ERROR_RESPONSE || asked.typ == BINDING_REQUEST);
        if let Ok(nonce) = answer.get(ATTR_NONCE) {
            self.nonces.insert(client, String::from_utf8(nonce).expect("a nonce is text"));
        }
        if class == CLASS_SUCCESS_RESPONSE && known {
            self.note(client, &asked, &answer);
        }
        answer
    }

    fn note(&mut self, client: Client, asked: &Message, answer: &Message) {
        let name = asked.get(ATTR_USERNAME).ok().and_then(|name| String::from_utf8(name).ok());
        let viewer = name.as_deref().and_then(User::parse).expect("whoever is answered has a name").viewer;
        assert!(self.offered.contains_key(&viewer), "nobody knows that viewer");
        match asked.typ.method {
            METHOD_ALLOCATE => {
                let mut relayed = RelayedAddress::default();
                relayed.get_from(answer).expect("an allocation has an address");
                let relayed = SocketAddr::new(relayed.ip, relayed.port);
                assert!(relayed::is_relayed(relayed));
                let others = self.held.iter().filter(|(other, _)| **other != client);
                assert!(others.into_iter().all(|(_, held)| held.relayed != relayed), "{relayed} is taken");
                let made_by = asked.transaction_id;
                // The same again is a retransmission.
                if self.held.get(&client).is_none_or(|held| held.made_by != made_by) {
                    self.held.insert(client, Held { viewer, relayed, made_by, permitted: BTreeMap::new() });
                }
            }
            METHOD_CREATE_PERMISSION | METHOD_CHANNEL_BIND => {
                let held = self.held.get_mut(&client).expect("an allocation that was answered");
                assert_eq!(held.viewer, viewer);
                for peer in stun::peers(&asked.raw) {
                    held.permitted.insert(relayed::canonical(peer).ip(), self.at.now + PERMITTED);
                }
            }
            METHOD_REFRESH if answer.get(ATTR_LIFETIME) == Ok(vec![0; 4]) => {
                assert!(!self.server.has_allocation(client));
                self.held.remove(&client);
            }
            _ => {}
        }
    }

    /// What the step holds, with good credentials behind it.
    fn signed(&mut self, client: Client, viewer: u32, expired: bool, bytes: &[u8]) {
        if !self.nonces.contains_key(&client) {
            let mut question = Message::new();
            question.typ = MessageType::new(METHOD_ALLOCATE, CLASS_REQUEST);
            question.write_header();
            self.said(client, &question.raw);
        }
        let Some(mut message) = stun::repaired(bytes).and_then(|bytes| stun::decode(&bytes)) else { return };
        let expires = if expired { self.at.unix } else { u64::MAX };
        let who = self.server.keys().mint(User { expires, viewer }).expect("HMAC-SHA1");
        let nonce = self.nonces.get(&client).cloned().unwrap_or_default();
        let username = TextAttribute::new(ATTR_USERNAME, who.username.clone());
        let (realm, nonce) =
            (TextAttribute::new(ATTR_REALM, REALM.to_owned()), TextAttribute::new(ATTR_NONCE, nonce));
        let crypto = self.crypto.clone();
        let (name, password) = (who.username, who.password);
        let integrity = MessageIntegrity::new_long_term_integrity_with_provider(
            name,
            REALM.to_owned(),
            password,
            crypto.crypto(),
        )
        .expect("MD5");
        let parts: [&dyn Setter; 4] = [&username, &realm, &nonce, &integrity];
        if parts.into_iter().all(|part| part.add_to(&mut message).is_ok()) {
            self.said(client, &message.raw);
        }
    }

    /// Every candidate sends to every allocation.
    fn candidates_send(&mut self, bytes: &[u8]) {
        let data = &bytes[..bytes.len().min(MAX_DATA)];
        for (client, held) in &self.held {
            for peer in candidates(0).into_iter().chain(candidates(1)) {
                let sent = self.server.to_client(self.at.now, held.relayed, peer, data);
                let Some((to, message)) = sent else { continue };
                assert_eq!(to, *client);
                assert!(held.permits(peer, self.at.now), "{peer} is not permitted");
                assert!(message.len() <= data.len() + AROUND);
                if client.transport != Transport::Udp {
                    let frame = Framing::Turn.next(&message).expect("it is STUN or ChannelData");
                    assert_eq!(frame.map(|frame| frame.end), Some(message.len()));
                }
            }
        }
    }

    /// Nobody has an allocation whom the answers did not give one, and nobody too many.
    fn check_tables(&mut self) {
        self.held.retain(|client, _| self.server.has_allocation(*client));
        for viewer in 0..VIEWERS {
            let count = self.held.values().filter(|held| held.viewer == viewer).count();
            assert!(count <= MAX_PER_VIEWER, "{count} allocations of one viewer");
        }
        let clients = (0..CLIENTS).map(client);
        assert!(
            clients.filter(|client| self.server.has_allocation(*client)).all(|c| self.held.contains_key(&c))
        );
    }
}
