//! The one port: what a datagram and a connection are taken for, beside what RFC 7983 and `rtc` take them for.

use deskgate::transport::framing::{Framing, FramingError};
use deskgate::transport::port::{Datagram, SNIFF_BYTES, Sniffed, classify, request_transaction, sniff};
use rtc::stun::attributes::ATTR_USERNAME;
use rtc::stun::message::BINDING_REQUEST;

use super::stun;

pub fn run(data: &[u8]) {
    datagram(data);
    connection(data);
    if let Some(message) = stun::repaired(data) {
        datagram(&message);
        connection(&message);
        connection(&[&(message.len() as u16).to_be_bytes()[..], &message].concat());
    }
}

fn datagram(bytes: &[u8]) {
    let kind = classify(bytes);
    match (bytes.first(), kind) {
        (Some(0..=3), Datagram::IceRequest { .. } | Datagram::IceResponse { .. } | Datagram::Turn) => {
            assert_eq!((&bytes[4..8], bytes.len() % 4), (&stun::COOKIE[..], 0));
        }
        (Some(20..=63 | 128..=191), Datagram::Media) | (Some(64..=127), Datagram::Turn) => {}
        (_, Datagram::Unknown) => {}
        (first, kind) => panic!("{first:?} is no {kind:?} (RFC 7983 §7)"),
    }
    if let Datagram::IceResponse { transaction } = kind {
        assert_eq!(stun::transaction(bytes), Some(transaction));
    }
    if let Datagram::IceRequest { .. } = kind {
        assert_eq!(stun::transaction(bytes), request_transaction(bytes));
    }
    // `rtc` does not look at the two bits that ChannelData has.
    let Some(message) = stun::decode(bytes).filter(|_| bytes[0] >> 6 == 0) else { return };
    let username = message.get(ATTR_USERNAME).ok().and_then(|name| String::from_utf8(name).ok());
    let theirs = username.as_deref().and_then(|name| name.split_once(':')).map(|(ufrag, _)| ufrag);
    let ours = if let Datagram::IceRequest { ufrag } = kind { Some(ufrag) } else { None };
    if message.typ == BINDING_REQUEST && kind != Datagram::Unknown {
        assert_eq!(ours, theirs, "the peer that is looked for, and the one that the check is for");
    }
}

fn connection(bytes: &[u8]) {
    let mut told = None;
    for end in 0..=bytes.len().min(SNIFF_BYTES + 2) {
        let now = sniff(&bytes[..end]);
        assert!(told.is_none() || told == now, "{told:?}, and after {end} bytes {now:?}");
        told = now;
    }
    assert!(told.is_some() || bytes.len() < SNIFF_BYTES);
    match told {
        Some(Sniffed::Turn) => assert_ne!(Framing::Turn.next(bytes), Err(FramingError::Unknown)),
        Some(Sniffed::IceTcp) => assert_eq!(bytes[6..10], stun::COOKIE),
        _ => {}
    }
}
