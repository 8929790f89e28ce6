//! Our own binary beside the cluster: an operator, a gateway behind a pod, a command.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, ExitStatus};

use rustix::process::Signal;

use super::Cluster;
use super::clients::Said;
use super::process::{Folder, Process, command};
use super::wait::{DEADLINE, wait_until};

/// The binary that this build of the tests belongs to.
pub const BINARY: &str = env!("CARGO_BIN_EXE_deskgate");

/// A `deskgate` that runs until it is dropped.
pub struct Deskgate {
    process: Process,
    _state: Folder,
}

impl Deskgate {
    /// Starts it with arguments and environment variables.
    pub fn start(args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::start_in(Folder::new(), args, env)
    }

    fn start_in(state: Folder, args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut deskgate = command(BINARY);
        deskgate.args(args).env("DESKGATE_STATE_DIR", state.path()).envs(env.iter().copied());
        let process = Process::spawn("deskgate", deskgate, &state.path().join("log"));
        Self { process, _state: state }
    }

    /// Starts a replica of the operator for one namespace, which is also its own.
    pub fn operator(namespace: &str, kubeconfig: &Path, env: &[(&str, &str)]) -> Self {
        let args = [
            "operator",
            "--domain=vdi.example.com",
            &format!("--namespace={namespace}"),
            &format!("--own-namespace={namespace}"),
            "--gateway-image=registry.example/deskgate:1",
            "--listen-health=127.0.0.1:0",
            "--listen-entry=127.0.0.1:0",
            "--listen-webhook=127.0.0.1:0",
            "--lease-seconds=3",
        ];
        let kubeconfig = kubeconfig.to_str().unwrap();
        let env: Vec<_> = env.iter().copied().chain([("KUBECONFIG", kubeconfig)]).collect();
        Self::start(&args, &env)
    }

    /// Starts `deskgate serve` with the test picture on a pod's address and port, and waits until it listens.
    /// Unless arguments or environment say how viewers are let in, it has a token secret of its own.
    /// To be called where one may block, as [`super::kubelet::Kubelet::on_pod_ready`] does it.
    pub fn serve(address: Ipv4Addr, port: u16, args: &[&str], env: &[(&str, &str)]) -> Self {
        let has_gateway = cfg!(feature = "gateway");
        assert!(has_gateway, "this build has no gateway: build the tests with all features");
        assert_local(address);
        let state = Folder::new();
        let listen = format!("{address}:{port}");
        let mut all =
            vec!["serve", "--listen", &listen, "--source", "test", "--fps", "5", "--bitrate", "400"];
        all.extend(args);
        let secret = state.path().join("secret");
        std::fs::write(&secret, "A".repeat(44)).unwrap();
        let secret = secret.display().to_string();
        let given = |text: &str| text.to_uppercase().replace('-', "_").contains("TOKEN_SECRET");
        if !args.iter().any(|arg| given(arg)) && !env.iter().any(|(name, _)| given(name)) {
            all.extend(["--token-secret-file", &secret]);
        }
        let mut gateway = Self::start_in(state, &all, env);
        let end = std::time::Instant::now() + DEADLINE;
        while !gateway.log().contains("listening on http") {
            gateway.process.assert_alive();
            assert!(std::time::Instant::now() < end, "the gateway does not listen:\n{}", gateway.log());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        gateway
    }

    /// Waits until its log has these words.
    pub async fn wait_for_log(&mut self, words: &str) {
        wait_until(DEADLINE, &format!("\"{words}\" in the log"), || {
            self.process.assert_alive();
            let log = self.log();
            std::future::ready(if log.contains(words) { Ok(()) } else { Err(log) })
        })
        .await;
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// How it ended, if it has.
    pub fn exit(&mut self) -> Option<ExitStatus> {
        self.process.exit()
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// SIGTERM, SIGSTOP, SIGCONT, SIGKILL.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }
}

impl Cluster {
    /// Runs a `deskgate` command with a kubeconfig file, to its end.
    pub async fn deskgate(&self, kubeconfig: &Path, args: &[&str]) -> Said {
        let mut deskgate = self.deskgate_command(kubeconfig);
        deskgate.args(args);
        tokio::task::spawn_blocking(move || deskgate.output()).await.unwrap().unwrap().into()
    }

    /// The same, not started: for standard input, another name, another folder.
    pub fn deskgate_command(&self, kubeconfig: &Path) -> Command {
        let mut deskgate = command(BINARY);
        deskgate.env("KUBECONFIG", kubeconfig);
        deskgate
    }
}

/// Fails with what to do if this machine does not have the addresses of pods.
pub fn assert_local(address: Ipv4Addr) {
    if let Err(error) = TcpListener::bind((address, 0)) {
        panic!("{address}: {error}; run the tests by tools/netns");
    }
}
