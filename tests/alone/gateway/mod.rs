//! The real `deskgate` process on a port of its own, and what can be seen of it from outside.

pub mod http;
pub mod secure;
pub mod viewer;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::xvfb::within;

/// For everything that must happen. Generous: machines of tests are busy.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// Frame limit and bitrate that a debug build reaches beside other tests.
pub const LIGHT: [&str; 6] = ["--source", "test", "--fps", "12", "--bitrate", "600"];

/// A `deskgate` command that nothing of this process's environment configures.
pub fn deskgate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_deskgate"));
    clean(&mut command);
    command
}

/// Takes out of a command's environment what configures a gateway.
pub fn clean(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("DESKGATE_") || text.starts_with("SELKIES_") || text == "RUST_LOG" {
            command.env_remove(&name);
        }
    }
    command.env_remove("DISPLAY").env_remove("XAUTHORITY");
}

/// Runs `deskgate` with arguments that it must refuse: its exit and what it said.
pub fn refused(args: &[&str]) -> (ExitStatus, String) {
    let mut command = deskgate();
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("deskgate runs");
    let end = Instant::now() + DEADLINE;
    while child.try_wait().expect("it can be waited for").is_none() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
    // One that was not refused serves until it is killed, which is no success either.
    let served = child.kill().is_ok() && Instant::now() >= end;
    let output = child.wait_with_output().expect("it can be waited for");
    assert!(!served, "not refused: {args:?}");
    (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// What a process holds.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Resident memory in KiB.
    pub rss_kib: u64,
    /// Open file descriptors.
    pub fds: usize,
    /// Threads.
    pub threads: usize,
}

/// A gateway. Killed when dropped; a panic anywhere in its log fails the test.
pub struct Gateway {
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    _state: tempfile::TempDir,
}

impl Gateway {
    /// Starts `deskgate serve` on a free loopback port with these arguments.
    pub fn start(args: &[&str]) -> Self {
        let mut command = deskgate();
        command.arg("serve").args(args);
        Self::spawn(command)
    }

    /// Starts a command that becomes a gateway, and waits until it listens.
    pub fn spawn(mut command: Command) -> Self {
        let state = tempfile::tempdir().expect("a folder");
        if !command.get_args().any(|a| a == "--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let mut child = command
            .env("DESKGATE_STATE_DIR", state.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the gateway starts");
        let log = Arc::new(Mutex::new(String::new()));
        let (lines, stderr) = (log.clone(), child.stderr.take().expect("piped"));
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = lines.lock().unwrap_or_else(PoisonError::into_inner);
                log.push_str(&line);
                log.push('\n');
            }
        });
        let mut gateway =
            Self { address: ([127, 0, 0, 1], 0).into(), child, log, reader: Some(reader), _state: state };
        gateway.address = within(DEADLINE, "the gateway to listen", || {
            assert!(gateway.exit().is_none(), "the gateway ended:\n{}", gateway.log());
            let log = gateway.log();
            let (_, rest) = log.split_once("listening on http://")?;
            rest.split_once('/')?.0.parse().ok()
        });
        gateway
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn exit(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the gateway can be waited for")
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("SIGTERM");
    }

    /// `/api/status`.
    pub fn status(&self) -> Value {
        let response = http::get(self.address, "/api/status").expect("/api/status answers");
        assert_eq!(response.status, 200, "{response:?}");
        serde_json::from_slice(&response.body).expect("JSON")
    }

    /// One figure of `/metrics`, by its name without the prefix.
    pub fn metric(&self, name: &str) -> f64 {
        let response = http::get(self.address, "/metrics").expect("/metrics answers");
        let text = String::from_utf8(response.body).expect("text");
        let line =
            text.lines().find_map(|l| l.strip_prefix("deskgate_")?.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in:\n{text}")).trim().parse().expect("a number")
    }

    /// What it holds at the moment.
    pub fn figures(&self) -> Figures {
        let proc = PathBuf::from(format!("/proc/{}", self.pid()));
        let count = |name: &str| std::fs::read_dir(proc.join(name)).map_or(0, Iterator::count);
        let status = std::fs::read_to_string(proc.join("status")).expect("the gateway lives");
        let rss = status.lines().find_map(|l| l.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        Figures {
            rss_kib: rss.and_then(|r| r.trim().parse().ok()).expect("VmRSS"),
            fds: count("fd"),
            threads: count("task"),
        }
    }

    /// Waits until descriptors and threads are no more than they were.
    pub fn settles_to(&self, before: Figures) -> Figures {
        within(DEADLINE, &format!("descriptors and threads to return to {before:?}"), || {
            let now = self.figures();
            (now.fds <= before.fds && now.threads <= before.threads).then_some(now)
        })
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        let log = self.log();
        let panicked = log.contains("panicked at") || log.contains("peer-panic");
        if std::thread::panicking() {
            eprintln!("--- log of the gateway (its end)\n{}", &log[log.len().saturating_sub(4_000)..]);
        } else {
            assert!(!panicked, "the gateway panicked:\n{log}");
        }
    }
}
