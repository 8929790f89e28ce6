//! Typing into a simulated X server, with keyboard maps as read from Xvfb 21.1 (xkeyboard-config 2.35).

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::keyboard::{Keyboard, MAX_LANE, Op, Pressed, Step};
use super::keymap::{Key, KeyTable, KeyType, Meaning, ModState, Stroke, bits};
use super::spare::QUARANTINE;

const US: &str = include_str!("../../tests/golden/keymaps/us.txt");
const DE: &str = include_str!("../../tests/golden/keymaps/de.txt");
const FR: &str = include_str!("../../tests/golden/keymaps/fr.txt");

const LEVEL3: u8 = 128;
const NUM: u8 = 16;

fn table(text: &str) -> KeyTable {
    let mut table = KeyTable::default();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |i: usize| words[i].parse::<u8>().unwrap();
        if words[0] == "type" {
            let split = words.iter().position(|w| *w == "/").unwrap();
            let pairs = |words: &[&str]| {
                let pair =
                    |w: &&str| w.split_once(':').map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap()));
                words.iter().filter_map(pair).collect()
            };
            let (entries, preserve) = (pairs(&words[3..split]), pairs(&words[split..]));
            table.types.push(KeyType { mask: number(1), levels: number(2), entries, preserve });
            continue;
        }
        let keycode = number(1);
        if table.keys.is_empty() {
            table.min_keycode = keycode;
        }
        let mut name = [0; 4];
        name[..words[2].len()].copy_from_slice(words[2].as_bytes());
        table.names.insert(name, keycode);
        if number(3) != 0 {
            table.modmap.insert(keycode, number(3));
        }
        let syms = words[7..].iter().map(|w| u32::from_str_radix(w, 16).unwrap()).collect();
        table.keys.push(Key { group_info: number(4), types: [number(5), 0, 0, 0], width: number(6), syms });
    }
    table
}

/// Enough of an X server and a client to say what was typed.
struct Sim {
    keyboard: Keyboard,
    table: KeyTable,
    down: BTreeSet<u8>,
    locked: u8,
    now: Instant,
    typed: Vec<Meaning>,
    /// When each level of each keycode was pressed last, to catch bindings that change too early.
    pressed_at: HashMap<(u8, u8), Instant>,
}

impl Sim {
    fn new(text: &str) -> Self {
        let (mut keyboard, now) = (Keyboard::default(), Instant::now());
        keyboard.set_table(table(text), &[], now);
        let (down, typed, pressed_at) = (BTreeSet::new(), Vec::new(), HashMap::new());
        Self { keyboard, table: table(text), down, locked: 0, now, typed, pressed_at }
    }

    fn mods(&self) -> u8 {
        let level3 = |c: u8| self.table.evaluate(c, 0, 0) == xkeysym::key::ISO_Level3_Shift;
        let of = |c: u8| if level3(c) { LEVEL3 } else { self.table.modifiers(c) & !(bits::LOCK | NUM) };
        self.down.iter().fold(self.locked, |mods, c| mods | of(*c))
    }

    fn pressed(&self) -> Pressed {
        let mut down = [0; 32];
        self.down.iter().for_each(|c| down[usize::from(c / 8)] |= 1 << (c % 8));
        Pressed { state: ModState { mods: self.mods(), locked: self.locked, group: 0 }, down }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Bind { keycode, kind, syms } => {
                let old = self.table.key(*keycode).unwrap().clone();
                let width = syms.len() as u8;
                assert_eq!(width, self.table.types[usize::from(*kind)].levels, "XKB refuses other widths");
                assert!(!self.down.contains(keycode), "bound while held");
                for (level, (was, is)) in old.syms.iter().zip(syms).enumerate() {
                    let pressed = self.pressed_at.get(&(*keycode, level as u8));
                    let young = pressed.is_some_and(|t| self.now < *t + QUARANTINE);
                    assert!(was == is || !young, "rebound while a client may still have to read it");
                }
                let key = Key { group_info: 1, types: [*kind, 0, 0, 0], width, syms: syms.clone() };
                self.table.set_key(*keycode, key);
            }
            Op::Key { keycode, down: true } => {
                let sym = self.table.evaluate(*keycode, self.mods(), 0);
                assert!(self.down.insert(*keycode), "pressed twice: {keycode}");
                let level = self.table.level(*keycode, self.mods(), 0);
                self.pressed_at.insert((*keycode, level), self.now);
                if !super::keymap::is_modifier(sym) {
                    self.typed.extend(Meaning::of(sym));
                }
            }
            Op::Key { keycode, down: false } => {
                self.down.remove(keycode);
            }
        }
    }

    /// Types all that waits, letting time pass where it has to.
    fn run(&mut self) {
        loop {
            let mut ops = Vec::new();
            let step = self.keyboard.step(&self.pressed(), self.now, &mut ops);
            ops.iter().for_each(|op| self.apply(op));
            match step {
                Step::Idle => return,
                Step::Again => {}
                Step::Wait(at) => {
                    assert!(at > self.now, "a wait must pass time");
                    self.now = at;
                }
            }
        }
    }

    fn key(&mut self, down: bool, keysym: u32, code: &str) {
        self.keyboard.push_key(down, keysym, code.into());
        self.run();
    }

    fn text(&self) -> String {
        self.typed.iter().map(|m| if let Meaning::Char(c) = m { *c } else { '\u{fffd}' }).collect()
    }
}

fn find(text: &str, keysym: u32, physical: Option<u8>, mods: u8) -> Option<Stroke> {
    table(text).find(keysym, physical, ModState { mods, locked: mods & (bits::LOCK | NUM), group: 0 })
}

fn stroke(keycode: u8, add: u8, drop: u8) -> Option<Stroke> {
    Some(Stroke { keycode, add, drop })
}

#[test]
fn layouts_have_their_characters_where_they_belong() {
    for (layout, char, wanted) in [
        (US, '@', stroke(11, bits::SHIFT, 0)),
        (DE, '@', stroke(24, LEVEL3, 0)),
        (FR, '@', stroke(19, LEVEL3, 0)),
        (DE, 'z', stroke(29, 0, 0)),
        (FR, '1', stroke(10, bits::SHIFT, 0)),
        (FR, 'é', stroke(11, 0, 0)),
        (US, 'é', None),
        (DE, '€', stroke(26, LEVEL3, 0)),
    ] {
        assert_eq!(find(layout, xkeysym::Keysym::from_char(char).raw(), None, 0), wanted, "{char}");
    }
}

#[test]
fn modifiers_in_the_way_are_lifted_and_commands_are_not() {
    assert_eq!(find(US, 0x2f, None, bits::SHIFT), stroke(61, 0, bits::SHIFT), "de Shift+7 is / everywhere");
    assert_eq!(find(US, 0x61, None, bits::LOCK), stroke(38, bits::SHIFT, 0), "Caps Lock is on");
    assert_eq!(find(US, 0x41, None, bits::LOCK), stroke(38, 0, 0));
    assert_eq!(find(US, 0x63, None, bits::CONTROL | NUM), stroke(54, 0, 0), "Ctrl+C");
    assert_eq!(find(US, 0xff09, None, bits::SHIFT), stroke(23, 0, 0), "Shift+Tab");
    assert_eq!(find(US, 0xffbe, None, bits::CONTROL | bits::MOD1), stroke(67, 0, 0), "Ctrl+Alt+F1");
    assert_eq!(find(US, 0xffb7, None, NUM), stroke(79, 0, 0), "KP_7");
    assert_eq!(find(US, 0xff95, None, NUM), stroke(79, bits::SHIFT, 0), "KP_Home under Num Lock");
    assert_eq!(find(US, 0xff95, None, 0), stroke(79, 0, 0));
    assert_eq!(find(FR, 0xe9, None, bits::LOCK), None, "clients make it a capital");
}

#[test]
fn the_key_in_its_place_is_preferred() {
    // `<` is on the key beside the left Shift, and on Shift+comma.
    let lsgt = table(US).names[b"LSGT"];
    assert_eq!(find(US, 0x3c, Some(lsgt), 0), stroke(lsgt, 0, 0));
    assert_eq!(find(US, 0x3c, Some(59), 0), stroke(59, bits::SHIFT, 0));
    assert_eq!(find(US, 0xffe2, Some(62), 0), stroke(62, 0, 0), "the right Shift");
}

#[test]
fn missing_modifiers_have_stand_ins() {
    let alt = table(DE).names[b"LALT"];
    assert_eq!(find(DE, 0xffe7, None, 0), stroke(alt, 0, 0), "Meta_L");
    assert_eq!(find(DE, 0xffea, None, 0).map(|s| (s.add, s.drop)), Some((0, 0)), "Alt_R");
}

#[test]
fn a_viewer_holding_shift_types_what_needs_none() {
    for layout in [US, DE, FR] {
        let mut sim = Sim::new(layout);
        sim.key(true, 0xffe1, "ShiftLeft");
        for c in "/7Aé中aЖ€".chars() {
            let keysym = xkeysym::Keysym::from_char(c).raw();
            sim.key(true, keysym, "");
            sim.key(false, keysym, "");
        }
        assert_eq!(sim.mods() & bits::SHIFT, bits::SHIFT, "still held");
        sim.key(false, 0xffe1, "ShiftLeft");
        assert_eq!(sim.text(), "/7Aé中aЖ€");
        assert!(sim.down.is_empty());
    }
}

#[test]
fn the_viewers_autorepeat_is_passed_on() {
    let mut sim = Sim::new(US);
    (0..3).for_each(|_| sim.key(true, 0x61, "KeyA"));
    (0..3).for_each(|_| sim.key(true, 0xffe1, "ShiftLeft"));
    assert_eq!((sim.text().as_str(), sim.down.len()), ("aaa", 2));
}

#[test]
fn a_release_overtaken_by_release_all_is_harmless() {
    let mut sim = Sim::new(US);
    sim.key(true, 0x61, "KeyA");
    sim.keyboard.push_text("中");
    sim.keyboard.push_key(true, 0x62, "KeyB".into());
    let ops = sim.keyboard.release_all();
    ops.iter().for_each(|op| sim.apply(op));
    sim.key(false, 0x62, "KeyB");
    assert_eq!(sim.text(), "a中");
    assert!(sim.down.is_empty());
}

#[test]
fn the_lane_is_bounded_and_keeps_releases() {
    let mut sim = Sim::new(US);
    sim.key(true, 0x61, "KeyA");
    let text = "中".repeat(MAX_LANE / 3);
    assert!(sim.keyboard.push_text(&text));
    assert!(!sim.keyboard.push_text(&text));
    while sim.keyboard.push_key(true, 0x62, "KeyB".into()) {}
    assert!(sim.keyboard.push_key(false, 0x61, "KeyA".into()));
    assert!(!sim.keyboard.push_key(false, 0x63, "KeyC".into()), "of a key that nobody pressed");
}

#[test]
fn line_ends_and_tabs_are_keys() {
    let mut sim = Sim::new(US);
    sim.keyboard.push_text("a\r\nb\n\u{7}\t");
    sim.run();
    let wanted = [
        Meaning::Char('a'),
        Meaning::Sym(0xff0d),
        Meaning::Char('b'),
        Meaning::Sym(0xff0d),
        Meaning::Sym(0xff09),
    ];
    assert_eq!(sim.typed, wanted);
}

fn chars() -> impl Strategy<Value = String> {
    let char = prop_oneof![
        proptest::char::range(' ', '~'),
        proptest::char::range('\u{a1}', 'ÿ'),
        proptest::char::range('А', 'я'),
        proptest::char::range('一', '丿'),
        Just('🙂'),
        Just('€'),
    ];
    proptest::collection::vec(char, 0..120).prop_map(|c| c.into_iter().filter(|c| *c != '\u{ad}').collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_text_comes_out_as_it_went_in(text in chars(), layout in 0..3usize, locks in 0..4u8, held in 0..4u8) {
        let mut sim = Sim::new([US, DE, FR][layout]);
        sim.locked = ((locks & 1) * bits::LOCK) | ((locks >> 1) * NUM);
        if held & 1 != 0 {
            sim.key(true, 0xffe1, "ShiftLeft");
        }
        if held & 2 != 0 {
            sim.key(true, 0xffe3, "ControlLeft");
        }
        let before = sim.down.clone();
        prop_assert!(sim.keyboard.push_text(&text));
        sim.run();
        prop_assert_eq!(sim.text(), text);
        prop_assert_eq!(&sim.down, &before);
    }

    #[test]
    fn nothing_stays_down_after_release_all(events in proptest::collection::vec((any::<bool>(), 0..12usize, any::<bool>()), 0..200)) {
        const KEYS: [(u32, &str); 12] = [
            (0x61, "KeyA"), (0x41, "KeyA"), (0xe9, ""), (0x0100_4e2d, ""), (0xffe1, "ShiftLeft"), (0xfe03, "AltRight"),
            (0xffe3, ""), (0xff0d, "Enter"), (0, "KeyX"), (0, ""), (0xffff_ffff, "Nonsense"), (0x40, "KeyQ"),
        ];
        let mut sim = Sim::new(DE);
        for (down, key, with_code) in events {
            let (keysym, code) = KEYS[key];
            sim.key(down, keysym, if with_code { code } else { "" });
        }
        let ops = sim.keyboard.release_all();
        ops.iter().for_each(|op| sim.apply(op));
        prop_assert!(sim.down.is_empty());
    }
}

#[test]
fn two_hundred_characters_are_as_fast_as_they_are_typed() {
    let mut sim = Sim::new(US);
    let (start, step) = (sim.now, Duration::from_millis(20));
    let text: Vec<char> = (0..200u32).map(|i| char::from_u32(0x4e00 + i % 150).unwrap_or('x')).collect();
    for (i, c) in text.iter().enumerate() {
        sim.now = sim.now.max(start + step * i as u32);
        sim.keyboard.push_text(&c.to_string());
        sim.run();
    }
    assert_eq!(sim.text(), text.iter().collect::<String>());
    assert!(sim.now - start < step * 200 * 2, "{:?}", sim.now - start);
}
