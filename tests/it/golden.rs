//! Files that are generated, committed, and compared: `UPDATE_GOLDEN=1 cargo test` writes them anew.

use std::path::PathBuf;

/// Compares `actual` with `tests/golden/<name>`.
pub fn check(name: &str, actual: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == actual, "{name} is stale: run UPDATE_GOLDEN=1 cargo test, and read the difference");
}
