//! One encoding that any number of viewers share: an encoder, and whoever replaces it when it fails.
//!
//! A thread of its own starts, watches and replaces [`Runner`]s; frames come in on the capture's thread and go
//! straight to the current runner; units go out on that runner's thread. The thread sleeps while no frames come.
//! No frame is lost in between: the last one is kept and begins, as an IDR, what the next encoder puts out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::budget::{RateMeter, worth_a_key_frame};
use super::catalog::{Ability, Entry};
use super::picture::OwnedFrame;
use super::runner::{AccessUnit, Runner, RunnerConfig, RunnerEvent, START_DEADLINE, STOP_DEADLINE};
use super::watchdog::Watchdog;
use crate::frame::{Codec, FrameSink, FrameView, PixelFormat, Size};

/// First wait before everything is tried again, once every entry has failed; doubled each time.
const RETRY: Duration = Duration::from_secs(5);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// What a rendition is started with.
#[derive(Clone, Copy, Debug)]
pub struct RenditionConfig {
    /// Picture size to begin with; frames of another size change it.
    pub size: Size,
    /// Frame limit, frames a second.
    pub fps: u32,
    /// Target bitrate, kbit/s.
    pub bitrate_kbps: u32,
    /// An encoder that has taken frames and given nothing for this long is replaced.
    pub patience: Duration,
}

impl RenditionConfig {
    /// With two seconds of patience.
    pub fn new(size: Size, fps: u32, bitrate_kbps: u32) -> Self {
        Self { size, fps, bitrate_kbps, patience: Duration::from_secs(2) }
    }
}

/// What a rendition reports, on threads of its own: handlers must not block, nor stop the rendition.
#[derive(Clone, Debug)]
pub enum RenditionEvent {
    /// A frame was encoded.
    AccessUnit(AccessUnit),
    /// An encoder has proved itself: its first unit follows.
    Started {
        /// Entry name.
        encoder: String,
    },
    /// An encoder failed; the next is tried.
    Fallback {
        /// Entry that failed.
        from: String,
        /// Entry that is tried.
        to: String,
        /// For people.
        reason: String,
    },
    /// Every entry failed. All are tried again later, for ever.
    Exhausted {
        /// Entry and what was wrong with it, in the order tried.
        reasons: Vec<(String, String)>,
    },
}

/// Receives [`RenditionEvent`]s.
pub type OnRendition = Box<dyn Fn(RenditionEvent) + Send + Sync>;

/// A supervised encoder. Dropping it stops it.
pub struct Rendition {
    shared: Arc<Shared>,
    ended: Receiver<()>,
}

/// The capture's end of a rendition. Outlives it harmlessly.
#[derive(Clone)]
pub struct RenditionSink {
    shared: Arc<Shared>,
}

struct Shared {
    codec: Codec,
    on_event: OnRendition,
    state: Mutex<State>,
    nudge: Condvar,
    /// The layout that the current runner takes.
    takes_nv12: AtomicBool,
}

struct State {
    size: Size,
    fps: u32,
    bitrate_kbps: u32,
    runner: Option<Arc<Runner>>,
    /// Counts runners; what an older one says is not heard.
    generation: u64,
    /// What the next runner begins with.
    pending: Option<OwnedFrame>,
    dog: Watchdog,
    meter: RateMeter,
    pushes: u64,
    todo: Todo,
}

/// What the supervisor is to do next. Flags, not a queue: doing it once is enough.
#[derive(Default)]
struct Todo {
    stop: bool,
    broken: Option<String>,
    rebuild: bool,
    rates: bool,
    idr: bool,
    /// Frames come again: look after them.
    watch: bool,
}

impl Rendition {
    /// Starts encoding with the first of `candidates` that works, once the thread `after` has ended: some hardware
    /// has one session, which a predecessor must give back first.
    pub fn start(
        codec: Codec,
        candidates: Vec<Arc<Entry>>,
        config: RenditionConfig,
        after: Option<JoinHandle<()>>,
        on_event: OnRendition,
    ) -> Self {
        let nv12 = candidates.first().is_none_or(|entry| entry.format == PixelFormat::Nv12);
        let shared = Arc::new(Shared {
            codec,
            on_event,
            nudge: Condvar::new(),
            takes_nv12: AtomicBool::new(nv12),
            state: Mutex::new(State {
                size: config.size,
                fps: config.fps.max(1),
                bitrate_kbps: config.bitrate_kbps,
                runner: None,
                generation: 0,
                pending: None,
                dog: Watchdog::new(config.patience),
                meter: RateMeter::new(config.fps),
                pushes: 0,
                todo: Todo::default(),
            }),
        });
        let (end, ended) = sync_channel(1);
        let supervisor = Supervisor {
            shared: shared.clone(),
            candidates,
            index: 0,
            reasons: Vec::new(),
            retry: RETRY,
            encoding_kbps: config.bitrate_kbps,
        };
        let spawned = thread::Builder::new().name(format!("rendition-{}", codec.name())).spawn(move || {
            // A predecessor that panicked has ended all the same.
            let _ = after.map(JoinHandle::join);
            supervisor.run();
            let _ = end.send(());
        });
        if let Err(error) = spawned {
            (shared.on_event)(RenditionEvent::Exhausted {
                reasons: vec![(codec.name().to_owned(), format!("no thread to run it on: {error}"))],
            });
        }
        Self { shared, ended }
    }

    /// What comes out.
    pub fn codec(&self) -> Codec {
        self.shared.codec
    }

    /// Where frames go in.
    pub fn sink(&self) -> Box<dyn FrameSink> {
        Box::new(RenditionSink { shared: self.shared.clone() })
    }

    /// Sets the bitrate, kbit/s. An encoder that pays with a key frame ignores changes by less than a quarter up
    /// or 15 % down.
    pub fn set_bitrate(&self, kbps: u32) {
        let mut state = self.shared.lock();
        state.bitrate_kbps = kbps.max(1);
        state.todo.rates = true;
        self.shared.nudge.notify_one();
    }

    /// Sets the frame limit, frames a second.
    pub fn set_fps(&self, fps: u32) {
        let mut state = self.shared.lock();
        state.fps = fps.max(1);
        state.meter.set_full(fps);
        state.todo.rates = true;
        self.shared.nudge.notify_one();
    }

    /// Makes the next frame a key frame, where the encoder can. On a still screen the caller pushes a frame.
    pub fn force_idr(&self) {
        self.shared.lock().todo.idr = true;
        self.shared.nudge.notify_one();
    }

    /// Encodes in another size. Not needed if frames of that size are going to be pushed.
    pub fn set_size(&self, size: Size) {
        let mut state = self.shared.lock();
        if state.size != size {
            state.size = size;
            state.todo.rebuild = true;
            self.shared.nudge.notify_one();
        }
    }

    /// Name of the entry at work; none while one is being started.
    pub fn encoder_name(&self) -> Option<String> {
        self.shared.lock().runner.as_ref().map(|runner| runner.entry().name.clone())
    }

    /// Loses what the current encoder puts out, as if it had frozen. For tests of what happens then.
    pub fn stall(&self) {
        let runner = self.shared.lock().runner.clone();
        if let Some(runner) = runner {
            runner.stall();
        }
    }

    /// Stops encoding. No event comes after this returns, and it returns within the deadlines of a runner even
    /// if an encoder hangs.
    pub fn stop(self) {}
}

impl Drop for Rendition {
    fn drop(&mut self) {
        let runner = {
            let mut state = self.shared.lock();
            state.todo.stop = true;
            state.runner.clone()
        };
        if let Some(runner) = runner {
            runner.silence();
        }
        self.shared.nudge.notify_one();
        if self.ended.recv_timeout(START_DEADLINE + STOP_DEADLINE).is_err() {
            tracing::warn!(codec = self.shared.codec.name(), "the rendition's thread hangs; left behind");
        }
    }
}

impl FrameSink for RenditionSink {
    fn format(&self) -> PixelFormat {
        if self.shared.takes_nv12.load(Ordering::Relaxed) { PixelFormat::Nv12 } else { PixelFormat::I420 }
    }

    fn push(&mut self, frame: &FrameView<'_>) {
        self.shared.push(frame, Instant::now());
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, frame: &FrameView<'_>, now: Instant) {
        let mut state = self.lock();
        if state.todo.stop {
            return;
        }
        state.pushes += 1;
        if state.meter.pushed(now).is_some() {
            state.todo.rates = true;
            self.nudge.notify_one();
        }
        let runner = state.runner.clone().filter(|runner| runner.size() == frame.size);
        let Some(runner) = runner else {
            state.pending = OwnedFrame::copy(frame, state.pending.take());
            if state.size != frame.size {
                state.size = frame.size;
                state.todo.rebuild = true;
                self.nudge.notify_one();
            }
            return;
        };
        state.dog.pushed(now);
        if !state.todo.watch {
            state.todo.watch = true;
            self.nudge.notify_one();
        }
        drop(state);
        runner.push(frame);
    }

    /// A runner of `generation` speaks.
    fn hear(&self, generation: u64, proved: &AtomicBool, event: RunnerEvent) {
        match event {
            RunnerEvent::AccessUnit(unit) => {
                let name = {
                    let mut state = self.lock();
                    if state.generation != generation {
                        return;
                    }
                    let runner = state.runner.clone();
                    let waiting = runner.as_ref().is_some_and(|runner| runner.inside() > 0);
                    state.dog.produced(unit.encoded_at, waiting);
                    runner.filter(|_| !proved.swap(true, Ordering::Relaxed)).map(|r| r.entry().name.clone())
                };
                if let Some(encoder) = name {
                    (self.on_event)(RenditionEvent::Started { encoder });
                }
                (self.on_event)(RenditionEvent::AccessUnit(unit));
            }
            RunnerEvent::Failed { reason } => {
                let mut state = self.lock();
                if state.generation == generation {
                    state.todo.broken = Some(reason);
                    self.nudge.notify_one();
                }
            }
        }
    }
}

/// Starts, watches and replaces runners, on a thread of its own.
struct Supervisor {
    shared: Arc<Shared>,
    candidates: Vec<Arc<Entry>>,
    /// Of the candidate at work or to be tried; past the end once all have failed.
    index: usize,
    reasons: Vec<(String, String)>,
    retry: Duration,
    /// What the encoder was last told.
    encoding_kbps: u32,
}

impl Supervisor {
    fn run(mut self) {
        self.begin();
        loop {
            let todo = self.wait();
            if todo.stop {
                break;
            }
            if let Some(reason) = todo.broken.or_else(|| self.stalled()) {
                self.replace(reason);
            } else if todo.rebuild {
                self.rebuild();
            } else {
                if todo.rates {
                    self.tell_rates();
                }
                if todo.idr {
                    self.with_runner(|runner| runner.force_idr());
                }
            }
        }
        if let Some(runner) = self.take_runner() {
            let _ = runner.stop();
        }
    }

    /// Sleeps until there is something to do, or to look after.
    fn wait(&mut self) -> Todo {
        let retry_at = (self.index >= self.candidates.len()).then(|| Instant::now() + self.retry);
        let mut state = self.shared.lock();
        let mut seen = state.pushes;
        loop {
            if state.todo.any() || retry_at.is_some_and(|at| Instant::now() >= at) {
                break;
            }
            let pause = match retry_at {
                Some(at) => Some(at.saturating_duration_since(Instant::now())),
                None => state.todo.watch.then_some(Watchdog::LOOK_EVERY),
            };
            let Some(pause) = pause else {
                state = self.shared.nudge.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let (again, outcome) =
                self.shared.nudge.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner);
            state = again;
            if outcome.timed_out() && retry_at.is_none() {
                if state.dog.armed() {
                    break;
                }
                // Watch on only while frames come: a still screen wakes nobody.
                state.todo.watch = std::mem::replace(&mut seen, state.pushes) != state.pushes;
            }
        }
        let watch = state.todo.watch;
        let todo = std::mem::take(&mut state.todo);
        state.todo.watch = watch;
        drop(state);
        if retry_at.is_some_and(|at| Instant::now() >= at) && !todo.stop {
            self.index = 0;
            self.retry = (2 * self.retry).min(LONGEST_RETRY);
            self.begin();
        }
        todo
    }

    fn stalled(&self) -> Option<String> {
        let mut state = self.shared.lock();
        state.runner.as_ref()?;
        let waited = state.dog.stalled(Instant::now())?;
        Some(format!("took frames but gave none back for {:.1} s", waited.as_secs_f64()))
    }

    /// Starts the candidate at `index`, or the first after it that starts.
    fn begin(&mut self) {
        while let Some(entry) = self.candidates.get(self.index).cloned() {
            if self.shared.lock().todo.stop {
                return;
            }
            match self.start(&entry) {
                Ok(()) => return,
                Err(reason) => self.give_up_on(&entry, reason),
            }
        }
        let reasons = std::mem::take(&mut self.reasons);
        tracing::error!(codec = self.shared.codec.name(), ?reasons, retry = ?self.retry, "no encoder works");
        (self.shared.on_event)(RenditionEvent::Exhausted { reasons });
    }

    fn start(&mut self, entry: &Arc<Entry>) -> Result<(), String> {
        let (config, generation) = {
            let mut state = self.shared.lock();
            state.generation += 1;
            // What a candidate that did not even start had to say is in its error.
            state.todo.broken = None;
            state.dog.reset();
            // Frames come in the format that the next encoder takes from now on.
            self.shared.takes_nv12.store(entry.format == PixelFormat::Nv12, Ordering::Relaxed);
            let config = RunnerConfig { size: state.size, fps: state.fps, bitrate_kbps: state.bitrate_kbps };
            (config, state.generation)
        };
        let shared: Weak<Shared> = Arc::downgrade(&self.shared);
        let proved = AtomicBool::new(false);
        let on_event = Box::new(move |event| {
            if let Some(shared) = shared.upgrade() {
                shared.hear(generation, &proved, event);
            }
        });
        let runner = Arc::new(Runner::start(entry, config, on_event).map_err(|error| error.to_string())?);
        self.encoding_kbps = config.bitrate_kbps;
        let mut state = self.shared.lock();
        if state.size != config.size {
            state.todo.rebuild = true;
        }
        state.todo.rates |= (state.fps, state.bitrate_kbps) != (config.fps, config.bitrate_kbps);
        // Under the lock, so that no newer frame overtakes it.
        if let Some(frame) = state.pending.take_if(|frame| frame.view().size == config.size) {
            state.dog.pushed(Instant::now());
            state.todo.watch = true;
            runner.push(&frame.view());
        }
        tracing::info!(encoder = %entry.name, size = ?config.size, kbps = config.bitrate_kbps, "encoder started");
        state.runner = Some(runner);
        Ok(())
    }

    fn give_up_on(&mut self, entry: &Entry, reason: String) {
        tracing::warn!(encoder = %entry.name, %reason, "encoder failed");
        self.reasons.push((entry.name.clone(), reason.clone()));
        self.index += 1;
        if let Some(next) = self.candidates.get(self.index) {
            let (from, to) = (entry.name.clone(), next.name.clone());
            (self.shared.on_event)(RenditionEvent::Fallback { from, to, reason });
        }
    }

    /// The current runner has failed: the next candidate takes over, with the last frame.
    fn replace(&mut self, reason: String) {
        let Some(old) = self.take_runner() else { return };
        let entry = old.entry().clone();
        // Its teardown may hang, and nobody waits for it.
        let retire = thread::Builder::new().name("encoder-retire".to_owned());
        if let Err(error) = retire.spawn(move || old.stop()) {
            tracing::warn!(%error, "no thread to stop an encoder on");
        }
        self.give_up_on(&entry, reason);
        self.begin();
    }

    /// The same candidate again, in the size and at the rates now wanted.
    fn rebuild(&mut self) {
        if let Some(old) = self.take_runner() {
            // Waited for: a device may have room for one session only.
            let _ = old.stop();
        }
        self.begin();
    }

    /// Takes the runner out of service and keeps its last frame for the next one.
    fn take_runner(&self) -> Option<Arc<Runner>> {
        let runner = self.shared.lock().runner.take()?;
        runner.silence();
        let mut state = self.shared.lock();
        state.generation += 1;
        if state.pending.is_none() {
            state.pending = runner.last_frame();
        }
        drop(state);
        Some(runner)
    }

    fn tell_rates(&mut self) {
        let (kbps, fps, rate) = {
            let state = self.shared.lock();
            (state.bitrate_kbps, state.fps, state.meter.rate())
        };
        let Some(runner) = self.shared.lock().runner.clone() else { return };
        let another_bitrate = kbps != self.encoding_kbps;
        let too_small = runner.entry().bitrate.costs_idr && !worth_a_key_frame(self.encoding_kbps, kbps);
        if another_bitrate && !runner.can(Ability::SetBitrate)
            || !runner.can(Ability::SetFps) && fps != runner.fps()
        {
            self.rebuild();
            return;
        }
        if another_bitrate && !too_small {
            self.encoding_kbps = kbps;
            runner.set_bitrate(kbps);
        }
        if !runner.entry().bitrate.costs_idr {
            runner.set_fps(rate);
        }
    }

    fn with_runner(&self, act: impl FnOnce(&Runner)) {
        let runner = self.shared.lock().runner.clone();
        if let Some(runner) = runner {
            act(&runner);
        }
    }
}

impl Todo {
    fn any(&self) -> bool {
        self.stop || self.broken.is_some() || self.rebuild || self.rates || self.idr
    }
}
