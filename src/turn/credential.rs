//! PURE. Who may allocate: credentials that carry their own expiry, and nonces that nobody has to remember.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rtc::crypto::{CryptoError, HashAlgorithm, HmacAlgorithm, RTCCryptoProvider};

use super::server::{Client, Transport};

/// Realm of the long-term credentials (RFC 8489 §9.2).
pub const REALM: &str = "deskgate";
/// A nonce older than this is stale: "at least once every hour" (RFC 8656 §5).
pub const NONCE_LIFE_S: u64 = 3_600;
const SHA1_BYTES: usize = 20;
/// Bytes of a nonce's signature.
const TAG_BYTES: usize = 10;

/// A user name and its password, as `RTCIceServer` takes them.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `expiry:viewer`, the expiry in seconds since the Unix epoch.
    pub username: String,
    /// HMAC-SHA1 of the name, in base64: the TURN REST convention.
    pub password: String,
}

/// What a user name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// Seconds since the Unix epoch.
    pub expires: u64,
    /// Whose it is.
    pub viewer: u32,
}

impl User {
    /// Reads `expiry:viewer`; nothing else is a user here.
    pub fn parse(username: &str) -> Option<Self> {
        let (expires, viewer) = username.split_once(':')?;
        Some(Self { expires: expires.parse().ok()?, viewer: viewer.parse().ok()? })
    }
}

/// What a nonce turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Ours, for this client, and young enough.
    Fresh,
    /// Anything else: the client asks again with a new one.
    Stale,
}

/// The keys behind both.
pub struct Keys {
    secret: Vec<u8>,
    crypto: Arc<dyn RTCCryptoProvider>,
}

impl Keys {
    /// Keys made from `secret`, which must be random or derived from something random.
    pub fn new(secret: Vec<u8>, crypto: Arc<dyn RTCCryptoProvider>) -> Self {
        Self { secret, crypto }
    }

    /// The provider, for message integrity.
    pub(super) fn crypto(&self) -> &Arc<dyn RTCCryptoProvider> {
        &self.crypto
    }

    fn hmac(&self, parts: &[&[u8]]) -> Result<[u8; SHA1_BYTES], CryptoError> {
        let mut tag = [0; SHA1_BYTES];
        self.crypto.crypto().new_hmac(HmacAlgorithm::Sha1, &self.secret)?.sign(parts, &mut tag)?;
        Ok(tag)
    }

    /// Credentials for a viewer, good for new allocations until `expires` (seconds since the Unix epoch).
    ///
    /// # Errors
    /// When the provider has no HMAC-SHA1.
    pub fn mint(&self, user: User) -> Result<Credentials, CryptoError> {
        let username = format!("{}:{}", user.expires, user.viewer);
        let password = self.password(&username)?;
        Ok(Credentials { username, password })
    }

    fn password(&self, username: &str) -> Result<String, CryptoError> {
        Ok(STANDARD.encode(self.hmac(&[username.as_bytes()])?))
    }

    /// The key of message integrity for this user name (RFC 8489 §9.2.2).
    pub(super) fn integrity_key(&self, username: &str) -> Result<Vec<u8>, CryptoError> {
        let text = format!("{username}:{REALM}:{}", self.password(username)?);
        self.crypto.crypto().hash(HashAlgorithm::Md5, text.as_bytes())
    }

    /// A nonce for `client`. It says when it was made and is signed together with the client's address: a flood of
    /// requests leaves nothing behind.
    pub(super) fn nonce(&self, client: Client, unix: u64) -> Result<String, CryptoError> {
        let tag = self.hmac(&[b"nonce", &unix.to_be_bytes(), describe(client).as_bytes()])?;
        Ok(format!("{unix:016x}{}", hex(&tag[..TAG_BYTES])))
    }

    pub(super) fn freshness(&self, nonce: &str, client: Client, unix: u64) -> Freshness {
        let made = nonce.get(..16).and_then(|time| u64::from_str_radix(time, 16).ok());
        let age = made.and_then(|made| Some((made, unix.checked_sub(made)?)));
        match age {
            // Not a secret but a tag: it is compared as a whole, and a client learns nothing but "stale".
            Some((made, age))
                if age <= NONCE_LIFE_S && self.nonce(client, made).is_ok_and(|n| n == nonce) =>
            {
                Freshness::Fresh
            }
            _ => Freshness::Stale,
        }
    }
}

fn describe(client: Client) -> String {
    match client.transport {
        Transport::Udp => format!("{}", client.remote),
        Transport::Tcp(id) => format!("tcp {id} {}", client.remote),
        Transport::Tls(id) => format!("tls {id} {}", client.remote),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
