//! The catalogue against real encoders, and against the facts about those that are not installed here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use deskgate::frame::{Codec, FrameKind, FrameSink, FrameView, PixelFormat, Size};
use deskgate::media::annexb::{IDR, PPS, SPS, nal_types};
use deskgate::media::catalog::{Ability, Budget, Catalog, Entry, Matrix, Terms};
use deskgate::media::choose::choose;
use deskgate::media::host;
use deskgate::media::picture::{Layout, OwnedFrame};
use deskgate::media::probe::{Verdict, probe};
use deskgate::media::rendition::{Rendition, RenditionConfig, RenditionEvent};
use deskgate::media::runner::{AccessUnit, Runner, RunnerConfig, RunnerError, RunnerEvent};
use deskgate::media::version::Version;
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

const SIZE: Size = Size { width: 320, height: 240 };
const DEADLINE: Duration = Duration::from_secs(20);

fn init() {
    deskgate::media::init().unwrap();
}

fn catalog() -> Catalog {
    init();
    Catalog::shipped().unwrap()
}

/// Entries whose elements exist here, of every codec.
fn entries_here() -> Vec<Arc<Entry>> {
    let catalog = catalog();
    let host = host::detect(&catalog);
    [Codec::H264, Codec::Vp8]
        .into_iter()
        .flat_map(|codec| choose(&catalog, codec, &host, None).candidates)
        .collect()
}

pub fn entry(name: &str) -> Arc<Entry> {
    catalog().entries().find(|entry| entry.name == name).unwrap().clone()
}

/// An x264 entry with `change` made to its file.
fn broken(name: &str, from: &str, to: &str) -> Arc<Entry> {
    let text = include_str!("../../gst-pipelines/h264/50-x264-gstreamer.toml");
    assert!(text.contains(from), "{from}");
    let text = text.replace(from, to).replace("needs = [\"x264enc\"]", "needs = [\"x264enc\", \"identity\"]");
    Arc::new(Entry::parse(&format!("h264/01-{name}.toml"), &text).unwrap())
}

/// Noise that differs from frame to frame: costs an encoder more than it has.
fn noise(size: Size, serial: u64) -> OwnedFrame {
    let mut state = serial.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    picture(size, serial, |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        112 + (state >> 32) as u8 % 32
    })
}

fn flat(size: Size, [y, u, v]: [u8; 3]) -> OwnedFrame {
    picture(size, 1, |plane| [y, u, v][plane])
}

pub fn picture(size: Size, serial: u64, mut sample: impl FnMut(usize) -> u8) -> OwnedFrame {
    let layout = Layout::new(size, PixelFormat::I420);
    let mut data = vec![0; layout.bytes];
    for plane in 0..3 {
        let end = layout.offsets.get(plane + 1).copied().unwrap_or(layout.bytes);
        data[layout.offsets[plane]..end].iter_mut().for_each(|byte| *byte = sample(plane));
    }
    let now = Instant::now();
    let view = FrameView {
        size,
        format: layout.format,
        planes: layout.planes(&data),
        damaged_at: now,
        captured_at: now,
        serial,
        kind: FrameKind::Fresh,
    };
    OwnedFrame::copy(&view, None).unwrap()
}

struct Rig {
    runner: Runner,
    events: Receiver<RunnerEvent>,
    serial: u64,
}

impl Rig {
    fn start(entry: &Arc<Entry>, bitrate_kbps: u32) -> Self {
        let (send, events) = channel();
        let send = std::sync::Mutex::new(send);
        let on_event = Box::new(move |event| drop(send.lock().unwrap().send(event)));
        let config = RunnerConfig { size: SIZE, fps: 60, bitrate_kbps };
        let runner = Runner::start(entry, config, on_event).unwrap();
        Self { runner, events, serial: 0 }
    }

    /// Pushes one frame and waits for what becomes of it.
    fn encode(&mut self) -> AccessUnit {
        self.serial += 1;
        assert!(self.runner.push(&noise(SIZE, self.serial).view()));
        match self.events.recv_timeout(DEADLINE) {
            Ok(RunnerEvent::AccessUnit(unit)) => unit,
            other => panic!("{}: {other:?}", self.runner.entry().name),
        }
    }

    fn encode_many(&mut self, frames: usize) -> Vec<AccessUnit> {
        (0..frames).map(|_| self.encode()).collect()
    }

    /// Mean bytes a frame, once the encoder has settled. Of one that goes by timestamps, bytes a sixtieth of a
    /// second: how many frames it makes in that depends on how busy the machine is.
    fn settled_bytes(&mut self) -> f64 {
        if self.runner.entry().bitrate.budget == Budget::Caps {
            self.encode_many(60);
            return bytes_of(&self.encode_many(60)) / 60.0;
        }
        self.encode_for(Duration::from_secs(1));
        let start = Instant::now();
        let bytes = self.encode_for(Duration::from_millis(500));
        bytes / (start.elapsed().as_secs_f64() * 60.0)
    }

    /// Encodes for `time`, and says how many bytes that made.
    fn encode_for(&mut self, time: Duration) -> f64 {
        let end = Instant::now() + time;
        let mut bytes = 0.0;
        while Instant::now() < end {
            bytes += bytes_of(&self.encode_many(1));
        }
        bytes
    }
}

fn bytes_of(units: &[AccessUnit]) -> f64 {
    units.iter().map(|unit| unit.data.len() as f64).sum()
}

fn assert_starts_decoding(entry: &Entry, unit: &AccessUnit) {
    assert!(unit.keyframe, "{}", entry.name);
    if entry.codec == Codec::H264 {
        let types: Vec<u8> = nal_types(&unit.data).collect();
        let position = |kind| types.iter().position(|t| *t == kind);
        assert!(position(SPS).is_some() && position(SPS) < position(PPS), "{}: {types:?}", entry.name);
        assert!(position(PPS) < position(IDR), "{}: {types:?}", entry.name);
        let slices = types.iter().filter(|kind| **kind == IDR).count();
        assert!(slices <= 4, "{}: {slices} slices", entry.name);
    }
}

#[test]
fn every_encoder_here_encodes_in_order_and_makes_an_idr_when_asked() {
    for entry in entries_here() {
        let mut rig = Rig::start(&entry, 2_000);
        let units = rig.encode_many(30);
        assert_starts_decoding(&entry, &units[0]);
        assert!(units[1..].iter().all(|unit| !unit.keyframe), "{}: infinite GOP", entry.name);
        assert!(units.iter().map(|unit| unit.serial).eq(1..=30), "{}", entry.name);
        assert!(units.iter().all(|unit| unit.captured_at <= unit.encoded_at), "{}", entry.name);
        assert!(rig.runner.can(Ability::ForceIdr), "{}", entry.name);
        rig.runner.force_idr();
        assert_starts_decoding(&entry, &rig.encode());
        assert!(!rig.encode().keyframe, "{}", entry.name);
        rig.runner.stop().unwrap();
    }
}

#[test]
fn h264_is_what_the_sdp_says_constrained_baseline_and_bt601() {
    for entry in entries_here().into_iter().filter(|entry| entry.codec == Codec::H264) {
        let mut rig = Rig::start(&entry, 2_000);
        let unit = rig.encode();
        let sps = deskgate::media::annexb::nal_units(&unit.data).find(|nal| nal[0] & 0x1f == SPS).unwrap();
        assert_eq!(sps[1], 66, "{}: profile_idc", entry.name);
        assert_ne!(sps[2] & 0x40, 0, "{}: constraint_set1", entry.name);
        let signalled = h264_colorimetry(&unit);
        assert_eq!(
            signalled.is_some_and(|name| name == "bt601"),
            entry.matrix == Matrix::Bt601,
            "{}",
            entry.name
        );
    }
}

#[test]
fn the_bitrate_follows_without_a_restart() {
    for entry in entries_here() {
        let mut rig = Rig::start(&entry, 4_000);
        let high = rig.settled_bytes();
        rig.runner.set_bitrate(1_500);
        let low = rig.settled_bytes();
        assert!(low < 0.7 * high, "{}: {high:.0} then {low:.0} bytes a frame", entry.name);
        rig.runner.set_bitrate(4_000);
        let units = rig.encode_many(60);
        assert!(units.iter().all(|unit| !unit.keyframe), "{}: a key frame", entry.name);
        let again = rig.settled_bytes();
        assert!(again > 1.4 * low, "{}: {low:.0} then {again:.0} bytes a frame", entry.name);
    }
}

#[test]
fn at_half_the_frame_rate_a_frame_may_take_twice_the_bits() {
    for entry in entries_here().into_iter().filter(|entry| entry.bitrate.budget == Budget::Caps) {
        let mut rig = Rig::start(&entry, 3_000);
        let at_60 = rig.settled_bytes();
        rig.runner.set_fps(30.0);
        let at_30 = rig.settled_bytes();
        assert!(at_30 > 1.5 * at_60, "{}: {at_60:.0} then {at_30:.0} bytes a frame", entry.name);
    }
}

#[test]
fn a_busy_encoder_gets_the_newest_frame() {
    let rig = Rig::start(&entry("x264"), 4_000);
    let frames: Vec<OwnedFrame> = (1..=60).map(|serial| noise(SIZE, serial)).collect();
    for frame in &frames {
        rig.runner.push(&frame.view());
    }
    let mut serials = Vec::new();
    while serials.last() != Some(&60) {
        match rig.events.recv_timeout(DEADLINE) {
            Ok(RunnerEvent::AccessUnit(unit)) => serials.push(unit.serial),
            other => panic!("{other:?} after {serials:?}"),
        }
    }
    assert!(serials.is_sorted() && serials.len() < 60, "{serials:?}");
    assert_eq!(rig.runner.dropped() as usize + serials.len(), 60);
    assert_eq!(rig.runner.inside(), 0);
}

#[test]
fn a_teardown_that_hangs_is_left_behind() {
    let rig = Rig::start(&entry("x264"), 1_000);
    rig.runner.block_teardown(Duration::from_secs(4));
    rig.runner.push(&noise(SIZE, 1).view());
    rig.runner.push(&noise(SIZE, 2).view());
    // The encoding thread has to be inside before the teardown begins.
    while rig.runner.inside() < 2 && rig.events.try_recv().is_err() {
        std::thread::yield_now();
    }
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(rig.runner.stop(), Err(RunnerError::StopTimeout));
    assert_eq!(rig.events.recv_timeout(Duration::from_secs(3)).map(|_| ()), Err(RecvTimeoutError::Timeout));
}

/// What a parser reads from the VUI.
fn h264_colorimetry(unit: &AccessUnit) -> Option<String> {
    let parse = "h264parse name=parse";
    let pipeline = pipeline_over("caps=video/x-h264,stream-format=byte-stream,alignment=au", parse, unit);
    let sink = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
    let sample = sink.try_pull_sample(gst::ClockTime::from_seconds(DEADLINE.as_secs())).expect("parsed");
    pipeline.set_state(gst::State::Null).unwrap();
    sample.caps().unwrap().structure(0).unwrap().get("colorimetry").ok()
}

/// A running pipeline over one access unit, up to an appsink named `out`.
fn pipeline_over(source: &str, chain: &str, unit: &AccessUnit) -> gst::Pipeline {
    let launch = format!("appsrc name=in format=time {source} ! {chain} ! appsink name=out sync=false");
    let pipeline = gst::parse::launch(&launch).unwrap().downcast::<gst::Pipeline>().unwrap();
    let source = pipeline.by_name("in").unwrap().downcast::<gst_app::AppSrc>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    source.push_buffer(gst::Buffer::from_slice(unit.data.clone())).unwrap();
    source.end_of_stream().unwrap();
    pipeline
}

struct Stage {
    rendition: Rendition,
    sink: Box<dyn FrameSink>,
    events: Receiver<RenditionEvent>,
    serial: u64,
}

impl Stage {
    fn new(candidates: Vec<Arc<Entry>>) -> Self {
        let (send, events) = channel();
        let send = std::sync::Mutex::new(send);
        let on_event = Box::new(move |event| drop(send.lock().unwrap().send(event)));
        let config =
            RenditionConfig { patience: Duration::from_millis(600), ..RenditionConfig::new(SIZE, 60, 2_000) };
        let rendition = Rendition::start(Codec::H264, candidates, config, None, on_event);
        let sink = rendition.sink();
        Self { rendition, sink, events, serial: 0 }
    }

    fn push(&mut self) {
        self.serial += 1;
        self.sink.push(&noise(SIZE, self.serial).view());
    }

    /// The next event that `wanted` takes, frames being pushed meanwhile if `push`.
    fn wait<T>(&mut self, push: bool, mut wanted: impl FnMut(RenditionEvent) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            if push {
                self.push();
            }
            if let Ok(event) = self.events.recv_timeout(Duration::from_millis(16))
                && let Some(found) = wanted(event)
            {
                return found;
            }
        }
        panic!("nothing within {DEADLINE:?}");
    }

    fn unit(&mut self, push: bool) -> AccessUnit {
        self.wait(push, |event| match event {
            RenditionEvent::AccessUnit(unit) => Some(unit),
            _ => None,
        })
    }

    fn fallback(&mut self, push: bool) -> (String, String, String) {
        self.wait(push, |event| match event {
            RenditionEvent::Fallback { from, to, reason } => Some((from, to, reason)),
            _ => None,
        })
    }
}

#[test]
fn an_encoder_that_freezes_is_replaced_and_the_last_frame_is_not_lost() {
    let mut stage = Stage::new(vec![entry("x264"), entry("openh264enc")]);
    assert!(stage.unit(true).keyframe);
    assert_eq!(stage.rendition.encoder_name().as_deref(), Some("x264"));
    stage.rendition.stall();
    // What was already on its way.
    while stage.events.recv_timeout(Duration::from_millis(200)).is_ok() {}
    stage.push();
    let last = stage.serial;
    let (from, to, reason) = stage.fallback(false);
    assert_eq!((from.as_str(), to.as_str()), ("x264", "openh264enc"));
    assert!(reason.starts_with("took frames but gave none back"), "{reason}");
    let unit = stage.unit(false);
    assert_starts_decoding(&entry("openh264enc"), &unit);
    assert_eq!((unit.serial, stage.sink.format()), (last, PixelFormat::I420));
    assert!(!stage.unit(true).keyframe);
    assert_eq!(stage.rendition.encoder_name().as_deref(), Some("openh264enc"));
}

#[test]
fn an_encoder_that_fails_in_mid_stream_is_replaced() {
    let fails = broken("dies", "x264enc name=encoder !", "x264enc name=encoder ! identity error-after=20 !");
    let mut stage = Stage::new(vec![fails, entry("x264")]);
    let (from, to, reason) = stage.fallback(true);
    assert_eq!((from.as_str(), to.as_str()), ("dies", "x264"), "{reason}");
    assert_starts_decoding(&entry("x264"), &stage.unit(true));
}

#[test]
fn an_encoder_that_cannot_start_is_passed_over_and_says_why() {
    let no_property = broken("typo", "bframes = 0", "b-framez = 0");
    let no_element = broken("absent", "x264enc name=encoder", "identity ! x264enc name=encoder bogus=1");
    let mut stage = Stage::new(vec![no_property, no_element, entry("x264")]);
    let (from, _, reason) = stage.fallback(false);
    assert_eq!((from.as_str(), reason.contains("b-framez")), ("typo", true), "{reason}");
    let (from, _, reason) = stage.fallback(false);
    assert_eq!((from.as_str(), reason.contains("bogus")), ("absent", true), "{reason}");
    let started = stage.wait(true, |event| match event {
        RenditionEvent::Started { encoder } => Some(encoder),
        RenditionEvent::AccessUnit(_) => panic!("a unit before its encoder was announced"),
        _ => None,
    });
    assert_eq!(started, "x264");
}

#[test]
fn a_device_that_is_not_there_is_told_from_other_failures_and_harms_no_successor() {
    let absent = broken(
        "absent",
        "x264enc name=encoder ! video/x-h264,stream-format=byte-stream,alignment=au,profile=constrained-baseline",
        "x264enc name=encoder ! identity ! identity filesrc location=/nonexistent",
    );
    let mut stage = Stage::new(vec![absent, entry("x264"), entry("openh264enc")]);
    let (from, to, reason) = stage.fallback(true);
    assert_eq!((from.as_str(), to.as_str()), ("absent", "x264"));
    assert!(reason.starts_with("no device: "), "{reason}");
    for _ in 0..60 {
        stage.unit(true);
    }
    assert_eq!(stage.rendition.encoder_name().as_deref(), Some("x264"));
}

#[test]
fn when_nothing_works_it_says_so_and_still_stops() {
    let mut stage = Stage::new(vec![broken("typo", "bframes = 0", "b-framez = 0")]);
    let reasons = stage.wait(true, |event| match event {
        RenditionEvent::Exhausted { reasons } => Some(reasons),
        _ => None,
    });
    assert_eq!((reasons.len(), reasons[0].0.as_str()), (1, "typo"));
    stage.push();
    stage.rendition.stop();
    stage.sink.push(&noise(SIZE, 1).view());
}

#[test]
fn a_frame_of_another_size_changes_the_size() {
    let mut stage = Stage::new(vec![entry("x264")]);
    stage.unit(true);
    while stage.events.recv_timeout(Duration::from_millis(200)).is_ok() {}
    let wide = Size { width: 640, height: 358 };
    stage.sink.push(&flat(wide, [120, 90, 160]).view());
    let unit = stage.unit(false);
    assert_starts_decoding(&entry("x264"), &unit);
    assert_eq!(decoded(Codec::H264, &unit).0, wide);
}

#[test]
fn rates_and_idrs_reach_the_encoder_through_the_supervisor() {
    let mut stage = Stage::new(vec![entry("x264")]);
    stage.unit(true);
    stage.rendition.set_bitrate(500);
    stage.rendition.set_fps(30);
    stage.rendition.force_idr();
    while !stage.unit(true).keyframe {}
    assert_eq!(stage.rendition.encoder_name().as_deref(), Some("x264"));
}

#[test]
fn colours_survive_every_encoder_here() {
    for entry in entries_here() {
        let rig = Rig::start(&entry, 4_000);
        let colour = [145, 54, 34];
        rig.runner.push(&flat(SIZE, colour).view());
        let Ok(RunnerEvent::AccessUnit(unit)) = rig.events.recv_timeout(DEADLINE) else {
            panic!("{}", entry.name)
        };
        let (size, mean) = decoded(entry.codec, &unit);
        assert_eq!(size, SIZE);
        // Green of BT.601, as each matrix has it.
        let expected = match entry.matrix {
            Matrix::Bt709 => [173.0, 42.0, 26.0],
            Matrix::Bt601 => [145.0, 54.0, 34.0],
        };
        let off = mean.iter().zip(expected).map(|(got, want): (&f64, f64)| (got - want).abs());
        assert!(off.fold(0.0, f64::max) < 2.5, "{}: {mean:?}", entry.name);
    }
}

/// Size, and mean of each plane, of what a decoder makes of one key frame.
fn decoded(codec: Codec, unit: &AccessUnit) -> (Size, [f64; 3]) {
    let (source, decoder) = match codec {
        Codec::H264 => {
            ("caps=video/x-h264,stream-format=byte-stream,alignment=au", "h264parse ! openh264dec")
        }
        Codec::Vp8 => ("caps=video/x-vp8", "vp8dec"),
    };
    let pipeline = pipeline_over(source, &format!("{decoder} ! video/x-raw,format=I420"), unit);
    let sink = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
    let sample = sink.try_pull_sample(gst::ClockTime::from_seconds(DEADLINE.as_secs())).expect("a picture");
    pipeline.set_state(gst::State::Null).unwrap();
    let caps = sample.caps().unwrap().structure(0).unwrap();
    let number = |name| caps.get::<i32>(name).unwrap() as u16;
    let size = Size { width: number("width"), height: number("height") };
    let layout = Layout::new(size, PixelFormat::I420);
    let map = sample.buffer().unwrap().map_readable().unwrap();
    let mean = layout
        .planes(map.as_slice())
        .map(|plane| plane.data.iter().map(|byte| f64::from(*byte)).sum::<f64>() / plane.data.len() as f64);
    (size, mean)
}

#[test]
fn the_probe_names_every_entry_and_encodes_with_those_that_are_here() {
    let table = probe(&catalog());
    assert_eq!(table.rows.len(), catalog().entries().count());
    for entry in entries_here() {
        let row = table.rows.iter().find(|row| row.name == entry.name).unwrap();
        assert!(matches!(row.verdict, Verdict::Usable { .. }), "{}: {}", row.name, row.verdict.text());
    }
    assert_eq!(table.text().lines().count(), table.rows.len() + 1);
}

#[test]
fn pipeline_files_on_disk_replace_and_add() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("h264");
    std::fs::create_dir(&folder).unwrap();
    let text = include_str!("../../gst-pipelines/h264/50-x264-gstreamer.toml");
    std::fs::write(folder.join("05-mine.toml"), text).unwrap();
    std::fs::write(folder.join("notes.txt"), "not a pipeline").unwrap();
    let read = |dir: &std::path::Path| {
        let files = host::read_pipelines(dir).unwrap();
        catalog().with(files.iter().map(|(path, text)| (path.as_str(), text.as_str())))
    };
    assert_eq!(read(dir.path()).unwrap().of(Codec::H264).next().unwrap().name, "mine");
    std::fs::write(folder.join("05-mine.toml"), text.replace("unit = \"kbit\"", "unit = \"furlong\""))
        .unwrap();
    let line = 1 + text.lines().position(|line| line == "unit = \"kbit\"").unwrap();
    let error = read(dir.path()).unwrap_err();
    assert_eq!((error.line, error.field.as_str()), (line, "bitrate.unit"));
    assert!(error.to_string().contains("05-mine.toml"), "{error}");
    let missing = host::read_pipelines(&dir.path().join("nowhere")).unwrap_err();
    assert!(missing.to_string().contains("nowhere"), "{missing}");
}

#[derive(serde::Deserialize)]
struct Fact {
    r#type: String,
    values: Option<Vec<String>>,
    min: Option<f64>,
    max: Option<f64>,
    #[serde(default)]
    conditional: bool,
}

/// Series, element, property.
type Facts = BTreeMap<String, BTreeMap<String, BTreeMap<String, Fact>>>;

fn check_fact(fact: &Fact, value: &str) -> Result<(), String> {
    match fact.r#type.as_str() {
        "enum" => {
            let values = fact.values.as_deref().unwrap_or_default();
            values.iter().any(|known| known == value).then_some(()).ok_or(format!("one of {values:?}"))
        }
        "bool" => value.parse::<bool>().map(|_| ()).map_err(|error| error.to_string()),
        _ => {
            let number: f64 = value.parse().map_err(|_| "a number".to_owned())?;
            let inside = fact.min.is_none_or(|min| number >= min) && fact.max.is_none_or(|max| number <= max);
            inside.then_some(()).ok_or(format!("within {:?}..{:?}", fact.min, fact.max))
        }
    }
}

#[test]
fn hardware_entries_agree_with_the_sources_of_every_gstreamer_series() {
    let facts: Facts =
        serde_json::from_str(include_str!("../golden/gst-hw-encoders.json")).expect("the golden file");
    let terms = Terms { size: SIZE, fps: 60, bitrate_kbps: 8_000, processors: 4 };
    let mut checked = BTreeMap::new();
    for (series, elements) in &facts {
        let parts: Vec<u32> = series.split('.').map(|part| part.parse().unwrap()).collect();
        // A series' newest release, past every `..1.24.4`; and its first, where the entry admits it.
        for version in [Version(parts[0], parts[1], 99), Version(parts[0], parts[1], 0)] {
            for entry in
                catalog().entries().filter(|entry| entry.hardware && entry.gstreamer.contains(version))
            {
                let at = format!("{} with GStreamer {version}", entry.name);
                let known =
                    elements.get(entry.encoder_element()).unwrap_or_else(|| panic!("{at}: no element"));
                let mut settings: Vec<(String, String)> =
                    entry.properties(version).into_iter().map(|(k, v)| (k, v.text(&terms))).collect();
                settings
                    .extend(entry.vbv.iter().map(|v| (v.property.clone(), v.value(8_000, 60).to_string())));
                settings
                    .push((entry.bitrate.property.clone(), entry.bitrate_value(8_000, 60, 60.0).to_string()));
                for (name, value) in settings {
                    let fact = known.get(&name).unwrap_or_else(|| panic!("{at}: no property {name}"));
                    check_fact(fact, &value).unwrap_or_else(|e| panic!("{at}: {name}={value} is not {e}"));
                    assert!(
                        !fact.conditional || entry.optional.contains(&name),
                        "{at}: {name} is conditional"
                    );
                }
                *checked.entry(entry.name.clone()).or_insert(0) += 1;
            }
        }
    }
    for entry in catalog().entries().filter(|entry| entry.hardware) {
        assert!(checked.contains_key(&entry.name), "{} is checked against no series", entry.name);
    }
}
