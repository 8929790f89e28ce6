//! Commands and their flags.

#[cfg(feature = "gateway")]
mod gateway;
#[cfg(feature = "probe")]
mod probe;

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
    /// Say what a viewer would get: a viewer without a browser, on another implementation of WebRTC
    #[cfg(feature = "probe")]
    Probe(probe::Probe),
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
            #[cfg(feature = "probe")]
            Command::Probe(probe) => probe.run(),
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
