//! The X server, as far as input needs it: XTEST to press, XKB to know what a press means.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use thiserror::Error;
use x11rb::connection::{Connection, RequestConnection as _};
use x11rb::errors::{ConnectionError, ReplyError, ReplyOrIdError};
use x11rb::protocol::xkb::{self, ConnectionExt as _};
use x11rb::protocol::xproto::{self, ConnectionExt as _};
use x11rb::protocol::xtest::ConnectionExt as _;
use x11rb::protocol::{Event, xtest};
use x11rb::wrapper::ConnectionExt as _;

use super::keyboard::{Op, Pressed};
use super::keymap::{Key, KeyTable, KeyType, ModState};
use crate::display::{self, ConnectFailure, Connected, DisplayName, XConnection};
use crate::wire::input::Point;

/// Keycodes that a gateway uses as spares, on the root window: a gateway that was killed leaves its bindings
/// behind, and the next one must not take them for part of the layout.
const SPARES_PROPERTY: &[u8] = b"_DESKGATE_SPARE_KEYCODES";
/// On the root window while a gateway keeps autorepeat off that was on before.
const REPEAT_PROPERTY: &[u8] = b"_DESKGATE_AUTOREPEAT";
/// Own rebindings whose notification may still come.
const MAX_PENDING: usize = 256;

/// Why input does not reach the X server.
#[derive(Debug, Error)]
pub enum XError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectFailure),
    /// An extension is missing.
    #[error("the X server has no {0} extension")]
    Missing(&'static str),
    /// The screen that the display string names does not exist.
    #[error("the X server has no screen {0}")]
    Screen(usize),
    /// The connection broke.
    #[error("the connection to the X server broke: {0}")]
    Connection(#[from] ConnectionError),
    /// A request failed.
    #[error("the X server refused a request: {0}")]
    Reply(#[from] ReplyError),
    /// No identifiers left.
    #[error("the X server refused an identifier: {0}")]
    Id(#[from] ReplyOrIdError),
}

/// What the X server reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The keyboard map changed, not by our own doing.
    Map,
    /// Locked modifiers are now these.
    Locked(u8),
}

/// A connection.
pub struct Display {
    conn: XConnection,
    root: xproto::Window,
    spares_atom: xproto::Atom,
    repeat_atom: xproto::Atom,
    pending: VecDeque<(u8, u8)>,
}

const CORE: xkb::DeviceSpec = 0x100;

impl Display {
    /// Connects and subscribes to changes of the keyboard.
    ///
    /// # Errors
    /// [`XError`]: no server, no access, or a server without XTEST or XKB.
    pub fn connect(display: &DisplayName, xauthority: Option<&Path>) -> Result<Self, XError> {
        let Connected { connection: conn, screen, .. } = display::connect(display, xauthority)?;
        let root = conn.setup().roots.get(screen).ok_or(XError::Screen(screen))?.root;
        let has = |name| conn.extension_information(name).map(|e| e.is_some());
        if !has(xtest::X11_EXTENSION_NAME)? {
            return Err(XError::Missing("XTEST"));
        }
        if !has(xkb::X11_EXTENSION_NAME)? || !conn.xkb_use_extension(1, 0)?.reply()?.supported {
            return Err(XError::Missing("XKEYBOARD"));
        }
        let spares_atom = conn.intern_atom(false, SPARES_PROPERTY)?.reply()?.atom;
        let repeat_atom = conn.intern_atom(false, REPEAT_PROPERTY)?.reply()?.atom;
        let display = Self { conn, root, spares_atom, repeat_atom, pending: VecDeque::new() };
        display.subscribe()?;
        Ok(display)
    }

    fn subscribe(&self) -> Result<(), XError> {
        let keyboard = xkb::NKNDetail::KEYCODES;
        let locks = xkb::StatePart::MODIFIER_LOCK;
        let details = xkb::SelectEventsAux {
            new_keyboard_notify: Some(xkb::SelectEventsAuxNewKeyboardNotify {
                affect_new_keyboard: keyboard,
                new_keyboard_details: keyboard,
            }),
            state_notify: Some(xkb::SelectEventsAuxStateNotify { affect_state: locks, state_details: locks }),
            ..Default::default()
        };
        let map = xkb::MapPart::KEY_TYPES | xkb::MapPart::KEY_SYMS | xkb::MapPart::MODIFIER_MAP;
        let none = xkb::EventType::from(0u16);
        self.conn.xkb_select_events(CORE, none, none, map, map, &details)?.check()?;
        Ok(())
    }

    /// Readable when events wait.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.conn.stream().as_fd()
    }

    /// Sends what is buffered.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn flush(&self) -> Result<(), XError> {
        Ok(self.conn.flush()?)
    }

    /// What has been reported since; never waits.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn notices(&mut self) -> Result<Vec<Notice>, XError> {
        let mut notices = Vec::new();
        while let Some(event) = self.conn.poll_for_event()? {
            match event {
                Event::XkbNewKeyboardNotify(_) => notices.push(Notice::Map),
                Event::XkbMapNotify(e) if !self.is_own(&e) => notices.push(Notice::Map),
                Event::XkbStateNotify(e) => notices.push(Notice::Locked(mod_bits(e.locked_mods))),
                Event::Error(e) => tracing::debug!(error = ?e, "the X server refused an input request"),
                _ => {}
            }
        }
        notices.dedup();
        Ok(notices)
    }

    fn is_own(&mut self, event: &xkb::MapNotifyEvent) -> bool {
        let range = (event.first_key_sym, event.n_key_syms);
        let only_syms = event.changed == xkb::MapPart::KEY_SYMS;
        let Some(index) = self.pending.iter().position(|p| only_syms && *p == range) else { return false };
        self.pending.drain(..=index);
        true
    }

    /// Reads the keyboard map.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn read_table(&self) -> Result<KeyTable, XError> {
        let full = xkb::MapPart::KEY_TYPES | xkb::MapPart::KEY_SYMS | xkb::MapPart::MODIFIER_MAP;
        let nothing = xkb::MapPart::from(0u16);
        let vmods = xkb::VMod::from(0u16);
        let map =
            self.conn.xkb_get_map(CORE, full, nothing, 0, 0, 0, 0, 0, 0, 0, 0, vmods, 0, 0, 0, 0, 0, 0)?;
        let names = self.conn.xkb_get_names(CORE, xkb::NameDetail::KEY_NAMES)?;
        let (map, names) = (map.reply()?, names.reply()?);
        let modmap = map.map.modmap_rtrn.unwrap_or_default();
        let key_names = names.value_list.key_names.unwrap_or_default();
        Ok(KeyTable {
            min_keycode: map.first_key_sym,
            keys: map.map.syms_rtrn.unwrap_or_default().into_iter().map(key).collect(),
            types: map.map.types_rtrn.unwrap_or_default().iter().map(key_type).collect(),
            modmap: modmap.into_iter().map(|m| (m.keycode, mod_bits(m.mods))).collect(),
            names: named_keys(names.first_key, &key_names),
        })
    }

    /// What is pressed and locked now.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn pressed(&self) -> Result<Pressed, XError> {
        let state = self.conn.xkb_get_state(CORE)?;
        let keymap = self.conn.query_keymap()?;
        let (state, keymap) = (state.reply()?, keymap.reply()?);
        let locked = mod_bits(state.locked_mods) | mod_bits(state.latched_mods);
        let state = ModState { mods: mod_bits(state.mods), locked, group: state.group.into() };
        Ok(Pressed { state, down: keymap.keys })
    }

    /// Carries out what the keyboard decided.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn apply(&mut self, ops: &[Op]) -> Result<(), XError> {
        let mut rest = ops;
        while let Some(op) = rest.first() {
            match op {
                Op::Key { keycode, down } => {
                    self.fake(
                        if *down { xproto::KEY_PRESS_EVENT } else { xproto::KEY_RELEASE_EVENT },
                        *keycode,
                    )?;
                    rest = &rest[1..];
                }
                Op::Bind { .. } => {
                    let count = rest.iter().take_while(|o| matches!(o, Op::Bind { .. })).count();
                    self.bind(&rest[..count])?;
                    rest = &rest[count..];
                }
            }
        }
        Ok(())
    }

    /// Binds spare keycodes: one request for each run of neighbours.
    fn bind(&mut self, ops: &[Op]) -> Result<(), XError> {
        let mut latest: Vec<(u8, xkb::KeySymMap)> = Vec::new();
        for op in ops {
            let Op::Bind { keycode, kind, syms } = op else { continue };
            let width = u8::try_from(syms.len()).unwrap_or(u8::MAX);
            let map = xkb::KeySymMap { kt_index: [*kind, 0, 0, 0], group_info: 1, width, syms: syms.clone() };
            latest.retain(|(k, _)| k != keycode);
            latest.push((*keycode, map));
        }
        latest.sort_by_key(|(keycode, _)| *keycode);
        for run in latest.chunk_by(|(a, _), (b, _)| a.checked_add(1) == Some(*b)) {
            let (first, count) = (run[0].0, u8::try_from(run.len()).unwrap_or(u8::MAX));
            self.set_syms(first, count, run.iter().map(|(_, map)| map.clone()).collect())?;
        }
        Ok(())
    }

    fn set_syms(&mut self, first: u8, count: u8, syms: Vec<xkb::KeySymMap>) -> Result<(), XError> {
        let setup = self.conn.setup();
        let (min, max) = (setup.min_keycode, setup.max_keycode);
        let total: usize = syms.iter().map(|s| s.syms.len()).sum();
        let total = u16::try_from(total).unwrap_or(u16::MAX);
        let values = xkb::SetMapAux { syms: Some(syms), ..Default::default() };
        let (flags, vmods) = (xkb::SetMapFlags::from(0u16), xkb::VMod::from(0u16));
        self.conn.xkb_set_map(
            CORE, flags, min, max, 0, 0, first, count, total, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            vmods, &values,
        )?;
        self.pending.push_back((first, count));
        if self.pending.len() > MAX_PENDING {
            self.pending.pop_front();
        }
        Ok(())
    }

    fn fake(&self, kind: u8, detail: u8) -> Result<(), XError> {
        self.conn.xtest_fake_input(kind, detail, x11rb::CURRENT_TIME, self.root, 0, 0, 0)?;
        Ok(())
    }

    /// Presses or releases a button.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn button(&self, button: u8, down: bool) -> Result<(), XError> {
        self.fake(if down { xproto::BUTTON_PRESS_EVENT } else { xproto::BUTTON_RELEASE_EVENT }, button)
    }

    /// Puts the pointer at `at`.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn move_to(&self, at: Point) -> Result<(), XError> {
        let clamp = |v: u16| i16::try_from(v).unwrap_or(i16::MAX);
        self.motion(0, clamp(at.x), clamp(at.y))
    }

    /// Moves the pointer by pixels, without acceleration.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn move_by(&self, dx: i32, dy: i32) -> Result<(), XError> {
        let clamp = |v: i32| i16::try_from(v.clamp(i16::MIN.into(), i16::MAX.into())).unwrap_or(0);
        self.motion(1, clamp(dx), clamp(dy))
    }

    fn motion(&self, relative: u8, x: i16, y: i16) -> Result<(), XError> {
        let (kind, now) = (xproto::MOTION_NOTIFY_EVENT, x11rb::CURRENT_TIME);
        self.conn.xtest_fake_input(kind, relative, now, self.root, x, y, 0)?;
        Ok(())
    }

    /// Locks exactly those of the modifiers `affected` that are in `locked`.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn lock(&self, affected: u8, locked: u8) -> Result<(), XError> {
        let (affected, locked, none) = (affected.into(), locked.into(), xproto::ModMask::from(0u8));
        self.conn.xkb_latch_lock_state(CORE, affected, locked, false, xkb::Group::M1, none, false, 0)?;
        Ok(())
    }

    /// Whether the server repeats held keys.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn repeats(&self) -> Result<bool, XError> {
        let control = self.conn.get_keyboard_control()?.reply()?;
        Ok(control.global_auto_repeat == xproto::AutoRepeatMode::ON)
    }

    /// Turns the server's autorepeat on or off, and notes on the server that it was on before.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn set_repeats(&self, on: bool) -> Result<(), XError> {
        if on {
            self.conn.delete_property(self.root, self.repeat_atom)?;
        } else {
            let (mode, kind) = (xproto::PropMode::REPLACE, xproto::AtomEnum::CARDINAL);
            self.conn.change_property8(mode, self.root, self.repeat_atom, kind, &[1])?;
        }
        let mode = if on { xproto::AutoRepeatMode::ON } else { xproto::AutoRepeatMode::OFF };
        self.conn.change_keyboard_control(&xproto::ChangeKeyboardControlAux::new().auto_repeat_mode(mode))?;
        Ok(())
    }

    /// Puts autorepeat back, if a gateway before us was killed before it could.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn restore_repeats(&self) -> Result<(), XError> {
        let kind = xproto::AtomEnum::CARDINAL;
        let noted = self.conn.get_property(false, self.root, self.repeat_atom, kind, 0, 1)?.reply()?;
        if noted.value_len > 0 { self.set_repeats(true) } else { Ok(()) }
    }

    /// Releases every key and the buttons 1 to 5 that are down.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn release_everything(&self) -> Result<(), XError> {
        let pressed = self.pressed()?;
        for keycode in pressed.keycodes() {
            self.fake(xproto::KEY_RELEASE_EVENT, keycode)?;
        }
        let mask = u16::from(self.conn.query_pointer(self.root)?.reply()?.mask);
        let first = u16::from(xproto::KeyButMask::BUTTON1);
        for button in (1..=5u8).filter(|b| mask & (first << (b - 1)) != 0) {
            self.button(button, false)?;
        }
        Ok(())
    }

    /// Keycodes that a gateway before us has used as spares.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn former_spares(&self) -> Result<Vec<u8>, XError> {
        let kind = xproto::AtomEnum::CARDINAL;
        Ok(self.conn.get_property(false, self.root, self.spares_atom, kind, 0, 64)?.reply()?.value)
    }

    /// Leaves a note for the gateway after us.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn note_spares(&self, keycodes: &[u8]) -> Result<(), XError> {
        let (mode, kind) = (xproto::PropMode::REPLACE, xproto::AtomEnum::CARDINAL);
        self.conn.change_property8(mode, self.root, self.spares_atom, kind, keycodes)?;
        Ok(())
    }
}

fn key(map: xkb::KeySymMap) -> Key {
    Key { group_info: map.group_info, types: map.kt_index, width: map.width, syms: map.syms }
}

/// x11rb's mask has room for "any modifier", which no state contains.
fn mod_bits(mods: xproto::ModMask) -> u8 {
    u16::from(mods) as u8
}

fn key_type(kind: &xkb::KeyType) -> KeyType {
    let entries = || kind.map.iter();
    let kept = entries().zip(&kind.preserve).filter(|(e, _)| e.active);
    KeyType {
        mask: mod_bits(kind.mods_mask),
        levels: kind.num_levels,
        entries: entries().filter(|e| e.active).map(|e| (mod_bits(e.mods_mask), e.level)).collect(),
        preserve: kept
            .map(|(e, p)| (mod_bits(e.mods_mask), mod_bits(p.mask)))
            .filter(|(_, k)| *k != 0)
            .collect(),
    }
}

fn named_keys(first: u8, names: &[xkb::KeyName]) -> HashMap<[u8; 4], u8> {
    let named = (first..=u8::MAX).zip(names).filter(|(_, n)| n.name != [0; 4]);
    named.map(|(keycode, n)| (n.name, keycode)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    /// Writes the map of `$DISPLAY` as `tests/golden/keymaps/$LAYOUT.txt`, in the form that
    /// `keyboard_tests` reads.
    #[test]
    #[ignore = "rewrites the fixtures; needs DISPLAY and LAYOUT"]
    fn write_keymap_fixture() {
        let variable = |name| std::env::var(name).unwrap();
        let table =
            Display::connect(&variable("DISPLAY").parse().unwrap(), None).unwrap().read_table().unwrap();
        let mut out = String::new();
        for t in &table.types {
            let pairs = |list: &[(u8, u8)]| list.iter().map(|(a, b)| format!(" {a}:{b}")).collect::<String>();
            writeln!(out, "type {} {}{} /{}", t.mask, t.levels, pairs(&t.entries), pairs(&t.preserve))
                .unwrap();
        }
        let names: HashMap<u8, String> =
            table.names.iter().map(|(n, k)| (*k, String::from_utf8_lossy(n).replace('\0', ""))).collect();
        for (keycode, key) in (table.min_keycode..=u8::MAX).zip(&table.keys) {
            let name = names.get(&keycode).map_or("-", String::as_str);
            let syms: String = key.syms.iter().map(|s| format!(" {s:x}")).collect();
            let kind = key.types[0];
            let (mods, groups) = (table.modifiers(keycode), key.group_info);
            writeln!(out, "key {keycode} {name} {mods} {groups} {kind} {}{syms}", key.width).unwrap();
        }
        let path = format!("{}/tests/golden/keymaps/{}.txt", env!("CARGO_MANIFEST_DIR"), variable("LAYOUT"));
        std::fs::write(path, out).unwrap();
    }
}
