//! PURE. The keys that one viewer's media is encrypted with.
//!
//! `rtc` 0.21 hands out neither what its DTLS exports (RFC 5764 §4.2) nor the SRTP context that it makes of that. All its
//! cryptography goes through a provider that its user may choose, though. This one lets another provider do the work and
//! keeps what the first derivation of SRTP keys begins with (RFC 3711 §4.3.1), which is that of our own direction.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rtc::crypto::{
    ActiveKeyExchange, AeadAlgorithm, AeadCipher, BlockCipherAlgorithm, CbcAlgorithm, CbcCipher,
    CryptoAlgorithm, CryptoError, HashAlgorithm, HmacAlgorithm, KeyExchangeAlgorithm, Mac, PublicKey,
    RTCCrypto, RTCCryptoProvider, RTCRandom, SecretVec, SignatureScheme, SigningKey, StreamCipher,
    StreamCipherAlgorithm,
};
use rtc::dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use thiserror::Error;

use super::srtp::{Master, Profile, Srtp};

/// What may be negotiated. Of those with a cipher in common one only, so that the cipher tells which it was; the 32-bit
/// tag that this leaves out is the weaker one, and no browser needs it (RFC 8827 §6.5).
pub(super) const PROFILES: [SrtpProtectionProfile; 3] = [
    SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
    SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm,
    SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
];

#[derive(Default)]
enum State {
    #[default]
    Waiting,
    Found(Master),
    Complete(Master, Profile),
    Taken,
}

/// Why there is nothing to encrypt with.
#[derive(Debug, Error)]
pub(super) enum NoKeys {
    #[error("the DTLS handshake derived no keys for SRTP")]
    Underived,
    #[error(transparent)]
    Refused(#[from] CryptoError),
}

/// Where the keys are found once DTLS has made them.
#[derive(Clone)]
pub(super) struct SrtpKeys {
    provider: Arc<dyn RTCCryptoProvider>,
    state: Arc<Mutex<State>>,
}

impl SrtpKeys {
    /// Of one peer, whose cryptography is another provider's.
    pub fn new(provider: Arc<dyn RTCCryptoProvider>) -> Self {
        Self { provider, state: Arc::default() }
    }

    /// The provider that the peer is to use.
    pub fn listener(&self) -> Arc<dyn RTCCryptoProvider> {
        Arc::new(Listener(self.clone()))
    }

    /// What encrypts our own packets. The keys are given away once.
    ///
    /// # Errors
    /// Before DTLS has made keys, or when the provider refuses them.
    pub fn take(&self) -> Result<Srtp, NoKeys> {
        let mut state = self.state();
        let (master, profile) = match std::mem::replace(&mut *state, State::Taken) {
            State::Complete(master, profile) => (master, profile),
            // Too early is not for ever.
            other => {
                *state = other;
                return Err(NoKeys::Underived);
            }
        };
        drop(state);
        Ok(Srtp::new(self.provider.crypto(), profile, &master)?)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing in `rtc` but the derivation of SRTP keys encrypts single blocks, and that begins with the label 0.
    fn derives(&self, key: &[u8], block: &[u8]) {
        let mut state = self.state();
        if let (State::Waiting, Ok(salt)) = (&*state, block.try_into()) {
            *state = State::Found(Master { key: SecretVec::new(key.to_vec()), salt });
        }
    }

    /// The first cipher that is made after that is the one that the profile is known by.
    fn makes(&self, profile: Profile) {
        let mut state = self.state();
        *state = match std::mem::take(&mut *state) {
            State::Found(master) => State::Complete(master, profile),
            other => other,
        };
    }
}

struct Listener(SrtpKeys);

impl Listener {
    fn inner(&self) -> &dyn RTCCrypto {
        self.0.provider.crypto()
    }
}

impl RTCCryptoProvider for Listener {
    fn name(&self) -> &'static str {
        self.0.provider.name()
    }

    fn crypto(&self) -> &dyn RTCCrypto {
        self
    }

    fn random(&self) -> &dyn RTCRandom {
        self.0.provider.random()
    }
}

type Made<T> = Result<T, CryptoError>;

impl RTCCrypto for Listener {
    fn supports(&self, algorithm: CryptoAlgorithm) -> bool {
        self.inner().supports(algorithm)
    }

    fn hash(&self, algorithm: HashAlgorithm, data: &[u8]) -> Made<Vec<u8>> {
        self.inner().hash(algorithm, data)
    }

    fn block_encrypt(&self, algorithm: BlockCipherAlgorithm, key: &[u8], block: &mut [u8]) -> Made<()> {
        self.0.derives(key, block);
        self.inner().block_encrypt(algorithm, key, block)
    }

    fn new_hmac(&self, algorithm: HmacAlgorithm, key: &[u8]) -> Made<Box<dyn Mac>> {
        self.inner().new_hmac(algorithm, key)
    }

    fn new_stream_cipher(&self, algorithm: StreamCipherAlgorithm, key: &[u8]) -> Made<Box<dyn StreamCipher>> {
        if algorithm == StreamCipherAlgorithm::Aes128Ctr {
            self.0.makes(Profile::CmSha1);
        }
        self.inner().new_stream_cipher(algorithm, key)
    }

    fn new_aead(&self, algorithm: AeadAlgorithm, key: &[u8]) -> Made<Box<dyn AeadCipher>> {
        match algorithm {
            AeadAlgorithm::Aes128Gcm => self.0.makes(Profile::Gcm128),
            AeadAlgorithm::Aes256Gcm => self.0.makes(Profile::Gcm256),
            _ => {}
        }
        self.inner().new_aead(algorithm, key)
    }

    fn new_cbc(&self, algorithm: CbcAlgorithm, key: &[u8]) -> Made<Box<dyn CbcCipher>> {
        self.inner().new_cbc(algorithm, key)
    }

    fn start_key_exchange(&self, algorithm: KeyExchangeAlgorithm) -> Made<Box<dyn ActiveKeyExchange>> {
        self.inner().start_key_exchange(algorithm)
    }

    fn generate_signing_key(&self, scheme: SignatureScheme) -> Made<Arc<dyn SigningKey>> {
        self.inner().generate_signing_key(scheme)
    }

    fn import_signing_key(&self, scheme: SignatureScheme, pkcs8_der: &[u8]) -> Made<Arc<dyn SigningKey>> {
        self.inner().import_signing_key(scheme, pkcs8_der)
    }

    fn verify_signature(
        &self,
        scheme: SignatureScheme,
        public_key: PublicKey<'_>,
        message: &[u8],
        signature: &[u8],
    ) -> Made<()> {
        self.inner().verify_signature(scheme, public_key, message, signature)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use rtc::srtp::context::Context;

    use super::super::srtp::tests::PROFILES;
    use super::*;

    #[test]
    fn our_own_direction_is_found_for_every_profile() {
        for (_, profile) in PROFILES {
            let keys = SrtpKeys::new(rtc::crypto::default_provider().unwrap());
            let provider = keys.listener();
            // DTLS's own cipher comes first.
            provider.crypto().new_aead(AeadAlgorithm::Aes128Gcm, &[9; 16]).unwrap();
            let (ours, salt) = (vec![1; profile.key_len()], vec![2; profile.salt_len()]);
            let (theirs, other) = (vec![3; profile.key_len()], vec![4; profile.salt_len()]);
            // As `rtc` makes them when DTLS is done: ours, then the other side's.
            let [mut local, _] = [(&ours, &salt), (&theirs, &other)]
                .map(|(key, salt)| Context::new(key, salt, profile, None, None, provider.crypto()).unwrap());
            let packet = [0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 1, 2, 3];
            let mut bytes = BytesMut::from(&packet[..]);
            keys.take().unwrap().protect(&mut bytes, 0, 12, 9, 1).unwrap();
            assert_eq!(bytes, local.encrypt_rtp(&packet).unwrap(), "{profile:?}");
            assert!(keys.take().is_err(), "given away once");
        }
    }

    #[test]
    fn without_srtp_there_are_no_keys() {
        let keys = SrtpKeys::new(rtc::crypto::default_provider().unwrap());
        keys.listener().crypto().new_aead(AeadAlgorithm::Aes128Gcm, &[9; 16]).unwrap();
        assert!(keys.take().is_err());
    }
}
