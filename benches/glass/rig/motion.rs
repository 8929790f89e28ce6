//! A thread that draws at 60 frames a second, as a program with its own clock would.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Result;
use super::canvas::Canvas;
use super::scene::NUMBERS;

/// Frames a second that the rig draws.
pub const RATE: f64 = 60.0;

/// Running motion; dropping it stops the drawing.
pub struct Motion {
    commands: Option<Sender<Command>>,
    drawn: Receiver<Drawn>,
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
    /// Begins to draw on `canvas`.
    pub fn start(canvas: Arc<Canvas>) -> Self {
        let (commands, inbox) = channel();
        let (outbox, drawn) = channel();
        let thread = std::thread::spawn(move || draw(&canvas, &inbox, &outbox));
        Self { commands: Some(commands), drawn, thread: Some(thread) }
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

fn draw(canvas: &Canvas, inbox: &Receiver<Command>, outbox: &Sender<Drawn>) -> Result<()> {
    let start = Instant::now();
    let mut patch = 0;
    for number in 0.. {
        let due = start + Duration::from_secs_f64(f64::from(number) / RATE);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let command = match inbox.try_recv() {
            Ok(command) => Some(command),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => break,
        };
        if matches!(command, Some(Command::Flip)) {
            patch = 1 - patch;
        }
        let sent = canvas.show_frame(number % NUMBERS, patch)?;
        match command {
            Some(Command::Flip) => outbox.send(Drawn::Flipped(sent, patch))?,
            Some(Command::Report) => outbox.send(Drawn::Count(number + 1, sent, patch))?,
            None => {}
        }
    }
    Ok(())
}
