//! One encoder: frames in, access units out, on one GStreamer pipeline.
//!
//! ```text
//! push ─copy─▶ pooled buffer ─▶ appsrc (newest one waits) ─▶ the entry's launch line ─▶ appsink ─▶ on_event
//! ```
//!
//! Encoding happens on appsrc's thread, and so do events: `on_event` must not block and must not stop the runner.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use thiserror::Error;

use super::annexb;
use super::catalog::{Ability, Entry, Matrix, Terms};
use super::host::processors;
use super::matrix::{bt601_to_bt709, bt709_to_bt601};
use super::picture::{Layout, OwnedFrame};
use super::pipeline::{apply, child, classify, feed_from, pool_of, raw_caps, write};
use super::version::Version;
use crate::frame::{Codec, FrameKind, FrameView, PixelFormat, Size};

/// Longest time that building a pipeline may take; a driver can hang in it.
pub const START_DEADLINE: Duration = Duration::from_secs(5);
/// Longest time that a teardown is waited for.
pub const STOP_DEADLINE: Duration = Duration::from_secs(2);
/// Frames inside an encoder whose units are still to come; more means that it swallows them.
const MAX_FLIGHTS: usize = 64;

/// What a runner is started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunnerConfig {
    /// Picture size; even.
    pub size: Size,
    /// Frame limit, frames a second, 1 or more.
    pub fps: u32,
    /// Target bitrate, kbit/s.
    pub bitrate_kbps: u32,
}

/// One encoded frame.
#[derive(Clone, Debug)]
pub struct AccessUnit {
    /// H.264: byte stream, parameter sets before every IDR. VP8: one frame.
    pub data: Bytes,
    /// A decoder can start here.
    pub keyframe: bool,
    /// See [`FrameView::damaged_at`].
    pub damaged_at: Instant,
    /// See [`FrameView::captured_at`].
    pub captured_at: Instant,
    /// When it left the encoder.
    pub encoded_at: Instant,
    /// See [`FrameView::serial`].
    pub serial: u64,
    /// See [`FrameView::kind`].
    pub kind: FrameKind,
}

/// What a runner reports.
#[derive(Clone, Debug)]
pub enum RunnerEvent {
    /// A frame was encoded.
    AccessUnit(AccessUnit),
    /// The pipeline is broken; nothing will come any more. Reported once.
    Failed {
        /// For people.
        reason: String,
    },
}

/// Receives [`RunnerEvent`]s.
pub type OnEvent = Box<dyn Fn(RunnerEvent) + Send + Sync>;

/// Why a runner did not start or stop.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RunnerError {
    /// The launch line or a property is not understood by this GStreamer.
    #[error("{0}")]
    Pipeline(String),
    /// The device is not there or may not be opened.
    #[error("no device: {0}")]
    NoDevice(String),
    /// The encoder refused to start.
    #[error("refused: {0}")]
    Refused(String),
    /// Building the pipeline took longer than [`START_DEADLINE`]; its thread is left behind.
    #[error("the encoder did not start within {} s", START_DEADLINE.as_secs())]
    StartTimeout,
    /// Teardown took longer than [`STOP_DEADLINE`]; its thread is left behind.
    #[error("the encoder did not stop within {} s", STOP_DEADLINE.as_secs())]
    StopTimeout,
}

/// A running encoder. Dropping it stops it.
pub struct Runner {
    entry: Arc<Entry>,
    version: Version,
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    encoder: gst::Element,
    pool: gst::BufferPool,
    layout: Layout,
    started: Instant,
    shared: Arc<Shared>,
    feed: Mutex<Feed>,
    rates: Mutex<Rates>,
    stopped: AtomicBool,
}

/// What the streaming thread sees.
struct Shared {
    codec: Codec,
    on_event: OnEvent,
    /// Frames whose units are to come, oldest first.
    flights: Mutex<VecDeque<Flight>>,
    dropped: AtomicU64,
    /// Open while events may pass; held during each, so that none is under way once it has been shut.
    gate: Mutex<Gate>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    Shut,
}

#[derive(Clone, Copy)]
struct Flight {
    pts: gst::ClockTime,
    damaged_at: Instant,
    captured_at: Instant,
    serial: u64,
    kind: FrameKind,
}

#[derive(Default)]
struct Feed {
    last: Option<(gst::Buffer, Flight)>,
}

#[derive(Clone, Copy)]
struct Rates {
    kbps: u32,
    caps_fps: u32,
    rate: f64,
}

impl Runner {
    /// Builds the pipeline of `entry` and sets it running. That the encoder works shows with the first unit.
    ///
    /// # Errors
    /// [`RunnerError`]; whatever had been built is torn down.
    pub fn start(entry: &Arc<Entry>, config: RunnerConfig, on_event: OnEvent) -> Result<Self, RunnerError> {
        let (done, wait) = sync_channel(1);
        let entry = entry.clone();
        let build = move || {
            // If nobody waits any more, the runner comes back in the error and is stopped by its drop.
            let _ = done.send(Self::build(entry, config, on_event));
        };
        thread::Builder::new()
            .name("encoder-start".to_owned())
            .spawn(build)
            .map_err(|error| RunnerError::Pipeline(format!("no thread to start it on: {error}")))?;
        wait.recv_timeout(START_DEADLINE).unwrap_or(Err(RunnerError::StartTimeout))
    }

    fn build(entry: Arc<Entry>, config: RunnerConfig, on_event: OnEvent) -> Result<Self, RunnerError> {
        let (major, minor, micro, _) = gst::version();
        let version = Version(major, minor, micro);
        let fps = config.fps.max(1);
        let terms =
            Terms { size: config.size, fps, bitrate_kbps: config.bitrate_kbps, processors: processors() };
        let layout = Layout::new(config.size, entry.format);
        let caps = raw_caps(&layout, entry.matrix, fps)?;
        let launch = format!("appsrc name=source ! {} ! appsink name=sink", entry.launch);
        let pipeline = gst::parse::launch(&launch)
            .map_err(|error| RunnerError::Pipeline(error.to_string()))?
            .downcast::<gst::Pipeline>()
            .map_err(|_| RunnerError::Pipeline("the launch line is not a pipeline".to_owned()))?;
        let source: gst_app::AppSrc = child(&pipeline, "source")?;
        let sink: gst_app::AppSink = child(&pipeline, "sink")?;
        let encoder: gst::Element = child(&pipeline, "encoder")?;
        apply(&entry, version, &terms, &encoder)?;
        feed_from(&source, &caps);
        let shared = Arc::new(Shared {
            codec: entry.codec,
            on_event,
            flights: Mutex::default(),
            dropped: AtomicU64::new(0),
            gate: Mutex::new(Gate::Open),
        });
        collect_into(&sink, &shared);
        watch_bus(&pipeline, &shared)?;
        let pool = pool_of(&caps, &layout)?;
        let runner = Self {
            entry,
            version,
            pipeline,
            source,
            encoder,
            pool,
            layout,
            started: Instant::now(),
            shared,
            feed: Mutex::default(),
            rates: Mutex::new(Rates { kbps: config.bitrate_kbps, caps_fps: fps, rate: f64::from(fps) }),
            stopped: AtomicBool::new(false),
        };
        runner.play()?;
        Ok(runner)
    }

    fn play(&self) -> Result<(), RunnerError> {
        if self.pipeline.set_state(gst::State::Playing).is_ok() {
            return Ok(());
        }
        let refused = RunnerError::Refused("the pipeline did not start".to_owned());
        let Some(bus) = self.pipeline.bus() else { return Err(refused) };
        Err(match bus.pop_filtered(&[gst::MessageType::Error]).as_deref().map(gst::MessageRef::view) {
            Some(gst::MessageView::Error(error)) => classify(error),
            _ => refused,
        })
    }

    /// The entry that it runs.
    pub fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    /// Picture size.
    pub fn size(&self) -> Size {
        self.layout.size
    }

    /// The layout that costs no re-ordering.
    pub fn format(&self) -> PixelFormat {
        self.layout.format
    }

    /// Frame rate in the caps, frames a second.
    pub fn fps(&self) -> u32 {
        lock(&self.rates).caps_fps
    }

    /// Can it do that without being built anew?
    pub fn can(&self, ability: Ability) -> bool {
        self.entry.can(ability, self.version)
    }

    /// Frames that were replaced by a newer one before they were encoded, or for which there was no buffer.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Frames inside, waiting or being encoded.
    pub fn inside(&self) -> usize {
        lock(&self.shared.flights).len()
    }

    /// Takes a copy of `frame`. If one already waits for the encoder, the newer takes its place. Returns false if
    /// the frame could not be taken: another size, no buffer free, or the pipeline has ended.
    pub fn push(&self, frame: &FrameView<'_>) -> bool {
        let mut feed = lock(&self.feed);
        let Some(mut buffer) = self.filled(frame) else {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        };
        let earliest =
            feed.last.as_ref().map_or(gst::ClockTime::ZERO, |(_, f)| f.pts + gst::ClockTime::USECOND);
        let pts = gst::ClockTime::from_nseconds(self.started.elapsed().as_nanos() as u64).max(earliest);
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(pts);
        }
        let flight = Flight {
            pts,
            damaged_at: frame.damaged_at,
            captured_at: frame.captured_at,
            serial: frame.serial,
            kind: frame.kind,
        };
        self.take_off(flight);
        feed.last = Some((buffer.clone(), flight));
        self.source.push_buffer(buffer).is_ok()
    }

    fn take_off(&self, flight: Flight) {
        let mut flights = lock(&self.shared.flights);
        if flights.len() >= MAX_FLIGHTS {
            flights.pop_front();
        }
        flights.push_back(flight);
    }

    fn filled(&self, frame: &FrameView<'_>) -> Option<gst::Buffer> {
        let params = gst::BufferPoolAcquireParams::with_flags(gst::BufferPoolAcquireFlags::DONTWAIT);
        let mut buffer = self.pool.acquire_buffer(Some(&params)).ok()?;
        let mut map = buffer.get_mut()?.map_writable().ok()?;
        let fits = self.layout.fill(map.as_mut_slice(), frame);
        if self.entry.matrix == Matrix::Bt709 {
            bt601_to_bt709(&self.layout, map.as_mut_slice());
        }
        drop(map);
        fits.then_some(buffer)
    }

    /// A copy of the last frame that was pushed: what a successor starts with.
    pub fn last_frame(&self) -> Option<OwnedFrame> {
        let feed = lock(&self.feed);
        let (buffer, flight) = feed.last.as_ref()?;
        let map = buffer.map_readable().ok()?;
        let mut data = map.as_slice().to_vec();
        if self.entry.matrix == Matrix::Bt709 {
            bt709_to_bt601(&self.layout, &mut data);
        }
        let view = FrameView {
            size: self.layout.size,
            format: self.layout.format,
            planes: self.layout.planes(&data),
            damaged_at: flight.damaged_at,
            captured_at: flight.captured_at,
            serial: flight.serial,
            kind: FrameKind::Repeat,
        };
        OwnedFrame::copy(&view, None)
    }

    /// Sets the bitrate, kbit/s, from the next frame on.
    pub fn set_bitrate(&self, kbps: u32) {
        self.change_rates(|rates| rates.kbps = kbps);
    }

    /// Tells how many frames a second really come, so that the bitrate is shared out among that many.
    pub fn set_fps(&self, fps: f64) {
        self.change_rates(|rates| rates.rate = fps);
    }

    fn change_rates(&self, change: impl FnOnce(&mut Rates)) {
        let mut rates = lock(&self.rates);
        let before = *rates;
        change(&mut rates);
        let value = |r: Rates| self.entry.bitrate_value(r.kbps, r.caps_fps, r.rate);
        if before.kbps != rates.kbps {
            for vbv in self.entry.vbv.iter().filter(|vbv| vbv.live) {
                write(&self.encoder, &vbv.property, &vbv.value(rates.kbps, rates.caps_fps).to_string());
            }
        }
        if value(before) != value(*rates) {
            write(&self.encoder, &self.entry.bitrate.property, &value(*rates).to_string());
        }
    }

    /// Makes the next frame a key frame. An entry without [`Ability::ForceIdr`] makes its next one in its own time.
    pub fn force_idr(&self) {
        let event = gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build();
        if let Some(pad) = self.encoder.static_pad("src") {
            pad.send_event(event);
        }
    }

    /// From here on what the encoder puts out is lost, as if it had frozen. For tests of what happens then.
    pub fn stall(&self) {
        let Some(pad) = self.pipeline.by_name("sink").and_then(|sink| sink.static_pad("sink")) else {
            return;
        };
        // Not `Drop`: after it the binding unrefs a buffer, and GStreamer one that is none.
        let _ = pad.add_probe(gst::PadProbeType::BUFFER, |_, _| gst::PadProbeReturn::Handled);
    }

    /// Blocks the teardown of this runner for `time`, as a dead driver would. For tests of the deadline.
    #[doc(hidden)]
    pub fn block_teardown(&self, time: Duration) {
        let Some(pad) = self.encoder.static_pad("sink") else { return };
        let _ = pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            thread::sleep(time);
            gst::PadProbeReturn::Remove
        });
    }

    /// No event comes after this returns.
    pub fn silence(&self) {
        *lock(&self.shared.gate) = Gate::Shut;
    }

    /// Stops the pipeline; no event comes after this returns, whatever it returns.
    ///
    /// # Errors
    /// [`RunnerError::StopTimeout`] if the teardown hangs; its thread and the pipeline are then left behind.
    pub fn stop(&self) -> Result<(), RunnerError> {
        self.silence();
        if self.stopped.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let (done, wait) = sync_channel(1);
        let (pipeline, pool) = (self.pipeline.clone(), self.pool.clone());
        lock(&self.feed).last = None;
        let teardown = move || {
            let _ = pipeline.set_state(gst::State::Null);
            if let Some(bus) = pipeline.bus() {
                bus.unset_sync_handler();
            }
            let _ = pool.set_active(false);
            // Whoever waits may count descriptors next.
            drop((pipeline, pool));
            let _ = done.send(());
        };
        let spawned = thread::Builder::new().name("encoder-stop".to_owned()).spawn(teardown);
        if let Err(error) = spawned {
            return Err(RunnerError::Pipeline(format!("no thread to stop it on: {error}")));
        }
        wait.recv_timeout(STOP_DEADLINE).map_err(|_| {
            tracing::warn!(encoder = %self.entry.name, "the encoder's teardown hangs; left behind");
            RunnerError::StopTimeout
        })
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

impl Shared {
    fn emit(&self, event: RunnerEvent) {
        let gate = lock(&self.gate);
        if *gate == Gate::Open {
            (self.on_event)(event);
        }
    }

    fn fail(&self, reason: String) {
        let mut gate = lock(&self.gate);
        if std::mem::replace(&mut *gate, Gate::Shut) == Gate::Open {
            (self.on_event)(RunnerEvent::Failed { reason });
        }
    }

    /// The frame that a unit with this running time came from. Older ones were replaced before they were encoded.
    fn land(&self, pts: Option<gst::ClockTime>) -> Option<Flight> {
        let mut flights = lock(&self.flights);
        let position = flights.iter().position(|flight| Some(flight.pts) == pts);
        // An encoder that does not keep time stamps at least keeps the order.
        let position = position.unwrap_or(0);
        self.dropped.fetch_add(position as u64, Ordering::Relaxed);
        flights.drain(..position);
        flights.pop_front()
    }

    fn unit(&self, sample: &gst::Sample) -> Option<AccessUnit> {
        let encoded_at = Instant::now();
        let buffer = sample.buffer()?;
        // Not the time stamp itself: x264enc's begin at 1000 hours, with a segment to match.
        let pts = sample
            .segment()
            .and_then(|segment| segment.downcast_ref::<gst::ClockTime>())
            .and_then(|segment| segment.to_running_time(buffer.pts()));
        let flight = self.land(pts)?;
        let map = buffer.map_readable().ok()?;
        let data = Bytes::copy_from_slice(map.as_slice());
        // VA before 1.24.4 marks I frames that are no IDR.
        let keyframe = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT)
            && (self.codec != Codec::H264 || annexb::has_idr(&data));
        Some(AccessUnit {
            data,
            keyframe,
            damaged_at: flight.damaged_at,
            captured_at: flight.captured_at,
            encoded_at,
            serial: flight.serial,
            kind: flight.kind,
        })
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn collect_into(sink: &gst_app::AppSink, shared: &Arc<Shared>) {
    sink.set_sync(false);
    sink.set_async(false);
    sink.set_qos(false);
    sink.set_enable_last_sample(false);
    let shared = shared.clone();
    let callbacks = gst_app::AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            if let Some(unit) = shared.unit(&sample) {
                shared.emit(RunnerEvent::AccessUnit(unit));
            }
            Ok(gst::FlowSuccess::Ok)
        })
        .build();
    sink.set_callbacks(callbacks);
}

fn watch_bus(pipeline: &gst::Pipeline, shared: &Arc<Shared>) -> Result<(), RunnerError> {
    let bus = pipeline.bus().ok_or_else(|| RunnerError::Pipeline("no bus".to_owned()))?;
    let shared = Arc::downgrade(shared);
    bus.set_sync_handler(move |_, message| match message.view() {
        gst::MessageView::Error(error) => {
            if let Some(shared) = shared.upgrade() {
                shared.fail(classify(error).to_string());
            }
            // `play` reads it, when it is start-up that failed.
            gst::BusSyncReply::Pass
        }
        _ => gst::BusSyncReply::Drop,
    });
    Ok(())
}
