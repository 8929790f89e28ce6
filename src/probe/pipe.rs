//! TLS in front of a client that has none: libnice's TURN over TLS is Google's imitation of a handshake.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::access::Site;
use super::verdict::Stop;

/// Connections at once: libnice opens one for each candidate.
const MOST: usize = 16;

/// Listens on loopback and carries every connection to the site, inside TLS. Ends when dropped.
pub struct Pipe {
    /// Where it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
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
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                if open.len() >= MOST {
                    open.join_next().await;
                }
                let site = site.clone();
                open.spawn(async move {
                    if near.set_nodelay(true).is_ok()
                        && let Ok(mut far) = site.connect().await
                    {
                        // Either side may hang up; there is nobody to tell.
                        let _ = copy_bidirectional(&mut near, &mut far).await;
                    }
                });
                while open.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, task })
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.task.abort();
    }
}
