//! The way in: TCP, TLS, HTTP and the WebSocket, as the page of a gateway uses them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{AUTHORIZATION, COOKIE, HOST, HeaderMap, HeaderValue, ORIGIN, SET_COOKIE};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::tungstenite::{self, client::IntoClientRequest};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::target::Target;
use super::verdict::Stop;
use crate::wire::SUBPROTOCOL;

/// For one address to take a connection, TLS included.
const CONNECT: Duration = Duration::from_secs(5);
/// For one answer.
const ANSWER: Duration = Duration::from_secs(8);
/// Largest answer that is read.
const MAX_BODY: usize = 1 << 20;
/// Largest message of the gateway that is taken: a key frame of a large screen.
const MAX_MESSAGE: usize = 16 << 20;

/// A connection, with TLS or without.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}
/// See [`Io`].
pub type Stream = Box<dyn Io>;
/// The gateway's WebSocket.
pub type Socket = WebSocketStream<Stream>;

/// How this viewer proves who it is. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// The gateway lets this machine in, or the connection itself is the proof.
    None,
    /// A token of `deskgate token`.
    Token(String),
    /// Basic authentication.
    Basic {
        /// User name.
        user: String,
        /// Password.
        password: String,
    },
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Token(_) => "a token",
            Self::Basic { .. } => "a password",
        })
    }
}

impl Credential {
    /// Takes a token, or the link around it that `deskgate token` prints.
    pub fn token(text: &str) -> Self {
        let text = text.trim();
        Self::Token(text.rsplit_once("#token=").map_or(text, |(_, token)| token).to_owned())
    }

    fn header(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Token(token) => Some(format!("Bearer {token}")),
            Self::Basic { user, password } => {
                Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
            }
        }
    }
}

/// One gateway, reached at one address.
#[derive(Clone)]
pub struct Site {
    /// What was asked for.
    pub target: Target,
    /// The address that took a connection.
    pub address: SocketAddr,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    headers: HeaderMap,
}

impl Site {
    /// Finds the gateway's address, and logs in as the page does: a token is swapped for the session's cookie.
    ///
    /// # Errors
    /// [`Stop`]: nothing answers, or we are not let in.
    pub async fn open(target: Target, credential: &Credential, tls: &TlsConnector) -> Result<Self, Stop> {
        let tls = match target.is_secure() {
            true => Some((tls.clone(), server_name(&target)?)),
            false => None,
        };
        let mut site = Self { address: ([0; 4], 0).into(), target, tls, headers: HeaderMap::new() };
        site.find().await?;
        let origin = HeaderValue::from_str(&site.target.origin());
        site.headers.extend(origin.ok().map(|origin| (ORIGIN, origin)));
        if let Some(header) = credential.header() {
            let mut value = HeaderValue::from_str(&header)
                .map_err(|_| refused("the credential holds characters that no header may carry"))?;
            value.set_sensitive(true);
            site.headers.insert(AUTHORIZATION, value);
        }
        if matches!(credential, Credential::Token(_)) {
            let (_, headers, _) = site.request(Method::POST, "api/session").await?;
            let pair = headers.get(SET_COOKIE).and_then(|c| c.to_str().ok()?.split(';').next());
            if let Some(cookie) = pair.and_then(|p| HeaderValue::from_str(p).ok()) {
                site.headers.remove(AUTHORIZATION);
                site.headers.insert(COOKIE, cookie);
            }
        }
        Ok(site)
    }

    async fn find(&mut self) -> Result<(), Stop> {
        let host = self.target.host();
        let unreachable = |why: String| Stop::Unreachable(why);
        let addresses: Vec<SocketAddr> = match self.target.ip() {
            Some(ip) => vec![self.target.at(ip)],
            None => lookup_host((host.as_str(), self.target.port()))
                .await
                .map_err(|e| unreachable(format!("the name {host} is not known here: {e}")))?
                .collect(),
        };
        let mut last = unreachable(format!("the name {host} has no address"));
        for address in addresses {
            self.address = address;
            match self.connect().await {
                Ok(_) => return Ok(()),
                Err(stop) => last = stop,
            }
        }
        Err(last)
    }

    /// One more connection, with TLS where the URL says so.
    ///
    /// # Errors
    /// [`Stop::Unreachable`].
    pub async fn connect(&self) -> Result<Stream, Stop> {
        let at = self.address;
        let connect = async {
            let stream = TcpStream::connect(at).await.map_err(|e| format!("{at}: {e}"))?;
            stream.set_nodelay(true).map_err(|e| format!("{at}: {e}"))?;
            match &self.tls {
                None => Ok(Box::new(stream) as Stream),
                Some((tls, name)) => match tls.connect(name.clone(), stream).await {
                    Ok(stream) => Ok(Box::new(stream) as Stream),
                    Err(e) => Err(format!(
                        "{at}: TLS: {e} (a certificate of one's own: --ca-file; any: --insecure)"
                    )),
                },
            }
        };
        let silent = |_| Err(format!("{at} takes no connection within {} s", CONNECT.as_secs()));
        timeout(CONNECT, connect).await.unwrap_or_else(silent).map_err(Stop::Unreachable)
    }

    /// The address of the gateway as this machine reaches it.
    pub fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    /// `/api/status`.
    ///
    /// # Errors
    /// [`Stop`].
    pub async fn status(&self) -> Result<Value, Stop> {
        let (_, _, body) = self.request(Method::GET, "api/status").await?;
        serde_json::from_slice(&body).ok().filter(|status: &Value| status.get("status").is_some()).ok_or_else(
            || Stop::NotAGateway(format!("{} answers, but not as a Deskgate", self.target.text())),
        )
    }

    async fn request(&self, method: Method, route: &str) -> Result<(StatusCode, HeaderMap, Bytes), Stop> {
        let silent = |_| Err(Stop::Unreachable(format!("{} does not answer", self.address)));
        timeout(ANSWER, self.exchange(method, route)).await.unwrap_or_else(silent)
    }

    async fn exchange(&self, method: Method, route: &str) -> Result<(StatusCode, HeaderMap, Bytes), Stop> {
        let broken = |e: &dyn fmt::Display| Stop::NotAGateway(format!("{}: no HTTP: {e}", self.address));
        let stream = self.connect().await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| broken(&e))?;
        let driver = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(self.target.path(route))
            .header(HOST, self.target.authority())
            .body(Empty::<Bytes>::new())
            .map_err(|e| broken(&e))?;
        request.headers_mut().extend(self.headers.clone());
        let response = sender.send_request(request).await.map_err(|e| broken(&e))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await.map_err(|e| broken(&e))?.to_bytes();
        driver.abort();
        check(head.status, &body)?;
        Ok((head.status, head.headers, body))
    }

    /// Opens the WebSocket.
    ///
    /// # Errors
    /// [`Stop`].
    pub async fn socket(&self) -> Result<Socket, Stop> {
        let stream = self.connect().await?;
        let scheme = if self.target.is_secure() { "wss" } else { "ws" };
        let url = format!("{scheme}://{}{}", self.target.authority(), self.target.path("ws"));
        let no = |why: String| Stop::NotAGateway(format!("the WebSocket does not open: {why}"));
        let mut request = url.into_client_request().map_err(|e| no(e.to_string()))?;
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(SUBPROTOCOL));
        request.headers_mut().extend(self.headers.clone());
        let limits = tungstenite::protocol::WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        match timeout(ANSWER, client_async_with_config(request, stream, Some(limits))).await {
            Ok(Ok((socket, _))) => Ok(socket),
            Ok(Err(tungstenite::Error::Http(response))) => {
                let status = response.status();
                check(status, response.body().as_deref().unwrap_or_default())?;
                Err(no(format!("a proxy in front answers {status}; it must pass WebSocket upgrades")))
            }
            Ok(Err(error)) => Err(no(error.to_string())),
            Err(_) => Err(no(format!("no answer within {} s", ANSWER.as_secs()))),
        }
    }
}

fn refused(why: &str) -> Stop {
    Stop::Refused { status: 401, message: why.to_owned() }
}

fn server_name(target: &Target) -> Result<ServerName<'static>, Stop> {
    match target.ip() {
        Some(ip) => Ok(ServerName::IpAddress(ip.into())),
        None => ServerName::try_from(target.host())
            .map_err(|e| Stop::Unreachable(format!("{}: no name that TLS takes: {e}", target.host()))),
    }
}

fn check(status: StatusCode, body: &[u8]) -> Result<(), Stop> {
    if status.is_success() {
        return Ok(());
    }
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let message = json["message"].as_str().unwrap_or_else(|| status.canonical_reason().unwrap_or("refused"));
    match status.as_u16() {
        status @ (401 | 403) => Err(Stop::Refused { status, message: message.to_owned() }),
        _ if status.is_server_error() => {
            Err(Stop::Unreachable(format!("the server in front answers {status}: {message}")))
        }
        _ => Err(Stop::NotAGateway(format!("the server answers {status}: {message}"))),
    }
}

/// Whom to trust.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// PEM certificates besides the machine's own.
    pub more: Vec<u8>,
    /// Take any certificate.
    pub anybody: bool,
}

/// A connector that trusts the machine's authorities and those of `trust`.
///
/// # Errors
/// When a certificate cannot be read; for people.
pub fn connector(trust: &Trust) -> Result<TlsConnector, String> {
    use tokio_rustls::rustls::pki_types::CertificateDer;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

    if trust.anybody {
        return crate::anybody::connector().map_err(|e| e.to_string());
    }
    let mut roots = RootCertStore::empty();
    // What of the machine's store cannot be read is not trusted.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in CertificateDer::pem_slice_iter(&trust.more) {
        let certificate = certificate.map_err(|e| format!("no PEM certificate: {e}"))?;
        roots.add(certificate).map_err(|e| e.to_string())?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_taken_out_of_its_link_and_never_shown() {
        let token = Credential::token(" http://localhost:8080/#token=abc.def\n");
        assert_eq!(token, Credential::Token("abc.def".into()));
        assert_eq!(Credential::token("abc.def"), token);
        assert!(!format!("{token:?}").contains("abc"));
    }

    #[test]
    fn refusals_keep_what_the_gateway_said() {
        let body = br#"{"code":"host","message":"localhost only"}"#;
        assert_eq!(
            check(StatusCode::FORBIDDEN, body),
            Err(Stop::Refused { status: 403, message: "localhost only".into() })
        );
        assert!(matches!(check(StatusCode::BAD_GATEWAY, b""), Err(Stop::Unreachable(_))));
        assert!(matches!(check(StatusCode::NOT_FOUND, b"<html>"), Err(Stop::NotAGateway(_))));
    }
}
