//! PURE. From keysyms and text to key presses: one lane in which everything that is typed keeps its order.
//!
//! [`Keyboard::step`] turns the front of the lane into [`Op`]s, given what is pressed on the X server at that
//! moment. It stops where a character has to wait for a spare keycode ([`super::spare`]).

use std::collections::VecDeque;
use std::time::Instant;

use super::codes;
use super::keymap::{Key, KeyTable, ModState, Stroke, bits, is_modifier, keysym_of};
use super::spare::{Grant, MAX_LEVELS, Spares};

/// Most characters and key events that wait.
pub const MAX_LANE: usize = 8_192;
/// Most keys held at once; what is pressed beyond is ignored.
pub const MAX_HELD: usize = 64;
/// Characters for which spare keycodes are bound in one go: clients then read the map once for all of them.
const LOOKAHEAD: usize = 32;

/// What the X server is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Give a spare keycode these keysyms, level by level, in one group.
    Bind {
        /// The spare.
        keycode: u8,
        /// Index of its key type.
        kind: u8,
        /// One for each level of that type.
        syms: Vec<u32>,
    },
    /// Press or release a key.
    Key {
        /// Which.
        keycode: u8,
        /// Down or up.
        down: bool,
    },
}

/// What is pressed on the X server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pressed {
    /// Modifiers and group.
    pub state: ModState,
    /// A bit for each keycode that is down.
    pub down: [u8; 32],
}

impl Pressed {
    /// The keycodes that are down.
    pub fn keycodes(&self) -> impl Iterator<Item = u8> {
        (0..=u8::MAX).filter(|c| self.is_down(*c))
    }

    fn is_down(&self, keycode: u8) -> bool {
        self.down[usize::from(keycode / 8)] & (1 << (keycode % 8)) != 0
    }
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The lane is empty.
    Idle,
    /// Something was done; look at the X server again before the next step.
    Again,
    /// Nothing can be typed before that moment.
    Wait(Instant),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    Char(u32),
    Key { down: bool, keysym: u32, code: String },
}

#[derive(Clone, Debug)]
struct Held {
    keysym: u32,
    code: String,
    keycode: u8,
}

/// Everything that typing needs to remember.
#[derive(Debug, Default)]
pub struct Keyboard {
    table: KeyTable,
    spares: Spares,
    spare_type: (u8, u8),
    lane: VecDeque<Item>,
    held: Vec<Held>,
}

impl Keyboard {
    /// Takes a map as read from the X server. `ours` names keycodes that a gateway has used as spares before.
    pub fn set_table(&mut self, table: KeyTable, ours: &[u8], now: Instant) {
        let spare_type = table.spare_type(0);
        let is_ours = |c: &u8| {
            let key = table.key(*c);
            key.is_some_and(|k| k.group_info == 1 && k.types[0] == spare_type.0 && table.modifiers(*c) == 0)
        };
        let known = |c: &u8| ours.contains(c) || self.spares.contains(*c);
        let mut spares: Vec<u8> = table.unused().collect();
        spares.extend((0..=u8::MAX).filter(|c| known(c) && is_ours(c)));
        spares.sort_unstable();
        spares.dedup();
        let bound = |keycode, level: u8| {
            let key: Option<&Key> = table.key(keycode);
            key.and_then(|k| k.syms.get(usize::from(level))).copied().unwrap_or(0)
        };
        self.spares = Spares::new(&spares, spare_type.1, bound, &self.spares, now);
        self.spare_type = spare_type;
        self.table = table;
    }

    /// The map as it is now, our own bindings included.
    pub fn table(&self) -> &KeyTable {
        &self.table
    }

    /// The keycodes of the pool.
    pub fn spare_keycodes(&self) -> Vec<u8> {
        (0..=u8::MAX).filter(|c| self.spares.contains(*c)).collect()
    }

    /// Queues a key event; false if it was dropped.
    ///
    /// A release is never dropped while its press is held or waiting.
    pub fn push_key(&mut self, down: bool, keysym: u32, code: String) -> bool {
        let wanted = if down { self.lane.len() < MAX_LANE } else { self.awaits_release(keysym, &code) };
        if wanted {
            self.lane.push_back(Item::Key { down, keysym, code });
        }
        wanted
    }

    /// Queues text; false if there is no room for it. Control characters without a key are left out.
    pub fn push_text(&mut self, text: &str) -> bool {
        if self.lane.len() + text.len() > MAX_LANE {
            return false;
        }
        let mut last = ' ';
        for c in text.chars() {
            let second_half = c == '\n' && std::mem::replace(&mut last, c) == '\r';
            last = c;
            if let Some(keysym) = keysym_of(c).filter(|_| !second_half) {
                self.lane.push_back(Item::Char(keysym));
            }
        }
        true
    }

    fn awaits_release(&self, keysym: u32, code: &str) -> bool {
        let waits =
            |i: &Item| matches!(i, Item::Key { down: true, keysym: k, code: c } if same(*k, c, keysym, code));
        self.held_index(keysym, code).is_some() || self.lane.iter().any(waits)
    }

    /// Lets go of everything that is held; key events that wait are dropped, text is not.
    pub fn release_all(&mut self) -> Vec<Op> {
        self.lane.retain(|i| matches!(i, Item::Char(_)));
        let mut keycodes: Vec<u8> = self.held.drain(..).map(|h| h.keycode).collect();
        keycodes.sort_unstable();
        keycodes.dedup();
        keycodes.into_iter().map(|keycode| Op::Key { keycode, down: false }).collect()
    }

    /// Forgets text that waits.
    pub fn drop_text(&mut self) {
        self.lane.retain(|i| !matches!(i, Item::Char(_)));
    }

    /// Forgets what is held and what waits, without releasing: the X server is gone.
    pub fn forget(&mut self) {
        self.lane.clear();
        self.held.clear();
    }

    /// Nothing waits.
    pub fn is_idle(&self) -> bool {
        self.lane.is_empty()
    }

    /// Types what stands first in the lane.
    pub fn step(&mut self, pressed: &Pressed, now: Instant, ops: &mut Vec<Op>) -> Step {
        match self.lane.front().cloned() {
            None => Step::Idle,
            Some(Item::Char(_)) => self.type_run(pressed, now, ops),
            Some(Item::Key { down: false, keysym, code }) => {
                self.lane.pop_front();
                self.release(keysym, &code, ops);
                Step::Again
            }
            Some(Item::Key { down: true, keysym, code }) => {
                let waits = self.press(keysym, &code, pressed, now, ops);
                if waits == Step::Again {
                    self.lane.pop_front();
                }
                waits
            }
        }
    }

    fn press(&mut self, keysym: u32, code: &str, pressed: &Pressed, now: Instant, ops: &mut Vec<Op>) -> Step {
        if let Some(held) = self.held_index(keysym, code).map(|i| &self.held[i]) {
            // The viewer's own autorepeat. The server does not repeat, and would ignore a second press.
            if !is_modifier(held.keysym) {
                let keycode = held.keycode;
                ops.extend([Op::Key { keycode, down: false }, Op::Key { keycode, down: true }]);
            }
            return Step::Again;
        }
        if self.held.len() >= MAX_HELD {
            return Step::Again;
        }
        let physical = codes::key_name(code).and_then(|name| self.table.names.get(&name).copied());
        let stroke = match self.stroke(keysym, physical, pressed.state, now, ops) {
            Ok(Some(stroke)) => stroke,
            Ok(None) => return Step::Again,
            Err(at) => return Step::Wait(at),
        };
        let keycode = stroke.keycode;
        self.held.push(Held { keysym, code: code.to_owned(), keycode });
        match pressed.is_down(keycode) {
            true if is_modifier(keysym) => {}
            is_down => self.emit(stroke, pressed, ops, |ops| hit(keycode, is_down, ops)),
        }
        Step::Again
    }

    /// The stroke for a key event; `Ok(None)` if nothing can be pressed for it, `Err` when to ask again.
    fn stroke(
        &mut self,
        keysym: u32,
        physical: Option<u8>,
        state: ModState,
        now: Instant,
        ops: &mut Vec<Op>,
    ) -> Result<Option<Stroke>, Instant> {
        let as_it_is = physical.map(|keycode| Stroke { keycode, add: 0, drop: 0 });
        let command = state.mods & bits::COMMAND != 0;
        let lacking = self.table.find(keysym, physical, state).is_none();
        // A viewer's Ctrl with a Cyrillic es means Ctrl+C: what counts is the key's place, if that is Latin here.
        let latin = physical.is_some_and(|c| (0x20..0x7f).contains(&self.table.evaluate(c, 0, state.group)));
        if keysym == 0 || (lacking && ((command && latin) || (is_modifier(keysym) && physical.is_some()))) {
            return Ok(as_it_is);
        }
        if lacking && is_modifier(keysym) {
            return Ok(None);
        }
        self.find_or_bind(keysym, physical, state, if command { 1 } else { MAX_LEVELS as u8 }, now, ops)
    }

    fn find_or_bind(
        &mut self,
        keysym: u32,
        physical: Option<u8>,
        state: ModState,
        levels: u8,
        now: Instant,
        ops: &mut Vec<Op>,
    ) -> Result<Option<Stroke>, Instant> {
        let mut found = self.table.find(keysym, physical, state);
        if found.is_none() {
            let held = |c| self.held.iter().any(|h| h.keycode == c);
            match self.spares.bind(keysym, levels, held, now) {
                Grant::Bound(keycode) => self.rebind(keycode, ops),
                Grant::Later(at) => return Err(at),
                Grant::Never => return Ok(None),
            }
            found = self.table.find(keysym, None, state);
        }
        if let Some(stroke) = found {
            let mods = (state.mods | stroke.add) & !stroke.drop;
            self.spares.touch(stroke.keycode, self.table.level(stroke.keycode, mods, state.group), now);
        }
        Ok(found)
    }

    fn rebind(&mut self, keycode: u8, ops: &mut Vec<Op>) {
        let (kind, _) = self.spare_type;
        let width = self.table.types.get(usize::from(kind)).map_or(2, |t| t.levels.max(1));
        let syms = self.spares.syms(keycode, width);
        let key = Key { group_info: 1, types: [kind, 0, 0, 0], width, syms: syms.clone() };
        self.table.set_key(keycode, key);
        ops.push(Op::Bind { keycode, kind, syms });
    }

    /// Types characters until the lane holds none at its front, or one has to wait.
    fn type_run(&mut self, pressed: &Pressed, now: Instant, ops: &mut Vec<Op>) -> Step {
        // Composed text is never a command: modifiers that happen to be held are lifted meanwhile.
        let state = ModState { mods: pressed.state.locked, ..pressed.state };
        let lifted: Vec<u8> = pressed.keycodes().filter(|c| self.lifts(*c, state.group)).collect();
        let lifted_state = Pressed { state, down: [0; 32] };
        let mut typed = Vec::new();
        let mut outcome = Step::Again;
        while let Some(Item::Char(keysym)) = self.lane.front() {
            let keysym = *keysym;
            if self.table.find(keysym, None, state).is_none() {
                self.prepare(state, now, &mut typed);
            }
            match self.find_or_bind(keysym, None, state, MAX_LEVELS as u8, now, &mut typed) {
                Err(at) => {
                    outcome = Step::Wait(at);
                    break;
                }
                Ok(None) => {}
                Ok(Some(stroke)) => self.emit(stroke, &lifted_state, &mut typed, |ops| {
                    hit(stroke.keycode, pressed.is_down(stroke.keycode), ops);
                    ops.push(Op::Key { keycode: stroke.keycode, down: false });
                }),
            }
            self.lane.pop_front();
        }
        if !typed.is_empty() {
            ops.extend(lifted.iter().map(|c| Op::Key { keycode: *c, down: false }));
            ops.append(&mut typed);
            ops.extend(lifted.iter().map(|c| Op::Key { keycode: *c, down: true }));
        }
        outcome
    }

    /// Binds what the next characters need, so that clients read the map once for all of them.
    fn prepare(&mut self, state: ModState, now: Instant, ops: &mut Vec<Op>) {
        let chars = self.lane.iter().map_while(|i| if let Item::Char(k) = i { Some(*k) } else { None });
        let ahead: Vec<u32> = chars.take(LOOKAHEAD).collect();
        for keysym in ahead {
            if self.find_or_bind(keysym, None, state, MAX_LEVELS as u8, now, ops).is_err() {
                return;
            }
        }
    }

    fn lifts(&self, keycode: u8, group: u8) -> bool {
        let locks = bits::LOCK | self.table.num_lock();
        self.table.contributes(keycode, !locks, group)
    }

    /// Presses and releases the modifiers of `stroke` around `inner`.
    fn emit(&self, stroke: Stroke, pressed: &Pressed, ops: &mut Vec<Op>, inner: impl FnOnce(&mut Vec<Op>)) {
        let group = pressed.state.group;
        let drops = |c: &u8| stroke.drop != 0 && self.table.contributes(*c, stroke.drop, group);
        let dropped: Vec<u8> = pressed.keycodes().filter(drops).collect();
        let wanted = (0..8).map(|i| 1u8 << i).filter(|bit| stroke.add & bit != 0);
        let added: Vec<u8> = wanted.filter_map(|bit| self.table.presser(bit, group)).collect();
        ops.extend(dropped.iter().map(|c| Op::Key { keycode: *c, down: false }));
        ops.extend(added.iter().map(|c| Op::Key { keycode: *c, down: true }));
        inner(ops);
        ops.extend(added.iter().rev().map(|c| Op::Key { keycode: *c, down: false }));
        ops.extend(dropped.iter().map(|c| Op::Key { keycode: *c, down: true }));
    }

    fn release(&mut self, keysym: u32, code: &str, ops: &mut Vec<Op>) {
        let Some(index) = self.held_index(keysym, code) else { return };
        let keycode = self.held.swap_remove(index).keycode;
        if !self.held.iter().any(|h| h.keycode == keycode) {
            ops.push(Op::Key { keycode, down: false });
        }
    }

    /// A viewer may name another keysym on release than on press (Shift went up in between).
    fn held_index(&self, keysym: u32, code: &str) -> Option<usize> {
        let exact = self.held.iter().position(|h| h.keysym == keysym && h.code == code);
        exact.or_else(|| self.held.iter().position(|h| same(h.keysym, &h.code, keysym, code)))
    }
}

/// Presses a key. One that is down already (held for another character) goes up first: the server would
/// ignore a second press.
fn hit(keycode: u8, is_down: bool, ops: &mut Vec<Op>) {
    if is_down {
        ops.push(Op::Key { keycode, down: false });
    }
    ops.push(Op::Key { keycode, down: true });
}

/// Whether two key events are of one physical key; without a `code` the keysym decides.
fn same(keysym_a: u32, code_a: &str, keysym_b: u32, code_b: &str) -> bool {
    if code_a.is_empty() || code_b.is_empty() { keysym_a == keysym_b } else { code_a == code_b }
}
