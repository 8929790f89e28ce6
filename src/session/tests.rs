use super::*;
use crate::frame::{Codec, Size};
use crate::wire::input::{InputEvent, InputFrame, Point};
use crate::wire::signal::{ControlAction, CssSize, Feedback, Fit, SettingsChange};

pub(super) const H264: RenditionKey = RenditionKey { codec: Codec::H264, tier: Tier::Main };
const VP8: RenditionKey = RenditionKey { codec: Codec::Vp8, tier: Tier::Main };

const SCREEN_SIZE: Size = Size { width: 1280, height: 720 };

pub(super) struct Rig {
    pub session: Session,
    pub now: Instant,
    seq: u32,
}

impl Rig {
    pub fn new() -> Self {
        let config = SessionConfig {
            name: "s".into(),
            settings: Settings { bitrate_kbps: 8_000, fps: 60 },
            max_viewers: 4,
            resizable: true,
        };
        let now = Instant::now();
        let mut session = Session::new(config, b"key".to_vec(), now);
        session.handle(Input::Display { size: SCREEN_SIZE, can_resize: true }, now);
        Self { session, now, seq: 0 }
    }

    pub fn drain(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.session.poll()).collect()
    }

    pub fn hello(&mut self, socket: u64, principal: Principal, ticket: Option<Ticket>) -> Vec<Output> {
        self.hello_wanting(socket, principal, ticket, None)
    }

    fn hello_wanting(
        &mut self,
        socket: u64,
        principal: Principal,
        ticket: Option<Ticket>,
        rights: Option<Vec<Right>>,
    ) -> Vec<Output> {
        let hello = ClientMessage::Hello {
            version: 1,
            features: vec![],
            css: CssSize { width: 1280.0, height: 720.0 },
            device_pixel_ratio: 1.0,
            visible: true,
            fit: Fit::Scale,
            resume: None,
            rights,
        };
        self.session.handle(Input::Hello { socket, principal, hello, ticket, nonce: socket }, self.now);
        self.drain()
    }

    pub fn watch(&mut self, viewer: u32, codec: Codec) -> Vec<Output> {
        self.session.handle(Input::Answered { viewer, codec }, self.now);
        self.session.handle(Input::Connected { viewer, limit: None }, self.now);
        self.drain()
    }

    pub fn input(&mut self, viewer: u32, event: InputEvent) -> Vec<DesktopAction> {
        self.seq += 1;
        let seq = self.seq;
        self.input_at(viewer, seq, event)
    }

    fn input_at(&mut self, viewer: u32, seq: u32, event: InputEvent) -> Vec<DesktopAction> {
        let bytes = InputFrame { seq, event }.encode().into();
        self.session.handle(Input::Frame { viewer, bytes }, self.now);
        actions(self.drain())
    }

    pub fn message(&mut self, viewer: u32, message: ClientMessage) -> Vec<Output> {
        self.session.handle(Input::Message { viewer, message }, self.now);
        self.drain()
    }

    pub fn pass(&mut self, ms: u64) -> Vec<Output> {
        self.now += Duration::from_millis(ms);
        self.session.handle_timeout(self.now);
        self.drain()
    }

    fn take(&mut self, viewer: u32, action: ControlAction) -> Vec<Output> {
        self.message(viewer, ClientMessage::Control { action, viewer: None })
    }
}

fn actions(outputs: Vec<Output>) -> Vec<DesktopAction> {
    let action = |o| if let Output::Desktop(a) = o { Some(a) } else { None };
    outputs.into_iter().filter_map(action).collect()
}

fn key(down: bool) -> InputEvent {
    InputEvent::Key { down, keysym: 0x61, code: "KeyA".into() }
}

pub(super) fn renditions(outputs: &[Output]) -> Option<(Vec<RenditionKey>, Vec<RenditionKey>)> {
    outputs.iter().rev().find_map(|o| match o {
        Output::Renditions { running, fed } => {
            Some((running.iter().copied().collect(), fed.iter().copied().collect()))
        }
        _ => None,
    })
}

#[test]
fn the_first_controller_keeps_control_and_a_view_only_viewer_cannot_inject() {
    let mut rig = Rig::new();
    rig.hello(1, Principal::controller("a"), None);
    rig.hello(2, Principal::viewer("b"), None);
    assert_eq!(rig.input(1, key(true)).len(), 1);
    assert_eq!(rig.input(2, key(true)), []);
    let refused = rig.take(2, ControlAction::Take);
    assert!(refused.iter().any(|o| matches!(
        o,
        Output::Send { viewer: 2, message: ServerMessage::Error { code: ErrorCode::Forbidden, .. } }
    )));
    assert_eq!(rig.input(2, InputEvent::Text("x".into())), []);
}

#[test]
fn who_only_wants_to_look_never_gets_control() {
    let mut rig = Rig::new();
    let looking = rig.hello_wanting(1, Principal::controller("probe"), None, Some(vec![Right::View]));
    assert!(!looking.contains(&Output::Desktop(DesktopAction::Controlled(true))));
    assert_eq!(rig.input(1, key(true)), []);
    rig.hello(2, Principal::controller("a"), None);
    assert_eq!(rig.input(2, key(true)).len(), 1);
    rig.take(2, ControlAction::Release);
    rig.take(1, ControlAction::Take);
    assert_eq!(rig.input(1, key(true)), []);
    // Wanting more than the credential gives does not give it.
    rig.hello_wanting(3, Principal::viewer("b"), None, Some(vec![Right::View, Right::Control]));
    rig.take(3, ControlAction::Take);
    assert_eq!(rig.input(3, key(true)), []);
}

#[test]
fn taking_control_releases_what_was_held() {
    let mut rig = Rig::new();
    rig.hello(1, Principal::controller("a"), None);
    rig.hello(2, Principal::controller("b"), None);
    rig.input(1, key(true));
    let done = actions(rig.take(2, ControlAction::Take));
    assert_eq!(done, [DesktopAction::ReleaseAll, DesktopAction::ForgetText, DesktopAction::Controlled(true)]);
    assert_eq!(rig.input(1, key(true)), []);
    assert_eq!(rig.input(2, key(true)).len(), 1);
}

#[test]
fn held_keys_are_released_when_the_heartbeat_stops() {
    let mut rig = Rig::new();
    rig.hello(1, Principal::controller("a"), None);
    rig.input(1, key(true));
    for _ in 0..10 {
        assert_eq!(actions(rig.pass(1_000)), []);
        assert_eq!(rig.input(1, InputEvent::Heartbeat(vec![0x61])), []);
    }
    assert_eq!(rig.session.poll_timeout(), Some(rig.now + HELD_TIMEOUT));
    assert_eq!(actions(rig.pass(2_000)), [DesktopAction::ReleaseAll]);
    assert_eq!(rig.session.poll_timeout(), None);
}

#[test]
fn motion_that_comes_late_does_not_undo_a_button() {
    let mut rig = Rig::new();
    rig.hello(1, Principal::controller("a"), None);
    let end = Some(Point { x: 500, y: 400 });
    rig.input_at(1, 5, InputEvent::Button { button: 1, down: true, at: Some(Point { x: 1, y: 1 }) });
    rig.input_at(1, 9, InputEvent::Button { button: 1, down: false, at: end });
    assert_eq!(rig.input_at(1, 7, InputEvent::Motion(Point { x: 2, y: 2 })), []);
    assert_eq!(
        rig.input_at(1, 10, InputEvent::Motion(Point { x: u16::MAX, y: u16::MAX })),
        [DesktopAction::Motion(Point { x: 1279, y: 719 })]
    );
}

#[test]
fn relative_totals_lose_nothing_with_a_lost_frame() {
    let mut rig = Rig::new();
    rig.hello(1, Principal::controller("a"), None);
    assert_eq!(rig.input(1, InputEvent::Relative { x: 10, y: 0 }), []);
    rig.seq += 3;
    assert_eq!(
        rig.input(1, InputEvent::Relative { x: 40, y: -5 }),
        [DesktopAction::Relative { dx: 30, dy: -5 }]
    );
}

#[test]
fn one_encoder_for_one_codec_and_none_when_nobody_looks() {
    let mut rig = Rig::new();
    for socket in 1..=3 {
        rig.hello(socket, Principal::controller("a"), None);
    }
    let first = rig.watch(1, Codec::H264);
    assert_eq!(renditions(&first), Some((vec![H264], vec![H264])));
    assert_eq!(renditions(&rig.watch(2, Codec::H264)), None);
    let third = rig.watch(3, Codec::Vp8);
    assert_eq!(renditions(&third).unwrap().0, [H264, VP8]);
    assert_eq!(rig.session.watchers(H264).collect::<Vec<_>>(), [1, 2]);
    for viewer in 1..=3 {
        rig.message(viewer, ClientMessage::Visibility { visible: false });
    }
    assert_eq!(rig.session.watchers(H264).count(), 0);
    let shown = rig.message(3, ClientMessage::Visibility { visible: true });
    assert_eq!(renditions(&shown).unwrap().1, [VP8]);
}

#[test]
fn key_frames_are_coalesced() {
    let mut rig = Rig::new();
    rig.hello(1, Principal::controller("a"), None);
    assert!(rig.watch(1, Codec::H264).contains(&Output::Keyframe(H264)));
    for _ in 0..100 {
        rig.session.handle(Input::NeedKeyframe { viewer: 1 }, rig.now);
    }
    assert!(!rig.drain().contains(&Output::Keyframe(H264)));
    assert_eq!(rig.pass(500), [Output::Keyframe(H264)]);
}

#[test]
fn a_dropped_socket_keeps_media_and_the_ticket_brings_the_viewer_back() {
    let mut rig = Rig::new();
    rig.hello(1, Principal::controller("a"), None);
    rig.watch(1, Codec::H264);
    rig.session.handle(Input::Closed { socket: 1 }, rig.now);
    assert!(!rig.drain().iter().any(|o| matches!(o, Output::DropPeer { .. })));
    rig.pass(60_000);
    assert_eq!(rig.session.viewer_count(), 1);
    let ticket =
        Ticket { session: "s".into(), viewer: 1, nonce: 1, subject: "a".into(), control: true, issued: 0 };
    let back = rig.hello(2, Principal::controller("a"), Some(ticket));
    assert!(back.iter().any(|o| matches!(
        o,
        Output::Send { viewer: 1, message: ServerMessage::Hello { resumed: true, .. } }
    )));
}

#[test]
fn a_restarted_gateway_gives_number_and_control_back() {
    let mut rig = Rig::new();
    let ticket =
        Ticket { session: "s".into(), viewer: 7, nonce: 9, subject: "a".into(), control: true, issued: 0 };
    let back = rig.hello(1, Principal::controller("a"), Some(ticket));
    assert!(back.contains(&Output::Joined { socket: 1, viewer: 7 }));
    assert_eq!(rig.session.status().controller, Some(7));
}

#[test]
fn a_ticket_of_an_earlier_gateway_does_not_take_another_viewers_place() {
    let mut rig = Rig::new();
    rig.hello(1, Principal::viewer("bob"), None);
    let ticket =
        Ticket { session: "s".into(), viewer: 1, nonce: 77, subject: "a".into(), control: true, issued: 0 };
    let outputs = rig.hello(2, Principal::controller("a"), Some(ticket));
    assert!(outputs.contains(&Output::Joined { socket: 2, viewer: 2 }));
    assert!(!outputs.iter().any(|o| matches!(o, Output::Close { .. })));
    assert_eq!(rig.session.status().controller, Some(2));
}

#[test]
fn the_overlay_ends_with_control() {
    let mut rig = Rig::new();
    rig.hello(1, Principal::controller("a"), None);
    rig.hello(2, Principal::viewer("b"), None);
    for x in 0..3 {
        rig.input(1, InputEvent::Motion(Point { x, y: 0 }));
    }
    rig.take(1, ControlAction::Release);
    assert_eq!(rig.session.poll_timeout(), None);
}

#[test]
fn the_second_tab_with_one_ticket_replaces_the_first_for_good() {
    let mut rig = Rig::new();
    rig.hello(1, Principal::controller("a"), None);
    let ticket =
        Ticket { session: "s".into(), viewer: 1, nonce: 1, subject: "a".into(), control: true, issued: 0 };
    let outputs = rig.hello(2, Principal::controller("a"), Some(ticket));
    assert!(
        outputs.iter().any(|o| matches!(o, Output::Close { socket: 1, reason: ByeReason::Replaced, .. }))
    );
    rig.session.handle(Input::Closed { socket: 1 }, rig.now);
    assert_eq!(rig.session.viewer_count(), 1);
}

#[test]
fn a_viewer_that_is_gone_is_forgotten_and_control_passes_on() {
    let mut rig = Rig::new();
    rig.hello(1, Principal::controller("a"), None);
    rig.hello(2, Principal::controller("b"), None);
    rig.session.handle(Input::Closed { socket: 1 }, rig.now);
    assert_eq!(rig.session.status().controller, Some(1));
    rig.pass(RESUME_GRACE.as_millis() as u64);
    assert_eq!(rig.session.status().controller, Some(2));
}

#[test]
fn a_silent_viewer_is_paused_and_goes_on_when_it_is_heard_again() {
    let mut rig = Rig::new();
    rig.hello(1, Principal::controller("a"), None);
    rig.watch(1, Codec::H264);
    rig.session.handle(Input::Silent { viewer: 1 }, rig.now);
    assert_eq!(renditions(&rig.drain()).unwrap().1, []);
    rig.pass(60_000);
    rig.session.handle(Input::Connected { viewer: 1, limit: None }, rig.now);
    assert_eq!(renditions(&rig.drain()).unwrap().1, [H264]);
    rig.session.handle(Input::Closed { socket: 1 }, rig.now);
    rig.session.handle(Input::Silent { viewer: 1 }, rig.now);
    rig.pass(RESUME_GRACE.as_millis() as u64);
    assert_eq!(rig.session.viewer_count(), 0);
}

#[test]
fn only_the_controller_resizes_after_a_pause() {
    let mut rig = Rig::new();
    rig.hello(1, Principal::controller("a"), None);
    rig.hello(2, Principal::controller("b"), None);
    let viewport = |width| ClientMessage::Viewport {
        css: CssSize { width, height: 500.0 },
        device_pixel_ratio: 2.0,
        fit: Fit::Resize,
    };
    for width in [600.0, 601.5, 700.2] {
        rig.message(1, viewport(width));
    }
    rig.message(2, viewport(900.0));
    assert_eq!(
        rig.pass(200),
        [Output::Resize(ScreenMode { size: Size { width: 1400, height: 1000 }, dpi: 192 })]
    );
    for bad in [f64::NAN, f64::INFINITY, -5.0, 1e300] {
        rig.message(1, viewport(bad));
        assert_eq!(rig.pass(200), []);
    }
}

#[test]
fn settings_are_clamped_and_the_controllers() {
    let mut rig = Rig::new();
    rig.hello(1, Principal::controller("a"), None);
    rig.hello(2, Principal::viewer("b"), None);
    let change = ClientMessage::Settings(SettingsChange { bitrate_kbps: Some(u32::MAX), fps: Some(0) });
    assert!(!rig.message(2, change.clone()).iter().any(|o| matches!(o, Output::Fps(_))));
    rig.watch(1, Codec::H264);
    let outputs = rig.message(1, change);
    assert!(outputs.contains(&Output::Bitrate(H264, 200_000)) && outputs.contains(&Output::Fps(5)));
}

#[test]
fn feedback_of_the_controller_alone_moves_the_phase() {
    let mut rig = Rig::new();
    rig.hello(1, Principal::controller("a"), None);
    rig.hello(2, Principal::viewer("b"), None);
    let feedback = ClientMessage::Feedback(Feedback {
        interval_ms: 16.0,
        slack_ms: 10.0,
        jitter_ms: 1.0,
        frames: 20,
        decode_ms: 0.0,
        rtt_ms: 0.0,
    });
    assert_eq!(rig.message(2, feedback.clone()), []);
    rig.session.handle(Input::Slots { kept: false }, rig.now);
    assert_eq!(rig.message(1, feedback.clone()), [], "of frames that left in no slot");
    rig.session.handle(Input::Slots { kept: true }, rig.now);
    assert!(matches!(rig.message(1, feedback)[..], [Output::Phase(PhaseChange::Lock { .. })]));
    assert!(
        rig.message(1, ClientMessage::Visibility { visible: false })
            .contains(&Output::Phase(PhaseChange::Unlock))
    );
}

#[test]
fn a_flood_of_messages_ends_the_flooder() {
    let mut rig = Rig::new();
    rig.hello(1, Principal::controller("a"), None);
    let mut closed = 0;
    for _ in 0..10_000 {
        let outputs = rig.message(1, ClientMessage::Visibility { visible: true });
        closed +=
            outputs.iter().filter(|o| matches!(o, Output::Close { reason: ByeReason::Protocol, .. })).count();
    }
    assert_eq!(closed, 1);
    assert_eq!(rig.session.viewer_count(), 0);
}

#[test]
fn a_full_session_and_a_wrong_version_are_refused() {
    let mut rig = Rig::new();
    for socket in 0..4 {
        rig.hello(socket, Principal::viewer("v"), None);
    }
    let fifth = rig.hello(9, Principal::viewer("v"), None);
    assert!(matches!(fifth[..], [Output::Close { socket: 9, reason: ByeReason::Full, .. }]));
    rig.session.handle(
        Input::Hello {
            socket: 10,
            principal: Principal::viewer("v"),
            hello: ClientMessage::Bye {},
            ticket: None,
            nonce: 0,
        },
        rig.now,
    );
    assert!(matches!(rig.drain()[..], [Output::Close { socket: 10, reason: ByeReason::Protocol, .. }]));
}

proptest::proptest! {
    #[test]
    fn hostile_input_frames_change_nothing_for_the_others(bytes: Vec<u8>) {
        let mut rig = Rig::new();
        rig.hello(1, Principal::controller("a"), None);
        rig.hello(2, Principal::viewer("b"), None);
        rig.session.handle(Input::Frame { viewer: 2, bytes: bytes.clone().into() }, rig.now);
        rig.session.handle(Input::Frame { viewer: 99, bytes: bytes.into() }, rig.now);
        proptest::prop_assert_eq!(actions(rig.drain()), vec![]);
        proptest::prop_assert_eq!(rig.session.viewer_count(), 2);
    }
}

fn closed(outputs: &[Output]) -> Vec<(u64, ByeReason)> {
    let closed = |o: &Output| match o {
        Output::Close { socket, reason, .. } => Some((*socket, *reason)),
        _ => None,
    };
    outputs.iter().filter_map(closed).collect()
}

#[test]
fn whose_token_is_revoked_leaves_with_its_media() {
    let mut rig = Rig::new();
    let by_token = |id: &str| Principal { expires: Some(u64::MAX), ..Principal::controller(id) };
    rig.hello(1, by_token("t1"), None);
    rig.hello(2, by_token("t2"), None);
    rig.hello(3, Principal::controller("t1"), None);
    rig.watch(1, Codec::H264);
    let key = InputEvent::Key { down: true, keysym: 0x61, code: "KeyA".into() };
    rig.input(1, key);
    rig.session.handle(Input::Revoked { tokens: HashSet::from(["t1".to_owned()]) }, rig.now);
    let outputs = rig.drain();
    assert_eq!(closed(&outputs), [(1, ByeReason::Revoked)], "not the user who happens to have that name");
    assert!(outputs.iter().any(|o| matches!(o, Output::DropPeer { viewer: 1 })));
    assert!(actions(outputs).contains(&DesktopAction::ReleaseAll));
    assert_eq!(rig.session.viewer_count(), 2);
}

#[test]
fn a_credential_that_comes_and_goes_too_fast_is_put_off() {
    let mut rig = Rig::new();
    let mut refused = 0;
    let tries = HELLOS.1 + 40;
    for socket in 0..u64::from(tries) {
        let outputs = rig.hello(socket, Principal::viewer("loop"), None);
        refused += closed(&outputs).iter().filter(|c| **c == (socket, ByeReason::Full)).count();
        rig.session.handle(Input::Closed { socket }, rig.now);
        rig.drain();
    }
    assert_eq!(refused, 40);
    assert_eq!(closed(&rig.hello(1_000, Principal::viewer("other"), None)), []);
    rig.pass(1_000);
    assert_eq!(closed(&rig.hello(1_001, Principal::viewer("loop"), None)), []);
}

#[test]
fn tickets_are_renewed_long_before_they_expire() {
    let mut rig = Rig::new();
    rig.session.set_unix_time(1_000_000);
    rig.hello(1, Principal::viewer("a"), None);
    let tickets = |outputs: Vec<Output>| {
        let ticket = |o: &Output| matches!(o, Output::Send { message: ServerMessage::Ticket { .. }, .. });
        outputs.iter().filter(|o| ticket(o)).count()
    };
    for hour in 1..=24 {
        rig.session.set_unix_time(1_000_000 + hour * 3_600);
        assert_eq!(tickets(rig.drain()), usize::from(hour % 6 == 0), "hour {hour}");
    }
}

#[test]
fn video_on_the_websocket_is_watched_until_it_is_ended_or_its_socket_closes() {
    let mut rig = Rig::new();
    rig.hello(1, Principal::controller("a"), None);
    let asked = rig.message(1, ClientMessage::Stream { codecs: vec!["VP8".into()] });
    assert!(asked.iter().any(|o| matches!(o, Output::Stream { viewer: 1, codecs } if codecs == &["VP8"])));
    let stream = |rig: &mut Rig, codec| {
        rig.session.handle(Input::Streaming { viewer: 1, codec }, rig.now);
        rig.drain()
    };
    let begun = stream(&mut rig, Some(Codec::Vp8));
    assert_eq!(renditions(&begun), Some((vec![VP8], vec![VP8])));
    assert!(begun.iter().any(|o| matches!(o, Output::Keyframe(VP8))));
    assert!(rig.session.watchers(VP8).eq([1]));
    let path = |rig: &Rig| rig.session.viewers[&1].told.as_ref().and_then(|s| s.path);
    assert_eq!(path(&rig), Some(MediaPath::Websocket));

    // WebRTC gets through, with another codec: for a moment both are sent.
    let both = rig.watch(1, Codec::H264);
    assert_eq!(renditions(&both), Some((vec![H264, VP8], vec![H264, VP8])));
    rig.session.handle(Input::Path { viewer: 1, path: MediaPath::TurnTcp }, rig.now);
    assert_eq!(path(&rig), Some(MediaPath::TurnTcp));
    let ended = stream(&mut rig, None);
    assert_eq!(renditions(&ended), Some((vec![H264], vec![H264])));

    stream(&mut rig, Some(Codec::Vp8));
    rig.session.handle(Input::Closed { socket: 1 }, rig.now);
    assert_eq!(renditions(&rig.drain()), Some((vec![H264], vec![H264])));
}

#[test]
fn video_on_the_websocket_is_not_for_hidden_pages_and_not_asked_for_without_end() {
    let mut rig = Rig::new();
    rig.hello(1, Principal::controller("a"), None);
    rig.session.handle(Input::Streaming { viewer: 1, codec: Some(Codec::H264) }, rig.now);
    rig.drain();
    let hidden = rig.message(1, ClientMessage::Visibility { visible: false });
    assert_eq!(renditions(&hidden), Some((vec![H264], vec![])));
    let ask = |rig: &mut Rig| {
        let outputs = rig.message(1, ClientMessage::Stream { codecs: vec!["H264".into()] });
        outputs.iter().any(|o| matches!(o, Output::Stream { .. }))
    };
    assert!((0..20).filter(|_| ask(&mut rig)).count() < 20);
    let ended = rig.message(1, ClientMessage::Stream { codecs: vec![] });
    assert!(ended.iter().any(|o| matches!(o, Output::Stream { codecs, .. } if codecs.is_empty())));
}
