//! Asks Traefik for a session's host, and whether it is this session's gateway that answers.

use std::net::SocketAddr;

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;
use url::Url;

use super::gateways::{self, GatewayError};
use crate::anybody;
use crate::wire::api::SESSION_UID;

/// Asks the entry point at `url` for `/healthz` of `host`. Over `https` any certificate will do: the question is where
/// the way leads, and nothing that is secret goes along it.
///
/// # Errors
/// What is wrong with the route, in words for a condition.
pub async fn route(url: &str, host: &str, uid: &str) -> Result<(), String> {
    match ask(url, host).await {
        Ok((status, Some(answered))) if answered == uid && status.is_success() => Ok(()),
        Ok((status, Some(answered))) if answered == uid => Err(format!("the gateway answers {status}")),
        Ok((_, Some(_))) => Err(format!("another session's gateway answers for {host}")),
        Ok((status, None)) => Err(format!("{host} does not lead to the gateway: {url} answers {status}")),
        Err(error) => Err(format!("{url}: {error}")),
    }
}

async fn ask(url: &str, host: &str) -> Result<(hyper::StatusCode, Option<String>), GatewayError> {
    let wrong = |why: String| GatewayError::Answer { path: "/healthz", why };
    let url: Url = url.parse().map_err(|e: url::ParseError| wrong(e.to_string()))?;
    let name = url.host_str().ok_or_else(|| wrong("the URL has no host".to_owned()))?;
    let port = url.port_or_known_default().unwrap_or(80);
    let request = Request::get("/healthz")
        .header("host", host)
        .body(Full::new(Bytes::new()))
        .map_err(|e| wrong(e.to_string()))?;
    let ask = async {
        let stream = TcpStream::connect(resolve(name, port).await?).await?;
        if url.scheme() != "https" {
            return gateways::exchange(stream, request).await;
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|e| wrong(e.to_string()))?;
        let tls = anybody::connector().map_err(|e| wrong(e.to_string()))?;
        gateways::exchange(tls.connect(name, stream).await?, request).await
    };
    tokio::time::timeout(gateways::PATIENCE, ask).await.map_err(|_| GatewayError::Slow)?.map(|(parts, _)| {
        let uid = parts.headers.get(SESSION_UID).and_then(|v| v.to_str().ok()).map(str::to_owned);
        (parts.status, uid)
    })
}

async fn resolve(name: &str, port: u16) -> Result<SocketAddr, GatewayError> {
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let mut found = tokio::net::lookup_host((name, port)).await?;
    found.next().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound).into())
}
