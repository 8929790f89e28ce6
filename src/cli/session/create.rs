//! `create`.

use clap::Args;
use deskgate::crd::{IntOrText, SessionResources, VDISession};
use deskgate::kubectl::cluster::Cluster;
use deskgate::kubectl::draft::{self, Draft, HomeWish};
use deskgate::kubectl::progress::Progress;
use deskgate::kubectl::wait::Wait;

use super::print::{self, Format, out};
use super::{Outcome, WaitFlags, tell};

/// Flags of `create`. What is not said, the template says.
#[derive(Args)]
pub struct Create {
    /// Name of the session
    #[arg(value_parser = draft::name)]
    name: String,
    /// What it is made from; `kubectl get vditemplates` lists them
    #[arg(short, long, value_name = "NAME")]
    template: String,
    /// Whose desktop it is [default: yours]
    #[arg(long)]
    user: Option<String>,
    /// Slices of a GPU; 0 encodes in software
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=64))]
    gpu: Option<u32>,
    /// Processors: 2, 1.5, 500m
    #[arg(long, value_parser = draft::cpu)]
    cpu: Option<IntOrText>,
    /// Memory: 4Gi
    #[arg(long, value_parser = draft::bytes)]
    memory: Option<String>,
    /// Size of the home, if it has to be made: 10Gi
    #[arg(long, value_parser = draft::bytes, conflicts_with = "no_home")]
    size: Option<String>,
    /// No home: nothing outlives the pod
    #[arg(long)]
    no_home: bool,
    /// Longest run: 8h, or 0 for no end
    #[arg(long, value_name = "TIME", value_parser = draft::span)]
    timeout: Option<IntOrText>,
    /// How long nobody may be there: 30m, or 0 for ever
    #[arg(long, value_name = "TIME", value_parser = draft::span)]
    idle_timeout: Option<IntOrText>,
    /// Have the API server check it, and store nothing
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    /// Print the object instead of what was done
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
    /// Show how it comes along, until it can be opened or never will be
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    wait_flags: WaitFlags,
}

impl Create {
    pub async fn run(self, cluster: &Cluster) -> Outcome {
        let (dry_run, output) = (self.dry_run, self.output);
        let limit = self.wait_flags.wait_timeout;
        // A limit says that there is a wait.
        let wait = self.wait || (limit.is_some() && !dry_run);
        let session = cluster.create(&self.draft(cluster).await?.session(), dry_run).await?;
        match output {
            Some(format) => print::object(&session, format)?,
            None => out(&made(&session, cluster.namespace(), dry_run))?,
        }
        if wait {
            let ready = Wait::new(cluster, &session, Progress::default(), limit, &tell).ready().await?;
            tell(&format!("ready: {}", ready.status.and_then(|s| s.url).unwrap_or_default()));
        }
        Ok(())
    }

    async fn draft(self, cluster: &Cluster) -> Result<Draft, deskgate::kubectl::error::Error> {
        let user = match self.user {
            Some(user) => user,
            None => cluster.user().await?,
        };
        let home = match self.size {
            Some(size) => HomeWish::Size(size),
            None if self.no_home => HomeWish::None,
            None => HomeWish::Template,
        };
        Ok(Draft {
            name: self.name,
            namespace: cluster.namespace().to_owned(),
            user,
            template: self.template,
            resources: SessionResources { gpu: self.gpu, cpu: self.cpu, memory: self.memory },
            home,
            timeout: self.timeout,
            idle_timeout: self.idle_timeout,
        })
    }
}

fn made(session: &VDISession, namespace: &str, dry_run: bool) -> String {
    let name = session.metadata.name.as_deref().unwrap_or_default();
    let (user, template) = (&session.spec.user, &session.spec.template);
    let done = if dry_run { "would be created (dry run)" } else { "created" };
    format!("session {namespace}/{name} {done}: template {template}, user {user}\n")
}
