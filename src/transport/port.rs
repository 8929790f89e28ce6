//! PURE. What a datagram on the one UDP port is, told by its first bytes (RFC 7983, RFC 8489).

/// STUN magic cookie (RFC 8489 §5).
const COOKIE: [u8; 4] = 0x2112_A442_u32.to_be_bytes();
const STUN_HEADER: usize = 20;
const ATTR_USERNAME: u16 = 0x0006;
const METHOD_BINDING: u16 = 0x0001;

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
    /// Any other well-formed STUN message, TURN methods included.
    OtherStun,
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
            None => Datagram::OtherStun,
        },
        (0x0100 | 0x0110, METHOD_BINDING) => {
            let mut transaction = [0; 12];
            transaction.copy_from_slice(&header[8..]);
            Datagram::IceResponse { transaction }
        }
        _ => Datagram::OtherStun,
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
    fn binding_without_username_and_turn_are_other_stun() {
        assert_eq!(classify(&stun(1, b"")), Datagram::OtherStun);
        assert_eq!(classify(&stun(3, b"\x00\x06\x00\x04a:bc")), Datagram::OtherStun);
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
        assert_eq!(classify(&[0x40]), Datagram::Unknown);
        assert_eq!(classify(&[128]), Datagram::Media);
        assert_eq!(classify(&[192]), Datagram::Unknown);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), attrs in proptest::collection::vec(any::<u8>(), 0..64)) {
            classify(&bytes);
            classify(&stun(1, &attrs));
            request_transaction(&bytes);
        }
    }
}
