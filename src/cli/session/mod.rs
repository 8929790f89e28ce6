//! `session`, which is also `kubectl vdi`: flags and printing; `deskgate::kubectl` does the work.

mod ask;
mod create;
mod delete;
mod link;
mod list;
mod logs;
mod power;
mod print;
mod restart;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use deskgate::crd::Timeout;
use deskgate::kubectl::cluster::{Access, Cluster};
use deskgate::kubectl::error;

type Outcome = Result<(), Box<dyn Error>>;

/// The exit code of a wait that was as long as it may be.
const TIMED_OUT: u8 = 3;

/// Flags of `deskgate session`.
#[derive(Args)]
#[command(
    after_help = "Exit codes: 0 done, 1 refused or failed, 2 command line, 3 --wait-timeout ran out.\n\n\
    In your PATH under the name kubectl-vdi, this program is `kubectl vdi`."
)]
pub struct Session {
    #[command(flatten)]
    access: AccessFlags,
    #[command(subcommand)]
    verb: Verb,
}

/// kubectl's flags of these names.
#[derive(Args)]
#[command(next_help_heading = "Cluster")]
struct AccessFlags {
    /// Namespace of the sessions [default: the context's]
    #[arg(short, long, global = true, value_name = "NAME")]
    namespace: Option<String>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,
    /// The kubeconfig [default: KUBECONFIG, else ~/.kube/config]
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// User to act as
    #[arg(long = "as", global = true, value_name = "USER")]
    impersonate: Option<String>,
}

#[derive(Subcommand)]
enum Verb {
    /// Make a session
    Create(create::Create),
    /// Show sessions
    #[command(visible_alias = "ls")]
    List(list::List),
    /// Print a link into a desktop; wakes it if it sleeps
    Open(link::Open),
    /// Print a link for somebody else
    Share(link::Share),
    /// End the desktop and keep the home
    Suspend(power::Suspend),
    /// Start a suspended desktop
    Resume(power::Resume),
    /// End the desktop and start it anew
    Restart(restart::Restart),
    /// Delete a session
    Delete(delete::Delete),
    /// Print what the desktop or its gateway logs
    Logs(logs::Logs),
}

/// How long to wait.
#[derive(Args)]
struct WaitFlags {
    /// Wait no longer than this: 90s, 5m [default: as long as it takes]
    #[arg(long, value_name = "TIME", value_parser = limit)]
    wait_timeout: Option<Duration>,
}

fn limit(text: &str) -> Result<Duration, String> {
    let span = text.parse::<Timeout>().map_err(|e| e.to_string())?.span();
    span.ok_or_else(|| "more than 0 is expected".to_owned())
}

/// Progress goes to standard error: standard output is for what was asked for.
fn tell(line: &str) {
    eprintln!("{line}");
}

impl Session {
    pub fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        match runtime.block_on(self.verb.run(self.access)) {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(error) if print::is_closed(&*error) => Ok(ExitCode::SUCCESS),
            Err(error) => match error.downcast::<error::Error>() {
                Ok(timed_out) if matches!(*timed_out, error::Error::TimedOut { .. }) => {
                    eprintln!("{}: {timed_out}", super::program());
                    Ok(ExitCode::from(TIMED_OUT))
                }
                Ok(error) => Err(error),
                Err(error) => Err(error),
            },
        }
    }
}

impl Verb {
    async fn run(self, access: AccessFlags) -> Outcome {
        let AccessFlags { namespace, context, kubeconfig, impersonate } = access;
        let cluster = Cluster::new(Access { kubeconfig, context, namespace, impersonate }).await?;
        match self {
            Self::Create(create) => create.run(&cluster).await,
            Self::List(list) => list.run(&cluster).await,
            Self::Open(open) => open.run(&cluster).await,
            Self::Share(share) => share.run(&cluster).await,
            Self::Suspend(suspend) => suspend.run(&cluster).await,
            Self::Resume(resume) => resume.run(&cluster).await,
            Self::Restart(restart) => restart.run(&cluster).await,
            Self::Delete(delete) => delete.run(&cluster).await,
            Self::Logs(logs) => logs.run(&cluster).await,
        }
    }
}
