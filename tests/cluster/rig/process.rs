//! Processes that never outlive this one, whatever ends it.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel, sync_channel};

use rustix::process::{Pid, Signal, kill_process};

/// A process and the file it logs to. Killed and reaped when dropped, or by the kernel when this process ends.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// A command whose process dies with this one. What configures Deskgate or a Kubernetes client is taken away.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    // Executes the program in its own place: the process id stays.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program.as_ref());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["DESKGATE_", "SELKIES_", "ETCD_", "KUBE", "RUST_LOG"].iter().any(|start| text.starts_with(start))
        {
            command.env_remove(&name);
        }
    }
    command.stdin(Stdio::null());
    command
}

impl Process {
    /// Starts a [`command`], both of its outputs appended to a log.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        let child = spawn_from_lasting_thread(command)
            .unwrap_or_else(|e| panic!("{name} does not start: {e} (setpriv is of util-linux)"));
        Self { name: name.to_owned(), child, log: log.to_owned() }
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// How it ended, if it has.
    pub fn exit(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Fails if it has ended, with the end of its log.
    pub fn assert_alive(&mut self) {
        if let Some(status) = self.exit() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(20)..].join("\n");
            panic!("{} ended ({status}, signal {:?}):\n{tail}", self.name, status.signal());
        }
    }

    /// SIGTERM, SIGSTOP, SIGCONT…
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only for one that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The kernel's death signal comes when the *thread* that forked ends; threads of tests end early.
fn spawn_from_lasting_thread(command: Command) -> std::io::Result<Child> {
    type Order = (Command, std::sync::mpsc::SyncSender<std::io::Result<Child>>);
    static SPAWNER: OnceLock<Sender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, received) = channel::<Order>();
        std::thread::Builder::new()
            .name("spawner".into())
            .spawn(move || {
                for (mut command, answer) in received {
                    let _ = answer.send(command.spawn());
                }
            })
            .unwrap();
        orders
    });
    let (answer, child) = sync_channel(1);
    spawner.send((command, answer)).unwrap();
    child.recv().unwrap()
}

/// A folder that is removed when dropped, and also when this process ends: statics are never dropped.
pub struct Folder {
    path: PathBuf,
    sweeper: Child,
}

impl Folder {
    /// A new one, for temporary files.
    pub fn new() -> Self {
        let path = tempfile::Builder::new().prefix("deskgate-rig-").tempdir().unwrap().keep();
        // Its standard input closes when this process ends. The dying servers may still write for a moment.
        let script = r#"read -r _; for _ in 1 2 3 4 5 6 7 8 9; do rm -rf "$1" && exit; sleep 0.2; done"#;
        let sweeper = Command::new("setsid")
            .args(["sh", "-c", script, "sweeper"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { path, sweeper }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.sweeper.stdin.take());
        // Fails only if it has been waited for.
        let _ = self.sweeper.wait();
    }
}
