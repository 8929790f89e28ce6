//! `delete`.

use clap::Args;
use deskgate::kubectl::cluster::Cluster;
use deskgate::kubectl::error::Error;
use deskgate::kubectl::home;
use deskgate::kubectl::progress::Progress;
use deskgate::kubectl::wait::Wait;

use super::ask::Yes;
use super::print::out;
use super::{Outcome, WaitFlags, tell};

/// Flags of `delete`.
#[derive(Args)]
pub struct Delete {
    /// Name of the session
    name: String,
    /// Wait until it is gone
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    wait_flags: WaitFlags,
    #[command(flatten)]
    yes: Yes,
}

impl Delete {
    pub async fn run(self, cluster: &Cluster) -> Outcome {
        let name = &self.name;
        let session = cluster.get(name).await?;
        let template = cluster.template(&session.spec.template).await?;
        let mut fate = home::fate(&session, template.as_ref(), &[]);
        if fate.is_loss() {
            match cluster.list(false).await {
                Ok(others) => fate = home::fate(&session, template.as_ref(), &others),
                // Who may not see the others is asked as if there were none.
                Err(Error::Forbidden { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if fate.is_loss() {
            self.yes.confirm(&format!("Delete session {name}: {}.", fate.text()))?;
        }
        cluster.delete(&session).await?;
        out(&format!("session {name} deleted; {}\n", fate.text()))?;
        let limit = self.wait_flags.wait_timeout;
        if self.wait || limit.is_some() {
            Wait::new(cluster, &session, Progress::since(&session), limit, &tell).gone().await?;
            tell(&format!("session {name} is gone"));
        }
        Ok(())
    }
}
