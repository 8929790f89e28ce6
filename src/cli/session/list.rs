//! `list`.

use clap::{Args, ValueEnum};
use deskgate::kubectl::cluster::Cluster;
use deskgate::kubectl::table::{Columns, table};
use jiff::Timestamp;

use super::print::{self, out};
use super::{Outcome, tell};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// As the API has it.
    Json,
    /// As manifests have it.
    Yaml,
    /// The table with node, reason, viewers and idle time.
    Wide,
}

/// Flags of `list`.
#[derive(Args)]
pub struct List {
    /// Sessions of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Print something else than the table
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
}

impl List {
    pub async fn run(self, cluster: &Cluster) -> Outcome {
        let sessions = cluster.list(self.all_namespaces).await?;
        match self.output {
            Some(Format::Json) => print::objects(sessions, print::Format::Json),
            Some(Format::Yaml) => print::objects(sessions, print::Format::Yaml),
            _ if sessions.is_empty() => {
                let place = if self.all_namespaces { "any namespace" } else { cluster.namespace() };
                tell(&format!("no sessions in {place}; `kubectl vdi create` makes one"));
                Ok(())
            }
            format => {
                let columns = Columns { namespace: self.all_namespaces, wide: format == Some(Format::Wide) };
                Ok(out(&table(&sessions, columns, Timestamp::now()))?)
            }
        }
    }
}
