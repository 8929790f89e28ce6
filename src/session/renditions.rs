//! PURE. What is encoded, for whom, and at what rate.

use std::collections::BTreeSet;
use std::time::Instant;

use super::Session;
use super::event::Output;
use super::viewer::Viewer;
use crate::frame::Codec;

impl Session {
    pub(super) fn streaming(&mut self, viewer: u32, codec: Option<Codec>, now: Instant) {
        let Some(v) = self.viewers.get_mut(&viewer) else { return };
        (v.stream, v.stream_limit_kbps) = (codec, None);
        if codec.is_some() && self.control.holder() == Some(viewer) {
            self.unlock_phase();
        }
        self.update_renditions();
        self.need_keyframe(viewer, now);
    }

    pub(super) fn need_keyframe(&mut self, viewer: u32, now: Instant) {
        let codecs: BTreeSet<Codec> =
            self.viewers.get(&viewer).map(|v| v.codecs().collect()).unwrap_or_default();
        for codec in codecs {
            if self.keyframes.entry(codec).or_default().request(now) {
                self.outputs.push_back(Output::Keyframe(codec));
            }
        }
    }

    pub(super) fn update_renditions(&mut self) {
        let running: BTreeSet<Codec> = self.viewers.values().flat_map(Viewer::codecs).collect();
        let fed: BTreeSet<Codec> = running
            .iter()
            .copied()
            .filter(|codec| self.viewers.values().any(|v| v.watches(*codec)))
            .collect();
        if self.renditions != (running.clone(), fed.clone()) {
            self.report.keep_encoders(&running);
            self.keyframes.retain(|codec, _| running.contains(codec));
            self.renditions = (running.clone(), fed.clone());
            self.bitrates.retain(|codec, _| running.contains(codec));
            self.outputs.push_back(Output::Renditions { running, fed });
        }
        self.update_bitrates();
    }

    /// A way carries so much from now on.
    pub(super) fn limit(&mut self, viewer: u32, websocket: bool, kbps: Option<u32>) {
        if let Some(v) = self.viewers.get_mut(&viewer) {
            *(if websocket { &mut v.stream_limit_kbps } else { &mut v.media_limit_kbps }) = kbps;
        }
        self.update_bitrates();
    }

    /// A rendition takes what the way to the controller carries; without one who looks, what the widest way carries:
    /// others skip frames.
    pub(super) fn update_bitrates(&mut self) {
        let most = self.settings.bitrate_kbps;
        for &codec in &self.renditions.1 {
            let watching = self.viewers.iter().filter(|(_, v)| v.watches(codec));
            let limit = |v: &Viewer| v.limit_kbps().map_or(most, |limit| limit.min(most));
            let holder = watching.clone().find(|(id, _)| self.control.holder() == Some(**id));
            let widest = watching.map(|(_, v)| limit(v)).max();
            let kbps = holder.map(|(_, v)| limit(v)).or(widest).unwrap_or(most);
            if self.bitrates.insert(codec, kbps) != Some(kbps) {
                self.outputs.push_back(Output::Bitrate(codec, kbps));
            }
        }
    }
}
