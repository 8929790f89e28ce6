//! The fixtures that hold `src/wire` and `web/` together.

use deskgate::frame::{Codec, Rect};
use deskgate::wire::api;
use deskgate::wire::input::{InputEvent, InputFrame, Point};
use deskgate::wire::media::{self, VideoHeader};
use deskgate::wire::signal::*;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::golden;

fn client() -> Vec<(&'static str, ClientMessage)> {
    let css = CssSize { width: 1280.5, height: 720.0 };
    vec![
        (
            "hello",
            ClientMessage::Hello {
                version: 1,
                features: vec!["x".into()],
                css,
                device_pixel_ratio: 1.25,
                visible: true,
                fit: Fit::Resize,
                resume: None,
                rights: None,
            },
        ),
        (
            "hello that resumes",
            ClientMessage::Hello {
                version: 1,
                features: vec![],
                css,
                device_pixel_ratio: 2.0,
                visible: false,
                fit: Fit::Scale,
                resume: Some("ticket".into()),
                rights: None,
            },
        ),
        (
            "hello of one who only looks",
            ClientMessage::Hello {
                version: 1,
                features: vec![],
                css,
                device_pixel_ratio: 1.0,
                visible: true,
                fit: Fit::Scale,
                resume: None,
                rights: Some(vec![Right::View]),
            },
        ),
        ("offer", ClientMessage::Offer { sdp: "v=0\r\n".into() }),
        (
            "candidate",
            ClientMessage::Candidate {
                candidate: Some("candidate:1 1 udp 1 192.0.2.1 9 typ host".into()),
                sdp_mid: Some("0".into()),
                sdp_m_line_index: Some(0),
            },
        ),
        (
            "end of candidates",
            ClientMessage::Candidate { candidate: None, sdp_mid: None, sdp_m_line_index: None },
        ),
        ("visibility", ClientMessage::Visibility { visible: false }),
        ("viewport", ClientMessage::Viewport { css, device_pixel_ratio: 1.0, fit: Fit::Scale }),
        ("settings", ClientMessage::Settings(SettingsChange { bitrate_kbps: Some(4_000), fps: None })),
        ("take control", ClientMessage::Control { action: ControlAction::Take, viewer: None }),
        ("grant control", ClientMessage::Control { action: ControlAction::Grant, viewer: Some(2) }),
        ("request control", ClientMessage::Control { action: ControlAction::Request, viewer: None }),
        ("release control", ClientMessage::Control { action: ControlAction::Release, viewer: None }),
        (
            "feedback",
            ClientMessage::Feedback(Feedback {
                interval_ms: 16.67,
                slack_ms: 2.5,
                jitter_ms: 0.75,
                frames: 20,
                decode_ms: 1.5,
                rtt_ms: 3.25,
            }),
        ),
        ("video on the WebSocket", ClientMessage::Stream { codecs: vec!["H264".into(), "VP8".into()] }),
        ("no more video on the WebSocket", ClientMessage::Stream { codecs: vec![] }),
        ("key frame", ClientMessage::Keyframe {}),
        ("bye", ClientMessage::Bye {}),
    ]
}

fn status() -> Status {
    Status {
        display: DisplayState::Live,
        message: String::new(),
        codec: Some("H264".into()),
        encoder: Some("x264".into()),
        fallback: Some("nvh264enc: no device".into()),
        tier: Tier::Low,
        path: Some(MediaPath::Udp),
        can_resize: true,
        viewers: vec![ViewerStatus { viewer: 1, rights: vec![Right::View, Right::Control], visible: true }],
        controller: Some(1),
        settings: Settings { bitrate_kbps: 8_000, fps: 60 },
    }
}

fn turn() -> TurnAccess {
    TurnAccess { username: "1800000000:1".into(), credential: "c2VjcmV0".into(), tls: true }
}

fn ice_servers() -> Vec<IceServer> {
    let server = |url: &str, login: Option<&str>| IceServer {
        urls: vec![url.into()],
        username: login.map(Into::into),
        credential: login.map(Into::into),
    };
    vec![server("stun:stun.example", None), server("turn:turn.example:3478?transport=udp", Some("name"))]
}

fn server() -> Vec<(&'static str, ServerMessage)> {
    let screens = vec![Rect { x: 0, y: 0, width: 1280, height: 720 }];
    vec![
        (
            "hello",
            ServerMessage::Hello {
                version: 1,
                features: vec!["stream".into()],
                viewer: 1,
                rights: vec![Right::View, Right::Control],
                settings: Settings { bitrate_kbps: 8_000, fps: 60 },
                screens: screens.clone(),
                ticket: "ticket".into(),
                resumed: false,
                heartbeat_ms: 200,
                turn: Some(turn()),
                ice_servers: ice_servers(),
            },
        ),
        ("answer", ServerMessage::Answer { sdp: "v=0\r\n".into() }),
        (
            "ticket",
            ServerMessage::Ticket { ticket: "newer".into(), turn: Some(turn()), ice_servers: ice_servers() },
        ),
        ("round trip", ServerMessage::RoundTrip { ms: 12.5 }),
        ("status", ServerMessage::Status(status())),
        (
            "status of a display that is waited for",
            ServerMessage::Status(Status {
                display: DisplayState::Waiting,
                message: "waiting for the desktop to start".into(),
                codec: None,
                encoder: None,
                fallback: None,
                path: None,
                controller: None,
                ..status()
            }),
        ),
        (
            "notice",
            ServerMessage::Notice {
                notice: Some(Notice {
                    action: NoticeAction::Suspend,
                    at: 1_801_396_800,
                    left_ms: 299_000,
                    reason: Some("timeout".into()),
                    home_stays: Some(true),
                }),
            },
        ),
        (
            "notice of which little is known",
            ServerMessage::Notice {
                notice: Some(Notice {
                    action: NoticeAction::Delete,
                    at: 1_801_396_800,
                    left_ms: 0,
                    reason: None,
                    home_stays: None,
                }),
            },
        ),
        ("notice withdrawn", ServerMessage::Notice { notice: None }),
        ("screens", ServerMessage::Screens { screens }),
        (
            "cursor",
            ServerMessage::Cursor {
                png: Some("iVBORw0KGgo=".into()),
                hot_x: 1,
                hot_y: 2,
                width: 16,
                height: 24,
            },
        ),
        ("hidden cursor", ServerMessage::Cursor { png: None, hot_x: 0, hot_y: 0, width: 0, height: 0 }),
        ("pointer", ServerMessage::Pointer { x: 10, y: 20 }),
        ("locks", ServerMessage::Locks { caps: true, num: false }),
        ("control request", ServerMessage::ControlRequest { viewer: 2 }),
        ("error", ServerMessage::Error { code: ErrorCode::ControlBusy, message: "wait 5 seconds".into() }),
        (
            "error of the stream",
            ServerMessage::Error { code: ErrorCode::NoStream, message: "no codec in common".into() },
        ),
        (
            "bye",
            ServerMessage::Bye { reason: ByeReason::Shutdown, message: "the gateway is stopping".into() },
        ),
    ]
}

/// The first JSON of a section of `docs/api.md`.
fn example(section: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, section) = text.split_once(&format!("\n## `{section}`\n")).unwrap();
    let (_, json) = section.split_once("```json\n").unwrap();
    json.split_once("```").unwrap().0.to_owned()
}

/// Reads an example and writes it again: nothing in it may be unknown.
fn reads<T: Serialize + DeserializeOwned>(section: &str) {
    let text = example(section);
    let read: T = serde_json::from_str(&text).unwrap();
    assert_eq!(
        serde_json::to_value(read).unwrap(),
        serde_json::from_str::<Value>(&text).unwrap(),
        "{section}"
    );
}

#[test]
fn examples_of_the_api_are_what_its_types_say() {
    reads::<api::Status>("GET /api/status");
    reads::<api::Activity>("GET /api/activity");
    reads::<api::NoticeRequest>("POST /api/notice");
}

fn events() -> Vec<(&'static str, InputEvent)> {
    let at = Some(Point { x: 1, y: 2 });
    let key = |down, keysym, code: &str| InputEvent::Key { down, keysym, code: code.into() };
    vec![
        ("key down", key(true, 0x77, "KeyW")),
        ("key up without code", key(false, 0x0100_20ac, "")),
        ("motion", InputEvent::Motion(Point { x: 640, y: 65_535 })),
        ("relative", InputEvent::Relative { x: -5, y: 1_000_000 }),
        ("button", InputEvent::Button { button: 9, down: true, at }),
        ("button while locked", InputEvent::Button { button: 1, down: false, at: None }),
        ("wheel", InputEvent::Wheel { dx: -120, dy: 15, at }),
        ("text", InputEvent::Text("é中🙂".into())),
        ("heartbeat", InputEvent::Heartbeat(vec![0xffe1, 0x61])),
        ("empty heartbeat", InputEvent::Heartbeat(vec![])),
        ("release", InputEvent::Release),
        ("locks", InputEvent::Locks { caps: true, num: true }),
    ]
}

fn point(p: Option<Point>) -> Value {
    p.map_or(Value::Null, |p| json!({ "x": p.x, "y": p.y }))
}

fn describe(event: &InputEvent) -> Value {
    match event {
        InputEvent::Key { down, keysym, code } => {
            json!({ "kind": "key", "down": down, "keysym": keysym, "code": code })
        }
        InputEvent::Motion(p) => json!({ "kind": "motion", "x": p.x, "y": p.y }),
        InputEvent::Relative { x, y } => json!({ "kind": "relative", "x": x, "y": y }),
        InputEvent::Button { button, down, at } => {
            json!({ "kind": "button", "button": button, "down": down, "at": point(*at) })
        }
        InputEvent::Wheel { dx, dy, at } => json!({ "kind": "wheel", "dx": dx, "dy": dy, "at": point(*at) }),
        InputEvent::Text(text) => json!({ "kind": "text", "text": text }),
        InputEvent::Heartbeat(held) => json!({ "kind": "heartbeat", "held": held }),
        InputEvent::Release => json!({ "kind": "release" }),
        InputEvent::Locks { caps, num } => json!({ "kind": "locks", "caps": caps, "num": num }),
    }
}

fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap() + "\n"
}

fn survives<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(message: &T) {
    let text = serde_json::to_string(message).unwrap();
    assert_eq!(&serde_json::from_str::<T>(&text).unwrap(), message, "{text}");
}

#[test]
fn signalling_fixtures_are_current_and_both_ways() {
    client().iter().for_each(|(_, m)| survives(m));
    server().iter().for_each(|(_, m)| survives(m));
    let row = |name: &str, direction: &str, json: Value| json!({ "name": name, "direction": direction, "json": json });
    let rows: Vec<Value> = client()
        .iter()
        .map(|(n, m)| row(n, "client", serde_json::to_value(m).unwrap()))
        .chain(server().iter().map(|(n, m)| row(n, "server", serde_json::to_value(m).unwrap())))
        .collect();
    golden::check("wire/signal.json", &pretty(&rows));
}

#[test]
fn input_fixtures_are_current_and_both_ways() {
    let rows: Vec<Value> = events()
        .into_iter()
        .zip(1..)
        .map(|((name, event), seq)| {
            let frame = InputFrame { seq, event };
            let bytes = frame.encode();
            assert_eq!(InputFrame::parse(&bytes), Ok(frame.clone()));
            let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
            json!({ "name": name, "hex": hex, "frame": { "seq": seq, "event": describe(&frame.event) } })
        })
        .collect();
    golden::check("wire/input.json", &pretty(&rows));
}

#[test]
fn video_fixtures_are_current() {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let rows: Vec<Value> = [(Codec::H264, true, u32::MAX), (Codec::Vp8, false, 1)]
        .into_iter()
        .map(|(codec, keyframe, number)| {
            let header = VideoHeader { codec, keyframe, number, captured_us: 5_000_000_001 };
            let acknowledgement = [&[32][..], &number.to_be_bytes()].concat();
            assert_eq!(media::acknowledged(&acknowledgement), Some(number));
            json!({
                "hex": hex(&header.message(b"unit")), "acknowledgement": hex(&acknowledgement),
                "frame": {
                    "codec": codec.name(), "keyFrame": keyframe, "number": number,
                    "capturedUs": 5_000_000_001_u64,
                },
            })
        })
        .collect();
    golden::check("wire/video.json", &pretty(&rows));
}

#[test]
fn every_truncation_and_every_tail_is_refused() {
    for (name, event) in events() {
        let bytes = InputFrame { seq: 1, event }.encode();
        let text = name == "text";
        for cut in 0..bytes.len() {
            // A text is as long as its frame: a cut at a character is a shorter text.
            let result = InputFrame::parse(&bytes[..cut]);
            assert!(result.is_err() || text, "{name} cut at {cut}: {result:?}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(InputFrame::parse(&longer).is_err() || text, "{name} with a tail");
    }
}

#[test]
fn unknown_types_are_known_as_such_and_malformed_ones_are_errors() {
    assert_eq!(
        serde_json::from_str::<ClientMessage>(r#"{"type":"teleport","to":1}"#).unwrap(),
        ClientMessage::Unknown
    );
    for bad in
        ["", "{}", "[]", "null", r#"{"type":1}"#, r#"{"type":"offer"}"#, r#"{"type":"hello","version":-1}"#]
    {
        assert!(serde_json::from_str::<ClientMessage>(bad).is_err(), "{bad}");
    }
    let deep = "[".repeat(100_000);
    assert!(serde_json::from_str::<ClientMessage>(&deep).is_err());
}
