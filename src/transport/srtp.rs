//! PURE. Encryption of RTP packets in place, one direction of one viewer: RFC 3711 with AES-CM and HMAC-SHA1, RFC 7714
//! with AES-GCM.

use bytes::BytesMut;
use rtc::crypto::{
    AeadAlgorithm, AeadCipher, BlockCipherAlgorithm, CryptoError, HmacAlgorithm, Mac, RTCCrypto, SecretVec,
    StreamCipher, StreamCipherAlgorithm,
};

/// Authentication tag of AES-GCM (RFC 7714 §13.2).
const GCM_TAG: usize = 16;
/// That of HMAC-SHA1, and as much of it as is sent (RFC 3711 §5.2).
const SHA1: usize = 20;
const SHA1_TAG: usize = 10;
/// Labels of the keys that are derived (RFC 3711 §4.3.2).
const ENCRYPTION: u8 = 0;
const AUTHENTICATION: u8 = 1;
const SALT: u8 = 2;

/// How packets are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Profile {
    /// SRTP_AEAD_AES_128_GCM.
    Gcm128,
    /// SRTP_AEAD_AES_256_GCM.
    Gcm256,
    /// SRTP_AES128_CM_HMAC_SHA1_80.
    CmSha1,
}

/// A master key, and the block that its first derivation encrypts: the master salt, filled up with zeros.
pub(super) struct Master {
    pub key: SecretVec,
    pub salt: [u8; 16],
}

impl Master {
    /// AES-CM as a pseudo-random function (RFC 3711 §4.3.3, RFC 6188 §3), with a key derivation rate of 0.
    fn derive(&self, crypto: &dyn RTCCrypto, label: u8, length: usize) -> Result<SecretVec, CryptoError> {
        let algorithm = match self.key.len() {
            16 => BlockCipherAlgorithm::Aes128,
            _ => BlockCipherAlgorithm::Aes256,
        };
        let mut derived = Vec::with_capacity(length.next_multiple_of(16));
        for counter in 0..length.div_ceil(16) as u16 {
            let mut block = self.salt;
            block[7] ^= label;
            block[14..].copy_from_slice(&counter.to_be_bytes());
            crypto.block_encrypt(algorithm, self.key.as_ref(), &mut block)?;
            derived.extend(block);
        }
        derived.truncate(length);
        Ok(SecretVec::new(derived))
    }
}

enum Cipher {
    Gcm(Box<dyn AeadCipher>),
    Cm(Box<dyn StreamCipher>, Box<dyn Mac>),
}

/// See the module.
pub(super) struct Srtp {
    cipher: Cipher,
    salt: SecretVec,
}

impl Srtp {
    /// Derives the keys of a session.
    ///
    /// # Errors
    /// When the cryptographic provider lacks something.
    pub fn new(crypto: &dyn RTCCrypto, profile: Profile, master: &Master) -> Result<Self, CryptoError> {
        let key = master.derive(crypto, ENCRYPTION, master.key.len())?;
        let (cipher, salt) = match profile {
            Profile::Gcm128 => (Cipher::Gcm(crypto.new_aead(AeadAlgorithm::Aes128Gcm, key.as_ref())?), 12),
            Profile::Gcm256 => (Cipher::Gcm(crypto.new_aead(AeadAlgorithm::Aes256Gcm, key.as_ref())?), 12),
            Profile::CmSha1 => {
                let stream = crypto.new_stream_cipher(StreamCipherAlgorithm::Aes128Ctr, key.as_ref())?;
                let authentication = master.derive(crypto, AUTHENTICATION, SHA1)?;
                (Cipher::Cm(stream, crypto.new_hmac(HmacAlgorithm::Sha1, authentication.as_ref())?), 14)
            }
        };
        Ok(Self { cipher, salt: master.derive(crypto, SALT, salt)? })
    }

    /// Protects the RTP packet that lies in `bytes` from `start` on, with a header of so many bytes. `index`: its sequence
    /// number, continued past 16 bits.
    ///
    /// # Errors
    /// The cryptographic provider's, and when this key has protected as many packets as one may (RFC 3711 §9.2).
    pub fn protect(
        &mut self,
        bytes: &mut BytesMut,
        start: usize,
        header: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<(), CryptoError> {
        if index >> 48 != 0 {
            return Err(CryptoError::Provider("this key has protected 2^48 packets".to_owned()));
        }
        // RFC 7714 §8.1 and RFC 3711 §4.1.1: the same, two bytes further on.
        let mut iv = [0; 16];
        iv[4..8].copy_from_slice(&ssrc.to_be_bytes());
        iv[8..14].copy_from_slice(&index.to_be_bytes()[2..]);
        match &mut self.cipher {
            Cipher::Gcm(aead) => {
                let nonce = &mut iv[2..14];
                nonce.iter_mut().zip(self.salt.as_ref()).for_each(|(byte, salt)| *byte ^= salt);
                let mut tag = [0; GCM_TAG];
                let (header, payload) = bytes[start..].split_at_mut(header);
                aead.seal_in_place(nonce, header, payload, &mut tag)?;
                bytes.extend_from_slice(&tag);
            }
            Cipher::Cm(stream, mac) => {
                iv.iter_mut().zip(self.salt.as_ref()).for_each(|(byte, salt)| *byte ^= salt);
                stream.apply_keystream(&iv, &mut bytes[start + header..])?;
                let (rollovers, mut tag) = (((index >> 16) as u32).to_be_bytes(), [0; SHA1]);
                mac.sign(&[&bytes[start..], &rollovers], &mut tag)?;
                bytes.extend_from_slice(&tag[..SHA1_TAG]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use rtc::srtp::context::Context;
    use rtc::srtp::protection_profile::ProtectionProfile;

    use super::*;

    /// Each profile, as it is called here and in `rtc`.
    pub const PROFILES: [(Profile, ProtectionProfile); 3] = [
        (Profile::Gcm128, ProtectionProfile::AeadAes128Gcm),
        (Profile::Gcm256, ProtectionProfile::AeadAes256Gcm),
        (Profile::CmSha1, ProtectionProfile::Aes128CmHmacSha1_80),
    ];

    /// Ours, and what decrypts it.
    pub fn pair((profile, theirs): (Profile, ProtectionProfile)) -> (Srtp, Context) {
        let provider = rtc::crypto::default_provider().unwrap();
        let key: Vec<u8> = (1..=theirs.key_len() as u8).collect();
        let mut salt = [0; 16];
        (0..theirs.salt_len()).for_each(|i| salt[i] = 0xe0 + i as u8);
        let context = Context::new(&key, &salt[..theirs.salt_len()], theirs, None, None, provider.crypto());
        let master = Master { key: SecretVec::new(key), salt };
        (Srtp::new(provider.crypto(), profile, &master).unwrap(), context.unwrap())
    }

    #[test]
    fn another_implementation_decrypts_it_past_the_wrap_of_sequence_numbers() {
        for profiles in PROFILES {
            let (mut srtp, mut context) = pair(profiles);
            for index in 65_500_u64..65_600 {
                let header =
                    [&[0x80, 96][..], &(index as u16).to_be_bytes(), &[0, 0, 0, 5], &[0, 0, 0, 9]].concat();
                let plain = [&header[..], &vec![index as u8; index as usize % 97]].concat();
                let mut bytes = BytesMut::from(&b"room"[..]);
                bytes.extend_from_slice(&plain);
                srtp.protect(&mut bytes, 4, header.len(), 9, index).unwrap();
                assert_eq!(&bytes[..16], [&b"room"[..], &header].concat(), "{profiles:?}");
                assert_eq!(context.decrypt_rtp(&bytes[4..]).unwrap(), plain, "{profiles:?}, {index}");
            }
        }
    }

    /// RFC 3711 B.3.
    #[test]
    fn keys_are_derived_as_in_the_rfcs_example() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
        };
        let mut salt = [0; 16];
        salt[..14].copy_from_slice(&hex("0EC675AD498AFEEBB6960B3AABE6"));
        let master = Master { key: SecretVec::new(hex("E1F97A0D3E018BE0D64FA32C06DE4139")), salt };
        let provider = rtc::crypto::default_provider().unwrap();
        let derived = |label, length| master.derive(provider.crypto(), label, length).unwrap().into_bytes();
        assert_eq!(derived(ENCRYPTION, 16), hex("C61E7A93744F39EE10734AFE3FF7A087"));
        assert_eq!(derived(SALT, 14), hex("30CBBC08863D8C85D49DB34A9AE1"));
        assert_eq!(derived(AUTHENTICATION, 20), hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"));
    }

    #[test]
    fn no_nonce_comes_again_after_2_to_the_48_packets() {
        for profiles in PROFILES {
            let (mut srtp, _) = pair(profiles);
            let mut bytes = BytesMut::from(&[0x80, 96, 0, 5, 0, 0, 0, 5, 0, 0, 0, 9, 1, 2][..]);
            assert!(srtp.protect(&mut bytes, 0, 12, 9, 1 << 48).is_err(), "{profiles:?}");
        }
    }
}
