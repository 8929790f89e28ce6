//! The way into the gateway's loop from every other thread.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::oneshot;

use super::metrics::Metrics;
use crate::capture::CaptureEvent;
use crate::desktop::DesktopEvent;
use crate::http::{Gateway, SocketEvent};
use crate::media::rendition::RenditionEvent;
use crate::session::{Notice, RenditionKey};
use crate::transport::net::Waker;
use crate::transport::packetize::PacketizedFrame;
use crate::transport::streams::Accepted;
use crate::wire::api::Activity;

/// Commands that may wait. The loop never blocks, so that many mean that it is being flooded.
const QUEUE: usize = 4_096;

/// Something for the loop.
pub enum Command {
    /// A WebSocket has something to say.
    Socket {
        /// Its number.
        socket: u64,
        /// What.
        event: SocketEvent,
    },
    /// The capture has something to say.
    Capture(CaptureEvent),
    /// The desktop has something to say.
    Desktop(DesktopEvent),
    /// A frame is ready.
    Frame {
        /// Which rendition.
        rendition: u64,
        /// What it encodes.
        key: RenditionKey,
        /// The frame.
        frame: PacketizedFrame,
    },
    /// A rendition has something else to say.
    Rendition {
        /// Which.
        rendition: u64,
        /// What.
        event: RenditionEvent,
    },
    /// These tokens hold no longer.
    Revoked(HashSet<String>),
    /// A connection that carries media.
    Media(Accepted),
    /// Somebody wants `/api/status`.
    Status(oneshot::Sender<Value>),
    /// Somebody wants `/api/activity`.
    Activity(oneshot::Sender<Activity>),
    /// Viewers are to be told something, or no longer.
    Notice {
        /// What.
        notice: Option<Notice>,
        /// Told when they are.
        done: oneshot::Sender<()>,
    },
    /// Stop.
    Shutdown,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Link {
    commands: SyncSender<Command>,
    waker: Waker,
    shared: Arc<Flags>,
    metrics: Arc<Metrics>,
}

/// What the loop and the others tell each other without a queue.
#[derive(Default)]
pub struct Flags {
    /// A frame has been captured and encoded, and the display is there.
    pub ready: AtomicBool,
    /// Renditions of which a frame found no room in the queue: each of their viewers needs a key frame.
    lost_frames: Mutex<BTreeSet<RenditionKey>>,
}

impl Flags {
    /// Whether a frame of this rendition was lost since the last call.
    pub fn take_lost(&self, key: RenditionKey) -> bool {
        self.lost_frames.lock().unwrap_or_else(PoisonError::into_inner).remove(&key)
    }
}

impl Link {
    /// A link, and the end that the loop reads.
    pub fn new(waker: Waker, metrics: Arc<Metrics>) -> (Self, Receiver<Command>) {
        let (commands, queue) = sync_channel(QUEUE);
        (Self { commands, waker, shared: Arc::default(), metrics }, queue)
    }

    /// Hands a command over; false if the loop has ended or its queue is full.
    pub fn send(&self, command: Command) -> bool {
        match self.commands.try_send(command) {
            Ok(()) => {
                self.waker.wake();
                true
            }
            Err(TrySendError::Full(command)) => {
                if let Command::Frame { key, .. } = command {
                    self.shared.lost_frames.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
                }
                tracing::warn!(code = "loop-overloaded", "the gateway's queue is full");
                false
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }

    /// Hands over what is said once, and must not be lost in a full queue; waits for room if it must. The loop
    /// never waits for the threads that call this. False if the loop has ended.
    pub fn tell(&self, command: Command) -> bool {
        let taken = self.commands.send(command).is_ok();
        self.waker.wake();
        taken
    }

    /// See [`Flags`].
    pub fn flags(&self) -> &Flags {
        &self.shared
    }
}

impl Gateway for Link {
    fn socket_event(&self, socket: u64, event: SocketEvent) -> bool {
        let command = Command::Socket { socket, event };
        if matches!(command, Command::Socket { event: SocketEvent::Closed | SocketEvent::Hello { .. }, .. }) {
            return self.tell(command);
        }
        self.send(command)
    }

    async fn status(&self) -> Value {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Status(reply));
        answer.await.unwrap_or_else(|_| serde_json::json!({ "error": "the gateway is stopping" }))
    }

    async fn activity(&self) -> Option<Activity> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Activity(reply));
        answer.await.ok()
    }

    async fn notice(&self, notice: Option<Notice>) -> bool {
        let (done, answer) = oneshot::channel();
        self.send(Command::Notice { notice, done });
        answer.await.is_ok()
    }

    fn metrics(&self) -> String {
        self.metrics.text()
    }

    fn ready(&self) -> bool {
        self.shared.ready.load(Ordering::Relaxed)
    }
}
