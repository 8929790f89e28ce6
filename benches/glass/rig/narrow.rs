//! How old the picture on the glass is, all through full motion: for ways that carry less than the picture wants.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::measure::{self, Stage};
use super::motion::{Motion, RATE};
use super::product::{Deskgate, Product, Running};
use super::scene;
use super::stats::{max, quantile};
use super::{Result, viewer};

/// One line of the table is about this long.
const SPAN: Duration = Duration::from_secs(10);
/// Pause between two looks at the frame number.
const LOOK: Duration = Duration::from_millis(5);

/// What was seen in one span.
#[derive(Clone, Debug, Serialize)]
pub struct Seen {
    /// At each look, how long ago the frame that the glass shows was drawn, in milliseconds. Latency and standstill
    /// both count.
    pub age_ms: Vec<f64>,
    /// Distinct frames a second.
    pub fps: f64,
    /// What the encoder made, kbit/s.
    pub kbps: f64,
}

impl Seen {
    /// Median, 95th percentile and greatest age.
    pub fn ages(&self) -> [f64; 3] {
        [quantile(&self.age_ms, 0.5), quantile(&self.age_ms, 0.95), max(&self.age_ms)]
    }
}

/// Starts `product` and a browser, then motion, and watches it for so many spans from its first frame on.
pub fn run(stage: &Stage, product: &Deskgate, spans: usize) -> Result<Vec<Seen>> {
    stage.canvas.show_desktop(0)?;
    stage.desktop.park_pointer()?;
    stage.glass.park_pointer()?;
    let server = Running::start(product, &stage.desktop.display())?;
    let way = product.way(&server)?;
    let mut browser = viewer::start(&stage.glass, &way)?;
    measure::align(stage, &mut browser).map_err(|e| format!("{e}\nits log:\n{}", server.tail()))?;
    product.evidence(&server)?;
    let motion = Motion::start(Arc::clone(&stage.canvas), scene::jumping_frame, RATE);
    let start = Instant::now();
    let mut shown = start;
    (1..=spans).map(|span| watch(stage, &server, &motion, start + SPAN * span as u32, &mut shown)).collect()
}

/// `shown`: when the frame on the glass was drawn.
fn watch(
    stage: &Stage,
    server: &Running,
    motion: &Motion,
    until: Instant,
    shown: &mut Instant,
) -> Result<Seen> {
    let (from, before) = (Instant::now(), Deskgate::encoded_bytes(server)?);
    let (mut age_ms, mut numbers) = (Vec::new(), BTreeSet::new());
    while Instant::now() < until {
        if let Some(number) = stage.seen.frame_number()?
            && let Some(drawn) = motion.drawn_at(number)
        {
            *shown = drawn;
            numbers.insert(number);
        }
        age_ms.push(shown.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(LOOK);
    }
    let seconds = from.elapsed().as_secs_f64();
    let kbps = (Deskgate::encoded_bytes(server)? - before) * 8e-3 / seconds;
    Ok(Seen { age_ms, fps: numbers.len() as f64 / seconds, kbps })
}
