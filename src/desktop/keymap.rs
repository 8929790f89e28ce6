//! PURE. What a keyboard map makes of a key: which keycode, with which modifiers, gives a keysym.
//!
//! The table is XKB's: each key has groups (layouts), each group a type, and the type says which modifiers
//! select which level. [`KeyTable::evaluate`] answers what a client makes of a key press, as Xlib and GTK
//! compute it; [`KeyTable::find`] searches backwards.

use std::collections::HashMap;

use xkeysym::{Keysym, key};

/// Modifier bits of the core protocol.
pub mod bits {
    /// Shift.
    pub const SHIFT: u8 = 1;
    /// Caps Lock, Shift Lock.
    pub const LOCK: u8 = 2;
    /// Control.
    pub const CONTROL: u8 = 4;
    /// Alt, in every common layout.
    pub const MOD1: u8 = 8;
    /// Super, in every common layout.
    pub const MOD4: u8 = 64;
    /// Modifiers of shortcuts: with one of them held, a key is a command and not a character.
    pub const COMMAND: u8 = CONTROL | MOD1 | MOD4;
}

/// How modifiers select a level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyType {
    /// Modifiers that this type looks at (and, in XKB's words, consumes).
    pub mask: u8,
    /// Levels, at least 1.
    pub levels: u8,
    /// (modifiers, level); what is not listed is level 0.
    pub entries: Vec<(u8, u8)>,
    /// (modifiers, those of them that are not consumed).
    pub preserve: Vec<(u8, u8)>,
}

impl KeyType {
    /// The level, and the modifiers that are consumed.
    fn level(&self, mods: u8) -> (u8, u8) {
        let mods = mods & self.mask;
        let level = self.entries.iter().find(|(m, _)| *m == mods).map_or(0, |(_, level)| *level);
        let kept = self.preserve.iter().find(|(m, _)| *m == mods).map_or(0, |(_, kept)| *kept);
        (level, self.mask & !kept)
    }
}

/// One key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Key {
    /// XKB's group info: number of groups in the low 4 bits, what to do with groups past them above.
    pub group_info: u8,
    /// Type of each group, as index into the table's types.
    pub types: [u8; 4],
    /// Keysyms per group.
    pub width: u8,
    /// `width` keysyms for each group.
    pub syms: Vec<u32>,
}

impl Key {
    /// The group that is used when the keyboard is in `group`; none for a key without symbols.
    fn group(&self, group: u8) -> Option<usize> {
        let count = self.group_info & 0x0f;
        if count == 0 {
            return None;
        }
        let group = match self.group_info & 0xc0 {
            _ if group < count => group,
            0x40 => count - 1,
            0x80 => match (self.group_info & 0x30) >> 4 {
                to if to < count => to,
                _ => 0,
            },
            _ => group % count,
        };
        Some(usize::from(group))
    }

    fn sym(&self, group: usize, level: u8) -> u32 {
        if level >= self.width {
            return 0;
        }
        self.syms.get(group * usize::from(self.width) + usize::from(level)).copied().unwrap_or(0)
    }

    /// Bears no symbol at all.
    pub fn is_empty(&self) -> bool {
        self.syms.iter().all(|s| *s == 0)
    }
}

/// What is pressed and locked at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModState {
    /// Modifiers in effect.
    pub mods: u8,
    /// Those of them that are locked or latched: releasing a key does not lift them.
    pub locked: u8,
    /// Group in effect.
    pub group: u8,
}

/// How to type a keysym.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stroke {
    /// The key.
    pub keycode: u8,
    /// Modifiers to press around it.
    pub add: u8,
    /// Modifiers to release around it.
    pub drop: u8,
}

/// A keysym reduced to what it means, so that two names of one character are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// A character.
    Char(char),
    /// A function, a modifier, a dead key, a keypad key.
    Sym(u32),
}

impl Meaning {
    /// The meaning of `keysym`; none for NoSymbol.
    pub fn of(keysym: u32) -> Option<Meaning> {
        if keysym == 0 || keysym == key::VoidSymbol {
            return None;
        }
        let is_character = keysym < 0xfd00 || (0x0100_0000..=0x0110_ffff).contains(&keysym);
        let char = is_character.then(|| Keysym::new(keysym).key_char()).flatten();
        Some(char.filter(|c| !c.is_control()).map_or(Meaning::Sym(keysym), Meaning::Char))
    }
}

/// The keysym of a character as typed: line ends and tabs are keys. None for other control characters.
pub fn keysym_of(c: char) -> Option<u32> {
    match c {
        '\n' | '\r' => Some(key::Return),
        '\t' => Some(key::Tab),
        c if c.is_control() => None,
        c => Some(Keysym::from_char(c).raw()).filter(|k| *k != 0),
    }
}

/// A modifier or lock key: pressed as it is, never with other modifiers around it.
pub fn is_modifier(keysym: u32) -> bool {
    matches!(keysym,
        key::Shift_L..=key::Hyper_R | key::ISO_Lock..=key::ISO_Level5_Lock
        | key::Mode_switch | key::Num_Lock | key::Scroll_Lock)
}

/// Selects a level of a character rather than making a command of it.
fn is_selector(keysym: u32) -> bool {
    matches!(keysym, key::Shift_L | key::Shift_R | key::ISO_Level3_Shift | key::ISO_Level5_Shift)
}

fn is_keypad(keysym: u32) -> bool {
    matches!(keysym, key::KP_Home..=key::KP_Delete | key::KP_0..=key::KP_9)
        || matches!(keysym, key::KP_Separator | key::KP_Decimal)
}

/// What to press where a layout lacks a modifier.
fn stand_in(keysym: u32) -> Option<u32> {
    Some(match keysym {
        key::Shift_R => key::Shift_L,
        key::Control_R => key::Control_L,
        key::Alt_R | key::Meta_L | key::Meta_R => key::Alt_L,
        key::Super_R | key::Hyper_L | key::Hyper_R => key::Super_L,
        key::Mode_switch => key::ISO_Level3_Shift,
        _ => return None,
    })
}

/// A keyboard map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyTable {
    /// Keycode of `keys[0]`.
    pub min_keycode: u8,
    /// Every key, in the order of keycodes.
    pub keys: Vec<Key>,
    /// The types that keys refer to.
    pub types: Vec<KeyType>,
    /// Modifiers of each keycode.
    pub modmap: HashMap<u8, u8>,
    /// Keycode of each named key (`AD01`, `LFSH`).
    pub names: HashMap<[u8; 4], u8>,
}

impl KeyTable {
    /// The key at `keycode`.
    pub fn key(&self, keycode: u8) -> Option<&Key> {
        self.keys.get(usize::from(keycode.checked_sub(self.min_keycode)?))
    }

    /// Changes the key at `keycode`; nothing happens outside the table.
    pub fn set_key(&mut self, keycode: u8, key: Key) {
        let index = keycode.checked_sub(self.min_keycode).map(usize::from);
        if let Some(slot) = index.and_then(|i| self.keys.get_mut(i)) {
            *slot = key;
        }
    }

    fn keycodes(&self) -> impl Iterator<Item = u8> {
        (self.min_keycode..=u8::MAX).take(self.keys.len())
    }

    /// The modifiers that `keycode` is bound to.
    pub fn modifiers(&self, keycode: u8) -> u8 {
        self.modmap.get(&keycode).copied().unwrap_or(0)
    }

    /// The keysym that a client gets for `keycode`; 0 if none.
    pub fn evaluate(&self, keycode: u8, mods: u8, group: u8) -> u32 {
        let Some((key, group)) = self.key(keycode).and_then(|k| Some((k, k.group(group)?))) else { return 0 };
        let Some(kind) = self.types.get(usize::from(key.types[group])) else { return 0 };
        let (level, consumed) = kind.level(mods);
        let sym = key.sym(group, level);
        if mods & bits::LOCK & !consumed != 0 { capitalised(sym) } else { sym }
    }

    /// The level of `keycode` that `mods` selects.
    pub fn level(&self, keycode: u8, mods: u8, group: u8) -> u8 {
        let found = self.key(keycode).and_then(|k| Some((k, k.group(group)?)));
        let kind = found.and_then(|(k, g)| self.types.get(usize::from(k.types[g])));
        kind.map_or(0, |t| t.level(mods).0)
    }

    fn first_level(&self, keycode: u8, group: u8) -> u32 {
        self.key(keycode).and_then(|k| Some(k.sym(k.group(group)?, 0))).unwrap_or(0)
    }

    /// The modifier bits that select levels here: Shift, and those of AltGr and its like.
    pub fn selectors(&self, group: u8) -> u8 {
        let chosen = self.modmap.iter().filter(|(code, _)| is_selector(self.first_level(**code, group)));
        chosen.fold(0, |all, (_, mods)| all | mods) & !(bits::LOCK | bits::COMMAND)
    }

    /// The key to press for the modifier `bit`.
    pub fn presser(&self, bit: u8, group: u8) -> Option<u8> {
        self.keycodes().find(|c| self.modifiers(*c) & bit != 0 && is_selector(self.first_level(*c, group)))
    }

    /// Whether `keycode`, while down, contributes to the modifiers `mods`.
    pub fn contributes(&self, keycode: u8, mods: u8, group: u8) -> bool {
        if self.modifiers(keycode) & mods != 0 {
            return true;
        }
        // AltGr is bound through a virtual modifier: its own key may be absent from the modifier map.
        let sym = self.first_level(keycode, group);
        let alike = |c: &u8| self.modifiers(*c) & mods != 0 && self.first_level(*c, group) == sym;
        is_selector(sym) && self.keycodes().any(|c| alike(&c))
    }

    /// The modifier of Num Lock; 0 if there is none.
    pub fn num_lock(&self) -> u8 {
        let num = self.modmap.iter().filter(|(code, _)| self.first_level(**code, 0) == key::Num_Lock);
        num.fold(0, |all, (_, mods)| all | mods)
    }

    /// The type for spare keys, and how many levels of it are of use.
    ///
    /// Best is one with four levels that are all within reach whether Caps Lock is on or not, and that
    /// consumes Caps Lock, so that no client capitalises behind our back (`FOUR_LEVEL_ALPHABETIC` of
    /// xkeyboard-config). The protocol's own `ALPHABETIC`, always number 2, has two such levels, both of
    /// which Caps Lock and Shift change; it is of use for a single keysym.
    pub fn spare_type(&self, group: u8) -> (u8, u8) {
        let selectors = self.selectors(group);
        let reaches = |kind: &KeyType, lock: u8, level: u8| {
            let mut combos = (0..=u8::MAX).filter(|m| m & !selectors == 0);
            combos.any(|m| kind.level(m | lock).0 == level)
        };
        let suits = |kind: &KeyType| {
            let all = (0..4).all(|l| reaches(kind, 0, l) && reaches(kind, bits::LOCK, l));
            kind.levels == 4 && kind.mask & bits::LOCK != 0 && kind.preserve.is_empty() && all
        };
        let found = self.types.iter().position(suits).and_then(|i| u8::try_from(i).ok());
        found.map_or((2, 1), |index| (index, 4))
    }

    /// Keycodes that bear nothing and mean nothing, in ascending order.
    pub fn unused(&self) -> impl Iterator<Item = u8> {
        // The lowest keycode is evdev's "reserved", which some clients take for no key at all.
        let empty = |c: &u8| self.key(*c).is_some_and(Key::is_empty) && self.modifiers(*c) == 0;
        self.keycodes().skip(1).filter(empty)
    }

    /// How to type `keysym`, preferring the key `physical` if that can give it.
    ///
    /// None if the map has no key for it in the present group.
    pub fn find(&self, keysym: u32, physical: Option<u8>, state: ModState) -> Option<Stroke> {
        let want = Meaning::of(keysym)?;
        if is_modifier(keysym) {
            return self.find_plain(keysym, physical, state.group).map(plain);
        }
        if let Meaning::Sym(_) = want {
            let plainly = || self.find_plain(keysym, physical, state.group).map(plain);
            let unchanged = || self.find_with(want, physical, state, &[state.mods]);
            let adjusted = || self.find_with(want, physical, state, &self.choices(state));
            // Shift+Tab and Ctrl+Alt+F1 are those keys with the modifiers as held, whatever their levels say.
            return if is_keypad(keysym) {
                unchanged().or_else(adjusted).or_else(plainly)
            } else {
                unchanged().or_else(plainly).or_else(adjusted)
            };
        }
        let choices = self.choices(state);
        let here = physical.and_then(|_| self.find_among(physical.as_slice(), want, state, &choices));
        here.or_else(|| self.find_with(want, physical, state, &choices))
    }

    fn find_plain(&self, keysym: u32, physical: Option<u8>, group: u8) -> Option<u8> {
        let bears = |c: &u8| self.first_level(*c, group) == keysym;
        let found = physical.filter(bears).or_else(|| self.keycodes().find(bears));
        found.or_else(|| stand_in(keysym).and_then(|k| self.find_plain(k, None, group)))
    }

    fn find_with(
        &self,
        want: Meaning,
        physical: Option<u8>,
        state: ModState,
        choices: &[u8],
    ) -> Option<Stroke> {
        let bears = |c: &u8| {
            let key = self.key(*c);
            key.is_some_and(|k| k.syms.iter().any(|s| same_letter(*s, want)))
        };
        let candidates: Vec<u8> = physical.into_iter().chain(self.keycodes().filter(bears)).collect();
        self.find_among(&candidates, want, state, choices)
    }

    fn find_among(
        &self,
        candidates: &[u8],
        want: Meaning,
        state: ModState,
        choices: &[u8],
    ) -> Option<Stroke> {
        choices.iter().find_map(|mods| {
            let gives = |c: &&u8| Meaning::of(self.evaluate(**c, *mods, state.group)) == Some(want);
            let keycode = *candidates.iter().find(gives)?;
            Some(Stroke { keycode, add: mods & !state.mods, drop: state.mods & !mods })
        })
    }

    /// Modifier states that can be reached by pressing and releasing level selectors, least effort first.
    fn choices(&self, state: ModState) -> Vec<u8> {
        let selectors = self.selectors(state.group);
        let stuck = state.locked & selectors;
        let all = (0..=u8::MAX).filter(|m| m & !selectors == 0 && m & stuck == stuck);
        let mut choices: Vec<u8> = all.map(|m| (state.mods & !selectors) | m).collect();
        choices.sort_by_key(|m| (m ^ state.mods).count_ones());
        choices
    }
}

fn plain(keycode: u8) -> Stroke {
    Stroke { keycode, add: 0, drop: 0 }
}

fn capitalised(sym: u32) -> u32 {
    let Some(Meaning::Char(c)) = Meaning::of(sym) else { return sym };
    single(c.to_uppercase()).filter(|u| *u != c).map_or(sym, |u| Keysym::from_char(u).raw())
}

/// The same letter in the other case; `sym` itself where there is none.
pub fn other_case(sym: u32) -> u32 {
    let Some(Meaning::Char(c)) = Meaning::of(sym) else { return sym };
    let other = single(c.to_uppercase()).filter(|u| *u != c).or_else(|| single(c.to_lowercase()));
    other.filter(|o| *o != c).map_or(sym, |o| Keysym::from_char(o).raw())
}

fn single(mut chars: impl Iterator<Item = char>) -> Option<char> {
    chars.next().filter(|_| chars.next().is_none())
}

/// Whether `sym` is `want`, or becomes it under Caps Lock.
fn same_letter(sym: u32, want: Meaning) -> bool {
    Meaning::of(sym) == Some(want) || Meaning::of(capitalised(sym)) == Some(want)
}
