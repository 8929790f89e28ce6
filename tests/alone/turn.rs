//! The TURN server before an independent client: coturn's, judged by what it says of each step.

use std::process::Command;

use crate::gateway::Gateway;
use crate::gateway::LIGHT;
use crate::gateway::viewer::Viewer;

/// What the client said, with these arguments, of an attempt to reach `peer` (address and port).
fn client(gateway: &Gateway, transport: &[&str], peer: (&str, u16), access: &(String, String)) -> String {
    let (host, port) = (gateway.address.ip().to_string(), gateway.address.port().to_string());
    let peer_port = peer.1.to_string();
    let mut command = Command::new("timeout");
    command.args(["20", "turnutils_uclient", "-v", "-c", "-n", "1", "-m", "1", "-p", &port]);
    command.args(["-u", &access.0, "-w", &access.1, "-e", peer.0, "-r", &peer_port]);
    command.args(transport).arg(host);
    let output = command.output().expect("turnutils_uclient is installed (Debian: coturn)");
    [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
}

pub fn access(viewer: &Viewer) -> (String, String) {
    let seen = viewer.seen();
    let hello = seen.messages.iter().find(|m| m["type"] == "hello").expect("a greeting");
    let text = |name: &str| hello["turn"][name].as_str().expect("credentials").to_owned();
    (text("username"), text("credential"))
}

#[test]
fn an_independent_client_gets_through_to_this_gateway_and_to_nobody_else() {
    let gateway = Gateway::start(&[&LIGHT[..], &["--tls", "self-signed"]].concat());
    let viewer = Viewer::watching(&gateway);
    let access = access(&viewer);
    let (host, port) = (gateway.address.ip().to_string(), gateway.address.port());
    for transport in [&[][..], &["-t"], &["-t", "-S"]] {
        // It binds a channel to the port after the one that it is given, twice, then to that one itself.
        let said = client(&gateway, transport, (&host, port - 1), &access);
        assert_eq!(said.matches("allocate response received").count(), 4, "{transport:?}: {said}");
        assert_eq!(said.matches("success: 0x").count(), 2, "the offered port: {transport:?}: {said}");
        assert_eq!(said.matches("error 403").count(), 1, "the other port: {transport:?}: {said}");
        let permission = [transport, &["-s"]].concat();
        let said = client(&gateway, &permission, (&host, port), &access);
        assert!(said.contains("create perm") && !said.contains("error 4"), "{permission:?}: {said}");
        for elsewhere in [("127.0.0.2", port), ("10.96.0.1", 443), ("169.254.169.254", 80)] {
            let said = client(&gateway, transport, elsewhere, &access);
            assert!(said.contains("error 403") && !said.contains("success: 0x"), "{elsewhere:?}: {said}");
        }
    }
}
