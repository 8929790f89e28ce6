//! The viewer: a real Chromium that covers X server B.

use std::path::Path;

use x11rb::connection::Connection;
use x11rb::protocol::Event;
use x11rb::protocol::xproto::{
    ChangeWindowAttributesAux, ConfigureNotifyEvent, ConfigureWindowAux, ConnectionExt, EventMask,
    InputFocus, Window,
};
use x11rb::rust_connection::RustConnection;
use x11rb::{CURRENT_TIME, NONE};

use super::process::Process;
use super::way::Way;
use super::xvfb::Xvfb;
use super::{HEIGHT, Result, WIDTH};

const FLAGS: &[&str] = &[
    "--no-sandbox",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-breakpad",
    "--disable-default-apps",
    "--disable-features=Translate,MediaRouter",
    "--no-first-run",
    "--no-default-browser-check",
    "--noerrdialogs",
    "--password-store=basic",
    "--autoplay-policy=no-user-gesture-required",
    "--force-device-scale-factor=1",
    "--kiosk",
    "--window-position=0,0",
];

/// Starts Chromium with a fresh profile on the page that `way` leads to.
pub fn start(server: &Xvfb, way: &Way) -> Result<Process> {
    let program = std::env::var("CHROMIUM").unwrap_or_else(|_| "chromium".into());
    way.start(Path::new(&program), |command, home| {
        command.args(FLAGS).arg(format!("--window-size={WIDTH},{HEIGHT}"));
        command.arg(format!("--user-data-dir={}", home.join("profile").display()));
        command.env("DISPLAY", server.display()).arg(&way.url);
    })
}

/// Makes every window that asks to be shown cover the display exactly.
///
/// Without a window manager Chromium leaves out one row and one column, and with them 1:1. The
/// answer comes once the role is taken; a thread plays it until the server ends.
pub fn cover_windows(server: &Xvfb) -> Result<()> {
    let (conn, root) = server.connect()?;
    let aux = ChangeWindowAttributesAux::new().event_mask(EventMask::SUBSTRUCTURE_REDIRECT);
    conn.change_window_attributes(root, &aux)?.check()?;
    std::thread::spawn(move || while serve_window(&conn).is_ok() {});
    Ok(())
}

fn serve_window(conn: &RustConnection) -> Result<()> {
    match conn.wait_for_event()? {
        Event::MapRequest(event) => {
            cover(conn, event.window)?;
            conn.map_window(event.window)?;
            conn.set_input_focus(InputFocus::POINTER_ROOT, event.window, CURRENT_TIME)?;
        }
        Event::ConfigureRequest(event) => cover(conn, event.window)?,
        _ => {}
    }
    conn.flush()?;
    Ok(())
}

fn cover(conn: &RustConnection, window: Window) -> Result<()> {
    let (width, height) = (WIDTH, HEIGHT);
    let aux = ConfigureWindowAux::new().x(0).y(0).width(u32::from(width)).height(u32::from(height));
    conn.configure_window(window, &aux.border_width(0))?;
    // A request that changes nothing is answered by a made-up event, as ICCCM 4.1.5 asks.
    let event = ConfigureNotifyEvent {
        response_type: x11rb::protocol::xproto::CONFIGURE_NOTIFY_EVENT,
        sequence: 0,
        event: window,
        window,
        above_sibling: NONE,
        x: 0,
        y: 0,
        width,
        height,
        border_width: 0,
        override_redirect: false,
    };
    conn.send_event(false, window, EventMask::STRUCTURE_NOTIFY, event)?;
    Ok(())
}
