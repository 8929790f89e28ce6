//! The two X servers.

use std::path::Path;
use std::time::Duration;

use x11rb::connection::Connection;
use x11rb::protocol::xproto::{ConnectionExt, Window};
use x11rb::rust_connection::RustConnection;

use super::process::Process;
use super::{HEIGHT, Result, WIDTH};

/// A virtual X server of the rig's size.
pub struct Xvfb {
    process: Process,
    number: u32,
}

impl Xvfb {
    /// Starts a server on the first free display number from `first` on.
    pub fn start(first: u32) -> Result<Self> {
        let number = (first..first + 30).find(|n| is_free(*n)).ok_or("no free X display number")?;
        let display = format!(":{number}");
        let screen = format!("{WIDTH}x{HEIGHT}x24");
        let mut process = Process::start(Path::new("Xvfb"), |command, _| {
            command.args([&display, "-screen", "0", &screen, "-nolisten", "tcp", "-noreset"]);
        })?;
        process.wait_until("X server", Duration::from_secs(10), || {
            RustConnection::connect(Some(&display)).is_ok()
        })?;
        Ok(Self { process, number })
    }

    /// The display's name, such as `:170`.
    pub fn display(&self) -> String {
        format!(":{}", self.number)
    }

    /// Process id of the server.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// A new connection and its root window.
    pub fn connect(&self) -> Result<(RustConnection, Window)> {
        let (conn, screen) = RustConnection::connect(Some(&self.display()))?;
        let root = conn.setup().roots.get(screen).ok_or("display without a screen")?.root;
        Ok((conn, root))
    }

    /// Moves the pointer into the last pixel, where neither a cursor nor a hover effect shows.
    pub fn park_pointer(&self) -> Result<()> {
        let (conn, root) = self.connect()?;
        conn.warp_pointer(x11rb::NONE, root, 0, 0, 0, 0, WIDTH as i16 - 1, HEIGHT as i16 - 1)?.check()?;
        Ok(())
    }
}

fn is_free(number: u32) -> bool {
    let files = [format!("/tmp/.X11-unix/X{number}"), format!("/tmp/.X{number}-lock")];
    !files.iter().any(|file| Path::new(file).exists())
}
