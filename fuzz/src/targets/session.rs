//! What viewers say once they are let in: messages and input frames, from several at a time.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use deskgate::frame::{Codec, Size};
use deskgate::session::{Input, Limit, Output, Principal, RenditionKey, Session, SessionConfig};
use deskgate::wire::signal::{ClientMessage, Settings, Tier};

use super::script::{self, Step};

const MAX_VIEWERS: usize = 4;
const CODECS: [Codec; 2] = [Codec::H264, Codec::Vp8];
/// What a way is taken to carry at the least, in kbit/s (`transport/congestion.rs`).
const LEAST: u16 = 250;
/// The number of a viewer that may look and nothing else; others may do everything.
const ONLY_LOOKS: u32 = 2;

const HELLO: &str =
    r#"{"type":"hello","version":1,"css":{"width":1280,"height":720},"devicePixelRatio":1,"visible":true}"#;

pub fn run(data: &[u8]) {
    let config = SessionConfig {
        name: "fuzz".to_owned(),
        settings: Settings { bitrate_kbps: 8_000, fps: 60 },
        max_viewers: MAX_VIEWERS,
        resizable: true,
    };
    let now = Instant::now();
    let mut world =
        World { session: Session::new(config, b"key".to_vec(), now), now, sockets: 0, fed: BTreeSet::new() };
    world.handle(Input::Display { size: Size { width: 1_280, height: 720 }, can_resize: true });
    world.join(Principal::controller("a"), hello());
    world.join(Principal::viewer("b"), hello());
    for step in script::steps(data) {
        world.step(&step);
    }
}

fn hello() -> ClientMessage {
    serde_json::from_str(HELLO).expect("a hello")
}

struct World {
    session: Session,
    now: Instant,
    sockets: u64,
    fed: BTreeSet<RenditionKey>,
}

impl World {
    fn join(&mut self, principal: Principal, hello: ClientMessage) {
        self.sockets += 1;
        let (socket, nonce) = (self.sockets, self.sockets);
        self.handle(Input::Hello { socket, principal, hello, ticket: None, nonce });
        assert!(self.session.viewer_count() <= MAX_VIEWERS);
    }

    fn step(&mut self, step: &Step<'_>) {
        let viewer = u32::from(step.who & 7);
        let codec = CODECS[usize::from(step.who >> 7)];
        let input = match step.what & 15 {
            0 | 1 => match serde_json::from_slice(step.bytes) {
                Ok(message) => Input::Message { viewer, message },
                Err(_) => Input::Malformed { viewer },
            },
            2..=4 => Input::Frame { viewer, bytes: step.bytes.to_vec().into() },
            5 => return self.pass(Duration::from_millis(step.number().into())),
            6 => {
                return self
                    .join(Principal::controller("c"), serde_json::from_slice(step.bytes).unwrap_or(hello()));
            }
            7 => Input::Closed { socket: viewer.into() },
            8 => Input::Answered { viewer, codec },
            9 => Input::Connected { viewer, limit: None },
            10 => Input::Streaming { viewer, codec: (step.number() & 1 == 0).then_some(codec) },
            11 => {
                let kbps: u32 = step.number().max(LEAST).into();
                let carries = if step.who & 16 == 0 { kbps } else { 2 * kbps };
                Input::Limit { viewer, websocket: step.who & 8 != 0, limit: Limit { kbps, carries } }
            }
            12 => Input::Silent { viewer },
            13 => Input::Disconnected { viewer },
            14 => {
                let tier = if step.who & 8 == 0 { Tier::Main } else { Tier::Low };
                let (key, text) = (RenditionKey { codec, tier }, String::new());
                match step.number() & 3 {
                    0 if step.number() & 4 != 0 => Input::Slots { kept: step.number() & 8 == 0 },
                    0 => Input::NoEncoder { key, reason: text },
                    1 => Input::NeedKeyframe { viewer },
                    // Only what was asked for begins.
                    _ if !self.fed.contains(&key) => return,
                    _ => Input::Encoder { key, name: text, fallback: None },
                }
            }
            _ => return self.pass(Duration::from_secs(step.number().into())),
        };
        self.handle(input);
    }

    /// From timer to timer, as the gateway's loop does.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..1_000 {
            self.now = self.session.poll_timeout().map_or(end, |due| due.max(self.now)).min(end);
            self.session.handle_timeout(self.now);
            self.drain(false);
            if self.session.poll_timeout().is_none_or(|due| due > self.now) && self.now == end {
                return;
            }
        }
        panic!("a timer that is always due");
    }

    fn handle(&mut self, input: Input) {
        let only_looks = matches!(input, Input::Frame { viewer: ONLY_LOOKS, .. });
        self.session.handle(input, self.now);
        self.drain(only_looks);
    }

    fn drain(&mut self, only_looks: bool) {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Send { message, .. } => {
                    drop(serde_json::to_string(&message).expect("it can be sent"))
                }
                Output::Desktop(action) => assert!(!only_looks, "{action:?} by somebody who may only look"),
                Output::Bitrate(_, kbps) => assert!((100..=200_000).contains(&kbps), "{kbps}"),
                Output::Fps(fps) => assert!((5..=240).contains(&fps), "{fps}"),
                Output::Resize(mode) => {
                    let Size { width, height } = mode.size;
                    assert!((320..=7_680).contains(&width) && (320..=7_680).contains(&height), "{mode:?}");
                    assert!((96..=480).contains(&mode.dpi), "{mode:?}");
                }
                Output::Renditions { running, fed } => {
                    assert!(fed.is_subset(&running), "{running:?} {fed:?}");
                    self.fed = fed;
                }
                _ => {}
            }
        }
        for codec in CODECS {
            for key in [Tier::Main, Tier::Low].map(|tier| RenditionKey { codec, tier }) {
                assert!(self.session.watchers(key).count() == 0 || self.fed.contains(&key), "{key:?}");
            }
        }
    }
}
