//! PURE. What is encoded, for whom, and at what rate.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::Session;
use super::event::Output;
use super::tier::{Limit, Place, RenditionKey, Ways, least};
use super::viewer::Viewer;
use crate::frame::Codec;
use crate::wire::signal::Tier;

/// For how long a codec has no low tier after no encoder could be had for one.
const NO_LOW_TIER: Duration = Duration::from_secs(300);

/// Tiers, encoders and their rates.
#[derive(Debug, Default)]
pub(super) struct Renditions {
    /// What runs, in whatever tier.
    running: BTreeSet<RenditionKey>,
    /// What of it gets frames.
    fed: BTreeSet<RenditionKey>,
    /// What each of those was last told to take, in kbit/s.
    pub bitrates: BTreeMap<RenditionKey, u32>,
    /// When somebody may leave the low tier, or there may be one again.
    pub look_at: Option<Instant>,
    /// Codecs that have no low tier, and until when.
    no_low_tier: BTreeMap<Codec, Instant>,
}

impl Session {
    pub(super) fn streaming(&mut self, viewer: u32, codec: Option<Codec>, now: Instant) {
        let carried = self.carried(viewer);
        let Some(v) = self.viewers.get_mut(&viewer) else { return };
        match codec {
            Some(_) => (v.stream, v.stream_limit) = (codec, carried),
            None => v.stop_streaming(),
        }
        if codec.is_some() && self.control.holder() == Some(viewer) {
            self.unlock_phase();
        }
        self.update_renditions(now);
        self.need_keyframe(viewer, now);
    }

    /// Of what it gets; what it is to get begins with one.
    pub(super) fn need_keyframe(&mut self, viewer: u32, now: Instant) {
        let Some(v) = self.viewers.get(&viewer) else { return };
        let keys: BTreeSet<RenditionKey> = v.renditions().filter(|key| key.tier == v.tier).collect();
        for key in keys {
            if self.keyframes.entry(key).or_default().request(now) {
                self.outputs.push_back(Output::Keyframe(key));
            }
        }
    }

    /// An encoder has begun: its first frame, a key frame, follows.
    pub(super) fn encoder_began(&mut self, key: RenditionKey, now: Instant) {
        self.keyframes.entry(key).or_default().made(now);
        self.update(None, Some(key), now);
    }

    /// Brings tiers, encoders and their rates in line with who is here.
    pub(super) fn update_renditions(&mut self, now: Instant) {
        self.update(None, None, now);
    }

    /// The same, after a way was found to carry less, or an encoder began. True if somebody gets another tier now.
    fn update(&mut self, fell: Option<u32>, began: Option<RenditionKey>, now: Instant) -> bool {
        self.settle_tiers(fell, now);
        let moved = self.move_viewers();
        let running: BTreeSet<RenditionKey> = self.viewers.values().flat_map(Viewer::renditions).collect();
        let is_fed = |key: &RenditionKey| self.viewers.values().any(|v| v.wants(*key));
        let fed: BTreeSet<RenditionKey> = running.iter().copied().filter(is_fed).collect();
        let changed = (&self.renditions.running, &self.renditions.fed) != (&running, &fed);
        if changed {
            self.report.keep_encoders(&running);
            self.keyframes.retain(|key, _| running.contains(key));
            self.renditions.bitrates.retain(|key, _| running.contains(key));
            (self.renditions.running, self.renditions.fed) = (running.clone(), fed.clone());
        }
        // Before an encoder is started, which so begins with what its viewers' ways carry.
        self.update_bitrates();
        if changed {
            self.outputs.push_back(Output::Renditions { running, fed });
        }
        for viewer in &moved {
            let begins = |v: &Viewer| began.is_some_and(|key| v.watches(key));
            let waits = |v: &Viewer| v.looks_at().is_some() && !begins(v);
            if self.viewers.get(viewer).is_some_and(waits) {
                self.need_keyframe(*viewer, now);
            }
        }
        !moved.is_empty()
    }

    /// A way carries so much from now on.
    pub(super) fn limit(&mut self, viewer: u32, websocket: bool, limit: Limit, now: Instant) {
        let Some(v) = self.viewers.get_mut(&viewer) else { return };
        let carried = |v: &Viewer| v.limit().map_or(u32::MAX, |limit| limit.carries);
        let before = carried(v);
        *(if websocket { &mut v.stream_limit } else { &mut v.media_limit }) = Some(limit);
        let fell = carried(v) < before;
        if self.update(fell.then_some(viewer), None, now) {
            self.tell_status();
        }
    }

    /// Finds the tier that everybody's way calls for.
    fn settle_tiers(&mut self, fell: Option<u32>, now: Instant) {
        let most = self.settings.bitrate_kbps;
        for v in self.viewers.values_mut() {
            if v.limit().is_none() {
                // Nothing is known of another way.
                v.place = Place::default();
            } else if v.looks_at().is_none() {
                v.place.rest(now);
            }
        }
        self.renditions.no_low_tier.retain(|_, until| now < *until);
        let codecs: BTreeSet<Codec> = self.viewers.values().filter_map(Viewer::looks_at).collect();
        for codec in codecs {
            if self.renditions.no_low_tier.contains_key(&codec) {
                continue;
            }
            let low = self.renditions.bitrates.get(&RenditionKey { codec, tier: Tier::Low }).copied();
            let looking = || self.viewers.values().filter(|v| v.looks_at() == Some(codec));
            let widest = looking().map(|v| carries(v, most)).max().unwrap_or(most);
            for (&id, v) in self.viewers.iter_mut().filter(|(_, v)| v.looks_at() == Some(codec)) {
                let ways = Ways { this: carries(v, most), may: may(v, most), widest, low };
                if v.place.settle(&ways, fell == Some(id), now) {
                    tracing::info!(viewer = id, tier = ?v.place.tier(), ?ways, "another tier");
                }
            }
        }
        let stays = self.viewers.values().filter_map(|v| v.place.leaves_at());
        let looks = stays.chain(self.renditions.no_low_tier.values().copied());
        // Whatever else lets somebody move is told when it happens.
        self.renditions.look_at = looks.filter(|at| *at > now).min();
    }

    /// Gives viewers what is for them, as soon as it is there: starting an encoder takes its time, and what they had until
    /// then is better than nothing. Who.
    fn move_viewers(&mut self) -> Vec<u32> {
        let mut moved = Vec::new();
        for (&id, v) in &mut self.viewers {
            let tier = v.place.tier();
            let is_there = |codec| self.report.runs(RenditionKey { codec, tier });
            if v.tier != tier && v.looks_at().is_none_or(is_there) {
                v.tier = tier;
                moved.push(id);
            }
        }
        moved
    }

    /// No encoder is to be had for a low tier: what everybody gets is better than nothing.
    pub(super) fn no_low_tier(&mut self, codec: Codec, now: Instant) {
        self.renditions.no_low_tier.insert(codec, now + NO_LOW_TIER);
        let of_it = |v: &&mut Viewer| v.media.codec() == Some(codec) || v.stream == Some(codec);
        self.viewers.values_mut().filter(of_it).for_each(|v| v.place = Place::default());
        self.update_renditions(now);
    }

    /// A rendition takes what the narrowest of its ways may be sent, but not much less than the others, or the controller's,
    /// carry: who cannot follow skips frames.
    pub(super) fn update_bitrates(&mut self) {
        let most = self.settings.bitrate_kbps;
        let controller = self.control.holder().and_then(|holder| self.viewers.get(&holder));
        for &key in &self.renditions.fed {
            let watching = || self.viewers.values().filter(|v| v.wants(key));
            // The wide ways of a main tier stay as wide as they are for a controller that has a tier of its own.
            let decides = key.tier == Tier::Low || self.renditions.no_low_tier.contains_key(&key.codec);
            let controls = controller.filter(|v| decides && v.wants(key)).map(|v| carries(v, most));
            let measure = controls.or(watching().map(|v| carries(v, most)).max()).unwrap_or(most);
            let least = if watching().nth(1).is_some() { least(key.tier, measure) } else { 0.0 };
            let counting = watching().filter(|v| f64::from(carries(v, most)) >= least);
            let kbps = counting.map(|v| may(v, most)).min().unwrap_or(most).max(least as u32);
            if self.renditions.bitrates.insert(key, kbps) != Some(kbps) {
                self.outputs.push_back(Output::Bitrate(key, kbps));
            }
        }
    }
}

/// What of `most` may be sent to a viewer at the moment, in kbit/s.
fn may(viewer: &Viewer, most: u32) -> u32 {
    viewer.limit().map_or(most, |limit| limit.kbps.min(most))
}

/// What of `most` the way to a viewer carries, in kbit/s.
fn carries(viewer: &Viewer, most: u32) -> u32 {
    viewer.limit().map_or(most, |limit| limit.carries.min(most))
}
