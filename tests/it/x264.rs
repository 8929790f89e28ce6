//! x264 with our own rate control, judged by another decoder.

use std::ops::Range;
use std::time::Duration;

use deskgate::frame::{PixelFormat, Size};
use deskgate::media::picture::{Layout, OwnedFrame};
use deskgate::media::runner::{AccessUnit, Runner, RunnerConfig, RunnerEvent};
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use crate::media::{entry, picture};

/// No multiple of a macroblock in either direction, one slice.
const SMALL: Size = Size { width: 1000, height: 600 };
/// As many slices as there are processors, two at most; whole macroblocks across.
const LARGE: Size = Size { width: 1920, height: 1080 };
const DEADLINE: Duration = Duration::from_secs(20);
const KBPS: u32 = 8_000;
/// A contrast that is left out at coarse quantisers.
const FAINT: u8 = 24;
/// Columns and rows of what stands still in a page that is scrolled: whole macroblocks.
const BOX: (Range<usize>, Range<usize>) = (320..640, 208..400);

/// Bytes that a frame may take.
fn part(kbps: u32) -> usize {
    kbps as usize * 125 / 60
}

/// A grey picture of which the luma at each column and row is as given.
fn drawn(size: Size, number: u64, luma: impl Fn(usize, usize) -> u8) -> OwnedFrame {
    let width = usize::from(size.width);
    let mut at = 0;
    picture(size, number, |plane| {
        let here = (at % width, at / width);
        at += 1;
        if plane > 0 { 128 } else { luma(here.0, here.1) }
    })
}

/// Letters of page `number`: black strokes on white.
fn letters(number: u64, x: usize, y: usize) -> u8 {
    let letter = (x / 8) as u64 * 31 + (y / 14) as u64 * 17 + number * 101;
    let stroke = letter.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (x % 8 + y % 14 * 2) & 3 == 0;
    if stroke && x % 8 < 6 && y % 14 < 10 { 30 } else { 235 }
}

/// Pages of letters, others for each number, in the upper part only if it is `half` a page.
fn page(size: Size, number: u64, half: bool) -> OwnedFrame {
    let middle = usize::from(size.height) / 2;
    drawn(size, number, |x, y| letters(if half && y >= middle { 0 } else { number }, x, y))
}

/// A page that is scrolled down by so many rows, round a box of faint stripes that stays where it is.
fn scrolled(size: Size, rows: usize) -> OwnedFrame {
    drawn(size, rows as u64, |x, y| {
        if BOX.0.contains(&x) && BOX.1.contains(&y) {
            200 + if (x / 4 + y / 4) % 2 == 0 { FAINT } else { 0 }
        } else {
            letters(1, x, y + rows)
        }
    })
}

struct Rig {
    size: Size,
    runner: Runner,
    events: std::sync::mpsc::Receiver<RunnerEvent>,
    units: Vec<AccessUnit>,
}

impl Rig {
    fn start(size: Size, bitrate_kbps: u32) -> Self {
        let (send, events) = std::sync::mpsc::channel();
        let send = std::sync::Mutex::new(send);
        let on_event = Box::new(move |event| drop(send.lock().unwrap().send(event)));
        let config = RunnerConfig { size, fps: 60, bitrate_kbps };
        let runner = Runner::start(&entry("x264"), config, on_event).unwrap();
        Self { size, runner, events, units: Vec::new() }
    }

    /// Bytes of what becomes of a frame.
    fn encode(&mut self, frame: &OwnedFrame) -> usize {
        assert!(self.runner.push(&frame.view()));
        let RunnerEvent::AccessUnit(unit) = self.events.recv_timeout(DEADLINE).expect("a unit") else {
            panic!("the encoder failed")
        };
        self.units.push(unit);
        self.units.last().unwrap().data.len()
    }

    /// Lets a movement end: how fast frames came before, which is up to the machine, then counts no more.
    fn rest(&self) {
        std::thread::sleep(Duration::from_millis(300));
    }

    /// Repeats a picture until there is nothing left to improve: the frames' bytes.
    fn sharpen(&mut self, frame: &OwnedFrame) -> Vec<usize> {
        let mut sizes = Vec::new();
        while sizes.last().is_none_or(|bytes| *bytes > 200) {
            assert!(sizes.len() < 100, "{sizes:?}");
            sizes.push(self.encode(frame));
        }
        sizes
    }

    /// The luma that openh264 makes of everything so far.
    fn decoded(&self) -> Vec<u8> {
        let launch = "appsrc name=in format=time caps=video/x-h264,stream-format=byte-stream,alignment=au \
            ! h264parse ! openh264dec ! video/x-raw,format=I420 ! appsink name=out sync=false";
        let pipeline = gst::parse::launch(launch).unwrap().downcast::<gst::Pipeline>().unwrap();
        let source = pipeline.by_name("in").unwrap().downcast::<gst_app::AppSrc>().unwrap();
        let sink = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        for (index, unit) in self.units.iter().enumerate() {
            let mut buffer = gst::Buffer::from_slice(unit.data.clone());
            buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_mseconds(16 * index as u64));
            source.push_buffer(buffer).unwrap();
        }
        source.end_of_stream().unwrap();
        let samples: Vec<gst::Sample> = std::iter::from_fn(|| sink.pull_sample().ok()).collect();
        pipeline.set_state(gst::State::Null).unwrap();
        assert_eq!(samples.len(), self.units.len(), "every unit is a picture");
        let map = samples.last().unwrap().buffer().unwrap().map_readable().unwrap();
        let layout = Layout::new(self.size, PixelFormat::I420);
        luma(self.size, layout.planes(map.as_slice())[0])
    }

    /// Mean difference of the luma that is seen from that of `frame`, of the worst 16×16 block.
    fn worst_block(&self, frame: &OwnedFrame) -> f64 {
        self.worst_of(frame, 0..self.size.width.into(), 0..self.size.height.into())
    }

    /// The same of the blocks that begin in these columns and rows.
    fn worst_of(&self, frame: &OwnedFrame, columns: Range<usize>, rows: Range<usize>) -> f64 {
        let (seen, drawn) = (self.decoded(), luma(self.size, frame.view().planes[0]));
        let (width, height) = (usize::from(self.size.width), usize::from(self.size.height));
        let block = |left: usize, top: usize| {
            let rows = top..(top + 16).min(height);
            let columns = left..(left + 16).min(width);
            let samples: Vec<usize> =
                rows.flat_map(|y| columns.clone().map(move |x| y * width + x)).collect();
            let off: u32 = samples.iter().map(|at| u32::from(seen[*at].abs_diff(drawn[*at]))).sum();
            f64::from(off) / samples.len() as f64
        };
        let corners = rows.step_by(16).flat_map(|y| columns.clone().step_by(16).map(move |x| (x, y)));
        corners.map(|(x, y)| block(x, y)).fold(0.0, f64::max)
    }
}

fn luma(size: Size, plane: deskgate::frame::Plane<'_>) -> Vec<u8> {
    let rows = plane.data.chunks(plane.stride).take(usize::from(size.height));
    rows.flat_map(|row| &row[..usize::from(size.width)]).copied().collect()
}

#[test]
fn a_new_page_takes_about_its_part_and_is_sharp_soon_after() {
    for (size, kbps) in [(SMALL, KBPS), (LARGE, 4 * KBPS)] {
        let (mut rig, part) = (Rig::start(size, kbps), part(kbps));
        let pages = [1, 2].map(|number| page(size, number, false));
        rig.encode(&pages[0]);
        rig.sharpen(&pages[0]);
        rig.rest();
        let first = rig.encode(&pages[1]);
        assert!(first < 2 * part, "{size:?}: {first} bytes");
        assert!(rig.worst_block(&pages[1]) > 6.0, "{size:?}: the bits cannot have sufficed");
        let sizes = rig.sharpen(&pages[1]);
        // Two and a half parts are the part of a frame where frames come slowly, as from a busy machine.
        assert!(sizes.iter().all(|bytes| *bytes < 2 * part * 5 / 2), "{size:?}: {sizes:?}");
        let worst = rig.worst_block(&pages[1]);
        assert!(worst < 4.0, "{size:?}: {worst} off");
        assert!(rig.encode(&pages[1]) < 100, "{size:?}: what is sharp is left alone");
    }
}

#[test]
fn a_change_of_what_is_not_sharp_yet_shows_at_once_and_all_becomes_sharp() {
    let mut rig = Rig::start(SMALL, KBPS);
    let (before, after) = (page(SMALL, 1, false), page(SMALL, 3, true));
    rig.encode(&before);
    for _ in 0..3 {
        rig.encode(&before);
    }
    rig.encode(&after);
    let (seen, [old, new]) = (rig.decoded(), [&before, &after].map(|f| luma(SMALL, f.view().planes[0])));
    let off = |drawn: &[u8]| seen.iter().zip(drawn).map(|(a, b)| u64::from(a.abs_diff(*b))).sum::<u64>();
    assert!(off(&new) < off(&old), "what is seen is the old picture");
    let sizes = rig.sharpen(&after);
    assert!(sizes.len() > 1, "{sizes:?}");
    let worst = rig.worst_block(&after);
    assert!(worst < 4.0, "{worst} off");
}

#[test]
fn a_key_frame_in_the_middle_of_sharpening_loses_nothing() {
    let mut rig = Rig::start(SMALL, KBPS);
    let page = page(SMALL, 1, false);
    for _ in 0..4 {
        rig.encode(&page);
    }
    rig.runner.force_idr();
    rig.encode(&page);
    assert!(rig.units.last().unwrap().keyframe);
    rig.sharpen(&page);
    rig.units.drain(..4);
    let worst = rig.worst_block(&page);
    assert!(worst < 4.0, "{worst} off");
}

#[test]
fn what_stood_still_amid_motion_becomes_sharp_too() {
    let mut rig = Rig::start(SMALL, 4 * KBPS);
    rig.encode(&scrolled(SMALL, 0));
    rig.sharpen(&scrolled(SMALL, 0));
    // So coarse from now on that faint differences are left out.
    rig.runner.set_bitrate(KBPS / 8);
    let mut last = scrolled(SMALL, 0);
    let mut steps = 1..300;
    while rig.worst_of(&last, BOX.0, BOX.1) < 6.0 {
        last = scrolled(SMALL, 5 * steps.next().expect("x264 moves some of the box along"));
        rig.encode(&last);
    }
    rig.rest();
    rig.runner.set_bitrate(4 * KBPS);
    rig.sharpen(&last);
    let worst = rig.worst_block(&last);
    assert!(worst < 4.0, "{worst} off");
}

#[test]
fn pictures_of_a_few_pixels_are_encoded() {
    for (width, height) in [(2, 2), (2, 40), (40, 2), (16, 16)] {
        let size = Size { width, height };
        let mut rig = Rig::start(size, KBPS);
        rig.encode(&page(size, 1, false));
        rig.encode(&page(size, 2, false));
        assert!(rig.units[0].keyframe && !rig.units[1].keyframe, "{size:?}");
    }
}
