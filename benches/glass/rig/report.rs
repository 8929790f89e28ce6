//! The table: one row per figure, one column per product, their ratio and what is wanted of it.

use std::fmt::Write;

use super::measure::{Cores, Run};
use super::stats::{max, median, min, quantile};

/// What is wanted of the first product, the last one being the peer.
#[derive(Clone, Copy)]
enum Want {
    /// At most this multiple of the peer's.
    Ratio(f64),
    /// At most this, whatever the peer's.
    AtMost(f64),
    /// At least this, whatever the peer's.
    AtLeast(f64),
    /// At least the peer's less this.
    NotBelow(f64),
    /// For information.
    Nothing,
}

struct Row {
    name: &'static str,
    decimals: usize,
    want: Want,
    figure: fn(&[&Run]) -> f64,
}

const fn row(name: &'static str, decimals: usize, want: Want, figure: fn(&[&Run]) -> f64) -> Row {
    Row { name, decimals, want, figure }
}

const ROWS: &[Row] = &[
    row("still: glass to glass p50, ms", 1, Want::Ratio(0.25), |r| quantile(&still_ms(r), 0.5)),
    row("still: glass to glass p90, ms", 1, Want::Ratio(0.25), |r| quantile(&still_ms(r), 0.9)),
    row("still: glass to glass max, ms", 1, Want::Nothing, |r| max(&still_ms(r))),
    row("motion: median of run p50, ms", 1, Want::Ratio(1.0), |r| median(&run_quantiles(r, 0.5))),
    row("motion: median of run p90, ms", 1, Want::Ratio(0.85), |r| median(&run_quantiles(r, 0.9))),
    row("motion: best run p50, ms", 1, Want::Nothing, |r| min(&run_quantiles(r, 0.5))),
    row("motion: worst run p50, ms", 1, Want::Nothing, |r| max(&run_quantiles(r, 0.5))),
    row("motion: worst ÷ best run p50", 2, Want::AtMost(1.25), |r| {
        max(&run_quantiles(r, 0.5)) / min(&run_quantiles(r, 0.5))
    }),
    row("motion: presented ÷ drawn, worst run", 3, Want::AtLeast(0.92), |r| {
        min(&pick(r, |r| r.motion.as_ref().map(|m| m.presented)))
    }),
    row("picture: SSIM after 1 s still", 4, Want::NotBelow(0.005), |r| {
        median(&pick(r, |r| r.still.as_ref().map(|s| s.ssim)))
    }),
    row("picture: SSIM in motion, median", 4, Want::NotBelow(0.005), |r| median(&motion_ssim(r))),
    row("picture: SSIM in motion, worst", 4, Want::Nothing, |r| min(&motion_ssim(r))),
    row("text page flipped: readable after, median ms", 0, Want::Nothing, |r| median(&flip_ms(r))),
    row("text page flipped: readable after, worst ms", 0, Want::AtMost(500.0), |r| max(&flip_ms(r))),
    row("text scrolled: readable after, median ms", 0, Want::Ratio(1.0), |r| median(&scroll_ms(r))),
    row("text scrolled: readable after, worst ms", 0, Want::Nothing, |r| max(&scroll_ms(r))),
    row("server CPU, no change, cores", 4, Want::Ratio(0.03), |r| idle(r, |c| c.server)),
    row("server CPU, blinking caret, cores", 4, Want::Nothing, |r| sparse(r, |c| c.server)),
    row("server CPU, motion, cores", 3, Want::Ratio(0.8), |r| motion(r, |c| c.server)),
    row("X server CPU, no change, cores", 4, Want::Nothing, |r| idle(r, |c| c.desktop)),
    row("X server CPU, motion, cores", 3, Want::Nothing, |r| motion(r, |c| c.desktop)),
    row("Chromium CPU, no change, cores", 3, Want::Nothing, |r| idle(r, |c| c.browser)),
    row("Chromium CPU, motion, cores", 3, Want::Nothing, |r| motion(r, |c| c.browser)),
    row("the rig's own CPU, motion, cores", 3, Want::Nothing, |r| motion(r, |c| c.rig)),
    row("other programs' CPU, motion, worst run, cores", 2, Want::AtMost(0.2), |r| {
        max(&pick(r, |r| r.motion.as_ref().map(|m| m.cores.others)))
    }),
    row("server memory, resident, MiB", 0, Want::Ratio(0.4), |r| median(&pick(r, |r| Some(r.memory.rss)))),
    row("server memory, proportional, MiB", 0, Want::Nothing, |r| median(&pick(r, |r| Some(r.memory.pss)))),
    row("browser start to first picture, ms", 0, Want::Nothing, |r| {
        median(&pick(r, |r| Some(r.first_picture_ms)))
    }),
];

/// The table in Markdown; `products` in the order of columns, the last being the peer.
pub fn markdown(runs: &[Run], products: &[&str]) -> String {
    let of = |name: &str| runs.iter().filter(|r| r.product == name).collect::<Vec<_>>();
    let columns: Vec<Vec<&Run>> = products.iter().map(|name| of(name)).collect();
    let compared = columns.len() > 1;
    let mut text = String::from("| figure |");
    for (name, runs) in products.iter().zip(&columns) {
        // Writing to a String cannot fail.
        let _ = write!(text, " {name} ({} runs) |", runs.len());
    }
    text.push_str(if compared { " ratio | wanted | |\n" } else { " wanted | |\n" });
    text.push_str(&"|---".repeat(columns.len() + 3 + usize::from(compared)));
    text.push_str("|\n");
    for row in ROWS {
        let figures: Vec<f64> = columns.iter().map(|runs| (row.figure)(runs)).collect();
        if figures.iter().all(|f| f.is_nan()) {
            continue;
        }
        let _ = write!(text, "| {} |", row.name);
        for figure in &figures {
            let _ = write!(text, " {} |", number(*figure, row.decimals));
        }
        let ours = figures.first().copied().unwrap_or(f64::NAN);
        let theirs = if compared { figures.last().copied().unwrap_or(f64::NAN) } else { f64::NAN };
        if compared {
            let _ = write!(text, " {} |", number(ours / theirs, 3));
        }
        let _ = writeln!(text, " {} | {} |", wanted(row.want), verdict(row.want, ours, theirs));
    }
    text
}

fn wanted(want: Want) -> String {
    match want {
        Want::Ratio(limit) => format!("≤ {limit} ×"),
        Want::AtMost(limit) => format!("≤ {limit}"),
        Want::AtLeast(limit) => format!("≥ {limit}"),
        Want::NotBelow(slack) => format!("≥ theirs − {slack}"),
        Want::Nothing => String::new(),
    }
}

fn verdict(want: Want, ours: f64, theirs: f64) -> &'static str {
    let (holds, known) = match want {
        Want::Nothing => return "",
        Want::Ratio(limit) => (ours <= limit * theirs, !(ours * theirs).is_nan()),
        Want::AtMost(limit) => (ours <= limit, !ours.is_nan()),
        Want::AtLeast(limit) => (ours >= limit, !ours.is_nan()),
        Want::NotBelow(slack) => (ours >= theirs - slack, !(ours * theirs).is_nan()),
    };
    match (known, holds) {
        (false, _) => "?",
        (true, true) => "yes",
        (true, false) => "**no**",
    }
}

fn number(value: f64, decimals: usize) -> String {
    match value {
        v if v.is_nan() => "–".to_owned(),
        v if v.is_infinite() => "never".to_owned(),
        v => format!("{v:.decimals$}"),
    }
}

fn pick(runs: &[&Run], figure: impl Fn(&Run) -> Option<f64>) -> Vec<f64> {
    runs.iter().filter_map(|r| figure(r)).collect()
}

fn still_ms(runs: &[&Run]) -> Vec<f64> {
    runs.iter().filter_map(|r| r.still.as_ref()).flat_map(|s| s.latency.all_ms()).collect()
}

fn run_quantiles(runs: &[&Run], q: f64) -> Vec<f64> {
    pick(runs, |r| r.motion.as_ref().map(|m| quantile(&m.latency.all_ms(), q)))
}

fn motion_ssim(runs: &[&Run]) -> Vec<f64> {
    runs.iter().filter_map(|r| r.motion.as_ref()).flat_map(|m| m.ssim.iter().copied()).collect()
}

fn flip_ms(runs: &[&Run]) -> Vec<f64> {
    let pages = runs.iter().filter_map(|r| r.text.as_ref()).flat_map(|t| &t.flip_ms);
    pages.map(|ms| ms.unwrap_or(f64::INFINITY)).collect()
}

fn scroll_ms(runs: &[&Run]) -> Vec<f64> {
    let pages = runs.iter().filter_map(|r| r.text.as_ref()).flat_map(|t| &t.scroll_ms);
    pages.map(|ms| ms.unwrap_or(f64::INFINITY)).collect()
}

fn idle(runs: &[&Run], part: fn(&Cores) -> f64) -> f64 {
    median(&pick(runs, |r| r.idle.as_ref().map(|i| part(&i.idle))))
}

fn sparse(runs: &[&Run], part: fn(&Cores) -> f64) -> f64 {
    median(&pick(runs, |r| r.idle.as_ref().map(|i| part(&i.sparse))))
}

fn motion(runs: &[&Run], part: fn(&Cores) -> f64) -> f64 {
    median(&pick(runs, |r| r.motion.as_ref().map(|m| part(&m.cores))))
}

#[cfg(test)]
#[allow(unused, reason = "a bench without a harness is built with `test` set, yet runs none")]
mod tests {
    use super::*;

    #[test]
    fn verdicts_follow_the_wish() {
        assert_eq!(verdict(Want::Ratio(0.25), 5.0, 21.0), "yes");
        assert_eq!(verdict(Want::Ratio(0.25), 6.0, 21.0), "**no**");
        assert_eq!(verdict(Want::NotBelow(0.005), 0.945, 0.949), "yes");
        assert_eq!(verdict(Want::AtLeast(0.92), 0.91, f64::NAN), "**no**");
        assert_eq!(verdict(Want::Ratio(1.0), 1.0, f64::NAN), "?");
        assert_eq!(verdict(Want::Nothing, 1.0, 2.0), "");
    }

    #[test]
    fn numbers_without_a_value_are_marked() {
        assert_eq!(number(f64::NAN, 1), "–");
        assert_eq!(number(f64::INFINITY, 1), "never");
        assert_eq!(number(1.25, 1), "1.2");
    }

    #[test]
    fn rows_without_figures_are_left_out() {
        assert_eq!(markdown(&[], &["deskgate", "selkies"]).lines().count(), 2);
    }
}
