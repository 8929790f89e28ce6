//! One WebSocket of a viewer: messages in, messages out, alive or closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{SinkExt, StreamExt};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::task::TaskTracker;

use super::site::Permit;
use super::{Gateway, OUTBOX, SocketEvent, ToSocket};
use crate::session::{Bucket, Principal};
use crate::wire::signal::{ByeReason, ClientMessage, ServerMessage};
use crate::wire::{MAX_INPUT_BYTES, MAX_JSON_BYTES, SUBPROTOCOL};

/// An upgraded socket says hello within this, or is closed.
const HELLO: Duration = Duration::from_secs(10);
const PING: Duration = Duration::from_secs(5);
/// A socket from which nothing came for this long is dead.
const SILENCE: Duration = Duration::from_secs(15);
/// A write that takes longer means that nobody reads.
const WRITE: Duration = Duration::from_secs(5);
/// How long a socket that was told goodbye is listened to, until it hangs up.
const LINGER: Duration = Duration::from_secs(1);
/// Frames of any kind, pings too, a second and at once. A page with a 1 kHz mouse stays far below; what comes
/// faster waits in the sender's socket.
const FRAMES: (u32, u32) = (4_000, 8_000);
/// Pause for each frame over that.
const PAUSE: Duration = Duration::from_millis(10);
/// Read at a time, in bytes. The library's own 128 KiB would be held by every idle socket.
const READ_BUFFER: usize = 8 << 10;
/// The largest message that is sent, and what may wait in one socket's write buffer, in bytes: key frames of any size.
const WRITE_BUFFER: usize = 16 << 20;

type Stream = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

static NEXT: AtomicU64 = AtomicU64::new(1);

fn is(headers: &HeaderMap, name: header::HeaderName, value: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .any(|v| v.trim().eq_ignore_ascii_case(value))
}

/// Who opens a socket, and how.
pub(super) struct Visitor {
    pub principal: Principal,
    pub tls: bool,
}

/// Answers the upgrade (RFC 6455 §4.2) and runs the socket.
pub(super) fn upgrade<G: Gateway>(
    gateway: Arc<G>,
    sockets: &TaskTracker,
    visitor: Visitor,
    permit: Permit,
    mut request: Request,
) -> Response {
    let headers = request.headers();
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map(|k| derive_accept_key(k.as_bytes()));
    let valid = is(headers, header::UPGRADE, "websocket")
        && is(headers, header::CONNECTION, "upgrade")
        && is(headers, header::SEC_WEBSOCKET_VERSION, "13");
    let Some(accept) = key.filter(|_| valid) else {
        return (StatusCode::UPGRADE_REQUIRED, [(header::UPGRADE, "websocket")], "a WebSocket is expected\n")
            .into_response();
    };
    if !is(headers, header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        return (StatusCode::BAD_REQUEST, "the subprotocol deskgate.v1 is expected\n").into_response();
    }
    let upgrade = hyper::upgrade::on(&mut request);
    sockets.spawn(async move {
        match upgrade.await {
            Ok(upgraded) => {
                let stream =
                    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(limits()))
                        .await;
                run(gateway, visitor, stream).await;
            }
            Err(error) => tracing::debug!(%error, "upgrade failed"),
        }
        drop(permit);
    });
    let protocol = [
        (header::UPGRADE, "websocket"),
        (header::CONNECTION, "upgrade"),
        (header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, protocol, [(header::SEC_WEBSOCKET_ACCEPT, accept)]).into_response()
}

fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(MAX_JSON_BYTES))
        .max_frame_size(Some(MAX_JSON_BYTES))
        .max_write_buffer_size(WRITE_BUFFER)
}

async fn run<G: Gateway>(gateway: Arc<G>, Visitor { principal, tls }: Visitor, mut stream: Stream) {
    let hello = match timeout(HELLO, read_hello(&mut stream)).await {
        Ok(Some(hello)) => hello,
        _ => {
            let bye = bye(ByeReason::Protocol, "the first message must be hello, within 10 seconds");
            return close(&mut stream, Some(bye), CloseCode::Policy).await;
        }
    };
    let socket = NEXT.fetch_add(1, Ordering::Relaxed);
    let (outbox, inbox) = mpsc::channel(OUTBOX);
    if gateway.socket_event(socket, SocketEvent::Hello { principal, tls, hello, outbox }) {
        pump(&*gateway, socket, &mut stream, inbox).await;
        gateway.socket_event(socket, SocketEvent::Closed);
    } else {
        let bye = bye(ByeReason::Shutdown, "the gateway is stopping");
        close(&mut stream, Some(bye), CloseCode::Away).await;
    }
}

async fn read_hello(stream: &mut Stream) -> Option<ClientMessage> {
    loop {
        match stream.next().await?.ok()? {
            Message::Text(text) => return serde_json::from_str(&text).ok(),
            Message::Ping(_) | Message::Pong(_) => {}
            _ => return None,
        }
    }
}

async fn pump<G: Gateway>(
    gateway: &G,
    socket: u64,
    stream: &mut Stream,
    mut inbox: mpsc::Receiver<ToSocket>,
) {
    let mut ping = interval(PING);
    let mut heard = Instant::now();
    let mut frames = Bucket::new(FRAMES.0, FRAMES.1, heard.into_std());
    loop {
        tokio::select! {
            message = stream.next() => {
                heard = Instant::now();
                if !frames.take(heard.into_std()) {
                    sleep(PAUSE).await;
                }
                let Some(event) = read(message) else {
                    return close(stream, None, CloseCode::Normal).await;
                };
                let taken = match event {
                    Ok(Some(event)) => gateway.socket_event(socket, event),
                    Ok(None) => true,
                    Err(code) => return close(stream, None, code).await,
                };
                if !taken {
                    let bye = bye(ByeReason::Shutdown, "the gateway is stopping");
                    return close(stream, Some(bye), CloseCode::Away).await;
                }
            }
            message = inbox.recv() => match message {
                Some(ToSocket::Text(text)) => {
                    if !write(stream, Message::text(text)).await {
                        return;
                    }
                }
                Some(ToSocket::Frame(bytes)) => {
                    if !write(stream, Message::binary(bytes)).await {
                        return;
                    }
                }
                Some(ToSocket::Bye(text)) => return close(stream, Some(text), CloseCode::Normal).await,
                // The gateway dropped the outbox: it was full, or the viewer is gone.
                None => return close(stream, None, CloseCode::Policy).await,
            },
            _ = ping.tick() => {
                if heard.elapsed() > SILENCE || !write(stream, Message::Ping(Default::default())).await {
                    return;
                }
            }
        }
    }
}

/// What was read: `None` at the end, an event, nothing, or the code to close with.
fn read(message: Option<Result<Message, Error>>) -> Option<Result<Option<SocketEvent>, CloseCode>> {
    Some(match message? {
        Ok(Message::Text(text)) => Ok(Some(parse(&text))),
        Ok(Message::Binary(bytes)) if bytes.len() <= MAX_INPUT_BYTES => Ok(Some(SocketEvent::Frame(bytes))),
        Ok(Message::Binary(_)) | Err(Error::Capacity(_)) => Err(CloseCode::Size),
        Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Ok(None),
        Ok(Message::Close(_)) => return None,
        Err(Error::Protocol(_) | Error::Utf8(_)) => Err(CloseCode::Protocol),
        Err(_) => return None,
    })
}

/// Unknown types are ignored, so that a newer page works; anything else that does not parse is an error.
fn parse(text: &str) -> SocketEvent {
    serde_json::from_str(text).map_or(SocketEvent::Malformed, SocketEvent::Message)
}

async fn write(stream: &mut Stream, message: Message) -> bool {
    matches!(timeout(WRITE, stream.send(message)).await, Ok(Ok(())))
}

async fn close(stream: &mut Stream, bye: Option<String>, code: CloseCode) {
    if let Some(text) = bye
        && !write(stream, Message::text(text)).await
    {
        return;
    }
    // The other side may be gone already: then there is nobody to tell.
    let _ = timeout(WRITE, stream.close(Some(CloseFrame { code, reason: Default::default() }))).await;
    // Closed over bytes that nobody read, TCP resets the connection, and the goodbye is lost on its way.
    let tcp = stream.get_mut();
    let _ = timeout(LINGER, async {
        tcp.shutdown().await?;
        while tcp.read(&mut [0; 4_096]).await? > 0 {}
        std::io::Result::Ok(())
    })
    .await;
}

fn bye(reason: ByeReason, message: &str) -> String {
    serde_json::to_string(&ServerMessage::Bye { reason, message: message.to_owned() }).unwrap_or_default()
}
