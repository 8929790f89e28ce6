//! One run: a product and a browser are started afresh, then measured.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::canvas::Canvas;
use super::cpu::{CpuMeter, Memory, memory};
use super::motion::{self, Motion};
use super::patch::{self, Latency, Random};
use super::process::Process;
use super::product::{Product, Running};
use super::scene::{self, Rect, expected_luma};
use super::ssim::{Luma, ssim};
use super::watch::Watch;
use super::xvfb::Xvfb;
use super::{HEIGHT, Result, viewer};

/// SSIM from which a page of text counts as readable.
pub const READABLE: f64 = 0.98;
const ALIGN_LIMIT: Duration = Duration::from_secs(45);
/// The first picture must reach this SSIM; a good one keeps improving.
const ALIGNED: f64 = 0.93;
/// Time for a product to calm down after its start.
const SETTLE: Duration = Duration::from_millis(1500);
const READ_LIMIT: Duration = Duration::from_secs(8);
const GRAB_EVERY: Duration = Duration::from_millis(20);
/// The caret of the sparse scene.
const CARET: Rect = Rect { x: 300, y: 600, width: 8, height: 16 };

/// Everything on X server A and B that outlives a run.
pub struct Stage {
    /// The desktop that is streamed.
    pub desktop: Xvfb,
    /// The display that the browser covers.
    pub glass: Xvfb,
    /// What the rig draws with on the desktop.
    pub canvas: Arc<Canvas>,
    /// Reads the desktop: the truth.
    pub source: Watch,
    /// Reads the glass: what the user sees.
    pub seen: Watch,
    /// The moving scene's background.
    pub texture: Luma,
}

impl Stage {
    /// Starts the two X servers; display numbers are taken from `first_display` on.
    pub fn build(first_display: u32) -> Result<Self> {
        let desktop = Xvfb::start(first_display)?;
        let glass = Xvfb::start(first_display)?;
        viewer::cover_windows(&glass)?;
        let (conn, root) = desktop.connect()?;
        let canvas = Arc::new(Canvas::open(conn, root)?);
        let (source, seen) = (Watch::open(&desktop)?, Watch::open(&glass)?);
        let (width, height) = (usize::from(scene::TEXTURE_WIDTH), usize::from(scene::TEXTURE_HEIGHT));
        let texture = Luma::from_bgrx(&scene::texture_bgrx(), width, height);
        let stage = Self { desktop, glass, canvas, source, seen, texture };
        stage.check_scene()?;
        Ok(stage)
    }

    /// Makes sure that a frame of the motion is known to the last pixel, for its score hangs on that.
    pub fn check_scene(&self) -> Result<()> {
        for (number, patch) in [(0, 0), (1234, 1)] {
            self.canvas.show_frame(scene::frame(number, patch))?;
            self.canvas.sync()?;
            if self.source.screen()? != expected_luma(&self.texture, number, patch) {
                return Err(format!("X server A shows frame {number} unlike the rig's own rendering").into());
            }
        }
        Ok(())
    }
}

/// How long and how often to measure.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Effort {
    /// Flips per run on the still desktop, and again in motion.
    pub flips: u32,
    /// Seconds of the desktop without any change.
    pub idle_s: u64,
    /// Seconds of sparse change.
    pub sparse_s: u64,
    /// Seconds of motion over which frames and processor time are counted.
    pub motion_s: u64,
    /// Pictures scored in motion.
    pub pictures: u32,
    /// Text pages flipped, and scrolls.
    pub pages: u32,
}

/// Which measures to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Glass to glass on a still desktop, and its picture score.
    Still,
    /// Time until a flipped or scrolled page of text is readable.
    Text,
    /// Processor time without any change, and with a blinking caret.
    Idle,
    /// Full-screen motion at 60 frames a second.
    Motion,
}

/// Average processor cores used.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cores {
    /// The product's processes.
    pub server: f64,
    /// The X server that it captures.
    pub desktop: f64,
    /// Chromium.
    pub browser: f64,
    /// The rig itself, without the processes that it started.
    pub rig: f64,
    /// Everything else on this machine: much of it, and latencies say little.
    pub others: f64,
}

/// Figures of the still desktop.
#[derive(Debug, Serialize)]
pub struct StillFigures {
    /// Glass to glass.
    pub latency: Latency,
    /// SSIM one second after the whole screen changed.
    pub ssim: f64,
}

/// Figures of full-screen motion.
#[derive(Debug, Serialize)]
pub struct MotionFigures {
    /// Glass to glass.
    pub latency: Latency,
    /// Frames a second that the rig really drew.
    pub drawn_fps: f64,
    /// Distinct frames seen, of those drawn.
    pub presented: f64,
    /// Processor time.
    pub cores: Cores,
    /// SSIM of grabbed pictures against the very frames that they show.
    pub ssim: Vec<f64>,
}

/// Figures of pages of text: milliseconds until readable, `None` if not within eight seconds.
#[derive(Debug, Default, Serialize)]
pub struct TextFigures {
    /// After a flip to another page.
    pub flip_ms: Vec<Option<f64>>,
    /// After the last step of a scroll.
    pub scroll_ms: Vec<Option<f64>>,
}

/// Figures of a desktop at rest.
#[derive(Debug, Serialize)]
pub struct IdleFigures {
    /// Nothing changes.
    pub idle: Cores,
    /// A caret blinks twice a second.
    pub sparse: Cores,
}

/// All of one run.
#[derive(Debug, Serialize)]
pub struct Run {
    /// The product's name.
    pub product: String,
    /// Which pair of runs it belongs to.
    pub round: u32,
    /// Its command line.
    pub command: String,
    /// Lines that tell which encoder and transport ran.
    pub evidence: Vec<String>,
    /// Milliseconds from the browser's start to an aligned picture.
    pub first_picture_ms: f64,
    /// See [`Part::Still`].
    pub still: Option<StillFigures>,
    /// See [`Part::Text`].
    pub text: Option<TextFigures>,
    /// See [`Part::Idle`].
    pub idle: Option<IdleFigures>,
    /// See [`Part::Motion`].
    pub motion: Option<MotionFigures>,
    /// Memory of the product at the end of the run.
    pub memory: Memory,
}

/// Starts `product` and a browser, measures `parts`, and stops both.
pub fn run(stage: &Stage, product: &dyn Product, round: u32, parts: &[Part], effort: Effort) -> Result<Run> {
    stage.canvas.show_desktop(0)?;
    stage.desktop.park_pointer()?;
    stage.glass.park_pointer()?;
    let server = Running::start(product, &stage.desktop.display())?;
    let started = Instant::now();
    let way = product.way(&server)?;
    let mut browser = viewer::start(&stage.glass, &way)?;
    let aligned = align(stage, &mut browser)
        .map_err(|e| format!("{}: {e}\nits log:\n{}", product.name(), server.tail()))?;
    let first_picture_ms = (aligned - started).as_secs_f64() * 1e3;
    let evidence = product.evidence(&server)?;
    let mut bench = Bench {
        stage,
        server: server.id(),
        browser: browser.id(),
        effort,
        round,
        random: Random::new(round + 1),
    };
    let wants = |part| parts.contains(&part);
    let still = wants(Part::Still).then(|| bench.still()).transpose()?;
    let text = wants(Part::Text).then(|| bench.text()).transpose()?;
    let idle = wants(Part::Idle).then(|| bench.idle()).transpose()?;
    let motion = wants(Part::Motion).then(|| bench.motion()).transpose()?;
    let memory = memory(server.id());
    let (product, command) = (product.name().to_owned(), server.command.clone());
    Ok(Run { product, round, command, evidence, first_picture_ms, still, text, idle, motion, memory })
}

/// Waits until the picture lies pixel on pixel, and notices that lie over it at first are gone.
/// The answer is when that was.
pub fn align(stage: &Stage, browser: &mut Process) -> Result<Instant> {
    stage.canvas.sync()?;
    let truth = stage.source.screen()?;
    let mut flaw = String::new();
    let waited = browser.wait_until("picture, 1:1, on the glass", ALIGN_LIMIT, || {
        let check = stage.seen.screen().and_then(|shown| lies_in_place(&truth, &shown));
        flaw = check.as_ref().err().map(ToString::to_string).unwrap_or_default();
        check.is_ok()
    });
    let at = Instant::now();
    waited.map_err(|error| {
        let file = std::env::temp_dir().join("glass-not-aligned.pgm");
        let kept = stage.seen.screen().and_then(|shown| write_pgm(&file, &shown));
        let picture = kept.map_or_else(|e| format!("not kept: {e}"), |()| format!("in {}", file.display()));
        format!("{error}\n{flaw}; the glass is {picture}")
    })?;
    sleep(SETTLE);
    Ok(at)
}

fn lies_in_place(truth: &Luma, shown: &Luma) -> Result<()> {
    let (width, height) = (truth.width - 16, truth.height - 16);
    let middle = truth.area(8, 8, width, height);
    let score = |x, y| ssim(&middle, &shown.area(x, y, width, height));
    let (here, around) = (score(8, 8), [score(9, 8), score(7, 8), score(8, 9), score(8, 7)]);
    if here < ALIGNED || around.iter().any(|&shifted| shifted >= here) {
        return Err(format!("SSIM {here:.3} in place, {around:.3?} one pixel off").into());
    }
    corners_match(truth, shown)
}

/// A picture scaled by one pixel still scores well in the middle, but not in all corners.
fn corners_match(truth: &Luma, shown: &Luma) -> Result<()> {
    let side = usize::from(scene::CORNER);
    for (name, x, y) in scene::CORNERS {
        let part = |plane: &Luma| plane.area(x as usize, y as usize, side, side);
        let score = ssim(&part(truth), &part(shown));
        if score < ALIGNED {
            return Err(format!("the picture's {name} corner is not 1:1: SSIM {score:.3}").into());
        }
    }
    Ok(())
}

fn write_pgm(file: &Path, plane: &Luma) -> Result<()> {
    let mut bytes = format!("P5 {} {} 255\n", plane.width, plane.height).into_bytes();
    bytes.extend_from_slice(&plane.data);
    Ok(std::fs::write(file, bytes)?)
}

struct Bench<'a> {
    stage: &'a Stage,
    server: u32,
    browser: u32,
    effort: Effort,
    round: u32,
    random: Random,
}

impl Bench<'_> {
    fn still(&mut self) -> Result<StillFigures> {
        let Stage { canvas, seen, source, .. } = self.stage;
        canvas.show_text(HEIGHT)?;
        sleep(Duration::from_secs(1));
        let mut colour = 0;
        let changed = canvas.show_desktop(colour)?;
        sleep((changed + Duration::from_secs(1)).saturating_duration_since(Instant::now()));
        let shown = seen.screen()?;
        let score = ssim(&source.screen()?, &shown);
        let random = &mut self.random;
        let latency = patch::measure(seen, self.effort.flips, || {
            sleep(Duration::from_micros(u64::from(300_000 + random.next() % 600_000)));
            colour = 1 - colour;
            let sent = canvas.paint_now(scene::PATCH_COLOURS[colour], &[scene::PATCH])?;
            Ok((sent, colour))
        })?;
        Ok(StillFigures { latency, ssim: score })
    }

    fn text(&mut self) -> Result<TextFigures> {
        let mut figures = TextFigures::default();
        let canvas = &self.stage.canvas;
        canvas.show_text(0)?;
        for page in 0..self.effort.pages {
            sleep(Duration::from_millis(2500));
            let sent = canvas.show_text(if page % 2 == 0 { HEIGHT } else { 0 })?;
            figures.flip_ms.push(self.until_readable(sent)?);
        }
        for page in 0..self.effort.pages {
            sleep(Duration::from_millis(2500));
            let sent = self.scroll(page % 2 == 1)?;
            figures.scroll_ms.push(self.until_readable(sent)?);
        }
        Ok(figures)
    }

    /// Scrolls by 12 pixels a frame for a second; when the last step was sent.
    fn scroll(&self, up: bool) -> Result<Instant> {
        const STEP: u16 = 12;
        let start = Instant::now();
        let mut sent = start;
        for step in 0..60 {
            let due = start + Duration::from_secs_f64(f64::from(step) / 60.0);
            sleep(due.saturating_duration_since(Instant::now()));
            let way = STEP * if up { 60 - step } else { step + 1 };
            sent = self.stage.canvas.show_text(way)?;
        }
        Ok(sent)
    }

    /// Milliseconds from `sent` until the glass shows the desktop legibly.
    ///
    /// Scoring costs more than grabbing, so the first second is grabbed first and scored afterwards.
    fn until_readable(&self, sent: Instant) -> Result<Option<f64>> {
        let Stage { canvas, source, seen, .. } = self.stage;
        canvas.sync()?;
        let truth = source.screen()?;
        let since = || sent.elapsed().as_secs_f64() * 1e3;
        let mut grabbed = Vec::new();
        while sent.elapsed() < Duration::from_secs(1) {
            let grab = (since(), seen.screen()?);
            grabbed.push(grab);
            sleep(GRAB_EVERY);
        }
        if let Some((at, _)) = grabbed.iter().find(|(_, shown)| ssim(&truth, shown) >= READABLE) {
            return Ok(Some(*at));
        }
        while sent.elapsed() < READ_LIMIT {
            let at = since();
            if ssim(&truth, &seen.screen()?) >= READABLE {
                return Ok(Some(at));
            }
            sleep(GRAB_EVERY);
        }
        Ok(None)
    }

    fn idle(&mut self) -> Result<IdleFigures> {
        self.stage.canvas.show_desktop(0)?;
        // What a product does to sharpen the picture after the change is not idleness.
        sleep(Duration::from_secs(5));
        let meter = self.meter();
        sleep(Duration::from_secs(self.effort.idle_s));
        let idle = meter.cores();
        let meter = self.meter();
        for blink in 0..self.effort.sparse_s * 2 {
            let colour = if blink % 2 == 0 { 0x000000 } else { 0xffffff };
            self.stage.canvas.paint_now(colour, &[CARET])?;
            sleep(Duration::from_millis(500));
        }
        Ok(IdleFigures { idle, sparse: meter.cores() })
    }

    fn motion(&mut self) -> Result<MotionFigures> {
        let [first, then] = motion::drifting(self.round);
        let motion = self.start_motion(first);
        let (drawn_fps, presented, cores) = self.count_frames(&motion)?;
        let mut latency = self.motion_latency(&motion)?;
        let ssim = self.score_motion(&motion)?;
        drop(motion);
        let motion = self.start_motion(then);
        latency.extend(self.motion_latency(&motion)?);
        Ok(MotionFigures { latency, drawn_fps, presented, cores, ssim })
    }

    /// Motion at so many frames a second, once a product has got used to it.
    fn start_motion(&self, rate: f64) -> Motion {
        let motion = Motion::start(Arc::clone(&self.stage.canvas), scene::frame, rate);
        sleep(Duration::from_secs(3));
        motion
    }

    /// Flips amid motion, evenly over one cycle of the drift, so that each run has the same mixture of moments.
    fn motion_latency(&self, motion: &Motion) -> Result<Latency> {
        let (start, every) = (Instant::now(), motion::CYCLE / self.effort.flips);
        let mut moments = (0..self.effort.flips).map(|n| start + every * n);
        patch::measure(&self.stage.seen, self.effort.flips, || {
            let moment = moments.next().unwrap_or(start);
            sleep(moment.saturating_duration_since(Instant::now()));
            motion.flip()
        })
    }

    fn count_frames(&self, motion: &Motion) -> Result<(f64, f64, Cores)> {
        let meter = self.meter();
        let (first, from) = motion.count()?;
        let span = Duration::from_secs(self.effort.motion_s);
        let mut numbers = BTreeSet::new();
        while from.elapsed() < span {
            numbers.extend(self.stage.seen.frame_number()?);
            sleep(Duration::from_millis(3));
        }
        let cores = meter.cores();
        let (last, until) = motion.count()?;
        let drawn = f64::from(last - first);
        Ok((drawn / (until - from).as_secs_f64(), numbers.len() as f64 / drawn, cores))
    }

    fn score_motion(&mut self, motion: &Motion) -> Result<Vec<f64>> {
        // A flip that is still on its way would be compared with the wrong colour.
        sleep(Duration::from_millis(500));
        let patch = motion.patch()?;
        let mut grabbed = Vec::new();
        for _ in 0..self.effort.pictures {
            sleep(Duration::from_micros(u64::from(100_000 + self.random.next() % 100_000)));
            grabbed.push(self.stage.seen.screen()?);
        }
        let score = |shown: &Luma| {
            let number = scene::read_bars(&scene::bars_strip(shown))?;
            Some(ssim(&expected_luma(&self.stage.texture, number, patch), shown))
        };
        Ok(grabbed.iter().filter_map(score).collect())
    }

    fn meter(&self) -> CoresMeter {
        CoresMeter {
            server: CpuMeter::tree(self.server),
            desktop: CpuMeter::tree(self.stage.desktop.id()),
            glass: CpuMeter::tree(self.stage.glass.id()),
            browser: CpuMeter::tree(self.browser),
            rig: CpuMeter::alone(std::process::id()),
            machine: CpuMeter::machine(),
        }
    }
}

struct CoresMeter {
    server: CpuMeter,
    desktop: CpuMeter,
    glass: CpuMeter,
    browser: CpuMeter,
    rig: CpuMeter,
    machine: CpuMeter,
}

impl CoresMeter {
    fn cores(&self) -> Cores {
        let [server, desktop, glass, browser, rig] =
            [&self.server, &self.desktop, &self.glass, &self.browser, &self.rig].map(CpuMeter::cores);
        let others = (self.machine.cores() - server - desktop - glass - browser - rig).max(0.0);
        Cores { server, desktop, browser, rig, others }
    }
}
