use super::tests::Rig;
use super::*;
use crate::wire::input::{InputEvent, Point};
use crate::wire::signal::{self, NoticeAction};

/// 2027-01-31T12:00:00Z.
const NOW: u64 = 1_801_396_800;

fn activity(rig: &Rig) -> (usize, u64) {
    let found = rig.session.activity(rig.now);
    (found.viewers, found.idle_seconds)
}

fn notice(rig: &Rig, minute: u32) -> Option<Notice> {
    let body = format!(r#"{{"action":"suspend","at":"2027-01-31T12:{minute:02}:00Z","reason":"timeout"}}"#);
    Notice::parse(body.as_bytes(), NOW, rig.now).unwrap()
}

/// Viewers that were told of a notice, and what.
fn told(outputs: Vec<Output>) -> Vec<(u32, Option<signal::Notice>)> {
    let told = |output| match output {
        Output::Send { viewer, message: ServerMessage::Notice { notice } } => Some((viewer, notice)),
        _ => None,
    };
    outputs.into_iter().filter_map(told).collect()
}

fn post(rig: &mut Rig, notice: Option<Notice>) -> Vec<(u32, Option<signal::Notice>)> {
    rig.session.handle(Input::Notice(notice), rig.now);
    told(rig.drain())
}

#[test]
fn a_session_that_begins_is_not_idle_yet() {
    let mut rig = Rig::new();
    assert_eq!(activity(&rig), (0, 0));
    rig.pass(90_500);
    assert_eq!(activity(&rig), (0, 90));
}

#[test]
fn what_somebody_does_is_activity_and_what_a_page_says_by_itself_is_not() {
    let mut rig = Rig::new();
    rig.hello(1, Principal::controller("a"), None);
    let key = |down| InputEvent::Key { down, keysym: 0x61, code: "KeyA".into() };
    for event in [
        key(true),
        InputEvent::Heartbeat(vec![0x61]),
        key(false),
        InputEvent::Motion(Point { x: 1, y: 1 }),
        InputEvent::Text("x".into()),
    ] {
        rig.pass(5_000);
        rig.input(1, event.clone());
        assert_eq!(activity(&rig), (1, 0), "{event:?}");
    }
    rig.pass(5_000);
    for event in
        [InputEvent::Heartbeat(vec![]), InputEvent::Release, InputEvent::Locks { caps: false, num: false }]
    {
        rig.input(1, event.clone());
        assert_eq!(activity(&rig), (1, 5), "{event:?}");
    }
}

#[test]
fn who_may_not_do_anything_is_a_viewer_and_no_activity() {
    let mut rig = Rig::new();
    rig.pass(60_000);
    rig.hello(1, Principal::viewer("b"), None);
    rig.input(1, InputEvent::Text("x".into()));
    assert_eq!(activity(&rig), (1, 60));
}

#[test]
fn a_viewer_that_leaves_is_activity_once_and_not_counted_while_it_may_come_back() {
    let mut rig = Rig::new();
    rig.hello(1, Principal::viewer("b"), None);
    rig.pass(60_000);
    rig.session.handle(Input::Closed { socket: 1 }, rig.now);
    assert_eq!(activity(&rig), (0, 0));
    // Its place is freed later, which is nobody's doing.
    rig.pass(30_000);
    assert_eq!(rig.session.viewer_count(), 0);
    assert_eq!(activity(&rig), (0, 30));
}

#[test]
fn a_notice_reaches_who_is_here_and_who_comes_later_with_the_time_that_is_left() {
    let mut rig = Rig::new();
    rig.hello(1, Principal::controller("a"), None);
    let posted = notice(&rig, 5);
    let here = post(&mut rig, posted);
    let [(1, Some(first))] = here.as_slice() else { panic!("{here:?}") };
    assert_eq!((first.action, first.left_ms), (NoticeAction::Suspend, 300_000));
    rig.pass(60_000);
    let later = told(rig.hello(2, Principal::viewer("b"), None));
    assert_eq!(later, [(2, Some(signal::Notice { left_ms: 240_000, ..first.clone() }))]);
}

#[test]
fn the_same_notice_again_is_no_news_and_another_is() {
    let mut rig = Rig::new();
    rig.hello(1, Principal::controller("a"), None);
    let (first, second) = (notice(&rig, 5), notice(&rig, 6));
    assert_eq!(post(&mut rig, first.clone()).len(), 1);
    rig.pass(1_000);
    assert_eq!(post(&mut rig, first), []);
    assert_eq!(post(&mut rig, second).len(), 1);
    assert_eq!(post(&mut rig, None), [(1, None)]);
    assert_eq!(post(&mut rig, None), []);
    assert_eq!(told(rig.hello(2, Principal::viewer("b"), None)), []);
}
