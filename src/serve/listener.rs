//! The TCP side of the one port: how many connections, how long they may dawdle, and what each of them is.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::link::{Command, Link};
use crate::http::site::{HEAD, Peer, Permit, Site};
use crate::transport::carrier::Carrier;
use crate::transport::framing::Framing;
use crate::transport::net::canonical;
use crate::transport::port::{SNIFF_BYTES, Sniffed, sniff};
use crate::transport::streams::Accepted;

/// Connections at a time, authenticated or not, WebSockets included.
const MAX_CONNECTIONS: usize = 1_024;
/// TLS handshakes at a time. Each may hold 64 KiB of what a stranger sent.
const MAX_HANDSHAKES: usize = 256;
/// Descriptors that are not for connections: encoders, the display, files of the page.
const OTHER_DESCRIPTORS: usize = 128;
/// A connection whose other side takes nothing of what it is sent for this long is closed, by the kernel.
const UNREAD: Duration = Duration::from_secs(20);
/// Pause after a connection could not be taken.
const AGAIN: Duration = Duration::from_millis(20);
/// What TLS may hold back of what is sent through it.
const TLS_BUFFER: usize = 16 << 10;

/// As many connections as leave descriptors for the rest of the gateway, which would fail first otherwise.
fn max_connections() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.and_then(|l| usize::try_from(l).ok()).unwrap_or(usize::MAX);
    limit.saturating_sub(OTHER_DESCRIPTORS).clamp(limit.min(8), MAX_CONNECTIONS)
}

/// Whom connections go to.
#[derive(Clone)]
pub struct Port {
    /// Everything that is HTTP.
    pub site: Site,
    /// The gateway's loop, for media.
    pub link: Link,
    /// TLS, if it is spoken here.
    pub tls: Option<TlsAcceptor>,
}

/// Takes connections until the returned future is dropped.
pub async fn serve(listener: TcpListener, port: Port) {
    let permits = Arc::new(Semaphore::new(max_connections()));
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            // The connection was reset before it was taken, or descriptors ran out: both pass.
            Err(error) => {
                tracing::warn!(%error, code = "accept", "a connection could not be taken");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        let Ok(permit) = permits.clone().try_acquire_owned() else {
            tracing::debug!(peer = %address, "over the limit of connections");
            continue;
        };
        let connection = Connection {
            port: port.clone(),
            address: canonical(address),
            permit: Arc::new(permit),
            deadline: Instant::now() + HEAD,
        };
        let handshakes = handshakes.clone();
        tokio::spawn(async move {
            let address = connection.address;
            if let Err(error) = connection.serve(stream, &handshakes).await {
                tracing::debug!(peer = %address, %error, "a connection that is not served");
            }
        });
    }
}

/// A connection that is not known yet.
struct Connection {
    port: Port,
    address: SocketAddr,
    permit: Permit,
    /// By then it must be.
    deadline: Instant,
}

impl Connection {
    async fn serve(self, mut stream: TcpStream, handshakes: &Semaphore) -> io::Result<()> {
        // Signalling is small messages, and each of them is waited for.
        let _ = stream.set_nodelay(true);
        let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, UNREAD.as_millis() as u32);
        let (kind, early) = timeout_at(self.deadline, identify(&mut stream)).await??;
        match (kind, self.port.tls.clone()) {
            (Sniffed::Http, _) => self.http(stream, false).await,
            (Sniffed::Turn, _) => self.media(Carrier::plain(stream.into_std()?), Framing::Turn, early)?,
            (Sniffed::IceTcp, _) => self.media(Carrier::plain(stream.into_std()?), Framing::Ice, early)?,
            (Sniffed::Tls, Some(tls)) => self.tls(&tls, stream, handshakes).await?,
            (kind, _) => return Err(unserved(kind)),
        }
        Ok(())
    }

    /// The same once more, inside TLS; but TLS inside TLS is nobody's.
    async fn tls(self, tls: &TlsAcceptor, stream: TcpStream, handshakes: &Semaphore) -> io::Result<()> {
        // Whoever would have to wait for a place would wait for strangers that dawdle.
        let place = handshakes.try_acquire().map_err(io::Error::other)?;
        let limit = |session: &mut rustls::ServerConnection| session.set_buffer_limit(Some(TLS_BUFFER));
        let mut stream = timeout_at(self.deadline, tls.accept_with(stream, limit)).await??;
        drop(place);
        match timeout_at(self.deadline, identify_inside(&mut stream)).await?? {
            (Sniffed::Http, _) => self.http(stream, true).await,
            (Sniffed::Turn, early) => {
                let (socket, session) = stream.into_inner();
                self.media(Carrier::tls(socket.into_std()?, session), Framing::Turn, early)?;
            }
            (kind, _) => return Err(unserved(kind)),
        }
        Ok(())
    }

    async fn http(self, stream: impl AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static, tls: bool) {
        let peer = Peer { address: self.address, tls };
        self.port.site.serve(stream, peer, self.permit).await;
    }

    /// Hands it over to the gateway's loop.
    fn media(self, carrier: Carrier, framing: Framing, early: Vec<u8>) -> io::Result<()> {
        let accepted = Accepted { carrier, framing, early, place: Box::new(self.permit) };
        let taken = self.port.link.send(Command::Media(accepted));
        if taken { Ok(()) } else { Err(io::Error::other("the gateway's loop does not take it")) }
    }
}

fn unserved(kind: Sniffed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{kind:?}"))
}

/// What a connection is, and what had to be read of it to tell.
async fn identify(stream: &mut TcpStream) -> io::Result<(Sniffed, Vec<u8>)> {
    let mut first = [0; 1];
    let count = stream.peek(&mut first).await?;
    tell(&first[..count], stream).await
}

/// The same of what TLS carries.
async fn identify_inside(stream: &mut TlsStream<TcpStream>) -> io::Result<(Sniffed, Vec<u8>)> {
    let first: Vec<u8> = stream.fill_buf().await?.iter().copied().take(1).collect();
    tell(&first, stream).await
}

/// By the first byte, if that says enough: then nothing is read.
async fn tell(first: &[u8], stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(Sniffed, Vec<u8>)> {
    if let Some(kind) = sniff(first) {
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
