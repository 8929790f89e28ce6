//! The demo's own desktop, with its real programs.

use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use deskgate::desktop::{self, DesktopEvent};
use x11rb::connection::Connection as _;
use x11rb::protocol::xproto::{self, ConnectionExt as _};

use crate::desktop::rig::{DEADLINE, expect, read, wait_for};
use deskgate::demo::{DemoConfig, DemoDesktop, DemoError};
use deskgate::display::{self, ConnectFailure, Connected};
use deskgate::frame::Size;
use std::os::unix::fs::PermissionsExt as _;

fn connect(display: &str, xauthority: Option<&Path>) -> Result<Connected, ConnectFailure> {
    display::connect(&display.parse().unwrap(), xauthority)
}

fn windows(desktop: &DemoDesktop) -> usize {
    let Connected { connection: conn, screen, .. } =
        connect(desktop.display(), Some(desktop.xauthority())).unwrap();
    let root = conn.setup().roots[screen].root;
    let list = conn.intern_atom(false, b"_NET_CLIENT_LIST").unwrap().reply().unwrap().atom;
    let property = conn.get_property(false, root, list, xproto::AtomEnum::WINDOW, 0, 64).unwrap();
    property.reply().unwrap().value_len as usize
}

fn screen_size(desktop: &DemoDesktop) -> (u16, u16) {
    let Connected { connection: conn, screen, .. } =
        connect(desktop.display(), Some(desktop.xauthority())).unwrap();
    let root = conn.setup().roots[screen].root;
    let geometry = conn.get_geometry(root).unwrap().reply().unwrap();
    (geometry.width, geometry.height)
}

#[test]
fn a_desktop_comes_and_goes() {
    let desktop = DemoDesktop::start(DemoConfig::default()).unwrap();
    assert_eq!(screen_size(&desktop), (1280, 720));
    wait_for("three windows under a window manager", || (windows(&desktop) == 3).then_some(()));
    let file = desktop.xauthority().to_owned();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(connect(desktop.display(), Some(Path::new("/dev/null"))).is_err(), "needs the cookie");

    let (tell, events) = channel();
    let input =
        desktop::spawn(desktop.display().parse().unwrap(), Some(file.clone()), move |e| drop(tell.send(e)))
            .unwrap();
    expect(&events, |e| *e == DesktopEvent::Up);
    assert_eq!(desktop.wait_exit(Duration::ZERO), None);
    let display = desktop.display().to_owned();
    drop(desktop);
    expect(&events, |e| matches!(e, DesktopEvent::Down { .. }));
    drop(input);
    assert!(connect(&display, Some(&file)).is_err());
    assert!(!file.parent().unwrap().exists());
}

#[test]
fn a_dead_x_server_is_noticed() {
    let desktop = DemoDesktop::start(DemoConfig::default()).unwrap();
    let cookie = desktop.xauthority().to_str().unwrap();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let is_server = |dir: &Path| read(&dir.join("cmdline")).contains(cookie);
    let server = processes.map(|p| p.path()).find(|p| is_server(p)).unwrap();
    let pid = server.file_name().unwrap().to_str().unwrap().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert!(desktop.wait_exit(DEADLINE).is_some());
}

#[test]
fn an_impossible_size_is_refused() {
    let size = |width, height| Size { width, height };
    for (asked, max) in [((0, 720), (800, 800)), ((801, 720), (800, 800))] {
        let config = DemoConfig { size: size(asked.0, asked.1), max_size: size(max.0, max.1) };
        assert!(matches!(DemoDesktop::start(config), Err(DemoError::Size(..))));
    }
}
