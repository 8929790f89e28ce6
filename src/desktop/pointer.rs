//! PURE. Buttons and wheel: what is held, and how much of a wheel notch is still to come.

/// Parts of a wheel notch.
pub const NOTCH: i32 = 120;
/// Highest X11 button that is used.
pub const MAX_BUTTON: u8 = 9;
/// Most notches of one action; a wheel that claims more is not a wheel.
const MAX_NOTCHES: i32 = 100;

/// Held buttons and the wheel's remainder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pointer {
    held: u16,
    rest: (i32, i32),
}

impl Pointer {
    /// Whether the press or release of `button` is to be carried out: in 1..=9, and changing something.
    pub fn button(&mut self, button: u8, down: bool) -> bool {
        if !(1..=MAX_BUTTON).contains(&button) {
            return false;
        }
        let bit = 1 << button;
        let changes = (self.held & bit != 0) != down;
        self.held = if down { self.held | bit } else { self.held & !bit };
        changes
    }

    /// Turns the wheel by 1/120 notches; returns (button, clicks) to the side and up or down.
    pub fn wheel(&mut self, dx: i16, dy: i16) -> [(u8, u32); 2] {
        let across = turn(&mut self.rest.0, dx.into());
        let along = turn(&mut self.rest.1, dy.into());
        let clicks = |n: i32, negative, positive| (if n < 0 { negative } else { positive }, n.unsigned_abs());
        [clicks(across, 6, 7), clicks(along, 4, 5)]
    }

    /// The buttons that are held; they count as released from now on.
    pub fn release_all(&mut self) -> Vec<u8> {
        let held = std::mem::take(self).held;
        (1..=MAX_BUTTON).filter(|b| held & (1 << b) != 0).collect()
    }
}

/// Whole notches of `delta` and what is left of earlier ones. A wheel that turns back starts anew.
fn turn(rest: &mut i32, delta: i32) -> i32 {
    if delta.signum() * rest.signum() < 0 {
        *rest = 0;
    }
    *rest += delta;
    let notches = *rest / NOTCH;
    *rest %= NOTCH;
    notches.clamp(-MAX_NOTCHES, MAX_NOTCHES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_notch_add_up() {
        let mut p = Pointer::default();
        let down: u32 = (0..12).map(|_| p.wheel(0, 30)[1]).filter(|(b, _)| *b == 5).map(|(_, n)| n).sum();
        assert_eq!(down, 3);
        assert_eq!(p.wheel(0, -240)[1], (4, 2));
        assert_eq!(p.wheel(-120, 0)[0], (6, 1));
        assert_eq!(p.wheel(250, 0)[0], (7, 2));
        assert_eq!(p.wheel(110, 0)[0], (7, 1));
    }

    #[test]
    fn turning_back_forgets_the_remainder() {
        let mut p = Pointer::default();
        assert_eq!(p.wheel(0, 119)[1].1, 0);
        assert_eq!(p.wheel(0, -119)[1].1, 0);
        assert_eq!(p.wheel(0, -1)[1], (4, 1));
    }

    #[test]
    fn a_button_is_pressed_and_released_once() {
        let mut p = Pointer::default();
        assert!(p.button(1, true) && !p.button(1, true));
        assert!(!p.button(3, false) && !p.button(0, true) && !p.button(10, true));
        assert!(p.button(9, true));
        assert_eq!(p.release_all(), [1, 9]);
        assert!(p.release_all().is_empty());
    }
}
