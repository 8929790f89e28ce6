//! The viewer's side of the signalling: hello, and whatever follows on the WebSocket.

use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::access::{Site, Socket};
use super::path::Offered;
use super::verdict::Stop;
use crate::wire::signal::{ClientMessage, CssSize, Fit, Right, ServerMessage, TurnAccess};

/// For the gateway's greeting.
const HELLO: Duration = Duration::from_secs(10);

/// For its goodbye.
const LEAVE: Duration = Duration::from_secs(1);
/// Feature of a gateway that sends video over the WebSocket.
const STREAM: &str = "stream";

/// What the gateway greeted us with.
#[derive(Clone, Debug)]
pub struct Greeting {
    /// Our number.
    pub viewer: u32,
    /// Credentials of its TURN server.
    pub turn: Option<TurnAccess>,
    /// What it can do beyond version 1.
    pub features: Vec<String>,
}

impl Greeting {
    /// What it means for paths, at a URL with TLS or without.
    pub fn offered(&self, secure: bool) -> Offered {
        Offered {
            secure,
            turn: self.turn.is_some(),
            tls: self.turn.as_ref().is_some_and(|turn| turn.tls),
            stream: self.features.iter().any(|feature| feature == STREAM),
        }
    }
}

/// What came.
#[derive(Debug)]
pub enum Incoming {
    /// A message that this version knows.
    Message(Box<ServerMessage>),
    /// Bytes.
    Frame(Bytes),
    /// The gateway answered a ping of this long ago.
    Pong(Duration),
    /// The WebSocket closed. Told once.
    Closed,
}

/// A WebSocket on which both sides have said hello.
pub struct Signal {
    socket: Option<Socket>,
    pinged: Option<Instant>,
}

impl Signal {
    /// Opens one.
    ///
    /// # Errors
    /// [`Stop`].
    pub async fn open(site: &Site) -> Result<Self, Stop> {
        Ok(Self { socket: Some(site.socket().await?), pinged: None })
    }

    /// Says hello as somebody who only looks: control and the screen's size stay as they are. Who is not visible
    /// gets no pictures.
    ///
    /// # Errors
    /// [`Stop`].
    pub async fn greet(&mut self, visible: bool) -> Result<Greeting, Stop> {
        let hello = ClientMessage::Hello {
            version: 1,
            features: Vec::new(),
            css: CssSize { width: 1280.0, height: 720.0 },
            device_pixel_ratio: 1.0,
            visible,
            fit: Fit::Scale,
            resume: None,
            rights: Some(vec![Right::View]),
        };
        self.say(&hello).await;
        let greeting = async {
            loop {
                match self.next().await {
                    Incoming::Message(message) => match *message {
                        ServerMessage::Hello { viewer, turn, features, .. } => {
                            return Ok(Greeting { viewer, turn, features });
                        }
                        ServerMessage::Bye { reason, message } => {
                            return Err(Stop::Ended { reason, message });
                        }
                        _ => {}
                    },
                    Incoming::Frame(_) | Incoming::Pong(_) => {}
                    Incoming::Closed => {
                        let why = "the WebSocket closed before the gateway's greeting";
                        return Err(Stop::NotAGateway(why.to_owned()));
                    }
                }
            }
        };
        let silent = || Stop::NotAGateway(format!("no greeting within {} s", HELLO.as_secs()));
        timeout(HELLO, greeting).await.unwrap_or_else(|_| Err(silent()))
    }

    /// Says something; nobody hears it once the WebSocket is closed.
    pub async fn say(&mut self, message: &ClientMessage) {
        if let Ok(text) = serde_json::to_string(message) {
            self.send(Message::text(text)).await;
        }
    }

    /// Says goodbye, and hangs up once the gateway does: it would miss a goodbye that a reset overtakes.
    pub async fn leave(mut self) {
        self.say(&ClientMessage::Bye {}).await;
        let closed = async { while !matches!(self.next().await, Incoming::Closed) {} };
        // It may be gone itself.
        let _ = timeout(LEAVE, closed).await;
    }

    /// Sends bytes.
    pub async fn bytes(&mut self, bytes: Bytes) {
        self.send(Message::Binary(bytes)).await;
    }

    /// Asks for a sign of life, once at a time.
    pub async fn ping(&mut self) {
        if self.pinged.is_none() {
            self.pinged = Some(Instant::now());
            self.send(Message::Ping(Bytes::new())).await;
        }
    }

    async fn send(&mut self, message: Message) {
        if let Some(socket) = &mut self.socket
            && socket.send(message).await.is_err()
        {
            self.socket = None;
        }
    }

    /// What comes next; nothing ever after [`Incoming::Closed`]. May be cancelled.
    pub async fn next(&mut self) -> Incoming {
        loop {
            let Some(socket) = &mut self.socket else { return pending().await };
            match socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    if let Ok(message) = serde_json::from_str(&text) {
                        return Incoming::Message(Box::new(message));
                    }
                }
                Some(Ok(Message::Binary(bytes))) => return Incoming::Frame(bytes),
                Some(Ok(Message::Pong(_))) => {
                    if let Some(pinged) = self.pinged.take() {
                        return Incoming::Pong(pinged.elapsed());
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => {
                    self.socket = None;
                    return Incoming::Closed;
                }
            }
        }
    }
}
