//! PURE. The bounded queue between the session and the desktop thread.
//!
//! Motion is merged where it arrives. When the queue is full, motion goes first, then what would press
//! something or type; a release is never lost: if there is no room even for that, everything that waits is
//! replaced by one [`DesktopAction::ReleaseAll`].

use std::collections::VecDeque;

use crate::session::action::DesktopAction;

/// Most actions that wait.
pub const MAX_ACTIONS: usize = 1_024;
/// Most bytes of text that wait.
pub const MAX_TEXT_BYTES: usize = 64 * 1024;

/// Actions that wait, oldest first.
#[derive(Debug, Default)]
pub struct ActionQueue {
    actions: VecDeque<DesktopAction>,
    text_bytes: usize,
}

fn is_motion(action: &DesktopAction) -> bool {
    matches!(action, DesktopAction::Motion(_) | DesktopAction::Relative { .. } | DesktopAction::Wheel { .. })
}

/// Must not be lost: it ends something, or sets a state that nothing repeats.
fn is_vital(action: &DesktopAction) -> bool {
    match action {
        DesktopAction::Key { down, .. } | DesktopAction::Button { down, .. } => !down,
        DesktopAction::ReleaseAll | DesktopAction::ForgetText | DesktopAction::Controlled(_) => true,
        _ => false,
    }
}

/// Adds `action` to `last` if both are one motion.
fn merge(last: &mut DesktopAction, action: &DesktopAction) -> bool {
    use DesktopAction::{Controlled, ForgetText, Locks, Motion, Relative, ReleaseAll, Wheel};
    match (last, action) {
        (Motion(last), Motion(new)) => *last = *new,
        (Relative { dx, dy }, Relative { dx: x, dy: y }) => {
            (*dx, *dy) = (dx.saturating_add(*x), dy.saturating_add(*y));
        }
        (Wheel { dx, dy, at }, Wheel { dx: x, dy: y, at: new }) if at == new => {
            let (Some(x), Some(y)) = (dx.checked_add(*x), dy.checked_add(*y)) else { return false };
            (*dx, *dy) = (x, y);
        }
        (Locks { caps, num }, Locks { caps: c, num: n }) => (*caps, *num) = (*c, *n),
        (ReleaseAll, ReleaseAll) | (ForgetText, ForgetText) => {}
        (Controlled(last), Controlled(new)) => *last = *new,
        _ => return false,
    }
    true
}

impl ActionQueue {
    /// Adds an action; false if it was dropped.
    pub fn push(&mut self, action: DesktopAction) -> bool {
        if action == DesktopAction::ForgetText {
            self.actions.retain(|waiting| !matches!(waiting, DesktopAction::Text(_)));
            self.text_bytes = 0;
        }
        if self.actions.back_mut().is_some_and(|last| merge(last, &action)) {
            return true;
        }
        let text = if let DesktopAction::Text(text) = &action { text.len() } else { 0 };
        if self.text_bytes + text > MAX_TEXT_BYTES {
            return false;
        }
        if self.actions.len() >= MAX_ACTIONS && !self.make_room(&action) {
            return false;
        }
        self.text_bytes += text;
        self.actions.push_back(action);
        true
    }

    fn make_room(&mut self, action: &DesktopAction) -> bool {
        if let Some(index) = self.actions.iter().position(is_motion) {
            self.actions.remove(index);
            return true;
        }
        if !is_vital(action) {
            return false;
        }
        let last = self.actions.iter().rev().find(|a| matches!(a, DesktopAction::Controlled(_))).cloned();
        self.clear();
        self.actions.extend([DesktopAction::ForgetText, DesktopAction::ReleaseAll]);
        self.actions.extend(last);
        true
    }

    /// Takes the oldest action.
    pub fn pop(&mut self) -> Option<DesktopAction> {
        let action = self.actions.pop_front()?;
        if let DesktopAction::Text(text) = &action {
            self.text_bytes -= text.len();
        }
        Some(action)
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.actions.clear();
        self.text_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::input::Point;

    fn key(down: bool, keysym: u32) -> DesktopAction {
        DesktopAction::Key { down, keysym, code: String::new() }
    }

    fn motion(x: u16) -> DesktopAction {
        DesktopAction::Motion(Point { x, y: 0 })
    }

    fn drain(queue: &mut ActionQueue) -> Vec<DesktopAction> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn motion_in_a_row_is_one_motion() {
        let mut q = ActionQueue::default();
        for x in 0..5_000 {
            assert!(q.push(motion(x)));
        }
        for _ in 0..5_000 {
            assert!(q.push(DesktopAction::Relative { dx: 1, dy: -1 }));
        }
        assert_eq!(drain(&mut q), [motion(4_999), DesktopAction::Relative { dx: 5_000, dy: -5_000 }]);
    }

    #[test]
    fn motion_makes_room_for_keys() {
        let mut q = ActionQueue::default();
        for i in 0..MAX_ACTIONS as u16 / 2 {
            assert!(q.push(motion(i)) && q.push(key(true, u32::from(i))));
        }
        for i in 0..MAX_ACTIONS as u32 / 2 {
            assert!(q.push(key(false, i)));
        }
        assert!(!q.push(key(true, 1)), "no motion is left to drop");
        let left = drain(&mut q);
        assert_eq!(left.len(), MAX_ACTIONS);
        assert!(!left.iter().any(is_motion));
    }

    #[test]
    fn a_release_without_room_becomes_release_all() {
        let mut q = ActionQueue::default();
        assert!(q.push(DesktopAction::Controlled(true)));
        for i in 1..MAX_ACTIONS as u32 {
            assert!(q.push(key(false, i)));
        }
        assert!(q.push(key(false, 7)));
        assert_eq!(
            drain(&mut q),
            [
                DesktopAction::ForgetText,
                DesktopAction::ReleaseAll,
                DesktopAction::Controlled(true),
                key(false, 7)
            ]
        );
    }

    #[test]
    fn text_that_waits_is_forgotten_and_keys_are_not() {
        let mut q = ActionQueue::default();
        let text = || DesktopAction::Text("x".repeat(4_000));
        assert!(q.push(key(true, 1)) && q.push(text()) && q.push(key(false, 1)) && q.push(text()));
        assert!(q.push(DesktopAction::ForgetText));
        let taken = std::iter::repeat_with(|| q.push(text())).take_while(|t| *t).count();
        assert_eq!(taken, MAX_TEXT_BYTES / 4_000, "the room is free again");
        assert_eq!(drain(&mut q)[..3], [key(true, 1), key(false, 1), DesktopAction::ForgetText]);
    }

    #[test]
    fn text_is_bounded_by_its_bytes() {
        let mut q = ActionQueue::default();
        let text = || DesktopAction::Text("x".repeat(4_000));
        let taken = std::iter::repeat_with(|| q.push(text())).take_while(|t| *t).count();
        assert_eq!(taken, MAX_TEXT_BYTES / 4_000);
        assert!(q.pop().is_some());
        assert!(q.push(text()));
    }
}
