//! Glass to glass by other ways than UDP, beside UDP: `make bench`.
//!
//! The rig is that of `benches/glass`. Every way gets the same displays, scenes and browser, one after the other in
//! alternating order, each with a fresh gateway and browser. Where UDP is not to be used, the browser lives in a
//! network namespace that nothing but a forwarder leads out of.

#![allow(dead_code, reason = "the rig is that of another bench, which uses all of it")]

#[path = "../glass/rig/mod.rs"]
mod rig;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use serde_json::json;

use rig::Result;
use rig::measure::{self, Effort, Part, Run, Stage};
use rig::narrow::{self, Seen};
use rig::product::{By, Deskgate, Product};
use rig::stats::quantile;

/// What a way may cost more than UDP at the median, milliseconds.
const DEARER_MS: f64 = 10.0;
/// The slow forwarder, kbit/s.
const SLOW_KBPS: u32 = 3000;
/// What the picture on the glass may be old behind it, milliseconds.
const OLD_MS: f64 = 1000.0;
/// A picture that wants less than so many times what the way carries tests nothing.
const PRESSING: f64 = 2.0;

const EFFORT: Effort = Effort { flips: 15, idle_s: 0, sparse_s: 0, motion_s: 4, pictures: 0, pages: 0 };
const QUICK: Effort = Effort { flips: 8, idle_s: 0, sparse_s: 0, motion_s: 2, pictures: 0, pages: 0 };

/// Measures what other ways than UDP cost.
#[derive(Parser)]
struct Args {
    /// Restarts of each way [default: 3, or 1 with --quick].
    #[arg(long)]
    runs: Option<u32>,
    /// Few and short measures: a check of the bench rather than a result.
    #[arg(long)]
    quick: bool,
    /// This project's binary.
    #[arg(long, default_value = "target/release/deskgate")]
    deskgate: PathBuf,
    /// Where every sample is written as JSON.
    #[arg(long, default_value = "target/paths.json")]
    json: PathBuf,
    /// X display numbers are taken from here on.
    #[arg(long, default_value_t = 170)]
    first_display: u32,
    /// `cargo bench` passes this to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match bench(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if even stderr is closed.
            let _ = note(&format!("paths: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn bench(args: &Args) -> Result<()> {
    let by = |by| Deskgate { program: args.deskgate.clone(), by };
    let ways = [by(By::Udp), by(By::Forwarder(None)), by(By::WebSocket(None))];
    let stage = Stage::build(args.first_display)?;
    let rounds = args.runs.unwrap_or(if args.quick { 1 } else { 3 });
    let runs = compare(&stage, &ways, rounds, if args.quick { QUICK } else { EFFORT })?;
    let mut text = comparison(&runs, &ways);
    let spans = if args.quick { 2 } else { 6 };
    let mut slow = Vec::new();
    for (free, narrow) in [
        (By::Forwarder(None), By::Forwarder(Some(SLOW_KBPS))),
        (By::WebSocket(None), By::WebSocket(Some(SLOW_KBPS))),
    ] {
        let name = by(narrow).name();
        note(&format!("{name}, full motion, then with {SLOW_KBPS} kbit/s"))?;
        let wanted = narrow::run(&stage, &by(free), 1)?;
        let seen = narrow::run(&stage, &by(narrow), spans)?;
        text.push_str(&slowness(name, &wanted, &seen));
        slow.push(json!({ "way": name, "wanted": wanted, "seen": seen }));
    }
    if let Some(folder) = args.json.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&args.json, serde_json::to_vec_pretty(&json!({ "runs": runs, "slow": slow }))?)?;
    writeln!(std::io::stdout(), "{text}\nEvery sample: {}", args.json.display())?;
    Ok(())
}

/// Every round starts each way once; every second round in reverse order.
fn compare(stage: &Stage, ways: &[Deskgate], rounds: u32, effort: Effort) -> Result<Vec<Run>> {
    let mut runs = Vec::new();
    for round in 0..rounds {
        let mut order: Vec<&Deskgate> = ways.iter().collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for way in order {
            note(&format!("round {} of {rounds}: {}", round + 1, way.name()))?;
            runs.push(measure::run(stage, way, round, &[Part::Still, Part::Motion], effort)?);
        }
    }
    Ok(runs)
}

type Pick = fn(&Run) -> Vec<f64>;

const SCENES: [(&str, Pick); 2] = [
    ("still desktop", |run| run.still.as_ref().map(|s| s.latency.all_ms()).unwrap_or_default()),
    ("full motion at 60 fps", |run| run.motion.as_ref().map(|m| m.latency.all_ms()).unwrap_or_default()),
];

fn comparison(runs: &[Run], ways: &[Deskgate]) -> String {
    let mut text =
        String::from("| glass to glass | p50, ms | p90, ms | more than UDP at p50, ms | aim | | n |\n");
    text.push_str("|---|---|---|---|---|---|---|\n");
    for (scene, pick) in SCENES {
        let of = |way: &Deskgate| -> Vec<f64> {
            runs.iter().filter(|run| run.product == way.name()).flat_map(pick).collect()
        };
        let udp = ways.first().map(|way| quantile(&of(way), 0.5)).unwrap_or(f64::NAN);
        for way in ways {
            let ms = of(way);
            let (p50, p90) = (quantile(&ms, 0.5), quantile(&ms, 0.9));
            let name = if way.by == By::Udp { "UDP" } else { way.name() };
            let (more, aim) = match way.by {
                By::Udp => (String::new(), ["", ""]),
                By::Forwarder(_) => (format!("{:+.1}", p50 - udp), ["≤ 10", reached(p50 - udp <= DEARER_MS)]),
                By::WebSocket(_) => (format!("{:+.1}", p50 - udp), ["", ""]),
            };
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "| {scene}, {name} | {p50:.1} | {p90:.1} | {more} | {} | {} | {} |",
                aim[0],
                aim[1],
                ms.len()
            );
        }
    }
    text
}

fn slowness(name: &str, wanted: &[Seen], seen: &[Seen]) -> String {
    let wanted = wanted.iter().map(|s| s.kbps).fold(f64::NAN, f64::max);
    let mut text = format!(
        "\n{name} of {SLOW_KBPS} kbit/s, full motion at 60 fps from the first line on (without the limit it takes \
         {wanted:.0} kbit/s: {}), age of the picture on the glass:\n\n\
         | seconds | p50, ms | p95, ms | max, ms | < 1 s | frames/s | kbit/s |\n|---|---|---|---|---|---|---|\n",
        if wanted >= PRESSING * f64::from(SLOW_KBPS) {
            "far more"
        } else {
            "**too little to test anything**"
        },
    );
    for (span, seen) in seen.iter().enumerate() {
        let [p50, p95, max] = seen.ages();
        let from = span * 10;
        let (until, aim) = (from + 10, reached(max < OLD_MS));
        let _ = writeln!(
            text,
            "| {from}–{until} | {p50:.0} | {p95:.0} | {max:.0} | {aim} | {:.1} | {:.0} |",
            seen.fps, seen.kbps
        );
    }
    text
}

fn reached(holds: bool) -> &'static str {
    if holds { "yes" } else { "**no**" }
}

fn note(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stderr(), "{text}")?)
}
