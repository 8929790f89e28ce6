//! Rows of `docs/faults.md` that are about one viewer's connection: what is forged, repeated, damaged, or stops.

use super::*;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;

/// A DTLS 1.2 handshake record in the clear: a fragment (`offset`, `length`) of a message of `total` bytes.
fn fragment(sequence: u16, message: u16, total: u32, offset: u32, length: u32) -> Vec<u8> {
    let three = |n: u32| n.to_be_bytes()[1..].to_vec();
    let body = [&[1][..], &three(total), &message.to_be_bytes(), &three(offset), &three(length)].concat();
    let body = [body, vec![7; length.min(1_000) as usize]].concat();
    let [a, b] = sequence.to_be_bytes();
    let header = [22, 254, 253, 0, 0, 0, 0, 0, 0, a, b];
    [&header[..], &(body.len() as u16).to_be_bytes(), &body].concat()
}

fn spray(rig: &mut Rig, from: &str, n: u16) {
    let alert = [21, 254, 253, 0, 0, 0, 0, 0, 0, 0, n as u8, 0, 2, 2, 40];
    for bytes in [&fragment(n, 0, 50, 0, 50)[..], &alert, &[0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]] {
        rig.mux.handle_datagram(rig.now, at(GATEWAY), at(from), bytes);
    }
}

fn alive(rig: &mut Rig) {
    rig.viewer.received.clear();
    assert!(rig.send(true, 2_000));
    rig.until("frame", |r| r.viewer.received.last().is_some_and(|p| p.header.marker));
}

#[test]
fn dtls_and_alerts_of_strangers_do_nothing_before_and_after_the_handshake() {
    let mut rig = Rig::new();
    let mut sprayed = 0;
    while !rig.events.iter().any(|e| matches!(e, PeerEvent::ControlOpen)) {
        spray(&mut rig, STRANGER, sprayed);
        sprayed += 1;
        assert!(sprayed < 1_000, "{:?}", rig.events);
        rig.step();
    }
    spray(&mut rig, STRANGER, sprayed);
    assert_eq!(rig.mux.refused().unverified, 3 * (u64::from(sprayed) + 1));
    alive(&mut rig);
}

#[test]
fn alerts_in_the_clear_on_the_viewers_own_path_end_nobody() {
    let mut rig = Rig::connected();
    for n in 0..200 {
        for (level, what) in [(2, 40), (2, 0), (1, 0)] {
            let alert = [21, 254, 253, 0, 0, 0, 0, 0, 0, 1, n, 0, 2, level, what];
            rig.deliver(&alert);
        }
    }
    rig.events.clear();
    rig.step();
    assert!(rig.events.is_empty(), "{:?}", rig.events);
    alive(&mut rig);
}

#[test]
fn dtls_fragments_without_sense_end_nobody() {
    for connected in [false, true] {
        let mut rig = if connected { Rig::connected() } else { Rig::new() };
        // A path of its own is needed first.
        rig.until("a check", |r| r.to_gateway.iter().any(|d| d[..2] == [0, 1]));
        for n in 0..600 {
            // Of no length; overlapping; beyond the end; of a message that is never finished.
            rig.deliver(&fragment(n, n % 7, 0, 0, 0));
            rig.deliver(&fragment(n, n % 7, 500, 0, 0));
            rig.deliver(&fragment(n, n % 7, 500, u32::from(n) % 400, 300));
            rig.deliver(&fragment(n, n % 7, 10, 5, 500));
            rig.deliver(&fragment(n, n, 0xff_ffff, 0xff_fff0 - u32::from(n), 900));
        }
        if connected {
            alive(&mut rig);
        }
        assert!(!rig.events.iter().any(|e| matches!(e, PeerEvent::Failed(why) if why.contains("internal"))));
    }
}

#[test]
fn another_certificate_than_the_offered_one_gets_nothing() {
    let now = Instant::now();
    let mut rig = Rig::new();
    let at = rig.viewer.offer.find("a=fingerprint:sha-256 ").unwrap() + "a=fingerprint:sha-256 ".len();
    let other = if &rig.viewer.offer[at..=at] == "0" { "1" } else { "0" };
    let mut offer = rig.viewer.offer.clone();
    offer.replace_range(at..=at, other);
    let mut viewer = Viewer::new(now);
    std::mem::swap(&mut viewer, &mut rig.viewer);
    let (peer, answer) = Peer::answer(config(), &offer, &[Codec::H264], now).unwrap();
    rig.mux.insert(ID, "gateway".into(), peer, now);
    rig.viewer = viewer;
    let _ = rig.viewer.pc.set_remote_description(now, RTCSessionDescription::answer(answer).unwrap());
    rig.events.clear();
    let deadline = rig.now + Duration::from_secs(60);
    while rig.now < deadline && !rig.events.iter().any(|e| matches!(e, PeerEvent::Failed(_))) {
        rig.send(true, 1_000);
        rig.step();
        assert_eq!(rig.media, 0, "media for a stranger");
    }
    let heard =
        |e: &PeerEvent| matches!(e, PeerEvent::Connected | PeerEvent::ControlOpen | PeerEvent::Input(_));
    assert!(!rig.events.iter().any(heard), "{:?}", rig.events);
    assert!(rig.events.iter().any(|e| matches!(e, PeerEvent::Failed(_))), "{:?}", rig.events);
    assert!(rig.events.iter().any(|e| matches!(e, PeerEvent::Path(_))), "ICE worked: {:?}", rig.events);
    assert!(rig.viewer.received.is_empty());
}

/// What arrives at the gateway while `f` runs, and until nothing moves any more.
fn captured(rig: &mut Rig, f: impl FnOnce(&mut Rig)) -> Vec<Vec<u8>> {
    let before = rig.to_gateway.len();
    f(rig);
    rig.step();
    rig.to_gateway[before..].iter().filter(|d| d[0] >= 20).cloned().collect()
}

#[test]
fn what_was_heard_once_is_not_heard_again() {
    let mut rig = Rig::connected();
    alive(&mut rig);
    rig.events.clear();
    let now = rig.now;
    let ssrc = rig.viewer.received[0].header.ssrc;
    let sent = captured(&mut rig, |rig| {
        let frame = BytesMut::from(&[8, 0, 0, 0, 1][..]);
        rig.viewer.pc.data_channel(rig.viewer.control).unwrap().send(now, frame).unwrap();
        let pli = PictureLossIndication { sender_ssrc: 1, media_ssrc: ssrc };
        for id in rig.viewer.pc.get_receivers().collect::<Vec<_>>() {
            if let Some(mut receiver) = rig.viewer.pc.rtp_receiver(id) {
                let _ = receiver.write_rtcp(now, vec![Box::new(pli.clone())]);
            }
        }
    });
    let heard = |rig: &Rig| {
        let count = |kind: fn(&PeerEvent) -> bool| rig.events.iter().filter(|e| kind(e)).count();
        (count(|e| matches!(e, PeerEvent::Input(_))), count(|e| matches!(e, PeerEvent::KeyframeRequest)))
    };
    let once = heard(&rig);
    assert!(once.0 == 1 && once.1 >= 1, "{:?}", rig.events);
    for _ in 0..50 {
        sent.iter().for_each(|datagram| rig.deliver(datagram));
        rig.step();
    }
    assert_eq!(heard(&rig), once, "replayed");
    // Damaged, it is not heard at all, and ends nothing.
    for datagram in &sent {
        let mut damaged = datagram.clone();
        *damaged.last_mut().unwrap() ^= 1;
        rig.deliver(&damaged);
    }
    rig.step();
    assert_eq!(heard(&rig), once);
    alive(&mut rig);
}

#[test]
fn random_srtp_of_random_sources_is_bounded_and_ends_nobody() {
    let mut rig = Rig::connected();
    let before = rig.mux.refused().excess;
    for n in 0_u32..10_000 {
        let source = n.wrapping_mul(0x9e37_79b9).to_be_bytes();
        let kind = if n % 2 == 0 { 96 } else { 201 };
        rig.deliver(&[&[0x80, kind, 0, 7][..], &source, &[n as u8; 40]].concat());
    }
    // RTP is nobody's business yet, RTCP sources are counted, and all of it has a rate.
    assert!(rig.mux.refused().excess - before >= 10_000 - 64, "{:?}", rig.mux.refused());
    rig.now += Duration::from_secs(1);
    alive(&mut rig);
}

#[test]
fn turn_where_ice_is_expected_is_not_answered() {
    let mut rig = Rig::connected();
    let allocate = [&[0, 3, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
    let channel = [0x40, 0, 0, 1, 7];
    for inner in [&allocate[..], &channel] {
        let before = rig.mux.refused().unknown;
        rig.mux.handle_stream(rig.now, connection(3), inner);
        assert_eq!(rig.mux.refused().unknown, before + 1);
        assert!(rig.mux.stage().is_empty(), "an answer");
    }
}

#[test]
fn a_silent_viewer_is_paused_after_5_s_and_ended_after_30() {
    let mut rig = Rig::connected();
    rig.events.clear();
    // Its network is gone: nothing comes, nothing arrives.
    rig.over = Some(connection(9));
    rig.viewer = Viewer::new(rig.now);
    let gone = rig.now;
    let mut seen = Vec::new();
    while !matches!(seen.last(), Some((_, true))) {
        assert!(rig.now < gone + Duration::from_secs(60), "{seen:?}");
        rig.step();
        for event in rig.events.drain(..) {
            match event {
                PeerEvent::Disconnected => seen.push((rig.now - gone, false)),
                PeerEvent::Failed(_) => seen.push((rig.now - gone, true)),
                other => panic!("{other:?}"),
            }
        }
    }
    let [(paused, false), (ended, true)] = seen[..] else { panic!("{seen:?}") };
    let within =
        |at: Duration, from: u64| at >= Duration::from_secs(from - 1) && at <= Duration::from_secs(from + 1);
    assert!(within(paused, 5) && within(ended, 30), "{seen:?}");
}

/// RFC 5769 §2.1: a request of user `evtj:h6vY` with password `VOkJxbRl1RmTxUk/WvJxBt`.
const RFC_5769: &str = "000100582112a442b7e7a701bc34d686fa87dfae\
    802200105354554e207465737420636c69656e74\
    002400046e0001ff80290008932ff9b151263b36\
    000600096576746a3a6836765920202000080014\
    9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf";

#[test]
fn the_sample_request_of_rfc_5769_is_a_check_and_no_damaged_one_is() {
    let text = RFC_5769;
    let sample: Vec<u8> =
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect();
    let mut rig = Rig::new();
    let config = PeerConfig { ufrag: "evtj".into(), password: "VOkJxbRl1RmTxUk/WvJxBt".into(), ..config() };
    let (peer, _) = Peer::answer(config, &rig.viewer.offer, &[Codec::H264], rig.now).unwrap();
    rig.mux.insert(ID, "evtj".into(), peer, rig.now);
    let heard = |rig: &mut Rig, bytes: &[u8]| {
        rig.mux.handle_datagram(rig.now, at(GATEWAY), at(STRANGER), bytes);
        let before = rig.mux.refused().unverified;
        rig.mux.handle_datagram(rig.now, at(GATEWAY), at(STRANGER), &[22, 254, 253, 0]);
        rig.mux.refused().unverified == before
    };
    // All that the signature covers, and itself; then the fingerprint.
    for i in 0..sample.len() - 8 {
        let mut damaged = sample.clone();
        damaged[i] ^= 1;
        assert!(!heard(&mut rig, &damaged), "byte {i}");
        assert!(!heard(&mut rig, &sample[..i]), "cut at {i}");
    }
    assert!(heard(&mut rig, &sample));
}
