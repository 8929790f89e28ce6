//! PURE. What is encoded, for whom, and at what rate.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Session;
use super::event::Output;
use super::tier::{RenditionKey, Ways, is_narrow};
use super::viewer::Viewer;
use crate::frame::Codec;
use crate::wire::signal::Tier;

/// How often it is looked whether somebody may leave the low tier.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// For how long there is no low tier after no encoder could be had for one.
const NO_LOW_TIER: Duration = Duration::from_secs(300);

impl Session {
    pub(super) fn streaming(&mut self, viewer: u32, codec: Option<Codec>, now: Instant) {
        let Some(v) = self.viewers.get_mut(&viewer) else { return };
        (v.stream, v.stream_limit_kbps) = (codec, None);
        if codec.is_some() && self.control.holder() == Some(viewer) {
            self.unlock_phase();
        }
        self.update_renditions(now);
        self.need_keyframe(viewer, now);
    }

    pub(super) fn need_keyframe(&mut self, viewer: u32, now: Instant) {
        let keys: BTreeSet<RenditionKey> =
            self.viewers.get(&viewer).map(|v| v.renditions().collect()).unwrap_or_default();
        for key in keys {
            if self.keyframes.entry(key).or_default().request(now) {
                self.outputs.push_back(Output::Keyframe(key));
            }
        }
    }

    /// Brings tiers, encoders and their rates in line with who is here.
    pub(super) fn update_renditions(&mut self, now: Instant) {
        self.update_after(None, now);
    }

    /// The same, after a way was found to carry less. True if somebody got into another tier.
    fn update_after(&mut self, fell: Option<u32>, now: Instant) -> bool {
        let moved = self.settle_tiers(fell, now);
        let running: BTreeSet<RenditionKey> = self.viewers.values().flat_map(Viewer::renditions).collect();
        let fed: BTreeSet<RenditionKey> =
            running.iter().copied().filter(|key| self.viewers.values().any(|v| v.watches(*key))).collect();
        let wanted = (running, fed);
        let changed = self.renditions != wanted;
        let (ran, _) = std::mem::replace(&mut self.renditions, wanted.clone());
        let (running, fed) = wanted;
        if changed {
            self.report.keep_encoders(&running);
            self.keyframes.retain(|key, _| running.contains(key));
            self.bitrates.retain(|key, _| running.contains(key));
        }
        // Before an encoder is started, which so begins with what its viewers' ways carry.
        self.update_bitrates();
        if changed {
            self.outputs.push_back(Output::Renditions { running, fed });
        }
        for viewer in &moved {
            // One that is about to be started begins with a key frame anyway.
            let is_new = |v: &Viewer| v.renditions().all(|key| !ran.contains(&key));
            if !self.viewers.get(viewer).is_some_and(is_new) {
                self.need_keyframe(*viewer, now);
            }
        }
        !moved.is_empty()
    }

    /// A way carries so much from now on.
    pub(super) fn limit(&mut self, viewer: u32, websocket: bool, kbps: Option<u32>, now: Instant) {
        let Some(v) = self.viewers.get_mut(&viewer) else { return };
        let before = v.limit_kbps().unwrap_or(u32::MAX);
        *(if websocket { &mut v.stream_limit_kbps } else { &mut v.media_limit_kbps }) = kbps;
        let fell = v.limit_kbps().is_some_and(|limit| limit < before);
        if self.update_after(fell.then_some(viewer), now) {
            self.tell_status();
        }
    }

    /// Puts everybody into the tier that their way calls for; who has moved.
    fn settle_tiers(&mut self, fell: Option<u32>, now: Instant) -> Vec<u32> {
        let most = self.settings.bitrate_kbps;
        let has_low_tier = self.no_low_tier_until.is_none_or(|until| now >= until);
        let codecs: BTreeSet<Codec> = self.viewers.values().filter_map(Viewer::looks_at).collect();
        let mut moved = Vec::new();
        for codec in codecs.into_iter().filter(|_| has_low_tier) {
            let low = self.bitrates.get(&RenditionKey { codec, tier: Tier::Low }).copied();
            let looking = || self.viewers.values().filter(|v| v.looks_at() == Some(codec));
            let widest = looking().map(|v| carries(v, most)).max().unwrap_or(most);
            for (&id, v) in self.viewers.iter_mut().filter(|(_, v)| v.looks_at() == Some(codec)) {
                let ways = Ways { this: carries(v, most), widest, low };
                if v.place.settle(&ways, fell == Some(id), now) {
                    tracing::info!(viewer = id, tier = ?v.place.tier(), ?ways, "another tier");
                    moved.push(id);
                }
            }
        }
        let anybody = self.viewers.values().any(|v| v.place.tier() == Tier::Low);
        self.look_at_tiers = anybody.then_some(now + LOOK_EVERY);
        moved
    }

    /// No encoder is to be had for a low tier: what everybody gets is better than nothing.
    pub(super) fn no_low_tier(&mut self, now: Instant) {
        self.no_low_tier_until = Some(now + NO_LOW_TIER);
        let low: Vec<u32> =
            self.viewers.iter().filter(|(_, v)| v.place.tier() == Tier::Low).map(|(id, _)| *id).collect();
        for &id in &low {
            if let Some(v) = self.viewers.get_mut(&id) {
                v.place.up(now);
            }
        }
        self.update_renditions(now);
        low.into_iter().for_each(|viewer| self.need_keyframe(viewer, now));
    }

    /// A rendition takes what all the ways to those who look at it carry. A narrow one among wide ones does not count: it
    /// may be wider than it seems, or there is no low tier, and then its viewer skips frames.
    fn update_bitrates(&mut self) {
        let most = self.settings.bitrate_kbps;
        for &key in &self.renditions.1 {
            let ways = || self.viewers.values().filter(|v| v.watches(key)).map(|v| carries(v, most));
            let widest = ways().max().unwrap_or(most);
            let counts = |this: &u32| key.tier == Tier::Low || !is_narrow(*this, widest);
            let kbps = ways().filter(counts).min().unwrap_or(most);
            if self.bitrates.insert(key, kbps) != Some(kbps) {
                self.outputs.push_back(Output::Bitrate(key, kbps));
            }
        }
    }
}

/// What of `most` the way to a viewer carries, in kbit/s.
fn carries(viewer: &Viewer, most: u32) -> u32 {
    viewer.limit_kbps().map_or(most, |limit| limit.min(most))
}
