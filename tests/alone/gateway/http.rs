//! HTTP/1.1 and WebSocket as attackers write them: by hand, over a plain socket.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use tokio_tungstenite::tungstenite::client::{IntoClientRequest, client};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

use super::DEADLINE;

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// The rest, until the connection closed.
    pub body: Vec<u8>,
}

/// A connection whose reads and writes end at the deadline.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends one request head (without its last empty line) and reads until the gateway closes.
pub fn send(address: SocketAddr, head: &str) -> io::Result<Response> {
    send_with(address, head, "")
}

/// The same with a body, whose length the head has to give.
pub fn send_with(address: SocketAddr, head: &str, body: &str) -> io::Result<Response> {
    let mut stream = connect(address)?;
    stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes())?;
    let mut answer = Vec::new();
    // A reset behind an answer is how a server ends a request that it did not read to the end.
    match stream.read_to_end(&mut answer) {
        Err(error) if answer.is_empty() => return Err(error),
        _ => {}
    }
    let bad = || io::Error::other(format!("no HTTP answer: {:?}", String::from_utf8_lossy(&answer)));
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").ok_or_else(bad)?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(bad)?;
    Ok(Response { status, head, body: answer[end + 4..].to_vec() })
}

/// A GET as a program on this machine sends it.
pub fn get(address: SocketAddr, path: &str) -> io::Result<Response> {
    send(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n"))
}

/// Upgrades to a WebSocket with more headers; the error is the status of a refusal.
pub fn upgrade(address: SocketAddr, headers: &[(&'static str, &str)]) -> Result<WebSocket<TcpStream>, u16> {
    let mut request = format!("ws://{address}/ws").into_client_request().expect("a request");
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("deskgate.v1"));
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("a header's value"));
    }
    match client(request, connect(address).map_err(|_| 0_u16)?) {
        Ok((socket, _)) => Ok(socket),
        Err(tokio_tungstenite::tungstenite::HandshakeError::Failure(Error::Http(response))) => {
            Err(response.status().as_u16())
        }
        Err(_) => Err(0),
    }
}

/// The first message of every viewer.
pub fn hello() -> serde_json::Value {
    serde_json::json!({
        "type": "hello", "version": 1, "css": { "width": 1280, "height": 720 }, "devicePixelRatio": 1,
        "visible": true, "fit": "scale",
    })
}

/// An upgraded socket that has said hello and was greeted.
pub fn greeted(address: SocketAddr) -> WebSocket<TcpStream> {
    let mut socket = upgrade(address, &[]).expect("an upgrade");
    socket.send(Message::text(hello().to_string())).expect("hello is taken");
    read_until(&mut socket, |m| m["type"] == "hello").expect("a greeting");
    socket
}

/// Reads messages until one is wanted; the error is how the socket ended.
pub fn read_until<S: Read + Write>(
    socket: &mut WebSocket<S>,
    wanted: impl Fn(&serde_json::Value) -> bool,
) -> Result<serde_json::Value, End> {
    let mut bye = None;
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => {
                let message: serde_json::Value = serde_json::from_str(&text).expect("JSON");
                if wanted(&message) {
                    return Ok(message);
                }
                if message["type"] == "bye" {
                    bye = message["reason"].as_str().map(str::to_owned);
                }
            }
            Ok(Message::Close(frame)) => {
                // Lets the library answer, so that the other side does not wait for it.
                let _ = socket.flush();
                return Err(End { code: frame.map(|f| f.code.into()), bye });
            }
            Ok(_) => {}
            Err(Error::Io(e)) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                panic!("the gateway neither answered nor closed");
            }
            Err(_) => return Err(End { code: None, bye }),
        }
    }
}

/// How a socket ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Close code, if there was a close frame.
    pub code: Option<u16>,
    /// Reason of the `bye` before it.
    pub bye: Option<String>,
}

/// Reads until the gateway closes.
pub fn read_to_end(socket: &mut WebSocket<TcpStream>) -> End {
    read_until(socket, |_| false).expect_err("nothing is wanted")
}

/// A masked client frame with any first byte, whose length may be a lie.
pub fn frame(first: u8, declared: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match declared {
        0..=125 => out.push(0x80 | declared as u8),
        126..=65_535 => {
            out.push(0x80 | 126);
            out.extend((declared as u16).to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend(declared.to_be_bytes());
        }
    }
    // A mask of zeros leaves the payload as it is.
    out.extend([0; 4]);
    out.extend(payload);
    out
}
