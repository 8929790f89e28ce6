//! TLS in front of a client that has none: libnice's TURN over TLS is Google's imitation of a handshake.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::Task;
use super::access::{Site, Stream};
use super::verdict::Stop;

/// Connections at once: libnice opens one for each candidate.
const MOST: usize = 16;
/// Read at a time, in bytes.
const BUFFER: usize = 16 << 10;

/// Listens on loopback and carries every connection to the site, inside TLS. Ends when dropped.
pub struct Pipe {
    /// Where it listens.
    pub address: SocketAddr,
    received: Arc<AtomicU64>,
    _task: Task,
}

impl Pipe {
    /// Starts one.
    ///
    /// # Errors
    /// [`Stop::Unreachable`] when loopback cannot be listened on.
    pub async fn open(site: Site) -> Result<Self, Stop> {
        let no = |e: std::io::Error| Stop::Unreachable(format!("no local port for TLS: {e}"));
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(no)?;
        let address = listener.local_addr().map_err(no)?;
        let received = Arc::<AtomicU64>::default();
        Ok(Self { address, received: received.clone(), _task: Task::spawn(serve(listener, site, received)) })
    }

    /// Bytes that came from the site so far.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

async fn serve(listener: TcpListener, site: Site, received: Arc<AtomicU64>) {
    let mut open = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        if open.len() >= MOST {
            open.join_next().await;
        }
        let (site, received) = (site.clone(), received.clone());
        open.spawn(async move {
            if near.set_nodelay(true).is_ok()
                && let Ok(far) = site.connect().await
            {
                carry(near, far, &received).await;
            }
        });
        while open.try_join_next().is_some() {}
    }
}

/// Until either side hangs up; there is nobody to tell why.
async fn carry(mut near: TcpStream, far: Stream, received: &AtomicU64) {
    let (mut from_near, mut to_near) = near.split();
    let (mut from_far, mut to_far) = split(far);
    let inward = async {
        let mut buffer = vec![0; BUFFER];
        loop {
            let length = from_far.read(&mut buffer).await?;
            if length == 0 {
                return io::Result::Ok(());
            }
            received.fetch_add(length as u64, Ordering::Relaxed);
            to_near.write_all(&buffer[..length]).await?;
        }
    };
    tokio::select! {
        _ = inward => {}
        _ = copy(&mut from_near, &mut to_far) => {}
    }
}
