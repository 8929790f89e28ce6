//! What each entry of the catalogue can do here, found out by encoding a few frames with it.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use super::catalog::{Catalog, Entry};
use super::choose::{Host, PassedOver, passed_over};
use super::host;
use super::picture::Layout;
use super::runner::{Runner, RunnerConfig, RunnerError, RunnerEvent};
use super::version::Version;
use crate::frame::{Codec, FrameKind, FrameView, PixelFormat, Size};

/// Longest time that the frames of one entry may take, start not counted.
const DEADLINE: Duration = Duration::from_secs(3);
const FRAMES: u64 = 5;
const CONFIG: RunnerConfig =
    RunnerConfig { size: Size { width: 640, height: 480 }, fps: 30, bitrate_kbps: 2_000 };

/// What came of one entry.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It encoded frames.
    Usable {
        /// Median time from frame in to unit out, at 640×480.
        encode_time: Duration,
    },
    /// Why it was not tried.
    PassedOver(PassedOver),
    /// Why it did not work.
    Unusable(RunnerError),
    /// It started, took frames and gave none back in time.
    Silent,
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What the entry encodes.
    pub codec: Codec,
    /// Its name.
    pub name: String,
    /// True if a GPU does the work.
    pub hardware: bool,
    /// What came of it.
    pub verdict: Verdict,
}

/// What `deskgate encoders` prints.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// GStreamer's version.
    pub gstreamer: Version,
    /// Every entry, best first within a codec.
    pub rows: Vec<Row>,
}

/// Tries every entry of `catalog`, one after another.
pub fn probe(catalog: &Catalog) -> Table {
    let host = host::detect(catalog);
    let rows = catalog.entries().map(|entry| row(entry, &host)).collect();
    Table { gstreamer: host.gstreamer, rows }
}

fn row(entry: &Arc<Entry>, host: &Host) -> Row {
    let verdict = match passed_over(entry, host, None) {
        Some(reason) => Verdict::PassedOver(reason),
        None => attempt(entry),
    };
    Row { codec: entry.codec, name: entry.name.clone(), hardware: entry.hardware, verdict }
}

/// Encodes [`FRAMES`] frames with `entry`.
fn attempt(entry: &Arc<Entry>) -> Verdict {
    let (send, events) = sync_channel(2 * FRAMES as usize);
    let on_event = Box::new(move |event| {
        let _ = send.try_send(event);
    });
    let runner = match Runner::start(entry, CONFIG, on_event) {
        Ok(runner) => runner,
        Err(error) => return Verdict::Unusable(error),
    };
    let deadline = Instant::now() + DEADLINE;
    let mut times = Vec::new();
    for serial in 1..=FRAMES {
        push_test_frame(&runner, serial);
        match next_unit(&events, deadline) {
            Ok(time) => times.push(time),
            Err(verdict) => return verdict,
        }
    }
    times.sort();
    match runner.stop() {
        Ok(()) => Verdict::Usable { encode_time: times[times.len() / 2] },
        Err(error) => Verdict::Unusable(error),
    }
}

fn next_unit(events: &Receiver<RunnerEvent>, deadline: Instant) -> Result<Duration, Verdict> {
    match events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(RunnerEvent::AccessUnit(unit)) => Ok(unit.encoded_at - unit.captured_at),
        Ok(RunnerEvent::Failed { reason }) => Err(Verdict::Unusable(RunnerError::Refused(reason))),
        Err(_) => Err(Verdict::Silent),
    }
}

/// A gradient that moves with `serial`.
fn push_test_frame(runner: &Runner, serial: u64) {
    let layout = Layout::new(CONFIG.size, PixelFormat::I420);
    let data: Vec<u8> = (0..layout.bytes as u64).map(|i| (16 + (i + 8 * serial) % 200) as u8).collect();
    let now = Instant::now();
    runner.push(&FrameView {
        size: layout.size,
        format: layout.format,
        planes: layout.planes(&data),
        damaged_at: now,
        captured_at: now,
        serial,
        kind: FrameKind::Fresh,
    });
}

impl Table {
    /// For a terminal, one entry a line.
    pub fn text(&self) -> String {
        let mut out = format!("GStreamer {}\n", self.gstreamer);
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
        for row in &self.rows {
            let kind = if row.hardware { "GPU" } else { "CPU" };
            let codec = row.codec.name();
            let verdict = row.verdict.text();
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{codec:<5} {:<width$}  {kind}  {verdict}", row.name);
        }
        out
    }

    /// Has any entry encoded anything?
    pub fn any_usable(&self) -> bool {
        self.rows.iter().any(|row| matches!(row.verdict, Verdict::Usable { .. }))
    }
}

impl Verdict {
    /// For people, in a line.
    pub fn text(&self) -> String {
        match self {
            Self::Usable { encode_time } => {
                format!("usable ({:.1} ms a frame at 640×480)", encode_time.as_secs_f64() * 1000.0)
            }
            Self::PassedOver(reason) => format!("unusable: {reason}"),
            Self::Unusable(error) => format!("unusable: {error}"),
            Self::Silent => format!("unusable: encoded nothing within {} s", DEADLINE.as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_for_every_entry_and_says_why() {
        let row = |name: &str, hardware, verdict| Row {
            codec: Codec::H264,
            name: name.to_owned(),
            hardware,
            verdict,
        };
        let missing = PassedOver::ElementMissing(vec!["vah264enc".to_owned()]);
        let table = Table {
            gstreamer: Version(1, 22, 0),
            rows: vec![
                row("vah264enc", true, Verdict::PassedOver(missing)),
                row("nvh264enc", true, Verdict::Unusable(RunnerError::NoDevice("none".to_owned()))),
                row("x264", false, Verdict::Usable { encode_time: Duration::from_micros(1_234) }),
            ],
        };
        let expected = "GStreamer 1.22.0\n\
            H264  vah264enc  GPU  unusable: element missing: vah264enc\n\
            H264  nvh264enc  GPU  unusable: no device: none\n\
            H264  x264       CPU  usable (1.2 ms a frame at 640×480)\n";
        assert_eq!(table.text(), expected);
        assert!(table.any_usable());
    }
}
