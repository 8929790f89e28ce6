//! Input into real programs on a real X server. Needs Xvfb, xterm, zenity (GTK), setxkbmap, xset.

pub mod rig;

use std::process::Stdio;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use deskgate::desktop::{self, DesktopEvent, DesktopHandle};
use deskgate::session::action::DesktopAction;
use deskgate::wire::input::Point;
use x11rb::connection::Connection as _;
use x11rb::protocol::Event;
use x11rb::protocol::xproto::{self, ConnectionExt as _};
use x11rb::rust_connection::RustConnection;

use rig::{
    Program, Rig, expect, key, press, start_server, text, type_as_keys, type_with_shift_held, wait_for,
};

const ASCII: &str = "Hello, World! ~!@#$%^&*()_+{}|:\"<>?`-=[]\\;',./";
const BEYOND: &str = "é € ñ ß 中 🙂";

/// 200 characters, 150 of them distinct.
fn chinese() -> String {
    let at = |i: u32| char::from_u32(0x4e00 + (i * 37) % 5_000).unwrap();
    (0..150).chain((0..50).map(|i| i * 3)).map(at).collect()
}

fn send_at_50_per_second(input: &DesktopHandle, chars: &str) {
    let start = Instant::now();
    for (i, c) in chars.chars().enumerate() {
        let due = start + Duration::from_millis(20) * i as u32;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        text(input, &c.to_string());
    }
}

#[test]
fn xterm_gets_what_is_typed_in_any_layout() {
    for layout in ["us", "de", "fr"] {
        let rig = Rig::new(layout);
        let _xterm = rig.xterm();
        let (input, _events) = rig.input();
        text(&input, ASCII);
        text(&input, BEYOND);
        type_as_keys(&input, ASCII);
        type_as_keys(&input, BEYOND);
        type_with_shift_held(&input, "ABC/?@{}é€中");
        rig.expect_file("out", &format!("{ASCII}{BEYOND}{ASCII}{BEYOND}ABC/?@{{}}é€中"));
        // A program has the last character once its key is down: the releases come after it.
        wait_for("no key", || (rig.keys_down() == 0).then_some(()));
    }
}

#[test]
fn gtk_gets_what_is_typed_in_any_layout() {
    for layout in ["us", "de", "fr"] {
        let rig = Rig::new(layout);
        let zenity = rig.zenity();
        let (input, _events) = rig.input();
        text(&input, ASCII);
        text(&input, BEYOND);
        type_as_keys(&input, ASCII);
        type_as_keys(&input, BEYOND);
        type_with_shift_held(&input, "ABC/?@{}é€中");
        let typed = zenity.finish(&input);
        assert_eq!(typed, format!("{ASCII}{BEYOND}{ASCII}{BEYOND}ABC/?@{{}}é€中"), "{layout}");
    }
}

#[test]
fn many_chinese_characters_arrive_in_xterm() {
    let rig = Rig::new("us");
    let _xterm = rig.xterm();
    let (input, _events) = rig.input();
    send_at_50_per_second(&input, &chinese());
    let sent = Instant::now();
    rig.expect_file("out", &chinese());
    eprintln!("xterm: complete {:?} after the last was sent", sent.elapsed());
}

#[test]
fn many_chinese_characters_arrive_in_gtk() {
    let rig = Rig::new("us");
    let zenity = rig.zenity();
    let (input, _events) = rig.input();
    send_at_50_per_second(&input, &chinese());
    let sent = Instant::now();
    assert_eq!(zenity.finish(&input), chinese());
    eprintln!("gtk: complete {:?} after the last was sent", sent.elapsed());
}

#[test]
fn a_long_text_in_one_piece_arrives() {
    let rig = Rig::new("us");
    let _xterm = rig.xterm();
    let (input, _events) = rig.input();
    text(&input, &chinese());
    rig.expect_file("out", &chinese());
}

#[test]
fn a_layout_set_at_run_time_is_followed() {
    let rig = Rig::new("us");
    let _xterm = rig.xterm();
    let (input, _events) = rig.input();
    assert!(input.send(DesktopAction::Controlled(true)));
    let line = "zy@/ñ中zy";
    let mut wanted = String::new();
    for layout in ["de", "fr", "us", "us,ru -option grp:alt_shift_toggle"] {
        text(&input, line);
        wanted.push_str(line);
        rig.expect_file("out", &wanted);
        rig.layout(layout);
        type_as_keys(&input, line);
        wanted.push_str(line);
        rig.expect_file("out", &wanted);
        assert!(!rig.repeats(), "{layout}");
    }
}

#[test]
fn dead_keys_compose() {
    for layout in ["us", "de"] {
        let rig = Rig::new(layout);
        let zenity = rig.zenity();
        let (input, _events) = rig.input();
        press(&input, 0xfe51, "Equal");
        press(&input, 0x65, "KeyE");
        assert_eq!(zenity.finish(&input), "é", "{layout}");
    }
}

#[test]
fn control_c_interrupts() {
    // Also where the viewer's layout and the desktop's have no letter in common.
    for (layout, keysym) in [("us", 0x63), ("us", 0x6d3), ("ru", 0x63)] {
        let rig = Rig::new(layout);
        let _xterm = rig.xterm_running("trap : INT; sh -c ': > ready; exec sleep 1000'; : > interrupted");
        let (input, _events) = rig.input();
        key(&input, true, 0xffe3, "ControlLeft");
        press(&input, keysym, "KeyC");
        key(&input, false, 0xffe3, "ControlLeft");
        wait_for("the interrupt", || rig.file("interrupted").exists().then_some(()));
    }
}

#[test]
fn everything_held_is_released() {
    let rig = Rig::new("us");
    let (input, _events) = rig.input();
    let hold = || {
        key(&input, true, 0xffe1, "ShiftLeft");
        key(&input, true, 0x41, "KeyA");
        key(&input, true, 0x0100_4e2d, "");
        for button in [1, 3, 9] {
            assert!(input.send(DesktopAction::Button { button, down: true, at: None }));
        }
        wait_for("three keys", || (rig.keys_down() == 3 && rig.buttons() == 0x0500).then_some(()));
    };
    let released = || wait_for("release", || (rig.keys_down() == 0 && rig.buttons() == 0).then_some(()));
    hold();
    assert!(input.send(DesktopAction::ReleaseAll));
    released();
    hold();
    assert!(input.send(DesktopAction::Controlled(false)));
    released();
    hold();
    drop(input);
    assert_eq!((rig.keys_down(), rig.buttons()), (0, 0), "released before drop returns");
}

#[test]
fn a_key_goes_up_whatever_the_modifiers_did() {
    let rig = Rig::new("us");
    let (input, _events) = rig.input();
    key(&input, true, 0xffe1, "ShiftLeft");
    key(&input, true, 0x41, "KeyA");
    key(&input, false, 0xffe1, "ShiftLeft");
    wait_for("one key", || (rig.keys_down() == 1).then_some(()));
    key(&input, false, 0x61, "KeyA");
    wait_for("no key", || (rig.keys_down() == 0).then_some(()));
}

#[test]
fn autorepeat_is_off_under_control_only() {
    let rig = Rig::new("us");
    let (input, _events) = rig.input();
    let set = |on| assert!(input.send(DesktopAction::Controlled(on)));
    assert!(rig.repeats());
    set(true);
    wait_for("no autorepeat", || (!rig.repeats()).then_some(()));
    set(false);
    wait_for("autorepeat again", || rig.repeats().then_some(()));
    set(true);
    wait_for("no autorepeat", || (!rig.repeats()).then_some(()));
    drop(input);
    assert!(rig.repeats(), "restored before drop returns");

    assert!(rig.command("xset").args(["r", "off"]).status().unwrap().success());
    let (input, _events) = rig.input();
    assert!(input.send(DesktopAction::Controlled(true)));
    assert!(input.send(DesktopAction::Controlled(false)));
    drop(input);
    assert!(!rig.repeats(), "it was off before");
}

#[test]
fn the_server_does_not_repeat_a_held_key() {
    let rig = Rig::new("us");
    let _xterm = rig.xterm();
    let (input, _events) = rig.input();
    assert!(input.send(DesktopAction::Controlled(true)));
    key(&input, true, 0x61, "KeyA");
    rig.expect_file("out", "a");
    // A network that stalls; the server's own repeat would begin after 660 ms.
    std::thread::sleep(Duration::from_millis(1_200));
    key(&input, false, 0x61, "KeyA");
    text(&input, "b");
    rig.expect_file("out", "ab");
}

const CHILD: &str = "DESKGATE_TEST_CHILD_DISPLAY";

/// Not a test of its own: what `a_killed_gateway_leaves_no_trace` starts and kills.
#[test]
fn child_that_holds_keys() {
    let Ok(display) = std::env::var(CHILD) else { return };
    let input = desktop::spawn(display.parse().unwrap(), None, |_| ()).unwrap();
    wait_for("the test's end", || {
        input.send(DesktopAction::Controlled(true));
        key(&input, true, 0xffe1, "ShiftLeft");
        key(&input, true, 0x0100_4e2d, "");
        input.send(DesktopAction::Button { button: 1, down: true, at: None });
        None::<()>
    });
}

#[test]
fn a_killed_gateway_leaves_no_trace() {
    let rig = Rig::new("us");
    let mut child = rig.command(std::env::current_exe().unwrap().to_str().unwrap());
    child.args(["--exact", "desktop::child_that_holds_keys"]).env(CHILD, &rig.display).stdout(Stdio::null());
    let mut child = Program::start(&mut child);
    wait_for("held keys", || {
        (rig.keys_down() == 2 && rig.buttons() == 0x100 && !rig.repeats()).then_some(())
    });
    child.kill();
    let _input = rig.input();
    wait_for("release", || (rig.keys_down() == 0 && rig.buttons() == 0 && rig.repeats()).then_some(()));
}

#[test]
fn a_stopped_x_server_does_not_hold_up_the_end() {
    let rig = Rig::new("us");
    let (input, _events) = rig.input();
    let server = rustix::process::Pid::from_raw(rig.server.0.id() as i32).unwrap();
    rustix::process::kill_process(server, rustix::process::Signal::STOP).unwrap();
    for i in 0..50_000 {
        input.send(DesktopAction::Button { button: 1 + (i % 3) as u8, down: i % 2 == 0, at: None });
    }
    key(&input, false, 0x61, "KeyA");
    drop(input);
}

#[test]
fn the_pointer_is_where_it_was_put() {
    let rig = Rig::new("us");
    let (input, _events) = rig.input();
    for (x, y) in [(0, 0), (1279, 719), (1, 1), (640, 360), (333, 77)] {
        assert!(input.send(DesktopAction::Motion(Point { x, y })));
        wait_for("the pointer", || (rig.pointer() == (x as i16, y as i16)).then_some(()));
    }
    assert!(input.send(DesktopAction::Relative { dx: 17, dy: -7 }));
    assert!(input.send(DesktopAction::Relative { dx: 100, dy: 100 }));
    wait_for("the pointer", || (rig.pointer() == (450, 170)).then_some(()));
    let button = |down, x, y| DesktopAction::Button { button: 1, down, at: Some(Point { x, y }) };
    assert!(input.send(button(true, 20, 30)));
    wait_for("the press", || (rig.pointer() == (20, 30) && rig.buttons() == 0x100).then_some(()));
    assert!(input.send(button(false, 120, 130)));
    wait_for("the release", || (rig.pointer() == (120, 130) && rig.buttons() == 0).then_some(()));
}

#[test]
fn the_wheel_adds_up() {
    let rig = Rig::new("us");
    let window = rig.conn.generate_id().unwrap();
    let aux = xproto::CreateWindowAux::new().event_mask(xproto::EventMask::BUTTON_PRESS);
    let class = xproto::WindowClass::INPUT_OUTPUT;
    rig.conn.create_window(0, window, rig.root, 0, 0, 200, 200, 0, class, 0, &aux).unwrap();
    rig.conn.map_window(window).unwrap();
    rig.conn.flush().unwrap();
    let (input, _events) = rig.input();
    let at = Some(Point { x: 100, y: 100 });
    for (dx, dy) in [(0, 60), (0, 50), (0, 20), (0, -240), (0, 40), (120, 0), (-130, 0), (0, 80)] {
        assert!(input.send(DesktopAction::Wheel { dx, dy, at }));
        // Separate actions, so that the queue does not add them up first.
        assert!(input.send(DesktopAction::Button { button: 8, down: false, at: None }));
    }
    assert!(input.send(DesktopAction::Button { button: 1, down: true, at }));
    let mut seen = Vec::new();
    while seen.last() != Some(&1) {
        seen.push(wait_for("a button", || match rig.conn.poll_for_event().unwrap()? {
            Event::ButtonPress(e) => Some(e.detail),
            _ => None,
        }));
    }
    assert_eq!(seen, [5, 4, 4, 7, 6, 5, 1]);
}

#[test]
fn locks_are_in_step() {
    let rig = Rig::new("us");
    let (input, events) = rig.input();
    let locks = |caps, num| DesktopEvent::Locks { caps, num };
    expect(&events, |e| *e == locks(false, false));
    for (caps, num, mods) in [(true, false, 2), (true, true, 0x12), (false, true, 0x10), (false, false, 0)] {
        assert!(input.send(DesktopAction::Locks { caps, num }));
        expect(&events, |e| *e == locks(caps, num));
        assert_eq!(rig.locked(), mods);
    }
    press(&input, 0xffe5, "CapsLock");
    expect(&events, |e| *e == locks(true, false));
}

#[test]
fn letters_are_right_whatever_caps_lock_does() {
    let rig = Rig::new("fr");
    let zenity = rig.zenity();
    let (input, _events) = rig.input();
    let line = "aAéÉßñÑжЖ中1/";
    let mut wanted = String::new();
    for caps in [true, false] {
        assert!(input.send(DesktopAction::Locks { caps, num: caps }));
        text(&input, line);
        type_as_keys(&input, line);
        wanted.push_str(&line.repeat(2));
    }
    assert_eq!(zenity.finish(&input), wanted);
}

#[test]
fn spare_keycodes_are_found_again_by_the_next_gateway() {
    let rig = Rig::new("us");
    let _xterm = rig.xterm();
    let mut wanted = String::new();
    for round in 0..4u32 {
        let (input, _events) = rig.input();
        let line: String = (0..60).map(|i| char::from_u32(0x5000 + round * 60 + i).unwrap()).collect();
        text(&input, &line);
        wanted.push_str(&line);
        rig.expect_file("out", &wanted);
    }
}

#[test]
fn a_restarted_x_server_is_found_again() {
    let mut rig = Rig::new("us");
    let (input, events) = rig.input();
    key(&input, true, 0x61, "KeyA");
    assert!(input.send(DesktopAction::Controlled(true)));
    wait_for("control", || (!rig.repeats()).then_some(()));
    rig.server.kill();
    expect(&events, |e| matches!(e, DesktopEvent::Down { .. }));
    let display = rig.display.clone();
    rig.server = start_server(&[&display]).0;
    expect(&events, |e| *e == DesktopEvent::Up);
    rig.conn = RustConnection::connect(Some(&display)).unwrap().0;
    wait_for("control again", || (!rig.repeats()).then_some(()));
    assert_eq!(rig.keys_down(), 0);
    let _xterm = rig.xterm();
    text(&input, BEYOND);
    rig.expect_file("out", BEYOND);
}

#[test]
fn a_missing_x_server_does_not_hold_up_the_end() {
    let (tell, events) = channel();
    let input = desktop::spawn(":9731".parse().unwrap(), None, move |e| drop(tell.send(e))).unwrap();
    expect(&events, |e| matches!(e, DesktopEvent::Down { .. }));
    assert!(input.send(DesktopAction::Text("lost".into())));
    drop(input);
    assert!(events.try_recv().is_err(), "told once");
}
