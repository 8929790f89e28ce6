//! PURE. From a viewer's input frames to actions on the desktop: rights, order, bounds, held keys.

use std::time::{Duration, Instant};

use super::action::DesktopAction;
use super::event::Output;
use super::{Session, viewer::Viewer};
use crate::frame::Size;
use crate::wire::input::{InputError, InputEvent, InputFrame, Point};
use crate::wire::signal::{Right, ServerMessage};

/// The other viewers see the controller's pointer at most this often.
const OVERLAY_INTERVAL: Duration = Duration::from_millis(33);

/// The controller's pointer, for the others.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    sent_at: Option<Instant>,
    owed: Option<Point>,
}

impl Overlay {
    /// What the former controller's pointer did is nobody's news any more.
    pub fn forget(&mut self) {
        self.owed = None;
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.owed.and(self.sent_at.map(|at| at + OVERLAY_INTERVAL))
    }
}

/// True if `seq` is older than `newest` (both wrap, RFC 1982).
fn is_older(seq: u32, newest: Option<u32>) -> bool {
    newest.is_some_and(|newest| newest.wrapping_sub(seq) as i32 > 0)
}

/// True for what somebody does; a page says more by itself, when it gets or loses the focus.
fn is_activity(event: &InputEvent) -> bool {
    match event {
        InputEvent::Heartbeat(held) => !held.is_empty(),
        InputEvent::Release | InputEvent::Locks { .. } => false,
        _ => true,
    }
}

fn clamp(point: Point, size: Size) -> Point {
    Point { x: point.x.min(size.width.saturating_sub(1)), y: point.y.min(size.height.saturating_sub(1)) }
}

impl Session {
    pub(super) fn input_frame(&mut self, id: u32, bytes: &[u8], now: Instant) {
        let frame = match InputFrame::parse(bytes) {
            Ok(frame) => frame,
            // A newer page may know more kinds.
            Err(InputError::UnknownKind(_)) => return,
            Err(_) => return self.handle(super::Input::Malformed { viewer: id }, now),
        };
        let is_controller = self.control.holder() == Some(id) && self.may(id, Right::Control);
        let Some(viewer) = self.viewers.get_mut(&id) else { return };
        // Releases are never lost to the budget: a key must not stay down.
        let releases = matches!(
            frame.event,
            InputEvent::Key { down: false, .. }
                | InputEvent::Button { down: false, .. }
                | InputEvent::Release
        );
        if !viewer.input.take(now) && !releases {
            return;
        }
        let stale = is_older(frame.seq, viewer.seq);
        if !stale {
            viewer.seq = Some(frame.seq);
        }
        if !is_controller
            || (stale && matches!(frame.event, InputEvent::Motion(_) | InputEvent::Relative { .. }))
        {
            return;
        }
        self.inject(id, frame.event, now);
    }

    fn inject(&mut self, id: u32, event: InputEvent, now: Instant) {
        if is_activity(&event) {
            self.activity.input(now);
        }
        let size = self.report.size();
        let Some(viewer) = self.viewers.get_mut(&id) else { return };
        let at = |p: Point| size.map(|s| clamp(p, s));
        let action = match event {
            InputEvent::Key { down, keysym, code } => key(viewer, down, keysym, code, now),
            InputEvent::Motion(p) => {
                let Some(point) = at(p) else { return };
                self.overlay(id, point, now);
                Some(DesktopAction::Motion(point))
            }
            InputEvent::Relative { x, y } => relative(viewer, x, y),
            InputEvent::Button { button, down, at: p } => {
                viewer.input_at = now;
                viewer.held.button(button, down).then(|| DesktopAction::Button {
                    button,
                    down,
                    at: p.and_then(at),
                })
            }
            InputEvent::Wheel { dx, dy, at: p } => Some(DesktopAction::Wheel { dx, dy, at: p.and_then(at) }),
            InputEvent::Text(text) => Some(DesktopAction::Text(text)),
            InputEvent::Heartbeat(held) => {
                viewer.input_at = now;
                let gone = viewer.held.reconcile(&held);
                let up = |k: super::held::HeldKey| DesktopAction::Key {
                    down: false,
                    keysym: k.keysym,
                    code: k.code,
                };
                self.outputs.extend(gone.into_iter().map(|k| Output::Desktop(up(k))));
                None
            }
            InputEvent::Release => {
                self.release_held(id);
                None
            }
            InputEvent::Locks { caps, num } => Some(DesktopAction::Locks { caps, num }),
        };
        self.outputs.extend(action.map(Output::Desktop));
    }

    /// Lets go of everything that a viewer holds.
    pub(super) fn release_held(&mut self, id: u32) {
        if self.viewers.get_mut(&id).is_some_and(|v| v.held.clear()) {
            self.outputs.push_back(Output::Desktop(DesktopAction::ReleaseAll));
        }
    }

    fn overlay(&mut self, id: u32, point: Point, now: Instant) {
        if self.viewers.len() > 1 {
            self.pointer.owed = Some(point);
            if self.pointer.sent_at.is_none_or(|at| now >= at + OVERLAY_INTERVAL) {
                self.send_overlay(id, now);
            }
        }
    }

    pub(super) fn flush_overlay(&mut self, now: Instant) {
        if self.pointer.poll_timeout().is_some_and(|at| at <= now)
            && let Some(holder) = self.control.holder()
        {
            self.send_overlay(holder, now);
        }
    }

    fn send_overlay(&mut self, controller: u32, now: Instant) {
        let Some(point) = self.pointer.owed.take() else { return };
        self.pointer.sent_at = Some(now);
        let others = self.viewers.keys().filter(|id| **id != controller);
        self.outputs.extend(others.map(|&viewer| Output::Send {
            viewer,
            message: ServerMessage::Pointer { x: point.x, y: point.y },
        }));
    }
}

fn key(viewer: &mut Viewer, down: bool, keysym: u32, code: String, now: Instant) -> Option<DesktopAction> {
    viewer.input_at = now;
    if down {
        return viewer.held.press(keysym, &code).then_some(DesktopAction::Key { down, keysym, code });
    }
    let key = viewer.held.release(keysym, &code)?;
    Some(DesktopAction::Key { down, keysym: key.keysym, code: key.code })
}

fn relative(viewer: &mut Viewer, x: i32, y: i32) -> Option<DesktopAction> {
    let (from_x, from_y) = viewer.relative.replace((x, y))?;
    let (dx, dy) = (x.wrapping_sub(from_x), y.wrapping_sub(from_y));
    (dx != 0 || dy != 0).then_some(DesktopAction::Relative { dx, dy })
}
