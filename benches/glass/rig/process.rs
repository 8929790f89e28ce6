//! Child processes that die with the bench, and a private folder for each.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use super::Result;

/// A child in its own process group with its own home folder; dropping it ends the whole group.
pub struct Process {
    name: String,
    child: Child,
    home: TempDir,
}

impl Process {
    /// Starts `program` with what `prepare` adds, output to a log file in a fresh home folder.
    ///
    /// It must be called on the main thread: the kernel ends the child when the thread that
    /// started it ends, which also covers an interrupted bench.
    pub fn start(program: &Path, prepare: impl FnOnce(&mut Command, &Path)) -> Result<Self> {
        let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
        let home = tempfile::Builder::new().prefix("glass-").tempdir()?;
        let log = File::create(home.path().join("log"))?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program);
        for (key, _) in std::env::vars_os() {
            let name = key.to_string_lossy();
            if name.starts_with("SELKIES_") || name.starts_with("DESKGATE_") {
                command.env_remove(&key);
            }
        }
        command.env("HOME", home.path()).env("XDG_RUNTIME_DIR", home.path()).env_remove("XAUTHORITY");
        prepare(&mut command, home.path());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let child = command.spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                format!("setpriv (package util-linux) is missing, it starts {name}").into()
            }
            _ => Box::<dyn std::error::Error + Send + Sync>::from(error),
        })?;
        Ok(Self { name, child, home })
    }

    /// Process id, which is also the id of its process group.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its home folder.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Everything it has printed so far.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Polls `ready` until it holds; an error if the process ends or `limit` passes before.
    pub fn wait_until(&mut self, what: &str, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !ready() {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!(
                    "{} ended ({status}) before {what}; it said:\n{}",
                    self.name,
                    self.tail()
                )
                .into());
            }
            if Instant::now() > deadline {
                return Err(
                    format!("{}: no {what} within {limit:?}; it said:\n{}", self.name, self.tail()).into()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// The last lines of the log.
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// The file that its output goes to.
    pub fn log_path(&self) -> PathBuf {
        self.home.path().join("log")
    }

    fn signal_group(&self, signal: Signal) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // The group may be gone already, which is what is wanted.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal_group(Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(3);
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.signal_group(Signal::KILL);
        let _ = self.child.wait();
    }
}
