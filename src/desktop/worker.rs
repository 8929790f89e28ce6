//! The thread "desktop": takes actions from the queue to the X server, and the server's changes back.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::keyboard::{Keyboard, Step};
use super::keymap::bits;
use super::pointer::Pointer;
use super::x11::{Display, Notice, XError};
use super::{DesktopEvent, Shared};
use crate::display::DisplayName;
use crate::session::action::DesktopAction;
use crate::wire::input::Point;

/// First and longest wait between attempts to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

type OnEvent = Arc<dyn Fn(DesktopEvent) + Send + Sync>;

pub(super) struct Worker {
    display: DisplayName,
    xauthority: Option<PathBuf>,
    shared: Arc<Shared>,
    on_event: OnEvent,
    controlled: bool,
}

impl Worker {
    pub(super) fn new(
        display: DisplayName,
        xauthority: Option<PathBuf>,
        shared: Arc<Shared>,
        on_event: OnEvent,
    ) -> Self {
        Self { display, xauthority, shared, on_event, controlled: false }
    }

    /// Runs until the handle is dropped.
    pub(super) fn run(mut self) {
        let mut backoff = BACKOFF.0;
        let mut told = false;
        while !self.shared.inbox().stop {
            let (reached, error) = match Link::open(&self) {
                Ok(mut link) => {
                    (self.on_event)(DesktopEvent::Up);
                    link.tell_locks();
                    (true, self.serve(&mut link).err())
                }
                Err(error) => (false, Some(error)),
            };
            let Some(error) = error else { return };
            if reached || !told {
                tracing::warn!(display = %self.display, %error, "no input into the desktop");
                (self.on_event)(DesktopEvent::Down { reason: error.to_string() });
                told = true;
            }
            backoff = if reached { BACKOFF.0 } else { (backoff * 2).min(BACKOFF.1) };
            self.wait_away(Instant::now() + backoff);
        }
    }

    /// Waits for the next attempt. Of what comes in meanwhile, only who has control is of use.
    fn wait_away(&mut self, until: Instant) {
        loop {
            let stop = {
                let mut inbox = self.shared.inbox();
                while let Some(action) = inbox.queue.pop() {
                    if let DesktopAction::Controlled(on) = action {
                        self.controlled = on;
                    }
                }
                inbox.stop
            };
            let now = Instant::now();
            if stop || now >= until {
                return;
            }
            wait(&self.shared, None, Some(until - now));
        }
    }

    /// Works until the handle is dropped (`Ok`) or the X server is gone.
    fn serve(&mut self, link: &mut Link) -> Result<(), XError> {
        if self.controlled {
            link.set_controlled(true)?;
        }
        loop {
            let (action, stop) = {
                let mut inbox = self.shared.inbox();
                (inbox.queue.pop(), inbox.stop)
            };
            if stop {
                // What was sent before the end still counts, as far as it needs no waiting.
                link.end(action, &self.shared)?;
                return Ok(());
            }
            if let Some(action) = action {
                if let DesktopAction::Controlled(on) = action {
                    self.controlled = on;
                }
                link.act(action)?;
                continue;
            }
            let timeout = link.type_on()?;
            link.display.flush()?;
            // Waiting for replies may have read events already: the descriptor would not tell.
            if link.take_notices()? {
                continue;
            }
            wait(&self.shared, Some(&link.display), timeout);
        }
    }
}

/// Waits for an event of the X server, an action, or the time; reads nothing of the X server.
fn wait(shared: &Shared, display: Option<&Display>, timeout: Option<Duration>) {
    let mut fds = vec![PollFd::new(&shared.wake, PollFlags::IN)];
    let x_fd = display.map(Display::fd);
    fds.extend(x_fd.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
    // A millisecond more: waking early would only lead to another short wait.
    let timeout = timeout.map(|t| t + Duration::from_millis(1)).and_then(|t| Timespec::try_from(t).ok());
    let _ = poll(&mut fds, timeout.as_ref());
    let mut count = [0; 8];
    let _ = rustix::io::read(&shared.wake, &mut count);
}

/// One connection to the X server and what it holds.
struct Link {
    display: Display,
    keyboard: Keyboard,
    pointer: Pointer,
    locked: u8,
    /// Autorepeat was on when control began.
    restore_repeat: bool,
    on_event: OnEvent,
}

impl Link {
    fn open(worker: &Worker) -> Result<Self, XError> {
        let display = Display::connect(&worker.display, worker.xauthority.as_deref())?;
        // Whatever is down was pressed by a gateway that was killed: nobody else will release it.
        display.release_everything()?;
        display.restore_repeats()?;
        let ours = display.former_spares()?;
        let locked = display.pressed()?.state.locked;
        let mut link = Self {
            display,
            keyboard: Keyboard::default(),
            pointer: Pointer::default(),
            locked,
            restore_repeat: false,
            on_event: Arc::clone(&worker.on_event),
        };
        link.read_map(&ours)?;
        Ok(link)
    }

    fn read_map(&mut self, ours: &[u8]) -> Result<(), XError> {
        let table = self.display.read_table()?;
        self.keyboard.set_table(table, ours, Instant::now());
        let spares = self.keyboard.spare_keycodes();
        tracing::debug!(spares = spares.len(), "keyboard map read");
        self.display.note_spares(&spares)
    }

    fn tell_locks(&self) {
        let (caps, num) = (bits::LOCK, self.keyboard.table().num_lock());
        let on = |bit| self.locked & bit != 0;
        (self.on_event)(DesktopEvent::Locks { caps: on(caps), num: on(num) });
    }

    /// Takes up what the X server has reported; false if that was nothing.
    fn take_notices(&mut self) -> Result<bool, XError> {
        let notices = self.display.notices()?;
        let locks = bits::LOCK | self.keyboard.table().num_lock();
        let before = self.locked & locks;
        for notice in &notices {
            if let Notice::Locked(mods) = notice {
                self.locked = *mods;
            }
        }
        if notices.contains(&Notice::Map) {
            self.read_map(&[])?;
            // Setting a layout may bring the server's defaults back.
            if self.restore_repeat && self.display.repeats()? {
                self.display.set_repeats(false)?;
            }
        }
        if self.locked & locks != before {
            self.tell_locks();
        }
        Ok(!notices.is_empty())
    }

    fn act(&mut self, action: DesktopAction) -> Result<(), XError> {
        match action {
            DesktopAction::Key { down, keysym, code } => {
                if !self.keyboard.push_key(down, keysym, code) && down {
                    tracing::debug!("too much waits: key press dropped");
                }
                self.type_on().map(drop)
            }
            DesktopAction::Text(text) => {
                if !self.keyboard.push_text(&text) {
                    tracing::warn!(bytes = text.len(), "too much waits: text dropped");
                }
                self.type_on().map(drop)
            }
            DesktopAction::Motion(at) => self.display.move_to(at),
            DesktopAction::Relative { dx, dy } => self.display.move_by(dx, dy),
            DesktopAction::Button { button, down, at } => self.button(button, down, at),
            DesktopAction::Wheel { dx, dy, at } => self.wheel(dx, dy, at),
            DesktopAction::Locks { caps, num } => self.set_locks(caps, num),
            DesktopAction::ForgetText => {
                self.keyboard.drop_text();
                Ok(())
            }
            DesktopAction::ReleaseAll => self.release_all(),
            DesktopAction::Controlled(on) => self.set_controlled(on),
        }
    }

    /// Types what can be typed now; returns how long the rest has to wait.
    fn type_on(&mut self) -> Result<Option<Duration>, XError> {
        while !self.keyboard.is_idle() {
            // One step at a time: what a key means depends on the modifiers that the one before has left.
            let pressed = self.display.pressed()?;
            // A layout that was set before that answer has been reported before it, too.
            if self.take_notices()? {
                continue;
            }
            let (now, mut ops) = (Instant::now(), Vec::new());
            let step = self.keyboard.step(&pressed, now, &mut ops);
            self.display.apply(&ops)?;
            if let Step::Wait(until) = step {
                return Ok(Some(until.saturating_duration_since(now)));
            }
        }
        Ok(None)
    }

    fn button(&mut self, button: u8, down: bool, at: Option<Point>) -> Result<(), XError> {
        if let Some(at) = at {
            self.display.move_to(at)?;
        }
        if self.pointer.button(button, down) {
            self.display.button(button, down)?;
        }
        Ok(())
    }

    fn wheel(&mut self, dx: i16, dy: i16, at: Option<Point>) -> Result<(), XError> {
        if let Some(at) = at {
            self.display.move_to(at)?;
        }
        for (button, clicks) in self.pointer.wheel(dx, dy) {
            for _ in 0..clicks {
                self.display.button(button, true)?;
                self.display.button(button, false)?;
            }
        }
        Ok(())
    }

    fn set_locks(&mut self, caps: bool, num: bool) -> Result<(), XError> {
        let num_lock = self.keyboard.table().num_lock();
        let locked = if caps { bits::LOCK } else { 0 } | if num { num_lock } else { 0 };
        self.display.lock(bits::LOCK | num_lock, locked)
    }

    fn release_all(&mut self) -> Result<(), XError> {
        let ops = self.keyboard.release_all();
        self.display.apply(&ops)?;
        for button in self.pointer.release_all() {
            self.display.button(button, false)?;
        }
        self.display.flush()
    }

    fn set_controlled(&mut self, on: bool) -> Result<(), XError> {
        if on {
            if !self.restore_repeat && self.display.repeats()? {
                self.display.set_repeats(false)?;
                self.restore_repeat = true;
            }
            return Ok(());
        }
        self.keyboard.drop_text();
        self.release_all()?;
        if std::mem::take(&mut self.restore_repeat) {
            self.display.set_repeats(true)?;
        }
        Ok(())
    }

    /// Does what is queued, without waiting for spare keycodes, and lets go of everything.
    fn end(&mut self, first: Option<DesktopAction>, shared: &Shared) -> Result<(), XError> {
        let mut next = first;
        while let Some(action) = next {
            self.act(action)?;
            next = shared.inbox().queue.pop();
        }
        self.set_controlled(false)?;
        // A round trip: whoever dropped the handle may rely on it.
        self.display.repeats().map(drop)
    }
}
