//! PURE. Authorities and certificates of the webhook, as X.509. Keys are arguments.

use std::fmt;
use std::time::{Duration, SystemTime};

use k8s_openapi::jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};

/// An API server's clock may be behind.
const SKEW: Duration = Duration::from_secs(3600);

/// A private key (PEM), which no log shows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PrivateKey(pub String);

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

/// A certificate with its key, and from when to when it is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// PEM.
    pub certificate: String,
    /// Of the certificate.
    pub key: PrivateKey,
    /// When it was made.
    pub from: Timestamp,
    /// When it ends.
    pub until: Timestamp,
}

impl Pair {
    /// Two thirds of its life have passed.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let life = self.until.as_second().saturating_sub(self.from.as_second());
        now.as_second() >= self.from.as_second().saturating_add(life / 3 * 2)
    }

    /// Its life has passed.
    pub fn has_ended(&self, now: Timestamp) -> bool {
        now >= self.until
    }
}

/// An authority that signs itself.
///
/// # Errors
/// Of rcgen, such as a time that X.509 cannot hold.
pub fn authority(key: &KeyPair, now: Timestamp, life: Duration) -> Result<Pair, rcgen::Error> {
    let until = end(now, life);
    let mut params = authority_params(now);
    last(&mut params, now, until);
    Ok(pair(&params.self_signed(key)?, key, now, until))
}

/// A certificate for servers of these names, which ends with its authority at the latest.
///
/// # Errors
/// Of rcgen, such as a name that X.509 cannot hold.
pub fn serving(
    authority: &Pair,
    key: &KeyPair,
    names: &[String],
    now: Timestamp,
    life: Duration,
) -> Result<Pair, rcgen::Error> {
    let until = end(now, life).min(authority.until);
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = common_name(names.first().map_or("deskgate", String::as_str));
    last(&mut params, now, until);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let issuer = Issuer::new(authority_params(authority.from), KeyPair::from_pem(&authority.key.0)?);
    Ok(pair(&params.signed_by(key, &issuer)?, key, now, until))
}

/// What an authority made then is called and may do; issuers are told apart by their names.
fn authority_params(made: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(&format!("Deskgate webhook {made}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn common_name(text: &str) -> DistinguishedName {
    // X.520's upper bound for common names.
    const LONGEST: usize = 64;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text.chars().take(LONGEST).collect::<String>());
    name
}

fn last(params: &mut CertificateParams, from: Timestamp, until: Timestamp) {
    params.not_before = (SystemTime::from(from) - SKEW).into();
    params.not_after = SystemTime::from(until).into();
}

/// X.509 has whole seconds.
fn end(now: Timestamp, life: Duration) -> Timestamp {
    let second = now.as_second().saturating_add(i64::try_from(life.as_secs()).unwrap_or(i64::MAX));
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
}

fn pair(certificate: &rcgen::Certificate, key: &KeyPair, from: Timestamp, until: Timestamp) -> Pair {
    Pair { certificate: certificate.pem(), key: PrivateKey(key.serialize_pem()), from, until }
}
