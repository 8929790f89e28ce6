//! PURE. Spare keycodes, lent to keysyms that the layout lacks.
//!
//! A client reads the map only when it looks at a key press, so a keycode that gets another keysym while an
//! earlier press of it is still in the client's queue types the wrong character. Therefore a binding is kept
//! for [`QUARANTINE`] after its last use, and longer while the key is down.
//!
//! Common maps leave only about 18 keycodes free. Each is therefore used on up to four levels, which are lent
//! one by one; the first levels of all keycodes come first. A level that is not lent repeats the first, so that
//! Shift and AltGr make no difference; a letter stands there in its other case, as in any layout, because GTK
//! capitalises under Caps Lock what Caps Lock does not change in the map.

use std::time::{Duration, Instant};

use super::keymap::other_case;

/// How long after its last use a binding stays.
pub const QUARANTINE: Duration = Duration::from_millis(2_000);
/// Most levels of a keycode.
pub const MAX_LEVELS: usize = 4;

/// One level of one keycode.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Slot {
    keycode: u8,
    level: u8,
    /// 0 while never lent.
    sym: u32,
    used: Option<Instant>,
}

/// The answer to a wish for a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// This keycode now bears the keysym; the X server must be told.
    Bound(u8),
    /// Not before.
    Later(Instant),
    /// Nothing comes free by waiting: there is no spare keycode at all, or all are held down.
    Never,
}

/// The pool.
#[derive(Clone, Debug, Default)]
pub struct Spares {
    slots: Vec<Slot>,
}

impl Spares {
    /// The pool for a map in which `keycodes` are free, each with `levels` levels (1..=4).
    ///
    /// `bound` are bindings that are in the map already, made by us or by a gateway before us; they count as
    /// used `now`. What `before` knows of past use is kept: setting a layout does not make clients faster.
    pub fn new(
        keycodes: &[u8],
        levels: u8,
        bound: impl Fn(u8, u8) -> u32,
        before: &Spares,
        now: Instant,
    ) -> Self {
        let levels = levels.clamp(1, MAX_LEVELS as u8);
        let slot = |level, keycode| {
            let known = before.slots.iter().find(|s| s.keycode == keycode && s.level == level);
            let repeated = level > 0 && bound(keycode, level) == repetition(bound(keycode, 0), level);
            let sym = if repeated { 0 } else { bound(keycode, level) };
            let used = known.and_then(|s| s.used).or((sym != 0).then_some(now));
            Slot { keycode, level, sym, used }
        };
        let slots = (0..levels).flat_map(|level| keycodes.iter().map(move |keycode| slot(level, *keycode)));
        Self { slots: slots.collect() }
    }

    /// Number of keysyms that the pool can bear at once.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Whether `keycode` is of the pool.
    pub fn contains(&self, keycode: u8) -> bool {
        self.slots.iter().any(|s| s.keycode == keycode)
    }

    /// Lends a level below `levels` to `keysym`: a fresh one, else the least recently used one whose
    /// quarantine is over. `held` keycodes are left alone.
    pub fn bind(&mut self, keysym: u32, levels: u8, held: impl Fn(u8) -> bool, now: Instant) -> Grant {
        let free = self.slots.iter_mut().filter(|s| s.level < levels && !held(s.keycode));
        let Some(slot) = free.min_by_key(|s| (s.used, s.level)) else { return Grant::Never };
        match slot.used.map(|used| used + QUARANTINE) {
            Some(allowed) if allowed > now => Grant::Later(allowed),
            _ => {
                slot.sym = keysym;
                slot.used = Some(now);
                Grant::Bound(slot.keycode)
            }
        }
    }

    /// Notes that `keycode` was used on `level` (which may be a repetition of its first level).
    pub fn touch(&mut self, keycode: u8, level: u8, now: Instant) {
        let used =
            self.slots.iter_mut().filter(|s| s.keycode == keycode && (s.level == level || s.level == 0));
        used.for_each(|s| s.used = Some(now));
    }

    /// The keysyms of `keycode` on each of `width` levels.
    pub fn syms(&self, keycode: u8, width: u8) -> Vec<u32> {
        let own = self.slots.iter().filter(|s| s.keycode == keycode);
        let mut syms: Vec<u32> = own.map(|s| s.sym).collect();
        let first = syms.first().copied().unwrap_or(0);
        syms.resize(usize::from(width), 0);
        let repeats = (0u8..).zip(&mut syms).filter(|(_, sym)| **sym == 0);
        repeats.for_each(|(level, sym)| *sym = repetition(first, level));
        syms
    }
}

/// What stands on a level that is not lent, under the keysym `first`.
fn repetition(first: u32, level: u8) -> u32 {
    if level % 2 == 1 { other_case(first) } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: fn(u8) -> bool = |_| false;

    fn pool(keycodes: &[u8], levels: u8, now: Instant) -> Spares {
        Spares::new(keycodes, levels, |_, _| 0, &Spares::default(), now)
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn first_levels_come_first_then_the_least_recently_used() {
        let t = Instant::now();
        let mut p = pool(&[93, 97], 2, t);
        assert_eq!(p.capacity(), 4);
        let bound: Vec<Grant> = (1..=4).map(|k| p.bind(k, 4, FREE, t + ms(k.into()))).collect();
        assert_eq!(bound, [Grant::Bound(93), Grant::Bound(97), Grant::Bound(93), Grant::Bound(97)]);
        assert_eq!((p.syms(93, 2), p.syms(97, 2)), (vec![1, 3], vec![2, 4]));
        p.touch(93, 0, t + ms(100));
        assert_eq!(p.bind(5, 4, FREE, t + ms(200)), Grant::Later(t + ms(2) + QUARANTINE));
        assert_eq!(p.bind(5, 4, FREE, t + ms(2) + QUARANTINE), Grant::Bound(97));
        assert_eq!(p.syms(97, 2), [5, 4]);
    }

    #[test]
    fn held_keycodes_are_left_alone() {
        let t = Instant::now();
        let mut p = pool(&[93, 97], 1, t);
        assert_eq!(p.bind(1, 4, FREE, t), Grant::Bound(93));
        assert_eq!(p.bind(2, 4, |k| k == 97, t + ms(1)), Grant::Later(t + QUARANTINE));
        assert_eq!(p.bind(2, 4, |_| true, t + QUARANTINE * 2), Grant::Never);
        assert_eq!(pool(&[], 4, t).bind(1, 4, FREE, t), Grant::Never);
    }

    #[test]
    fn a_level_not_lent_repeats_the_first() {
        let t = Instant::now();
        let mut p = pool(&[93], 4, t);
        p.bind(0xe9, 4, FREE, t);
        assert_eq!(p.syms(93, 4), [0xe9, 0xc9, 0xe9, 0xc9]);
        p.bind(0x0100_4e2d, 4, FREE, t);
        assert_eq!(p.syms(93, 4), [0xe9, 0x0100_4e2d, 0xe9, 0xc9]);
    }

    #[test]
    fn bindings_found_in_the_map_are_young() {
        let t = Instant::now();
        let in_map = |_, level: u8| [0xe9, 0xc9, 0xe9, 0xc9][usize::from(level)];
        let mut p = Spares::new(&[93], 4, in_map, &Spares::default(), t);
        assert_eq!(p.bind(1, 1, FREE, t), Grant::Later(t + QUARANTINE));
        assert_eq!(p.bind(1, 4, FREE, t), Grant::Bound(93), "the second level was only a repetition");
    }

    #[test]
    fn a_new_map_does_not_make_clients_faster() {
        let t = Instant::now();
        let mut p = pool(&[93], 1, t);
        p.bind(1, 4, FREE, t);
        let mut p = Spares::new(&[93], 1, |_, _| 0, &p, t + ms(500));
        assert_eq!(p.bind(2, 4, FREE, t + ms(500)), Grant::Later(t + QUARANTINE));
    }
}
