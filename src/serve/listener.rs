//! The TCP side of the one port: how many connections, how long they may dawdle, and what each of them is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::link::{Command, Link};
use crate::http::site::{HEAD, Permit, Site};
use crate::transport::framing::Framing;
use crate::transport::net::canonical;
use crate::transport::port::{SNIFF_BYTES, Sniffed, sniff};
use crate::transport::streams::Accepted;

/// Connections at a time, authenticated or not, WebSockets included.
const MAX_CONNECTIONS: usize = 1_024;
/// Descriptors that are not for connections: encoders, the display, files of the page.
const OTHER_DESCRIPTORS: usize = 128;
/// A connection whose other side takes nothing of what it is sent for this long is closed, by the kernel.
const UNREAD: Duration = Duration::from_secs(20);
/// Pause after a connection could not be taken.
const AGAIN: Duration = Duration::from_millis(20);

/// As many connections as leave descriptors for the rest of the gateway, which would fail first otherwise.
fn max_connections() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.and_then(|l| usize::try_from(l).ok()).unwrap_or(usize::MAX);
    limit.saturating_sub(OTHER_DESCRIPTORS).clamp(limit.min(8), MAX_CONNECTIONS)
}

/// Takes connections until the returned future is dropped.
pub async fn serve(listener: TcpListener, site: Site, link: Link) {
    let permits = Arc::new(Semaphore::new(max_connections()));
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            // The connection was reset before it was taken, or descriptors ran out: both pass.
            Err(error) => {
                tracing::warn!(%error, code = "accept", "a connection could not be taken");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        let Ok(permit) = permits.clone().try_acquire_owned() else {
            tracing::debug!(%peer, "over the limit of connections");
            continue;
        };
        tokio::spawn(connection(stream, peer, site.clone(), link.clone(), Arc::new(permit)));
    }
}

async fn connection(mut stream: TcpStream, peer: SocketAddr, site: Site, link: Link, permit: Permit) {
    // Signalling is small messages, and each of them is waited for.
    let _ = stream.set_nodelay(true);
    let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, UNREAD.as_millis() as u32);
    let peer = canonical(peer);
    let Ok(Ok((kind, early))) = timeout(HEAD, identify(&mut stream)).await else { return };
    let framing = match kind {
        Sniffed::Http => return site.serve(stream, peer, permit).await,
        Sniffed::Turn => Framing::Turn,
        Sniffed::IceTcp | Sniffed::Tls | Sniffed::Unknown => {
            return tracing::debug!(%peer, ?kind, "a connection that is not served");
        }
    };
    let handed_over = stream.into_std().map(|socket| {
        link.send(Command::Media(Accepted { socket, framing, early, place: Box::new(permit) }))
    });
    if !matches!(handed_over, Ok(true)) {
        tracing::debug!(%peer, "a connection could not be handed over");
    }
}

/// What a connection is, and what had to be read of it to tell.
async fn identify(stream: &mut TcpStream) -> std::io::Result<(Sniffed, Vec<u8>)> {
    let mut first = [0; 1];
    stream.peek(&mut first).await?;
    if let Some(kind) = sniff(&first) {
        return Ok((kind, Vec::new()));
    }
    let mut early = Vec::with_capacity(SNIFF_BYTES);
    while stream.read_buf(&mut early).await? > 0 {
        if let Some(kind) = sniff(&early) {
            return Ok((kind, early));
        }
    }
    Ok((Sniffed::Unknown, early))
}
