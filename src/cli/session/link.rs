//! `open`, `share`.

use std::error::Error as StdError;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::{Args, ValueEnum};
use deskgate::crd::{Timeout, VDISession};
use deskgate::kubectl::change;
use deskgate::kubectl::cluster::Cluster;
use deskgate::kubectl::error::Error;
use deskgate::kubectl::link::{link, page};
use deskgate::kubectl::progress::{Progress, READY};
use deskgate::kubectl::text::plain;
use deskgate::kubectl::wait::Wait;
use deskgate::operator::names;
use deskgate::wire::signal::Right;

use super::print::out;
use super::{Outcome, WaitFlags, tell};

/// Flags of `open`.
#[derive(Args)]
pub struct Open {
    /// Name of the session
    name: String,
    /// How long the link may be used to join: 30m, 8h, 7d
    #[arg(long, default_value = "8h", value_name = "TIME", value_parser = ttl)]
    ttl: Duration,
    /// Open it in a browser too
    #[arg(long)]
    browser: bool,
    /// Let it sleep; the link shows who can wake it
    #[arg(long)]
    no_wake: bool,
    /// Do not wait until the desktop can be opened
    #[arg(long, conflicts_with = "wait_timeout")]
    no_wait: bool,
    #[command(flatten)]
    wait_flags: WaitFlags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Rights {
    /// The picture.
    View,
    /// Keyboard and mouse too.
    Control,
}

impl Rights {
    const fn set(self) -> &'static [Right] {
        match self {
            Self::View => &[Right::View],
            Self::Control => &[Right::View, Right::Control],
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::View => "look",
            Self::Control => "look and control",
        }
    }
}

/// Flags of `share`.
#[derive(Args)]
pub struct Share {
    /// Name of the session
    name: String,
    /// What the bearer of the link may do
    #[arg(long, value_enum, default_value = "view")]
    rights: Rights,
    /// How long the link may be used to join: 30m, 8h, 7d
    #[arg(long, default_value = "1h", value_name = "TIME", value_parser = ttl)]
    ttl: Duration,
}

fn ttl(text: &str) -> Result<Duration, String> {
    let span = text.parse::<Timeout>().map_err(|e| e.to_string())?.span();
    span.filter(|s| s.as_secs() <= 366 * 86_400)
        .ok_or_else(|| "a time such as 30m, 8h or 7d is expected, at most 366d".to_owned())
}

impl Open {
    pub async fn run(self, cluster: &Cluster) -> Outcome {
        let session = cluster.get(&self.name).await?;
        // Who lacks the right to the Secret is told so before anything is woken.
        let early = cluster.secret(&session).await?;
        let session = self.awake(cluster, session).await?;
        let secret = match early {
            Some(secret) => secret,
            None => secret_of(cluster, &session, &self.name).await?,
        };
        let url = hand_out(cluster, &session, &secret, Rights::Control, self.ttl).await?;
        if self.browser {
            browse(&session, &url)?;
        }
        Ok(())
    }

    /// The session once it can be opened, or as it is if it is not to be waited for.
    async fn awake(&self, cluster: &Cluster, session: VDISession) -> Result<VDISession, Error> {
        let name = &self.name;
        let progress = match change::sleep(&session) {
            Some(sleep) if self.no_wake => {
                tell(&format!("session {name} sleeps: {}; --no-wake leaves it so", sleep.text()));
                return Ok(session);
            }
            Some(sleep) => {
                tell(&format!("session {name} sleeps: {}; waking it", sleep.text()));
                let patch = change::wake(&session, cluster.now().await?);
                cluster.patch(name, &patch).await?;
                Progress::since(&session)
            }
            None => Progress::default(),
        };
        if self.no_wait {
            return Ok(session);
        }
        Wait::new(cluster, &session, progress, self.wait_flags.wait_timeout, &tell).ready().await
    }
}

impl Share {
    pub async fn run(self, cluster: &Cluster) -> Outcome {
        let session = cluster.get(&self.name).await?;
        let secret = secret_of(cluster, &session, &self.name).await?;
        hand_out(cluster, &session, &secret, self.rights, self.ttl).await?;
        let conditions = session.status.iter().flat_map(|s| &s.conditions);
        let is_ready = |type_: &str, status| type_ == READY && status == deskgate::crd::ConditionStatus::True;
        if let Some(sleep) = change::sleep(&session) {
            tell(&format!(
                "the link leads nowhere yet: {}; `kubectl vdi resume {}`",
                sleep.text(),
                self.name
            ));
        } else if !conditions.into_iter().any(|c| is_ready(&c.type_, c.status)) {
            tell("the link leads nowhere yet: the session is not ready");
        }
        Ok(())
    }
}

async fn secret_of(cluster: &Cluster, session: &VDISession, name: &str) -> Result<Vec<u8>, Error> {
    let secret = names::child(name);
    cluster.secret(session).await?.ok_or_else(|| Error::NoSecret { name: name.to_owned(), secret })
}

/// Prints the link; whose it is and how long goes to standard error.
async fn hand_out(
    cluster: &Cluster,
    session: &VDISession,
    secret: &[u8],
    rights: Rights,
    ttl: Duration,
) -> Result<String, Box<dyn StdError>> {
    let mut random = [0; 8];
    getrandom::fill(&mut random)?;
    // By the cluster's clock: the gateway, which judges it, has that one.
    let expires = cluster.now().await?.saturating_add(ttl)?;
    let link = link(session, secret, rights.set(), expires, random)?;
    out(&format!("{}\n", link.url))?;
    let name = session.metadata.name.as_deref().unwrap_or_default();
    tell(&format!(
        "whoever has this link may {} in session {} until {expires:.0}; token {}",
        rights.text(),
        plain(name),
        link.id
    ));
    Ok(link.url)
}

/// Opens a browser with a page that leads on to the link: arguments of processes are for everybody to see.
fn browse(session: &VDISession, url: &str) -> Result<(), Box<dyn StdError>> {
    let file = write_page(session, url)?;
    for opener in ["xdg-open", "open"] {
        match Command::new(opener).arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).status() {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => {
                return Err(format!(
                    "{opener} could not open a browser ({status})\n  next: open the link by hand"
                )
                .into());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{opener}: {error}\n  next: open the link by hand").into()),
        }
    }
    std::fs::remove_file(&file)?;
    Err("neither xdg-open nor open is installed here\n  next: open the link by hand".into())
}

/// The page, readable by its owner alone. It is there until the next `open --browser` of that session, or the end of
/// the login: nobody says when a browser has read it.
fn write_page(session: &VDISession, url: &str) -> Result<PathBuf, Box<dyn StdError>> {
    let folder = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let uid = session.metadata.uid.as_deref().unwrap_or_default();
    let file = folder.join(format!("deskgate-{uid}.html"));
    let failed = |e: io::Error| format!("{}: {e}\n  next: open the link by hand", file.display());
    match std::fs::remove_file(&file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error).into()),
        _ => {}
    }
    // New: what somebody else has put there is not written to.
    let mut page_file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file).map_err(failed)?;
    page_file.write_all(page(url).as_bytes()).map_err(failed)?;
    Ok(file)
}
