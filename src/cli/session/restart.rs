//! `restart`.

use std::error::Error as StdError;

use clap::Args;
use deskgate::crd::VDISession;
use deskgate::kubectl::change;
use deskgate::kubectl::cluster::Cluster;
use deskgate::kubectl::error::Error;
use deskgate::kubectl::force;
use deskgate::kubectl::progress::{Progress, standing};
use deskgate::kubectl::wait::Wait;

use super::ask::Yes;
use super::print::out;
use super::{Outcome, WaitFlags, tell};

/// Flags of `restart`.
#[derive(Args)]
pub struct Restart {
    /// Name of the session
    name: String,
    /// Give up a pod whose node is lost: strike it off without waiting for the node
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    yes: Yes,
    /// Do not wait until the desktop can be opened again
    #[arg(long, conflicts_with = "wait_timeout")]
    no_wait: bool,
    #[command(flatten)]
    wait_flags: WaitFlags,
}

/// The run that is to end.
struct Run {
    pod: String,
    uid: String,
}

impl Restart {
    pub async fn run(self, cluster: &Cluster) -> Outcome {
        let name = &self.name;
        let session = cluster.get(name).await?;
        let run = run_of(cluster, &session, name).await?;
        if self.force {
            self.yes.confirm(&force::question(&session, &run.pod))?;
        }
        cluster.patch(name, &change::restart(&session, &run.uid)).await?;
        if self.force {
            cluster.strike_pod(&run.pod, &run.uid).await?;
        }
        out(&format!("session {name} restarts: pod {} ends and a new one takes its place\n", run.pod))?;
        if self.no_wait {
            return Ok(());
        }
        let limit = self.wait_flags.wait_timeout;
        let mut wait = Wait::new(cluster, &session, Progress::since(&session), limit, &tell);
        let ready = loop {
            let ready = wait.ready().await?;
            if is_new(cluster, &ready, &run.uid).await? {
                break ready;
            }
            // The old pod had just got well by itself.
            wait.disregard(&ready);
        };
        tell(&format!("ready: {}", ready.status.and_then(|s| s.url).unwrap_or_default()));
        Ok(())
    }
}

async fn run_of(cluster: &Cluster, session: &VDISession, name: &str) -> Result<Run, Box<dyn StdError>> {
    let none = |why: String, next: String| Error::NoPod { name: name.to_owned(), why, next };
    if let Some(sleep) = change::sleep(session) {
        return Err(none(sleep.text().to_owned(), format!("`kubectl vdi resume {name}` starts it")).into());
    }
    let anew = || {
        format!(
            "it starts by itself when what it waits for is there; if it has given up, `kubectl vdi suspend {name}` \
             and `kubectl vdi resume {name}` begin anew"
        )
    };
    let Some(pod) = session.status.as_ref().and_then(|s| s.pod_name.clone()) else {
        return Err(none(standing(session), anew()).into());
    };
    match cluster.pod(&pod).await?.and_then(|p| p.metadata.uid) {
        Some(uid) => Ok(Run { pod, uid }),
        None => Err(none(format!("{pod} is gone"), anew()).into()),
    }
}

async fn is_new(cluster: &Cluster, session: &VDISession, old_uid: &str) -> Result<bool, Error> {
    let Some(pod) = session.status.as_ref().and_then(|s| s.pod_name.as_deref()) else { return Ok(false) };
    Ok(cluster.pod(pod).await?.and_then(|p| p.metadata.uid).is_some_and(|uid| uid != old_uid))
}
