//! A gateway as an operator runs it in a pod: what it answers to probes, to the operator, and to people at its door.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use deskgate::token::{Claims, sign};
use deskgate::wire::api::{Activity, SESSION_UID, Status};
use deskgate::wire::input::{InputEvent, InputFrame};
use deskgate::wire::signal::{DisplayState, Right};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::gateway::{DEADLINE, Gateway, LIGHT, http, refused};
use crate::xvfb::{Xvfb, within};

const SECRET: &str = "a secret of a test, long enough for HS256";
const UID: &str = "2f6a7c1e-8a53-4c8e-9d0e-5a1b3c4d5e6f";
/// 2100-01-01T00:00:00Z.
const LATER: u64 = 4_102_444_800;

/// A gateway of session `desk` with a secret, and the folder that it lies in.
struct Pod {
    gateway: Gateway,
    _folder: tempfile::TempDir,
}

impl Pod {
    fn start(args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secret: PathBuf = folder.path().join("secret");
        std::fs::write(&secret, SECRET).unwrap();
        let own = ["--session", "desk", "--token-secret-file", secret.to_str().unwrap()];
        Self { gateway: Gateway::start(&[&own[..], args].concat()), _folder: folder }
    }

    fn address(&self) -> SocketAddr {
        self.gateway.address
    }

    fn ask(&self, route: &str, headers: &str, body: &str) -> http::Response {
        let length = body.len();
        let head = format!("{route} HTTP/1.1\r\nHost: desk.example\r\n{headers}Content-Length: {length}\r\n");
        http::send_with(self.address(), &head, body).unwrap()
    }

    fn operator(&self, route: &str, body: &str) -> http::Response {
        self.ask(route, &bearer(&[Right::Operate]), body)
    }

    fn activity(&self) -> Activity {
        let answer = self.operator("GET /api/activity", "");
        serde_json::from_slice(&answer.body).unwrap()
    }

    fn status(&self) -> Status {
        serde_json::from_slice(&self.operator("GET /api/status", "").body).unwrap()
    }

    fn join(&self, header: (&'static str, &str)) -> (Socket, Value) {
        let mut socket = http::upgrade(self.address(), &[header]).unwrap();
        socket.send(Message::text(http::hello().to_string())).unwrap();
        let greeting = http::read_until(&mut socket, |m| m["type"] == "hello").unwrap();
        (socket, greeting)
    }
}

type Socket = tokio_tungstenite::tungstenite::WebSocket<std::net::TcpStream>;

fn token(rights: &[Right]) -> String {
    sign(SECRET.as_bytes(), &Claims::new([7; 8], "desk", rights.iter().copied(), LATER)).unwrap()
}

fn bearer(rights: &[Right]) -> String {
    format!("Authorization: Bearer {}\r\n", token(rights))
}

/// In so many seconds, as RFC 3339 has it.
fn at(seconds: i64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    jiff::Timestamp::from_second(now.as_secs() as i64 + seconds).unwrap().to_string()
}

#[test]
fn each_route_asks_for_its_right() {
    let pod = Pod::start(&LIGHT);
    let (view, control) = (vec![Right::View], vec![Right::View, Right::Control]);
    let (operate, both) = (vec![Right::Operate], vec![Right::View, Right::Operate]);
    let withdrawn = r#"{"at":null}"#;
    for (rights, status, activity, notice, cookie, socket) in [
        (&view, 200, 403, 403, 204, 101),
        (&control, 200, 200, 403, 204, 101),
        (&operate, 200, 200, 204, 403, 403),
        (&both, 200, 200, 204, 204, 101),
        (&vec![], 401, 401, 401, 401, 401),
        (&vec![Right::Control], 401, 401, 401, 401, 401),
    ] {
        let asked = |route, body| pod.ask(route, &bearer(rights), body).status;
        assert_eq!(asked("GET /api/status", ""), status, "{rights:?}");
        assert_eq!(asked("GET /metrics", ""), status, "{rights:?}");
        assert_eq!(asked("GET /api/activity", ""), activity, "{rights:?}");
        assert_eq!(asked("POST /api/notice", withdrawn), notice, "{rights:?}");
        assert_eq!(asked("POST /api/session", ""), cookie, "{rights:?}");
        let upgrade =
            http::upgrade(pod.address(), &[("authorization", &format!("Bearer {}", token(rights)))]);
        assert_eq!(upgrade.map_or_else(|refused| refused, |_| 101), socket, "{rights:?}");
    }
    assert_eq!(pod.ask("GET /api/activity", "", "").status, 401);
    assert_eq!(pod.ask("POST /api/notice", "", withdrawn).status, 401);
}

#[test]
fn an_open_gateway_has_no_operator() {
    let gateway = Gateway::start(&LIGHT);
    assert_eq!(http::get(gateway.address, "/api/activity").unwrap().status, 200);
    let head = format!("POST /api/notice HTTP/1.1\r\nHost: {}\r\nContent-Length: 11\r\n", gateway.address);
    assert_eq!(http::send_with(gateway.address, &head, r#"{"at":null}"#).unwrap().status, 403);
}

#[test]
fn activity_tells_viewers_input_and_silence() {
    let pod = Pod::start(&LIGHT);
    within(DEADLINE, "silence", || (pod.activity().idle_seconds >= 2).then_some(()));
    assert_eq!(pod.activity().viewers, 0);
    let (mut socket, _) =
        pod.join(("authorization", &format!("Bearer {}", token(&[Right::View, Right::Control]))));
    assert_eq!(pod.activity().viewers, 1);
    assert!(pod.activity().idle_seconds >= 2, "to come is not to do something");
    // No longer than since it was sent: what went before was longer.
    let sent = Instant::now();
    socket
        .send(Message::binary(InputFrame { seq: 1, event: InputEvent::Text("x".into()) }.encode()))
        .unwrap();
    within(DEADLINE, "input to count", || {
        (pod.activity().idle_seconds <= sent.elapsed().as_secs()).then_some(())
    });
    within(DEADLINE, "silence", || (pod.activity().idle_seconds >= 2).then_some(()));
    assert_eq!(pod.activity().viewers, 1);
    let hung_up = Instant::now();
    drop(socket);
    let left = within(DEADLINE, "the viewer to leave", || Some(pod.activity()).filter(|a| a.viewers == 0));
    assert!(left.idle_seconds <= hung_up.elapsed().as_secs(), "to leave is to do something: {left:?}");
}

#[test]
fn a_notice_reaches_viewers_now_and_later_until_it_is_withdrawn() {
    let pod = Pod::start(&LIGHT);
    let viewer = ("authorization", format!("Bearer {}", token(&[Right::View])));
    let join = || pod.join((viewer.0, &viewer.1)).0;
    let post = |body: Value| pod.operator("POST /api/notice", &body.to_string()).status;
    let heard =
        |socket: &mut Socket| http::read_until(socket, |m| m["type"] == "notice").unwrap()["notice"].clone();
    let mut early = join();
    assert_eq!(post(json!({ "action": "suspend", "at": at(300), "reason": "timeout" })), 204);
    let mut late = join();
    for socket in [&mut early, &mut late] {
        let notice = heard(socket);
        assert_eq!((&notice["action"], &notice["reason"]), (&json!("suspend"), &json!("timeout")));
        assert_eq!(notice["homeStays"], true);
        assert!((1..=300_000).contains(&notice["leftMs"].as_u64().unwrap()), "{notice}");
    }
    assert_eq!(post(json!({ "at": null })), 204);
    assert_eq!((heard(&mut early), heard(&mut late)), (Value::Null, Value::Null));
}

#[test]
fn a_notice_that_is_none_is_refused_with_the_reason() {
    let pod = Pod::start(&LIGHT);
    let long = format!(r#"{{"at":null,"reason":"{}"}}"#, "x".repeat(5_000));
    for (body, status, word) in [
        ("", 400, "no notice"),
        (r#"{"action":"suspend"}"#, 400, "`at`"),
        (r#"{"action":"reboot","at":null}"#, 400, "reboot"),
        (r#"{"action":"suspend","at":"soon"}"#, 400, "RFC 3339"),
        (&json!({ "action": "suspend", "at": at(-60) }).to_string(), 400, "passed"),
        (&json!({ "action": "suspend", "at": at(8 * 86_400) }).to_string(), 400, "7 days"),
        (&long, 413, "4 KiB"),
    ] {
        let answer = pod.operator("POST /api/notice", body);
        let told: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer.status, status, "{body:.80}: {told}");
        assert!(told["message"].as_str().unwrap().contains(word), "{body:.80}: {told}");
    }
}

#[test]
fn every_answer_says_whose_gateway_it_is() {
    let pod = Pod::start(&[&LIGHT[..], &["--session-uid", UID]].concat());
    let line = format!("{SESSION_UID}: {UID}");
    let says = |answer: &http::Response| answer.head.lines().any(|l| l.eq_ignore_ascii_case(&line));
    for path in ["/healthz", "/readyz", "/", "/favicon.svg", "/nothing-there", "/api/status", "/ws"] {
        let answer = http::get(pod.address(), path).unwrap();
        assert!(says(&answer), "{path}: {}", answer.head);
    }
    assert_eq!(pod.status().session_uid.as_deref(), Some(UID));
    let nameless = Gateway::start(&LIGHT);
    assert!(!http::get(nameless.address, "/healthz").unwrap().head.contains(SESSION_UID));
    let (status, log) = refused(&["serve", "--session-uid", "a\r\nset-cookie: x=1"]);
    assert!(!status.success() && log.contains("--session-uid"), "{log}");
}

#[test]
fn who_has_no_credential_is_told_how_to_get_in_and_others_are_not() {
    let hint = r#"Run `kubectl vdi open "alice" -n desks` </script><b>"#;
    let pod = Pod::start(&[&LIGHT[..], &["--sign-in-hint", hint]].concat());
    let told = |answer: http::Response| {
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        (answer.status, body["hint"].as_str().map(str::to_owned))
    };
    for route in ["GET /api/status", "POST /api/session"] {
        assert_eq!(told(pod.ask(route, "", "")), (401, Some(hint.to_owned())), "{route}");
    }
    assert_eq!(told(pod.operator("POST /api/session", "")), (403, None));
    let page = http::get(pod.address(), "/").unwrap();
    assert!(!String::from_utf8_lossy(&page.body).contains("alice"), "no text of others stands in the page");
    let (status, log) = refused(&["serve", "--sign-in-hint", "two\nlines"]);
    assert!(!status.success() && log.contains("--sign-in-hint"), "{log}");
}

#[test]
fn the_form_of_the_pod_waits_for_its_display_and_gives_control_to_the_owner_alone() {
    let mut display = Xvfb::reserve("640x480x24", &[]);
    let name = display.name().to_string();
    let header = "x-auth-request-email";
    let pod = Pod::start(
        &[
            &["--listen", "0.0.0.0:0", "--display", &name, "--fps", "12", "--session-uid", UID][..],
            &["--forward-auth-header", "X-Auth-Request-Email", "--forward-auth-from", "127.0.0.0/8"],
            &["--owner", "alice@example.com"],
        ]
        .concat(),
    );
    let rights = |user: &str| pod.join((header, user)).1["rights"].clone();
    assert_eq!(http::get(pod.address(), "/healthz").unwrap().status, 200);
    assert_eq!(http::get(pod.address(), "/readyz").unwrap().status, 503);
    let waiting = pod.status().stream;
    assert!(!waiting.ready && waiting.encoder.is_none(), "{waiting:?}");
    assert_eq!(waiting.display.state, DisplayState::Waiting);
    assert!(waiting.display.message.contains(&name), "{waiting:?}");
    // People may come before their desktop does.
    assert_eq!(rights("alice@example.com"), json!(["view", "control"]));
    assert_eq!(rights("bob@example.com"), json!(["view"]));
    assert_eq!(rights("Alice@example.com"), json!(["view"]));
    assert_eq!(pod.ask("GET /api/activity", "X-Auth-Request-Email: bob@example.com\r\n", "").status, 403);
    assert_eq!(pod.ask("GET /api/activity", "X-Auth-Request-Email: alice@example.com\r\n", "").status, 200);
    assert_eq!(pod.ask("GET /api/status", "", "").status, 401);

    display.launch();
    let ready = within(DEADLINE, "the stream", || Some(pod.status().stream).filter(|stream| stream.ready));
    assert_eq!((ready.display.state, ready.display.message.as_str()), (DisplayState::Live, ""));
    let encoder = ready.encoder.unwrap();
    assert!(ready.unusable.iter().all(|u| u.name != encoder.name && !u.reason.is_empty()), "{encoder:?}");
    assert_eq!(http::get(pod.address(), "/readyz").unwrap().status, 200);
    display.kill();
    within(DEADLINE, "the loss to be told", || {
        let stream = pod.status().stream;
        (!stream.ready && stream.display.state == DisplayState::Waiting).then_some(())
    });
}

#[test]
fn a_proxy_that_is_not_trusted_names_nobody() {
    let pod = Pod::start(
        &[
            &LIGHT[..],
            &["--forward-auth-header", "X-Auth-Request-Email", "--forward-auth-from", "10.42.0.0/16"],
        ]
        .concat(),
    );
    assert_eq!(pod.ask("GET /api/status", "X-Auth-Request-Email: alice@example.com\r\n", "").status, 401);
}
