//! A virtual X server with programs on it, and how to type into them.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use deskgate::desktop::{self, DesktopEvent, DesktopHandle};
use deskgate::session::action::DesktopAction;
use x11rb::connection::Connection as _;
use x11rb::protocol::xkb::ConnectionExt as _;
use x11rb::protocol::xproto::{self, ConnectionExt as _};
use x11rb::rust_connection::RustConnection;

pub const DEADLINE: Duration = Duration::from_secs(30);
/// Polls until `probe` gives something; fails the test after [`DEADLINE`].
pub fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "timed out: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A program that ends with its group when the test does.
pub struct Program(pub Child);

impl Program {
    pub fn start(command: &mut Command) -> Self {
        let command = command.process_group(0).stderr(Stdio::null());
        Self(command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}")))
    }

    pub fn kill(&mut self) {
        if let Some(group) = rustix::process::Pid::from_raw(self.0.id() as i32) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

pub struct Rig {
    pub server: Program,
    pub display: String,
    pub dir: tempfile::TempDir,
    pub conn: RustConnection,
    pub root: xproto::Window,
}

pub fn start_server(args: &[&str]) -> (Program, String) {
    let mut command = Command::new("Xvfb");
    command.args(args).args(["-displayfd", "1", "-screen", "0", "1280x720x24", "-nolisten", "tcp", "-ac"]);
    let mut server = Program::start(command.stdout(Stdio::piped()));
    let mut number = String::new();
    let mut out = server.0.stdout.take().unwrap();
    let mut byte = [0];
    while out.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        number.push(byte[0] as char);
    }
    (server, format!(":{number}"))
}

impl Rig {
    pub fn new(layout: &str) -> Self {
        let (server, display) = start_server(&[]);
        let (conn, screen) = RustConnection::connect(Some(&display)).unwrap();
        conn.xkb_use_extension(1, 0).unwrap().reply().unwrap();
        let root = conn.setup().roots[screen].root;
        let rig = Self { server, display, dir: tempfile::tempdir().unwrap(), conn, root };
        rig.layout(layout);
        rig
    }

    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("DISPLAY", &self.display).env("LC_ALL", "C.UTF-8").env("NO_AT_BRIDGE", "1");
        command.env_remove("XAUTHORITY").stdin(Stdio::null());
        command
    }

    pub fn layout(&self, layout: &str) {
        assert!(self.command("setxkbmap").args(layout.split(' ')).status().unwrap().success());
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Input into this display, once it reaches it.
    pub fn input(&self) -> (DesktopHandle, Receiver<DesktopEvent>) {
        let (tell, events) = channel();
        let handle =
            desktop::spawn(self.display.parse().unwrap(), None, move |e| drop(tell.send(e))).unwrap();
        expect(&events, |e| *e == DesktopEvent::Up);
        (handle, events)
    }

    /// Gives the keyboard to the one window that there is, once it is there.
    pub fn focus(&self) {
        let window = wait_for("a window", || {
            let children = self.conn.query_tree(self.root).ok()?.reply().ok()?.children;
            children.into_iter().find(|w| {
                let attributes = self.conn.get_window_attributes(*w).unwrap().reply();
                attributes.is_ok_and(|a| a.map_state == xproto::MapState::VIEWABLE && !a.override_redirect)
            })
        });
        self.conn.set_input_focus(xproto::InputFocus::PARENT, window, x11rb::CURRENT_TIME).unwrap();
        self.conn.flush().unwrap();
        wait_for("focus", || (self.conn.get_input_focus().ok()?.reply().ok()?.focus == window).then_some(()));
    }

    /// An xterm that writes what is typed into the file `out`.
    pub fn xterm(&self) -> Program {
        let script = "stty raw -echo; : > ready; exec cat > out";
        self.xterm_running(script)
    }

    pub fn xterm_running(&self, script: &str) -> Program {
        let mut command = self.command("xterm");
        let command =
            command.args(["-u8", "-fn", "fixed", "-e", "sh", "-c", script]).current_dir(self.dir.path());
        let program = Program::start(command);
        self.focus();
        wait_for("the program in xterm", || self.file("ready").exists().then_some(()));
        program
    }

    pub fn expect_file(&self, name: &str, wanted: &str) {
        let path = self.file(name);
        let end = Instant::now() + DEADLINE;
        while read(&path).chars().count() < wanted.chars().count() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(read(&path), wanted);
    }

    /// A GTK entry that prints its text when Return is typed.
    pub fn zenity(&self) -> Zenity {
        let mut command = self.command("zenity");
        let program = Program::start(command.args(["--entry", "--text", "t"]).stdout(Stdio::piped()));
        self.focus();
        Zenity(program)
    }

    pub fn pointer(&self) -> (i16, i16) {
        let at = self.conn.query_pointer(self.root).unwrap().reply().unwrap();
        (at.root_x, at.root_y)
    }

    pub fn buttons(&self) -> u16 {
        u16::from(self.conn.query_pointer(self.root).unwrap().reply().unwrap().mask) & 0x1f00
    }

    pub fn keys_down(&self) -> u32 {
        let keys = self.conn.query_keymap().unwrap().reply().unwrap().keys;
        keys.iter().map(|k| k.count_ones()).sum()
    }

    pub fn repeats(&self) -> bool {
        let control = self.conn.get_keyboard_control().unwrap().reply().unwrap();
        control.global_auto_repeat == xproto::AutoRepeatMode::ON
    }

    pub fn locked(&self) -> u16 {
        u16::from(self.conn.xkb_get_state(0x100).unwrap().reply().unwrap().locked_mods)
    }
}

pub struct Zenity(Program);

impl Zenity {
    /// Types Return, and reads what the entry held.
    pub fn finish(mut self, input: &DesktopHandle) -> String {
        press(input, 0xff0d, "Enter");
        let mut out = self.0.0.stdout.take().unwrap();
        let (tell, text) = channel();
        std::thread::spawn(move || {
            let mut text = String::new();
            let _ = out.read_to_string(&mut text);
            let _ = tell.send(text);
        });
        text.recv_timeout(DEADLINE).unwrap().trim_end_matches('\n').to_owned()
    }
}

pub fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

pub fn expect(events: &Receiver<DesktopEvent>, wanted: impl Fn(&DesktopEvent) -> bool) -> DesktopEvent {
    let end = Instant::now() + DEADLINE;
    loop {
        let event = events.recv_timeout(end.saturating_duration_since(Instant::now())).expect("an event");
        if wanted(&event) {
            return event;
        }
    }
}

pub fn key(input: &DesktopHandle, down: bool, keysym: u32, code: &str) {
    assert!(input.send(DesktopAction::Key { down, keysym, code: code.into() }));
}

pub fn press(input: &DesktopHandle, keysym: u32, code: &str) {
    key(input, true, keysym, code);
    key(input, false, keysym, code);
}

pub fn text(input: &DesktopHandle, text: &str) {
    assert!(input.send(DesktopAction::Text(text.into())));
}

/// What a browser with a US keyboard and Shift held sends for capitals and symbols: Shift stays down.
pub fn type_with_shift_held(input: &DesktopHandle, chars: &str) {
    key(input, true, 0xffe1, "ShiftLeft");
    chars.chars().for_each(|c| press(input, xkeysym::Keysym::from_char(c).raw(), ""));
    key(input, false, 0xffe1, "ShiftLeft");
}

pub fn type_as_keys(input: &DesktopHandle, chars: &str) {
    chars.chars().for_each(|c| press(input, xkeysym::Keysym::from_char(c).raw(), ""));
}
