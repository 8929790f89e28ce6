//! What capture costs on a display: `cargo run --release --example capture_timing -- :100`.
//!
//! Draws on the root window itself. Times run from the damage event to the converted frame.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use deskgate::capture::{CaptureConfig, CaptureHandle, ShmMode, Source, spawn};
use deskgate::display::{self, DisplayName, XConnection};
use deskgate::frame::{FrameKind, FrameSink, FrameView, PixelFormat};
use x11rb::connection::Connection;
use x11rb::protocol::xproto::{ChangeGCAux, ConnectionExt as _, CreateGCAux, Rectangle};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

struct Times {
    format: PixelFormat,
    micros: Arc<Mutex<Vec<f64>>>,
}

impl FrameSink for Times {
    fn format(&self) -> PixelFormat {
        self.format
    }

    fn push(&mut self, frame: &FrameView<'_>) {
        if frame.kind == FrameKind::Fresh
            && let Ok(mut micros) = self.micros.lock()
        {
            micros.push((frame.captured_at - frame.damaged_at).as_secs_f64() * 1e6);
        }
    }
}

fn main() -> Result<()> {
    let display: DisplayName = std::env::args().nth(1).ok_or("usage: capture_timing :DISPLAY")?.parse()?;
    for shm in [ShmMode::Memfd, ShmMode::SysV, ShmMode::GetImage] {
        for format in [PixelFormat::Nv12, PixelFormat::I420] {
            measure(&display, shm, format)?;
        }
    }
    Ok(())
}

fn measure(display: &DisplayName, shm: ShmMode, format: PixelFormat) -> Result<()> {
    let source = Source::X11 { display: display.clone(), xauthority: None };
    let handle = spawn(CaptureConfig { shm: Some(shm), ..CaptureConfig::new(source) }, |_| {})?;
    let micros = Arc::new(Mutex::new(Vec::new()));
    handle.add_sink(1, Box::new(Times { format, micros: Arc::clone(&micros) }));
    handle.set_active(true);
    std::thread::sleep(Duration::from_millis(300));
    let painter = display::connect(display, None)?.connection;
    for (name, width, height) in [("full", u16::MAX, u16::MAX), ("400x300", 400, 300), ("64x64", 64, 64)] {
        for _ in 0..100 {
            paint(&painter, width, height)?;
            std::thread::sleep(Duration::from_millis(50));
        }
        let mut times = std::mem::take(&mut *micros.lock().map_err(|error| error.to_string())?);
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        report(&format!(
            "{shm:?} {format:?} {name}: p50 {:.0} µs, p90 {:.0} µs of {}",
            at(0.5),
            at(0.9),
            times.len()
        ));
    }
    if (shm, format) == (ShmMode::Memfd, PixelFormat::Nv12) {
        cpu("still", &handle, || std::thread::sleep(Duration::from_secs(10)))?;
        cpu("full motion at 60", &handle, || {
            let start = Instant::now();
            for frame in 0..300u32 {
                let _ = paint(&painter, u16::MAX, u16::MAX);
                std::thread::sleep(
                    (start + Duration::from_micros(16_667) * frame).saturating_duration_since(Instant::now()),
                );
            }
        })?;
        handle.set_active(false);
        std::thread::sleep(Duration::from_millis(100));
        cpu("nobody looking", &handle, || std::thread::sleep(Duration::from_secs(5)))?;
    }
    handle.stop();
    Ok(())
}

fn paint(connection: &XConnection, width: u16, height: u16) -> Result<()> {
    let root = connection.setup().roots[0].root;
    let gc = connection.generate_id()?;
    let color = gc.wrapping_mul(2_654_435_761) & 0xff_ffff;
    connection.create_gc(gc, root, &CreateGCAux::new())?;
    connection.change_gc(gc, &ChangeGCAux::new().foreground(color))?;
    connection.poly_fill_rectangle(root, gc, &[Rectangle { x: 0, y: 0, width, height }])?;
    connection.free_gc(gc)?;
    connection.flush()?;
    Ok(())
}

/// Processor time of the capture thread while `work` runs.
fn cpu(name: &str, handle: &CaptureHandle, work: impl FnOnce()) -> Result<()> {
    let (before, start, stats) = (capture_thread_nanos()?, Instant::now(), handle.stats());
    work();
    let share = (capture_thread_nanos()? - before) as f64 / start.elapsed().as_nanos() as f64;
    let fresh = handle.stats().fresh - stats.fresh;
    report(&format!("{name}: {share:.4} cores, {fresh} fresh frames"));
    Ok(())
}

fn capture_thread_nanos() -> Result<u64> {
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        if std::fs::read_to_string(task.join("comm"))?.trim() == "capture" {
            let times = std::fs::read_to_string(task.join("schedstat"))?;
            return Ok(times.split(' ').next().unwrap_or_default().parse()?);
        }
    }
    Err("no capture thread".into())
}

#[allow(clippy::print_stdout)] // A program whose output is its purpose.
fn report(line: &str) {
    println!("{line}");
}
