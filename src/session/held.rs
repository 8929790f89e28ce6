//! PURE. Keys and buttons that a viewer holds down, so that none stays down without it.

use crate::wire::input::MAX_HELD;

/// One key, as it was pressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldKey {
    /// Keysym of the press: the release may carry another one (Shift let go first).
    pub keysym: u32,
    /// Physical key, or empty.
    pub code: String,
}

impl HeldKey {
    fn is(&self, keysym: u32, code: &str) -> bool {
        if code.is_empty() || self.code.is_empty() { self.keysym == keysym } else { self.code == code }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Held {
    keys: Vec<HeldKey>,
    buttons: u16,
}

impl Held {
    /// Notes a press; false when too many keys are held.
    pub fn press(&mut self, keysym: u32, code: &str) -> bool {
        if self.keys.iter().any(|k| k.is(keysym, code)) {
            return true;
        }
        if self.keys.len() >= MAX_HELD {
            return false;
        }
        self.keys.push(HeldKey { keysym, code: code.to_owned() });
        true
    }

    /// The key that this release ends, as it was pressed; `None` if it is not held.
    pub fn release(&mut self, keysym: u32, code: &str) -> Option<HeldKey> {
        let at = self.keys.iter().position(|k| k.is(keysym, code))?;
        Some(self.keys.remove(at))
    }

    /// Notes a button (1..=15); false for a release of one that is not held.
    pub fn button(&mut self, button: u8, down: bool) -> bool {
        let bit = 1_u16.checked_shl(button.into()).unwrap_or(0);
        let was_down = self.buttons & bit != 0;
        if down {
            self.buttons |= bit;
        } else {
            self.buttons &= !bit;
        }
        down || was_down
    }

    /// Takes every key that the viewer does not list as held.
    pub fn reconcile(&mut self, listed: &[u32]) -> Vec<HeldKey> {
        let (kept, gone) =
            std::mem::take(&mut self.keys).into_iter().partition(|k| listed.contains(&k.keysym));
        self.keys = kept;
        gone
    }

    /// Forgets everything; true if anything was held.
    pub fn clear(&mut self) -> bool {
        let any = self.any();
        *self = Self::default();
        any
    }

    /// True if anything is held.
    pub fn any(&self) -> bool {
        !self.keys.is_empty() || self.buttons != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_finds_the_key_by_its_place() {
        let mut held = Held::default();
        held.press(0x41, "KeyA");
        assert_eq!(held.release(0x61, "KeyA").unwrap().keysym, 0x41);
        assert_eq!(held.release(0x61, "KeyA"), None);
    }

    #[test]
    fn heartbeat_releases_what_it_does_not_list() {
        let mut held = Held::default();
        held.press(0x61, "KeyA");
        held.press(0xffe1, "ShiftLeft");
        let gone = held.reconcile(&[0xffe1]);
        assert_eq!(gone.iter().map(|k| k.keysym).collect::<Vec<_>>(), [0x61]);
        assert!(held.any());
    }

    #[test]
    fn keys_are_bounded() {
        let mut held = Held::default();
        let taken = (0..100).filter(|k| held.press(*k, "")).count();
        assert_eq!(taken, MAX_HELD);
    }

    #[test]
    fn buttons() {
        let mut held = Held::default();
        assert!(!held.button(1, false));
        assert!(held.button(1, true));
        assert!(held.button(1, false));
        assert!(!held.any());
    }
}
