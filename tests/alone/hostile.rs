//! Strangers and bad viewers, while another viewer watches: it must notice nothing, and nothing may grow.
//!
//! Every attack runs for a while, twice or more: the first round also warms caches up, the memory after it is
//! what later rounds are held to. A frame rate is compared with that of the same viewer just before. Other work
//! on the machine can spoil one round (then there is another, up to the fourth), a fault of ours spoils all.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio_tungstenite::tungstenite::{Message, WebSocket};

use crate::gateway::http::{self, End, frame};
use crate::gateway::viewer::{Viewer, offer};
use crate::gateway::{DEADLINE, Gateway, LIGHT};
use crate::xvfb::within;

/// How long an attack goes on, so that a frame rate can be told.
const ATTACK: Duration = Duration::from_secs(2);
const ROUNDS: usize = 4;
/// What may be kept after a round more than after the first: the allocator's, not ours.
const GROWTH_KIB: u64 = 6 * 1024;
/// Messages, or datagrams, of a flood: as many a second, in portions.
const FLOOD: usize = 10_000;
/// The same where every one of them is encrypted, which takes unoptimised code all of a core.
const ENCRYPTED_FLOOD: usize = if cfg!(debug_assertions) { 2_000 } else { FLOOD };
/// Rest between two attacks that come and go: attackers run on the same machine.
const REST: Duration = Duration::from_millis(200);
const PORTION: usize = 100;

/// Frame rates are compared: one attack at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs `attack` against a gateway that another viewer watches, for as long as [`ATTACK`] at least.
fn undisturbed(attack: impl Fn(&Gateway)) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let gateway = Gateway::start(&[&LIGHT[..], &["--tls", "self-signed"]].concat());
    let steady = Viewer::watching(&gateway);
    steady.flow(20);
    let calm = gateway.figures();
    let (mut kept, mut tries) = (None, Vec::new());
    for _ in 0..ROUNDS {
        let before = steady.flow(40);
        let during = steady.flow_during(|| {
            let start = Instant::now();
            while start.elapsed() < ATTACK {
                attack(&gateway);
                std::thread::sleep(REST);
            }
        });
        let after = gateway.settles_to(calm);
        tries.push((before, during, after.rss_kib));
        let held = during.fps >= 0.9 * before.fps && during.longest_gap <= Duration::from_millis(500);
        match kept {
            None => kept = Some(after.rss_kib),
            Some(first) if held => {
                eprintln!("{calm:?}, {tries:?}");
                assert!(after.rss_kib <= first + GROWTH_KIB, "memory grows: {tries:?}");
                return;
            }
            Some(_) => {}
        }
    }
    panic!("another viewer noticed: {tries:?}");
}

/// Calls `one` `rate` times a second for as long as it succeeds, at most [`ATTACK`].
fn flood(rate: usize, mut one: impl FnMut() -> bool) -> usize {
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < ATTACK {
        for _ in 0..PORTION {
            if !one() {
                return sent;
            }
            sent += 1;
        }
        let due = start + Duration::from_secs(1) * sent as u32 / rate as u32;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    sent
}

/// Small, fast, and the same every time (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.roll() as u8).collect()
    }
}

fn ends_with(gateway: &Gateway, raw: &[u8]) -> End {
    let mut socket = http::greeted(gateway.address);
    // A gateway that has seen enough resets the connection while we still write.
    let _ = socket.get_mut().write_all(raw);
    http::read_to_end(&mut socket)
}

#[test]
fn frames_that_break_the_websocket_protocol_close_it_with_the_right_code() {
    let fragments = [frame(0x01, 40_000, &[b'a'; 40_000]), frame(0x00, 40_000, &[b'a'; 40_000])].concat();
    let cases: [(&str, Vec<u8>, u16); 11] = [
        ("oversized", frame(0x81, 65_537, &[b'a'; 65_537]), 1009),
        ("16 MiB announced", frame(0x81, 1 << 24, b"a"), 1009),
        ("2^63 announced", frame(0x81, u64::MAX >> 1, b"a"), 1009),
        ("oversized binary", frame(0x82, 4_097, &[2; 4_097]), 1009),
        ("fragments without end", fragments, 1009),
        ("not masked", b"\x81\x02hi".to_vec(), 1002),
        ("unknown opcode", frame(0x83, 1, b"a"), 1002),
        ("compressed (a bomb, or not)", frame(0xC1, 1, b"a"), 1002),
        ("no UTF-8", frame(0x81, 2, &[0xFF, 0xFE]), 1002),
        ("a continuation of nothing", frame(0x80, 1, b"a"), 1002),
        ("a long ping", frame(0x89, 126, &[0; 126]), 1002),
    ];
    undisturbed(|gateway| {
        for (name, raw, code) in &cases {
            assert_eq!(ends_with(gateway, raw).code, Some(*code), "{name}");
        }
    });
}

#[test]
fn text_that_is_no_message_is_an_error_and_nothing_else() {
    let deep = "[".repeat(60_000);
    let nested = format!("{}1{}", "{\"type\":".repeat(6_000), "}".repeat(6_000));
    let cases = [
        "",
        "{",
        "[]",
        "null",
        "1e999",
        "\u{0}",
        "{}",
        deep.as_str(),
        nested.as_str(),
        r#"{"type":5}"#,
        r#"{"type":"offer"}"#,
        r#"{"type":"offer","sdp":7}"#,
        r#"{"type":"visibility","visible":"yes"}"#,
        r#"{"type":"settings","fps":-1}"#,
        r#"{"type":"viewport","css":{"width":1e999,"height":1},"devicePixelRatio":1}"#,
        r#"{"type":"viewport","css":{"width":NaN,"height":1},"devicePixelRatio":1}"#,
        r#"{"type":"candidate","sdpMLineIndex":65536}"#,
        r#"{"type":"control","action":"steal"}"#,
    ];
    let harmless = [
        r#"{"type":"hologram","size":[1,2]}"#.to_owned(),
        r#"{"type":"viewport","css":{"width":1e300,"height":-1e300},"devicePixelRatio":1e300}"#.to_owned(),
        http::hello().to_string(),
    ];
    undisturbed(|gateway| {
        let mut socket = http::greeted(gateway.address);
        for text in cases {
            socket.send(Message::text(text)).unwrap();
            let error = http::read_until(&mut socket, |m| m["type"] == "error").unwrap();
            assert_eq!(error["code"], "malformed", "{:.60}", text);
        }
        // What is harmless is passed over in silence: the next error is the one for the last message.
        let last = r#"{"type":"control","action":"grant","viewer":4000000000}"#.to_owned();
        for text in harmless.iter().chain([&last]) {
            socket.send(Message::text(text)).unwrap();
        }
        let error = http::read_until(&mut socket, |m| m["type"] == "error").unwrap();
        assert_eq!(error["code"], "forbidden");
    });
}

#[test]
fn who_does_not_greet_properly_is_shown_the_door() {
    let older = http::hello().to_string().replace("\"version\":1", "\"version\":2");
    undisturbed(|gateway| {
        for first in [older.as_str(), r#"{"type":"offer","sdp":""}"#, r#"{"type":"what"}"#, "?"] {
            let mut socket = http::upgrade(gateway.address, &[]).unwrap();
            socket.send(Message::text(first)).unwrap();
            assert_eq!(http::read_to_end(&mut socket).bye.as_deref(), Some("protocol"), "{first}");
        }
    });
}

/// An offer spoiled somehow.
fn spoiled(valid: &str, dice: &mut Dice) -> String {
    let lines: Vec<&str> = valid.lines().collect();
    let at = dice.roll() as usize % lines.len();
    let join = |lines: &[&str]| lines.join("\r\n") + "\r\n";
    match dice.roll() % 5 {
        0 => valid[..dice.roll() as usize % valid.len()].to_owned(),
        1 => join(&[&lines[..at], &lines[at + 1..]].concat()),
        2 => join(&[&lines[..at], &[lines[at]; 40], &lines[at..]].concat()),
        3 => {
            let noise: String = dice.bytes(30).iter().map(|b| char::from(b % 95 + 32)).collect();
            join(&[&lines[..at], &[noise.as_str()], &lines[at + 1..]].concat())
        }
        _ => valid.replace([' ', ':'], if dice.roll().is_multiple_of(2) { " -1 " } else { ":99999999999 " }),
    }
}

#[test]
fn offers_that_are_garbage_are_refused_or_answered() {
    let valid = offer();
    let many = format!("{valid}{}", "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n".repeat(1_000));
    let types = valid.replace("m=video 9 UDP/TLS/RTP/SAVPF ", "m=video 9 UDP/TLS/RTP/SAVPF 200 300 -1 ");
    let fixed = [String::new(), "v=0\r\n".repeat(8_000), "\r\n".repeat(15_000), many, types];
    undisturbed(|gateway| {
        let mut dice = Dice(7);
        let mut socket = http::greeted(gateway.address);
        let rolled: Vec<String> = (0..20).map(|_| spoiled(&valid, &mut dice)).collect();
        for sdp in fixed.iter().chain(&rolled) {
            socket.send(Message::text(json!({ "type": "offer", "sdp": sdp }).to_string())).unwrap();
            let answer = |m: &serde_json::Value| m["type"] == "answer" || m["type"] == "error";
            http::read_until(&mut socket, answer).unwrap_or_else(|end| panic!("{end:?} after {sdp:.200}"));
        }
        let _ = socket.close(None);
    });
}

#[test]
fn ten_thousand_candidates_end_the_one_who_sends_them() {
    let long = format!("candidate:1 1 udp 1 {} 9 typ host", "1".repeat(50_000));
    let odd = ["", "candidate:", "candidate:\u{0}", "🙂", "candidate:1 1 udp 1 ::1 70000 typ host", &long];
    undisturbed(|gateway| {
        let attacker = Viewer::watching(gateway);
        for candidate in odd {
            let message = json!({ "type": "candidate", "candidate": candidate, "sdpMid": "0" });
            attacker.order(move |d| d.say(&message));
        }
        attacker.next_frame();
        for i in 0..10_000 {
            let address = format!("10.{}.{}.{}", i >> 16, i >> 8 & 255, i & 255);
            let candidate = format!("candidate:{i} 1 udp 2130706431 {address} 9 typ host");
            let message = json!({ "type": "candidate", "candidate": candidate, "sdpMid": "0" });
            attacker.order(move |d| d.say(&message));
            if attacker.seen().closed {
                break;
            }
        }
        attacker.until("the socket to be closed", |seen| seen.closed);
        assert!(attacker.seen().messages.iter().any(|m| m["type"] == "bye" && m["reason"] == "protocol"));
    });
}

#[test]
fn garbage_in_the_data_channels_does_nothing() {
    let big = vec![b'x'; 60_000];
    let position = |x: u16, y: u16| [x.to_be_bytes(), y.to_be_bytes()].concat();
    let framed = |kind: u8, body: &[u8]| [&[kind, 0, 0, 0, 1][..], body].concat();
    let mut frames = vec![
        vec![],
        vec![1],
        vec![1, 0, 0],
        framed(1, &[1]),
        framed(0, &[]),
        framed(255, &[]),
        framed(10, &big),
        framed(2, &position(u16::MAX, u16::MAX)),
        framed(2, &[0; 5]),
        framed(3, &[0x7F; 8]),
        framed(3, &[0x80; 8]),
        framed(4, &[0, 1, 1, 0, 0, 0, 0]),
        framed(4, &[200, 1, 1, 0, 0, 0, 0]),
        framed(4, &[1, 2, 0, 0, 0, 0, 0]),
        framed(5, &[0x7F, 0xFF, 0x80, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF]),
        framed(6, &[]),
        framed(6, &[0xFF; 100]),
        framed(6, &big),
        framed(7, &[255]),
        framed(7, &[64]),
        framed(8, &[1]),
        framed(9, &[255]),
        big,
    ];
    for keysym in [0, 1, 0x0100_0000, 0x0110_FFFF, 0x0111_0000, 0x1FFF_FFFF, u32::MAX] {
        for down in [1, 0] {
            frames.push(framed(1, &[&[down][..], &keysym.to_be_bytes(), &[0]].concat()));
        }
    }
    let texts = ["{", "[[[[", "\u{0}", r#"{"type":"offer","sdp":"v=0"}"#, r#"{"type":"hologram"}"#];
    undisturbed(|gateway| {
        // Nothing on the way in says that 16 MiB are too much, as with a hostile page.
        let boundless = |sdp: String| sdp.replace("a=max-message-size:65536", "a=max-message-size:99999999");
        let attacker = Viewer::join_with(gateway, &[], boundless);
        attacker.until("a channel", |seen| seen.control_open && !seen.frames.is_empty());
        attacker.order(|d| d.text(r#"{"type":"control","action":"take"}"#));
        for frame in frames.clone() {
            attacker.order(move |d| d.input(&frame));
        }
        for text in texts {
            attacker.order(move |d| d.text(text));
        }
        attacker.next_frame();
        attacker.order(|d| d.text(&" ".repeat(16 << 20)));
    });
}

#[test]
fn a_flood_of_messages_is_cut_off_or_passed_over() {
    undisturbed(|gateway| {
        let mut socket = http::greeted(gateway.address);
        let mut rest = socket.get_ref().try_clone().unwrap();
        flood(FLOOD, || socket.send(Message::text(r#"{"type":"visibility","visible":true}"#)).is_ok());
        // The library reads nothing once it cannot write.
        let mut told = Vec::new();
        let _ = rest.read_to_end(&mut told);
        assert!(String::from_utf8_lossy(&told).contains(r#""reason":"protocol""#));
    });
}

#[test]
fn a_flood_of_input_is_passed_over_or_slowed_down() {
    let motion = [2, 0, 0, 0, 1, 0, 9, 0, 9];
    undisturbed(|gateway| {
        let mut socket = http::greeted(gateway.address);
        assert!(flood(FLOOD, || socket.send(Message::binary(motion.to_vec())).is_ok()) > PORTION);
        still_heard(&mut socket);
    });
}

#[test]
fn a_flood_of_pings_is_answered_or_passed_over() {
    undisturbed(|gateway| {
        let mut socket = http::greeted(gateway.address);
        flood(FLOOD, || socket.get_mut().write_all(&frame(0x89, 100, &[1; 100])).is_ok());
    });
}

#[test]
fn a_flood_in_the_data_channel_is_passed_over() {
    undisturbed(|gateway| {
        let attacker = Viewer::watching(gateway);
        attacker.order(|d| flood(ENCRYPTED_FLOOD, || d.input(&[2, 0, 0, 0, 1, 0, 9, 0, 9])));
        attacker.next_frame();
    });
}

fn still_heard(socket: &mut WebSocket<TcpStream>) {
    socket.send(Message::text("?")).unwrap();
    let error = http::read_until(socket, |m| m["type"] == "error").unwrap();
    assert_eq!(error["code"], "malformed");
}

/// A Binding request for `ufrag` whose MESSAGE-INTEGRITY is wrong.
fn forged_check(ufrag: &str, transaction: u8) -> Vec<u8> {
    let name = format!("{ufrag}:them");
    let mut body = [&[0, 6][..], &(name.len() as u16).to_be_bytes(), name.as_bytes()].concat();
    body.resize(body.len().next_multiple_of(4), 0);
    body.extend([0, 8, 0, 20]);
    body.extend([transaction; 20]);
    let length = (body.len() as u16).to_be_bytes();
    [&[0, 1][..], &length, &[0x21, 0x12, 0xA4, 0x42], &[transaction; 12], &body].concat()
}

/// A DTLS 1.2 ClientHello that offers the null cipher, as sprayed at ports of media.
fn client_hello() -> Vec<u8> {
    let hello = [&[0xFE, 0xFD][..], &[7; 32], &[0, 0, 0, 2, 0, 0, 1, 0]].concat();
    let length = |n: usize| (n as u32).to_be_bytes()[1..].to_vec();
    let handshake = [&[1][..], &length(hello.len()), &[0; 5], &length(hello.len()), &hello].concat();
    let record = (handshake.len() as u16).to_be_bytes();
    [&[22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0][..], &record, &handshake].concat()
}

fn refused(gateway: &Gateway, why: &str) -> u64 {
    gateway.status()["refused"][why].as_u64().expect("a count")
}

#[test]
fn datagrams_of_strangers_are_counted_and_dropped() {
    let media = [
        client_hello(),
        vec![21, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 40],
        vec![0x80, 96, 0, 1],
        vec![0x81; 1_200],
    ];
    let mut rubbish = vec![vec![], vec![0], vec![1; 20], vec![255; 1_200], forged_check("nobody", 1)];
    rubbish.push(forged_check("nobody", 2)[..40].to_vec());
    undisturbed(|gateway| {
        let attacker = Viewer::watching(gateway);
        let answer =
            attacker.seen().messages.iter().find_map(|m| m["sdp"].as_str().map(str::to_owned)).unwrap();
        let ufrag = answer.lines().find_map(|l| l.strip_prefix("a=ice-ufrag:")).unwrap();
        let target = attacker.order(|d| d.remote).unwrap();
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        let throw = |bytes: &[u8]| stranger.send_to(bytes, target).is_ok();
        for (why, datagrams) in
            [("unverified", &media[..]), ("integrity", &[forged_check(ufrag, 3)]), ("unknown", &rubbish[1..])]
        {
            let before = refused(gateway, why);
            assert!(datagrams.iter().all(|d| throw(d)));
            within(DEADLINE, why, || {
                (refused(gateway, why) >= before + datagrams.len() as u64).then_some(())
            });
        }
        let mut dice = Dice(11);
        let kinds = [&media[..], &rubbish, &[forged_check(ufrag, 4)]].concat();
        flood(FLOOD, || throw(&kinds[dice.roll() as usize % kinds.len()]));
        stranger.set_nonblocking(true).unwrap();
        assert!(stranger.recv(&mut [0; 64]).is_err(), "a stranger is answered");
        attacker.next_frame();
    });
}

#[test]
fn allocates_of_strangers_are_answered_now_and_then_and_leave_nothing() {
    let head = |length: u8| [&[0, 3, 0, length, 0x21, 0x12, 0xA4, 0x42][..], &[5; 12]].concat();
    // Without credentials; with forged ones, whose signature is checked; and one that lies about its length.
    let name = b"99999999999:1";
    let mut signed = [&[0, 6, 0, name.len() as u8][..], name, &[0; 3]].concat();
    signed.extend(
        [&[0, 0x14, 0, 8][..], b"deskgate", &[0, 0x15, 0, 4], b"0000", &[0, 8, 0, 20], &[9; 20]].concat(),
    );
    let kinds = [head(0), [head(signed.len() as u8), signed].concat(), head(200)];
    undisturbed(|gateway| {
        let sources: Vec<_> = (2..52)
            .map(|host| UdpSocket::bind((std::net::Ipv4Addr::new(127, 0, 1, host), 0)).unwrap())
            .collect();
        let mut n = 0;
        let sent = flood(FLOOD, || {
            n += 1;
            sources[n % sources.len()].send_to(&kinds[n % kinds.len()], gateway.address).is_ok()
        });
        let mut answers = 0;
        for source in &sources {
            source.set_nonblocking(true).unwrap();
            answers += std::iter::from_fn(|| source.recv(&mut [0; 512]).ok()).count();
        }
        assert!((1..sent / 4).contains(&answers), "{answers} answers to {sent}");
    });
}

#[test]
fn garbage_on_a_path_that_was_checked_ends_nobody() {
    undisturbed(|gateway| {
        let attacker = Viewer::watching(gateway);
        let target = attacker.order(|d| d.remote).unwrap();
        let path = attacker.order(|d| d.udp.try_clone()).unwrap();
        let mut dice = Dice(13);
        flood(FLOOD, || {
            let random = dice.bytes(60);
            let bytes = match random[0] % 6 {
                0 => [&[0x80, 96][..], &random].concat(),
                1 => [&[0x80, 200, 0, 12][..], &random].concat(),
                2 => [&[0x81, 206, 0, 12][..], &random].concat(),
                3 => [&[22, 0xFE, 0xFD, 0, 0][..], &random].concat(),
                4 => vec![21, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, random[1], 0, 2, 2, 40],
                _ => client_hello(),
            };
            path.send_to(&bytes, target).is_ok()
        });
        attacker.next_frame();
        assert!(attacker.seen().connected);
    });
}

#[test]
fn idle_dawdling_and_deaf_connections_are_closed() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    undisturbed(|gateway| {
        let calm = gateway.figures();
        let open = |first: &[u8]| {
            let mut stream = http::connect(gateway.address)?;
            stream.write_all(first).map(|()| stream)
        };
        let upgrade = format!(
            "GET /ws HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
             Sec-WebSocket-Protocol: deskgate.v1\r\n\r\n",
            gateway.address
        );
        let post = "POST /api/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n";
        // Greeted, but they answer no ping: nobody reads what they are sent.
        let deaf: Vec<_> = (0..20).map(|_| http::greeted(gateway.address)).collect();
        // A byte now and then is no request.
        let mut slow: Vec<TcpStream> =
            (0..50).filter_map(|_| open(b"GET / HTTP/1.1\r\nX-Slow: ").ok()).collect();
        // More than may be at a time: those on top are closed at once.
        // An Allocate without credentials: TURN over TCP, which stays a stranger; and half of one.
        let turn = [&[0, 3, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
        let handshake = b"\x16\x03\x01\x02\x00\x01";
        // A Binding request that proves nothing: ICE-TCP, which stays a stranger; and half of one.
        let ice = [&[0, 20, 0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
        let strangers = [&turn, &turn[..5], &ice, &ice[..15], handshake];
        let firsts = [&[b"", post.as_bytes(), upgrade.as_bytes()][..], &strangers].concat();
        let idle: Vec<TcpStream> = (0..1_100).filter_map(|i| open(firsts[i % firsts.len()]).ok()).collect();
        let held = gateway.figures().fds - calm.fds;
        assert!((500..=1_024).contains(&held), "{held} connections are held");
        within(DEADLINE, "connections to be closed", || {
            slow.retain_mut(|s| s.write_all(b"x").is_ok());
            (slow.is_empty() && gateway.figures().fds <= calm.fds).then_some(())
        });
        assert_eq!(http::get(gateway.address, "/healthz").unwrap().status, 200);
        drop((deaf, idle));
    });
}
