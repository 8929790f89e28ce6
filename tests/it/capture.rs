//! Capture against a real Xvfb.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests fail like tests do.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use deskgate::capture::{CaptureConfig, CaptureEvent, CaptureHandle, CursorImage, ShmMode, Source, spawn};
use deskgate::frame::{FrameKind, FrameSink, FrameView, PixelFormat, Rect, STANDARD_DPI, ScreenMode, Size};
use x11rb::connection::Connection;
use x11rb::protocol::xproto::{AtomEnum, ChangeWindowAttributesAux, ConnectionExt as _};

use crate::xvfb::{Painter, Xvfb, within};

const SOON: Duration = Duration::from_secs(10);
const HD: &str = "1280x720x24";

fn standard(size: Size) -> ScreenMode {
    ScreenMode { size, dpi: STANDARD_DPI }
}

/// A copy of a pushed frame.
struct Frame {
    size: Size,
    kind: FrameKind,
    serial: u64,
    planes: Vec<(Vec<u8>, usize)>,
    format: PixelFormat,
}

impl Frame {
    /// Y, Cb, Cr at a screen position.
    fn at(&self, x: usize, y: usize) -> [u8; 3] {
        let sample = |plane: usize, x: usize, y: usize| self.planes[plane].0[y * self.planes[plane].1 + x];
        let luma = sample(0, x, y);
        match self.format {
            PixelFormat::Nv12 => [luma, sample(1, x & !1, y / 2), sample(1, x | 1, y / 2)],
            PixelFormat::I420 => [luma, sample(1, x / 2, y / 2), sample(2, x / 2, y / 2)],
        }
    }

    fn shows(&self, x: usize, y: usize, rgb: u32) -> bool {
        // Just after a resize the newest frame may still have the former size.
        x < usize::from(self.size.width)
            && y < usize::from(self.size.height)
            && self.at(x, y).iter().zip(bt601(rgb)).all(|(&got, want)| (f64::from(got) - want).abs() <= 2.0)
    }
}

/// BT.601, limited range.
fn bt601(rgb: u32) -> [f64; 3] {
    let [blue, green, red, _] = rgb.to_le_bytes().map(|channel| f64::from(channel) / 255.0);
    let luma = 0.299 * red + 0.587 * green + 0.114 * blue;
    [16.0 + 219.0 * luma, 128.0 + 224.0 * (blue - luma) / 1.772, 128.0 + 224.0 * (red - luma) / 1.402]
}

struct Sink {
    format: PixelFormat,
    last: Arc<Mutex<Option<Frame>>>,
}

impl FrameSink for Sink {
    fn format(&self) -> PixelFormat {
        self.format
    }

    fn push(&mut self, frame: &FrameView<'_>) {
        assert_eq!(frame.format, self.format);
        assert!(frame.damaged_at <= frame.captured_at);
        let mut last = self.last.lock().unwrap();
        assert!(last.as_ref().is_none_or(|last| last.serial < frame.serial));
        let planes = frame.planes.iter().map(|plane| (plane.data.to_vec(), plane.stride)).collect();
        *last = Some(Frame {
            size: frame.size,
            kind: frame.kind,
            serial: frame.serial,
            planes,
            format: frame.format,
        });
    }
}

/// A capture with one sink, and everything that it has said.
struct Watched {
    handle: CaptureHandle,
    events: Arc<Mutex<Vec<CaptureEvent>>>,
    last: Arc<Mutex<Option<Frame>>>,
}

impl Watched {
    fn start(config: CaptureConfig, format: PixelFormat) -> Self {
        let events = Arc::new(Mutex::new(Vec::new()));
        let sent = Arc::clone(&events);
        let handle = spawn(config, move |event| sent.lock().unwrap().push(event)).unwrap();
        let last = Arc::new(Mutex::new(None));
        handle.add_sink(1, Box::new(Sink { format, last: Arc::clone(&last) }));
        Watched { handle, events, last }
    }

    /// Of a display, and already looking at it.
    fn of(server: &Xvfb) -> Self {
        let watched = Self::start(config(server), PixelFormat::Nv12);
        watched.handle.set_active(true);
        watched.wait_frame("a first frame", |_| true);
        watched
    }

    fn wait_event<T>(&self, what: &str, pick: impl Fn(&CaptureEvent) -> Option<T>) -> T {
        within(SOON, what, || self.events.lock().unwrap().iter().find_map(&pick))
    }

    fn wait_frame(&self, what: &str, is_it: impl Fn(&Frame) -> bool) {
        within(SOON, what, || self.last.lock().unwrap().as_ref().filter(|frame| is_it(frame)).map(drop));
    }

    fn forget_events(&self) {
        self.events.lock().unwrap().clear();
    }

    /// Draws and waits until the colour is in a frame.
    fn sees(&self, painter: &Painter, rect: Rect, rgb: u32) {
        painter.fill(rect, rgb);
        let (x, y) = (usize::from(rect.x + rect.width / 2), usize::from(rect.y + rect.height / 2));
        self.wait_frame(&format!("{rgb:06x} at {x},{y}"), |frame| frame.shows(x, y, rgb));
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.handle.stop();
    }
}

fn config(server: &Xvfb) -> CaptureConfig {
    CaptureConfig::new(Source::X11 { display: server.name(), xauthority: None })
}

fn rect(x: u16, y: u16, width: u16, height: u16) -> Rect {
    Rect { x, y, width, height }
}

fn up(event: &CaptureEvent) -> Option<(Size, bool, Option<ShmMode>)> {
    match event {
        CaptureEvent::Up { size, can_resize, shm } => Some((*size, *can_resize, *shm)),
        _ => None,
    }
}

fn down(event: &CaptureEvent) -> Option<String> {
    match event {
        CaptureEvent::Down { reason } => Some(reason.clone()),
        _ => None,
    }
}

#[test]
fn what_is_drawn_appears_in_both_layouts_whatever_the_way() {
    let server = Xvfb::start(HD);
    let painter = server.painter();
    for (shm, format) in [
        (None, PixelFormat::Nv12),
        (Some(ShmMode::Memfd), PixelFormat::I420),
        (Some(ShmMode::SysV), PixelFormat::Nv12),
        (Some(ShmMode::GetImage), PixelFormat::I420),
    ] {
        painter.fill(rect(0, 0, 1280, 720), 0);
        let watched = Watched::start(CaptureConfig { shm, ..config(&server) }, format);
        watched.handle.set_active(true);
        watched.wait_frame("black", |frame| frame.shows(640, 360, 0));
        for (index, rgb) in
            [0xff_0000, 0x00_ff00, 0x00_00ff, 0xff_ffff, 0x80_4020, 0x12_9abc].into_iter().enumerate()
        {
            watched.sees(&painter, rect(101 + 150 * index as u16, 33, 57, 301), rgb);
        }
        assert_eq!(watched.handle.stats().shm, Some(shm.unwrap_or(ShmMode::Memfd)));
    }
}

#[test]
fn only_the_damaged_rectangles_are_grabbed() {
    let server = Xvfb::start(HD);
    let painter = server.painter();
    let watched = Watched::of(&server);
    watched.sees(&painter, rect(0, 0, 20, 20), 0xff_ffff);
    let before = watched.handle.stats();
    watched.sees(&painter, rect(101, 51, 40, 20), 0xff_0000);
    let after = watched.handle.stats();
    assert_eq!(after.grabs - before.grabs, 1);
    assert_eq!(after.grabbed_bytes - before.grabbed_bytes, 42 * 22 * 4);
}

#[test]
fn nothing_is_grabbed_while_nobody_looks() {
    let server = Xvfb::start(HD);
    let painter = server.painter();
    let watched = Watched::of(&server);
    watched.handle.set_active(false);
    // The wish has been taken up when a drawing no longer leads to a grab.
    let mut color = 0;
    within(SOON, "the capture to rest", || {
        let before = watched.handle.stats();
        color += 1;
        painter.fill(rect(0, 0, 100, 100), color);
        std::thread::sleep(Duration::from_millis(100));
        (watched.handle.stats() == before).then_some(())
    });
    let before = watched.handle.stats();
    for color in 0..50 {
        painter.fill(rect(0, 0, 300, 300), color * 1000);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(watched.handle.stats(), before);
    painter.fill(rect(0, 0, 300, 300), 0x00_ff00);
    watched.handle.set_active(true);
    watched.wait_frame("what was drawn meanwhile", |frame| frame.shows(150, 150, 0x00_ff00));
}

#[test]
fn the_screen_is_resized_and_odd_sizes_are_padded() {
    let server = Xvfb::start(HD);
    let painter = server.painter();
    let watched = Watched::of(&server);
    assert!(watched.wait_event("Up", up).1, "Xvfb can be resized");
    for size in [(800, 600), (801, 603), (1280, 720), (333, 222), (640, 480)] {
        let size = Size { width: size.0, height: size.1 };
        watched.forget_events();
        watched.handle.resize(standard(size));
        let got = watched.wait_event("Resized", |event| match event {
            CaptureEvent::Resized(size) => Some(*size),
            CaptureEvent::ResizeRefused { reason } => panic!("{reason}"),
            _ => None,
        });
        assert_eq!(got, size);
        watched.sees(&painter, rect(size.width - 21, size.height - 21, 21, 21), 0xff_8000);
        watched.wait_frame("the padded edge", |frame| {
            let (x, y) = (usize::from(frame.size.width) - 1, usize::from(frame.size.height) - 1);
            frame.size == size.padded_even() && frame.shows(x, y, 0xff_8000)
        });
    }
    watched.forget_events();
    watched.handle.resize(standard(Size { width: 4000, height: 4000 }));
    watched.wait_event("the largest size", |event| {
        (*event == CaptureEvent::Resized(Size { width: 1280, height: 720 })).then_some(())
    });
}

#[test]
fn programs_are_told_how_dense_the_screen_is() {
    let server = Xvfb::start("1600x1200x24");
    let watched = Watched::of(&server);
    let size = Size { width: 960, height: 720 };
    for dpi in [192, 96, 144] {
        watched.handle.resize(ScreenMode { size, dpi });
        let wanted = format!("Xft.dpi:\t{dpi}\n");
        within(SOON, "resource and millimetres", || {
            // A program that starts now is told by the server's greeting.
            let Painter { connection, root, .. } = server.painter();
            let name = AtomEnum::RESOURCE_MANAGER;
            let held = connection.get_property(false, root, name, AtomEnum::STRING, 0, 1_000);
            let screen = &connection.setup().roots[0];
            let (width, mm) = (screen.width_in_pixels, screen.width_in_millimeters);
            let found = f64::from(width) / f64::from(mm) * 25.4;
            let resource = held.unwrap().reply().unwrap().value;
            let told = resource == wanted.as_bytes() && (found - f64::from(dpi)).abs() < 2.0;
            (told && width == size.width).then_some(())
        });
    }
}

#[test]
fn another_programs_resize_is_followed() {
    let server = Xvfb::start("1024x768x24");
    let watched = Watched::of(&server);
    let other = Watched::of(&server);
    other.handle.resize(standard(Size { width: 640, height: 480 }));
    watched.wait_frame("the new size", |frame| frame.size == Size { width: 640, height: 480 });
}

#[test]
fn a_killed_server_is_waited_for_and_found_again() {
    let mut server = Xvfb::start(HD);
    let watched = Watched::of(&server);
    for color in [0xff_0000, 0x00_00ff] {
        watched.forget_events();
        server.kill();
        watched.wait_event("Down", down);
        server.launch();
        assert_eq!(watched.wait_event("Up", up).0, Size { width: 1280, height: 720 });
        watched.sees(&server.painter(), rect(10, 10, 300, 300), color);
    }
    assert_eq!(watched.handle.stats().connects, 3);
}

#[test]
fn a_display_that_does_not_exist_yet_is_waited_for() {
    let mut server = Xvfb::reserve(HD, &[]);
    let watched = Watched::start(config(&server), PixelFormat::Nv12);
    watched.handle.set_active(true);
    let reason = watched.wait_event("Down", down);
    assert!(reason.contains(&server.name().to_string()), "{reason}");
    server.launch();
    watched.wait_frame("a frame", |_| true);
    assert_eq!(watched.events.lock().unwrap().iter().filter_map(down).count(), 1, "said once");
}

#[test]
fn a_stopped_server_counts_as_gone_and_comes_back() {
    let server = Xvfb::start(HD);
    let painter = server.painter();
    let watched = Watched::of(&server);
    let pid = server.pid();
    signal(pid, "STOP");
    watched.handle.refresh();
    let reason = within(SOON * 2, "Down", || watched.events.lock().unwrap().iter().find_map(down));
    signal(pid, "CONT");
    assert!(reason.contains("does not answer"), "{reason}");
    watched.sees(&painter, rect(10, 10, 30, 30), 0xff_0000);
}

fn signal(pid: u32, name: &str) {
    let status =
        std::process::Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

#[test]
fn changes_without_damage_are_found() {
    let server = Xvfb::start(HD);
    let painter = server.painter();
    painter.fill(rect(0, 0, 1280, 720), 0x20_2020);
    let config = CaptureConfig { ignore_damage: true, ..config(&server) };
    let watched = Watched::start(config, PixelFormat::Nv12);
    watched.handle.set_active(true);
    watched.wait_frame("a first frame", |frame| frame.shows(600, 500, 0x20_2020));
    watched.sees(&painter, rect(200, 200, 800, 500), 0xff_ff00);
    watched.wait_event("MissedDamage", |event| {
        (*event == CaptureEvent::MissedDamage { polling: true }).then_some(())
    });
    watched.sees(&painter, rect(3, 3, 5, 5), 0xff_00ff);
    let stats = watched.handle.stats();
    assert_eq!(stats.missed_damage, 1);
    assert!(stats.polls > 0);
}

#[test]
fn damage_that_is_reported_is_never_called_missed() {
    let server = Xvfb::start(HD);
    let painter = server.painter();
    let watched = Watched::of(&server);
    let end = std::time::Instant::now() + Duration::from_secs(4);
    let mut color = 1u32;
    while std::time::Instant::now() < end {
        color = color.wrapping_mul(2_654_435_761);
        painter.fill(rect((color % 1000) as u16, (color % 600) as u16, 200, 100), color & 0xff_ffff);
        std::thread::sleep(Duration::from_millis(u64::from(color >> 27)));
    }
    assert_eq!(watched.handle.stats().missed_damage, 0);
}

#[test]
fn a_polled_screen_shows_changes_and_sends_nothing_when_still() {
    let server = Xvfb::start(HD);
    let painter = server.painter();
    let watched = Watched::start(CaptureConfig { force_polling: true, ..config(&server) }, PixelFormat::Nv12);
    watched.handle.set_active(true);
    watched.sees(&painter, rect(9, 9, 7, 7), 0xff_0000);
    let before = watched.handle.stats();
    within(SOON, "polls", || (watched.handle.stats().polls > before.polls + 30).then_some(()));
    assert_eq!(watched.handle.stats().fresh, before.fresh);
}

#[test]
fn a_refresh_sends_the_still_screen_again() {
    let server = Xvfb::start(HD);
    let watched = Watched::of(&server);
    let before = watched.handle.stats();
    watched.handle.refresh();
    within(SOON, "a repeat with a full grab", || {
        let stats = watched.handle.stats();
        (stats.repeats > before.repeats && stats.grabbed_bytes > before.grabbed_bytes).then_some(())
    });
    watched.wait_frame("a repeat", |frame| frame.kind == FrameKind::Repeat);
}

#[test]
fn a_still_screen_is_refined_and_then_kept_alive() {
    let server = Xvfb::start(HD);
    let painter = server.painter();
    let watched = Watched::of(&server);
    watched.sees(&painter, rect(0, 0, 100, 100), 0xff_0000);
    let drawn = watched.handle.stats();
    within(SOON, "eight repeats", || (watched.handle.stats().repeats >= drawn.repeats + 8).then_some(()));
    let refined = watched.handle.stats().repeats;
    within(SOON, "the keep-alive", || (watched.handle.stats().repeats >= refined + 2).then_some(()));
    assert_eq!(watched.handle.stats().grabs, drawn.grabs, "repeats grab nothing");
}

#[test]
fn the_cursors_shape_is_sent_when_it_changes() {
    let server = Xvfb::start(HD);
    let painter = server.painter();
    let watched = Watched::of(&server);
    let cursors = || -> Vec<Option<CursorImage>> {
        let events = watched.events.lock().unwrap();
        events
            .iter()
            .filter_map(|event| match event {
                CaptureEvent::Cursor(image) => Some(image.clone()),
                _ => None,
            })
            .collect()
    };
    within(SOON, "the first shape", || (cursors().len() == 1).then_some(()));
    for (count, glyph) in [(2, 68), (3, 152)] {
        set_cursor(&painter, glyph);
        let image =
            within(SOON, "another shape", || cursors().get(count - 1).cloned()).expect("it is visible");
        let header = png::Decoder::new(std::io::Cursor::new(&image.png[..])).read_info().unwrap();
        assert_eq!(header.info().size(), (image.size.width.into(), image.size.height.into()));
        assert!(image.hot_x < image.size.width && image.hot_y < image.size.height);
    }
    set_cursor(&painter, 152);
    watched.sees(&painter, rect(0, 0, 50, 50), 0x00_ff00);
    assert_eq!(cursors().len(), 3, "the same shape is no news");
}

/// Sets a glyph of X's cursor font as the root window's pointer.
fn set_cursor(painter: &Painter, glyph: u16) {
    let connection = &painter.connection;
    let (font, cursor) = (connection.generate_id().unwrap(), connection.generate_id().unwrap());
    connection.open_font(font, b"cursor").unwrap().check().unwrap();
    let white = u16::MAX;
    connection
        .create_glyph_cursor(cursor, font, font, glyph, glyph + 1, 0, 0, 0, white, white, white)
        .unwrap()
        .check()
        .unwrap();
    let attributes = ChangeWindowAttributesAux::new().cursor(cursor);
    connection.change_window_attributes(painter.root, &attributes).unwrap().check().unwrap();
}

#[test]
fn the_cookie_file_is_honoured() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cookies");
    std::fs::write(&file, cookie_file(b"0123456789abcdef")).unwrap();
    let wrong = folder.path().join("wrong");
    std::fs::write(&wrong, cookie_file(b"fedcba9876543210")).unwrap();
    let server = Xvfb::start_with(HD, &["-auth", file.to_str().unwrap()]);
    let source = |file| Source::X11 { display: server.name(), xauthority: Some(file) };
    let refused = Watched::start(CaptureConfig::new(source(wrong)), PixelFormat::Nv12);
    let reason = refused.wait_event("Down", down);
    assert!(reason.contains("refused"), "{reason}");
    let accepted = Watched::start(CaptureConfig::new(source(file)), PixelFormat::Nv12);
    accepted.wait_event("Up", up);
}

/// One cookie for every address and display.
fn cookie_file(cookie: &[u8; 16]) -> Vec<u8> {
    let mut file = vec![0xff, 0xff];
    for text in [&b""[..], b"", b"MIT-MAGIC-COOKIE-1", cookie] {
        file.extend((text.len() as u16).to_be_bytes());
        file.extend(text);
    }
    file
}

#[test]
fn a_depth_that_cannot_be_captured_is_named() {
    let server = Xvfb::start("640x480x16");
    let watched = Watched::start(config(&server), PixelFormat::Nv12);
    let reason = watched.wait_event("Down", down);
    assert!(reason.contains("depth 16"), "{reason}");
}

#[test]
fn the_test_source_moves_or_stands_still_and_can_be_resized() {
    let size = Size { width: 321, height: 200 };
    let moving = Watched::start(CaptureConfig::new(Source::Test { size, still: false }), PixelFormat::I420);
    moving.handle.set_active(true);
    within(SOON, "frames", || (moving.handle.stats().fresh > 30).then_some(()));
    moving.wait_frame("its size", |frame| frame.size == size.padded_even());
    moving.handle.resize(standard(Size { width: 64, height: 32 }));
    moving.wait_frame("another size", |frame| frame.size == Size { width: 64, height: 32 });

    let still = Watched::start(CaptureConfig::new(Source::Test { size, still: true }), PixelFormat::Nv12);
    still.handle.set_active(true);
    within(SOON, "repeats", || (still.handle.stats().repeats >= 10).then_some(()));
    assert_eq!(still.handle.stats().fresh, 0);
}
