//! `probe`.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use deskgate::probe::access::{Credential, Trust, connector};
use deskgate::probe::path::Path;
use deskgate::probe::target::Target;
use deskgate::probe::{Options, probe};

/// Flags of `deskgate probe`.
#[derive(Args)]
pub struct Probe {
    /// Where the gateway is reached
    url: String,
    /// The way that media must take: auto, udp, tcp, turn-udp, turn-tcp, turns, ice-tcp, ws
    #[arg(long, default_value = "auto")]
    path: Path,
    /// Try every path, and print a table
    #[arg(long, conflicts_with = "path")]
    all_paths: bool,
    /// How long to watch once there is a picture
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// File with the token or the link that `deskgate token` printed
    #[arg(long, env = "DESKGATE_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// PEM file with certificates to trust besides this machine's own
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Take any certificate
    #[arg(long)]
    insecure: bool,
}

impl Probe {
    fn options(&self) -> Result<Options, Box<dyn Error>> {
        let more = match &self.ca_file {
            Some(file) => std::fs::read(file).map_err(|e| format!("{}: {e}", file.display()))?,
            None => Vec::new(),
        };
        Ok(Options {
            target: Target::parse(&self.url)?,
            credential: self.credential()?,
            tls: connector(&Trust { more, anybody: self.insecure })?,
            seconds: Duration::from_secs(self.seconds),
        })
    }

    fn credential(&self) -> Result<Credential, Box<dyn Error>> {
        let set = |name: &str| std::env::var(name).ok().filter(|v| !v.trim().is_empty());
        if let Some(file) = &self.token_file {
            let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
            return Ok(Credential::token(&text));
        }
        if let Some(token) = set("DESKGATE_TOKEN") {
            return Ok(Credential::token(&token));
        }
        Ok(match set("DESKGATE_BASIC_AUTH_PASSWORD") {
            Some(password) => {
                Credential::Basic { user: set("DESKGATE_BASIC_AUTH_USER").unwrap_or_default(), password }
            }
            None => Credential::None,
        })
    }

    #[expect(clippy::print_stdout, reason = "the report is what was asked for")]
    pub fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        let options = self.options()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let found = runtime
            .block_on(probe(&options, self.path, &|step| eprintln!("probe: {}: {step}", self.path)))?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&found)?);
        } else {
            print!("{}", found.text());
        }
        Ok(ExitCode::from(found.exit_code))
    }
}
