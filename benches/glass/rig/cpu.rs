//! Processor time and memory of whole process trees, from `/proc`.

use std::collections::HashSet;
use std::fs;
use std::time::Instant;

use serde::Serialize;

/// Linux reports process times in 1/100 s on every architecture that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// What one process says of itself in `/proc/PID/stat`.
struct Stat {
    id: u32,
    parent: u32,
    group: u32,
    /// User and system time.
    own_ticks: u64,
    /// The same of children that have ended and been waited for.
    reaped_ticks: u64,
}

/// Processor time used since a moment.
#[derive(Clone, Copy)]
pub struct CpuMeter {
    of: Counted,
    ticks: u64,
    since: Instant,
}

#[derive(Clone, Copy)]
enum Counted {
    Tree(u32),
    Alone(u32),
    Machine,
}

impl CpuMeter {
    /// Counts for `root`, its descendants and its process group, from now on.
    pub fn tree(root: u32) -> Self {
        Self::start(Counted::Tree(root))
    }

    /// Counts for the one process `id`, from now on.
    pub fn alone(id: u32) -> Self {
        Self::start(Counted::Alone(id))
    }

    /// Counts for everything that runs on this machine, from now on.
    pub fn machine() -> Self {
        Self::start(Counted::Machine)
    }

    /// Processor cores used on average since the start.
    pub fn cores(&self) -> f64 {
        let used = self.of.ticks().saturating_sub(self.ticks);
        used as f64 / TICKS_PER_SECOND / self.since.elapsed().as_secs_f64()
    }

    fn start(of: Counted) -> Self {
        Self { of, ticks: of.ticks(), since: Instant::now() }
    }
}

impl Counted {
    fn ticks(self) -> u64 {
        match self {
            // A child's time moves to its parent once it has been waited for: both together only grow.
            Self::Tree(root) => tree(root).iter().map(|p| p.own_ticks + p.reaped_ticks).sum(),
            Self::Alone(id) => read_stat(id).map_or(0, |p| p.own_ticks),
            Self::Machine => busy_ticks(&fs::read_to_string("/proc/stat").unwrap_or_default()),
        }
    }
}

/// Memory of a process tree in MiB.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Memory {
    /// Resident pages, shared ones counted in every process.
    pub rss: f64,
    /// Resident pages, shared ones divided among their users.
    pub pss: f64,
}

/// Memory of `root`, its descendants and its process group.
pub fn memory(root: u32) -> Memory {
    let mut sum = Memory { rss: 0.0, pss: 0.0 };
    for process in tree(root) {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", process.id)).unwrap_or_default();
        sum.rss += kibibytes(&rollup, "Rss:") / 1024.0;
        sum.pss += kibibytes(&rollup, "Pss:") / 1024.0;
    }
    sum
}

/// File names of the mapped libraries of the tree that match `names`, sorted.
pub fn mapped_libraries(root: u32, names: &[&str]) -> Vec<String> {
    let mut found = HashSet::new();
    for process in tree(root) {
        let maps = fs::read_to_string(format!("/proc/{}/maps", process.id)).unwrap_or_default();
        let files = maps.lines().filter_map(|line| line.rsplit('/').next());
        found.extend(files.filter(|f| names.iter().any(|n| f.contains(n))).map(str::to_owned));
    }
    let mut found: Vec<String> = found.into_iter().collect();
    found.sort();
    found
}

fn kibibytes(rollup: &str, key: &str) -> f64 {
    let line = rollup.lines().find(|l| l.starts_with(key)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|v| v.parse().ok()).unwrap_or(0.0)
}

fn tree(root: u32) -> Vec<Stat> {
    let mut rest: Vec<Stat> = fs::read_dir("/proc").map_or_else(
        |_| Vec::new(),
        |entries| {
            let names = entries.flatten().map(|e| e.file_name());
            let ids = names.filter_map(|n| n.to_str().and_then(|n| n.parse::<u32>().ok()));
            ids.filter_map(read_stat).collect()
        },
    );
    let mut members = HashSet::from([root]);
    let mut found: Vec<Stat> = Vec::new();
    loop {
        let belongs = |p: &mut Stat| p.id == root || p.group == root || members.contains(&p.parent);
        let next: Vec<Stat> = rest.extract_if(.., belongs).collect();
        if next.is_empty() {
            return found;
        }
        members.extend(next.iter().map(|p| p.id));
        found.extend(next);
    }
}

/// The busy part of the first line of `/proc/stat`: all but idling and waiting for disks.
fn busy_ticks(text: &str) -> u64 {
    let fields = text.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<u64> = fields.take(8).filter_map(|f| f.parse().ok()).collect();
    ticks.iter().enumerate().filter(|(i, _)| ![3, 4].contains(i)).map(|(_, t)| t).sum()
}

fn read_stat(id: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name in brackets may hold spaces and brackets itself.
    let (id, rest) = (text.split(' ').next()?, text.rsplit_once(") ")?.1);
    let fields: Vec<&str> = rest.split(' ').collect();
    let number = |i: usize| fields.get(i)?.parse::<u64>().ok();
    let (own_ticks, reaped_ticks) = (number(11)? + number(12)?, number(13)? + number(14)?);
    Some(Stat {
        id: id.parse().ok()?,
        parent: number(1)? as u32,
        group: number(2)? as u32,
        own_ticks,
        reaped_ticks,
    })
}

#[cfg(test)]
#[allow(unused, reason = "a bench without a harness is built with `test` set, yet runs none")]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let text = "42 (odd) name (x)) S 7 40 40 0 -1 4194560 1 2 3 4 100 20 30 4 20 0 1 0 5 6 7";
        let stat = parse_stat(text).unwrap();
        assert_eq!((stat.id, stat.parent, stat.group), (42, 7, 40));
        assert_eq!((stat.own_ticks, stat.reaped_ticks), (120, 34));
    }

    #[test]
    fn idling_is_not_busy() {
        assert_eq!(busy_ticks("cpu  10 1 5 9000 70 2 3 4 50 60\ncpu0 1 1 1 1 1 1 1 1 1 1\n"), 25);
        assert_eq!(busy_ticks(""), 0);
    }

    #[test]
    fn a_truncated_line_is_no_process() {
        assert!(parse_stat("42 (x) S 7 40").is_none());
        assert!(parse_stat("").is_none());
    }

    #[test]
    fn this_process_uses_memory() {
        let memory = memory(std::process::id());
        assert!(memory.rss > 0.5 && memory.pss > 0.1);
    }
}
