//! PURE. A viewer's WebRTC comes and goes.

use std::time::Instant;

use super::Session;
use super::event::Output;
use super::tier::{Limit, RenditionKey};
use super::viewer::Media;
use crate::frame::Codec;

impl Session {
    pub(super) fn answered(&mut self, viewer: u32, codec: Codec, now: Instant) {
        let Some(v) = self.viewers.get_mut(&viewer) else { return };
        // A new peer connection is a new page, whose input starts over; but a page that has its picture by the WebSocket
        // tries WebRTC again and again.
        if v.stream.is_none() {
            (v.seq, v.relative) = (None, None);
        }
        self.set_media(viewer, Media::Connecting(codec), now);
    }

    /// What the way that carried a viewer's picture so far was seen to carry, in kbit/s: its next one is likely to go
    /// through the same narrow place.
    pub fn carried_kbps(&self, viewer: u32) -> Option<u32> {
        Some(self.carried(viewer)?.carries)
    }

    /// The same, as the limit that the next one begins with.
    pub(super) fn carried(&self, viewer: u32) -> Option<Limit> {
        let Limit { carries, .. } = self.viewers.get(&viewer)?.limit()?;
        Some(Limit { kbps: carries, carries })
    }

    pub(super) fn connected(&mut self, viewer: u32, limit: Option<Limit>, now: Instant) {
        let Some(v) = self.viewers.get_mut(&viewer) else { return };
        let Some(codec) = v.media.codec() else { return };
        v.media_limit = limit;
        self.set_media(viewer, Media::Connected(codec), now);
        // Key frames of the last moments went to nobody: the first one who looks need not wait for the ration.
        let key = self.viewers.get(&viewer).map(|v| RenditionKey { codec, tier: v.tier });
        if let Some(key) = key.filter(|key| self.watchers(*key).eq([viewer])) {
            self.keyframes.remove(&key);
        }
        self.need_keyframe(viewer, now);
    }

    pub(super) fn silent(&mut self, viewer: u32, now: Instant) {
        let Some(v) = self.viewers.get_mut(&viewer) else { return };
        let Media::Connected(codec) = v.media else { return };
        v.media = Media::Silent(codec);
        v.gone_at = v.is_gone().then_some(now);
        self.release_held(viewer);
        if self.control.holder() == Some(viewer) {
            self.unlock_phase();
        }
        self.update_renditions(now);
    }

    pub(super) fn set_media(&mut self, viewer: u32, media: Media, now: Instant) {
        let Some(v) = self.viewers.get_mut(&viewer) else { return };
        v.media = media;
        v.gone_at = v.is_gone().then_some(now);
        self.update_renditions(now);
    }

    /// Slots of a display that nobody is at, or that another one's viewer has, help nobody.
    pub(super) fn unlock_phase(&mut self) {
        let change = self.phase.unlock();
        self.outputs.extend(change.map(Output::Phase));
    }
}
