//! SDP: whatever is offered, an answer that fits it or an error, and no panic that reaches the gateway.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use deskgate::frame::Codec;
use deskgate::transport::build::PeerConfig;
use deskgate::transport::mux::Mux;
use deskgate::transport::offer;
use deskgate::transport::peer::Peer;

/// An offer, and candidates that come after it, are told apart by this.
const SEPARATOR: char = '\0';
const VIEWER: u32 = 1;
/// What one answer may set off at once: the checks of 64 candidates.
const MAX_DATAGRAMS: usize = 1_000;

pub fn run(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let mut parts = text.split(SEPARATOR);
    let sdp = parts.next().unwrap_or_default();
    for usable in [&[Codec::H264, Codec::Vp8][..], &[Codec::Vp8]] {
        answered(sdp, parts.clone(), usable);
    }
}

pub fn config() -> PeerConfig {
    PeerConfig {
        ufrag: "gateway".to_owned(),
        password: "a-password-of-24-letters".to_owned(),
        candidates: vec![SocketAddr::from(([203, 0, 113, 9], 8080))],
        ssrc: 1_001,
        rtx_ssrc: 1_002,
        sequence: 5,
        timestamp: 0,
        unix: Duration::ZERO,
    }
}

fn answered<'a>(sdp: &str, candidates: impl Iterator<Item = &'a str>, usable: &[Codec]) {
    let now = Instant::now();
    let chosen = offer::choose(sdp, usable);
    if let Ok(format) = &chosen {
        assert!(usable.contains(&format.codec) && format.payload_type < 128);
        assert!(format.rtx.is_none_or(|rtx| rtx < 128));
    }
    let Ok((peer, answer)) = Peer::answer(config(), sdp, usable, now) else { return };
    assert_eq!(chosen.map(|format| format.codec), Ok(peer.codec()), "an answer to what was refused");
    let sections = |sdp: &str| sdp.lines().filter(|line| line.starts_with("m=")).count();
    assert_eq!(sections(&answer), sections(sdp), "RFC 3264 §6: as many m-lines");
    let crypto = rtc::crypto::default_provider().expect("a provider is compiled in");
    let mut mux = Mux::new(crypto, b"secret".to_vec(), now);
    mux.insert(VIEWER, config().ufrag, peer, now);
    for (index, candidate) in candidates.enumerate() {
        mux.add_remote_candidate(now, VIEWER, candidate.to_owned(), None, Some(index as u16 & 3));
    }
    mux.handle_timeout(now + Duration::from_millis(200));
    let mut sent = 0;
    while let batch @ [_, ..] = &mux.stage().next_batch(16)[..] {
        sent += batch.len();
    }
    assert!(sent <= MAX_DATAGRAMS, "{sent} datagrams");
}
