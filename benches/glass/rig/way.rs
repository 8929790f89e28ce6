//! How the browser reaches a product: straight, or from a network of its own that a forwarder of TCP alone leads out of.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::Result;
use super::process::Process;

/// The forwarder of the browser tests.
const FORWARD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/lib/forward.mjs");
const START_LIMIT: Duration = Duration::from_secs(10);
/// An address for the laptop's interface, which leads nowhere: a browser wants one to be online.
const ADDRESS: &str = "192.168.1.20/24";

/// What a forwarder lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Every TCP connection, as `kubectl port-forward`.
    All,
    /// HTTP and WebSockets, as a reverse proxy.
    Http,
}

/// The page's address, and the network that it is opened in.
pub struct Way {
    /// What the browser is to open.
    pub url: String,
    laptop: Option<Laptop>,
}

/// A network namespace, and the two halves of the forwarder that leads out of it.
struct Laptop {
    _halves: [Process; 2],
    network: Network,
}

impl Way {
    /// In the bench's own network.
    pub fn straight(url: String) -> Self {
        Self { url, laptop: None }
    }

    /// From a network of its own through a forwarder to `port` on loopback; `page` is the page's path there.
    /// `kbps`: what the forwarder carries towards the browser, in kbit/s; anything without.
    pub fn forwarded(port: u16, page: &str, pass: Pass, kbps: Option<u32>) -> Result<Self> {
        let network = Network::create()?;
        let exit = forward(None, |command, home| {
            command.arg("leave").arg(joint(home)).arg(format!("127.0.0.1:{port}"));
        })?;
        let socket = joint(exit.home());
        let entry = forward(Some(&network), |command, _| {
            let pass = if pass == Pass::All { "all" } else { "http" };
            command.args(["enter", "127.0.0.1:0"]).arg(&socket).arg(pass);
            command.args(kbps.map(|kbps| kbps.to_string()));
        })?;
        let port = entry.log().trim().to_owned();
        let url = format!("http://localhost:{port}/{page}");
        Ok(Self { url, laptop: Some(Laptop { _halves: [exit, entry], network }) })
    }

    /// Starts a program where the browser is to be.
    pub fn start(&self, program: &Path, prepare: impl FnOnce(&mut Command, &Path)) -> Result<Process> {
        start(self.laptop.as_ref().map(|laptop| &laptop.network), program, prepare)
    }
}

fn joint(home: &Path) -> PathBuf {
    home.join("joint")
}

/// One half of a forwarder, which listens.
fn forward(network: Option<&Network>, prepare: impl FnOnce(&mut Command, &Path)) -> Result<Process> {
    let mut half = start(network, Path::new("node"), |command, home| {
        command.arg(FORWARD);
        prepare(command, home);
    })?;
    let log = half.log_path();
    // It prints one line once it listens.
    let listens = || std::fs::read_to_string(&log).is_ok_and(|text| text.ends_with('\n'));
    half.wait_until("forwarder", START_LIMIT, listens)?;
    Ok(half)
}

fn start(
    network: Option<&Network>,
    program: &Path,
    prepare: impl FnOnce(&mut Command, &Path),
) -> Result<Process> {
    let Some(Network { name }) = network else { return Process::start(program, prepare) };
    Process::start(Path::new("ip"), |command, home| {
        command.args(["netns", "exec", name]).arg(program);
        prepare(command, home);
    })
}

/// A network namespace with loopback and an interface that leads nowhere. Gone when dropped.
struct Network {
    name: String,
}

impl Network {
    fn create() -> Result<Self> {
        let network = Self { name: format!("glass-{}", std::process::id()) };
        ip(&["netns", "add", &network.name])?;
        for words in [
            ["link", "set", "lo", "up"].as_slice(),
            &["link", "add", "nic0", "type", "veth", "peer", "name", "nic1"],
            &["link", "set", "nic1", "up"],
            &["addr", "add", ADDRESS, "dev", "nic0"],
            &["link", "set", "nic0", "up"],
            &["route", "add", "default", "dev", "nic0"],
        ] {
            ip(&[&["-n", &network.name], words].concat())?;
        }
        Ok(network)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // It may be gone already, which is what is wanted.
        let _ = ip(&["netns", "delete", &self.name]);
    }
}

fn ip(words: &[&str]) -> Result<()> {
    let told = Command::new("ip").args(words).output().map_err(|e| format!("ip (package iproute2): {e}"))?;
    if told.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&told.stderr);
    Err(format!("ip {}: {} (network namespaces need root)", words.join(" "), why.trim()).into())
}
