//! Every crate that is linked may be: `deny.toml` says under which licences. `cargo deny` checks the same and more,
//! where it is installed; this needs nothing.

use std::process::Command;

use serde_json::Value;
use spdx::{Expression, LicenseReq, ParseMode};

fn packages() -> Vec<Value> {
    // What was built is there; crates of other platforms may not have been fetched.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut command = Command::new(env!("CARGO"));
    command.args([
        "metadata",
        "--offline",
        "--locked",
        "--format-version",
        "1",
        "--filter-platform",
        &platform,
    ]);
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

#[test]
fn every_crate_has_a_licence_that_is_allowed() {
    let file = format!("{}/deny.toml", env!("CARGO_MANIFEST_DIR"));
    let deny: toml::Table = std::fs::read_to_string(file).unwrap().parse().unwrap();
    let allowed: Vec<LicenseReq> = deny["licenses"]["allow"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| {
            Expression::parse(name.as_str().unwrap()).unwrap().requirements().next().unwrap().req.clone()
        })
        .collect();
    let mut refused = Vec::new();
    let mut seen = 0;
    for package in packages() {
        seen += 1;
        // Old crates write MIT/Apache-2.0.
        let licence = package["license"].as_str().unwrap_or_default();
        let fine = Expression::parse_mode(licence, ParseMode::LAX)
            .is_ok_and(|expression| expression.evaluate(|wanted| allowed.contains(wanted)));
        if !fine {
            refused.push(format!("{} {}: `{licence}`", package["name"], package["version"]));
        }
    }
    assert!(seen > 100, "only {seen} packages");
    assert!(refused.is_empty(), "not allowed by deny.toml: {refused:#?}");
}
