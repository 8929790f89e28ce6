//! The session's side of a capture: commands that never block, and counters.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use super::ShmMode;
use super::refine::Encoded;
use crate::frame::{FrameSink, ScreenMode};

/// What the session wants and the capture thread has not yet taken up.
///
/// Newer wishes replace older ones, so it cannot grow however fast they come.
#[derive(Default)]
pub(super) struct Mail {
    pub active: Option<bool>,
    pub fps: Option<u32>,
    pub phase: Option<Option<Duration>>,
    pub phase_shift_us: i64,
    pub refresh: bool,
    pub resize: Option<ScreenMode>,
    /// Added (or replaced) or removed sinks.
    pub sinks: BTreeMap<u64, Option<Box<dyn FrameSink>>>,
    pub encoded: BTreeMap<u64, Encoded>,
}

/// What both threads see.
pub(super) struct Shared {
    mail: Mutex<Mail>,
    wake: OwnedFd,
    closed: AtomicBool,
    pub counters: Counters,
}

#[derive(Default)]
pub(super) struct Counters {
    pub fresh: AtomicU64,
    pub repeats: AtomicU64,
    pub grabs: AtomicU64,
    pub polls: AtomicU64,
    pub grabbed_bytes: AtomicU64,
    pub missed_damage: AtomicU64,
    pub connects: AtomicU64,
    pub shm: AtomicU8,
}

/// What a capture has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureStats {
    /// Frames that showed a change.
    pub fresh: u64,
    /// Frames that went out again unchanged, or as an answer to a key-frame request.
    pub repeats: u64,
    /// Times that pixels were fetched for a frame.
    pub grabs: u64,
    /// Times that the screen was polled because damage is not to be trusted.
    pub polls: u64,
    /// Bytes of pixels fetched for frames.
    pub grabbed_bytes: u64,
    /// Changes found that damage had not announced.
    pub missed_damage: u64,
    /// Times that an X server was found.
    pub connects: u64,
    /// How pixels come from the X server; nothing before the first connection and for the test source.
    pub shm: Option<ShmMode>,
}

impl Shared {
    pub fn new() -> io::Result<Self> {
        Ok(Shared {
            mail: Mutex::default(),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            closed: AtomicBool::new(false),
            counters: Counters::default(),
        })
    }

    pub fn take_mail(&self) -> Mail {
        std::mem::take(&mut *self.lock())
    }

    pub fn closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Makes the descriptor unreadable until the next wake.
    pub fn clear_wake(&self) {
        // Fails only when nobody has written.
        let _ = rustix::io::read(&self.wake, &mut [0u8; 8]);
    }

    fn lock(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // Fails only when the counter is full: then the thread has been woken already.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

struct Owner {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.wake();
    }
}

/// Steers a capture; cheap to clone. No call blocks or fails. The capture ends when the last clone is dropped.
#[derive(Clone)]
pub struct CaptureHandle(Arc<Owner>);

impl CaptureHandle {
    pub(super) fn new(shared: Arc<Shared>, thread: JoinHandle<()>) -> Self {
        CaptureHandle(Arc::new(Owner { shared, thread: Mutex::new(Some(thread)) }))
    }

    /// Whether anybody looks. Without, nothing is grabbed; looking again starts with a whole frame.
    pub fn set_active(&self, active: bool) {
        self.post(|mail| mail.active = Some(active));
    }

    /// The frame limit, in frames a second (clamped to 1..=240).
    pub fn set_fps(&self, fps: u32) {
        self.post(|mail| mail.fps = Some(fps));
    }

    /// Adds a sink, or replaces the one of the same id. It gets a whole frame as soon as the frame limit allows.
    pub fn add_sink(&self, id: u64, sink: Box<dyn FrameSink>) {
        self.post(|mail| drop(mail.sinks.insert(id, Some(sink))));
    }

    /// Removes a sink; it is dropped on the capture thread.
    pub fn remove_sink(&self, id: u64) {
        self.post(|mail| drop(mail.sinks.insert(id, None)));
    }

    /// Sends the whole screen again although it may be still: a key frame is wanted.
    pub fn refresh(&self) {
        self.post(|mail| mail.refresh = true);
    }

    /// The newest access unit made from sink `id`'s frames.
    ///
    /// Lets the refinement go on while bits are short, and stop when there is nothing left to improve.
    pub fn encoded(&self, id: u64, unit: Encoded) {
        self.0.shared.lock().encoded.insert(id, unit);
        if unit.starved {
            self.0.shared.wake();
        }
    }

    /// Locks to the controlling viewer's display, given the measured interval between its ticks, or unlocks.
    pub fn set_phase(&self, display_interval: Option<Duration>) {
        self.post(|mail| mail.phase = Some(display_interval));
    }

    /// Makes frames leave later by so many microseconds, or earlier if negative. Adds up; needs a lock.
    pub fn adjust_phase(&self, micros: i64) {
        self.post(|mail| mail.phase_shift_us = mail.phase_shift_us.saturating_add(micros));
    }

    /// Asks the X server for another screen. The outcome is an event: `Resized` or `ResizeRefused`.
    pub fn resize(&self, wanted: ScreenMode) {
        self.post(|mail| mail.resize = Some(wanted));
    }

    /// What has been done so far.
    pub fn stats(&self) -> CaptureStats {
        let counters = &self.0.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CaptureStats {
            fresh: read(&counters.fresh),
            repeats: read(&counters.repeats),
            grabs: read(&counters.grabs),
            polls: read(&counters.polls),
            grabbed_bytes: read(&counters.grabbed_bytes),
            missed_damage: read(&counters.missed_damage),
            connects: read(&counters.connects),
            shm: ShmMode::from_code(counters.shm.load(Ordering::Relaxed)),
        }
    }

    /// Ends the capture and waits for its thread (at most the few seconds of one unanswered X request).
    ///
    /// Must not be called from the event callback or a sink.
    pub fn stop(&self) {
        self.0.shared.closed.store(true, Ordering::Release);
        self.0.shared.wake();
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the capture thread panicked");
        }
    }

    fn post(&self, change: impl FnOnce(&mut Mail)) {
        change(&mut self.0.shared.lock());
        self.0.shared.wake();
    }
}
