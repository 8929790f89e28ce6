//! The operator on a real API server, as its users get it: `make bench`.
//!
//! The rig is that of the cluster tests: etcd, kube-apiserver and its garbage collector; nodes are played. The operator
//! is the release binary, a process of its own. What it costs is measured beside a bare client that makes the same
//! objects at the same concurrency, in the same run.

#![allow(dead_code, reason = "the rig is that of the tests, which use all of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A rig that fails is no measure.
#![allow(clippy::print_stdout, reason = "the table is what was asked for")]

#[path = "../../tests/cluster/rig/mod.rs"]
mod rig;

mod bare;
mod stage;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use deskgate::crd::VDISession;
use deskgate::operator::names;
use kube::ResourceExt;

use stage::{Stage, What};

/// Measures the operator.
#[derive(Parser)]
struct Args {
    /// Sessions of the burst.
    #[arg(long)]
    burst: Option<usize>,
    /// Sessions with a real gateway behind each that are watched while nothing changes.
    #[arg(long)]
    settled: Option<usize>,
    /// One part of it alone.
    #[arg(long)]
    only: Option<Part>,
    /// Few and short measures: a check of the bench rather than a result.
    #[arg(long)]
    quick: bool,
    /// `cargo bench` passes this to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What can be measured alone.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Latency,
    Burst,
    Silence,
}

/// What bare client and operator do at a time.
const CONCURRENCY: usize = 16;

#[tokio::main]
async fn main() {
    let args = Args::parse();
    let burst = args.burst.unwrap_or(if args.quick { 50 } else { 1000 });
    let settled = args.settled.unwrap_or(if args.quick { 3 } else { 100 });
    let still = Duration::from_secs(if args.quick { 10 } else { 60 });
    println!("| the operator, on kube-apiserver 1.34 | | aim |\n| --- | --- | --- |");
    let wanted = |part| args.only.is_none_or(|only| only == part);
    if wanted(Part::Latency) {
        one_at_a_time(if args.quick { 20 } else { 100 }).await;
    }
    if wanted(Part::Burst) {
        bursts(burst).await;
    }
    if wanted(Part::Silence) {
        silence(settled, still).await;
    }
}

/// From the moment that the API server has a session to its pod: both are seen by one watch each.
async fn one_at_a_time(count: usize) {
    let stage = Stage::new("latency").await;
    let operator = stage.operator().await;
    let mut told = stage.watch().await;
    let mut samples = Vec::with_capacity(count);
    for n in 0..count {
        let name = format!("s{n}");
        stage.make(&name).await;
        let session = told.first_of(What::Session, &name).await;
        let pod = told.first_of(What::Pod, &names::child(&name)).await;
        samples.push(pod.duration_since(session).as_secs_f64() * 1e3);
        stage.remove(&name).await;
    }
    samples.sort_by(f64::total_cmp);
    let at = |q: f64| samples[((samples.len() - 1) as f64 * q).round() as usize];
    println!(
        "| a watch tells of a session → one tells of its pod, one at a time, n = {count}: p50, p99 | {:.0}, {:.0} ms | p99 100 ms |",
        at(0.5),
        at(0.99)
    );
    drop(operator);
}

/// A burst, beside a bare client that POSTs the same objects.
async fn bursts(count: usize) {
    let mut ratios = Vec::new();
    let mut text = Vec::new();
    for round in 0..2 {
        let bare = Stage::new("bare").await;
        let bare_took = bare::post(&bare, count, CONCURRENCY).await;
        let stage = Stage::new("burst").await;
        let operator = stage.operator().await;
        let begun = Instant::now();
        stage.make_all(count, CONCURRENCY).await;
        stage.wait_for_pods(count).await;
        let took = begun.elapsed();
        ratios.push(took.as_secs_f64() / bare_took.as_secs_f64());
        text.push(format!("{:.1} / {:.1} s", took.as_secs_f64(), bare_took.as_secs_f64()));
        if round == 0 {
            println!(
                "| memory of the operator with {count} sessions, resident | {:.0} MiB | 60 MB |",
                operator.resident() as f64 / 1024.0 / 1024.0
            );
        }
        drop(operator);
        stage.clear().await;
        bare.clear().await;
    }
    let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
    println!(
        "| a burst of {count} sessions until the last pod exists, of a bare client that POSTs the same objects at the \
         same concurrency ({}) | {mean:.2} × | 1.5 × |",
        text.join(", ")
    );
}

/// Writes while nothing changes, and after a restart.
async fn silence(count: usize, still: Duration) {
    let stage = Stage::new("settled").await;
    stage.serve_for_real();
    let operator = stage.operator().await;
    stage.make_all(count, 4).await;
    stage.wait_until_running(count).await;
    let watchers = stage.watch_each(count).await;
    stage.wait_for_viewers(count).await;
    let mark = stage.cluster.audit_mark();
    tokio::time::sleep(still).await;
    let writes = stage.writes(mark);
    println!(
        "| {count} sessions, each with a viewer, for {} s: writes other than of the lease | {} | 0 |",
        still.as_secs(),
        shown(&writes)
    );
    println!(
        "| memory of the operator then, resident | {:.0} MiB | 60 MB |",
        operator.resident() as f64 / 1024.0 / 1024.0
    );
    drop(operator);
    let mark = stage.cluster.audit_mark();
    let operator = stage.operator().await;
    tokio::time::sleep(still / 2).await;
    println!("| a restart of the operator: writes | {} | 0 |", shown(&stage.writes(mark)));
    drop((operator, watchers));
}

fn shown(writes: &BTreeMap<String, u32>) -> String {
    if writes.is_empty() {
        return "0".to_owned();
    }
    let each: Vec<String> = writes.iter().map(|(what, n)| format!("{n} × {what}")).collect();
    each.join(", ")
}

/// Whether a session is as the operator leaves it.
fn is_running(session: &VDISession) -> bool {
    session.status.as_ref().and_then(|s| s.phase) == Some(deskgate::crd::Phase::Running)
        && session.metadata.deletion_timestamp.is_none()
        && !session.name_any().is_empty()
}
