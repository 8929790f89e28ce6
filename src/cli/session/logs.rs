//! `logs`.

use clap::{Args, ValueEnum};
use deskgate::inject::CONTAINER;
use deskgate::kubectl::change;
use deskgate::kubectl::cluster::Cluster;
use deskgate::kubectl::error::Error;
use deskgate::kubectl::progress::standing;
use deskgate::operator::build::pod::DESKTOP;
use futures_util::AsyncReadExt;
use kube::api::LogParams;

use super::Outcome;
use super::print::write;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Container {
    /// What the desktop's image runs.
    Desktop,
    /// What streams it.
    Gateway,
}

/// Flags of `logs`.
#[derive(Args)]
pub struct Logs {
    /// Name of the session
    name: String,
    /// Whose log
    #[arg(short, long, value_enum, default_value = "desktop")]
    container: Container,
    /// Go on as it is written
    #[arg(short, long)]
    follow: bool,
    /// Of the container before its last restart
    #[arg(short, long)]
    previous: bool,
    /// Only so many lines of what is there [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    tail: Option<i64>,
}

impl Logs {
    pub async fn run(self, cluster: &Cluster) -> Outcome {
        let session = cluster.get(&self.name).await?;
        let Some(pod) = session.status.as_ref().and_then(|s| s.pod_name.clone()) else {
            let asleep = change::sleep(&session);
            let name = self.name;
            let why = asleep.as_ref().map_or_else(|| standing(&session), |sleep| sleep.text().to_owned());
            let next = match asleep {
                Some(_) => format!("`kubectl vdi resume {name}` starts it"),
                None => {
                    "try again when it has one; `kubectl vdi list -o wide` shows what it waits for".to_owned()
                }
            };
            return Err(Error::NoPod { name, why, next }.into());
        };
        let container = match self.container {
            Container::Desktop => DESKTOP,
            Container::Gateway => CONTAINER,
        };
        let params = LogParams {
            container: Some(container.to_owned()),
            follow: self.follow,
            previous: self.previous,
            tail_lines: self.tail,
            ..LogParams::default()
        };
        let mut log = std::pin::pin!(cluster.log(&pod, &params).await?);
        let mut part = vec![0; 16 * 1024];
        loop {
            let count = log.read(&mut part).await.map_err(|e| cluster.log_broke(&pod, &e))?;
            match part.get(..count) {
                Some([]) | None => return Ok(()),
                Some(text) => write(text)?,
            }
        }
    }
}
