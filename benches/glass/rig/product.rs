//! The products under test: how each is found, started, and asked what it really does.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::process::Process;
use super::way::{Pass, Way};
use super::{Result, cpu};

/// Bitrate cap of every product in kbit/s.
pub const BITRATE_KBPS: u32 = 8000;
/// The version of Selkies that the figures are about.
const SELKIES_VERSION: &str = "2.1.0";
const START_LIMIT: Duration = Duration::from_secs(30);
const CODEC_LIBRARIES: &[&str] = &["x264", "openh264", "libvpx", "libav", "nvidia-encode", "libva"];

/// A program that shows an X display on a web page.
pub trait Product {
    /// Name in the table and for `--products`.
    fn name(&self) -> &'static str;

    /// The program to run.
    ///
    /// # Errors
    /// If it is not there, with what to do about it.
    fn program(&self) -> Result<PathBuf>;

    /// Adds arguments and environment: show X display `display` on TCP port `port`.
    fn configure(&self, command: &mut Command, display: &str, port: u16, home: &Path);

    /// The page to open, relative to the product's root; without controls over the picture.
    fn page(&self) -> &'static str {
        ""
    }

    /// How the browser comes to that page.
    ///
    /// # Errors
    /// If it cannot be laid out.
    fn way(&self, running: &Running) -> Result<Way> {
        Ok(Way::straight(running.url(self.page())))
    }

    /// Lines that tell which transport and encoder ran, once a viewer has the picture.
    ///
    /// # Errors
    /// If it did not stream by WebRTC in H.264, for then the run is no comparison.
    fn evidence(&self, running: &Running) -> Result<Vec<String>>;
}

/// A product that has been started and listens.
pub struct Running {
    process: Process,
    port: u16,
    /// The command line, for the report.
    pub command: String,
}

impl Running {
    /// Starts `product` on `display` and waits until its port accepts.
    pub fn start(product: &dyn Product, display: &str) -> Result<Self> {
        let port = free_port()?;
        let mut line = String::new();
        let program = product.program()?;
        let mut process = Process::start(&program, |command, home| {
            product.configure(command, display, port, home);
            line = command_line(command);
        })?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        process.wait_until("open port", START_LIMIT, || TcpStream::connect(address).is_ok())?;
        Ok(Self { process, port, command: line })
    }

    /// Process id of its first process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The last lines that it printed.
    pub fn tail(&self) -> String {
        self.process.tail()
    }

    /// The address of `page`.
    pub fn url(&self, page: &str) -> String {
        format!("http://127.0.0.1:{}/{page}", self.port)
    }

    /// The body of a plain HTTP GET, headers included.
    fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let host = format!("127.0.0.1:{}", self.port);
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn log_lines(&self, marks: &[&str]) -> Vec<String> {
        let log = self.process.log();
        log.lines().filter(|l| marks.iter().any(|m| l.contains(m))).map(str::to_owned).collect()
    }

    fn codec_libraries(&self) -> String {
        format!("mapped: {}", cpu::mapped_libraries(self.id(), CODEC_LIBRARIES).join(" "))
    }
}

/// This project's gateway.
pub struct Deskgate {
    /// The built binary.
    pub program: PathBuf,
    /// How the browser comes to it.
    pub by: By,
}

/// Ways to this project's gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// UDP on loopback.
    Udp,
    /// A forwarder of TCP, of this many kbit/s.
    Forwarder(Option<u32>),
    /// A forwarder of HTTP, of this many kbit/s: nothing but the page's WebSocket gets through.
    WebSocket(Option<u32>),
}

impl By {
    /// What the gateway calls the path that is expected.
    fn paths(self) -> &'static [&'static str] {
        match self {
            Self::Udp => &["udp"],
            Self::Forwarder(_) => &["ice-tcp", "turn-tcp"],
            Self::WebSocket(_) => &["websocket"],
        }
    }
}

impl Deskgate {
    /// What the gateway says of itself.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn status(running: &Running) -> Result<Value> {
        let answer = running.get("/api/status")?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        if !head.starts_with("HTTP/1.1 200") {
            return Err(format!("/api/status answered: {head}").into());
        }
        Ok(serde_json::from_str(body)?)
    }

    /// Bytes of video that its encoder has made.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn encoded_bytes(running: &Running) -> Result<f64> {
        let answer = running.get("/metrics")?;
        let line = answer.lines().find_map(|line| line.strip_prefix("deskgate_encoded_bytes_total "));
        Ok(line.ok_or("/metrics has no deskgate_encoded_bytes_total")?.trim().parse()?)
    }
}

impl Product for Deskgate {
    fn name(&self) -> &'static str {
        match self.by {
            By::Udp => "deskgate",
            By::Forwarder(_) => "TCP forwarder",
            By::WebSocket(_) => "WebSocket",
        }
    }

    fn program(&self) -> Result<PathBuf> {
        if self.program.exists() {
            return Ok(self.program.clone());
        }
        let path = self.program.display();
        Err(format!("{path} is not there: `cargo build --release`, or name it with --deskgate").into())
    }

    fn configure(&self, command: &mut Command, display: &str, port: u16, _home: &Path) {
        command.env("NO_COLOR", "1");
        command.args(["serve", "--display", display, "--listen", &format!("127.0.0.1:{port}")]);
        command.args(["--bitrate", &BITRATE_KBPS.to_string(), "--fps", "60", "--resize", "false"]);
        add_words(command, "GLASS_DESKGATE_ARGS");
    }

    fn page(&self) -> &'static str {
        "?ui=none"
    }

    fn way(&self, running: &Running) -> Result<Way> {
        let forwarded = |pass, kbps| Way::forwarded(running.port, self.page(), pass, kbps);
        match self.by {
            By::Udp => Ok(Way::straight(running.url(self.page()))),
            By::Forwarder(kbps) => forwarded(Pass::All, kbps),
            By::WebSocket(kbps) => forwarded(Pass::Http, kbps),
        }
    }

    fn evidence(&self, running: &Running) -> Result<Vec<String>> {
        let status = Self::status(running)?;
        let path = status["media"][0]["path"].as_str().unwrap_or("none");
        if !self.by.paths().contains(&path) {
            return Err(format!("the path is {path}, not {}: {status}", self.by.paths().join(" or ")).into());
        }
        Ok(vec![status.to_string(), running.codec_libraries()])
    }
}

/// Selkies from a Python environment of its own.
pub struct Selkies;

impl Product for Selkies {
    fn name(&self) -> &'static str {
        "selkies"
    }

    fn program(&self) -> Result<PathBuf> {
        let home = std::env::var("HOME").unwrap_or_default();
        let venv = Path::new(&home).join(".cache/deskgate/selkies");
        let program = std::env::var_os("SELKIES_BIN").map_or_else(|| venv.join("bin/selkies"), PathBuf::from);
        if program.exists() {
            return Ok(program);
        }
        Err(format!(
            "Selkies is not installed at {}. Install it with\n  python3 -m venv {venv} && \
             {venv}/bin/pip install selkies=={SELKIES_VERSION}\nor name it in SELKIES_BIN, or leave it out \
             with --products deskgate",
            program.display(),
            venv = venv.display()
        )
        .into())
    }

    fn configure(&self, command: &mut Command, display: &str, port: u16, home: &Path) {
        let (port, rate) = (port.to_string(), format!("{BITRATE_KBPS}-{BITRATE_KBPS}"));
        command.env("DISPLAY", display);
        command.args(["--mode", "webrtc", "--addr", "127.0.0.1", "--port", &port]);
        command.args(["--encoder", "h264enc", "--use-cpu", "true", "--auto-gpu", "false"]);
        command.args(["--rate-control-mode", "cbr", "--video-bitrate", &rate, "--framerate", "60-60"]);
        let off = ["basic-auth", "https", "resize", "dual-mode", "sharing"].map(|s| format!("--enable-{s}"));
        let off = off.into_iter().chain(["audio", "microphone", "gamepad"].map(|s| format!("--{s}-enabled")));
        for flag in off.chain(["--ui-show-sidebar".to_owned()]) {
            command.args([&flag, "false"]);
        }
        command.arg("--js-socket-path").arg(home);
        add_words(command, "GLASS_SELKIES_ARGS");
    }

    fn evidence(&self, running: &Running) -> Result<Vec<String>> {
        let starting = format!("Selkies {SELKIES_VERSION} starting: webrtc transport");
        let wanted = [starting.as_str(), "negotiated video/H264", "ICE completed", "Encoder: software H264"];
        for mark in wanted {
            if running.log_lines(&[mark]).is_empty() {
                return Err(format!("selkies' log lacks {mark:?}; its end:\n{}", running.tail()).into());
            }
        }
        let mut lines = running.log_lines(&[wanted[0], wanted[1], wanted[3], "Stream settings active"]);
        lines.push(running.codec_libraries());
        Ok(lines)
    }
}

/// Extra arguments, for trying variants by hand.
fn add_words(command: &mut Command, variable: &str) {
    command.args(std::env::var(variable).unwrap_or_default().split_whitespace());
}

fn command_line(command: &Command) -> String {
    let words = command.get_args().skip(2).map(|a| a.to_string_lossy());
    words.collect::<Vec<_>>().join(" ")
}

fn free_port() -> Result<u16> {
    let range = std::env::var("GLASS_PORTS").unwrap_or_default();
    let bounds = range.split_once('-').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    let Some((first, last)) = bounds else {
        return Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port());
    };
    let free = |p: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *p)).is_ok();
    (first..=last).find(free).ok_or_else(|| format!("no free port in {range}").into())
}
