//! The certificate of `--tls self-signed`. It is kept: a browser that was told to trust it goes on doing so when the
//! gateway has been started again, and a page that is open can come back.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};

use super::tls::{Tls, TlsError};

const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Browsers take none that lasts longer than 398 days.
const LIFE: Duration = Duration::from_secs(397 * 24 * 3_600);
/// Kept ones are made anew well before they end.
const RENEW: Duration = Duration::from_secs(200 * 24 * 3_600);

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

/// TLS with the certificate for these names that was kept in `dir`, else with a new one, which is kept.
///
/// # Errors
/// When none can be made.
pub fn tls(names: &BTreeSet<String>, dir: Option<&Path>) -> Result<Tls, TlsError> {
    let digest = Sha256::digest(names.iter().cloned().collect::<Vec<_>>().join("\0"));
    let name: String = digest[..8].iter().map(|b| format!("{b:02x}")).collect();
    let file = dir.map(|dir| dir.join(format!("self-signed-{name}.pem")));
    if let Some(tls) = file.as_deref().and_then(kept) {
        return Ok(tls);
    }
    let pem = make(names)?;
    if let Some(file) = &file
        && let Err(error) = keep(file, &pem)
    {
        tracing::info!(%error, file = %file.display(), code = "state-dir", "browsers will warn again after a restart");
    }
    from_pem(&pem).ok_or(rcgen::Error::CouldNotParseKeyPair)?
}

fn make(names: &BTreeSet<String>) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::new(names.iter().cloned().collect::<Vec<_>>())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Deskgate, self-signed");
    // Clocks of viewers may be behind.
    let begin = SystemTime::now() - DAY;
    (params.not_before, params.not_after) = (begin.into(), (begin + LIFE).into());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    Ok(params.self_signed(&key)?.pem() + &key.serialize_pem())
}

fn from_pem(pem: &str) -> Option<Result<Tls, TlsError>> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    Some(Tls::from_der(certificate, PrivateKeyDer::from_pem_slice(pem.as_bytes()).ok()?))
}

fn kept(file: &Path) -> Option<Tls> {
    let age = fs::metadata(file).ok()?.modified().ok()?.elapsed().ok()?;
    from_pem(&fs::read_to_string(file).ok().filter(|_| age < RENEW)?)?.ok()
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
        assert!(make(&names).is_ok());
        assert!(make(&super::names("a host of nobody", [])).is_ok());
    }

    #[test]
    fn it_is_kept_for_the_same_names_and_for_nobody_else_to_read() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let files = || fs::read_dir(&state).unwrap().map(|e| e.unwrap().path()).collect::<Vec<_>>();
        let one = names("one", []);
        tls(&one, Some(&state)).unwrap();
        let (file, pem) = (files().remove(0), fs::read(&files()[0]).unwrap());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        tls(&one, Some(&state)).unwrap();
        assert_eq!(fs::read(&file).unwrap(), pem);
        tls(&names("two", []), Some(&state)).unwrap();
        assert_eq!(files().len(), 2);
        fs::write(&file, "damaged").unwrap();
        tls(&one, Some(&state)).unwrap();
        assert_ne!(fs::read(&file).unwrap(), b"damaged");
    }
}
