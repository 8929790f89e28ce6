//! A viewer without a browser, on another implementation of WebRTC than the gateway's: what would a viewer get?

pub mod access;
mod decoder;
mod lean;
pub mod path;
mod peer;
mod picture;
mod ping;
mod pipe;
pub mod report;
mod signal;
mod straight;
mod swarm;
mod tally;
pub mod target;
pub mod verdict;
mod watch;

pub use swarm::swarm;
pub use watch::{Options, probe};

use tokio::task::JoinHandle;

/// Ends with what it belongs to.
struct Task(JoinHandle<()>);

impl Task {
    fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
