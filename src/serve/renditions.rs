//! The encoders that exist at the moment, and what feeds them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::link::{Command, Link};
use super::memory;
use super::metrics::Metrics;
use crate::capture::{CaptureHandle, Encoded};
use crate::frame::{Codec, Size};
use crate::media::catalog::Entry;
use crate::media::ranking::Ranking;
use crate::media::rendition::{OnRendition, Rendition, RenditionConfig, RenditionEvent};
use crate::session::RenditionKey;
use crate::transport::packetize::{PacketizedFrame, Packetizer};
use crate::wire::signal::{Settings, Tier};

/// Until the display is there an encoder is made for this size; the first frame changes it.
const GUESS: Size = Size { width: 1280, height: 720 };

/// A frame that takes more than one part in this many of its bits had too few of them.
const STARVED: usize = 3;

/// Most parts that are owed: what an encoder spends above its part for good, as it does on a film at fewer frames a second
/// than the limit, is no debt that could ever be paid.
const OWED: usize = 60;

/// PURE. Whether bits are short. What a frame takes beyond its part is paid back by the next ones, which are the smaller
/// for it and yet have nothing to be proud of.
#[derive(Default)]
struct Allowance {
    debt: usize,
}

impl Allowance {
    fn is_short(&mut self, bytes: usize, frame_bytes: usize) -> bool {
        self.debt = (self.debt + bytes).saturating_sub(frame_bytes).min(frame_bytes * OWED);
        self.debt > 0 || bytes * STARVED >= frame_bytes
    }
}

fn frame_bytes(bitrate_kbps: u32, fps: u32) -> usize {
    (bitrate_kbps * 125 / fps.max(1)) as usize
}

/// What there is to encode by.
pub struct Encoders {
    /// What to try for each codec, the preferred codec first.
    pub candidates: Vec<(Codec, Vec<Arc<Entry>>)>,
    /// Everything, and what became of it.
    pub ranking: Ranking,
}

struct Running {
    id: u64,
    rendition: Option<Rendition>,
    fed: bool,
    fallback: Option<String>,
    encoder: Option<String>,
    bitrate_kbps: u32,
    /// Bytes that a frame may take: bitrate over frame limit.
    frame_bytes: Arc<AtomicUsize>,
    /// Who got its last frame.
    reached: BTreeSet<u32>,
}

/// See the module.
pub struct Renditions {
    encoders: Encoders,
    /// Codecs for which every encoder failed, until one works again.
    exhausted: BTreeSet<Codec>,
    running: BTreeMap<RenditionKey, Running>,
    /// Ends of former renditions that a successor must wait for.
    ending: BTreeMap<RenditionKey, JoinHandle<()>>,
    next_id: u64,
    link: Link,
    capture: CaptureHandle,
    metrics: Arc<Metrics>,
    settings: Settings,
    size: Size,
    wanted: BTreeSet<RenditionKey>,
    fed: BTreeSet<RenditionKey>,
    /// What each of them is to take, in kbit/s.
    bitrates: BTreeMap<RenditionKey, u32>,
    /// A codec that is encoded for nobody, until its first frame proves that it can be.
    trial: Option<Codec>,
}

impl Renditions {
    /// No renditions; `encoders` are what to try.
    pub fn new(
        encoders: Encoders,
        settings: Settings,
        link: Link,
        capture: CaptureHandle,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            trial: encoders.candidates.first().map(|(codec, _)| *codec),
            encoders,
            exhausted: BTreeSet::new(),
            running: BTreeMap::new(),
            ending: BTreeMap::new(),
            next_id: 1,
            link,
            capture,
            metrics,
            settings,
            size: GUESS,
            wanted: BTreeSet::new(),
            fed: BTreeSet::new(),
            bitrates: BTreeMap::new(),
        }
    }

    /// Codecs that can be offered, the preferred first; all of them if none works at the moment.
    pub fn usable(&self) -> Vec<Codec> {
        let codecs = self.encoders.candidates.iter().map(|(codec, _)| *codec);
        let (bad, good): (Vec<Codec>, Vec<Codec>) = codecs.partition(|codec| self.exhausted.contains(codec));
        if good.is_empty() { bad } else { good }
    }

    /// Whether there is no codec left that an encoder works for.
    pub fn all_exhausted(&self) -> bool {
        self.encoders.candidates.iter().all(|(codec, _)| self.exhausted.contains(codec))
    }

    /// What the session wants.
    pub fn set(&mut self, running: BTreeSet<RenditionKey>, fed: BTreeSet<RenditionKey>) {
        self.bitrates.retain(|key, _| running.contains(key));
        (self.wanted, self.fed) = (running, fed);
        self.apply();
    }

    /// The display has this size; the first time, an encoder is tried out.
    pub fn set_size(&mut self, size: Size) {
        self.size = size;
        self.apply();
    }

    /// What one rendition is to take, now or from its start on.
    pub fn set_bitrate(&mut self, key: RenditionKey, kbps: u32) {
        self.bitrates.insert(key, kbps);
        let Some(running) = self.running.get_mut(&key) else { return };
        running.bitrate_kbps = kbps;
        running.frame_bytes.store(frame_bytes(kbps, self.settings.fps), Ordering::Relaxed);
        running.rendition.iter().for_each(|r| r.set_bitrate(kbps));
    }

    /// Frame limit of every rendition.
    pub fn set_fps(&mut self, fps: u32) {
        self.settings.fps = fps;
        for running in self.running.values() {
            running.frame_bytes.store(frame_bytes(running.bitrate_kbps, fps), Ordering::Relaxed);
        }
        self.each(|r| r.set_fps(fps));
    }

    /// The next frame of a rendition is a key frame, and there is one soon.
    pub fn keyframe(&mut self, key: RenditionKey) {
        if let Some(rendition) = self.running.get(&key).and_then(|r| r.rendition.as_ref()) {
            self.metrics.keyframes.inc();
            rendition.force_idr();
            self.capture.refresh();
        }
    }

    /// What a live rendition encodes; `None` for one that has been ended.
    pub fn key_of(&self, id: u64) -> Option<RenditionKey> {
        self.running.iter().find(|(_, r)| r.id == id).map(|(key, _)| *key)
    }

    /// A frame came out: the trial, if this was one, has succeeded. True if it was.
    pub fn proved(&mut self, key: RenditionKey) -> bool {
        let proved = self.trial.take_if(|codec| RenditionKey::main(*codec) == key).is_some();
        if proved {
            self.apply();
        }
        proved
    }

    /// Replaces who got the last frame of a rendition; gives those who did before, and have got nothing of another one since.
    pub fn swap_reached(&mut self, key: RenditionKey, now: BTreeSet<u32>) -> BTreeSet<u32> {
        for (_, other) in self.running.iter_mut().filter(|(k, _)| k.codec == key.codec && **k != key) {
            other.reached.retain(|viewer| !now.contains(viewer));
        }
        self.running.get_mut(&key).map(|r| std::mem::replace(&mut r.reached, now)).unwrap_or_default()
    }

    /// An encoder runs: its name, and why an earlier one was left. Of several at a time the main one is what the gateway
    /// encodes with.
    pub fn started(&mut self, key: RenditionKey, encoder: String) -> Option<String> {
        if key.tier == Tier::Main {
            self.exhausted.remove(&key.codec);
            self.encoders.ranking.works(key.codec, &encoder);
        }
        let running = self.running.get_mut(&key)?;
        running.encoder = Some(encoder);
        running.fallback.clone()
    }

    /// An encoder was left. One that does not work twice at a time may well work once.
    pub fn left(&mut self, key: RenditionKey, encoder: &str, why: &str) {
        if key.tier == Tier::Main {
            self.encoders.ranking.fails(key.codec, encoder, why);
        }
        if let Some(running) = self.running.get_mut(&key) {
            running.fallback = Some(format!("{encoder}: {why}"));
        }
    }

    /// No encoder is left: viewers that connect from now on get another codec, if there is one.
    pub fn exhausted(&mut self, RenditionKey { codec, tier }: RenditionKey, reasons: &[(String, String)]) {
        if tier == Tier::Low {
            return;
        }
        reasons.iter().for_each(|(encoder, why)| self.encoders.ranking.fails(codec, encoder, why));
        self.exhausted.insert(codec);
        // The last one stays on trial: its rendition tries again, and `/readyz` waits for it.
        if self.trial == Some(codec) {
            self.trial = self.usable().first().copied();
        }
        self.apply();
    }

    /// Freezes the encoders at work, as a driver does.
    pub fn stall(&self) {
        self.each(Rendition::stall);
    }

    /// For `/api/status`.
    pub fn report(&self) -> Vec<serde_json::Value> {
        let row = |(key, r): (&RenditionKey, &Running)| {
            serde_json::json!({
                "codec": key.codec.name(), "tier": key.tier, "encoder": r.encoder, "fallback": r.fallback, "fed": r.fed, "bitrateKbps": r.bitrate_kbps,
                "viewers": r.reached.len(),
            })
        };
        self.running.iter().map(row).collect()
    }

    /// What works and what does not, for `/api/status`.
    pub fn ranking(&self) -> &Ranking {
        &self.encoders.ranking
    }

    fn each(&self, f: impl Fn(&Rendition)) {
        self.running.values().filter_map(|r| r.rendition.as_ref()).for_each(f);
    }

    /// Makes what runs what is wanted.
    fn apply(&mut self) {
        let trial = self.trial.map(RenditionKey::main);
        let wanted: BTreeSet<RenditionKey> = self.wanted.iter().copied().chain(trial).collect();
        let fed: BTreeSet<RenditionKey> = self.fed.iter().copied().chain(trial).collect();
        let ended: Vec<RenditionKey> =
            self.running.keys().filter(|key| !wanted.contains(key)).copied().collect();
        for key in ended {
            self.end(key);
        }
        for key in wanted {
            if !self.running.contains_key(&key) {
                self.begin(key);
            }
        }
        for (key, running) in &mut self.running {
            let feed = fed.contains(key);
            if std::mem::replace(&mut running.fed, feed) == feed {
                continue;
            }
            match running.rendition.as_ref().filter(|_| feed) {
                Some(rendition) => self.capture.add_sink(running.id, rendition.sink()),
                None => self.capture.remove_sink(running.id),
            }
        }
        self.capture.set_active(!fed.is_empty());
    }

    fn begin(&mut self, key: RenditionKey) {
        let codec = key.codec;
        let candidates = &self.encoders.candidates;
        let Some((_, candidates)) = candidates.iter().find(|(c, _)| *c == codec) else { return };
        let id = self.next_id;
        self.next_id += 1;
        let bitrate_kbps = self.bitrates.get(&key).copied().unwrap_or(self.settings.bitrate_kbps);
        let config = RenditionConfig::new(self.size.padded_even(), self.settings.fps, bitrate_kbps);
        let frame_bytes = Arc::new(AtomicUsize::new(frame_bytes(bitrate_kbps, self.settings.fps)));
        let rendition = Rendition::start(
            codec,
            candidates.clone(),
            config,
            self.ending.remove(&key),
            self.on_event(id, key, frame_bytes.clone()),
        );
        let running = Running {
            id,
            rendition: Some(rendition),
            fed: false,
            fallback: None,
            encoder: None,
            bitrate_kbps,
            frame_bytes,
            reached: BTreeSet::new(),
        };
        self.running.insert(key, running);
    }

    fn end(&mut self, key: RenditionKey) {
        let Some(mut running) = self.running.remove(&key) else { return };
        self.capture.remove_sink(running.id);
        let Some(rendition) = running.rendition.take() else { return };
        let last = self.running.is_empty();
        // An encoder that hangs takes seconds to be given up, and the loop has viewers to serve.
        let end = thread::spawn(move || {
            drop(rendition);
            if last {
                memory::give_back();
            }
        });
        self.ending.insert(key, end);
    }

    /// Runs on the encoder's thread: packetised there, once for all viewers.
    fn on_event(&self, id: u64, key: RenditionKey, frame_bytes: Arc<AtomicUsize>) -> OnRendition {
        let state = Mutex::new((Packetizer::new(key.codec), Allowance::default()));
        let (link, capture, metrics) = (self.link.clone(), self.capture.clone(), self.metrics.clone());
        Box::new(move |event| match event {
            RenditionEvent::AccessUnit(unit) => {
                let bytes = unit.data.len();
                metrics.frame(bytes, unit.encoded_at.saturating_duration_since(unit.captured_at));
                let allowed = frame_bytes.load(Ordering::Relaxed);
                let (payloads, starved) = {
                    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                    let (packetizer, allowance) = &mut *state;
                    (packetizer.packetize(&unit.data), allowance.is_short(bytes, allowed))
                };
                capture.encoded(id, Encoded { bytes, allowed, starved });
                let frame = PacketizedFrame {
                    payloads,
                    unit: unit.data,
                    keyframe: unit.keyframe,
                    captured_at: unit.captured_at,
                    damaged_at: unit.damaged_at,
                };
                link.send(Command::Frame { rendition: id, key, frame });
            }
            event => {
                link.tell(Command::Rendition { rendition: id, event });
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It is given 2.5 times a frame's part (`media/budget.rs`).
    #[test]
    fn a_film_leaves_no_debt_for_half_an_hour() {
        let part = frame_bytes(8_000, 60);
        let mut allowance = Allowance::default();
        for _ in 0..24 * 60 * 10 {
            allowance.is_short(part * 60 / 24, part);
        }
        let repeats = (0..100_000).take_while(|_| allowance.is_short(40, part)).count();
        assert!((1..100).contains(&repeats), "{repeats} repeats, 20 of them a second");
    }
}
