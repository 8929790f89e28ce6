//! Everything that comes in on the port once a viewer has been answered: checks with and without its password, DTLS,
//! SRTCP, TURN, from several addresses and connections.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use deskgate::frame::Codec;
use deskgate::transport::framing::Framing;
use deskgate::transport::mux::Mux;
use deskgate::transport::peer::{Peer, PeerEvent};
use deskgate::transport::port::{Datagram, classify};
use deskgate::transport::streams::Source;
use rtc::stun::attributes::ATTR_USERNAME;
use rtc::stun::fingerprint::FINGERPRINT;
use rtc::stun::integrity::MessageIntegrity;
use rtc::stun::message::Setter;
use rtc::stun::textattrs::TextAttribute;

use super::offer::config;
use super::script::{self, Step};
use super::stun;

/// The least that can be answered: what a browser offers on top is the target `offer`'s.
const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
    m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=recvonly\r\na=rtcp-mux\r\n\
    a=ice-ufrag:page\r\na=ice-pwd:the-24-letters-of-a-page\r\na=setup:actpass\r\n\
    a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:\
    00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n\
    a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
    a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
    m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=ice-ufrag:page\r\n\
    a=ice-pwd:the-24-letters-of-a-page\r\na=setup:actpass\r\na=sctp-port:5000\r\n\
    a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:\
    00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n";
const VIEWER: u32 = 1;
/// Datagrams that one step may set off.
const MAX_DATAGRAMS: usize = 2_000;

pub fn run(data: &[u8]) {
    let mut world = World::new();
    for step in script::steps(data) {
        world.step(&step);
    }
}

struct World {
    mux: Mux,
    now: Instant,
    /// Whom the gateway may hear: from there, a check with the password came.
    heard: BTreeSet<(SocketAddr, Option<u64>)>,
    /// Whom it may send to: candidates that were named, or that a check came from, were it on a connection that has
    /// closed since.
    named: BTreeSet<SocketAddr>,
    /// What the gateway asked last.
    asked: Vec<u8>,
}

fn gateway() -> SocketAddr {
    config().candidates[0]
}

/// One of four addresses, with one of two connections each.
fn source(who: u8, framing: Framing) -> Source {
    let remote = SocketAddr::from(([198, 18, 0, who & 3], 4_000));
    Source { stream: (who & 7).into(), framing, tls: who & 4 != 0, local: gateway(), remote }
}

/// The first value of an attribute of the offer.
fn offered(attribute: &str) -> &'static str {
    OFFER.lines().find_map(|line| line.strip_prefix(attribute)).unwrap_or_default()
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let crypto = rtc::crypto::default_provider().expect("a provider is compiled in");
        let mut mux = Mux::new(crypto, b"secret".to_vec(), now);
        mux.tick(now, 1_000_000);
        let answered = Peer::answer(config(), OFFER, &[Codec::H264, Codec::Vp8], now);
        let (peer, _) = answered.expect("this offer can be answered");
        mux.insert(VIEWER, config().ufrag, peer, now);
        let (heard, named, asked) = Default::default();
        let mut world = Self { mux, now, heard, named, asked };
        world.drain(None);
        world
    }

    fn step(&mut self, step: &Step<'_>) {
        match step.what & 7 {
            0 | 1 => self.packet(step.who, step.bytes),
            2 => self.signed(step.who, step.bytes, &config().password, true),
            3 => self.response(step.who, step.bytes),
            4 => self.turn(step),
            5 => self.candidate(step.bytes),
            6 => self.pass(Duration::from_millis(step.number().into())),
            _ => {
                let source = source(step.who, Framing::Ice);
                self.mux.stream_closed(source);
                self.heard.remove(&(source.remote, Some(source.stream)));
            }
        }
    }

    /// A datagram, or a packet on an ICE-TCP connection.
    fn packet(&mut self, who: u8, bytes: &[u8]) {
        let before = self.mux.refused();
        let source = source(who, Framing::Ice);
        let stream = (who & 8 != 0).then_some(source.stream);
        match stream {
            Some(_) => self.mux.handle_stream(self.now, source, bytes),
            None => self.mux.handle_datagram(self.now, gateway(), source.remote, bytes),
        }
        if classify(bytes) == Datagram::Media && !self.heard.contains(&(source.remote, stream)) {
            assert_eq!(self.mux.refused().unverified, before.unverified + 1, "DTLS or RTP of a stranger");
        }
        self.drain(Some(source.remote));
    }

    /// A check, as whoever knows the password makes it (RFC 8445 §7.1.1).
    fn signed(&mut self, who: u8, bytes: &[u8], password: &str, named: bool) {
        let Some(mut message) = stun::repaired(bytes).and_then(|bytes| stun::decode(&bytes)) else { return };
        let crypto = rtc::crypto::default_provider().expect("a provider is compiled in");
        let name = format!("{}:{}", config().ufrag, offered("a=ice-ufrag:"));
        let name = TextAttribute::new(ATTR_USERNAME, name);
        let integrity =
            MessageIntegrity::new_short_term_integrity_with_provider(password.to_owned(), crypto.crypto());
        let mut parts: Vec<&dyn Setter> = vec![&integrity, &FINGERPRINT];
        if named {
            parts.insert(0, &name);
        }
        if !parts.into_iter().all(|part| part.add_to(&mut message).is_ok()) {
            return;
        }
        if named {
            let source = source(who, Framing::Ice);
            self.heard.insert((source.remote, (who & 8 != 0).then_some(source.stream)));
            self.named.insert(source.remote);
        }
        self.packet(who, &message.raw);
    }

    /// The answer to the gateway's own check, signed with the browser's password.
    fn response(&mut self, who: u8, bytes: &[u8]) {
        let mut answer = bytes.to_vec();
        if let (Some(place), Some(asked)) = (answer.get_mut(8..stun::HEADER), self.asked.get(8..stun::HEADER))
        {
            place.copy_from_slice(asked);
        }
        self.signed(who, &answer, offered("a=ice-pwd:"), false);
    }

    /// What is cut from a connection that speaks TURN.
    fn turn(&mut self, step: &Step<'_>) {
        let source = source(step.who, Framing::Turn);
        let mut bytes = step.bytes;
        while let Ok(Some(frame)) = Framing::Turn.next(bytes) {
            self.mux.handle_stream(self.now, source, &bytes[frame.message.clone()]);
            bytes = &bytes[frame.end..];
        }
        self.drain(Some(source.remote));
    }

    fn candidate(&mut self, bytes: &[u8]) {
        let Ok(text) = str::from_utf8(bytes) else { return };
        let words: Vec<&str> = text.split_whitespace().collect();
        if let [_, _, _, _, ip, port, ..] = words[..]
            && let (Ok(ip), Ok(port)) = (ip.parse(), port.parse())
        {
            self.named.insert(SocketAddr::new(ip, port));
        }
        self.mux.add_remote_candidate(self.now, VIEWER, text.to_owned(), None, Some(0));
        self.drain(None);
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..10_000 {
            let Some(due) = self.mux.poll_timeout().filter(|due| *due <= end) else {
                self.now = end;
                return;
            };
            self.now = due.max(self.now);
            self.mux.handle_timeout(self.now);
            self.drain(None);
        }
        panic!("a timer that is always due");
    }

    /// What goes out goes to whom it may.
    fn drain(&mut self, asker: Option<SocketAddr>) {
        let mut sent = 0;
        loop {
            let batch = self.mux.stage().next_batch(16);
            if batch.is_empty() {
                break;
            }
            sent += batch.len();
            for transmit in batch {
                let to = transmit.to;
                assert!(self.named.contains(&to) || asker == Some(to), "{to} is nobody's");
                if transmit.contents.starts_with(&[0, 1]) {
                    self.asked = transmit.contents.to_vec();
                }
            }
        }
        assert!(sent <= MAX_DATAGRAMS, "{sent} datagrams for one");
        while let Some((viewer, event)) = self.mux.poll_event() {
            assert_eq!(viewer, VIEWER);
            assert!(
                !matches!(event, PeerEvent::Connected | PeerEvent::Text(_) | PeerEvent::Input(_)),
                "{event:?}"
            );
        }
    }
}
