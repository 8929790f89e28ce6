//! `probe`.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use deskgate::probe::access::{Credential, Trust, connector};
use deskgate::probe::path::Path;
use deskgate::probe::report::{Report, table};
use deskgate::probe::target::Target;
use deskgate::probe::verdict::{Verdict, stopped};
use deskgate::probe::{Options, probe, swarm};

const AFTER: &str = "\
With --all-paths the exit code is auto's.\n\n\
Secrets come by file or environment, never as arguments: DESKGATE_TOKEN, or DESKGATE_BASIC_AUTH_USER and \
DESKGATE_BASIC_AUTH_PASSWORD.\n\n\
A probe only looks: it never takes control and never resizes the desktop. It shows in the list of viewers.";

fn after_help() -> String {
    let codes: Vec<String> = Verdict::ALL.iter().map(|v| format!("{} {}", v.exit_code(), v.text())).collect();
    format!("Exit codes: {}; 1 a fault of this machine, 2 command line. {AFTER}", codes.join(", "))
}

/// Flags of `deskgate probe`.
#[derive(Args)]
#[command(after_help = after_help())]
pub struct Probe {
    /// Where the gateway is reached, as in an address bar
    url: String,
    /// The way that media must take: auto (what the page tries), udp, tcp (what the page has where UDP is blocked),
    /// turn-udp, turn-tcp, turns, ice-tcp, ws
    #[arg(long, default_value = "auto")]
    path: Path,
    /// Try every path, and print a table
    #[arg(long, conflicts_with = "path")]
    all_paths: bool,
    /// Be this many viewers at once, over UDP, without decoding
    #[arg(long, value_name = "N", conflicts_with_all = ["path", "all_paths"], value_parser = clap::value_parser!(u16).range(0..=1_000))]
    viewers: Option<u16>,
    /// With --viewers: and this many more whose tab is hidden
    #[arg(long, value_name = "N", default_value_t = 0, requires = "viewers", value_parser = clap::value_parser!(u16).range(0..=1_000))]
    idle: u16,
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
        if self.viewers == Some(0) && self.idle == 0 {
            return Err("--viewers 0 is nobody: say how many with --idle".into());
        }
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

    pub fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        let options = match self.options() {
            Ok(options) => options,
            Err(error) => {
                // Not by clap: it would repeat a URL with a secret in it.
                eprintln!("deskgate: {error}");
                return Ok(ExitCode::from(2));
            }
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let code: Result<u8, Box<dyn Error>> = runtime.block_on(async {
            match self.viewers {
                Some(viewers) => self.swarm(&options, viewers).await,
                None if self.all_paths => self.all(&options).await,
                None => {
                    let found = one(&options, self.path).await?;
                    self.print(&found, found.text())?;
                    Ok(found.exit_code)
                }
            }
        });
        // GStreamer's last words need nobody's waiting.
        runtime.shutdown_background();
        code.map(ExitCode::from)
    }

    async fn swarm(&self, options: &Options, viewers: u16) -> Result<u8, Box<dyn Error>> {
        let tell = |step: &str| eprintln!("probe: {step}");
        match swarm(options, viewers.into(), self.idle.into(), &tell).await {
            Ok(found) => {
                self.print(&found, found.text())?;
                Ok(found.exit_code)
            }
            Err(stop) => {
                let judged = stopped(&stop);
                self.print(&judged, format!("{}: {}\n{}\n", judged.verdict.text(), judged.why, judged.next))?;
                Ok(judged.verdict.exit_code())
            }
        }
    }

    async fn all(&self, options: &Options) -> Result<u8, Box<dyn Error>> {
        let mut found = Vec::new();
        for path in Path::ALL {
            let report = one(options, path).await?;
            // Nothing else will be reached either.
            let hopeless = report.judgement.verdict.ends_all_paths();
            found.push(report);
            if hopeless {
                break;
            }
        }
        self.print(&found, table(&found))?;
        Ok(found.first().map_or(1, |auto| auto.exit_code))
    }

    #[expect(clippy::print_stdout, reason = "the report is what was asked for")]
    fn print(&self, found: &impl serde::Serialize, text: String) -> Result<(), Box<dyn Error>> {
        if self.json {
            println!("{}", serde_json::to_string_pretty(found)?);
        } else {
            print!("{text}");
        }
        Ok(())
    }
}

async fn one(options: &Options, path: Path) -> Result<Report, String> {
    probe(options, path, &|step| eprintln!("probe: {path}: {step}")).await
}
