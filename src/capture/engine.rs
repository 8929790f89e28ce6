//! What every source shares: taking up the session's wishes, handing out frames, sleeping.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::cadence::Cadence;
use super::handle::Shared;
use super::planes::{FrameTimes, Planes};
use super::{CaptureEvent, ShmMode};
use crate::frame::{FrameKind, FrameSink, PixelFormat, Rect, ScreenMode, Size};

/// One pixel while no screen is known: the smallest frame there is.
const NO_SCREEN: Size = Size { width: 1, height: 1 };

/// A capture without its source.
pub(super) struct Engine {
    pub shared: Arc<Shared>,
    pub cadence: Cadence,
    pub planes: Planes,
    pub resize: Option<ScreenMode>,
    events: Box<dyn Fn(CaptureEvent) + Send + Sync>,
    sinks: BTreeMap<u64, Box<dyn FrameSink>>,
    wanted: bool,
    /// What the session was told last.
    slots_kept: bool,
}

impl Engine {
    pub fn new(shared: Arc<Shared>, fps: u32, events: Box<dyn Fn(CaptureEvent) + Send + Sync>) -> Self {
        Engine {
            shared,
            cadence: Cadence::new(fps, Instant::now()),
            planes: Planes::new(NO_SCREEN),
            resize: None,
            events,
            sinks: BTreeMap::new(),
            wanted: false,
            slots_kept: true,
        }
    }

    /// Tells the session.
    pub fn emit(&self, event: CaptureEvent) {
        (self.events)(event);
    }

    /// Somebody looks and there is a sink for frames.
    pub fn active(&self) -> bool {
        self.wanted && !self.sinks.is_empty()
    }

    /// Takes up what the session asked for. False when the capture is to end.
    pub fn take_mail(&mut self) -> bool {
        let mail = self.shared.take_mail();
        let now = Instant::now();
        if let Some(fps) = mail.fps {
            self.cadence.set_fps(fps);
        }
        if let Some(phase) = mail.phase {
            self.cadence.set_phase(phase, now);
        }
        if mail.phase_shift_us != 0 {
            self.cadence.adjust_phase(mail.phase_shift_us);
        }
        for (id, sink) in mail.sinks {
            self.change_sink(id, sink);
        }
        for (id, unit) in mail.encoded.into_iter().filter(|(id, _)| self.sinks.contains_key(id)) {
            self.cadence.encoded(id, unit);
        }
        if mail.refresh {
            self.cadence.refresh();
        }
        self.wanted = mail.active.unwrap_or(self.wanted);
        self.cadence.set_active(self.active());
        self.resize = mail.resize.or(self.resize);
        !self.shared.closed()
    }

    fn change_sink(&mut self, id: u64, sink: Option<Box<dyn FrameSink>>) {
        self.cadence.forget(id);
        match sink {
            Some(sink) => {
                self.sinks.insert(id, sink);
                self.cadence.refresh();
            }
            None => drop(self.sinks.remove(&id)),
        }
    }

    /// A source has a screen of this size now.
    pub fn up(&mut self, size: Size, can_resize: bool, shm: Option<ShmMode>) {
        self.planes.resize(size);
        self.cadence.refresh();
        self.shared.counters.connects.fetch_add(1, Ordering::Relaxed);
        self.set_shm(shm);
        self.emit(CaptureEvent::Up { size, can_resize, shm });
    }

    /// Notes how pixels come from the X server.
    pub fn set_shm(&self, shm: Option<ShmMode>) {
        self.shared.counters.shm.store(shm.map_or(0, ShmMode::code), Ordering::Relaxed);
    }

    /// The screen has another size now.
    pub fn resized(&mut self, size: Size) {
        self.planes.resize(size);
        self.cadence.refresh();
        self.emit(CaptureEvent::Resized(size));
    }

    /// Counts pixels that were fetched for a frame.
    pub fn count_grab<'a>(&self, rects: impl IntoIterator<Item = &'a Rect>) {
        let pixels: u64 = rects.into_iter().map(|rect| u64::from(rect.width) * u64::from(rect.height)).sum();
        add(&self.shared.counters.grabs, 1);
        add(&self.shared.counters.grabbed_bytes, pixels * super::convert::BYTES_PER_PIXEL as u64);
    }

    /// Hands out the frame after a grab. `changed_at` is none if nothing changed: it answers a refresh.
    pub fn push_grabbed(&mut self, changed_at: Option<Instant>, started: Instant) {
        let kind = if changed_at.is_some() { FrameKind::Fresh } else { FrameKind::Repeat };
        self.push(kind, changed_at.unwrap_or(started), |_, _| true);
        self.cadence.grabbed(started, Instant::now());
        let kept = self.cadence.keeps_to_slots();
        if std::mem::replace(&mut self.slots_kept, kept) != kept {
            self.emit(CaptureEvent::Slots { kept });
        }
    }

    /// Hands out the frame once more, to those who want it.
    pub fn push_repeat(&mut self) {
        let now = Instant::now();
        self.push(FrameKind::Repeat, now, |cadence, id| cadence.repeat_is_for(id, now));
        self.cadence.repeated(now);
    }

    fn push(&mut self, kind: FrameKind, damaged_at: Instant, is_for: impl Fn(&Cadence, u64) -> bool) {
        // Asked each time: a rendition that has changed its encoder may take another layout now.
        self.planes.keep_split(self.sinks.values().any(|sink| sink.format() == PixelFormat::I420));
        let counters = &self.shared.counters;
        add(if kind == FrameKind::Fresh { &counters.fresh } else { &counters.repeats }, 1);
        self.planes.advance();
        let times = FrameTimes { damaged_at, captured_at: Instant::now(), kind };
        for (_, sink) in self.sinks.iter_mut().filter(|(id, _)| is_for(&self.cadence, **id)) {
            let format = sink.format();
            sink.push(&self.planes.view(format, times));
        }
    }

    /// Sleeps until the session or `source` has something, or until then.
    pub fn wait(&self, source: Option<BorrowedFd<'_>>, until: Option<Instant>) {
        let wake = self.shared.wake_fd();
        let mut fds = vec![PollFd::new(&wake, PollFlags::IN)];
        if let Some(source) = &source {
            fds.push(PollFd::new(source, PollFlags::IN));
        }
        let timeout = until.map(|until| timespec(until.saturating_duration_since(Instant::now())));
        // An interrupted wait is a short one: every caller looks at the clock again.
        let _ = poll(&mut fds, timeout.as_ref());
        if !fds[0].revents().is_empty() {
            self.shared.clear_wake();
        }
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()) as _,
    }
}
