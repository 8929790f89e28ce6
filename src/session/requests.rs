//! PURE. What viewers ask for: settings, control, another screen size.

use std::time::{Duration, Instant};

use super::Session;
use super::action::DesktopAction;
use super::event::Output;
use super::viewer::Viewport;
use crate::frame::{STANDARD_DPI, ScreenMode, Size};
use crate::wire::signal::{
    ByeReason, ClientMessage, ControlAction, ErrorCode, Fit, Right, ServerMessage, SettingsChange,
};

/// Resizes wait until the window has been quiet for this long.
const RESIZE_DEBOUNCE: Duration = Duration::from_millis(200);
/// Screen sizes that a viewer may ask for.
const SCREEN: std::ops::RangeInclusive<f64> = 320.0..=7_680.0;
/// Densities that programs cope with: a page that is zoomed out does not make letters tiny.
const DPI: (f64, f64) = (96.0, 480.0);
const BITRATE_KBPS: std::ops::RangeInclusive<u32> = 100..=200_000;
const FPS: std::ops::RangeInclusive<u32> = 5..=240;

impl Session {
    pub(super) fn message(&mut self, viewer: u32, message: ClientMessage, now: Instant) {
        if !self.within_budget(viewer, now) {
            return;
        }
        match message {
            ClientMessage::Hello { .. } | ClientMessage::Unknown => {}
            ClientMessage::Offer { sdp } => {
                if self.viewers.get_mut(&viewer).is_some_and(|v| v.offers.take(now)) {
                    self.outputs.push_back(Output::Answer { viewer, sdp });
                } else {
                    self.error(viewer, ErrorCode::RateLimited, "too many offers: wait a second");
                }
            }
            ClientMessage::Candidate { candidate, sdp_mid, sdp_m_line_index } => {
                if let Some(candidate) = candidate.filter(|c| !c.is_empty()) {
                    let (mid, index) = (sdp_mid, sdp_m_line_index);
                    self.outputs.push_back(Output::Candidate { viewer, candidate, mid, index });
                }
            }
            ClientMessage::Visibility { visible } => self.visibility(viewer, visible, now),
            ClientMessage::Viewport { css, device_pixel_ratio, fit } => {
                if let Some(v) = self.viewers.get_mut(&viewer) {
                    v.viewport = Viewport { css, ratio: device_pixel_ratio, fit };
                }
                self.plan_resize(viewer, now);
            }
            ClientMessage::Settings(change) => self.change_settings(viewer, change, now),
            ClientMessage::Control { action, viewer: other } => self.control(viewer, action, other, now),
            ClientMessage::Feedback(feedback) => {
                if self.control.holder() == Some(viewer) {
                    let change = self.phase.report(&feedback);
                    tracing::debug!(viewer, ?feedback, ?change, "phase");
                    self.outputs.extend(change.map(Output::Phase));
                }
            }
            ClientMessage::Stream { codecs } => self.stream(viewer, codecs, now),
            ClientMessage::Keyframe {} => self.need_keyframe(viewer, now),
            ClientMessage::Bye {} => self.forget(viewer, now),
        }
    }

    /// Counts a message; false (and an error the first time) when the viewer sends too many.
    pub(super) fn within_budget(&mut self, viewer: u32, now: Instant) -> bool {
        let Some(v) = self.viewers.get_mut(&viewer) else { return false };
        if v.messages.take(now) {
            return true;
        }
        if let Some(socket) = v.socket {
            self.drop_viewer(viewer, now);
            self.close(socket, ByeReason::Protocol, "too many messages");
        }
        false
    }

    /// Each beginning may start an encoder; an end costs nothing, and nobody is kept waiting for it.
    fn stream(&mut self, viewer: u32, codecs: Vec<String>, now: Instant) {
        if codecs.is_empty() || self.viewers.get_mut(&viewer).is_some_and(|v| v.offers.take(now)) {
            self.outputs.push_back(Output::Stream { viewer, codecs });
        } else {
            self.error(viewer, ErrorCode::RateLimited, "video was asked for too often: wait a second");
        }
    }

    fn visibility(&mut self, viewer: u32, visible: bool, now: Instant) {
        let Some(v) = self.viewers.get_mut(&viewer) else { return };
        if std::mem::replace(&mut v.visible, visible) == visible {
            return;
        }
        if !visible {
            self.release_held(viewer);
            if self.control.holder() == Some(viewer) {
                self.unlock_phase();
            }
        }
        self.update_renditions(now);
        if visible {
            self.need_keyframe(viewer, now);
        }
    }

    fn change_settings(&mut self, viewer: u32, change: SettingsChange, now: Instant) {
        if self.control.holder() != Some(viewer) || !self.may(viewer, Right::Control) {
            return self.error(viewer, ErrorCode::Forbidden, "only the one in control can change settings");
        }
        if let Some(kbps) = change.bitrate_kbps {
            self.settings.bitrate_kbps = kbps.clamp(*BITRATE_KBPS.start(), *BITRATE_KBPS.end());
            self.update_renditions(now);
        }
        if let Some(fps) = change.fps {
            self.settings.fps = fps.clamp(*FPS.start(), *FPS.end());
            self.outputs.push_back(Output::Fps(self.settings.fps));
        }
    }

    fn control(&mut self, viewer: u32, action: ControlAction, other: Option<u32>, now: Instant) {
        if !self.may(viewer, Right::Control) {
            return self.error(viewer, ErrorCode::Forbidden, "you may look, but not take control");
        }
        let before = self.control.holder();
        match action {
            ControlAction::Request => {
                if !self.control.take_if_free(viewer)
                    && let Some(holder) = before
                {
                    self.send(holder, ServerMessage::ControlRequest { viewer });
                }
            }
            ControlAction::Take => {
                if !self.control.take(viewer, now) {
                    self.error(
                        viewer,
                        ErrorCode::ControlBusy,
                        "control changed hands too often: wait 5 seconds",
                    );
                }
            }
            ControlAction::Grant => match other {
                Some(to) if self.may(to, Right::Control) => {
                    self.control.grant(viewer, to);
                }
                _ => self.error(viewer, ErrorCode::Forbidden, "that viewer may not have control"),
            },
            ControlAction::Release => {
                self.control.release(viewer);
            }
        }
        if self.control.holder() != before {
            if let Some(before) = before {
                self.release_held(before);
                self.send_ticket(before);
            }
            self.control_changed(now);
        }
    }

    pub(super) fn control_changed(&mut self, now: Instant) {
        self.unlock_phase();
        let holder = self.control.holder();
        self.pointer.forget();
        // What the former controller still had to be typed would be typed into the new one's windows.
        self.outputs.push_back(Output::Desktop(DesktopAction::ForgetText));
        self.outputs.push_back(Output::Desktop(DesktopAction::Controlled(holder.is_some())));
        if let Some(holder) = holder {
            self.send_ticket(holder);
            self.plan_resize(holder, now);
        }
        self.update_bitrates();
    }

    pub(super) fn send_ticket(&mut self, viewer: u32) {
        let Some(v) = self.viewers.get(&viewer).filter(|v| v.socket.is_some()) else { return };
        let ticket = self.ticket(viewer, &v.principal.subject);
        self.send(viewer, ServerMessage::Ticket { ticket, turn: None, ice_servers: Vec::new() });
    }

    fn plan_resize(&mut self, viewer: u32, now: Instant) {
        let Some(v) = self.viewers.get(&viewer) else { return };
        if self.control.holder() != Some(viewer) || v.viewport.fit != Fit::Resize || !self.report.can_resize()
        {
            return;
        }
        let pixels = |css: f64| (css * v.viewport.ratio).round();
        let (width, height) = (pixels(v.viewport.css.width), pixels(v.viewport.css.height));
        // NaN and infinity fall out here too.
        if SCREEN.contains(&width) && SCREEN.contains(&height) {
            let size = Size { width: width as u16 & !1, height: height as u16 & !1 };
            let dpi = (f64::from(STANDARD_DPI) * v.viewport.ratio).clamp(DPI.0, DPI.1).round() as u16;
            self.resize = Some((now + RESIZE_DEBOUNCE, ScreenMode { size, dpi }));
        }
    }
}
