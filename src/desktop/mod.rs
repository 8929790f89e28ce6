//! Input into the X desktop: keys, text, pointer, locks.
//!
//! ```text
//! send() -> queue (PURE, bounded) -> worker thread -> keyboard (PURE) -> Op -> x11 (XTEST, XKB)
//!                                        |               keymap, spare, codes (PURE)
//!                                        +-> pointer: wheel notches, held buttons
//! ```
//!
//! The thread lives through restarts of the X server: what was held is forgotten, and it connects again.

pub mod codes;
pub mod keyboard;
#[cfg(test)]
mod keyboard_tests;
pub mod keymap;
pub mod pointer;
pub mod queue;
pub mod spare;
mod worker;
mod x11;
pub use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use thiserror::Error;

use crate::display::DisplayName;
use crate::session::action::DesktopAction;
use queue::ActionQueue;

/// How long dropping a handle waits for held keys to be released, if the X server does not answer.
const STOP_DEADLINE: Duration = Duration::from_secs(1);

/// What the desktop tells the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DesktopEvent {
    /// The desktop's locks, at the start and whenever they change.
    Locks {
        /// Caps Lock is on.
        caps: bool,
        /// Num Lock is on.
        num: bool,
    },
    /// Input reaches the X server. Nothing is held.
    Up,
    /// Input does not reach the X server; what was held is forgotten. Sent once, not for each attempt.
    Down {
        /// For people.
        reason: String,
    },
}

/// Why there is no input at all.
#[derive(Debug, Error)]
pub enum DesktopError {
    /// No thread or no descriptor to be had.
    #[error("cannot start the desktop thread: {0}")]
    Start(#[from] std::io::Error),
}

/// State shared between the handle and the thread.
#[derive(Debug, Default)]
struct Inbox {
    queue: ActionQueue,
    stop: bool,
}

#[derive(Debug)]
struct Shared {
    inbox: Mutex<Inbox>,
    wake: std::os::fd::OwnedFd,
}

impl Shared {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        // A panic elsewhere does not make the queue wrong.
        self.inbox.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn wake(&self) {
        // Can only fail when the counter is full, and then the thread is woken anyway.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

/// The way into a desktop. Dropping it releases what is held and ends the thread.
#[derive(Debug)]
pub struct DesktopHandle {
    shared: Arc<Shared>,
    done: Mutex<Receiver<()>>,
}

impl DesktopHandle {
    /// Queues an action; never blocks. False if it was dropped because too much waits: motion goes first,
    /// then presses and text, releases never.
    ///
    /// While the X server is away, everything but [`DesktopAction::Controlled`] is dropped later on.
    pub fn send(&self, action: DesktopAction) -> bool {
        let taken = self.shared.inbox().queue.push(action);
        if taken {
            self.shared.wake();
        }
        taken
    }
}

impl Drop for DesktopHandle {
    fn drop(&mut self) {
        self.shared.inbox().stop = true;
        self.shared.wake();
        let done = self.done.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        // The sender goes away with the thread; until then the thread may be waiting for a stopped X server.
        let _ = done.recv_timeout(STOP_DEADLINE);
    }
}

/// Starts the thread "desktop", which injects into `display` (`:0`), now or as soon as that is there.
///
/// `on_event` is called on that thread and must not block.
///
/// # Errors
/// [`DesktopError::Start`]: the system is out of threads or descriptors.
pub fn spawn(
    display: DisplayName,
    xauthority: Option<PathBuf>,
    on_event: impl Fn(DesktopEvent) + Send + Sync + 'static,
) -> Result<DesktopHandle, DesktopError> {
    let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(std::io::Error::from)?;
    let shared = Arc::new(Shared { inbox: Mutex::default(), wake });
    let (ended, done) = channel::<()>();
    let worker = worker::Worker::new(display, xauthority, Arc::clone(&shared), Arc::new(on_event));
    std::thread::Builder::new().name("desktop".into()).spawn(move || {
        let _ended = ended;
        worker.run();
    })?;
    Ok(DesktopHandle { shared, done: Mutex::new(done) })
}
