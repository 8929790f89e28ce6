//! STUN as the targets read and write it, apart from the code under test where that matters.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rtc::stun::message::Message;

pub const COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
pub const HEADER: usize = 20;
const XOR_PEER_ADDRESS: u16 = 0x0012;

/// `bytes` with the length and the cookie that make a message of it, its attributes cut to whole words.
pub fn repaired(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut message = bytes.get(..HEADER + (bytes.len().checked_sub(HEADER)? & !3))?.to_vec();
    let length = u16::try_from(message.len() - HEADER).ok()?;
    message[0] &= 0x3F;
    message[2..4].copy_from_slice(&length.to_be_bytes());
    message[4..8].copy_from_slice(&COOKIE);
    Some(message)
}

/// What `rtc` makes of a message.
pub fn decode(bytes: &[u8]) -> Option<Message> {
    let mut message = Message::new();
    message.unmarshal_binary(bytes).ok()?;
    Some(message)
}

/// Transaction id.
pub fn transaction(message: &[u8]) -> Option<[u8; 12]> {
    message.get(8..HEADER)?.try_into().ok()
}

/// Kind and value of every attribute, as far as they are whole.
pub fn attributes(message: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = message.get(HEADER..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (&[a, b, c, d], tail) = rest.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes([c, d]));
        let value = tail.get(..length)?;
        rest = tail.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_be_bytes([a, b]), value))
    })
}

/// Every XOR-PEER-ADDRESS (RFC 8489 §14.2).
pub fn peers(message: &[u8]) -> Vec<SocketAddr> {
    let key = message.get(4..HEADER).unwrap_or_default();
    let addresses = attributes(message).filter(|(kind, _)| *kind == XOR_PEER_ADDRESS);
    addresses.filter_map(|(_, value)| address(value, key)).collect()
}

fn address(value: &[u8], key: &[u8]) -> Option<SocketAddr> {
    let (&[_, family, high, low], ip) = value.split_first_chunk()?;
    let plain: Vec<u8> = ip.iter().zip(key).map(|(byte, key)| byte ^ key).collect();
    let ip: IpAddr = match family {
        1 => Ipv4Addr::from(<[u8; 4]>::try_from(plain.get(..4)?).ok()?).into(),
        2 => Ipv6Addr::from(<[u8; 16]>::try_from(plain.get(..16)?).ok()?).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes([high ^ COOKIE[0], low ^ COOKIE[1]])))
}
