//! Who is let in over real HTTP, what is refused at the start, and how a gateway stops or runs short.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

use tokio_tungstenite::tungstenite::Message;

use crate::gateway::viewer::Viewer;
use crate::gateway::{DEADLINE, Gateway, LIGHT, deskgate, http, refused};
use crate::xvfb::within;

/// A secret that must stand in no log.
const CANARY: &str = "canary-0123456789-0123456789-0123456789";

fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn pages_of_others_and_rebound_names_are_turned_away() {
    let gateway = Gateway::start(&[&LIGHT[..], &["--allowed-origin", "https://portal.example"]].concat());
    let (host, port) = (gateway.address.to_string(), gateway.address.port());
    let ours = format!("http://{host}");
    let localhost = format!("localhost:{port}");
    let (rebound, suffix) = (format!("evil.example:{port}"), format!("{ours}.evil.example"));
    let cases: [(&str, &[&str], u16); 13] = [
        (&host, &[], 200),
        (&host, &[&ours], 200),
        (&localhost, &[&format!("http://{localhost}")], 200),
        ("[::1]", &[], 200),
        (&host, &["https://portal.example"], 200),
        (&host, &["https://portal.example.evil.example"], 403),
        (&host, &["null"], 403),
        (&host, &["http://evil.example"], 403),
        (&host, &[&suffix], 403),
        (&host, &[&ours, &ours], 403),
        (&rebound, &[&format!("http://{rebound}")], 403),
        (&rebound, &[], 403),
        ("127.0.0.1.evil.example", &[], 403),
    ];
    for (host, origins, status) in cases {
        let origins: String = origins.iter().map(|o| format!("Origin: {o}\r\n")).collect();
        for route in ["GET /api/status", "GET /metrics", "POST /api/session"] {
            let answer =
                http::send(gateway.address, &format!("{route} HTTP/1.1\r\nHost: {host}\r\n{origins}"))
                    .unwrap();
            let wanted = if route.starts_with("POST") && status == 200 { 204 } else { status };
            assert_eq!(answer.status, wanted, "{route}, Host {host}, {origins}");
        }
    }
    assert_eq!(http::upgrade(gateway.address, &[("origin", "http://evil.example")]).unwrap_err(), 403);
    assert_eq!(http::upgrade(gateway.address, &[("origin", "null")]).unwrap_err(), 403);
    assert_eq!(http::upgrade(gateway.address, &[("host", "evil.example")]).unwrap_err(), 403);
    assert!(http::upgrade(gateway.address, &[("origin", &ours)]).is_ok());
}

/// Prints a token; its id too.
fn token(secret: &PathBuf, args: &[&str]) -> (String, String) {
    let output = deskgate().arg("token").arg("--token-secret-file").arg(secret).args(args).output().unwrap();
    let (url, told) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let id = told.split_whitespace().nth(1).unwrap_or_default().trim_end_matches(';').to_owned();
    (url.trim().rsplit('=').next().unwrap_or_default().to_owned(), id)
}

#[test]
fn tokens_let_in_until_they_expire_or_are_revoked_and_stand_in_no_log() {
    let folder = tempfile::tempdir().unwrap();
    let secret = file(&folder, "secret", CANARY);
    let other = file(&folder, "other", "another-0123456789-0123456789-0123456789");
    let path = secret.to_str().unwrap();
    let mut command = deskgate();
    command.env("RUST_LOG", "trace,rtc=error").args([
        "serve",
        "--session",
        "desk",
        "--token-secret-file",
        path,
    ]);
    command.args(LIGHT);
    let gateway = Gateway::spawn(command);
    let status = |credential: &str| {
        let head = format!("GET /api/status HTTP/1.1\r\nHost: x\r\n{credential}");
        http::send(gateway.address, &head).unwrap().status
    };
    let bearer = |token: &str| status(&format!("Authorization: Bearer {token}\r\n"));
    let session = ["--session", "desk"];
    let (good, id) = token(&secret, &session);
    let (brief, _) = token(&secret, &[&session[..], &["--ttl", "1s"]].concat());
    let forged = [&good[..good.len() - 4], "AAAA"].concat();
    let wrong = [
        token(&other, &session).0,
        token(&secret, &["--session", "else"]).0,
        forged,
        "x".into(),
        String::new(),
    ];
    assert_eq!(status(""), 401);
    assert_eq!(bearer(&good), 200);
    for token in &wrong {
        assert_eq!(bearer(token), 401, "{token}");
        assert_eq!(
            http::upgrade(gateway.address, &[("authorization", &format!("Bearer {token}"))]).unwrap_err(),
            401
        );
    }
    let swap = format!("POST /api/session HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {good}\r\n");
    let swapped = http::send(gateway.address, &swap).unwrap();
    let cookie = swapped.head.lines().find_map(|l| l.strip_prefix("set-cookie: ")).unwrap();
    assert!(
        swapped.status == 204 && cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
        "{cookie}"
    );
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    assert_eq!(status(&cookie), 200);
    let inside = Viewer::join_with(&gateway, &[("authorization", &format!("Bearer {good}"))], |sdp| sdp);
    within(DEADLINE, "a token to expire", || (bearer(&brief) == 401).then_some(()));
    token(&secret, &["--revoke", &id]);
    assert_eq!((bearer(&good), status(&cookie)), (401, 401));
    inside.until("the viewer that is in to be sent away", |seen| {
        seen.messages.iter().any(|m| m["type"] == "bye" && m["reason"] == "revoked") && seen.closed
    });

    let log = gateway.log();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "the log is complete");
    for secret in [CANARY, &good, &brief, &wrong[0]] {
        assert!(!log.contains(secret), "{secret} stands in the log");
    }
}

#[test]
fn a_view_token_gives_the_picture_and_no_settings() {
    let folder = tempfile::tempdir().unwrap();
    let secret = file(&folder, "secret", CANARY);
    let path = secret.to_str().unwrap();
    let gateway = Gateway::start(&[&["--session", "desk", "--token-secret-file", path][..], &LIGHT].concat());
    let (token, _) = token(&secret, &["--session", "desk", "--rights", "view"]);
    let viewer = Viewer::join_with(&gateway, &[("authorization", &format!("Bearer {token}"))], |sdp| sdp);
    viewer.until("a picture", |seen| !seen.frames.is_empty() && seen.control_open);
    for message in [r#"{"type":"control","action":"take"}"#, r#"{"type":"settings","fps":5}"#] {
        viewer.order(move |d| d.text(message));
    }
    viewer.until("two refusals", |seen| {
        seen.messages.iter().filter(|m| m["type"] == "error" && m["code"] == "forbidden").count() == 2
    });
}

#[test]
fn settings_that_cannot_be_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let short = file(&folder, "short", "short");
    let missing = folder.path().join("missing");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let pipelines = folder.path().join("pipelines");
    std::fs::create_dir_all(pipelines.join("h264")).unwrap();
    let toml = "needs = [\"x264enc\"]\nlaunch = 7\n";
    std::fs::write(pipelines.join("h264/05-mistake.toml"), toml).unwrap();
    let (short, missing) = (short.to_str().unwrap(), missing.to_str().unwrap());
    let empty = file(&folder, "empty", "\n");
    let empty = empty.to_str().unwrap();
    let cases: [(&[&str], &[&str]); 10] = [
        (&["--source", "test", "--token-secret-file", empty], &["--token-secret-file", empty, "is empty"]),
        (&["--display", "nonsense"], &["--display", "nonsense"]),
        (&["--display", ":99999"], &["--display"]),
        (&["--source", "test", "--token-secret-file", short], &["--token-secret-file", short, "32"]),
        (&["--source", "test", "--token-secret-file", missing], &["--token-secret-file", missing]),
        (&["--source", "test", "--listen", &taken], &["--listen", &taken, "in use"]),
        (&["--source", "test", "--listen", "0.0.0.0:0"], &["--listen", "--token-secret-file"]),
        (&["--source", "test", "--encoder", "nvh265"], &["--encoder", "nvh265", "x264enc"]),
        (
            &["--source", "test", "--pipelines", pipelines.to_str().unwrap()],
            &["05-mistake.toml", "line 2", "launch"],
        ),
        (&["--source", "test", "--fps", "4"], &["--fps", "4"]),
    ];
    for (args, said) in cases {
        let free = if args.contains(&"--listen") { &[][..] } else { &["--listen", "127.0.0.1:0"] };
        let (status, log) = refused(&[&["serve"][..], args, free].concat());
        assert!(!status.success() && !log.contains("panicked"), "{args:?}: {status}, {log}");
        for word in said {
            assert!(log.contains(word), "{args:?}: no {word} in: {log}");
        }
    }
}

#[test]
fn sigterm_says_goodbye_with_a_reason_and_ends_in_time() {
    let mut gateway = Gateway::start(&LIGHT);
    let viewer = Viewer::watching(&gateway);
    gateway.terminate();
    viewer.until("goodbye", |seen| {
        seen.messages.iter().any(|m| m["type"] == "bye" && m["reason"] == "shutdown") && seen.closed
    });
    let status = within(DEADLINE, "the gateway to end", || gateway.exit());
    assert!(status.success(), "{status}");
}

#[test]
fn a_flood_of_picture_losses_makes_two_key_frames_a_second() {
    let gateway = Gateway::start(&LIGHT);
    let viewer = Viewer::watching(&gateway);
    let (before, start) = (gateway.metric("keyframes_requested_total"), std::time::Instant::now());
    let made = || gateway.metric("keyframes_requested_total") - before;
    within(DEADLINE, "requests to be followed", || {
        viewer.order(|d| (0..5).for_each(|_| d.picture_loss()));
        (made() >= 3.0).then_some(())
    });
    let made = made();
    let allowed = start.elapsed().as_secs_f64() * 2.0 + 1.0;
    assert!(made <= allowed, "{made} key frames, {allowed} allowed");
}

#[test]
fn a_viewer_whose_network_is_gone_is_not_sent_to_and_its_place_is_freed() {
    let gateway = Gateway::start(&LIGHT);
    let viewer = Viewer::watching(&gateway);
    viewer.order(|d| d.cut = true);
    let fed = || {
        let status = gateway.status();
        status["renditions"].as_array().unwrap().iter().any(|r| r["fed"] == true)
    };
    within(DEADLINE, "frames to stop", || (!fed()).then_some(()));
    let sent = gateway.metric("frames_sent_total");
    let viewers = || gateway.status()["status"]["viewers"].as_array().unwrap().len();
    within(DEADLINE, "the viewer to be forgotten", || (viewers() == 0).then_some(()));
    assert_eq!(gateway.metric("frames_sent_total"), sent);
    within(DEADLINE, "its encoder to end", || {
        gateway.status()["renditions"].as_array().unwrap().is_empty().then_some(())
    });
}

#[test]
fn a_viewer_that_closes_its_connection_is_heard_and_may_come_back() {
    let gateway = Gateway::start(&LIGHT);
    let viewer = Viewer::watching(&gateway);
    viewer.order(|d| rtc::sansio::Protocol::close(&mut d.pc).unwrap());
    within(DEADLINE, "the end to be heard", || gateway.log().contains("closed the connection").then_some(()));
    within(DEADLINE, "its encoder to end", || {
        gateway.status()["renditions"].as_array().unwrap().is_empty().then_some(())
    });
    Viewer::watching(&gateway).next_frame();
}

#[test]
fn a_gateway_without_descriptors_serves_on_and_recovers() {
    let gateway = Gateway::start(&LIGHT);
    let viewer = Viewer::watching(&gateway);
    let limit = (gateway.figures().fds + 8).to_string();
    let pid = gateway.pid().to_string();
    let limited = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={limit}:20000")]).status();
    assert!(limited.unwrap().success());
    let mut crowd: Vec<_> = (0..50).filter_map(|_| http::connect(gateway.address).ok()).collect();
    crowd.iter_mut().for_each(|s| drop(s.write_all(b"GET / HTTP/1.1\r\n")));
    viewer.flow(24);
    assert!(gateway.log().contains("accept"), "descriptors did run out");
    drop(crowd);
    let mut socket = http::greeted(gateway.address);
    socket.send(Message::text("?")).unwrap();
    http::read_until(&mut socket, |m| m["type"] == "error").unwrap();
    viewer.next_frame();
}
