//! PURE. What the session knows of display and encoders, and the status made of it.

use std::collections::{BTreeMap, BTreeSet};

use super::tier::RenditionKey;
use super::viewer::{Media, Viewer};
use crate::frame::Size;
use crate::wire::signal::{DisplayState, Settings, Status, ViewerStatus};

#[derive(Debug)]
enum Encoder {
    Running { name: String, fallback: Option<String> },
    Missing(String),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Report {
    size: Option<Size>,
    can_resize: bool,
    down: Option<String>,
    encoders: BTreeMap<RenditionKey, Encoder>,
}

impl Report {
    /// True if the size is new.
    pub fn display_up(&mut self, size: Size, can_resize: bool) -> bool {
        self.down = None;
        self.can_resize = can_resize;
        self.size.replace(size) != Some(size)
    }

    pub fn display_down(&mut self, reason: String) {
        self.down = Some(reason);
    }

    pub fn size(&self) -> Option<Size> {
        self.size
    }

    pub fn can_resize(&self) -> bool {
        self.can_resize
    }

    pub fn encoder(&mut self, key: RenditionKey, name: String, fallback: Option<String>) {
        self.encoders.insert(key, Encoder::Running { name, fallback });
    }

    pub fn no_encoder(&mut self, key: RenditionKey, reason: String) {
        self.encoders.insert(key, Encoder::Missing(reason));
    }

    /// Whether frames come of it.
    pub fn runs(&self, key: RenditionKey) -> bool {
        matches!(self.encoders.get(&key), Some(Encoder::Running { .. }))
    }

    pub fn keep_encoders(&mut self, running: &BTreeSet<RenditionKey>) {
        self.encoders.retain(|key, _| running.contains(key));
    }

    /// For one viewer, or for nobody in particular.
    pub fn status(
        &self,
        viewer: Option<&Viewer>,
        viewers: &BTreeMap<u32, Viewer>,
        controller: Option<u32>,
        settings: Settings,
    ) -> Status {
        let codec = match viewer {
            Some(Viewer { media: Media::Connected(codec), .. }) => Some(*codec),
            Some(viewer) => viewer.stream.or(viewer.media.codec()),
            None => self.encoders.keys().next().map(|key| key.codec),
        };
        let tier = viewer.map(|v| v.tier).unwrap_or_default();
        let (encoder, fallback, trouble) =
            match codec.and_then(|codec| self.encoders.get(&RenditionKey { codec, tier })) {
                Some(Encoder::Running { name, fallback }) => (Some(name.clone()), fallback.clone(), None),
                Some(Encoder::Missing(reason)) => (None, None, Some(reason.clone())),
                None => (None, None, None),
            };
        let waiting = self.size.is_none().then(|| "waiting for the desktop to start".to_owned());
        Status {
            display: if self.size.is_some() && self.down.is_none() {
                DisplayState::Live
            } else {
                DisplayState::Waiting
            },
            message: self.down.clone().or(waiting).or(trouble).unwrap_or_default(),
            codec: codec.map(|c| c.name().to_owned()),
            tier,
            encoder,
            fallback,
            path: viewer.and_then(Viewer::media_path),
            can_resize: self.can_resize,
            viewers: viewers
                .iter()
                .map(|(id, v)| ViewerStatus {
                    viewer: *id,
                    rights: v.principal.rights.iter().copied().collect(),
                    visible: v.visible,
                })
                .collect(),
            controller,
            settings,
        }
    }
}
