//! X server and gateway as in a pod: other users, other IPC namespaces, one socket between them.

use std::process::{Command, Stdio};

use deskgate::frame::Rect;

use crate::gateway::viewer::Viewer;
use crate::gateway::{DEADLINE, Gateway, clean};
use crate::xvfb::{Xvfb, within};

/// `nobody`, in every Linux.
const OTHER_UID: &str = "65534";

/// Why this test cannot run here, if it cannot.
fn hindrance() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("not root".to_owned());
    }
    let tried = Command::new("unshare").args(["--ipc", "setpriv", "--reuid", OTHER_UID, "true"]).output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Some(format!("unshare: {error}")),
    }
}

#[test]
fn the_screen_crosses_users_and_ipc_namespaces_by_memfd() {
    if let Some(why) = hindrance() {
        eprintln!("skipped: {why}");
        return;
    }
    // No authority file: access control lets local users in, as the pod's shared socket does.
    let server = Xvfb::start_with("640x480x24", &["-ac"]);
    // The target directory may lie where other users cannot look.
    let folder = tempfile::Builder::new().prefix("deskgate-isolation").tempdir().unwrap();
    let binary = folder.path().join("deskgate");
    std::fs::copy(env!("CARGO_BIN_EXE_deskgate"), &binary).unwrap();
    open_to_all(folder.path());
    open_to_all(&binary);

    let mut command = Command::new("unshare");
    command.args(["--ipc", "setpriv", "--reuid", OTHER_UID, "--regid", OTHER_UID, "--clear-groups"]);
    command.arg(&binary).args(["serve", "--display", &format!(":{}", server.number)]).stdin(Stdio::null());
    clean(&mut command);
    command.env("HOME", folder.path()).env("GST_REGISTRY", "/dev/null");
    let gateway = Gateway::spawn(command);

    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    assert!(status.lines().any(|l| l.starts_with("Uid:") && l.contains(OTHER_UID)), "{status}");
    let ipc = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/ipc")).unwrap();
    assert_ne!(ipc(gateway.pid()), ipc(server.pid()));

    let viewer = Viewer::watching(&gateway);
    assert_eq!(gateway.status()["capture"]["shm"], "memfd");
    let painter = server.painter();
    // Still, so that what comes next can only come from the change.
    let fresh = |gateway: &Gateway| gateway.status()["capture"]["fresh"].as_u64().unwrap();
    let before = fresh(&gateway);
    painter.fill(Rect { x: 100, y: 100, width: 50, height: 50 }, 0x00FF_8000);
    within(DEADLINE, "the change to be captured", || (fresh(&gateway) > before).then_some(()));
    viewer.next_frame();
}

fn open_to_all(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
