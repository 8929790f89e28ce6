//! Glass to glass beside a peer: `make bench`.
//!
//! A program of the rig draws on X server A; a product streams A to a real Chromium on X server B;
//! the same program watches B. Both products get the same displays, scenes, browser and bitrate
//! cap, one after the other in alternating order, each with a fresh browser. Ratios count, not
//! absolute values. See `rig` for the parts.

#![allow(dead_code, reason = "the rig is that of `benches/paths` too, which uses the rest")]

mod rig;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use serde_json::json;

use rig::Result;
use rig::measure::{self, Effort, Part, Run, Stage};
use rig::motion::RATE;
use rig::product::{By, Deskgate, Product, Selkies};
use rig::report;

/// A run in which the rig itself draws slower than this says nothing about the product.
const MIN_DRAWN_FPS: f64 = 58.0;
/// Runs spoilt by a busy machine that are repeated before giving up.
const SPARE_RUNS: u32 = 3;

const FULL: Effort = Effort { flips: 20, idle_s: 30, sparse_s: 10, motion_s: 10, pictures: 12, pages: 3 };
const QUICK: Effort = Effort { flips: 10, idle_s: 10, sparse_s: 5, motion_s: 5, pictures: 6, pages: 1 };

/// Measures streaming products side by side on this machine.
#[derive(Parser)]
struct Args {
    /// Products, in the order of columns; ratios are the first one's to the last one's.
    #[arg(long, value_delimiter = ',', default_value = "deskgate,selkies")]
    products: Vec<String>,
    /// Measures to take; all by default.
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Part>,
    /// Restarts of each product [default: 6, or 2 with --quick].
    #[arg(long)]
    runs: Option<u32>,
    /// Few and short measures: a check of the rig rather than a result.
    #[arg(long)]
    quick: bool,
    /// This project's binary.
    #[arg(long, default_value = "target/release/deskgate")]
    deskgate: PathBuf,
    /// Where every sample is written as JSON.
    #[arg(long, default_value = "target/glass.json")]
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
            let _ = note(&format!("glass: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn bench(args: &Args) -> Result<()> {
    let products = args.products.iter().map(|n| find_product(n, args)).collect::<Result<Vec<_>>>()?;
    for product in &products {
        product.program()?;
    }
    let parts = match args.only.as_slice() {
        [] => vec![Part::Still, Part::Text, Part::Idle, Part::Motion],
        some => some.to_vec(),
    };
    let effort = if args.quick { QUICK } else { FULL };
    let rounds = args.runs.unwrap_or(if args.quick { 2 } else { 6 });
    let stage = Stage::build(args.first_display)?;
    let mut runs = Vec::new();
    let outcome = measure_all(&stage, &products, rounds, &parts, effort, &mut runs);
    let names: Vec<&str> = products.iter().map(|p| p.name()).collect();
    let (table, notes) = (report::markdown(&runs, &names), notes(&runs, &names));
    let whole = json!({ "effort": effort, "runs": runs, "table": table, "notes": notes });
    if let Some(folder) = args.json.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Samples of the runs before a failed one are kept for looking into it, but make no table.
    std::fs::write(&args.json, serde_json::to_vec_pretty(&whole)?)?;
    outcome?;
    writeln!(std::io::stdout(), "{table}\n{notes}\nEvery sample: {}", args.json.display())?;
    Ok(())
}

fn find_product(name: &str, args: &Args) -> Result<Box<dyn Product>> {
    match name {
        "deskgate" => Ok(Box::new(Deskgate { program: args.deskgate.clone(), by: By::Udp })),
        "selkies" => Ok(Box::new(Selkies)),
        _ => Err(format!("no product {name:?}; there are deskgate and selkies").into()),
    }
}

/// Every round starts each product once; every second round in reverse order.
fn measure_all(
    stage: &Stage,
    products: &[Box<dyn Product>],
    rounds: u32,
    parts: &[Part],
    effort: Effort,
    runs: &mut Vec<Run>,
) -> Result<()> {
    let mut spare = SPARE_RUNS;
    for round in 0..rounds {
        let mut order: Vec<&dyn Product> = products.iter().map(Box::as_ref).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for product in order {
            runs.push(measure_once(stage, product, round, parts, effort, &mut spare)?);
        }
    }
    Ok(())
}

fn measure_once(
    stage: &Stage,
    product: &dyn Product,
    round: u32,
    parts: &[Part],
    effort: Effort,
    spare: &mut u32,
) -> Result<Run> {
    loop {
        note(&format!("round {}: {}", round + 1, product.name()))?;
        let run = measure::run(stage, product, round, parts, effort)?;
        match run.motion.as_ref().map(|m| m.drawn_fps) {
            Some(fps) if fps < MIN_DRAWN_FPS && *spare == 0 => {
                return Err(format!(
                    "this machine is too busy: the rig itself drew {fps:.1} of {RATE} frames/s"
                )
                .into());
            }
            Some(fps) if fps < MIN_DRAWN_FPS => {
                *spare -= 1;
                note(&format!("the rig drew only {fps:.1} frames/s: the run does not count"))?;
            }
            _ => return Ok(run),
        }
    }
}

/// What the table is about: command lines, encoders, and the rig's own resolution.
fn notes(runs: &[Run], products: &[&str]) -> String {
    let mut lines = Vec::new();
    for name in products {
        let Some(run) = runs.iter().rfind(|r| r.product == *name) else { continue };
        lines.push(format!("{name}: `{}`", run.command));
        lines.extend(run.evidence.iter().map(|e| format!("  {e}")));
    }
    let still = runs.iter().filter_map(|r| r.still.as_ref()).map(|s| s.latency.poll_ms);
    let motion = runs.iter().filter_map(|r| r.motion.as_ref()).map(|m| m.latency.poll_ms);
    let poll = rig::stats::max(&still.chain(motion).collect::<Vec<_>>());
    if !poll.is_nan() {
        lines.push(format!("The patch is looked at every {poll:.2} ms or more often."));
    }
    lines.join("\n")
}

fn note(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stderr(), "{text}")?)
}
