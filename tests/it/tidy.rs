//! Tidiness is a test: who imports whom, how long files are, that no file is dead.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const MAX_LINES: usize = 600;
/// Modules that touch the world. They never import each other; `serve` and `demo` wire them.
const EDGES: [&str; 6] = ["capture", "desktop", "http", "media", "probe", "transport"];
/// Modules without sockets, clocks, randomness, GStreamer.
const PURE: [&str; 9] =
    ["config", "crd", "frame", "inject", "session", "token", "trusted_net", "turn", "wire"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(dir: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && !["node_modules", "dist", "target", "golden"].iter().any(|skip| name == *skip) {
            found.extend(files(&path, extensions));
        } else if path.extension().is_some_and(|e| extensions.iter().any(|x| e == *x)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).unwrap();
    inside.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// The code of a file without its tests: those may use clocks.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]").next().unwrap().to_owned()
}

fn is_test(path: &Path) -> bool {
    path.file_stem().is_some_and(|s| s == "tests" || s.to_string_lossy().ends_with("_tests"))
}

#[test]
fn edges_do_not_import_each_other_and_pure_modules_import_no_edge() {
    let mut wrong = Vec::new();
    for path in files(&root().join("src"), &["rs"]) {
        let module = module_of(&path);
        let forbidden: Vec<&str> = match module.as_str() {
            m if EDGES.contains(&m) => {
                EDGES.iter().copied().filter(|e| *e != m).chain(["serve", "demo"]).collect()
            }
            m if PURE.contains(&m) => EDGES.iter().copied().chain(["serve", "demo", "display"]).collect(),
            _ => continue,
        };
        let text = code(&path);
        wrong.extend(
            forbidden
                .iter()
                .filter(|f| text.contains(&format!("crate::{f}")))
                .map(|f| format!("{}: {f}", path.display())),
        );
    }
    assert_eq!(wrong, Vec::<String>::new(), "forbidden imports");
}

#[test]
fn pure_modules_read_no_clock_socket_or_randomness() {
    const EFFECTS: [&str; 9] = [
        "Instant::now",
        "SystemTime::now",
        "std::net::Tcp",
        "std::net::Udp",
        "std::fs",
        "tokio::",
        "gstreamer::",
        "getrandom::",
        "std::thread",
    ];
    let mut wrong = Vec::new();
    for path in files(&root().join("src"), &["rs"]) {
        let text = code(&path);
        let claims = text.starts_with("//! PURE");
        if (PURE.contains(&module_of(&path).as_str()) || claims) && !is_test(&path) {
            wrong.extend(
                EFFECTS.iter().filter(|e| text.contains(**e)).map(|e| format!("{}: {e}", path.display())),
            );
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "effects in pure modules");
}

#[test]
fn no_file_is_past_600_lines() {
    let folders = ["src", "tests", "benches", "fuzz/src", "web/src", "web/test"];
    let long: Vec<String> = folders
        .iter()
        .flat_map(|f| files(&root().join(f), &["rs", "ts", "mjs", "css"]))
        .filter_map(|path| {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            (lines > MAX_LINES).then(|| format!("{}: {lines}", path.display()))
        })
        .collect();
    assert_eq!(long, Vec::<String>::new(), "look for a seam");
}

#[test]
fn every_rust_file_is_a_module_of_something() {
    let all: Vec<PathBuf> = ["src", "tests", "benches", "fuzz/src"]
        .iter()
        .flat_map(|f| files(&root().join(f), &["rs"]))
        .collect();
    let declared: BTreeSet<String> = all
        .iter()
        .flat_map(|p| {
            fs::read_to_string(p).unwrap().lines().map(str::trim).map(str::to_owned).collect::<Vec<_>>()
        })
        .filter_map(|line| {
            let line = line
                .strip_prefix("#[path = \"")
                .map(|l| l.trim_end_matches("\"]").to_owned())
                .or_else(|| {
                    let rest = line.trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ");
                    let rest = rest.trim_start_matches("pub ").strip_prefix("mod ")?;
                    rest.strip_suffix(';').map(str::to_owned)
                })?;
            Some(line.trim_end_matches(".rs").to_owned())
        })
        .collect();
    let roots = ["main", "lib", "build"];
    let dead: Vec<String> = all
        .iter()
        .filter_map(|path| {
            let stem = path.file_stem()?.to_string_lossy().into_owned();
            let name =
                if stem == "mod" { path.parent()?.file_name()?.to_string_lossy().into_owned() } else { stem };
            (!roots.contains(&name.as_str()) && !declared.contains(&name)).then(|| path.display().to_string())
        })
        .collect();
    assert_eq!(dead, Vec::<String>::new(), "files that nothing declares");
}

#[test]
fn every_rust_file_says_what_it_is() {
    let silent: Vec<String> = files(&root().join("src"), &["rs"])
        .into_iter()
        .filter(|p| !is_test(p) && !fs::read_to_string(p).unwrap().starts_with("//!"))
        .map(|p| p.display().to_string())
        .collect();
    assert_eq!(silent, Vec::<String>::new(), "files without a first line that says what they are");
}

#[test]
fn links_of_the_documentation_lead_somewhere() {
    let mut dead = Vec::new();
    let top = fs::read_dir(root())
        .unwrap()
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "md"));
    for path in
        top.chain(files(&root().join("docs"), &["md"])).chain(files(&root().join("gst-pipelines"), &["md"]))
    {
        let text = fs::read_to_string(&path).unwrap();
        for target in text.split("](").skip(1).filter_map(|t| t.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            let outside = target.contains("://") || file.is_empty();
            if !outside && !path.parent().unwrap().join(file).exists() {
                dead.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert_eq!(dead, Vec::<String>::new(), "dead links");
}

/// A table of tests that are not there protects nobody.
#[test]
fn tests_of_the_fault_table_exist() {
    let sources: String = ["src", "tests"]
        .iter()
        .flat_map(|dir| files(&root().join(dir), &["rs", "mjs"]))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let table = fs::read_to_string(root().join("docs/faults.md")).unwrap();
    let names =
        table.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.rsplit(" | ").next());
    let names: Vec<&str> = names.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    let missing = |name: &&&str| {
        !sources.contains(&format!("fn {name}(")) && !sources.contains(&format!("test(\"{name}\""))
    };
    let missing: Vec<_> = names.iter().filter(missing).collect();
    assert!(names.len() > 50 && missing.is_empty(), "{missing:?}");
}
