//! TCP connections, TLS on them or not, that carry TURN or ICE: messages in, and a short queue out.
//!
//! They are served by the gateway's own loop, like the UDP socket: a packet changes no threads. What the kernel
//! does not take at once waits here, where it can be seen that it waits; the kernel is told to take little.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::carrier::{Carrier, is_wait};
use super::framing::{Framing, MAX_MESSAGE};
use super::net::canonical;

/// Bytes that the kernel may hold unsent (`TCP_NOTSENT_LOWAT`): what is there cannot be taken back.
const NOT_SENT: u32 = 16 << 10;
/// Bytes that may wait for one connection: a key frame of 4K.
const MAX_WAITING: usize = 1 << 20;
/// A connection that has taken nothing for this long is closed.
const DEAF: Duration = Duration::from_secs(5);
/// Video that would wait longer than this is not worth sending.
const BEHIND: Duration = Duration::from_millis(150);
/// A connection without an allocation, or a check that proved whose it is, is closed by then.
const PROVE: Duration = Duration::from_secs(10);

/// A connection that was found to speak TURN or ICE.
pub struct Accepted {
    /// The connection.
    pub carrier: Carrier,
    /// How it is cut into messages.
    pub framing: Framing,
    /// What was read from it to find that out.
    pub early: Vec<u8>,
    /// Its place among the connections that are allowed: given back with it.
    pub place: Box<dyn Send>,
}

/// Where a message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The connection's number.
    pub stream: u64,
    /// How it is framed.
    pub framing: Framing,
    /// TLS is on it.
    pub tls: bool,
    /// Our address.
    pub local: SocketAddr,
    /// Theirs.
    pub remote: SocketAddr,
}

struct Stream {
    carrier: Carrier,
    source: Source,
    read: Vec<u8>,
    queue: Queue,
    since: Instant,
    _place: Box<dyn Send>,
}

/// Bytes that wait, and since when.
#[derive(Default)]
struct Queue {
    bytes: VecDeque<u8>,
    /// Bytes taken by the kernel so far, and marks of how many must be for all that was queued until then.
    taken: u64,
    queued: u64,
    marks: VecDeque<(u64, Instant)>,
    /// When the kernel last took something.
    moved: Option<Instant>,
}

impl Queue {
    fn push(&mut self, parts: &[&[u8]], now: Instant) -> bool {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if self.bytes.len() + length > MAX_WAITING {
            return false;
        }
        if self.bytes.is_empty() {
            self.moved = Some(now);
        }
        parts.iter().for_each(|part| self.bytes.extend(*part));
        self.queued += length as u64;
        // Packets of one frame share a mark.
        match self.marks.back_mut() {
            Some((end, at)) if *at == now => *end = self.queued,
            _ => self.marks.push_back((self.queued, now)),
        }
        true
    }

    fn took(&mut self, count: usize, now: Instant) {
        self.bytes.drain(..count);
        self.taken += count as u64;
        self.moved = Some(now);
        while self.marks.front().is_some_and(|(end, _)| *end <= self.taken) {
            self.marks.pop_front();
        }
    }

    /// For how long the oldest byte has waited.
    fn age(&self, now: Instant) -> Duration {
        self.marks.front().map_or(Duration::ZERO, |(_, at)| now.saturating_duration_since(*at))
    }

    fn is_deaf(&self, now: Instant) -> bool {
        !self.bytes.is_empty() && self.moved.is_some_and(|at| now.saturating_duration_since(at) >= DEAF)
    }
}

/// See the module.
#[derive(Default)]
pub struct Streams {
    streams: BTreeMap<u64, Stream>,
    /// Those that have something to read, or to say of themselves.
    ready: Vec<u64>,
    next: u64,
    closed: Vec<Source>,
}

impl Streams {
    /// Takes a connection over.
    ///
    /// # Errors
    /// When the system refuses its options.
    pub fn add(&mut self, accepted: Accepted, now: Instant) -> io::Result<()> {
        let Accepted { carrier, framing, early, place } = accepted;
        let socket = carrier.socket();
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        SockRef::from(socket).set_tcp_notsent_lowat(NOT_SENT)?;
        let (local, remote) = (canonical(socket.local_addr()?), canonical(socket.peer_addr()?));
        self.next += 1;
        let source = Source { stream: self.next, framing, tls: carrier.is_tls(), local, remote };
        // What was read early may hold a whole message, for which nothing more will come.
        self.ready.push(self.next);
        self.streams.insert(
            self.next,
            Stream { carrier, source, read: early, queue: Queue::default(), since: now, _place: place },
        );
        Ok(())
    }

    /// Connections, and whether each waits for room to send.
    pub fn waiting(&self) -> impl Iterator<Item = (u64, BorrowedFd<'_>, bool)> {
        self.streams.iter().map(|(id, stream)| (*id, stream.carrier.socket().as_fd(), stream.has_to_send()))
    }

    /// The connections of [`Self::waiting`] that need wait no longer.
    pub fn set_ready(&mut self, ready: Vec<u64>) {
        self.ready = ready;
    }

    /// Hands every message that has come to `f`, and sends what waits.
    pub fn serve(&mut self, now: Instant, mut f: impl FnMut(Source, &[u8])) {
        let mut over: Vec<u64> =
            self.streams.iter().filter(|(_, stream)| stream.queue.is_deaf(now)).map(|(id, _)| *id).collect();
        for id in std::mem::take(&mut self.ready) {
            let open = self.streams.get_mut(&id).is_none_or(|s| s.receive(&mut f) && s.flush(now));
            if !open {
                over.push(id);
            }
        }
        over.into_iter().for_each(|id| self.close(id));
    }

    /// Queues a message; it leaves with [`Self::flush`].
    pub fn send(&mut self, id: u64, message: &[u8], now: Instant) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let prefix = stream.source.framing.prefix(message);
        let taken = match &prefix {
            Some(prefix) => stream.queue.push(&[prefix, message], now),
            None => stream.queue.push(&[message], now),
        };
        // Half a message cannot be left out of a stream, and a megabyte that nobody takes says enough.
        if !taken {
            self.close(id);
        }
    }

    /// Sends what waits, as far as it is taken.
    pub fn flush(&mut self, now: Instant) {
        let pending = self.streams.iter_mut().filter(|(_, stream)| stream.has_to_send());
        let over: Vec<u64> = pending.filter_map(|(id, stream)| (!stream.flush(now)).then_some(*id)).collect();
        over.into_iter().for_each(|id| self.close(id));
    }

    /// True if what is queued now would come too late to be worth looking at.
    pub fn is_behind(&self, id: u64, now: Instant) -> bool {
        self.streams.get(&id).is_some_and(|stream| stream.queue.age(now) > BEHIND)
    }

    /// Closes connections that have had time to become of use and are of none.
    pub fn expire(&mut self, now: Instant, in_use: impl Fn(Source) -> bool) {
        let old = |stream: &Stream| now.saturating_duration_since(stream.since) >= PROVE;
        let over = self.streams.iter().filter(|(_, stream)| old(stream) && !in_use(stream.source));
        let over: Vec<u64> = over.map(|(id, _)| *id).collect();
        over.into_iter().for_each(|id| self.close(id));
    }

    /// The connections that ended since the last call.
    pub fn take_closed(&mut self) -> Vec<Source> {
        std::mem::take(&mut self.closed)
    }

    fn close(&mut self, id: u64) {
        if let Some(mut stream) = self.streams.remove(&id) {
            stream.carrier.say_goodbye();
            tracing::debug!(remote = %stream.source.remote, "a media connection ended");
            self.closed.push(stream.source);
        }
    }
}

impl Stream {
    fn has_to_send(&self) -> bool {
        !self.queue.bytes.is_empty() || self.carrier.wants_to_send()
    }

    /// False at the end.
    fn receive(&mut self, f: &mut impl FnMut(Source, &[u8])) -> bool {
        let open = self.carrier.receive(&mut self.read).unwrap_or_else(|error| {
            tracing::debug!(%error, remote = %self.source.remote, "a media connection broke");
            false
        });
        let mut start = 0;
        loop {
            match self.source.framing.next(&self.read[start..]) {
                Ok(Some(frame)) => {
                    let message = start + frame.message.start..start + frame.message.end;
                    f(self.source, &self.read[message]);
                    start += frame.end;
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(%error, remote = %self.source.remote, "a media connection made no sense");
                    return false;
                }
            }
        }
        self.read.drain(..start);
        debug_assert!(self.read.len() <= MAX_MESSAGE + 4 || !open);
        open
    }

    /// False at the end.
    fn flush(&mut self, now: Instant) -> bool {
        while self.has_to_send() {
            let (head, _) = self.queue.bytes.as_slices();
            match self.carrier.send(head) {
                Ok(0) if !head.is_empty() => return false,
                Ok(count) => self.queue.took(count, now),
                Err(error) => return is_wait(&error),
            }
        }
        true
    }
}

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;
