//! PURE. What comes in on the one port, told by its first bytes (RFC 7983, RFC 8489): each datagram, and each TCP
//! connection.

/// STUN magic cookie (RFC 8489 §5).
const COOKIE: [u8; 4] = 0x2112_A442_u32.to_be_bytes();
const STUN_HEADER: usize = 20;
const ATTR_USERNAME: u16 = 0x0006;
const METHOD_BINDING: u16 = 0x0001;
/// Allocate, Refresh, Send, CreatePermission, ChannelBind (RFC 8656 §17).
const METHODS_TURN: [u16; 5] = [0x0003, 0x0004, 0x0006, 0x0008, 0x0009];
/// First byte of a TLS handshake record (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 0x16;
/// Bytes after which every protocol of a TCP connection is told from the others.
pub const SNIFF_BYTES: usize = 10;

/// STUN transaction id (RFC 8489 §5).
pub type TransactionId = [u8; 12];

/// Where a datagram belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datagram<'a> {
    /// Binding request with USERNAME `ours:theirs`: to the peer with our ufrag, once its integrity holds.
    IceRequest {
        /// The part before the colon.
        ufrag: &'a str,
    },
    /// Binding success or error: to the peer that sent this transaction.
    IceResponse {
        /// Its id.
        transaction: TransactionId,
    },
    /// TURN, or somebody without a peer who asks for his address: to the TURN server.
    Turn,
    /// DTLS, SRTP or SRTCP: only from a source that passed an authenticated check.
    Media,
    /// Dropped without an answer.
    Unknown,
}

/// Classifies one datagram.
pub fn classify(bytes: &[u8]) -> Datagram<'_> {
    match bytes.first() {
        Some(0..=3) => classify_stun(bytes),
        Some(20..=63 | 128..=191) => Datagram::Media,
        // Channel numbers: RFC 8656 §12 ends at 0x4F, RFC 5766 §11 at 0x7F.
        Some(0x40..=0x7F) => Datagram::Turn,
        _ => Datagram::Unknown,
    }
}

fn classify_stun(bytes: &[u8]) -> Datagram<'_> {
    let Some(header) = bytes.first_chunk::<STUN_HEADER>() else { return Datagram::Unknown };
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[4..8] != COOKIE || !length.is_multiple_of(4) || bytes.len() != STUN_HEADER + length {
        return Datagram::Unknown;
    }
    let kind = u16::from_be_bytes([header[0], header[1]]);
    // The class sits in bits 4 and 8, the method in the rest (RFC 8489 §5).
    let (class, method) = (kind & 0x0110, kind & !0x0110);
    match (class, method) {
        (0x0000, METHOD_BINDING) => match username(&bytes[STUN_HEADER..]).and_then(|u| u.split_once(':')) {
            Some((ufrag, _)) => Datagram::IceRequest { ufrag },
            None => Datagram::Turn,
        },
        (0x0100 | 0x0110, METHOD_BINDING) => {
            let mut transaction = [0; 12];
            transaction.copy_from_slice(&header[8..]);
            Datagram::IceResponse { transaction }
        }
        (0x0000 | 0x0010, method) if METHODS_TURN.contains(&method) => Datagram::Turn,
        _ => Datagram::Unknown,
    }
}

/// What a TCP connection turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sniffed {
    /// HTTP/1.1.
    Http,
    /// TLS; what is inside is to be sniffed again.
    Tls,
    /// STUN and TURN (RFC 8656 §3.1).
    Turn,
    /// ICE-TCP (RFC 6544) in RFC 4571 frames.
    IceTcp,
    /// None of these.
    Unknown,
}

/// Classifies a connection by the first bytes that came; nothing if more of them are needed.
pub fn sniff(bytes: &[u8]) -> Option<Sniffed> {
    match *bytes.first()? {
        TLS_HANDSHAKE => return Some(Sniffed::Tls),
        b'A'..=b'Z' => return Some(Sniffed::Http),
        // STUN's type and the length of an ICE message that fits into a packet are both small.
        0..=7 => {}
        _ => return Some(Sniffed::Unknown),
    }
    let cookie_at = |from: usize| bytes.get(from..from + COOKIE.len()).map(|found| found == COOKIE);
    match (cookie_at(4), cookie_at(6)) {
        (Some(true), _) => Some(Sniffed::Turn),
        (_, Some(true)) => Some(Sniffed::IceTcp),
        (_, Some(false)) => Some(Sniffed::Unknown),
        (_, None) => None,
    }
}

fn username(mut attributes: &[u8]) -> Option<&str> {
    while let Some((head, rest)) = attributes.split_first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = rest.get(..length)?;
        if u16::from_be_bytes([head[0], head[1]]) == ATTR_USERNAME {
            return str::from_utf8(value).ok();
        }
        // Values are padded to four bytes (RFC 8489 §14).
        attributes = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// The transaction id of an outgoing Binding request, to route its response by.
pub fn request_transaction(bytes: &[u8]) -> Option<TransactionId> {
    let header = bytes.first_chunk::<STUN_HEADER>()?;
    let is_request = header[..2] == METHOD_BINDING.to_be_bytes() && header[4..8] == COOKIE;
    is_request.then(|| {
        let mut transaction = [0; 12];
        transaction.copy_from_slice(&header[8..]);
        transaction
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stun(kind: u16, attributes: &[u8]) -> Vec<u8> {
        let mut out = kind.to_be_bytes().to_vec();
        out.extend((attributes.len() as u16).to_be_bytes());
        out.extend(COOKIE);
        out.extend([7; 12]);
        out.extend(attributes);
        out
    }

    #[test]
    fn binding_request_is_routed_by_our_ufrag() {
        let bytes = stun(1, b"\x00\x06\x00\x09ours:them\0\0\0");
        assert_eq!(classify(&bytes), Datagram::IceRequest { ufrag: "ours" });
        assert_eq!(request_transaction(&bytes), Some([7; 12]));
    }

    #[test]
    fn username_behind_another_attribute_is_found() {
        let bytes = stun(1, b"\x80\x22\x00\x03abc\0\x00\x06\x00\x04a:bc");
        assert_eq!(classify(&bytes), Datagram::IceRequest { ufrag: "a" });
    }

    #[test]
    fn binding_without_username_and_turn_go_to_the_turn_server() {
        assert_eq!(classify(&stun(1, b"")), Datagram::Turn);
        for kind in [0x0003, 0x0004, 0x0016, 0x0008, 0x0009] {
            assert_eq!(classify(&stun(kind, b"\x00\x06\x00\x04a:bc")), Datagram::Turn);
        }
        for kind in [0x0002, 0x000a, 0x0017, 0x0011, 0x0103, 0x0113] {
            assert_eq!(classify(&stun(kind, b"\x00\x06\x00\x04a:bc")), Datagram::Unknown, "{kind:#x}");
        }
    }

    #[test]
    fn a_connection_is_told_as_soon_as_it_can_be() {
        let turn = stun(3, b"");
        let ice = [&[0, 20][..], &stun(1, b"")].concat();
        let cases: [(&[u8], Sniffed, usize); 6] = [
            (b"GET / HTTP/1.1\r\n", Sniffed::Http, 1),
            (b"\x16\x03\x01\x02\x00\x01", Sniffed::Tls, 1),
            (&turn, Sniffed::Turn, 8),
            (&ice, Sniffed::IceTcp, 10),
            (b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09", Sniffed::Unknown, 10),
            (b"get /", Sniffed::Unknown, 1),
        ];
        for (bytes, expected, needed) in cases {
            for length in 0..=bytes.len() {
                let told = (length >= needed).then_some(expected);
                assert_eq!(sniff(&bytes[..length]), told, "{expected:?} at {length}");
            }
            assert!(needed <= SNIFF_BYTES);
        }
    }

    #[test]
    fn responses_are_routed_by_transaction() {
        for kind in [0x0101, 0x0111] {
            assert_eq!(classify(&stun(kind, b"")), Datagram::IceResponse { transaction: [7; 12] });
        }
    }

    #[test]
    fn wrong_length_or_cookie_is_unknown() {
        let mut bytes = stun(1, b"");
        bytes.push(0);
        assert_eq!(classify(&bytes), Datagram::Unknown);
        let mut bytes = stun(1, b"");
        bytes[4] ^= 1;
        assert_eq!(classify(&bytes), Datagram::Unknown);
    }

    #[test]
    fn ranges_of_rfc_7983() {
        for (first, expected) in
            [(4, Datagram::Unknown), (19, Datagram::Unknown), (20, Datagram::Media), (63, Datagram::Media)]
        {
            assert_eq!(classify(&[first, 0, 0]), expected);
        }
        assert_eq!(classify(&[0x40]), Datagram::Turn);
        assert_eq!(classify(&[0x4f, 1, 2]), Datagram::Turn);
        assert_eq!(classify(&[0x7f]), Datagram::Turn);
        assert_eq!(classify(&[128]), Datagram::Media);
        assert_eq!(classify(&[192]), Datagram::Unknown);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), attrs in proptest::collection::vec(any::<u8>(), 0..64)) {
            classify(&bytes);
            classify(&stun(1, &attrs));
            request_transaction(&bytes);
            sniff(&bytes);
        }
    }
}
