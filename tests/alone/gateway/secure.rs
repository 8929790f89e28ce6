//! TLS as a client speaks it that trusts one certificate alone.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::http;

/// A connection after its handshake.
pub type Secure = StreamOwned<ClientConnection, TcpStream>;

/// Makes a pair for `localhost`, as PEM: the certificate, and its key.
pub fn pair() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// Writes a pair into a folder, as Kubernetes names its files.
pub fn write(folder: &Path, (certificate, key): (&str, &str)) {
    std::fs::create_dir_all(folder).expect("a folder");
    std::fs::write(folder.join("tls.crt"), certificate).expect("it can be written");
    std::fs::write(folder.join("tls.key"), key).expect("it can be written");
}

/// Connects, shakes hands and trusts nothing but `certificate` (PEM); the error is the first thing that went wrong.
pub fn connect(address: SocketAddr, certificate: &str, protocols: &[&[u8]]) -> io::Result<Secure> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(io::Error::other)?;
    roots.add(certificate).map_err(io::Error::other)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
    let name = "localhost".try_into().map_err(io::Error::other)?;
    let mut session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut socket = http::connect(address)?;
    session.complete_io(&mut socket)?;
    Ok(StreamOwned::new(session, socket))
}

/// Status line, headers and body of a GET.
pub fn get(address: SocketAddr, certificate: &str, path: &str) -> io::Result<String> {
    let mut stream = connect(address, certificate, &[b"h2", b"http/1.1"])?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
