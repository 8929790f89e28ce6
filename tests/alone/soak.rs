//! Viewers come and go: what the gateway holds after the 200th is what it held after the 50th.

use std::time::Duration;

use crate::gateway::viewer::Viewer;
use crate::gateway::{DEADLINE, Figures, Gateway, LIGHT};
use crate::xvfb::within;

/// Resident memory may differ by this much: the allocator's to and fro.
const GROWTH_KIB: u64 = 2 * 1024;

fn viewers(gateway: &Gateway) -> usize {
    gateway.status()["status"]["viewers"].as_array().expect("a list").len()
}

/// A visit: connected, a frame seen, left. Every second viewer says goodbye, the others just close.
fn visit(gateway: &Gateway, number: u32) {
    let viewer = Viewer::watching(gateway);
    if number.is_multiple_of(2) {
        viewer.order(|d| d.say(&serde_json::json!({ "type": "bye" })));
    }
}

/// What is held once nobody is there any more, nor remembered.
fn at_rest(gateway: &Gateway) -> Figures {
    within(DEADLINE, "everybody to be gone", || (viewers(gateway) == 0).then_some(()));
    let mut last = gateway.figures();
    // Threads that end, end one after the other.
    within(DEADLINE, "the gateway to be at rest", || {
        std::thread::sleep(Duration::from_millis(500));
        let now = gateway.figures();
        let same = (now.fds, now.threads) == (last.fds, last.threads);
        last = now;
        same.then_some(())
    });
    last
}

#[test]
fn two_hundred_visits_leave_nothing_behind() {
    let gateway = Gateway::start(&LIGHT);
    let held: Vec<Figures> = (0..4)
        .map(|part| {
            (0..50).for_each(|i| visit(&gateway, 50 * part + i));
            at_rest(&gateway)
        })
        .collect();
    eprintln!("{held:?}");
    let (fiftieth, last) = (held[0], held[3]);
    assert_eq!((last.fds, last.threads), (fiftieth.fds, fiftieth.threads), "{held:?}");
    assert!(last.rss_kib <= fiftieth.rss_kib + GROWTH_KIB, "memory grows: {held:?}");
}
