//! Full-screen motion of the benches on a display, until it is ended: `cargo run --release --example motion -- :100 60`.
//!
//! The second argument is the frames a second; the picture's window jumps, so that every frame costs an encoder much.

#![allow(dead_code, reason = "the rig is that of the benches, which use all of it")]

#[path = "../benches/glass/rig/mod.rs"]
mod rig;

use std::time::{Duration, Instant};

use x11rb::connection::Connection;
use x11rb::rust_connection::RustConnection;

use rig::Result;
use rig::canvas::Canvas;
use rig::scene::{NUMBERS, jumping_frame};

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let (display, rate) = (words.next(), words.next().map_or(Ok(rig::motion::RATE), |text| text.parse())?);
    let (conn, screen) = RustConnection::connect(display.as_deref())?;
    let root = conn.setup().roots.get(screen).ok_or("display without a screen")?.root;
    let canvas = Canvas::open(conn, root)?;
    let start = Instant::now();
    for number in 0.. {
        let due = start + Duration::from_secs_f64(f64::from(number) / rate);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        canvas.show_frame(jumping_frame(number % NUMBERS, 0))?;
    }
    Ok(())
}
