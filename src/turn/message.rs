//! PURE. Requests as they may be believed, and answers to them, over the codec of `rtc` (RFC 8489, RFC 8656).

use std::net::SocketAddr;
use std::time::Duration;

use rtc::crypto::RTCCrypto;
use rtc::shared::error::Result;
use rtc::stun::attributes::{
    ATTR_CHANNEL_NUMBER, ATTR_DATA, ATTR_DONT_FRAGMENT, ATTR_EVEN_PORT, ATTR_FINGERPRINT, ATTR_LIFETIME,
    ATTR_MESSAGE_INTEGRITY, ATTR_MESSAGE_INTEGRITY_SHA256, ATTR_NONCE, ATTR_PASSWORD_ALGORITHM, ATTR_REALM,
    ATTR_REQUESTED_ADDRESS_FAMILY, ATTR_REQUESTED_TRANSPORT, ATTR_RESERVATION_TOKEN, ATTR_SOFTWARE,
    ATTR_USERNAME, ATTR_XOR_PEER_ADDRESS, AttrType, RawAttribute,
};
use rtc::stun::error_code::{ErrorCode, ErrorCodeAttribute};
use rtc::stun::fingerprint::FINGERPRINT;
use rtc::stun::integrity::MessageIntegrity;
use rtc::stun::message::{
    CLASS_ERROR_RESPONSE, CLASS_SUCCESS_RESPONSE, Getter, Message, MessageClass, MessageType, Setter,
};
use rtc::stun::textattrs::TextAttribute;
use rtc::turn::proto::peeraddr::PeerAddress;

/// Attributes whose comprehension is required (RFC 8489 §14) and that are comprehended.
const KNOWN: [AttrType; 15] = [
    ATTR_USERNAME,
    ATTR_MESSAGE_INTEGRITY,
    ATTR_REALM,
    ATTR_NONCE,
    ATTR_LIFETIME,
    ATTR_XOR_PEER_ADDRESS,
    ATTR_DATA,
    ATTR_CHANNEL_NUMBER,
    ATTR_REQUESTED_TRANSPORT,
    ATTR_REQUESTED_ADDRESS_FAMILY,
    ATTR_EVEN_PORT,
    ATTR_RESERVATION_TOKEN,
    // Nothing is fragmented where nothing is sent.
    ATTR_DONT_FRAGMENT,
    ATTR_MESSAGE_INTEGRITY_SHA256,
    ATTR_PASSWORD_ALGORITHM,
];
/// Attributes from here on are optional.
const OPTIONAL: u16 = 0x8000;
/// Addresses of both families, with their four bytes before (RFC 8489 §14.2).
const ADDRESS_BYTES: [usize; 2] = [8, 20];
const SOFTWARE: &str = "deskgate";

/// A message that a client sent.
pub struct Request {
    message: Message,
}

impl Request {
    /// Decodes a whole message; nothing if it is none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut message = Message::new();
        message.unmarshal_binary(bytes).ok()?;
        Some(Self { message })
    }

    /// Method and class.
    pub fn kind(&self) -> MessageType {
        self.message.typ
    }

    /// Pairs it with its answer.
    pub fn transaction(&self) -> rtc::stun::message::TransactionId {
        self.message.transaction_id
    }

    /// Attributes that count: what follows the integrity was not signed (RFC 8489 §14.5).
    fn attributes(&self) -> impl Iterator<Item = &RawAttribute> {
        let all = &self.message.attributes.0;
        let signed = all.iter().position(|a| a.typ == ATTR_MESSAGE_INTEGRITY).unwrap_or(all.len());
        all[..signed].iter()
    }

    fn value(&self, kind: AttrType) -> Option<&[u8]> {
        self.attributes().find(|a| a.typ == kind).map(|a| a.value.as_slice())
    }

    fn text(&self, kind: AttrType) -> Option<&str> {
        str::from_utf8(self.value(kind)?).ok()
    }

    /// Whether an attribute is there.
    pub fn has(&self, kind: AttrType) -> bool {
        self.value(kind).is_some()
    }

    /// Attributes that must be understood and are not: 420.
    pub fn unknown(&self) -> Vec<AttrType> {
        let attributes = self.attributes().map(|a| a.typ);
        attributes.filter(|kind| kind.value() < OPTIONAL && !KNOWN.contains(kind)).collect()
    }

    /// True if it claims to be signed.
    pub fn is_signed(&self) -> bool {
        self.message.contains(ATTR_MESSAGE_INTEGRITY)
    }

    /// Whether the signature was made with `key`.
    pub fn is_signed_with(&mut self, key: &[u8], crypto: &dyn RTCCrypto) -> bool {
        MessageIntegrity::check(&mut self.message, key, crypto).is_ok()
    }

    /// USERNAME.
    pub fn username(&self) -> Option<&str> {
        self.text(ATTR_USERNAME)
    }

    /// REALM.
    pub fn realm(&self) -> Option<&str> {
        self.text(ATTR_REALM)
    }

    /// NONCE.
    pub fn nonce(&self) -> Option<&str> {
        self.text(ATTR_NONCE)
    }

    /// LIFETIME.
    pub fn lifetime(&self) -> Option<Duration> {
        let seconds = self.value(ATTR_LIFETIME)?.try_into().ok()?;
        Some(Duration::from_secs(u32::from_be_bytes(seconds).into()))
    }

    /// First byte of an attribute of four: REQUESTED-TRANSPORT, REQUESTED-ADDRESS-FAMILY.
    pub fn byte(&self, kind: AttrType) -> Option<u8> {
        let [first, _, _, _]: [u8; 4] = self.value(kind)?.try_into().ok()?;
        Some(first)
    }

    /// The R bit of EVEN-PORT: one more port is to be kept (RFC 8656 §18.7).
    pub fn reserves(&self) -> bool {
        self.value(ATTR_EVEN_PORT).is_some_and(|value| value.first().is_some_and(|flags| flags & 0x80 != 0))
    }

    /// CHANNEL-NUMBER.
    pub fn channel(&self) -> Option<u16> {
        let [high, low, _, _]: [u8; 4] = self.value(ATTR_CHANNEL_NUMBER)?.try_into().ok()?;
        Some(u16::from_be_bytes([high, low]))
    }

    /// DATA.
    pub fn data(&self) -> Option<&[u8]> {
        self.value(ATTR_DATA)
    }

    /// Every XOR-PEER-ADDRESS; nothing if one is malformed.
    pub fn peers(&self) -> Option<Vec<SocketAddr>> {
        self.attributes().filter(|a| a.typ == ATTR_XOR_PEER_ADDRESS).map(|a| self.address(a)).collect()
    }

    fn address(&self, attribute: &RawAttribute) -> Option<SocketAddr> {
        if !ADDRESS_BYTES.contains(&attribute.value.len()) {
            return None;
        }
        // The codec reads the first attribute of a kind; there may be several.
        let mut alone = Message { transaction_id: self.message.transaction_id, ..Message::default() };
        alone.attributes.0.push(attribute.clone());
        let mut peer = PeerAddress::default();
        peer.get_from(&alone).ok()?;
        Some(SocketAddr::new(peer.ip, peer.port))
    }

    /// A success response; signed if there is a key.
    pub fn succeed(&self, with: &[&dyn Setter], key: Option<(&[u8], &dyn RTCCrypto)>) -> Option<Vec<u8>> {
        self.respond(CLASS_SUCCESS_RESPONSE, with, key)
    }

    /// An error response; signed if there is a key.
    pub fn refuse(
        &self,
        code: ErrorCode,
        reason: &str,
        with: &[&dyn Setter],
        key: Option<(&[u8], &dyn RTCCrypto)>,
    ) -> Option<Vec<u8>> {
        let error = ErrorCodeAttribute { code, reason: reason.as_bytes().to_vec() };
        let mut all: Vec<&dyn Setter> = vec![&error];
        all.extend_from_slice(with);
        self.respond(CLASS_ERROR_RESPONSE, &all, key)
    }

    fn respond(
        &self,
        class: MessageClass,
        with: &[&dyn Setter],
        key: Option<(&[u8], &dyn RTCCrypto)>,
    ) -> Option<Vec<u8>> {
        let write = || -> Result<Vec<u8>> {
            let mut answer = Message::new();
            answer.typ = MessageType::new(self.message.typ.method, class);
            answer.transaction_id = self.message.transaction_id;
            answer.write_header();
            for setter in with {
                setter.add_to(&mut answer)?;
            }
            TextAttribute::new(ATTR_SOFTWARE, SOFTWARE.to_owned()).add_to(&mut answer)?;
            if let Some((key, crypto)) = key {
                MessageIntegrity::new_raw_integrity_with_provider(key, crypto).add_to(&mut answer)?;
            }
            if self.message.contains(ATTR_FINGERPRINT) {
                FINGERPRINT.add_to(&mut answer)?;
            }
            Ok(answer.raw)
        };
        // What is written here is ours and fits: a failure would be a bug, and silence is an answer that UDP knows.
        write().inspect_err(|error| tracing::error!(%error, code = "turn-answer", "an answer was lost")).ok()
    }
}
