//! The real `deskgate probe` before a real gateway: every path, and everything that can be wrong.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::gateway::{DEADLINE, Gateway, LIGHT, deskgate, http, secure};
use crate::xvfb::{Xvfb, within};

/// What a probe found: its exit code, and its document.
struct Found {
    code: i32,
    json: Value,
}

impl Found {
    fn verdict(&self) -> &str {
        assert_eq!(self.json["exitCode"], self.code, "{}", self.json);
        self.json["verdict"].as_str().expect("a verdict")
    }

    fn why(&self) -> &str {
        self.json["why"].as_str().expect("a reason")
    }
}

fn probe_command(url: &str, args: &[&str]) -> Command {
    let mut command = deskgate();
    command.args(["probe", url]).args(args).stdin(Stdio::null());
    command
}

fn finish(mut command: Command) -> (Output, i32) {
    let output = command.output().expect("deskgate runs");
    let code = output.status.code().expect("no signal");
    (output, code)
}

fn probe_by(command: Command) -> Found {
    let (output, code) = finish(command);
    let json = serde_json::from_slice(&output.stdout);
    let json = json.unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
    Found { code, json }
}

fn probe(url: &str, args: &[&str]) -> Found {
    probe_by(probe_command(url, &[&["--json", "--seconds", "1"], args].concat()))
}

fn url(gateway: &Gateway, scheme: &str) -> String {
    format!("{scheme}://{}/", gateway.address)
}

/// A report of a path that worked.
fn check_watched(report: &Value, took: &str) {
    assert_eq!(report["verdict"], "ok", "{report:#}");
    assert_eq!(report["connection"]["path"], took, "{report:#}");
    let video = &report["video"];
    assert_eq!(
        (&video["codec"], &video["width"], &video["height"]),
        (&"H264".into(), &1280.into(), &720.into())
    );
    for (part, field) in [
        ("video", "frames"),
        ("video", "fps"),
        ("video", "changes"),
        ("network", "kbps"),
        ("network", "packets"),
    ] {
        assert!(report[part][field].as_f64().is_some_and(|n| n > 0.0), "{part}.{field}: {report:#}");
    }
    assert!(video["encoder"].is_string() && video["decoder"].is_string(), "{report:#}");
    assert!(report["network"]["roundTripMs"]["median"].is_f64(), "{report:#}");
    let steps: Vec<f64> =
        ["http", "webSocket", "hello", "answer", "ice", "dtls", "firstPacket", "firstFrame"]
            .iter()
            .filter_map(|step| report["steps"][step].as_f64())
            .collect();
    assert_eq!(steps.len(), if took == "ws" { 5 } else { 8 }, "{report:#}");
    assert!(steps.is_sorted(), "{report:#}");
}

#[test]
fn every_path_of_a_gateway_without_tls_is_tried() {
    let gateway = Gateway::start(&LIGHT);
    let (output, code) =
        finish(probe_command(&url(&gateway, "http"), &["--all-paths", "--json", "--seconds", "1"]));
    let reports: Vec<Value> = serde_json::from_slice(&output.stdout).expect("a list");
    assert_eq!(code, 0);
    let of = |path: &str| reports.iter().find(|r| r["path"] == path).unwrap_or_else(|| panic!("no {path}"));
    for (path, took) in [
        ("auto", "udp"),
        ("udp", "udp"),
        ("tcp", "turn-tcp"),
        ("turn-udp", "turn-udp"),
        ("turn-tcp", "turn-tcp"),
        ("ice-tcp", "ice-tcp"),
        ("ws", "ws"),
    ] {
        check_watched(of(path), took);
    }
    let relayed = &of("turn-tcp")["connection"]["local"];
    assert_eq!((&relayed["kind"], &relayed["relayProtocol"]), (&"relay".into(), &"tcp".into()));
    assert_eq!(of("udp")["connection"]["remote"]["address"], gateway.address.to_string());
    assert_eq!(of("turns")["verdict"], "unavailable");
    assert!(of("turns")["why"].as_str().unwrap().contains("https"));
    // Each has said goodbye.
    let status = gateway.status();
    assert_eq!(status["status"]["viewers"], Value::Array(vec![]), "{status:#}");
}

#[test]
fn turn_over_tls_goes_through_the_pipe() {
    let (certificate, key) = secure::pair();
    let folder = tempfile::tempdir().unwrap();
    secure::write(folder.path(), (&certificate, &key));
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (cert, key) = (at("tls.crt"), at("tls.key"));
    let gateway = Gateway::start(&[&LIGHT[..], &["--tls-cert", &cert, "--tls-key", &key]].concat());
    let url = format!("https://localhost:{}/", gateway.address.port());
    let stranger = probe(&url, &["--path", "turns"]);
    assert_eq!(stranger.verdict(), "unreachable");
    assert!(stranger.why().contains("--ca-file"), "{}", stranger.why());
    check_watched(&probe(&url, &["--path", "turns", "--ca-file", &cert]).json, "turns");
    check_watched(&probe(&url, &["--path", "turn-tcp", "--insecure"]).json, "turn-tcp");
}

#[test]
fn who_may_not_look_is_told_so_and_a_probe_never_takes_control() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let secret = file("secret", "0123456789-0123456789-0123456789-0123456789");
    let session = ["--session", "desk", "--token-secret-file", &secret];
    let gateway = Gateway::start(&[&LIGHT[..], &session].concat());
    let url = url(&gateway, "http");
    let link = deskgate().arg("token").args(session).args(["--rights", "control"]).output().unwrap();
    let link = file("link", &String::from_utf8(link.stdout).unwrap());

    let nobody = probe(&url, &[]);
    assert_eq!((nobody.verdict(), nobody.code), ("refused", 4));
    assert!(nobody.json["next"].as_str().unwrap().contains("--token-file"));
    let wrong = file("wrong", "eyJhbGciOiJIUzI1NiJ9.e30.AAAA");
    assert_eq!(probe(&url, &["--token-file", &wrong]).verdict(), "refused");

    let mut looking =
        probe_command(&url, &["--token-file", &link, "--path", "udp", "--json", "--seconds", "3"]);
    let looking = looking.stdout(Stdio::piped()).spawn().unwrap();
    // It is alone, and its token gives control: it still does not take it.
    let text = std::fs::read_to_string(&link).unwrap();
    let token = text.trim().rsplit('=').next().unwrap();
    let head = format!("GET /api/status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n");
    let viewers = within(DEADLINE, "the probe to be there", || {
        let answer = http::send(gateway.address, &head).unwrap();
        let status: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(status["status"].get("controller"), None, "{status:#}");
        Some(status["status"]["viewers"].clone()).filter(|viewers| viewers[0].is_object())
    });
    assert_eq!(viewers[0]["rights"], serde_json::json!(["view"]));
    let output = looking.wait_with_output().unwrap();
    check_watched(&serde_json::from_slice(&output.stdout).unwrap(), "udp");

    let mut by_environment = probe_command(&url, &["--json", "--seconds", "1"]);
    by_environment.env("DESKGATE_TOKEN", text.trim());
    assert_eq!(probe_by(by_environment).verdict(), "ok");
}

#[test]
fn a_secret_in_the_url_is_refused_and_not_repeated() {
    let (output, code) = finish(probe_command("http://127.0.0.1:9/#token=s3cret", &[]));
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(code, 2);
    assert!(told.contains("--token-file") && !told.contains("s3cret"), "{told}");
}

#[test]
fn nothing_there_and_something_else_there_are_told_apart() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let found = probe(&format!("http://{free}/"), &[]);
    assert_eq!((found.verdict(), found.code), ("unreachable", 3));
    assert!(found.why().contains("refused"), "{}", found.why());

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        for answer in ["404 Not Found", "200 OK"] {
            // The first connection only finds the address.
            drop(listener.accept().unwrap());
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4_096];
            assert!(stream.read(&mut request).unwrap() > 0);
            write!(stream, "HTTP/1.1 {answer}\r\nContent-Length: 2\r\n\r\n{{}}").unwrap();
        }
    });
    for _ in 0..2 {
        let found = probe(&format!("http://{at}/"), &[]);
        assert_eq!((found.verdict(), found.code), ("not-a-gateway", 5), "{}", found.json);
    }
    server.join().unwrap();
}

#[test]
fn a_black_screen_is_black_and_a_still_one_is_not_frozen() {
    let server = Xvfb::start("640x480x24");
    let display = format!(":{}", server.number);
    let gateway = Gateway::start(&["--display", &display, "--fps", "12", "--bitrate", "600"]);
    let black = probe(&url(&gateway, "http"), &["--path", "udp"]);
    assert_eq!((black.verdict(), black.code), ("black", 10), "{:#}", black.json);

    server.painter().fill(deskgate::frame::Rect { x: 0, y: 0, width: 640, height: 480 }, 0x33_66_99);
    let still =
        probe_by(probe_command(&url(&gateway, "http"), &["--json", "--path", "udp", "--seconds", "3"]));
    assert_eq!(still.verdict(), "ok", "{:#}", still.json);
    assert_eq!((&still.json["video"]["width"], &still.json["video"]["height"]), (&640.into(), &480.into()));
    assert!(still.why().contains("nothing was drawn"), "{:#}", still.json);
}

/// Carries connections to `to`, each until `most` bytes have come back on it: then it holds what follows.
fn stalling_forwarder(to: SocketAddr, most: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let carry = |mut from: TcpStream, mut to: TcpStream, most: usize| {
        let (mut buffer, mut carried) = ([0; 4_096], 0);
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            carried += length;
            if carried > most {
                continue;
            }
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        // One side hung up: so does the other.
        let _ = to.shutdown(std::net::Shutdown::Both);
    };
    // Ends with the process; the connections end with their sides.
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let Ok(far) = TcpStream::connect(to) else { continue };
            let (near_again, far_again) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || carry(near, far, usize::MAX));
            std::thread::spawn(move || carry(far_again, near_again, most));
        }
    });
    at
}

#[test]
fn a_picture_that_no_longer_follows_the_screen_is_frozen() {
    let gateway = Gateway::start(&LIGHT);
    // A second or two of video, of which the test source makes 5 kB; answers of /api/status stay far below.
    let at = stalling_forwarder(gateway.address, 12_000);
    let found =
        probe_by(probe_command(&format!("http://{at}/"), &["--path", "ws", "--seconds", "6", "--json"]));
    assert_eq!((found.verdict(), found.code), ("frozen", 11), "{:#}", found.json);
    assert!(found.why().contains("newer"), "{}", found.why());
}

#[test]
fn a_gateway_that_is_killed_or_stopped_meanwhile_is_told() {
    for (kill, verdict) in [(true, "frozen"), (false, "ended")] {
        let gateway = Gateway::start(&LIGHT);
        let mut command =
            probe_command(&url(&gateway, "http"), &["--path", "udp", "--seconds", "5", "--json"]);
        let mut probe = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let told = BufReader::new(probe.stderr.take().unwrap()).lines().map_while(Result::ok);
        assert!(told.into_iter().any(|line| line.contains("a picture")), "it ended before a picture");
        if kill {
            drop(gateway);
        } else {
            gateway.terminate();
        }
        let output = probe.wait_with_output().unwrap();
        let found = Found {
            code: output.status.code().unwrap(),
            json: serde_json::from_slice(&output.stdout).unwrap(),
        };
        assert_eq!(found.verdict(), verdict, "{:#}", found.json);
    }
}

#[test]
fn a_gateway_without_a_display_shows_no_video_and_why() {
    let gateway = Gateway::start(&["--display", ":98"]);
    let found = probe(&url(&gateway, "http"), &["--path", "ws"]);
    assert_eq!((found.verdict(), found.code), ("no-video", 9), "{:#}", found.json);
    assert!(found.json["next"].as_str().unwrap().contains("--display"), "{:#}", found.json);
}

#[test]
fn many_viewers_are_counted_each() {
    let gateway = Gateway::start(&LIGHT);
    let args = ["--viewers", "6", "--idle", "4", "--seconds", "2", "--json"];
    let found = probe_by(probe_command(&url(&gateway, "http"), &args));
    assert_eq!(found.code, 0, "{:#}", found.json);
    assert_eq!(found.json["activeConnected"], 6);
    assert_eq!(found.json["idleConnected"], 4);
    assert!(found.json["fps"]["min"].as_f64().unwrap() > 0.0, "{:#}", found.json);
    assert!(found.json["slowestOfMedian"].as_f64().unwrap() > 0.5, "{:#}", found.json);
}
