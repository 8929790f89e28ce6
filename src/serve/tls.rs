//! TLS on the one port: which certificate is shown, and the files that it may come from.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig};
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

/// Between two looks at the files. Their contents are compared, so a link that is swapped (`..data` of a Kubernetes
/// secret) is as good as a file that is written.
const LOOK: Duration = Duration::from_secs(2);
/// Looks at which the files are the same and of no use, before that is said: the two are rarely written at once.
const PATIENCE: u32 = 2;
/// What is spoken inside: HTTP, never HTTP/2, for which clients would ask first, and TURN (RFC 7443).
const PROTOCOLS: [&[u8]; 2] = [b"http/1.1", b"stun.turn"];

/// Why a certificate cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// One of the files cannot be read.
    #[error("--{flag} {}: {error}", path.display())]
    Unreadable {
        /// Which.
        flag: &'static str,
        /// Where it should be.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
    /// No certificate in its file.
    #[error("--tls-cert {}: a PEM file with the certificate chain is expected, the gateway's own first", .0.display())]
    NoCertificate(PathBuf),
    /// No key in its file.
    #[error("--tls-key {}: a PEM file with one private key, without a passphrase, is expected", .0.display())]
    NoKey(PathBuf),
    /// Two halves of different pairs.
    #[error("--tls-cert {} is not for the key in --tls-key {}: give the two of one pair, the gateway's own certificate first in the chain", certificate.display(), key.display())]
    Mismatch {
        /// The chain's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The provider takes no such key or certificate.
    #[error("--tls-cert, --tls-key: {0} (RSA of 2048 bits or more, P-256, P-384 and Ed25519 are known)")]
    Refused(#[from] rustls::Error),
    /// No certificate could be made.
    #[error("--tls self-signed: {0}")]
    SelfSigned(#[from] rcgen::Error),
}

/// A chain and its key, as PEM.
pub struct Pem {
    /// The chain, the gateway's own certificate first.
    pub certificate: Vec<u8>,
    /// The private key.
    pub key: Vec<u8>,
}

impl Pem {
    fn digest(&self) -> [u8; 32] {
        let length = (self.certificate.len() as u64).to_be_bytes();
        let all = Sha256::new().chain_update(length).chain_update(&self.certificate).chain_update(&self.key);
        all.finalize().into()
    }
}

/// The two files of a pair.
#[derive(Clone, Debug)]
pub struct Files {
    /// The chain.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl Files {
    fn read(&self) -> Result<Pem, TlsError> {
        let read = |flag, path: &Path| {
            fs::read(path).map_err(|error| TlsError::Unreadable { flag, path: path.to_owned(), error })
        };
        Ok(Pem { certificate: read("tls-cert", &self.certificate)?, key: read("tls-key", &self.key)? })
    }

    fn certified(&self, pem: &Pem, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem.certificate)
            .collect::<Result<_, _>>()
            .ok()
            .filter(|chain: &Vec<_>| !chain.is_empty())
            .ok_or_else(|| TlsError::NoCertificate(self.certificate.clone()))?;
        let key = PrivateKeyDer::from_pem_slice(&pem.key).map_err(|_| TlsError::NoKey(self.key.clone()))?;
        CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                TlsError::Mismatch { certificate: self.certificate.clone(), key: self.key.clone() }
            }
            other => other.into(),
        })
    }
}

/// What is shown to whoever connects now.
struct Shown(RwLock<Arc<CertifiedKey>>);

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// Gives the pair that is to be used from now on, if that is another one.
type Look = Box<dyn FnMut() -> Option<CertifiedKey> + Send>;

/// See the module.
pub struct Tls {
    config: Arc<ServerConfig>,
    shown: Arc<Shown>,
    look: Look,
    /// Between two looks.
    every: Duration,
}

impl Tls {
    /// TLS with the pair in these files, which [`Self::watch`] looks after.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn from_files(files: Files) -> Result<Self, TlsError> {
        let pem = files.read()?;
        let certified = files.certified(&pem, &ring::default_provider())?;
        let mut watch = Watch { files, used: pem.digest(), useless: None };
        Self::new(certified, LOOK, Box::new(move || watch.look(&ring::default_provider())))
    }

    /// TLS with this pair, until `look`, which is asked so often, gives another one.
    ///
    /// # Errors
    /// [`TlsError::Refused`].
    pub fn new(certified: CertifiedKey, every: Duration, look: Look) -> Result<Self, TlsError> {
        let shown = Arc::new(Shown(RwLock::new(Arc::new(certified))));
        // Named, not taken from the process: which one that has depends on what else is linked.
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(shown.clone());
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        Ok(Self { config: Arc::new(config), shown, look, every })
    }

    /// Takes handshakes.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.config.clone().into()
    }

    /// Takes up new pairs, for as long as it is polled.
    pub async fn watch(mut self) {
        let Self { shown, look, every, .. } = &mut self;
        let mut next = tokio::time::interval(*every);
        loop {
            next.tick().await;
            if let Some(certified) = look() {
                *shown.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certified);
            }
        }
    }
}

/// The files, and what is known of them.
struct Watch {
    files: Files,
    /// The pair in use.
    used: [u8; 32],
    /// What the files held that was of no use (none: they could not be read), and at how many looks.
    useless: Option<(Option<[u8; 32]>, u32)>,
}

impl Watch {
    /// The pair that is to be used from now on, if that is another one.
    fn look(&mut self, provider: &CryptoProvider) -> Option<CertifiedKey> {
        let read = self.files.read();
        let found = read.as_ref().ok().map(Pem::digest);
        if found == Some(self.used) {
            self.useless = None;
            return None;
        }
        match read.and_then(|pem| self.files.certified(&pem, provider)) {
            Ok(certified) => {
                (self.used, self.useless) = (found?, None);
                tracing::info!(file = %self.files.certificate.display(), "a new certificate is in use");
                Some(certified)
            }
            Err(error) => {
                let looks = self.useless.filter(|(what, _)| *what == found).map_or(1, |(_, looks)| looks + 1);
                self.useless = Some((found, looks));
                if looks == PATIENCE {
                    tracing::warn!(
                        %error,
                        code = "tls-reload",
                        "the new certificate cannot be used, the one before it stays; mend the files, no restart is needed"
                    );
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rig {
        dir: tempfile::TempDir,
        watch: Watch,
    }

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["desk.example".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    impl Rig {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let at = |name| dir.path().join(name);
            let files = Files { certificate: at("tls.crt"), key: at("tls.key") };
            let rig = Self { dir, watch: Watch { files: files.clone(), used: [0; 32], useless: None } };
            let (certificate, key) = pair();
            rig.write(&certificate, &key);
            let used = files.read().unwrap().digest();
            Self { watch: Watch { files, used, useless: None }, ..rig }
        }

        fn write(&self, certificate: &str, key: &str) {
            fs::write(self.dir.path().join("tls.crt"), certificate).unwrap();
            fs::write(self.dir.path().join("tls.key"), key).unwrap();
        }

        fn look(&mut self) -> Option<CertifiedKey> {
            self.watch.look(&ring::default_provider())
        }

        fn refused(&self) -> String {
            Tls::from_files(self.watch.files.clone()).err().unwrap().to_string()
        }
    }

    #[test]
    fn a_new_pair_is_taken_up_once() {
        let mut rig = Rig::new();
        assert!(rig.look().is_none());
        let (certificate, key) = pair();
        rig.write(&certificate, &key);
        assert!(rig.look().is_some());
        assert!(rig.look().is_none());
    }

    #[test]
    fn half_a_pair_changes_nothing_until_the_other_half_has_come() {
        let mut rig = Rig::new();
        let (certificate, key) = pair();
        fs::write(&rig.watch.files.certificate, &certificate).unwrap();
        for looks in 1..4 {
            assert!(rig.look().is_none());
            assert_eq!(rig.watch.useless.unwrap().1, looks);
        }
        rig.write(&certificate, &key);
        assert!(rig.look().is_some());
        assert_eq!(rig.watch.useless, None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let rig = Rig::new();
        let ((certificate, key), (_, other)) = (pair(), pair());
        rig.write(&certificate, &other);
        assert!(rig.refused().contains("is not for the key"), "{}", rig.refused());
        rig.write("no PEM", &key);
        assert!(rig.refused().contains("--tls-cert") && rig.refused().contains("chain"), "{}", rig.refused());
        let damaged = format!("{certificate}-----BEGIN CERTIFICATE-----\nMII");
        rig.write(&damaged, &key);
        assert!(rig.refused().contains("--tls-cert"), "half a chain is none: {}", rig.refused());
        rig.write(&certificate, &certificate);
        assert!(rig.refused().contains("--tls-key") && rig.refused().contains("private key"));
        fs::remove_file(&rig.watch.files.key).unwrap();
        assert!(rig.refused().contains("--tls-key") && rig.refused().contains("No such file"));
    }
}
