//! PURE. How much a viewer's way takes.
//!
//! What a way cannot carry waits somewhere on it, or is lost. So the time that packets take is compared with the least
//! that they took of late, and what grew beyond that is a queue. While there is one, the pace at which packets arrive is
//! what the way carries: the limit goes below that until the queue is gone, then just below it, and from there up again,
//! slowly near what the way was seen to carry, fast elsewhere. Arrival times may be of another clock, whose offset
//! falls out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::session::Limit;

/// A queue longer than this has to go.
const LONG: Duration = Duration::from_millis(80);
/// One shorter than this is the network's own unsteadiness.
const SHORT: Duration = Duration::from_millis(30);
/// A queue makes everything late that was sent over at least this long; a moment's standstill only some of it.
const STEADY: Duration = Duration::from_millis(100);
/// So many packets, or frames, have to be late.
const LATE: usize = 3;
/// What was heard within this time says how things are.
const RECENT: Duration = Duration::from_millis(150);
/// A queue this much longer than [`SHORT`] halves what is sent behind it, in seconds.
const HALVES: f64 = 0.3;
/// Of what a way was seen to carry, the part that is used once its queue is gone.
const USED: f64 = 0.9;
/// The least that is asked of an encoder, bits a second.
const LEAST: f64 = 250e3;
/// Growth in a second: near what the way was seen to carry, and elsewhere.
const GROWTH: (f64, f64) = (1.06, 1.6);
/// Growth in a second of a limit that another way had, tested or not, until it is past all that encoders are asked for.
const UNCONFIRMED: f64 = 2.0;
const ANYTHING: f64 = 100e6;
/// Past what it was seen to carry, which may have been too little, from the one to the other in this time.
const FASTER: Duration = Duration::from_secs(8);
/// What "near" means, of what it was seen to carry. Past it, that is forgotten.
const NEAR: (f64, f64) = (0.8, 1.25);
/// A limit of which less than this part is used is not put to the test, and does not grow.
const TESTED: f64 = 0.5;
/// A queue that is fed less for this long and stays as it is, within these parts of its length, even after a pause, is
/// none: the way itself has become longer.
const LONGER: (Duration, f64, f64) = (Duration::from_secs(2), 0.7, 1.3);
/// Nothing is sent behind a queue this long: it would only be older.
const TOO_LONG: Duration = Duration::from_millis(250);
/// What was heard longer ago than this, and than what waited then took, says nothing of what is on its way.
const STALE: Duration = Duration::from_secs(1);
/// A way by which nothing was heard for this long, from its start, gets no more until something is: it may be full of what
/// came before.
const UNHEARD_OF: Duration = Duration::from_millis(300);
/// For this long at most: nobody may be there to tell.
const GIVEN_UP: Duration = Duration::from_secs(3);
/// So many packets, and over such a time, tell what a way seems to carry before a queue is seen.
const TRAIN: (usize, Duration) = (5, Duration::from_millis(30));
/// The least delay is that of the last one to two of these.
const BASE: Duration = Duration::from_secs(15);
/// Late packets that come in less than this part of the time over which they were sent come out of no queue.
const AT_ONCE: f64 = 0.5;
/// Of the packets of the last second, the part that must be lost for that to be no accident; how many packets are enough to
/// tell; and of how many reports some must be missing: an outage of a moment is told of by one or two.
const LOSSY: (f64, usize, usize) = (0.1, 10, 3);
/// What that leaves of the rate, at most once in this time.
const LOSS: (f64, Duration) = (0.85, Duration::from_secs(1));
/// So few are recent for longer.
const FEW: usize = 16;
/// Packets of [`RECENT`] that are remembered, at most.
const MAX_PACKETS: usize = 2_048;
/// A pace is never taken over less than this, in seconds.
const SPAN: f64 = 0.02;
/// A limit is news when it differs from the last one by more than one part in this many.
const STEP: u32 = 20;

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

/// A packet that has arrived; times in microseconds, each of its own clock.
#[derive(Clone, Copy, Debug)]
struct Heard {
    at: Instant,
    sent: i64,
    arrived: i64,
    bytes: usize,
}

impl Heard {
    fn delay(&self) -> i64 {
        // Clocks of strangers may say anything.
        self.arrived.saturating_sub(self.sent)
    }
}

/// A queue that is being emptied.
#[derive(Clone, Copy, Debug)]
struct Draining {
    /// What the way carries, bits a second.
    carries: f64,
    /// When its length was last looked at, and what that was.
    since: Instant,
    length: Duration,
    /// A pause, once it did not become shorter.
    paused_until: Option<Instant>,
}

/// See the module.
#[derive(Debug)]
pub struct Congestion {
    epoch: Instant,
    /// Bits a second; none while the way has shown no limit.
    limit: Option<f64>,
    /// What the way was last seen to carry, bits a second.
    ceiling: Option<f64>,
    /// What it was expected to carry before anything was seen of it.
    expected: Option<f64>,
    draining: Option<Draining>,
    queue: Duration,
    answers_in: Duration,
    /// The least of that.
    quickest: Base,
    base: Base,
    heard: VecDeque<Heard>,
    /// Nothing was heard of it yet.
    is_silent: bool,
    /// Enough was heard to see a queue by.
    is_known: bool,
    losses: Losses,
    /// Since when the limit has been beyond what the way was seen to carry.
    past_since: Option<Instant>,
    at: Instant,
    lost_at: Option<Instant>,
    told: Option<u32>,
}

impl Congestion {
    /// A way of which nothing is known.
    pub fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            limit: None,
            ceiling: None,
            expected: None,
            draining: None,
            queue: Duration::ZERO,
            answers_in: Duration::ZERO,
            quickest: Base::new(now),
            base: Base::new(now),
            heard: VecDeque::new(),
            is_silent: true,
            is_known: false,
            losses: Losses::default(),
            past_since: None,
            at: now,
            lost_at: None,
            told: None,
        }
    }

    /// A way that is expected to carry so many kbit/s, for now; none where nothing is known of it.
    pub fn expecting(kbps: Option<u32>, now: Instant) -> Self {
        let mut way = Self::new(now);
        way.begin_at(kbps);
        way
    }

    fn begin_at(&mut self, kbps: Option<u32>) {
        self.expected = kbps.map(|kbps| f64::from(kbps) * 1e3);
        self.limit = self.expected;
    }

    /// The same of a way that has just been taken, if it has shown no limit of its own. Gives its limit, which is told
    /// by that.
    pub fn expect(&mut self, kbps: Option<u32>) -> Option<Limit> {
        if self.limit.is_none() {
            self.begin_at(kbps);
        }
        self.told = self.limit_kbps();
        Some(Limit { kbps: self.told?, carries: self.carries_kbps()? })
    }

    /// What another path may be expected to carry, kbit/s, which perhaps begins behind what waits on this one; nothing where
    /// this one has shown no limit.
    pub fn bequest_kbps(&self) -> Option<u32> {
        if self.draining.is_some() { self.limit_kbps() } else { self.carries_kbps() }
    }

    /// What it carries once its queue is gone, kbit/s; nothing where no limit has shown.
    fn carries_kbps(&self) -> Option<u32> {
        let limit = self.limit?;
        Some((self.ceiling.map_or(limit, |carries| limit.max(carries * USED)) / 1e3) as u32)
    }

    /// What may be sent, in kbit/s; nothing where no limit has shown.
    pub fn limit_kbps(&self) -> Option<u32> {
        self.limit.map(|bits| (bits / 1e3) as u32)
    }

    /// [`Self::limit_kbps`], when it has changed by so much since the last call that encoders are to follow.
    pub fn news(&mut self) -> Option<Limit> {
        let kbps = self.limit_kbps()?;
        let changed = self.told.is_none_or(|told| told.abs_diff(kbps).saturating_mul(STEP) > told);
        let carries = self.carries_kbps()?;
        changed.then(|| Limit { kbps: *self.told.insert(kbps), carries })
    }

    /// How long everything waits on its way, as it was last heard.
    pub fn queue(&self) -> Duration {
        self.queue
    }

    /// How long after it was sent something was last heard of a packet.
    pub fn answers_in(&self) -> Duration {
        self.answers_in
    }

    /// True while what is sent now would wait so long that it had better be left out, with so many bytes on their way of
    /// which nothing was heard yet, the first of them sent at that time. What waits is carried away in the meantime.
    pub fn is_behind(&self, unheard: usize, since: Instant, now: Instant) -> bool {
        if self.draining.and_then(|draining| draining.paused_until).is_some_and(|until| now < until) {
            return true;
        }
        let silent = now.saturating_duration_since(since);
        if self.is_silent && unheard > 0 && silent > UNHEARD_OF {
            return silent <= GIVEN_UP;
        }
        // Reports get lost as well.
        if !self.is_silent && now.saturating_duration_since(self.at) > self.queue.max(STALE) {
            return false;
        }
        let carries = match self.draining {
            Some(draining) => Some(draining.carries),
            None if self.is_known => None,
            None => self.first_pace().or(self.expected),
        };
        let there_and_back = Duration::from_micros(self.quickest.least().unwrap_or_default().max(0) as u64);
        let room = |bits: f64| bits.max(LEAST) * (there_and_back + TOO_LONG).as_secs_f64();
        carries.is_some_and(|bits| unheard as f64 * 8.0 > room(bits))
    }

    /// What a way seems to carry of which too little was heard to see a queue by: the pace of packets that left together and
    /// came one by one.
    fn first_pace(&self) -> Option<f64> {
        let (first, last) = (self.heard.front()?, self.heard.back()?);
        if self.heard.len() < TRAIN.0 {
            return None;
        }
        let (left, came) = (between(first.sent, last.sent), between(first.arrived, last.arrived));
        if came >= TRAIN.1.max(2 * left) { self.pace() } else { None }
    }

    /// Takes what was heard of packets, in the order in which they were sent.
    pub fn handle(&mut self, arrivals: &[Arrival], now: Instant) {
        // What left before this way was taken says nothing of it.
        let epoch = self.epoch;
        let of_this_way = || arrivals.iter().filter(|a| a.sent >= epoch);
        if of_this_way().next().is_none() {
            return;
        }
        self.is_silent = false;
        // Nor does what left before less was sent say that this is still too much.
        let since = self.lost_at.unwrap_or(self.epoch);
        let (all, lost) = of_this_way()
            .filter(|a| a.sent >= since)
            .fold((0_usize, 0_usize), |(all, lost), a| (all + 1, lost + usize::from(a.arrived_us.is_none())));
        let heard: Vec<Heard> = of_this_way()
            .filter_map(|a| {
                let sent = a.sent.saturating_duration_since(self.epoch).as_micros() as i64;
                Some(Heard { at: now, sent, arrived: a.arrived_us?, bytes: a.bytes })
            })
            .collect();
        heard.iter().for_each(|h| self.base.note(h.delay(), now));
        if let Some(last) = of_this_way().rfind(|a| a.arrived_us.is_some()) {
            self.answers_in = now.saturating_duration_since(last.sent);
            self.quickest.note(self.answers_in.as_micros() as i64, now);
        }
        let overtaken = |last: &Heard| heard.first().is_some_and(|first| first.sent < last.sent);
        let is_out_of_order = self.heard.back().is_some_and(overtaken);
        self.heard.extend(heard);
        if is_out_of_order {
            self.heard.make_contiguous().sort_by_key(|h| h.sent);
        }
        self.forget(now);
        self.is_known |= self.heard.front().is_some_and(|first| self.is_steady_from(first));
        let elapsed = now.saturating_duration_since(self.at).min(Duration::from_secs(1)).as_secs_f64();
        self.at = now;
        self.losses.note(all, lost, now);
        if self.losses.are_no_accident() {
            self.lossy(now);
        }
        self.queue = self.late(now);
        self.decide(elapsed, now);
        self.limit = self.limit.map(|limit| limit.max(LEAST));
    }

    fn forget(&mut self, now: Instant) {
        while let Some(first) = self.heard.front() {
            let age = now.saturating_duration_since(first.at);
            let too_little =
                self.heard.len() <= FEW || self.heard.get(1).is_none_or(|h| !self.is_steady_from(h));
            let recent = age <= RECENT || (too_little && age <= 12 * RECENT);
            if recent && self.heard.len() <= MAX_PACKETS {
                break;
            }
            self.heard.pop_front();
        }
    }

    /// Whether what was heard from this on covers more than a moment.
    fn is_steady_from(&self, first: &Heard) -> bool {
        let Some(last) = self.heard.back() else { return false };
        // On a narrow way what was sent in a moment arrives over a long time.
        between(first.sent, last.sent).max(between(first.arrived, last.arrived) / 2) >= STEADY
    }

    /// How long everything waits that was sent of late; no news unless it was enough to tell.
    fn late(&self, now: Instant) -> Duration {
        let Some(base) = self.base.least() else { return Duration::ZERO };
        let (mut count, mut least, mut enough) = (0, i64::MAX, false);
        for heard in self.heard.iter().rev() {
            if enough && now.saturating_duration_since(heard.at) > RECENT {
                break;
            }
            count += 1;
            least = least.min(heard.delay());
            enough = count >= LATE && self.is_steady_from(heard);
        }
        let waits = between(base, least);
        // Too little to see a queue by may be enough to see that there is none any more.
        if enough { waits } else { waits.min(self.queue) }
    }

    fn decide(&mut self, elapsed: f64, now: Instant) {
        let Some(pace) = self.pace() else { return };
        match self.draining {
            None if self.queue > LONG => {
                if let Some(carries) = self.jam() {
                    self.drain(carries, now);
                }
            }
            None => self.grow(pace, elapsed),
            Some(_) if self.queue <= SHORT => {
                self.draining = None;
                self.limit = self.ceiling.map(|carries| carries * USED);
            }
            Some(draining) if now.saturating_duration_since(draining.since) >= LONGER.0 => {
                let parts = self.queue.as_secs_f64() / draining.length.as_secs_f64().max(1e-3);
                let stays = (LONGER.1..=LONGER.2).contains(&parts);
                if stays && draining.paused_until.is_some() {
                    self.base.renew(now);
                    self.quickest.renew(now);
                    (self.draining, self.ceiling, self.queue) = (None, None, Duration::ZERO);
                } else {
                    // Encoders do not go below some rate. A pause tells a queue, which is gone after it, from a longer way.
                    let paused_until = stays.then(|| now + self.queue);
                    self.draining =
                        Some(Draining { since: now, length: self.queue, paused_until, ..draining });
                }
            }
            Some(draining) => {
                // Seen for longer, it is known better.
                let carries = (draining.carries + pace) / 2.0;
                self.draining = Some(Draining { carries, ..draining });
                self.hold_back(carries);
            }
        }
    }

    fn drain(&mut self, carries: f64, now: Instant) {
        self.expected = None;
        self.draining = Some(Draining { carries, since: now, length: self.queue, paused_until: None });
        self.hold_back(carries);
    }

    fn hold_back(&mut self, carries: f64) {
        let excess = self.queue.saturating_sub(SHORT).as_secs_f64() / HALVES;
        self.ceiling = Some(carries);
        self.limit = Some(carries * USED * 0.5_f64.powf(excess));
    }

    fn grow(&mut self, pace: f64, elapsed: f64) {
        if self.expected.is_some() {
            // Nothing of this way itself speaks for a limit.
            self.limit = self.limit.map(|limit| limit * UNCONFIRMED.powf(elapsed));
            self.expected = self.expected.filter(|_| self.limit < Some(ANYTHING));
            return;
        }
        let Some(limit) = self.limit.filter(|limit| pace > limit * TESTED) else { return };
        if self.ceiling.is_some_and(|c| limit >= c * NEAR.1) {
            (self.ceiling, self.past_since) = (None, Some(self.at));
        }
        let near = self.ceiling.is_some_and(|c| limit >= c * NEAR.0);
        let past = self.past_since.filter(|_| self.ceiling.is_none());
        let part = match past {
            Some(since) => self.at.saturating_duration_since(since).as_secs_f64() / FASTER.as_secs_f64(),
            None if near => 0.0,
            None => 1.0,
        };
        let growth = GROWTH.0 + (GROWTH.1 - GROWTH.0) * part.min(1.0);
        self.limit = Some(limit * growth.powf(elapsed));
    }

    fn lossy(&mut self, now: Instant) {
        if self.lost_at.is_some_and(|at| now.saturating_duration_since(at) < LOSS.1) {
            return;
        }
        self.lost_at = Some(now);
        self.expected = None;
        self.losses = Losses::default();
        let Some(rate) = self.sent_rate() else { return };
        let rate = self.limit.map_or(rate, |limit| limit.min(rate));
        // No encoder goes below that: what is lost of so little is lost for other reasons.
        if rate < LEAST {
            return;
        }
        self.limit = Some(rate * LOSS.0);
        self.ceiling = self.limit;
    }

    /// The pace at which late packets arrive, if there is a queue that they came out of. Where the other side slept or the
    /// way stood still, they come all at once in the end: then nothing waits any more, and what came tells how much was
    /// sent, not how much can be.
    fn jam(&self) -> Option<f64> {
        let on_time = self.base.least()?.saturating_add(LONG.as_micros() as i64);
        let late = || self.heard.iter().rev().take_while(|h| h.delay() > on_time);
        let (last, first) = (late().next()?, late().last()?);
        let left = last.sent.saturating_sub(first.sent).max(0);
        let came = last.arrived.saturating_sub(first.arrived).max(0);
        let bytes: usize = late().map(|h| h.bytes).sum::<usize>().saturating_sub(first.bytes);
        // What fills no way does not tell how wide it is.
        let sent = bytes as f64 * 8.0 / (left as f64 / 1e6).max(SPAN);
        let is_fed = sent >= LEAST / 2.0 && came as f64 > left as f64 * AT_ONCE;
        is_fed.then(|| bytes as f64 * 8.0 / (came as f64 / 1e6).max(SPAN))
    }

    /// Bits a second at which packets arrive, by the clock of the other side.
    fn pace(&self) -> Option<f64> {
        self.rate(|h| h.arrived)
    }

    /// Bits a second at which those that arrived were sent.
    fn sent_rate(&self) -> Option<f64> {
        self.rate(|h| h.sent)
    }

    fn rate(&self, time: impl Fn(&Heard) -> i64) -> Option<f64> {
        let (first, last) = (time(self.heard.front()?), time(self.heard.back()?));
        // The first one only marks where the time begins.
        let bytes: usize = self.heard.iter().skip(1).map(|h| h.bytes).sum();
        let span = last.saturating_sub(first).max(0) as f64 / 1e6;
        (bytes > 0).then(|| bytes as f64 * 8.0 / span.max(SPAN))
    }
}

/// Time between two moments of one clock, in microseconds; none where they are the wrong way round.
fn between(from: i64, to: i64) -> Duration {
    Duration::from_micros(to.saturating_sub(from).max(0) as u64)
}

/// Packets of the last second, by report: how many there were, and how many of them were lost.
#[derive(Debug, Default)]
struct Losses {
    reports: VecDeque<(Instant, usize, usize)>,
    all: usize,
    lost: usize,
}

impl Losses {
    fn note(&mut self, all: usize, lost: usize, now: Instant) {
        self.reports.push_back((now, all, lost));
        (self.all, self.lost) = (self.all + all, self.lost + lost);
        while let Some(&(at, all, lost)) = self.reports.front()
            && (now.saturating_duration_since(at) >= LOSS.1 || self.reports.len() > MAX_PACKETS)
        {
            self.reports.pop_front();
            (self.all, self.lost) = (self.all - all, self.lost - lost);
        }
    }

    fn are_no_accident(&self) -> bool {
        let enough = self.all >= LOSSY.1 && self.lost as f64 > LOSSY.0 * self.all as f64;
        enough && self.reports.iter().filter(|(_, _, lost)| *lost > 0).count() >= LOSSY.2
    }
}

/// The least delay of late, in microseconds: of the present period, and of the one before it.
#[derive(Debug)]
pub(super) struct Base {
    from: Instant,
    least: Option<i64>,
    before: Option<i64>,
}

impl Base {
    pub fn new(now: Instant) -> Self {
        Self { from: now, least: None, before: None }
    }

    pub fn note(&mut self, delay: i64, now: Instant) {
        if now.saturating_duration_since(self.from) > BASE {
            (self.from, self.before) = (now, self.least.take());
        }
        self.least = Some(self.least.map_or(delay, |least| least.min(delay)));
    }

    pub fn least(&self) -> Option<i64> {
        self.least.into_iter().chain(self.before).min()
    }

    /// What was the least is so no longer.
    fn renew(&mut self, now: Instant) {
        *self = Self::new(now);
    }
}

#[cfg(test)]
#[path = "congestion_tests.rs"]
mod tests;
