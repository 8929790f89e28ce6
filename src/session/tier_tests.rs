use super::tests::{H264, Rig, renditions};
use super::*;
use crate::frame::Codec;

const LOW: RenditionKey = RenditionKey { codec: Codec::H264, tier: Tier::Low };

/// Viewers 1 to `count`, who all look at H.264.
fn crowd(count: u32) -> Rig {
    let mut rig = Rig::new();
    for viewer in 1..=count {
        rig.hello(viewer.into(), Principal::controller(viewer.to_string()), None);
        rig.watch(viewer, Codec::H264);
    }
    rig.begins(H264);
    rig
}

impl Rig {
    fn limit(&mut self, viewer: u32, kbps: u32) -> Vec<Output> {
        self.drains(viewer, kbps, kbps)
    }

    /// A way that may be sent less than it carries at the moment.
    fn drains(&mut self, viewer: u32, kbps: u32, carries: u32) -> Vec<Output> {
        let limit = Limit { kbps, carries };
        self.session.handle(Input::Limit { viewer, websocket: false, limit }, self.now);
        self.drain()
    }

    /// The encoder of a rendition has come up.
    fn begins(&mut self, key: RenditionKey) -> Vec<Output> {
        let name = "x264".to_owned();
        self.session.handle(Input::Encoder { key, name, fallback: None }, self.now);
        self.drain()
    }

    /// The same, and its way has been found to carry no more than that, for which there is an encoder.
    fn sinks(&mut self, viewer: u32, kbps: u32) -> Vec<Output> {
        let mut told = self.limit(viewer, kbps);
        told.extend(self.begins(LOW));
        told
    }

    fn watchers(&self, key: RenditionKey) -> Vec<u32> {
        self.session.watchers(key).collect()
    }

    fn rate(&self, key: RenditionKey) -> u32 {
        self.session.renditions.bitrates[&key]
    }

    fn told_tier(&self, viewer: u32) -> Tier {
        self.session.viewers[&viewer].told.as_ref().map(|status| status.tier).unwrap()
    }
}

#[test]
fn alone_a_rendition_takes_what_the_way_carries_and_never_more_than_the_settings_say() {
    let mut rig = crowd(1);
    let told = |kbps| [Output::Bitrate(H264, kbps)];
    assert_eq!(rig.limit(1, 3_000), told(3_000));
    assert_eq!(rig.limit(1, 50_000), told(8_000));
    assert_eq!(rig.limit(1, 300), told(300), "there is nobody to be held up");
}

#[test]
fn a_narrow_way_gets_a_rendition_of_its_own_and_slows_nobody_down() {
    let mut rig = crowd(3);
    let starting = rig.limit(2, 1_000);
    assert_eq!(renditions(&starting).unwrap().1, [H264, LOW]);
    assert!(starting.contains(&Output::Bitrate(LOW, 1_000)));
    assert!(!starting.iter().any(|o| matches!(o, Output::Bitrate(H264, _))), "{starting:?}");
    let at = |wanted: &dyn Fn(&Output) -> bool| starting.iter().position(wanted).unwrap();
    assert!(
        at(&|o| matches!(o, Output::Bitrate(..))) < at(&|o| matches!(o, Output::Renditions { .. })),
        "it starts with the right one"
    );
    assert_eq!(rig.watchers(H264), [1, 2, 3], "until it is there");
    let moved = rig.begins(LOW);
    assert!(!moved.iter().any(|o| matches!(o, Output::Keyframe(_))), "it begins with one: {moved:?}");
    assert_eq!((rig.watchers(H264), rig.watchers(LOW)), (vec![1, 3], vec![2]));
    assert_eq!((rig.told_tier(1), rig.told_tier(2)), (Tier::Main, Tier::Low));
    assert_eq!(rig.limit(2, 900), [Output::Bitrate(LOW, 900)]);
    rig.pass(500);
    let followed = rig.limit(3, 1_200);
    assert!(followed.contains(&Output::Keyframe(LOW)), "it is in the middle of things: {followed:?}");
    assert_eq!((rig.watchers(H264), rig.watchers(LOW)), (vec![1], vec![2, 3]));
}

#[test]
fn among_narrow_ways_the_controller_s_counts_and_one_far_narrower_slows_nobody_down() {
    let mut rig = crowd(4);
    rig.sinks(2, 3_000);
    rig.limit(3, 2_000);
    assert_eq!(rig.rate(LOW), 2_000, "for both");
    rig.limit(3, 1_000);
    assert_eq!(rig.rate(LOW), 3_000);
    rig.limit(1, 1_200);
    assert_eq!((rig.watchers(H264), rig.watchers(LOW)), (vec![4], vec![1, 2, 3]));
    assert_eq!(rig.rate(LOW), 1_000, "the controller's way and what is like it");
    rig.limit(3, 300);
    assert_eq!(rig.rate(LOW), 1_200);
    assert_eq!(rig.rate(H264), 8_000);
}

#[test]
fn ways_of_about_the_same_width_share_a_rendition() {
    let mut rig = crowd(2);
    assert_eq!(rig.limit(2, 6_000), [Output::Bitrate(H264, 6_000)]);
    assert_eq!(rig.limit(1, 7_000), []);
    assert_eq!(rig.watchers(H264), [1, 2]);
}

#[test]
fn a_way_that_is_sent_less_until_its_queue_is_gone_is_not_narrow_for_that() {
    let mut rig = crowd(2);
    assert_eq!(rig.drains(2, 3_000, 6_300), [Output::Bitrate(H264, 5_600)], "nor does it slow others down");
    assert_eq!(rig.drains(2, 6_300, 6_300), [Output::Bitrate(H264, 6_300)]);
    let mut rig = crowd(1);
    assert_eq!(rig.drains(1, 3_000, 6_300), [Output::Bitrate(H264, 3_000)], "there are none");
}

#[test]
fn one_whose_queue_drains_is_not_held_back_by_others() {
    let mut rig = crowd(2);
    rig.sinks(2, 900);
    rig.pass(5_000);
    assert_eq!(rig.drains(2, 400, 900), [Output::Bitrate(LOW, 400)]);
    rig.pass(1_000);
    assert_eq!(rig.watchers(LOW), [2]);
}

#[test]
fn who_is_in_the_low_tier_leaves_it_when_its_way_is_wide_or_the_wide_ones_are_gone() {
    let mut rig = crowd(2);
    rig.sinks(2, 1_000);
    rig.limit(2, 7_000);
    assert_eq!(rig.watchers(LOW), [2], "not at once");
    let back = rig.pass(5_000);
    assert_eq!(renditions(&back).unwrap().0, [H264]);
    assert!(back.contains(&Output::Keyframe(H264)), "{back:?}");
    assert_eq!(rig.told_tier(2), Tier::Main);

    rig.sinks(2, 1_000);
    rig.session.handle(Input::Silent { viewer: 1 }, rig.now);
    let alone = rig.pass(10_000);
    assert_eq!((rig.watchers(H264), rig.watchers(LOW)), (vec![2], vec![]));
    assert!(alone.contains(&Output::Bitrate(H264, 1_000)), "{alone:?}");
    assert_eq!(rig.session.renditions.look_at, None, "nothing more to look after");
}

#[test]
fn who_leaves_the_low_tier_keeps_its_picture_until_the_main_one_is_encoded_again() {
    let mut rig = crowd(2);
    rig.sinks(2, 1_000);
    rig.session.handle(Input::Disconnected { viewer: 1 }, rig.now);
    rig.drain();
    let leaving = rig.pass(5_000);
    assert_eq!(renditions(&leaving).unwrap().1, [H264, LOW]);
    assert_eq!((rig.watchers(H264), rig.watchers(LOW)), (vec![], vec![2]));
    let left = rig.begins(H264);
    assert_eq!(renditions(&left).unwrap().1, [H264]);
    assert_eq!((rig.watchers(H264), rig.watchers(LOW)), (vec![2], vec![]));
}

#[test]
fn what_one_way_carried_the_next_one_begins_with() {
    let mut rig = crowd(2);
    rig.sinks(2, 1_000);
    rig.session.handle(Input::Answered { viewer: 2, codec: Codec::H264 }, rig.now);
    rig.session.handle(Input::Connected { viewer: 2, limit: rig.session.carried(2) }, rig.now);
    rig.drain();
    assert_eq!((rig.watchers(LOW), rig.rate(LOW)), (vec![2], 1_000), "a new peer connection");

    rig.session.handle(Input::Answered { viewer: 2, codec: Codec::H264 }, rig.now);
    rig.session.handle(Input::Streaming { viewer: 2, codec: Some(Codec::H264) }, rig.now);
    let limit = Limit { kbps: 400, carries: 600 };
    rig.session.handle(Input::Limit { viewer: 2, websocket: true, limit }, rig.now);
    assert_eq!(rig.session.carried_kbps(2), Some(600));
    rig.session.handle(Input::Connected { viewer: 2, limit: rig.session.carried(2) }, rig.now);
    rig.drain();
    assert_eq!((rig.watchers(LOW), rig.rate(LOW)), (vec![2], 600), "after its WebSocket");
}

#[test]
fn a_way_that_comes_back_has_its_own_limit_and_a_stream_leaves_its_limit_to_what_follows() {
    let mut rig = crowd(2);
    rig.limit(2, 8_000);
    rig.session.handle(Input::Silent { viewer: 2 }, rig.now);
    rig.session.handle(Input::Streaming { viewer: 2, codec: Some(Codec::H264) }, rig.now);
    let limit = Limit { kbps: 600, carries: 600 };
    rig.session.handle(Input::Limit { viewer: 2, websocket: true, limit }, rig.now);
    let own = Limit { kbps: 7_000, carries: 7_000 };
    rig.session.handle(Input::Connected { viewer: 2, limit: Some(own) }, rig.now);
    rig.session.handle(Input::Streaming { viewer: 2, codec: None }, rig.now);
    assert_eq!(rig.session.carried_kbps(2), Some(7_000));

    rig.session.handle(Input::Disconnected { viewer: 2 }, rig.now);
    rig.session.handle(Input::Streaming { viewer: 2, codec: Some(Codec::H264) }, rig.now);
    rig.session.handle(Input::Limit { viewer: 2, websocket: true, limit }, rig.now);
    rig.session.handle(Input::Closed { socket: 2 }, rig.now);
    assert_eq!(rig.session.carried_kbps(2), Some(600));
}

#[test]
fn who_looks_away_has_its_tier_for_a_while() {
    let mut rig = crowd(2);
    rig.sinks(2, 1_000);
    let away = rig.message(2, ClientMessage::Visibility { visible: false });
    assert_eq!(renditions(&away).unwrap(), (vec![H264, LOW], vec![H264]), "it may look again in a moment");
    assert_eq!(renditions(&rig.pass(5_000)).unwrap().0, [H264], "nobody looks at the other one");
    let back = rig.message(2, ClientMessage::Visibility { visible: true });
    assert_eq!(renditions(&back).unwrap().1, [H264, LOW]);
    assert_eq!(rig.watchers(H264), [1, 2], "a picture at once");
}

#[test]
fn one_that_others_hold_back_tries_what_its_way_carries_while_the_rest_see_no_difference() {
    let mut rig = crowd(3);
    rig.sinks(2, 500);
    rig.limit(3, 600);
    let tried = rig.pass(5_000);
    assert_eq!(rig.watchers(LOW), [2, 3], "neither is held back: {tried:?}");
    rig.limit(3, 900);
    assert_eq!((rig.watchers(H264), rig.watchers(LOW)), (vec![1, 3], vec![2]));
    assert_eq!(rig.limit(3, 1_500), [], "main goes on as before");
    let narrow = rig.limit(3, 1_200);
    assert!(!narrow.iter().any(|o| matches!(o, Output::Bitrate(H264, _))), "{narrow:?}");
    assert_eq!(rig.watchers(LOW), [2, 3]);
}

#[test]
fn where_no_encoder_is_to_be_had_for_a_low_tier_there_is_none_and_the_controller_s_way_counts() {
    let mut rig = crowd(2);
    rig.limit(2, 1_000);
    rig.session.handle(Input::NoEncoder { key: LOW, reason: "one session only".into() }, rig.now);
    let back = rig.drain();
    assert_eq!(renditions(&back).unwrap().0, [H264]);
    assert!(!back.iter().any(|o| matches!(o, Output::Keyframe(_))), "its picture never stopped: {back:?}");
    assert_eq!(rig.limit(2, 900), [], "and nobody is slowed down all the same");
    assert!(rig.watchers(LOW).is_empty());
    assert_eq!(rig.session.status().message, "", "the picture is there");
    assert_eq!(rig.limit(1, 1_900), [Output::Bitrate(H264, 1_900)]);
    rig.limit(1, 8_000);
    rig.pass(300_000);
    rig.sinks(2, 800);
    assert_eq!(rig.watchers(LOW), [2]);
}
