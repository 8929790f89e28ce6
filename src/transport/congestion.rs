//! PURE. How much a viewer's way takes.
//!
//! What a way cannot carry waits somewhere on it, or is lost. So the time that packets take is compared with the least
//! that they took of late, and what grew beyond that is a queue. While there is one, what arrives is what the way
//! carries: the target goes below that until the queue is gone, then just below it, and from there up again.
//! Arrival times may be of another clock, whose offset falls out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A queue longer than this has to go.
const LONG: Duration = Duration::from_millis(80);
/// One shorter than this is the network's own unsteadiness.
const SHORT: Duration = Duration::from_millis(30);
/// A queue this much longer than [`SHORT`] halves what is sent behind it, in seconds.
const HALVES: f64 = 0.3;
/// Of what a way was seen to carry, the part that is used once its queue is gone.
const USED: f64 = 0.9;
/// The least that is asked of an encoder, bits a second.
const LEAST: f64 = 250e3;
/// Growth while nothing queues, a second.
const GROWTH: f64 = 1.12;
/// A limit of which less than this part is used is not put to the test, and does not grow.
const TESTED: f64 = 0.5;
/// A limit is news when it differs from the last one by more than one part in this many.
const STEP: u32 = 20;
/// What arrived is counted over this long, in microseconds.
const WINDOW_US: i64 = 250_000;
/// A queue makes everything late; a moment's standstill only some packets. So the least late one of this long counts.
const STEADY: Duration = Duration::from_millis(100);
/// The least delay is that of the last one to two of these.
const BASE: Duration = Duration::from_secs(15);
/// Of the packets in a report, the part that must be lost for the way to be taken as full; and how many make a report.
const LOSSY: (f64, usize) = (0.1, 10);
/// Packets of [`WINDOW_US`] that are remembered, at most.
const MAX_PACKETS: usize = 4_096;

/// One packet, or frame, of which something was heard.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// When it left.
    pub sent: Instant,
    /// When it arrived, in microseconds of some clock; nothing if it did not.
    pub arrived_us: Option<i64>,
    /// Its size.
    pub bytes: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Congestion {
    epoch: Instant,
    /// Bits a second; none while the way has shown no limit.
    limit: Option<f64>,
    /// What the way carries when it is full, bits a second; known while it is.
    full: Option<f64>,
    queue: Duration,
    base: Base,
    /// Delays of late, in microseconds beyond the least.
    delays: VecDeque<(Instant, i64)>,
    arrived: VecDeque<(i64, usize)>,
    at: Instant,
    told: Option<u32>,
}

impl Congestion {
    /// A way of which nothing is known.
    pub fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            limit: None,
            full: None,
            queue: Duration::ZERO,
            base: Base { from: now, least: None, before: None },
            delays: VecDeque::new(),
            arrived: VecDeque::new(),
            at: now,
            told: None,
        }
    }

    /// What may be sent, in kbit/s; nothing where no limit has shown.
    pub fn limit_kbps(&self) -> Option<u32> {
        self.limit.map(|bits| (bits / 1e3) as u32)
    }

    /// [`Self::limit_kbps`], when it has changed by so much since the last call that encoders are to follow.
    pub fn news(&mut self) -> Option<u32> {
        let limit = self.limit_kbps()?;
        let changed = self.told.is_none_or(|told| told.abs_diff(limit) * STEP > told);
        changed.then(|| *self.told.insert(limit))
    }

    /// How long everything waits on its way at the moment.
    pub fn queue(&self) -> Duration {
        self.queue
    }

    /// Takes what was heard of packets, in the order in which they were sent.
    pub fn handle(&mut self, arrivals: &[Arrival], now: Instant) {
        for arrival in arrivals {
            let Some(at) = arrival.arrived_us else { continue };
            let sent = arrival.sent.saturating_duration_since(self.epoch).as_micros() as i64;
            // Clocks of strangers may say anything.
            let delay = at.saturating_sub(sent);
            self.delays.push_back((now, delay.saturating_sub(self.base.least_with(delay, now))));
            self.arrived.push_back((at, arrival.bytes));
        }
        self.forget(now);
        let Some(queue) = self.delays.iter().map(|(_, delay)| *delay).min() else { return };
        self.queue = Duration::from_micros(queue.max(0) as u64);
        let lost = arrivals.iter().filter(|a| a.arrived_us.is_none()).count();
        let lossy = arrivals.len() >= LOSSY.1 && lost as f64 > LOSSY.0 * arrivals.len() as f64;
        let elapsed = now.saturating_duration_since(self.at).min(Duration::from_secs(1));
        self.at = now;
        self.decide(lossy, elapsed.as_secs_f64());
    }

    fn decide(&mut self, lossy: bool, elapsed: f64) {
        let carried = self.carried();
        if self.queue > LONG || lossy {
            self.full = Some(self.full.map_or(carried, |full| (full + carried) / 2.0));
        }
        match self.full {
            Some(full) if self.queue <= SHORT && !lossy => {
                self.full = None;
                self.limit = Some(full * USED);
            }
            Some(full) => {
                let excess = self.queue.saturating_sub(SHORT).as_secs_f64() / HALVES;
                self.limit = Some(full * USED * 0.5_f64.powf(excess));
            }
            None if self.limit.is_some_and(|limit| carried > limit * TESTED) => {
                self.limit = self.limit.map(|limit| limit * GROWTH.powf(elapsed));
            }
            None => {}
        }
        self.limit = self.limit.map(|limit| limit.max(LEAST));
    }

    /// Bits a second that arrived of late, by the clock of the other side.
    fn carried(&self) -> f64 {
        let bytes: usize = self.arrived.iter().map(|(_, bytes)| bytes).sum();
        bytes as f64 * 8e6 / WINDOW_US as f64
    }

    fn forget(&mut self, now: Instant) {
        let last = self.arrived.back().map_or(0, |(at, _)| *at);
        let old = |at: i64| !(0..WINDOW_US).contains(&last.saturating_sub(at));
        while self.arrived.front().is_some_and(|(at, _)| old(*at)) || self.arrived.len() > MAX_PACKETS {
            self.arrived.pop_front();
        }
        let stale = |at: Instant| now.saturating_duration_since(at) > STEADY;
        while self.delays.front().is_some_and(|(at, _)| stale(*at)) || self.delays.len() > MAX_PACKETS {
            self.delays.pop_front();
        }
    }
}

/// The least delay of late: of the present period, and of the one before it.
#[derive(Debug)]
struct Base {
    from: Instant,
    least: Option<i64>,
    before: Option<i64>,
}

impl Base {
    fn least_with(&mut self, delay: i64, now: Instant) -> i64 {
        if now.saturating_duration_since(self.from) > BASE {
            self.from = now;
            self.before = self.least.take();
        }
        let least = self.least.map_or(delay, |least| least.min(delay));
        self.least = Some(least);
        self.before.map_or(least, |before| before.min(least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u32 = 8_000;
    /// Of the network itself, and of its clock.
    const WAY_US: i64 = 20_000;
    const OFFSET_US: i64 = 7_000_000_000;

    /// An encoder that keeps to the limit, a link with a queue as long as it takes, reports ten times a second.
    struct Rig {
        start: Instant,
        us: i64,
        congestion: Congestion,
        /// When the link is free again, in microseconds.
        free: i64,
        pending: Vec<Arrival>,
        reported: i64,
        longest: i64,
    }

    impl Rig {
        fn new() -> Self {
            let start = Instant::now();
            let congestion = Congestion::new(start);
            Self { start, us: 0, congestion, free: 0, pending: Vec::new(), reported: 0, longest: 0 }
        }

        fn at(&self, us: i64) -> Instant {
            self.start + Duration::from_micros(us as u64)
        }

        /// Sends at most `demand` for some seconds over a link of `link` kbit/s; `late` delays packets by themselves.
        fn run(
            &mut self,
            seconds: i64,
            demand: u32,
            link: u32,
            late: impl Fn(i64) -> i64,
        ) -> (f64, Duration) {
            let (end, mut bytes) = (self.us + seconds * 1_000_000, 0);
            self.longest = 0;
            while self.us < end {
                let kbps = demand.min(self.congestion.limit_kbps().unwrap_or(u32::MAX));
                let size = (kbps * 1_000 / 8 / 60) as usize;
                self.free = self.free.max(self.us) + size as i64 * 8_000 / i64::from(link);
                bytes += size;
                self.longest = self.longest.max(self.free - self.us);
                let arrived = self.free + WAY_US + late(self.us) + OFFSET_US;
                let arrival = Arrival { sent: self.at(self.us), arrived_us: Some(arrived), bytes: size };
                self.pending.push(arrival);
                self.us += 16_667;
                if self.us - self.reported >= 100_000 {
                    self.report();
                }
            }
            (bytes as f64 * 8.0 / 1e3 / seconds as f64, Duration::from_micros(self.longest as u64))
        }

        fn report(&mut self) {
            self.reported = self.us;
            let now = self.us - WAY_US + OFFSET_US;
            let known = self.pending.iter().take_while(|a| a.arrived_us.is_some_and(|at| at <= now)).count();
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
    fn a_way_that_gets_wider_is_found_out_and_one_that_narrows_too() {
        let mut rig = Rig::new();
        rig.run(10, MOST, 3_000, |_| 0);
        rig.run(30, MOST, 50_000, |_| 0);
        assert!(rig.congestion.limit_kbps().is_some_and(|limit| limit > MOST), "{:?}", rig.congestion);
        let (_, longest) = rig.run(10, MOST, 1_000, |_| 0);
        assert!(longest < Duration::from_secs(3), "{longest:?}");
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
    fn any_clock_is_survived() {
        let start = Instant::now();
        let mut congestion = Congestion::new(start);
        for (i, at) in [0, i64::MAX, i64::MIN, -1, 5].into_iter().enumerate() {
            let sent = start + Duration::from_millis(i as u64);
            congestion.handle(&[Arrival { sent, arrived_us: Some(at), bytes: usize::from(u16::MAX) }], sent);
        }
        assert!(congestion.limit_kbps().is_none_or(|limit| limit >= 250));
    }
}
