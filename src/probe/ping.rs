//! Round trips: STUN Binding requests (RFC 8489) to the port that carries the media, in the same transport.
//!
//! webrtcbin tells no round trip of a pair that it only receives on.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep, timeout};

use super::access::{Site, Stream};

/// Between two requests.
const EVERY: Duration = Duration::from_millis(200);
/// For one answer.
const ANSWER: Duration = Duration::from_secs(1);
/// Most round trips that are kept.
const MOST: usize = 1_000;
const HEADER: usize = 20;
const COOKIE: [u8; 4] = 0x2112_A442_u32.to_be_bytes();

/// A Binding request without attributes.
fn request(id: [u8; 12]) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    out[1] = 1;
    out[4..8].copy_from_slice(&COOKIE);
    out[8..].copy_from_slice(&id);
    out
}

/// Whether these bytes are the answer to the request of this id.
fn answers(bytes: &[u8], id: [u8; 12]) -> bool {
    bytes.len() >= HEADER && bytes[..2] == [1, 1] && bytes[4..8] == COOKIE && bytes[8..HEADER] == id
}

fn fresh_id() -> io::Result<[u8; 12]> {
    let mut id = [0; 12];
    getrandom::fill(&mut id)?;
    Ok(id)
}

/// What is asked.
pub enum Way {
    /// This address, by datagrams.
    Udp(SocketAddr),
    /// The site's port, by a connection of its own (with TLS where the site has it).
    Stream(Box<Site>),
}

enum Line {
    Udp(UdpSocket),
    Stream(Stream),
}

impl Line {
    async fn open(way: &Way) -> io::Result<Self> {
        match way {
            Way::Udp(to) => {
                let any =
                    if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
                let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
                socket.connect(to).await?;
                Ok(Self::Udp(socket))
            }
            Way::Stream(site) => {
                site.connect().await.map(Self::Stream).map_err(|_| io::ErrorKind::NotConnected.into())
            }
        }
    }

    async fn ask(&mut self) -> io::Result<Duration> {
        let id = fresh_id()?;
        let start = Instant::now();
        match self {
            Self::Udp(socket) => {
                socket.send(&request(id)).await?;
                let mut buffer = [0; 512];
                loop {
                    let length = socket.recv(&mut buffer).await?;
                    if answers(&buffer[..length], id) {
                        return Ok(start.elapsed());
                    }
                }
            }
            Self::Stream(stream) => {
                stream.write_all(&request(id)).await?;
                stream.flush().await?;
                loop {
                    let mut head = [0; HEADER];
                    stream.read_exact(&mut head).await?;
                    let mut rest = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
                    stream.read_exact(&mut rest).await?;
                    if answers(&head, id) {
                        return Ok(start.elapsed());
                    }
                }
            }
        }
    }
}

/// Asks again and again until dropped; round trips are added to `trips`. What is lost is not counted.
pub async fn ping(way: Way, trips: &std::sync::Mutex<Vec<Duration>>) {
    let Ok(mut line) = Line::open(&way).await else { return };
    loop {
        match timeout(ANSWER, line.ask()).await {
            Ok(Ok(trip)) => {
                let mut trips = trips.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if trips.len() < MOST {
                    trips.push(trip);
                }
            }
            // An ICMP error is told once; a stream that ended does not come back.
            Ok(Err(_)) if matches!(line, Line::Stream(_)) => return,
            Ok(Err(_)) | Err(_) => {}
        }
        sleep(EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_this_request_counts() {
        let mut answer = request([7; 12]);
        assert!(!answers(&answer, [7; 12]), "a request is no answer");
        answer[0] = 1;
        assert!(answers(&answer, [7; 12]));
        assert!(!answers(&answer, [8; 12]));
        assert!(!answers(&answer[..19], [7; 12]));
    }
}
