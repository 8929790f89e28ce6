//! A thread that draws about 60 frames a second, as a program with its own clock would.

use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Result;
use super::canvas::Canvas;
use super::scene::{Frame, NUMBERS};

/// Frames a second that the rig draws, about.
pub const RATE: f64 = 60.0;
/// In this time a drifting clock falls behind the display's, or gets ahead of it, by one frame.
pub const CYCLE: Duration = Duration::from_secs(10);

/// Frames a second of two clocks that drift, one slower and one faster than the display's, in turns the first.
///
/// Within a [`CYCLE`] frames are drawn at every moment between two ticks of the display. Without drift the moment that
/// a restart happened to draw would be measured, up to a whole frame, rather than the product. Every run has both: a
/// source that is slower than the display need wait for nothing, and a faster one has to.
pub fn drifting(round: u32) -> [f64; 2] {
    let drift = 1.0 / CYCLE.as_secs_f64();
    let [slower, faster] = [RATE - drift, RATE + drift];
    if round.is_multiple_of(2) { [slower, faster] } else { [faster, slower] }
}

/// What frame N with the patch in its colour looks like.
pub type Scene = fn(u32, usize) -> Frame;

/// Running motion; dropping it stops the drawing.
pub struct Motion {
    commands: Option<Sender<Command>>,
    drawn: Receiver<Drawn>,
    times: Arc<Mutex<Vec<Instant>>>,
    thread: Option<JoinHandle<Result<()>>>,
}

enum Command {
    Flip,
    Report,
}

enum Drawn {
    /// When the frame with the patch's new colour was sent, and that colour.
    Flipped(Instant, usize),
    /// Frames drawn so far, when the last of them was sent, and the colour of the patch.
    Count(u32, Instant, usize),
}

impl Motion {
    /// Begins to draw `scene` on `canvas`, so many frames a second.
    pub fn start(canvas: Arc<Canvas>, scene: Scene, rate: f64) -> Self {
        let (commands, inbox) = channel();
        let (outbox, drawn) = channel();
        let times: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let kept = Arc::clone(&times);
        let thread = std::thread::spawn(move || draw(&canvas, scene, rate, &inbox, &outbox, &kept));
        Self { commands: Some(commands), drawn, times, thread: Some(thread) }
    }

    /// When frame `number` was sent, if it was.
    pub fn drawn_at(&self, number: u32) -> Option<Instant> {
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.get(number as usize).copied()
    }

    /// Has the next frame change the patch's colour; when that frame was sent, and the colour.
    pub fn flip(&self) -> Result<(Instant, usize)> {
        match self.ask(Command::Flip)? {
            Drawn::Flipped(at, colour) => Ok((at, colour)),
            Drawn::Count(..) => Err("the drawing thread gave the wrong answer".into()),
        }
    }

    /// Frames drawn so far, and when the last of them was sent.
    pub fn count(&self) -> Result<(u32, Instant)> {
        self.report().map(|(count, at, _)| (count, at))
    }

    /// The patch's present colour.
    pub fn patch(&self) -> Result<usize> {
        self.report().map(|(_, _, patch)| patch)
    }

    fn report(&self) -> Result<(u32, Instant, usize)> {
        match self.ask(Command::Report)? {
            Drawn::Count(count, at, patch) => Ok((count, at, patch)),
            Drawn::Flipped(..) => Err("the drawing thread gave the wrong answer".into()),
        }
    }

    fn ask(&self, command: Command) -> Result<Drawn> {
        self.commands.as_ref().ok_or("the drawing has stopped")?.send(command)?;
        Ok(self.drawn.recv_timeout(Duration::from_secs(2))?)
    }
}

impl Drop for Motion {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // An error has already closed the channels, which the asking side has reported.
            let _ = thread.join();
        }
    }
}

fn draw(
    canvas: &Canvas,
    scene: Scene,
    rate: f64,
    inbox: &Receiver<Command>,
    outbox: &Sender<Drawn>,
    times: &Mutex<Vec<Instant>>,
) -> Result<()> {
    let start = Instant::now();
    let mut patch = 0;
    for number in 0.. {
        let due = start + Duration::from_secs_f64(f64::from(number) / rate);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let command = match inbox.try_recv() {
            Ok(command) => Some(command),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => break,
        };
        if matches!(command, Some(Command::Flip)) {
            patch = 1 - patch;
        }
        let sent = canvas.show_frame(scene(number % NUMBERS, patch))?;
        times.lock().unwrap_or_else(PoisonError::into_inner).push(sent);
        match command {
            Some(Command::Flip) => outbox.send(Drawn::Flipped(sent, patch))?,
            Some(Command::Report) => outbox.send(Drawn::Count(number + 1, sent, patch))?,
            None => {}
        }
    }
    Ok(())
}
