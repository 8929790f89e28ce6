//! A virtual X server for one test, and something that draws on it.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests fail like tests do.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use deskgate::display::{self, DisplayName, XConnection};
use deskgate::frame::Rect;
use x11rb::connection::Connection;
use x11rb::protocol::xproto::{ConnectionExt as _, CreateGCAux, Gcontext, Rectangle, Window};

/// Display numbers for tests, far from those that people use.
const FIRST_DISPLAY: u16 = 100;
const DISPLAYS: u16 = 30;
static NEXT: AtomicU16 = AtomicU16::new(0);

/// Runs until dropped.
pub struct Xvfb {
    pub number: u16,
    screen: String,
    extra: Vec<String>,
    child: Option<Child>,
}

impl Xvfb {
    /// Starts a server with a `screen` such as `1280x720x24`.
    pub fn start(screen: &str) -> Self {
        Self::start_with(screen, &[])
    }

    pub fn start_with(screen: &str, extra: &[&str]) -> Self {
        let mut server = Self::reserve(screen, extra);
        server.launch();
        server
    }

    /// Takes a free display number, but starts nothing yet.
    pub fn reserve(screen: &str, extra: &[&str]) -> Self {
        let number = (0..DISPLAYS)
            .map(|_| FIRST_DISPLAY + NEXT.fetch_add(1, Ordering::Relaxed) % DISPLAYS)
            .find(|number| {
                !Path::new(&format!("/tmp/.X11-unix/X{number}")).exists()
                    && !Path::new(&format!("/tmp/.X{number}-lock")).exists()
            })
            .expect("no free X display number");
        let extra = extra.iter().map(ToString::to_string).collect();
        Xvfb { number, screen: screen.to_owned(), extra, child: None }
    }

    /// Starts it, also again after [`Xvfb::kill`], and waits until its socket is there.
    pub fn launch(&mut self) {
        let child = Command::new("Xvfb")
            .arg(format!(":{}", self.number))
            .args(["-screen", "0", &self.screen, "-nolisten", "tcp", "-noreset"])
            .args(&self.extra)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Xvfb is installed");
        self.child = Some(child);
        let socket = format!("/tmp/.X11-unix/X{}", self.number);
        within(Duration::from_secs(20), "Xvfb to listen", || {
            std::os::unix::net::UnixStream::connect(&socket).is_ok().then_some(())
        });
    }

    /// As `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("Xvfb can be killed");
            child.wait().expect("Xvfb can be waited for");
        }
    }

    /// Process id of the running server.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("Xvfb runs").id()
    }

    pub fn name(&self) -> DisplayName {
        format!(":{}", self.number).parse().unwrap()
    }

    pub fn painter(&self) -> Painter {
        Painter::new(&self.name())
    }
}

impl Drop for Xvfb {
    fn drop(&mut self) {
        self.kill();
        // A killed server leaves these behind.
        let _ = std::fs::remove_file(format!("/tmp/.X11-unix/X{}", self.number));
        let _ = std::fs::remove_file(format!("/tmp/.X{}-lock", self.number));
    }
}

/// Draws on the root window.
pub struct Painter {
    pub connection: XConnection,
    pub root: Window,
    gc: Gcontext,
}

impl Painter {
    fn new(display: &DisplayName) -> Self {
        let connection = display::connect(display, None).unwrap().connection;
        let root = connection.setup().roots[0].root;
        let gc = connection.generate_id().unwrap();
        connection.create_gc(gc, root, &CreateGCAux::new()).unwrap().check().unwrap();
        Painter { connection, root, gc }
    }

    /// Fills a rectangle with a colour (0xRRGGBB) and waits until it is done.
    pub fn fill(&self, rect: Rect, rgb: u32) {
        use x11rb::protocol::xproto::ChangeGCAux;
        self.connection.change_gc(self.gc, &ChangeGCAux::new().foreground(rgb)).unwrap();
        let rect = Rectangle { x: rect.x as i16, y: rect.y as i16, width: rect.width, height: rect.height };
        self.connection.poly_fill_rectangle(self.root, self.gc, &[rect]).unwrap().check().unwrap();
    }
}

/// Asks until there is an answer; panics with `what` at the deadline.
pub fn within<T>(deadline: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "waited {deadline:?} for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
