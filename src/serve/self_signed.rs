//! The certificate of `--tls self-signed`. It is kept: a browser that was told to trust it goes on doing so when the
//! gateway has been started again, and a page that is open can come back.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};

use super::tls::{Tls, TlsError};

const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Browsers take none that lasts longer than 398 days.
const LIFE: Duration = Duration::from_secs(397 * 24 * 3_600);
/// They are made anew well before they end.
const RENEW: Duration = Duration::from_secs(200 * 24 * 3_600);
/// Between two looks at the calendar.
const LOOK: Duration = Duration::from_secs(3_600);

/// Every name that a browser on this network may know this machine by.
pub fn names(host: &str, addresses: impl IntoIterator<Item = IpAddr>) -> BTreeSet<String> {
    let valid = |name: &&str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
    };
    let addresses = addresses.into_iter().filter(|address| !address.is_unspecified());
    let loopback = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
    let addresses = addresses.chain(loopback).map(|address| address.to_string());
    ["localhost", host]
        .iter()
        .filter(|n| valid(n))
        .map(|name| name.to_ascii_lowercase())
        .chain(addresses)
        .collect()
}

/// TLS with the certificate for these names that was kept in `dir`, else with a new one, which is kept; renewed while it
/// is in use.
///
/// # Errors
/// When none can be made.
pub fn tls(names: BTreeSet<String>, dir: Option<&Path>) -> Result<Tls, TlsError> {
    let (mut own, certified) = Own::new(names, dir, SystemTime::now())?;
    Tls::new(certified, LOOK, Box::new(move || own.look(SystemTime::now())))
}

/// A certificate that is in use.
struct Own {
    names: BTreeSet<String>,
    /// Where it is kept, if it is.
    file: Option<PathBuf>,
    made: SystemTime,
}

impl Own {
    fn new(
        names: BTreeSet<String>,
        dir: Option<&Path>,
        now: SystemTime,
    ) -> Result<(Self, CertifiedKey), TlsError> {
        let digest = Sha256::digest(names.iter().cloned().collect::<Vec<_>>().join("\0"));
        let name: String = digest[..8].iter().map(|b| format!("{b:02x}")).collect();
        let file = dir.map(|dir| dir.join(format!("self-signed-{name}.pem")));
        if let Some((made, certified)) = file.as_deref().and_then(|file| kept(file, now)) {
            return Ok((Self { names, file, made }, certified));
        }
        let mut own = Self { names, file, made: now };
        let certified = own.make(now)?;
        Ok((own, certified))
    }

    /// A new one, if it is time for that.
    fn look(&mut self, now: SystemTime) -> Option<CertifiedKey> {
        if !is_old(self.made, now) {
            return None;
        }
        let made = self.make(now);
        if let Err(error) = &made {
            tracing::warn!(%error, code = "tls-renewal", "no new certificate could be made, the one before it stays");
        }
        made.ok()
    }

    fn make(&mut self, now: SystemTime) -> Result<CertifiedKey, TlsError> {
        let pem = make(&self.names, now)?;
        let certified = from_pem(&pem).ok_or(rcgen::Error::CouldNotParseKeyPair)??;
        self.made = now;
        if let Some(file) = &self.file
            && let Err(error) = keep(file, &pem)
        {
            tracing::info!(%error, file = %file.display(), code = "state-dir", "browsers will warn again after a restart");
        }
        Ok(certified)
    }
}

/// A clock that was set back makes nothing old.
fn is_old(made: SystemTime, now: SystemTime) -> bool {
    now.duration_since(made).is_ok_and(|age| age >= RENEW)
}

fn make(names: &BTreeSet<String>, now: SystemTime) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::new(names.iter().cloned().collect::<Vec<_>>())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Deskgate, self-signed");
    // Clocks of viewers may be behind.
    let begin = now - DAY;
    (params.not_before, params.not_after) = (begin.into(), (begin + LIFE).into());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    Ok(params.self_signed(&key)?.pem() + &key.serialize_pem())
}

fn from_pem(pem: &str) -> Option<Result<CertifiedKey, rustls::Error>> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).ok()?;
    Some(CertifiedKey::from_der(vec![certificate], key, &ring::default_provider()))
}

/// The one in this file, and when it was made, unless that is too long ago.
fn kept(file: &Path, now: SystemTime) -> Option<(SystemTime, CertifiedKey)> {
    let made = fs::metadata(file).ok()?.modified().ok().filter(|made| !is_old(*made, now))?;
    Some((made, from_pem(&fs::read_to_string(file).ok()?)?.ok()?))
}

fn keep(file: &Path, pem: &str) -> io::Result<()> {
    if let Some(dir) = file.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    // One that is there is too old, or damaged; a new file has the rights that are asked for.
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?.write_all(pem.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn names_are_what_a_certificate_can_hold() {
        let addresses = ["10.0.0.5".parse().unwrap(), "0.0.0.0".parse().unwrap(), "fd00::1".parse().unwrap()];
        let names = names("Desk-1.lan", addresses);
        let expected = ["10.0.0.5", "127.0.0.1", "::1", "desk-1.lan", "fd00::1", "localhost"];
        assert_eq!(names.iter().collect::<Vec<_>>(), expected);
        let now = SystemTime::now();
        assert!(make(&names, now).is_ok());
        assert!(make(&super::names("a host of nobody", []), now).is_ok());
    }

    #[test]
    fn it_is_kept_for_the_same_names_and_for_nobody_else_to_read() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let files = || fs::read_dir(&state).unwrap().map(|e| e.unwrap().path()).collect::<Vec<_>>();
        let one = || names("one", []);
        tls(one(), Some(&state)).unwrap();
        let (file, pem) = (files().remove(0), fs::read(&files()[0]).unwrap());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        tls(one(), Some(&state)).unwrap();
        assert_eq!(fs::read(&file).unwrap(), pem);
        tls(names("two", []), Some(&state)).unwrap();
        assert_eq!(files().len(), 2);
        fs::write(&file, "damaged").unwrap();
        tls(one(), Some(&state)).unwrap();
        assert_ne!(fs::read(&file).unwrap(), b"damaged");
    }

    #[test]
    fn it_is_renewed_in_use_once_and_that_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        for dir in [None, Some(dir.path())] {
            let (mut own, first) = Own::new(names("one", []), dir, now).unwrap();
            assert!(own.look(now + RENEW - DAY).is_none());
            assert!(own.look(now - DAY).is_none(), "a clock that was set back");
            let second = own.look(now + RENEW + DAY).expect("a new one");
            assert_ne!(first.cert, second.cert);
            assert!(own.look(now + RENEW + DAY).is_none(), "once");
            let (_, again) = Own::new(names("one", []), dir, now).unwrap();
            assert_eq!(again.cert == second.cert, dir.is_some());
        }
    }
}
