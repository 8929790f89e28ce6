//! What the fuzzer begins with, and what it once broke: each file of each corpus, once.

#[path = "../../fuzz/src/targets/mod.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

#[test]
fn every_corpus_holds() {
    let mut broken = Vec::new();
    for target in targets::ALL {
        let files = entries(&corpora().join(target.name));
        assert!(!files.is_empty(), "{} has no corpus", target.name);
        for file in files {
            let input = fs::read(&file).unwrap();
            if catch_unwind(|| (target.run)(&input)).is_err() {
                broken.push(file);
            }
        }
    }
    assert_eq!(broken, Vec::<PathBuf>::new(), "see the panics above");
}

#[test]
fn every_corpus_has_a_target() {
    let names: BTreeSet<String> =
        entries(&corpora()).iter().map(|folder| folder.file_name().unwrap().display().to_string()).collect();
    assert_eq!(names, targets::ALL.iter().map(|target| target.name.to_owned()).collect());
}
