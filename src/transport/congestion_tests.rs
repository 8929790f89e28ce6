use super::*;

const MOST: u32 = 8_000;
/// Of the network itself, and of its clock.
const WAY_US: i64 = 20_000;
const OFFSET_US: i64 = 7_000_000_000;
/// Bytes of a packet.
const PACKET: usize = 1_150;

/// An encoder that keeps to the limit, a link with a queue as long as it takes, reports ten times a second or as said.
struct Rig {
    start: Instant,
    us: i64,
    congestion: Congestion,
    /// When the link is free again, in microseconds.
    free: i64,
    pending: Vec<Arrival>,
    reported: i64,
    report_every: i64,
    longest: i64,
    /// Whether what is sent at that time is lost.
    loses: fn(i64) -> bool,
}

impl Rig {
    fn new() -> Self {
        let start = Instant::now();
        let congestion = Congestion::new(start);
        Self {
            start,
            us: 0,
            congestion,
            free: 0,
            pending: Vec::new(),
            reported: 0,
            report_every: 100_000,
            longest: 0,
            loses: |_| false,
        }
    }

    fn at(&self, us: i64) -> Instant {
        self.start + Duration::from_micros(us as u64)
    }

    /// Sends at most `demand` for some seconds over a link of `link` kbit/s; `late` delays packets by themselves.
    fn run(&mut self, seconds: i64, demand: u32, link: u32, late: impl Fn(i64) -> i64) -> (f64, Duration) {
        let (end, mut bytes) = (self.us + seconds * 1_000_000, 0);
        self.longest = 0;
        while self.us < end {
            let kbps = demand.min(self.congestion.limit_kbps().unwrap_or(u32::MAX));
            let frame = (kbps * 1_000 / 8 / 60) as usize;
            bytes += frame;
            for from in (0..frame).step_by(PACKET) {
                let size = PACKET.min(frame - from);
                self.free = self.free.max(self.us) + size as i64 * 8_000 / i64::from(link);
                let arrived = self.free + WAY_US + late(self.us) + OFFSET_US;
                let arrived_us = (!(self.loses)(self.us)).then_some(arrived);
                self.pending.push(Arrival { sent: self.at(self.us), arrived_us, bytes: size });
            }
            self.longest = self.longest.max(self.free - self.us);
            self.us += 16_667;
            if self.us - self.reported >= self.report_every {
                self.report();
            }
        }
        (bytes as f64 * 8.0 / 1e3 / seconds as f64, Duration::from_micros(self.longest as u64))
    }

    fn report(&mut self) {
        self.reported = self.us;
        let now = self.us - WAY_US + OFFSET_US;
        let last = self.pending.iter().rposition(|a| a.arrived_us.is_some_and(|at| at <= now));
        let known = last.map_or(0, |last| last + 1);
        let known: Vec<Arrival> = self.pending.drain(..known).collect();
        let at = self.at(self.us);
        self.congestion.handle(&known, at);
    }
}

#[test]
fn a_way_that_carries_everything_has_no_limit() {
    let mut rig = Rig::new();
    rig.run(20, MOST, 50_000, |_| 0);
    assert_eq!(rig.congestion.limit_kbps(), None);
    assert_eq!(rig.congestion.queue(), Duration::ZERO);
}

#[test]
fn a_narrow_way_is_used_and_its_queue_stays_short() {
    let mut rig = Rig::new();
    let (_, first) = rig.run(5, MOST, 3_000, |_| 0);
    assert!(first < Duration::from_millis(900), "{first:?}");
    let (used, longest) = rig.run(60, MOST, 3_000, |_| 0);
    assert!(used > 2_300.0 && longest < Duration::from_millis(300), "{used} kbit/s, {longest:?}");
}

#[test]
fn a_queue_is_seen_at_once_however_wide_the_way_is() {
    for link in [300, 500, 700, 1_000, 1_500, 2_000, 3_000, 4_000, 6_000] {
        for report_every in [20_000, 50_000, 100_000, 250_000] {
            let mut rig = Rig { report_every, ..Rig::new() };
            let (_, longest) = rig.run(10, MOST, link, |_| 0);
            // Until the first late packets are told of, all is sent; and some queue there must be to see it by.
            let sent_until = 450_000 + 2 * report_every;
            let excess = sent_until * i64::from(MOST - link) / i64::from(link);
            let most = LONG + Duration::from_micros(excess as u64);
            assert!(
                longest < most,
                "{link} kbit/s, reports each {report_every} us: {longest:?}, not below {most:?}"
            );
            let limit = rig.congestion.limit_kbps();
            assert!(
                limit.is_some_and(|limit| limit < link * 4 / 3),
                "{link} kbit/s, reports each {report_every} us: {limit:?}"
            );
        }
    }
}

#[test]
fn a_way_that_gets_wider_is_found_out_and_one_that_narrows_too() {
    let mut rig = Rig::new();
    rig.run(10, MOST, 3_000, |_| 0);
    rig.run(30, MOST, 50_000, |_| 0);
    assert!(
        rig.congestion.limit_kbps().is_some_and(|limit| limit > MOST),
        "{:?}",
        rig.congestion.limit_kbps()
    );
    let (_, longest) = rig.run(10, MOST, 1_000, |_| 0);
    assert!(longest < Duration::from_secs(4), "{longest:?}");
    let (used, longest) = rig.run(30, MOST, 1_000, |_| 0);
    assert!(used > 750.0 && longest < Duration::from_millis(600), "{used} kbit/s, {longest:?}");
}

#[test]
fn a_standstill_now_and_then_is_no_queue() {
    let mut rig = Rig::new();
    // Every second what was sent in a fifth of it arrives at its end.
    rig.run(20, MOST, 50_000, |us| (200_000 - us % 1_000_000).max(0));
    assert_eq!(rig.congestion.limit_kbps(), None);
}

#[test]
fn a_still_screen_does_not_undo_what_is_known() {
    let mut rig = Rig::new();
    rig.run(10, MOST, 3_000, |_| 0);
    rig.run(60, 50, 3_000, |_| 0);
    assert!(rig.congestion.limit_kbps().is_some_and(|limit| limit < 4_000));
    let (_, longest) = rig.run(10, MOST, 3_000, |_| 0);
    assert!(longest < Duration::from_millis(400), "{longest:?}");
}

#[test]
fn loss_without_a_queue_is_a_limit_too() {
    let start = Instant::now();
    let mut congestion = Congestion::new(start);
    for i in 0..100_u64 {
        let now = start + Duration::from_millis(100 * i);
        let arrivals: Vec<Arrival> = (0..60_i64)
            .map(|n| Arrival {
                sent: now,
                arrived_us: (n % 5 != 0).then_some(i as i64 * 100_000 + n * 1_600),
                bytes: 1_000,
            })
            .collect();
        congestion.handle(&arrivals, now);
    }
    assert!(congestion.limit_kbps().is_some_and(|limit| limit < 5_000), "{:?}", congestion.limit_kbps());
}

#[test]
fn radio_that_loses_a_frame_now_and_then_is_no_narrow_way() {
    // Every twentieth frame, and some of those that follow.
    let mut rig = Rig { loses: |us| us / 16_667 % 20 == 0 || us / 16_667 % 60 == 1, ..Rig::new() };
    rig.run(20, MOST, 50_000, |_| 0);
    assert!(
        rig.congestion.limit_kbps().is_none_or(|limit| limit >= MOST),
        "{:?}",
        rig.congestion.limit_kbps()
    );
}

#[test]
fn an_outage_of_a_moment_under_little_traffic_is_no_narrow_way() {
    let mut rig = Rig { loses: |us| (5_000_000..5_150_000).contains(&us), ..Rig::new() };
    rig.run(10, 600, 50_000, |_| 0);
    assert_eq!(rig.congestion.limit_kbps(), None, "{:?}", rig.congestion.limit_kbps());
}

#[test]
fn a_lost_moment_costs_little_and_is_made_up_for() {
    let mut rig = Rig::new();
    rig.run(5, MOST, 50_000, |_| 0);
    // For 1.2 s nothing comes through, and is lost.
    rig.loses = |us| us < 6_200_000;
    rig.run(2, MOST, 50_000, |_| 0);
    assert!(
        rig.congestion.limit_kbps().is_none_or(|limit| limit > MOST / 2),
        "{:?}",
        rig.congestion.limit_kbps()
    );
    rig.run(6, MOST, 50_000, |_| 0);
    assert!(
        rig.congestion.limit_kbps().is_none_or(|limit| limit >= MOST),
        "{:?}",
        rig.congestion.limit_kbps()
    );
}

#[test]
fn a_halt_on_a_still_screen_is_no_limit() {
    let start = Instant::now();
    let ms = |ms: u64| start + Duration::from_millis(ms);
    let mut congestion = Congestion::new(start);
    let frame = |at: u64, late: i64| Arrival {
        sent: ms(at),
        arrived_us: Some(at as i64 * 1_000 + late * 1_000),
        bytes: 900,
    };
    for second in 0..20 {
        congestion.handle(&[frame(second * 1_000, 5)], ms(second * 1_000 + 50));
    }
    // The browser stood still for a quarter of a second; then a picture is sharpened.
    congestion.handle(&[frame(20_000, 250)], ms(20_260));
    let repeats: Vec<Arrival> = (0..8).map(|i| frame(20_300 + i * 17, 5)).collect();
    congestion.handle(&repeats, ms(20_500));
    assert_eq!(congestion.limit_kbps(), None);
}

#[test]
fn who_slept_is_sent_as_much_as_before() {
    let start = Instant::now();
    let ms = |ms: u64| start + Duration::from_millis(ms);
    let arrival = |sent: u64, arrived: u64, bytes: usize| Arrival {
        sent: ms(sent),
        arrived_us: Some(arrived as i64 * 1_000),
        bytes,
    };
    // A still screen; then a page whose machine stops for five seconds, and reads what came meanwhile all at once.
    for within in [2, 60, 300] {
        let mut congestion = Congestion::new(start);
        for second in 0..10 {
            congestion.handle(&[arrival(second * 1_000, second * 1_000 + 1, 120)], ms(second * 1_000 + 50));
        }
        let missed: Vec<Arrival> =
            (0..20).map(|i| arrival(10_000 + i * 100, 15_000 + i * within / 20, 500)).collect();
        for (i, few) in missed.chunks(7).enumerate() {
            congestion.handle(few, ms(15_020 + 50 * i as u64));
        }
        let key_frame: Vec<Arrival> = (0..15).map(|i| arrival(15_300 + i, 15_302 + i, 1_200)).collect();
        congestion.handle(&key_frame, ms(15_400));
        assert!(congestion.limit_kbps().is_none_or(|limit| limit >= MOST), "{within}: {congestion:?}");
    }
}

#[test]
fn a_way_that_becomes_longer_is_taken_as_it_is() {
    let mut rig = Rig::new();
    rig.run(5, MOST, 50_000, |_| 0);
    rig.run(12, MOST, 50_000, |_| 120_000);
    assert!(
        rig.congestion.limit_kbps().is_none_or(|limit| limit >= MOST),
        "{:?}",
        rig.congestion.limit_kbps()
    );
}

#[test]
fn what_left_before_says_nothing() {
    let start = Instant::now();
    let mut congestion = Congestion::new(start + Duration::from_secs(1));
    let lost: Vec<Arrival> =
        (0..100).map(|_| Arrival { sent: start, arrived_us: None, bytes: 1_000 }).collect();
    congestion.handle(&lost, start + Duration::from_secs(2));
    assert_eq!(congestion.limit_kbps(), None);
}

#[test]
fn behind_a_long_queue_nothing_is_sent_until_it_has_gone() {
    let start = Instant::now();
    let mut congestion = Congestion::new(start);
    let arrival = |i: u64, late: i64| Arrival {
        sent: start + Duration::from_millis(20 * i),
        arrived_us: Some(20_000 * i as i64 + late),
        bytes: 5_000,
    };
    let fine: Vec<Arrival> = (0..10).map(|i| arrival(i, 5_000)).collect();
    let now = start + Duration::from_millis(300);
    congestion.handle(&fine, now);
    assert!(!congestion.is_behind(1_000_000, now, now));
    let late: Vec<Arrival> = (10..40).map(|i| arrival(i, 505_000)).collect();
    let now = start + Duration::from_millis(1_400);
    congestion.handle(&late, now);
    // 2 Mbit/s came, answers came within 120 ms.
    assert!(congestion.is_behind(95_000, now, now) && !congestion.is_behind(85_000, now, now));
    let unheard_of = Duration::from_secs(1);
    assert!(congestion.is_behind(95_000, now, now + unheard_of));
    assert!(!congestion.is_behind(95_000, now, now + unheard_of + Duration::from_millis(1)));
}

#[test]
fn the_first_packets_of_all_tell_a_narrow_way_from_a_wide_one() {
    let start = Instant::now();
    let behind = |packets: i64, apart: (i64, i64)| {
        let mut congestion = Congestion::new(start);
        let arrivals: Vec<Arrival> = (0..packets)
            .map(|i| Arrival {
                sent: start + Duration::from_micros((i * apart.0) as u64),
                arrived_us: Some(i * apart.1),
                bytes: PACKET,
            })
            .collect();
        let now = start + Duration::from_millis(75);
        congestion.handle(&arrivals, now);
        congestion.is_behind(100_000, start, now)
    };
    assert!(behind(6, (0, 10_000)), "of a key frame, at 1 Mbit/s");
    assert!(!behind(40, (0, 1_500)), "of a key frame, at 6 Mbit/s");
    assert!(!behind(4, (0, 12_000)), "too few to tell");
    assert!(!behind(6, (10_000, 10_000)), "of a still desktop");
}

#[test]
fn what_another_way_carried_is_where_a_new_one_begins_and_holds_as_long_as_it_is_confirmed() {
    let mut rig = Rig::new();
    assert_eq!(rig.congestion.expect(Some(1_000)), Some(Limit { kbps: 1_000, carries: 1_000 }));
    assert_eq!(rig.congestion.news(), None, "known");
    assert_eq!(rig.congestion.expect(Some(50)).map(|limit| limit.kbps), Some(1_000), "it has one");
    let (_, longest) = rig.run(2, MOST, 1_000, |_| 0);
    assert!(longest < Duration::from_millis(700), "{longest:?}");
    assert!(rig.congestion.limit_kbps().is_some_and(|limit| limit < 1_300));

    let mut rig = Rig::new();
    rig.congestion = Congestion::expecting(Some(1_000), rig.start);
    // A still desktop tests nothing.
    rig.run(4, 100, 50_000, |_| 0);
    assert!(
        rig.congestion.limit_kbps().is_some_and(|limit| limit > MOST),
        "{:?}",
        rig.congestion.limit_kbps()
    );
}

#[test]
fn by_a_way_that_is_silent_from_its_start_no_more_is_sent_for_a_while() {
    let start = Instant::now();
    let ms = |ms| start + Duration::from_millis(ms);
    let congestion = Congestion::new(start);
    let behind = |unheard, at: u64| congestion.is_behind(unheard, ms(5_000), ms(5_000 + at));
    assert!(!behind(500_000, 300) && behind(1, 301) && !behind(0, 301));
    assert!(behind(1, 3_000) && !behind(1, 3_001), "nobody may be there to tell");
    let expecting = Congestion::expecting(Some(1_000), start);
    let behind = |unheard| expecting.is_behind(unheard, start, ms(50));
    assert!(behind(32_000) && !behind(31_000), "250 ms of it");
}

#[test]
fn any_clock_is_survived() {
    let start = Instant::now();
    let mut congestion = Congestion::new(start);
    for (i, at) in [0, i64::MAX, i64::MIN, -1, 5].into_iter().enumerate() {
        let sent = start + Duration::from_millis(i as u64);
        congestion.handle(&[Arrival { sent, arrived_us: Some(at), bytes: usize::from(u16::MAX) }], sent);
    }
    assert!(congestion.limit_kbps().is_none_or(|limit| limit >= 250));
}

#[test]
fn a_still_screen_tells_nothing_of_what_a_way_carries() {
    let start = Instant::now();
    let ms = |ms: u64| start + Duration::from_millis(ms);
    let mut congestion = Congestion::new(start);
    // 120 bytes five times a second: 5 kbit/s. For 1.6 s somebody else's packets make them 100 ms later.
    for i in 0..100_u64 {
        let (sent, late) = (i * 200, if (50..58).contains(&i) { 100 } else { 0 });
        let arrived_us = Some((sent + 10 + late) as i64 * 1_000);
        congestion.handle(&[Arrival { sent: ms(sent), arrived_us, bytes: 120 }], ms(sent + 20 + late));
    }
    assert!(congestion.limit_kbps().is_none_or(|limit| limit >= MOST), "{congestion:?}");
}

#[test]
fn past_what_a_way_was_seen_to_carry_the_limit_grows_slowly_at_first() {
    let mut rig = Rig::new();
    rig.run(3, 3_000, 50_000, |_| 0);
    rig.loses = |us| us < 4_000_000 && us / 16_667 % 3 == 0;
    rig.run(2, 3_000, 50_000, |_| 0);
    let mut limits = vec![rig.congestion.limit_kbps().unwrap()];
    while *limits.last().unwrap() < MOST && limits.len() < 30 {
        rig.run(1, MOST, 50_000, |_| 0);
        limits.push(rig.congestion.limit_kbps().unwrap());
    }
    let slow = limits.windows(2).take_while(|pair| pair[1] < pair[0] * 5 / 4).count();
    assert!((6..15).contains(&slow) && limits.len() < 20, "{limits:?}");
}

#[test]
fn a_way_that_keeps_nothing_back_is_used_without_losing_much() {
    let start = Instant::now();
    let mut congestion = Congestion::new(start);
    // 3 Mbit/s and no queue: of each frame's packets of 1,000 bytes the first ones get through.
    let (mut sent, mut lost, mut room) = (0, 0, 0.0);
    for report in 0..400_u64 {
        let mut arrivals = Vec::new();
        for frame in 0..6 {
            let at = report * 100_000 + frame * 16_667;
            room = f64::min(room + 3e6 / 8.0 / 60.0, 8_000.0);
            let kbps = congestion.limit_kbps().unwrap_or(MOST).min(MOST);
            for n in 0..u64::from(kbps) * 125 / 60 / 1_000 {
                let fits = room >= 1_000.0;
                room -= if fits { 1_000.0 } else { 0.0 };
                let arrived_us = fits.then_some((at + n * 100) as i64 + WAY_US + OFFSET_US);
                arrivals.push(Arrival { sent: start + Duration::from_micros(at), arrived_us, bytes: 1_000 });
            }
        }
        congestion.handle(&arrivals, start + Duration::from_millis(report * 100 + 120));
        if report >= 100 {
            sent += arrivals.len();
            lost += arrivals.iter().filter(|a| a.arrived_us.is_none()).count();
        }
    }
    let used = sent as f64 * 8.0 / 30.0 / 3_000.0;
    assert!(
        used > 0.8 && (lost as f64) < 0.1 * sent as f64,
        "{used} used, {lost} of {sent} lost: {congestion:?}"
    );
}
