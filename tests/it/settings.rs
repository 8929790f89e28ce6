//! The settings reference is what the program says of itself.

use std::process::Command;

use crate::golden;

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_deskgate")).args(arguments).env_clear().output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_settings_reference_is_current() {
    let intro = "# Settings\n\nWritten by `UPDATE_GOLDEN=1 cargo test --test it settings`; a test fails when it is \
        stale.\n\nEvery flag of `deskgate serve` is also a `DESKGATE_*` variable and a key of the file of \
        `--config` (TOML). What is set in several places is taken from the last of: default, file, `SELKIES_*`, \
        `DESKGATE_*`, flag. Passwords come from the environment only: `DESKGATE_BASIC_AUTH_PASSWORD`, \
        `DESKGATE_BASIC_AUTH_VIEWONLY_PASSWORD`, and likewise `DESKGATE_TURN_USERNAME`, `DESKGATE_TURN_PASSWORD`, \
        `DESKGATE_TURN_SHARED_SECRET`.\n\nOf Selkies' names these are known: `SELKIES_ADDR`, \
        `SELKIES_PORT`, `SELKIES_ENCODER`, `SELKIES_FRAMERATE`, `SELKIES_VIDEO_BITRATE`, \
        `SELKIES_ENABLE_RESIZE`, `SELKIES_ENABLE_HTTPS`, `SELKIES_HTTPS_CERT`, `SELKIES_HTTPS_KEY`, \
        `SELKIES_TURN_HOST`, `SELKIES_TURN_PORT`, `SELKIES_TURN_PROTOCOL`, `SELKIES_TURN_TLS`, \
        `SELKIES_TURN_USERNAME`, `SELKIES_TURN_PASSWORD`, `SELKIES_TURN_SHARED_SECRET`, `SELKIES_TURN_REST_URI`, \
        `SELKIES_STUN_HOST`, `SELKIES_STUN_PORT`, `SELKIES_ENABLE_BASIC_AUTH`, `SELKIES_BASIC_AUTH_USER`, \
        `SELKIES_BASIC_AUTH_PASSWORD`, `SELKIES_BASIC_AUTH_VIEWONLY_PASSWORD`.\n";
    let section = |name: &str| format!("\n## `deskgate {name}`\n\n```text\n{}```\n", help(&[name, "--help"]));
    let text = ["serve", "demo", "encoders", "token"].map(section).concat();
    golden::check("../../docs/settings.md", &format!("{intro}{text}"));
}

#[test]
fn no_flag_carries_a_secret() {
    let text = help(&["serve", "--help"]);
    assert!(!text.contains("--basic-auth-password") && !text.contains("--token-secret "), "{text}");
    assert!(!text.contains("--turn-password") && !text.contains("--turn-shared-secret"), "{text}");
}
