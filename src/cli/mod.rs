//! Commands and their flags.

#[cfg(feature = "operator")]
mod crds;
#[cfg(feature = "gateway")]
mod gateway;
#[cfg(feature = "operator")]
mod inject;
#[cfg(feature = "operator")]
mod manifests;
#[cfg(feature = "operator")]
mod operator;
#[cfg(feature = "probe")]
mod probe;
#[cfg(feature = "operator")]
mod session;

use std::error::Error;
use std::io::{IsTerminal, stderr};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

/// Linux desktops in the browser, on one port.
#[derive(Parser)]
#[command(version, about, max_term_width = 100)]
pub struct Cli {
    /// How log lines look; RUST_LOG says which (default: info)
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, env = "DESKGATE_LOG_FORMAT")]
    pub log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Stream an X display to browsers
    #[cfg(feature = "gateway")]
    Serve(Box<gateway::Serve>),
    /// Start a small desktop of its own and stream it
    #[cfg(feature = "gateway")]
    Demo(gateway::Demo),
    /// Try every encoder of the catalogue and say which work here, and why the others do not
    #[cfg(feature = "gateway")]
    Encoders(gateway::Encoders),
    /// Print a link that lets its bearer into a session, or revoke one
    #[cfg(feature = "gateway")]
    Token(gateway::Token),
    /// Run the operator: VDISessions become desktops behind URLs
    #[cfg(feature = "operator")]
    Operator(Box<operator::Operator>),
    /// Print the custom resource definitions
    #[cfg(feature = "operator")]
    Crds(crds::Crds),
    /// Print everything that a cluster needs, with names filled in
    #[cfg(feature = "operator")]
    Manifests(manifests::Manifests),
    /// Put the gateway's sidecar into pods, and print them
    #[cfg(feature = "operator")]
    Inject(Box<inject::Inject>),
    /// Say what a viewer would get: a viewer without a browser, on another implementation of WebRTC
    #[cfg(feature = "probe")]
    Probe(probe::Probe),
    /// Make, open and end desktops on Kubernetes: `kubectl vdi` under another name
    #[cfg(feature = "operator")]
    Session(Box<session::Session>),
}

/// The command line under the name `kubectl-vdi`, which kubectl starts for `kubectl vdi`.
#[cfg(feature = "operator")]
#[derive(Parser)]
#[command(name = "kubectl-vdi", bin_name = PLUGIN, version, max_term_width = 100)]
#[command(about = "Linux desktops on Kubernetes: make, open and end them")]
struct Plugin {
    #[command(flatten)]
    session: session::Session,
}

/// What people type to start the plugin.
#[cfg(feature = "operator")]
const PLUGIN: &str = "kubectl vdi";

/// Whether this program was started as kubectl's plugin.
fn is_plugin() -> bool {
    let name = std::env::args_os().next().map(std::path::PathBuf::from);
    cfg!(feature = "operator") && name.is_some_and(|n| n.file_stem().is_some_and(|s| s == "kubectl-vdi"))
}

/// What people know this program as, in front of its errors.
pub fn program() -> &'static str {
    if is_plugin() { "kubectl vdi" } else { "deskgate" }
}

/// Reads the command line, under either name.
pub fn parse() -> Cli {
    #[cfg(feature = "operator")]
    if is_plugin() {
        let command = Command::Session(Box::new(Plugin::parse().session));
        return Cli { log_format: LogFormat::Text, command };
    }
    Cli::parse()
}

impl Cli {
    /// Runs the command.
    pub fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        match self.command {
            #[cfg(feature = "gateway")]
            Command::Serve(serve) => serve.run(),
            #[cfg(feature = "gateway")]
            Command::Demo(demo) => demo.run(),
            #[cfg(feature = "gateway")]
            Command::Encoders(encoders) => encoders.run(),
            #[cfg(feature = "gateway")]
            Command::Token(token) => token.run(),
            #[cfg(feature = "operator")]
            Command::Operator(operator) => operator.run(),
            #[cfg(feature = "operator")]
            Command::Crds(crds) => crds.run(),
            #[cfg(feature = "operator")]
            Command::Manifests(manifests) => manifests.run(),
            #[cfg(feature = "operator")]
            Command::Inject(inject) => inject.run(),
            #[cfg(feature = "probe")]
            Command::Probe(probe) => probe.run(),
            #[cfg(feature = "operator")]
            Command::Session(session) => session.run(),
        }
    }
}

/// Log lines go to standard error; standard output is for what was asked for.
pub fn init_logging(format: LogFormat) {
    // The WebRTC core logs every oddity of a path at its own levels; what matters comes through our own lines.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,rtc=error"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    // Colours are for people: in a file they are noise.
    let builder = builder.with_ansi(stderr().is_terminal());
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}
