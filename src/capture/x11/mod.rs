//! The X display as a source: finds it, loses it, finds it again.

mod cursor;
mod dpi;
mod grab;
mod resize;
mod screen;

use std::path::Path;
use std::time::{Duration, Instant};

use x11rb::connection::Connection as _;
use x11rb::errors::{ConnectionError, ReplyError, ReplyOrIdError};

use self::screen::Screen;
use super::cadence::Step;
use super::engine::Engine;
use super::{CaptureConfig, CaptureEvent};
use crate::display::{self, DisplayName};
use crate::frame::ScreenMode;

/// Between two attempts to reach the X server: at first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// A screen that lasted this long was a real one; losing it starts with short pauses again.
const STEADY: Duration = Duration::from_secs(5);

/// Why there is no screen; each may pass.
#[derive(Debug, thiserror::Error)]
pub enum ScreenError {
    /// It cannot be reached.
    #[error("{0}")]
    Connect(#[from] display::ConnectFailure),
    /// It was there.
    #[error("the X server went away: {0}")]
    Connection(#[from] ConnectionError),
    /// It is there and says no.
    #[error("the X server refused a request: {}", describe(.0))]
    Refused(x11rb::x11_utils::X11Error),
    /// It lacks something.
    #[error("{0}")]
    Unsupported(String),
}

fn describe(error: &x11rb::x11_utils::X11Error) -> String {
    format!("{:?} in {}", error.error_kind, error.request_name.unwrap_or("an unknown request"))
}

impl From<ReplyError> for ScreenError {
    fn from(error: ReplyError) -> Self {
        match error {
            ReplyError::ConnectionError(error) => ScreenError::Connection(error),
            ReplyError::X11Error(error) => ScreenError::Refused(error),
        }
    }
}

impl From<ReplyOrIdError> for ScreenError {
    fn from(error: ReplyOrIdError) -> Self {
        match error {
            ReplyOrIdError::ConnectionError(error) => ScreenError::Connection(error),
            ReplyOrIdError::X11Error(error) => ScreenError::Refused(error),
            ReplyOrIdError::IdsExhausted => ScreenError::Unsupported("no X resource ids are left".into()),
        }
    }
}

/// Sets the screen of `display` as `wanted`, or to the nearest size that its server allows.
///
/// # Errors
/// When the display cannot be reached, or refuses.
pub fn set_screen(
    display: &DisplayName,
    xauthority: Option<&Path>,
    wanted: ScreenMode,
) -> Result<(), ScreenError> {
    let connected = display::connect(display, xauthority)?;
    let roots = &connected.connection.setup().roots;
    let root = roots
        .get(connected.screen)
        .ok_or_else(|| ScreenError::Unsupported(format!("{display} has no such screen")))?
        .root;
    resize::set_screen(&connected.connection, root, wanted)
}

/// Runs until the handle is gone.
pub(super) fn run(
    mut engine: Engine,
    config: &CaptureConfig,
    display: &DisplayName,
    xauthority: Option<&Path>,
) {
    let mut told: Option<String> = None;
    let mut retry = RETRY.0;
    while engine.take_mail() {
        let began = Instant::now();
        let outcome = Screen::open(config, display, xauthority).and_then(|mut screen| {
            screen.announce(&mut engine)?;
            told = None;
            follow(&mut screen, &mut engine)
        });
        let Err(error) = outcome else { return };
        if began.elapsed() >= STEADY {
            retry = RETRY.0;
        }
        let reason = error.to_string();
        if told.as_ref() != Some(&reason) {
            tracing::warn!(%reason, "no screen; waiting for one");
            engine.emit(CaptureEvent::Down { reason: reason.clone() });
            told = Some(reason);
        }
        if !pause(&mut engine, retry) {
            return;
        }
        retry = (retry * 2).min(RETRY.1);
    }
}

/// Takes up wishes for a while. False when the capture is to end.
fn pause(engine: &mut Engine, time: Duration) -> bool {
    let until = Instant::now() + time;
    while Instant::now() < until {
        if !engine.take_mail() {
            return false;
        }
        engine.wait(None, Some(until));
    }
    true
}

/// Ends with `Ok` when the handle is gone, with an error when the screen is.
fn follow(screen: &mut Screen, engine: &mut Engine) -> Result<(), ScreenError> {
    while engine.take_mail() {
        if let Some(wanted) = engine.resize.take() {
            screen.resize(engine, wanted)?;
        }
        screen.drain_events(engine)?;
        let now = Instant::now();
        match engine.cadence.step(now) {
            Step::Grab { full } => screen.grab(engine, full, now)?,
            Step::Poll => screen.poll(engine, false, now)?,
            Step::Repeat => engine.push_repeat(),
            Step::Sleep(until) => {
                let sample = screen.next_sample().filter(|_| engine.active());
                if sample.is_some_and(|at| at <= now) {
                    screen.sample(engine, now)?;
                } else {
                    screen.flush()?;
                    engine.wait(Some(screen.descriptor()), until.into_iter().chain(sample).min());
                }
            }
        }
    }
    Ok(())
}
