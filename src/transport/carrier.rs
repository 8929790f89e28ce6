//! The socket of a media connection, bare or with TLS on it. Nothing here waits.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use rustls::ServerConnection;

/// Read at a time.
const READ: usize = 16 << 10;
/// Encrypted at a time, at most: the longest record (RFC 8446 §5.1).
const RECORD: usize = 16 << 10;

/// See the module.
pub struct Carrier {
    socket: TcpStream,
    tls: Option<Tls>,
}

struct Tls {
    session: Box<ServerConnection>,
    /// Bytes that have been encrypted and have not left as a whole.
    inside: usize,
}

impl Carrier {
    /// A bare connection.
    pub fn plain(socket: TcpStream) -> Self {
        Self { socket, tls: None }
    }

    /// A connection whose TLS handshake is done.
    pub fn tls(socket: TcpStream, session: ServerConnection) -> Self {
        Self { socket, tls: Some(Tls { session: Box::new(session), inside: 0 }) }
    }

    /// True if TLS is on it.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// What is waited for, and whose options are set.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Adds what has come to `bytes`, all that has been decrypted included: for that nothing more would come.
    /// False at the end.
    ///
    /// # Errors
    /// The socket's own, but none for having to wait; TLS that is broken.
    pub fn receive(&mut self, bytes: &mut Vec<u8>) -> io::Result<bool> {
        let Some(tls) = &mut self.tls else {
            let mut buffer = [0; READ];
            let read = unless_wait(self.socket.read(&mut buffer))?;
            bytes.extend_from_slice(&buffer[..read.unwrap_or(0)]);
            return Ok(read != Some(0));
        };
        // What came before the handshake's end waits inside, and the session reads nothing while that is much.
        let open = tls.decrypted(bytes)?;
        let read = unless_wait(tls.session.read_tls(&mut self.socket))?;
        tls.session.process_new_packets().map_err(io::Error::other)?;
        Ok(tls.decrypted(bytes)? && open && read != Some(0))
    }

    /// Sends from the front of `bytes`; gives how many of them the kernel has taken. What it takes later is not
    /// told: the next call begins with the same bytes.
    ///
    /// TLS gets no more than goes into one record before the kernel has taken that, so what waits is in the hands
    /// of the caller, who can see that it waits.
    ///
    /// # Errors
    /// The socket's own, [`io::ErrorKind::WouldBlock`] among them.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.write(bytes) };
        if tls.inside == 0 {
            tls.inside = tls.session.writer().write(&bytes[..bytes.len().min(RECORD)])?;
        }
        while tls.session.wants_write() {
            if tls.session.write_tls(&mut self.socket)? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(std::mem::take(&mut tls.inside))
    }

    /// True if TLS has something of its own to send, or the rest of a record.
    pub fn wants_to_send(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.session.wants_write())
    }

    /// Says that nothing follows (close_notify, RFC 8446 §6.1), as far as the kernel takes it.
    pub fn say_goodbye(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.session.send_close_notify();
            // Whoever does not read hears nothing.
            let _ = tls.session.write_tls(&mut self.socket);
        }
    }
}

impl Tls {
    /// False once the other side has said that nothing follows.
    fn decrypted(&mut self, bytes: &mut Vec<u8>) -> io::Result<bool> {
        Ok(unless_wait(self.session.reader().read_to_end(bytes))?.is_none())
    }
}

/// True for what is tried again later.
pub fn is_wait(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn unless_wait(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if is_wait(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::TcpListener;
    use std::sync::Arc;

    use rustls::crypto::ring;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
    use socket2::SockRef;

    use super::*;

    pub type Client = StreamOwned<ClientConnection, TcpStream>;

    pub fn sockets() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener.accept().unwrap().0, client)
    }

    /// A carrier behind a finished handshake, and the client at its other end.
    pub fn pair() -> (Carrier, Client) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .and_then(|b| b.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key))
            .unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (mut near, mut far) = sockets();
        let mut client = ClientConnection::new(Arc::new(client), "localhost".try_into().unwrap()).unwrap();
        let handshake = std::thread::spawn(move || {
            client.complete_io(&mut far).unwrap();
            StreamOwned::new(client, far)
        });
        let mut server = rustls::ServerConnection::new(Arc::new(server)).unwrap();
        while server.is_handshaking() {
            server.complete_io(&mut near).unwrap();
        }
        near.set_nonblocking(true).unwrap();
        (Carrier::tls(near, server), handshake.join().unwrap())
    }

    fn send_all(carrier: &mut Carrier, mut bytes: &[u8]) {
        while !bytes.is_empty() || carrier.wants_to_send() {
            match carrier.send(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) => assert!(is_wait(&error), "{error}"),
            }
        }
    }

    fn receive(carrier: &mut Carrier, wanted: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < wanted {
            assert!(carrier.receive(&mut bytes).unwrap());
        }
        bytes
    }

    #[test]
    fn what_goes_through_tls_comes_out_as_it_was() {
        let (mut carrier, mut client) = pair();
        let sent: Vec<u8> = (0..100_000_u32).map(|i| i as u8).collect();
        client.write_all(&sent[..5_000]).unwrap();
        assert_eq!(receive(&mut carrier, 5_000), sent[..5_000]);
        let reader = std::thread::spawn(move || {
            let mut got = vec![0; 100_000];
            client.read_exact(&mut got).map(|()| (got, client)).unwrap()
        });
        send_all(&mut carrier, &sent);
        let (got, mut client) = reader.join().unwrap();
        assert_eq!(got, sent);
        // A goodbye on either side is an end, not a break.
        carrier.say_goodbye();
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
        client.conn.send_close_notify();
        client.flush().unwrap();
        let mut nothing = Vec::new();
        while carrier.receive(&mut nothing).unwrap() {}
        assert!(nothing.is_empty());
    }

    #[test]
    fn what_the_kernel_does_not_take_is_not_counted_as_sent() {
        let (mut carrier, mut client) = pair();
        for socket in [SockRef::from(carrier.socket()), SockRef::from(&client.sock)] {
            socket.set_send_buffer_size(64 << 10).unwrap();
            socket.set_recv_buffer_size(64 << 10).unwrap();
        }
        let all = vec![7; 2 << 20];
        let mut sent = 0;
        let error = loop {
            match carrier.send(&all[sent..]) {
                Ok(count) => sent += count,
                Err(error) => break error,
            }
        };
        assert!(is_wait(&error) && carrier.wants_to_send() && sent < all.len(), "{error}, {sent}");
        // Asked again, it neither takes more nor sends anything twice.
        for _ in 0..10 {
            assert!(is_wait(&carrier.send(&all[sent..]).unwrap_err()));
        }
        let reader = std::thread::spawn(move || {
            let mut got = vec![0; 2 << 20];
            client.read_exact(&mut got).map(|()| got).unwrap()
        });
        send_all(&mut carrier, &all[sent..]);
        assert_eq!(reader.join().unwrap(), all);
    }

    #[test]
    fn bytes_that_are_no_tls_end_it() {
        let (mut carrier, client) = pair();
        (&client.sock).write_all(b"\x17\x03\x03\x00\x20and now for something else entirely!").unwrap();
        let mut bytes = Vec::new();
        let error = loop {
            match carrier.receive(&mut bytes) {
                Ok(open) => assert!(open),
                Err(error) => break error,
            }
        };
        assert!(!is_wait(&error) && bytes.is_empty(), "{error}");
        // A reset, without a goodbye, is an error as well.
        let (mut carrier, client) = pair();
        drop(client.sock);
        let mut bytes = Vec::new();
        while matches!(carrier.receive(&mut bytes), Ok(true)) {}
        assert!(!carrier.receive(&mut bytes).unwrap_or(false));
    }
}
