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

#[cfg(feature = "operator")]
#[test]
fn the_reference_of_kubectl_vdi_is_current() {
    let intro = "# `kubectl vdi`\n\nWritten by `UPDATE_GOLDEN=1 cargo test --test it settings`; a test fails when it is \
        stale.\n\n`deskgate session` has these commands; in your PATH under the name `kubectl-vdi` (a link will do), the same \
        program is kubectl's plugin:\n\n```sh\nln -s \"$(command -v deskgate)\" ~/.local/bin/kubectl-vdi\nkubectl vdi \
        list\n```\n\nEverything is done under your own rights. `create`, `list`, `suspend`, `resume` and `delete` need verbs of \
        their names (`list`, `get`, `patch`…) on `vdisessions.vdi.kasm.io`, and waiting needs `list` and `watch`; `open` \
        and `share` also need `get` on the session's Secret, `restart` on its pod (`--force`: `delete` too), `logs` on \
        `pods/log`. A refusal says which right is missing and how it is given.\n\nWhat was asked for goes to \
        standard output (the link, the table), progress and questions to standard error. A question wants the whole word \
        `yes`; `--yes` answers it beforehand.\n\n`open --browser` starts the browser with a file that leads on to the \
        link (in XDG_RUNTIME_DIR, readable by you alone): a link among a process's arguments could be read by every \
        user of the machine.\n";
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("kubectl-vdi");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_deskgate"), &plugin).unwrap();
    let help = |arguments: &[&str]| {
        let output = Command::new(&plugin).args(arguments).arg("--help").env_clear().output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let verbs = ["create", "list", "open", "share", "suspend", "resume", "restart", "delete", "logs"];
    let section = |name: &str| format!("\n## `kubectl vdi {name}`\n\n```text\n{}```\n", help(&[name]));
    let text = format!("{intro}\n```text\n{}```\n{}", help(&[]), verbs.map(section).concat());
    golden::check("../../docs/kubectl.md", &text);
}

#[test]
fn no_flag_carries_a_secret() {
    let text = help(&["serve", "--help"]);
    assert!(!text.contains("--basic-auth-password") && !text.contains("--token-secret "), "{text}");
    assert!(!text.contains("--turn-password") && !text.contains("--turn-shared-secret"), "{text}");
}
