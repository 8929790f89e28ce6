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
    rig
}

impl Rig {
    fn limit(&mut self, viewer: u32, kbps: impl Into<Option<u32>>) -> Vec<Output> {
        let kbps = kbps.into();
        self.session.handle(Input::Limit { viewer, websocket: false, kbps }, self.now);
        self.drain()
    }

    fn watchers(&self, key: RenditionKey) -> Vec<u32> {
        self.session.watchers(key).collect()
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
    let moved = rig.limit(2, 1_000);
    assert_eq!(renditions(&moved).unwrap().1, [H264, LOW]);
    assert!(moved.contains(&Output::Bitrate(LOW, 1_000)));
    assert!(!moved.contains(&Output::Keyframe(LOW)), "it begins with one");
    assert!(!moved.iter().any(|o| matches!(o, Output::Bitrate(H264, _))), "{moved:?}");
    let at = |wanted: &dyn Fn(&Output) -> bool| moved.iter().position(wanted).unwrap();
    assert!(
        at(&|o| matches!(o, Output::Bitrate(..))) < at(&|o| matches!(o, Output::Renditions { .. })),
        "it starts with the right one"
    );
    assert_eq!((rig.watchers(H264), rig.watchers(LOW)), (vec![1, 3], vec![2]));
    assert_eq!((rig.told_tier(1), rig.told_tier(2)), (Tier::Main, Tier::Low));
    assert_eq!(rig.limit(2, 900), [Output::Bitrate(LOW, 900)]);
    // The controller's is no exception: it gets what it can take at once, and the third looks on undisturbed.
    assert!(rig.limit(1, 2_000).contains(&Output::Keyframe(LOW)));
    assert_eq!((rig.watchers(H264), rig.watchers(LOW)), (vec![3], vec![1, 2]));
}

#[test]
fn ways_of_about_the_same_width_share_a_rendition() {
    let mut rig = crowd(2);
    assert_eq!(rig.limit(2, 6_000), [Output::Bitrate(H264, 6_000)]);
    assert_eq!(rig.limit(1, 7_000), []);
    assert_eq!(rig.watchers(H264), [1, 2]);
}

#[test]
fn who_is_in_the_low_tier_leaves_it_when_its_way_is_wide_or_the_wide_ones_are_gone() {
    let mut rig = crowd(2);
    rig.limit(2, 1_000);
    rig.limit(2, 7_000);
    assert_eq!(rig.watchers(LOW), [2], "not at once");
    let back = rig.pass(5_000);
    assert_eq!(renditions(&back).unwrap().0, [H264]);
    assert!(back.contains(&Output::Keyframe(H264)), "{back:?}");
    assert_eq!(rig.told_tier(2), Tier::Main);

    rig.limit(2, 1_000);
    rig.session.handle(Input::Silent { viewer: 1 }, rig.now);
    let alone = rig.pass(10_000);
    assert_eq!((rig.watchers(H264), rig.watchers(LOW)), (vec![2], vec![]));
    assert!(alone.contains(&Output::Bitrate(H264, 1_000)), "{alone:?}");
    assert_eq!(rig.session.look_at_tiers, None, "nothing more to look after");
}

#[test]
fn one_that_others_hold_back_tries_what_its_way_carries_while_the_rest_see_no_difference() {
    let mut rig = crowd(3);
    rig.limit(2, 500);
    rig.limit(3, 600);
    let tried = rig.pass(5_000);
    assert_eq!(rig.watchers(LOW), [2, 3], "neither is held back: {tried:?}");
    rig.limit(3, 900);
    assert_eq!((rig.watchers(H264), rig.watchers(LOW)), (vec![1, 3], vec![2]));
    assert_eq!(rig.limit(3, 1_500), [], "main goes on as before");
    let narrow = rig.limit(3, 1_200);
    assert!(!narrow.iter().any(|o| matches!(o, Output::Bitrate(..))), "{narrow:?}");
    assert_eq!(rig.watchers(LOW), [2, 3]);
}

#[test]
fn where_no_encoder_is_to_be_had_for_a_low_tier_there_is_none() {
    let mut rig = crowd(2);
    rig.limit(2, 1_000);
    // What the others asked for has been made, and the ration allows another one.
    (0..2).for_each(|_| drop(rig.pass(500)));
    rig.session.handle(Input::NoEncoder { key: LOW, reason: "one session only".into() }, rig.now);
    let back = rig.drain();
    assert_eq!(renditions(&back).unwrap().0, [H264]);
    assert!(back.contains(&Output::Keyframe(H264)));
    assert_eq!(rig.limit(2, 900), [], "and nobody is slowed down all the same");
    assert!(rig.watchers(LOW).is_empty());
    assert_eq!(rig.session.status().message, "", "the picture is there");
    rig.pass(300_000);
    rig.limit(2, 800);
    assert_eq!(rig.watchers(LOW), [2]);
}
