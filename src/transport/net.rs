//! The one UDP socket (two for a dual-stack or loopback listener), the TCP connections beside it, and the wait for
//! them all.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn_udp::{RecvMeta, UdpSocketState};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use super::peer::Transmit;
use super::send::SendStage;
use super::streams::Streams;

/// Receive buffer of one read: 64 datagrams of Ethernet size, when the kernel merges them.
const BUFFER: usize = 64 * 1_500;
/// Reads in a row before the loop looks at its other work.
const READS: usize = 32;
/// Socket buffers: an IDR of 4K is about 500 kB.
const SOCKET_BUFFER: usize = 2 << 20;

/// Ends the wait of [`Net::wait`] from any thread.
#[derive(Clone)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// A new waker.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// Ends the present wait, or the next one.
    pub fn wake(&self) {
        // Fails only when the counter is full, and then the wait ends anyway.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }

    fn clear(&self) {
        let _ = rustix::io::read(&*self.0, &mut [0_u8; 8]);
    }
}

struct Socket {
    socket: UdpSocket,
    state: UdpSocketState,
    port: u16,
    address: IpAddr,
    /// Something has come, as far as the last wait knows.
    ready: bool,
}

/// The sockets of one port.
pub struct Net {
    sockets: Vec<Socket>,
    /// What viewers know us by, where that is not what we are bound to (NAT 1:1, node ports).
    advertised: Vec<SocketAddr>,
    waker: Waker,
    buffer: Vec<u8>,
    /// Datagrams of one segmented send, one after the other.
    batch: Vec<u8>,
    /// Connections that carry media.
    pub streams: Streams,
}

impl Net {
    /// Binds `first`, on which everything can be had.
    ///
    /// # Errors
    /// The bind's own, with the address in the message.
    pub fn bind(first: SocketAddr, advertised: Vec<SocketAddr>, waker: Waker) -> io::Result<Self> {
        Ok(Self {
            sockets: vec![bind_one(first)?],
            advertised,
            waker,
            buffer: vec![0; BUFFER],
            batch: Vec::new(),
            streams: Streams::default(),
        })
    }

    /// Binds one more address.
    ///
    /// # Errors
    /// The bind's own, with the address in the message.
    pub fn bind_also(&mut self, address: SocketAddr) -> io::Result<()> {
        self.sockets.push(bind_one(address)?);
        Ok(())
    }

    /// Waits for a datagram, a wake, room to send (`sending`), or `deadline`.
    pub fn wait(&mut self, deadline: Option<Instant>, sending: bool) {
        let events = if sending { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let mut fds: Vec<PollFd<'_>> =
            self.sockets.iter().map(|s| PollFd::from_borrowed_fd(s.socket.as_fd(), events)).collect();
        fds.push(PollFd::from_borrowed_fd(self.waker.0.as_fd(), PollFlags::IN));
        let (others, mut ids) = (fds.len(), Vec::new());
        for (id, fd, sending) in self.streams.waiting() {
            let events = if sending { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            fds.push(PollFd::from_borrowed_fd(fd, events));
            ids.push(id);
        }
        let timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = timeout.and_then(|t| t.min(Duration::from_secs(3_600)).try_into().ok());
        // An interrupted wait is a wait that ended: the loop looks around and waits again.
        let _ = poll(&mut fds, timeout.as_ref());
        let came = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let ready = ids.into_iter().zip(&fds[others..]).filter(|(_, fd)| came(fd));
        let ready = ready.map(|(id, _)| id).collect();
        let (woken, readable) = (came(&fds[others - 1]), fds.iter().map(came).collect::<Vec<_>>());
        drop(fds);
        self.sockets.iter_mut().zip(readable).for_each(|(socket, readable)| socket.ready = readable);
        self.streams.set_ready(ready);
        if woken {
            self.waker.clear();
        }
    }

    /// Hands every datagram that has come to `f(our address, theirs, bytes)`.
    pub fn receive(&mut self, mut f: impl FnMut(SocketAddr, SocketAddr, &[u8])) {
        for socket in self.sockets.iter_mut().filter(|socket| socket.ready) {
            for _ in 0..READS {
                let mut meta = [RecvMeta::default()];
                let read = socket.state.recv(
                    (&socket.socket).into(),
                    &mut [IoSliceMut::new(&mut self.buffer)],
                    &mut meta,
                );
                // Errors are the kernel's word on datagrams sent earlier (ICMP unreachable).
                let Ok(1..) = read else {
                    socket.ready = false;
                    break;
                };
                let meta = &meta[0];
                let bound = canonical(SocketAddr::new(meta.dst_ip.unwrap_or(socket.address), socket.port));
                // To ICE we are what we offered: a check is for a candidate, not for a socket.
                let same_family = |a: &&SocketAddr| a.is_ipv4() == bound.is_ipv4();
                let local = self.advertised.iter().find(same_family).copied().unwrap_or(bound);
                for bytes in self.buffer[..meta.len].chunks(meta.stride.max(1)) {
                    f(local, canonical(meta.addr), bytes);
                }
            }
        }
    }

    /// Sends what waits in `stage` until it is empty or the socket is full.
    pub fn send(&mut self, stage: &mut SendStage, now: Instant) {
        self.send_datagrams(stage, now);
        self.streams.flush(now);
    }

    fn send_datagrams(&mut self, stage: &mut SendStage, now: Instant) {
        loop {
            let batch = stage.next_batch(self.max_batch());
            let Some(first) = batch.first() else { return };
            if let Some(stream) = first.stream {
                batch.iter().for_each(|transmit| self.streams.send(stream, &transmit.contents, now));
                continue;
            }
            let Some(socket) = socket_for(&self.sockets, first.from) else {
                tracing::trace!(from = %first.from, "no socket for this address");
                continue;
            };
            match socket.send(&batch, &mut self.batch, self.advertised.contains(&first.from)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    stage.put_back(batch);
                    return;
                }
                Err(error) => tracing::trace!(%error, to = %first.to, "send failed"),
                Ok(()) => {}
            }
        }
    }

    fn max_batch(&self) -> usize {
        self.sockets.iter().map(|s| s.state.max_gso_segments()).min().unwrap_or(1).clamp(1, 32)
    }
}

impl Socket {
    /// Sends a batch from its own address, unless that is one that only others know us by.
    fn send(&self, batch: &[Transmit], room: &mut Vec<u8>, translated: bool) -> io::Result<()> {
        let Some(first) = batch.first() else { return Ok(()) };
        let (bytes, segment_size): (&[u8], _) = if batch.len() == 1 {
            (&first.contents, None)
        } else {
            room.clear();
            batch.iter().for_each(|transmit| room.extend_from_slice(&transmit.contents));
            (room, Some(first.contents.len()))
        };
        let choose_source = self.address.is_unspecified() && !translated;
        self.state.try_send(
            (&self.socket).into(),
            &quinn_udp::Transmit {
                destination: self.family_of(first.to),
                ecn: None,
                contents: bytes,
                segment_size,
                src_ip: choose_source.then(|| self.family_of(first.from).ip()),
            },
        )
    }

    /// A dual-stack socket takes IPv4 only in its mapped form.
    fn family_of(&self, address: SocketAddr) -> SocketAddr {
        match (self.address, address.ip()) {
            (IpAddr::V6(_), IpAddr::V4(v4)) => SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()),
            _ => address,
        }
    }
}

/// An address as its owner knows it: dual-stack sockets show IPv4 in its mapped form.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn socket_for(sockets: &[Socket], from: SocketAddr) -> Option<&Socket> {
    sockets
        .iter()
        .find(|s| s.address == from.ip())
        .or_else(|| sockets.iter().find(|s| s.address.is_unspecified()))
        .or_else(|| sockets.first())
}

fn bind_one(address: SocketAddr) -> io::Result<Socket> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("UDP {address}: {e}"));
    let socket = UdpSocket::bind(address).map_err(named)?;
    socket.set_nonblocking(true).map_err(named)?;
    let state = UdpSocketState::new((&socket).into()).map_err(named)?;
    // Smaller buffers work too: the kernel's limit is its owner's choice.
    let _ = state.set_send_buffer_size((&socket).into(), SOCKET_BUFFER);
    let _ = state.set_recv_buffer_size((&socket).into(), SOCKET_BUFFER);
    let local = socket.local_addr().map_err(named)?;
    Ok(Socket { socket, state, port: local.port(), address: local.ip(), ready: true })
}
