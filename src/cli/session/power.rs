//! `suspend`, `resume`.

use clap::Args;
use deskgate::kubectl::change;
use deskgate::kubectl::cluster::Cluster;
use deskgate::kubectl::home;
use deskgate::kubectl::progress::Progress;
use deskgate::kubectl::wait::Wait;

use super::ask::Yes;
use super::print::out;
use super::{Outcome, WaitFlags, tell};

/// Flags of `suspend`.
#[derive(Args)]
pub struct Suspend {
    /// Name of the session
    name: String,
    #[command(flatten)]
    yes: Yes,
}

impl Suspend {
    pub async fn run(self, cluster: &Cluster) -> Outcome {
        let name = &self.name;
        let session = cluster.get(name).await?;
        if change::sleep(&session) == Some(change::Sleep::Asked) {
            return Ok(out(&format!("session {name} is suspended already\n"))?);
        }
        let template = cluster.template(&session.spec.template).await?;
        if home::is_homeless(&session, template.as_ref()) {
            self.yes.confirm(&format!(
                "Session {name} has no home: every file in it is lost when its pod goes."
            ))?;
        }
        cluster.patch(name, &change::suspend(&session)).await?;
        out(&format!(
            "session {name} suspended: its pod goes; `kubectl vdi resume {name}` brings it back\n"
        ))?;
        Ok(())
    }
}

/// Flags of `resume`.
#[derive(Args)]
pub struct Resume {
    /// Name of the session
    name: String,
    /// Show how it comes along, until it can be opened or never will be
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    wait_flags: WaitFlags,
}

impl Resume {
    pub async fn run(self, cluster: &Cluster) -> Outcome {
        let name = &self.name;
        let session = cluster.get(name).await?;
        let progress = match change::sleep(&session) {
            Some(_) => {
                let patch = change::resume(&session, cluster.now().await?);
                cluster.patch(name, &patch).await?;
                out(&format!("session {name} resumed\n"))?;
                Progress::since(&session)
            }
            None => {
                out(&format!("session {name} is not suspended\n"))?;
                Progress::default()
            }
        };
        let limit = self.wait_flags.wait_timeout;
        if self.wait || limit.is_some() {
            let ready = Wait::new(cluster, &session, progress, limit, &tell).ready().await?;
            tell(&format!("ready: {}", ready.status.and_then(|s| s.url).unwrap_or_default()));
        }
        Ok(())
    }
}
