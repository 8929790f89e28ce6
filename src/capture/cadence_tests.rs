use super::*;

const MS: Duration = Duration::from_millis(1);
/// A 60 Hz display's interval.
const TICK: Duration = Duration::from_nanos(16_666_667);

/// Runs a cadence on a virtual clock.
struct Rig {
    cadence: Cadence,
    start: Instant,
    now: Instant,
    /// Milliseconds since `start`, and whether the frame was fresh.
    frames: Vec<(f64, bool)>,
    polls: usize,
    /// What every repeat encodes to.
    encoded: usize,
    /// What a grab takes.
    grab_time: Duration,
}

impl Rig {
    fn new(fps: u32) -> Self {
        let start = Instant::now() + Duration::from_secs(1000);
        let mut cadence = Cadence::new(fps, start);
        cadence.set_active(true);
        let mut rig = Rig {
            cadence,
            start,
            now: start,
            frames: Vec::new(),
            polls: 0,
            encoded: 5_000,
            grab_time: Duration::ZERO,
        };
        rig.run_until(Duration::ZERO);
        assert_eq!(rig.frames, [(0.0, true)], "looking starts with a frame");
        rig
    }

    fn run_until(&mut self, at: Duration) {
        let end = self.start + at;
        loop {
            match self.cadence.step(self.now) {
                Step::Grab { .. } => {
                    self.note(true);
                    let started = self.now;
                    self.now += self.grab_time;
                    self.cadence.grabbed(started, self.now);
                }
                Step::Poll => {
                    self.polls += 1;
                    self.cadence.polled(self.now);
                }
                Step::Repeat => {
                    self.cadence.repeated(self.now);
                    self.encoded = self.encoded * 2 / 3;
                    let unit = Encoded { bytes: self.encoded, allowed: 16_666, starved: false };
                    self.cadence.encoded(1, unit);
                    self.note(false);
                }
                Step::Sleep(Some(until)) if until <= end => {
                    assert!(until > self.now, "a sleep must lead somewhere");
                    self.now = until;
                }
                Step::Sleep(_) => {
                    self.now = end;
                    return;
                }
            }
        }
    }

    fn note(&mut self, fresh: bool) {
        self.frames.push(((self.now - self.start).as_secs_f64() * 1e3, fresh));
    }

    fn damage_at(&mut self, at: Duration) {
        self.run_until(at);
        self.cadence.damage(self.now);
    }

    /// Times of the fresh frames after `from`, in milliseconds.
    fn fresh_after(&self, from: f64) -> Vec<f64> {
        self.frames.iter().filter(|(at, fresh)| *fresh && *at > from).map(|(at, _)| *at).collect()
    }
}

#[test]
fn the_first_change_after_idleness_is_grabbed_at_once() {
    let mut rig = Rig::new(60);
    rig.run_until(200 * MS);
    rig.damage_at(200 * MS);
    rig.run_until(201 * MS);
    assert_eq!(rig.fresh_after(1.0), [200.0]);
}

#[test]
fn the_frame_limit_holds_on_average_whatever_the_damage() {
    for fps in [10, 30, 60, 120] {
        let mut rig = Rig::new(fps);
        for at in 100..2_100 {
            rig.damage_at(at * MS);
        }
        rig.run_until(2_100 * MS);
        let frames = rig.fresh_after(99.0).len() as u32;
        assert!((2 * fps - 2..=2 * fps + 1).contains(&frames), "{fps} fps: {frames} frames in 2 s");
    }
}

#[test]
fn a_source_at_the_limit_with_jitter_loses_no_frame() {
    let mut rig = Rig::new(60);
    for frame in 0..120u32 {
        let jitter = Duration::from_micros(u64::from(frame * 7 % 5) * 400);
        rig.damage_at(500 * MS + TICK * frame + jitter);
    }
    rig.run_until(2_600 * MS);
    assert!(rig.fresh_after(499.0).len() >= 118, "{}", rig.fresh_after(499.0).len());
}

#[test]
fn still_pictures_are_refined_and_then_kept_alive() {
    let mut rig = Rig::new(60);
    rig.damage_at(2_000 * MS);
    let before = rig.frames.len() + 1;
    rig.encoded = 3_000;
    rig.run_until(4_900 * MS);
    let repeats: Vec<f64> = rig.frames[before..].iter().map(|(at, _)| *at).collect();
    assert_eq!(repeats[0], 2_300.0);
    // 2000, 1333, 888, 592 bytes: the fourth is below the floor.
    let refined = repeats.iter().filter(|at| **at < 2_500.0).count();
    assert_eq!(refined, 4);
    assert_eq!(repeats.len() - refined, 2, "one a second: {repeats:?}");
}

#[test]
fn damage_cancels_the_refinement() {
    let mut rig = Rig::new(60);
    rig.damage_at(2_000 * MS);
    rig.damage_at(2_305 * MS);
    rig.encoded = 1_000_000;
    let frames = rig.frames.len();
    rig.run_until(2_600 * MS);
    assert_eq!(rig.frames[frames..].iter().filter(|(_, fresh)| !fresh).count(), 0);
    rig.run_until(3_300 * MS);
    assert_eq!(rig.frames[frames..].iter().filter(|(_, fresh)| !fresh).count(), 8);
}

#[test]
fn a_refresh_sends_the_whole_screen_though_it_is_still() {
    let mut rig = Rig::new(60);
    rig.run_until(950 * MS);
    rig.cadence.refresh();
    assert_eq!(rig.cadence.step(rig.now), Step::Grab { full: true });
    rig.cadence.grabbed(rig.now, rig.now);
    rig.cadence.refresh();
    assert!(matches!(rig.cadence.step(rig.now), Step::Sleep(Some(_))), "the limit holds for refreshes too");
}

#[test]
fn nobody_looking_means_sleep_without_end() {
    let mut rig = Rig::new(60);
    rig.cadence.set_active(false);
    rig.cadence.damage(rig.now);
    rig.cadence.refresh();
    rig.cadence.set_polling(true, rig.now);
    assert_eq!(rig.cadence.step(rig.now), Step::Sleep(None));
}

#[test]
fn polling_runs_at_the_frame_limit_and_ends() {
    let mut rig = Rig::new(50);
    rig.cadence.set_polling(true, rig.now);
    rig.run_until(1_000 * MS);
    assert!((48..=51).contains(&rig.polls), "{}", rig.polls);
    rig.cadence.set_polling(false, rig.now);
    let polls = rig.polls;
    rig.run_until(2_000 * MS);
    assert_eq!(rig.polls, polls);
}

#[test]
fn slow_grabs_lose_no_tick() {
    let mut rig = Rig::new(60);
    rig.cadence.set_phase(Some(TICK), rig.now);
    rig.grab_time = 5 * MS;
    for frame in 0..120 {
        rig.damage_at(300 * MS + TICK * frame);
    }
    rig.run_until(2_400 * MS);
    assert!(rig.fresh_after(300.0).len() >= 118, "{}", rig.fresh_after(300.0).len());
}

const MICROS: Duration = Duration::from_micros(1);

/// A source that changes every `every` from 300 ms to 20 s, on a 60 Hz display whose ticks are `shift_us` off.
fn locked(fps: u32, every: Duration, shift_us: i64, grab_time: Duration) -> Rig {
    let mut rig = Rig::new(fps);
    rig.grab_time = grab_time;
    rig.cadence.set_phase(Some(TICK), rig.now);
    rig.cadence.adjust_phase(shift_us);
    let mut change = 300 * MS;
    while change < 20_000 * MS {
        rig.damage_at(change);
        change += every;
    }
    rig
}

/// How many frames a second, and how many of all leave off the grid that begins at `shift_us`.
fn on_grid(rig: &Rig, shift_us: i64) -> (f64, usize) {
    let tick = TICK.as_secs_f64() * 1e3;
    let frames = rig.fresh_after(310.0);
    let off = |at: &&f64| {
        let off = (**at - shift_us as f64 / 1e3).rem_euclid(tick);
        off > 1.6 && tick - off > 0.01
    };
    (frames.len() as f64 / 19.69, frames.iter().filter(off).count())
}

/// How many of the frames did not leave as the source changed, and of how many.
fn waited(rig: &Rig, every: u32) -> (usize, usize) {
    let frames = rig.fresh_after(310.0);
    let waited = |at: &&f64| ((**at - 300.0) * 1e3 + 50.0).rem_euclid(f64::from(every)) > 100.0;
    (frames.iter().filter(waited).count(), frames.len())
}

#[test]
fn frames_of_a_fast_source_leave_on_the_viewers_grid() {
    for every in [1_000, 4_000, 6_944, 8_333, 10_000] {
        for shift in [0i64, 3_000, -4_000] {
            for grab_time in [Duration::ZERO, 12 * MS] {
                let rig = locked(120, every * MICROS, shift, grab_time);
                let (rate, off_grid) = on_grid(&rig, shift);
                assert!(rate > 59.5, "{every}: {rate} a second");
                // A trial after 1, 3, 7 and 15 seconds.
                assert!(off_grid <= 5, "{every}, {shift}, {grab_time:?}: {off_grid} off the grid");
                assert!(rig.cadence.keeps_to_slots());
            }
        }
    }
}

#[test]
fn changes_of_a_source_no_faster_than_the_display_leave_at_once() {
    // 60, 59.9 and 30 frames a second; the second finds a tick taken for a moment, when it crosses it.
    for (every, most) in [(16_667, 0), (16_694, 80), (33_333, 0)] {
        let rig = locked(120, every * MICROS, 5_000, 2 * MS);
        let (waited, frames) = waited(&rig, every);
        assert!(frames as u32 > 19_600_000 / every, "{every}: {frames}");
        assert!(waited <= most, "{every}: {waited} of {frames}");
        assert!(!rig.cadence.keeps_to_slots());
    }
}

#[test]
fn of_a_source_a_little_faster_than_the_display_most_changes_leave_at_once() {
    let rig = locked(120, 16_639 * MICROS, 5_000, Duration::ZERO);
    let (waited, frames) = waited(&rig, 16_639);
    assert!(waited < frames / 4, "{waited} of {frames}");
}

#[test]
fn no_tick_gets_two_frames() {
    for every in [1_000, 4_000, 6_944, 12_000, 13_333, 16_639, 16_667, 16_694, 20_000] {
        let rig = locked(120, every * MICROS, 0, Duration::ZERO);
        let tick = TICK.as_secs_f64() * 1e3;
        // A frame that leaves up to the margin after a slot still reaches its tick.
        let reached = |at: &f64| ((at - 1.5) / tick).ceil() as i64;
        let ticks: Vec<i64> = rig.fresh_after(310.0).iter().map(reached).collect();
        let twice = ticks.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert_eq!(twice, 0, "{every}");
    }
}

#[test]
fn an_unlocked_capture_knows_nothing_of_slots() {
    let mut rig = locked(120, 17 * MS, 0, Duration::ZERO);
    assert!(!rig.cadence.keeps_to_slots());
    rig.cadence.set_phase(None, rig.now);
    assert!(rig.cadence.keeps_to_slots());
}

#[test]
fn a_lower_limit_takes_every_second_tick() {
    let (rate, off_grid) = on_grid(&locked(30, TICK, 0, Duration::ZERO), 0);
    assert!((29.5..30.2).contains(&rate) && off_grid <= 5, "{rate}, {off_grid}");
    let (rate, _) = on_grid(&locked(59, TICK, 0, Duration::ZERO), 0);
    assert!(rate > 59.5, "59 is near enough to 60: {rate}");
}

#[test]
fn an_early_first_frame_does_not_get_a_second_one_into_the_same_tick() {
    let mut rig = Rig::new(120);
    rig.cadence.set_phase(Some(TICK), rig.now);
    rig.run_until(310 * MS);
    let begin = rig.start + TICK * 30;
    let first = begin - rig.start + 10 * MS;
    rig.damage_at(first);
    rig.damage_at(first + 2 * MS);
    rig.run_until(700 * MS);
    let frames = rig.fresh_after(400.0);
    assert_eq!(frames[0], first.as_secs_f64() * 1e3, "at once");
    let second_tick = (TICK * 32).as_secs_f64() * 1e3;
    assert!((frames[1] - second_tick).abs() < 0.01, "{} instead of {second_tick}", frames[1]);
}

#[test]
fn a_remeasured_interval_keeps_the_grid() {
    let mut rig = Rig::new(60);
    rig.cadence.set_phase(Some(TICK), rig.now);
    rig.run_until(Duration::from_secs(600));
    let before = next_slot(&rig);
    rig.cadence.set_phase(Some(TICK + Duration::from_micros(3)), rig.now);
    let after = next_slot(&rig);
    assert!(before.abs_diff(after) < Duration::from_micros(10), "{before:?} {after:?}");
}

fn next_slot(rig: &Rig) -> Duration {
    let lock = rig.cadence.lock.unwrap();
    let period = rig.cadence.period_of(lock);
    lock.slot(lock.index_at(rig.now, period) + 1, period).unwrap() - rig.now
}

#[test]
fn absurd_intervals_unlock() {
    let mut rig = Rig::new(60);
    for interval in [Duration::ZERO, Duration::from_secs(3600), Duration::MAX] {
        rig.cadence.set_phase(Some(TICK), rig.now);
        rig.cadence.set_phase(Some(interval), rig.now);
        assert!(rig.cadence.lock.is_none());
        rig.cadence.adjust_phase(i64::MIN);
    }
}
