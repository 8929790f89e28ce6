//! `serve`, `demo`, `encoders`, `token`.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use deskgate::config::{Layer, ServeConfig};
use deskgate::demo::{DemoConfig, DemoDesktop};
use deskgate::frame::Size;
use deskgate::http::unix_now;
use deskgate::media;
use deskgate::serve;
use deskgate::token::{Claims, link, sign};
use deskgate::wire::signal::Right;

type Outcome = Result<ExitCode, Box<dyn Error>>;

/// Flags of `deskgate serve`.
#[derive(Args)]
pub struct Serve {
    /// Settings file (TOML; the keys are the flags' names)
    #[arg(long, env = "DESKGATE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Layer,
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

impl Serve {
    fn settings(self) -> Result<ServeConfig, Box<dyn Error>> {
        let file = match &self.config {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
                Layer::from_toml(&text).map_err(|e| format!("{}: {e}", path.display()))?
            }
            None => Layer::default(),
        };
        let layer = self.flags.over(Layer::from_environment(environment)?).over(file);
        Ok(ServeConfig::new(layer, host_name(), environment("DISPLAY").filter(|d| !d.is_empty()))?)
    }

    pub fn run(self) -> Outcome {
        let config = self.settings()?;
        let secure = config.tls.is_some();
        serve::run(config, |bound| {
            tracing::info!("listening on http://{bound}/");
            if secure {
                tracing::info!("TLS on the same port: https://{bound}/");
            }
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Flags of `deskgate demo`.
#[derive(Args)]
pub struct Demo {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR:PORT")]
    listen: SocketAddr,
    /// Size of the screen to begin with
    #[arg(long, default_value = "1280x720", value_parser = size, value_name = "WxH")]
    size: Size,
}

fn size(text: &str) -> Result<Size, String> {
    let parse = |t: &str| t.parse().ok().filter(|n| (320..=7680).contains(n));
    text.split_once('x')
        .and_then(|(w, h)| Some(Size { width: parse(w)?, height: parse(h)? }))
        .ok_or_else(|| "a size such as 1280x720 is expected".to_owned())
}

impl Demo {
    #[expect(clippy::print_stdout, reason = "the URL is what was asked for")]
    pub fn run(self) -> Outcome {
        let desktop = DemoDesktop::start(DemoConfig { size: self.size, ..DemoConfig::default() })?;
        let layer = Layer {
            display: Some(desktop.display().to_owned()),
            xauthority: Some(desktop.xauthority().to_owned()),
            listen: Some(self.listen),
            session: Some("demo".to_owned()),
            ..Layer::default()
        };
        let config = ServeConfig::new(layer, host_name(), None)?;
        serve::run(config, |bound| {
            println!("\n  A desktop is at  http://{bound}/\n  Ctrl-C stops it.\n");
        })?;
        drop(desktop);
        Ok(ExitCode::SUCCESS)
    }
}

/// Flags of `deskgate encoders`.
#[derive(Args)]
pub struct Encoders {
    /// Folder with pipeline files that add to, or replace, the built-in ones
    #[arg(long, env = "DESKGATE_PIPELINES", value_name = "DIR")]
    pipelines: Option<PathBuf>,
}

impl Encoders {
    #[expect(clippy::print_stdout, reason = "the table is what was asked for")]
    pub fn run(self) -> Outcome {
        media::init()?;
        let table = media::probe::probe(&serve::catalog(self.pipelines.as_deref())?);
        print!("{}", table.text());
        Ok(if table.any_usable() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Rights {
    /// Keyboard and mouse, and what `view` gives.
    Control,
    /// The picture.
    View,
    /// Activity and notices, for programs: see docs/api.md. Printed without a link, for it gives no picture.
    Operate,
}

impl Rights {
    fn set(self) -> &'static [Right] {
        match self {
            Self::Control => &[Right::View, Right::Control],
            Self::View => &[Right::View],
            Self::Operate => &[Right::Operate],
        }
    }
}

/// Flags of `deskgate token`.
#[derive(Args)]
pub struct Token {
    /// The gateway's secret
    #[arg(long, env = "DESKGATE_TOKEN_SECRET_FILE", value_name = "FILE")]
    token_secret_file: PathBuf,
    /// The gateway's session name [default: the host name]
    #[arg(long, env = "DESKGATE_SESSION", value_name = "NAME")]
    session: Option<String>,
    /// What the bearer may do
    #[arg(long, value_enum, default_value = "control")]
    rights: Rights,
    /// How long it may be used to join: 30m, 8h, 7d
    #[arg(long, default_value = "8h", value_parser = seconds, value_name = "TIME")]
    ttl: u64,
    /// Where the gateway is reached
    #[arg(long, default_value = "http://localhost:8080/", value_name = "URL")]
    url: String,
    /// Revoke the token of this id instead
    #[arg(long, value_name = "ID")]
    revoke: Option<String>,
    /// File with the ids of revoked tokens [default: the secret's file name + `.revoked`]
    #[arg(long, env = "DESKGATE_REVOKED_TOKENS_FILE", value_name = "FILE")]
    revoked_tokens_file: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<u64, String> {
    let unit = text.chars().last().and_then(|u| match u {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(3_600),
        'd' => Some(86_400),
        _ => None,
    });
    let number = text.get(..text.len().saturating_sub(1)).and_then(|n| n.parse::<u64>().ok());
    unit.zip(number)
        .and_then(|(unit, number)| number.checked_mul(unit))
        .filter(|s| (1..=366 * 86_400).contains(s))
        .ok_or_else(|| "a time such as 30m, 8h or 7d is expected, at most 366d".to_owned())
}

impl Token {
    #[expect(clippy::print_stdout, reason = "the link is what was asked for")]
    pub fn run(self) -> Outcome {
        if let Some(id) = &self.revoke {
            return self.revoke(id);
        }
        let mut id = [0; 8];
        getrandom::fill(&mut id)?;
        let session = self.session.unwrap_or_else(host_name);
        let expires = unix_now().saturating_add(self.ttl);
        let claims = Claims::new(id, session, self.rights.set().iter().copied(), expires);
        let token = sign(&serve::token_secret(&self.token_secret_file)?, &claims)?;
        match self.rights {
            Rights::Operate => println!("{token}"),
            Rights::Control | Rights::View => println!("{}", link(&self.url, &token)),
        }
        let jti = claims.jti;
        eprintln!("token {jti}; revoke it with --revoke {jti}");
        Ok(ExitCode::SUCCESS)
    }

    fn revoke(&self, id: &str) -> Outcome {
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err("--revoke: the id that was printed with the token is expected".into());
        }
        let file = self.revoked_tokens_file.clone().unwrap_or_else(|| {
            let mut name = self.token_secret_file.clone().into_os_string();
            name.push(".revoked");
            name.into()
        });
        let mut list = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&file)
            .map_err(|e| format!("{}: {e}", file.display()))?;
        writeln!(list, "{id}")?;
        eprintln!("token {id} is revoked in {}", file.display());
        Ok(ExitCode::SUCCESS)
    }
}
