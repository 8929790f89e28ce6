//! `deskgate demo`'s own desktop: a virtual X server with a window manager, a terminal and a clock.
//!
//! Everything runs under one keeper thread: the kernel's "kill me when my parent dies" watches the *thread*
//! that started a child, so that thread must live as long as the desktop does.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, set_parent_process_death_signal};
use thiserror::Error;

use crate::capture;
use crate::display::DisplayName;
use crate::frame::{STANDARD_DPI, ScreenMode, Size};

/// How long Xvfb may take to listen.
const START_DEADLINE: Duration = Duration::from_secs(15);
/// How often the keeper looks whether Xvfb still lives.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);
/// How long the programs have to end by themselves.
const STOP_GRACE: Duration = Duration::from_millis(300);
const BACKGROUND: &str = "#20304a";

/// What desktop to make.
#[derive(Clone, Debug)]
pub struct DemoConfig {
    /// Size at the start, in pixels.
    pub size: Size,
    /// The largest size that it can be given later: Xvfb only shrinks below the size it was started with.
    pub max_size: Size,
}

impl Default for DemoConfig {
    fn default() -> Self {
        Self { size: Size { width: 1280, height: 720 }, max_size: Size { width: 3840, height: 2160 } }
    }
}

/// Why there is no demo desktop.
#[derive(Debug, Error)]
pub enum DemoError {
    /// Programs are missing; says which Debian packages bring them.
    #[error("missing: {}; try: apt-get install {}", programs.join(", "), packages.join(" "))]
    Missing {
        /// The programs.
        programs: Vec<&'static str>,
        /// Their Debian packages.
        packages: Vec<&'static str>,
    },
    /// The size asked for does not fit into the largest one, or one of them is nothing.
    #[error("the screen cannot be {0}x{1}: the largest is {2}x{3}")]
    Size(u16, u16, u16, u16),
    /// A program did not start.
    #[error("cannot start {program}: {source}")]
    Start {
        /// Which.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Files for the desktop cannot be written.
    #[error("cannot prepare the desktop's files: {0}")]
    Files(#[from] std::io::Error),
    /// Xvfb ended, or did not listen in time.
    #[error("Xvfb did not start: {0}")]
    Server(String),
}

/// A running desktop; ends with this value.
#[derive(Debug)]
pub struct DemoDesktop {
    display: String,
    xauthority: PathBuf,
    size: Size,
    ended: Arc<Ended>,
    stop: Option<Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

/// Set once Xvfb is gone, with the reason.
#[derive(Debug, Default)]
struct Ended {
    reason: Mutex<Option<String>>,
    changed: Condvar,
}

impl Ended {
    fn set(&self, reason: String) {
        *self.reason.lock().unwrap_or_else(|p| p.into_inner()) = Some(reason);
        self.changed.notify_all();
    }
}

impl DemoDesktop {
    /// Starts the desktop; returns when its X server listens and its programs have been started.
    ///
    /// # Errors
    /// [`DemoError`]; nothing is left running.
    pub fn start(config: DemoConfig) -> Result<Self, DemoError> {
        let (size, max) = (config.size, config.max_size);
        if size.width == 0 || size.height == 0 || size.width > max.width || size.height > max.height {
            return Err(DemoError::Size(size.width, size.height, max.width, max.height));
        }
        check_programs()?;
        let (tell, told) = channel();
        let (stop, stopped) = channel();
        let ended = Arc::new(Ended::default());
        let keeper_ended = Arc::clone(&ended);
        let keeper = std::thread::Builder::new()
            .name("demo".into())
            .spawn(move || keep(&config, &tell, &stopped, &keeper_ended))?;
        let gone = |_| Err(DemoError::Server("the keeper thread ended".into()));
        let (display, xauthority) = told.recv().unwrap_or_else(gone)?;
        Ok(Self { display, xauthority, size, ended, stop: Some(stop), keeper: Some(keeper) })
    }

    /// The display (`:7`).
    pub fn display(&self) -> &str {
        &self.display
    }

    /// The file with the display's cookie; readable by this user only.
    pub fn xauthority(&self) -> &Path {
        &self.xauthority
    }

    /// Size of the screen at the start.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Waits until Xvfb has ended, at most for `timeout`; returns why, or none if it still runs.
    ///
    /// The desktop is of no use afterwards: drop it and start another.
    pub fn wait_exit(&self, timeout: Duration) -> Option<String> {
        let reason = self.ended.reason.lock().unwrap_or_else(|p| p.into_inner());
        let waited = self.ended.changed.wait_timeout_while(reason, timeout, |r| r.is_none());
        waited.unwrap_or_else(|p| p.into_inner()).0.clone()
    }
}

impl Drop for DemoDesktop {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

type Started = Result<(String, PathBuf), DemoError>;

/// The keeper thread: starts everything, watches Xvfb, ends everything.
fn keep(config: &DemoConfig, tell: &Sender<Started>, stopped: &Receiver<()>, ended: &Ended) {
    let mut running = match Running::start(config) {
        Ok(running) => running,
        Err(error) => {
            let _ = tell.send(Err(error));
            return;
        }
    };
    let _ = tell.send(Ok((running.display.clone(), running.files.xauthority())));
    while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(WATCH_INTERVAL) {
        // Of the programs, those that a person closes are not missed; they only must not stay zombies.
        running.programs.retain_mut(|p| matches!(p.0.try_wait(), Ok(None)));
        if let Ok(Some(status)) = running.server.0.try_wait() {
            ended.set(format!("Xvfb ended: {status}"));
            break;
        }
    }
    drop(running);
}

/// A directory that goes with the desktop.
struct Files(PathBuf);

impl Files {
    fn create() -> std::io::Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(std::io::Error::other)?;
        let name = format!("deskgate-demo-{:016x}", u64::from_ne_bytes(random));
        let path = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    fn xauthority(&self) -> PathBuf {
        self.0.join("Xauthority")
    }

    /// Writes the cookie, for any host and any display: the file is of one display only, and its number is
    /// known only after the server has read it.
    fn write_cookie(&self) -> std::io::Result<()> {
        let mut cookie = [0; 16];
        getrandom::fill(&mut cookie).map_err(std::io::Error::other)?;
        let mut entry = vec![0xff, 0xff];
        for field in [&b""[..], b"", b"MIT-MAGIC-COOKIE-1", &cookie] {
            entry.extend((field.len() as u16).to_be_bytes());
            entry.extend(field);
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.xauthority())?;
        file.write_all(&entry)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process with a group of its own.
struct Program(Child);

impl Program {
    /// Starts `command` in such a way that it is told to end when this thread ends.
    #[allow(unsafe_code)] // Only code between fork and exec can ask for the death signal.
    fn start(command: &mut Command) -> Result<Self, DemoError> {
        command.process_group(0);
        // SAFETY: the closure makes one system call (prctl) and allocates nothing, so it is sound in the
        // child of a process with threads.
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::TERM))?));
        }
        let program = command.get_program().to_string_lossy().into_owned();
        command.spawn().map(Self).map_err(|source| DemoError::Start { program, source })
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.0.wait();
    }
}

/// What the keeper keeps. Fields are dropped in this order: programs before their server.
struct Running {
    programs: Vec<Program>,
    server: Program,
    display: String,
    files: Files,
}

impl Running {
    fn start(config: &DemoConfig) -> Result<Self, DemoError> {
        let files = Files::create()?;
        files.write_cookie()?;
        let (server, display) = start_server(config.max_size, &files)?;
        let mut running = Self { programs: Vec::new(), server, display, files };
        shrink(&running.display, &running.files.xauthority(), config.size)?;
        for program in PROGRAMS {
            running.run(program)?;
        }
        Ok(running)
    }

    fn run(&mut self, program: &DemoProgram) -> Result<(), DemoError> {
        let mut command = Command::new(program.name);
        command.args(program.args).env("DISPLAY", &self.display).env("XAUTHORITY", self.files.xauthority());
        command.env_remove("WAYLAND_DISPLAY").env_remove("SESSION_MANAGER");
        if std::env::var("LANG").is_err() && std::env::var("LC_ALL").is_err() {
            // Without a UTF-8 locale xterm shows and takes nothing beyond ASCII.
            command.env("LANG", "C.UTF-8");
        }
        if let Ok(home) = std::env::var("HOME") {
            command.current_dir(home);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.programs.push(Program::start(&mut command)?);
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.programs.iter().for_each(|p| p.signal(Signal::TERM));
        // SIGTERM, not SIGKILL: Xvfb then removes its lock file and its socket.
        self.server.signal(Signal::TERM);
        let end = Instant::now() + STOP_GRACE;
        while matches!(self.server.0.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

struct DemoProgram {
    name: &'static str,
    package: &'static str,
    args: &'static [&'static str],
}

const XVFB: DemoProgram = DemoProgram { name: "Xvfb", package: "xvfb", args: &[] };

/// In this order: the background before the window manager, that before the windows; the window that is to
/// have the keyboard last.
const PROGRAMS: &[DemoProgram] = &[
    DemoProgram { name: "xsetroot", package: "x11-xserver-utils", args: &["-solid", BACKGROUND] },
    DemoProgram { name: "openbox", package: "openbox", args: &["--sm-disable"] },
    DemoProgram {
        name: "xclock",
        package: "x11-apps",
        args: &["-update", "1", "-geometry", "180x180-40+60", "-bg", "#d8dee9", "-title", "Clock"],
    },
    DemoProgram {
        name: "xeyes",
        package: "x11-apps",
        args: &["-geometry", "180x120-40+300", "-title", "Eyes"],
    },
    DemoProgram {
        name: "xterm",
        package: "xterm",
        args: &[
            "-u8",
            "-fa",
            "DejaVu Sans Mono",
            "-fs",
            "12",
            "-bg",
            "#101820",
            "-fg",
            "#d8dee9",
            "-b",
            "8",
            "-geometry",
            "92x30+60+60",
            "-title",
            "Terminal",
        ],
    },
];

fn check_programs() -> Result<(), DemoError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = |name: &str| std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
    let missing: Vec<_> = [&XVFB].into_iter().chain(PROGRAMS).filter(|p| !there(p.name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<_> = missing.iter().map(|p| p.package).collect();
    packages.sort_unstable();
    packages.dedup();
    Err(DemoError::Missing { programs: missing.iter().map(|p| p.name).collect(), packages })
}

/// Starts Xvfb on a free display, which it finds itself.
fn start_server(max: Size, files: &Files) -> Result<(Program, String), DemoError> {
    let log = files.0.join("Xvfb.log");
    let mut command = Command::new(XVFB.name);
    command.args(["-displayfd", "1", "-nolisten", "tcp", "-noreset", "-dpi", "96", "-auth"]);
    command.arg(files.xauthority()).args(["-screen", "0", &format!("{}x{}x24", max.width, max.height)]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log)?);
    let mut server = Program::start(&mut command)?;
    let out = server.0.stdout.take();
    let (tell, told) = channel();
    // Its own thread, because a pipe has no deadline; it ends with the server at the latest.
    std::thread::Builder::new().name("demo-displayfd".into()).spawn(move || {
        let mut line = Vec::new();
        if let Some(out) = out {
            let _ = BufReader::new(out.take(16)).read_until(b'\n', &mut line);
        }
        let _ = tell.send(String::from_utf8(line).ok().and_then(|l| l.trim().parse::<u16>().ok()));
    })?;
    match told.recv_timeout(START_DEADLINE) {
        Ok(Some(number)) => Ok((server, format!(":{number}"))),
        Ok(None) => Err(DemoError::Server(last_lines(&log))),
        Err(_) => Err(DemoError::Server(format!("it was silent for {START_DEADLINE:?}"))),
    }
}

fn last_lines(log: &Path) -> String {
    let text = std::fs::read(log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join("; ")
}

/// Gives the screen another size, by a mode of its own on the only output that Xvfb has.
fn shrink(display: &str, xauthority: &Path, size: Size) -> Result<(), DemoError> {
    let refused = |error: &dyn std::fmt::Display| DemoError::Server(format!("it refused {size:?}: {error}"));
    let name = display.parse::<DisplayName>().map_err(|e| refused(&e))?;
    let wanted = ScreenMode { size, dpi: STANDARD_DPI };
    capture::set_screen(&name, Some(xauthority), wanted).map_err(|e| refused(&e))
}
