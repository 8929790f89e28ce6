//! PURE. One session's life: who is here, who has control, what is held down, what is encoded.
//!
//! [`Session::handle`] takes what happened, [`Session::poll`] gives what is to be done; drain it after every
//! call. Invariants that this module owns:
//!
//! - Only the controller's input reaches the desktop, and a viewer without the right never is the controller.
//! - What is held down is held by a viewer that was heard within [`HELD_TIMEOUT`]; else it is released.
//! - Nobody looking means nothing fed.

pub mod action;
mod activity;
mod control;
mod event;
mod held;
mod inject;
mod keyframes;
mod media;
mod notice;
mod phase;
mod principal;
mod rate;
mod renditions;
mod report;
mod requests;
mod ticket;
mod tier;
mod viewer;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

pub use self::event::{Input, Output};
pub use self::notice::{BadNotice, Notice};
pub use self::phase::PhaseChange;
pub use self::principal::Principal;
pub use self::rate::Bucket;
use self::rate::Buckets;
pub use self::ticket::{Ticket, TicketError};
pub use self::tier::{Limit, RenditionKey};

use self::action::DesktopAction;
use self::activity::Activity;
use self::control::Control;
use self::event::earliest;
use self::keyframes::KeyframeRation;
use self::phase::PhaseLock;
use self::renditions::Renditions;
use self::report::Report;
use self::viewer::{Media, Viewer, Viewport};
use crate::frame::{STANDARD_DPI, ScreenMode};
use crate::wire::api;
use crate::wire::signal::{
    ByeReason, ClientMessage, ErrorCode, MediaPath, Right, ServerMessage, Settings, Tier, screens_of,
};
use crate::wire::{HEARTBEAT_MS, HELD_TIMEOUT_MS};

/// Held keys are released when their viewer is not heard for this long.
pub const HELD_TIMEOUT: Duration = Duration::from_millis(HELD_TIMEOUT_MS);
/// A viewer that is gone is remembered for this long, so that a reload finds its number and control again.
const RESUME_GRACE: Duration = Duration::from_secs(10);
/// Times that one credential may say hello, a second and at once: each comes with new budgets of everything else.
const HELLOS: (u32, u32) = (10, 250);
/// The feature of sending video over the WebSocket, in `hello`.
const STREAM: &str = "stream";
/// Credentials whose hellos are counted.
const MAX_SUBJECTS: usize = 1_024;

/// What a session is made with.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Its name, in tickets.
    pub name: String,
    /// Settings to begin with.
    pub settings: Settings,
    /// Most viewers at a time.
    pub max_viewers: usize,
    /// True if viewers may resize the screen.
    pub resizable: bool,
}

/// See the module.
pub struct Session {
    config: SessionConfig,
    ticket_key: Vec<u8>,
    settings: Settings,
    viewers: BTreeMap<u32, Viewer>,
    hellos: Buckets,
    next_viewer: u32,
    control: Control,
    phase: PhaseLock,
    keyframes: BTreeMap<RenditionKey, KeyframeRation>,
    renditions: Renditions,
    report: Report,
    cursor: Option<ServerMessage>,
    locks: Option<(bool, bool)>,
    resize: Option<(Instant, ScreenMode)>,
    /// What the screen's density was last asked to be.
    dpi: u16,
    pointer: inject::Overlay,
    activity: Activity,
    notice: Option<Notice>,
    outputs: VecDeque<Output>,
    /// Seconds since the Unix epoch, for tickets; moved on by the caller.
    unix_now: u64,
    /// When every viewer was last given a new ticket, likewise.
    tickets_renewed: u64,
}

impl Session {
    /// A session without viewers that begins at `now`. `ticket_key` signs resume tickets.
    pub fn new(config: SessionConfig, ticket_key: Vec<u8>, now: Instant) -> Self {
        Self {
            settings: config.settings,
            config,
            ticket_key,
            viewers: BTreeMap::new(),
            hellos: Buckets::new(HELLOS, MAX_SUBJECTS),
            next_viewer: 1,
            control: Control::default(),
            phase: PhaseLock::default(),
            keyframes: BTreeMap::new(),
            renditions: Renditions::default(),
            report: Report::default(),
            cursor: None,
            locks: None,
            resize: None,
            dpi: STANDARD_DPI,
            pointer: inject::Overlay::default(),
            activity: Activity::new(now),
            notice: None,
            outputs: VecDeque::new(),
            unix_now: 0,
            tickets_renewed: 0,
        }
    }

    /// Tells the session what time it is for tickets, in seconds since the Unix epoch. Viewers get new tickets long
    /// before theirs expire.
    pub fn set_unix_time(&mut self, seconds: u64) {
        self.unix_now = seconds;
        if seconds >= self.tickets_renewed + ticket::LIFETIME_S / 2 {
            self.tickets_renewed = seconds;
            let viewers: Vec<u32> = self.viewers.keys().copied().collect();
            viewers.into_iter().for_each(|viewer| self.send_ticket(viewer));
        }
    }

    /// Takes what happened. Drain [`Self::poll`] afterwards.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Hello { socket, principal, hello, ticket, nonce } => {
                self.hello(socket, principal, hello, (ticket, nonce), now)
            }
            Input::Message { viewer, message } => self.message(viewer, message, now),
            Input::Malformed { viewer } => {
                if self.within_budget(viewer, now) {
                    self.error(viewer, ErrorCode::Malformed, "that message was not understood");
                }
            }
            // The hot path: input changes nothing that status shows.
            Input::Frame { viewer, bytes } => return self.input_frame(viewer, &bytes, now),
            Input::Closed { socket } => self.closed(socket, now),
            Input::Answered { viewer, codec } => self.answered(viewer, codec, now),
            Input::Connected { viewer, limit } => self.connected(viewer, limit, now),
            Input::Path { viewer, path } => {
                if let Some(v) = self.viewers.get_mut(&viewer) {
                    v.path = Some(path);
                }
            }
            Input::Silent { viewer } => self.silent(viewer, now),
            Input::Disconnected { viewer } => {
                self.set_media(viewer, Media::None, now);
                self.release_held(viewer);
            }
            // Several times a second on a narrow way, and seldom anything that status shows.
            Input::Limit { viewer, websocket, limit } => return self.limit(viewer, websocket, limit, now),
            Input::Streaming { viewer, codec } => self.streaming(viewer, codec, now),
            Input::Slots { kept } => self.phase.set_slots(kept),
            Input::NeedKeyframe { viewer } => self.need_keyframe(viewer, now),
            Input::Display { size, can_resize } => {
                if self.report.display_up(size, can_resize && self.config.resizable) {
                    self.broadcast(&ServerMessage::Screens { screens: screens_of(size) });
                }
            }
            Input::NoDisplay { reason } => self.report.display_down(reason),
            Input::ResizeRefused { reason } => {
                if let Some(holder) = self.control.holder() {
                    self.error(holder, ErrorCode::CannotResize, &reason);
                }
            }
            Input::Cursor(cursor) => {
                self.broadcast(&cursor);
                self.cursor = Some(cursor);
            }
            Input::Locks { caps, num } => {
                self.locks = Some((caps, num));
                self.broadcast(&ServerMessage::Locks { caps, num });
            }
            Input::Encoder { key, name, fallback } => {
                self.report.encoder(key, name, fallback);
                self.encoder_began(key, now);
            }
            Input::NoEncoder { key: RenditionKey { codec, tier: Tier::Low }, .. } => {
                self.no_low_tier(codec, now)
            }
            Input::NoEncoder { key, reason } => self.report.no_encoder(key, reason),
            Input::Revoked { tokens } => self.revoked(&tokens, now),
            Input::Notice(notice) => self.post(notice, now),
            Input::Shutdown => self.shutdown(),
        }
        self.count_viewers(now);
        self.tell_status();
    }

    /// Does what is due at `now`. Drain [`Self::poll`] afterwards.
    pub fn handle_timeout(&mut self, now: Instant) {
        let silent = |v: &Viewer| v.held.any() && now >= v.input_at + HELD_TIMEOUT;
        let silent: Vec<u32> = self.viewers.iter().filter(|(_, v)| silent(v)).map(|(id, _)| *id).collect();
        for viewer in silent {
            tracing::info!(viewer, code = "held-released", "no heartbeat: held keys released");
            self.release_held(viewer);
        }
        let lost = |v: &Viewer| v.gone_at.is_some_and(|at| now >= at + RESUME_GRACE);
        let lost: Vec<u32> = self.viewers.iter().filter(|(_, v)| lost(v)).map(|(id, _)| *id).collect();
        for viewer in lost {
            self.forget(viewer, now);
        }
        let due: Vec<RenditionKey> =
            self.keyframes.iter_mut().filter_map(|(c, r)| r.handle_timeout(now).then_some(*c)).collect();
        self.outputs.extend(due.into_iter().map(Output::Keyframe));
        if let Some((_, wanted)) = self.resize.take_if(|(at, _)| now >= *at)
            && (self.report.size() != Some(wanted.size) || self.dpi != wanted.dpi)
        {
            self.dpi = wanted.dpi;
            self.outputs.push_back(Output::Resize(wanted));
        }
        if self.renditions.look_at.is_some_and(|at| now >= at) {
            self.update_renditions(now);
        }
        self.flush_overlay(now);
        self.count_viewers(now);
        self.tell_status();
    }

    /// When [`Self::handle_timeout`] must be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let held = self.viewers.values().filter(|v| v.held.any()).map(|v| v.input_at + HELD_TIMEOUT).min();
        let gone = self.viewers.values().filter_map(|v| v.gone_at).min().map(|at| at + RESUME_GRACE);
        let keyframes = earliest(self.keyframes.values().map(KeyframeRation::poll_timeout));
        let resize = self.resize.map(|(at, _)| at);
        earliest([held, gone, keyframes, resize, self.pointer.poll_timeout(), self.renditions.look_at])
    }

    /// Takes the next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Viewers that look at a rendition.
    pub fn watchers(&self, key: RenditionKey) -> impl Iterator<Item = u32> + '_ {
        self.viewers.iter().filter(move |(_, v)| v.watches(key)).map(|(id, _)| *id)
    }

    /// Viewers that are here.
    pub fn viewer_count(&self) -> usize {
        self.viewers.len()
    }

    /// For `/api/activity`.
    pub fn activity(&self, now: Instant) -> api::Activity {
        self.activity.report(now)
    }

    /// How media reaches a viewer.
    pub fn media_path(&self, viewer: u32) -> Option<MediaPath> {
        self.viewers.get(&viewer)?.media_path()
    }

    /// What a viewer would be told, for `/api/status`.
    pub fn status(&self) -> crate::wire::signal::Status {
        self.report.status(None, &self.viewers, self.control.holder(), self.settings)
    }

    fn hello(
        &mut self,
        socket: u64,
        principal: Principal,
        hello: ClientMessage,
        (ticket, nonce): (Option<Ticket>, u64),
        now: Instant,
    ) {
        let ClientMessage::Hello { version, css, device_pixel_ratio, visible, fit, rights, .. } = hello
        else {
            return self.close(socket, ByeReason::Protocol, "the first message must be hello");
        };
        let principal = principal.limited_to(rights.as_deref());
        if version != 1 {
            return self.close(
                socket,
                ByeReason::Protocol,
                "this gateway speaks version 1 of the protocol: reload the page",
            );
        }
        if !self.hellos.take(&principal.subject, now) {
            let message = "too many connections in a short time; this page connects again by itself";
            return self.close(socket, ByeReason::Full, message);
        }
        let same = |t: &&Ticket, v: &Viewer| v.nonce == t.nonce && v.principal.subject == t.subject;
        let known = ticket.as_ref().filter(|t| self.viewers.get(&t.viewer).is_some_and(|v| same(t, v)));
        let known = known.map(|t| t.viewer);
        // Who left in the last seconds keeps a place only while nobody needs it.
        if known.is_none()
            && self.viewers.len() >= self.config.max_viewers
            && let Some(gone) = self.longest_gone()
        {
            self.forget(gone, now);
        }
        if known.is_none() && self.viewers.len() >= self.config.max_viewers {
            return self.close(socket, ByeReason::Full, "this session is full: ask somebody to leave");
        }
        let viewport = Viewport { css, ratio: device_pixel_ratio, fit };
        let (viewer, resumed) = match known {
            Some(viewer) => (viewer, self.resume(viewer, socket, principal, visible, viewport)),
            None => {
                let newcomer = Viewer::new(principal, nonce, socket, visible, viewport, now);
                (self.join(ticket.as_ref(), newcomer), false)
            }
        };
        self.outputs.push_back(Output::Joined { socket, viewer });
        // Before anything else is said, and so before who has control; a newer ticket tells that.
        self.greet(viewer, resumed, now);
        if self.may(viewer, Right::Control) {
            let before = self.control.holder();
            let had_it = ticket.is_some_and(|t| t.control);
            let has_it =
                if had_it { self.control.restore(viewer) } else { self.control.take_if_free(viewer) };
            if has_it {
                before.filter(|b| *b != viewer).into_iter().for_each(|b| self.release_held(b));
                self.control_changed(now);
            }
        }
        self.update_renditions(now);
        if resumed {
            self.need_keyframe(viewer, now);
        }
    }

    /// The socket of a viewer that is still known; true if its media goes on.
    fn resume(
        &mut self,
        id: u32,
        socket: u64,
        principal: Principal,
        visible: bool,
        viewport: Viewport,
    ) -> bool {
        let Some(viewer) = self.viewers.get_mut(&id) else { return false };
        let replaced = viewer.socket.replace(socket);
        viewer.stop_streaming();
        viewer.principal = principal;
        viewer.visible = visible;
        viewer.viewport = viewport;
        viewer.gone_at = None;
        viewer.told = None;
        let resumed = matches!(viewer.media, Media::Connected(_));
        if let Some(old) = replaced {
            self.close(old, ByeReason::Replaced, "this session was opened in another tab");
        }
        resumed
    }

    fn join(&mut self, ticket: Option<&Ticket>, viewer: Viewer) -> u32 {
        // A gateway that was restarted knows nobody: the ticket brings the number back.
        let free = ticket.map(|t| t.viewer).filter(|id| !self.viewers.contains_key(id));
        let id = free.unwrap_or(self.next_viewer);
        self.next_viewer = self.next_viewer.max(id.saturating_add(1));
        self.viewers.insert(id, viewer);
        id
    }

    fn greet(&mut self, viewer: u32, resumed: bool, now: Instant) {
        let Some(v) = self.viewers.get(&viewer) else { return };
        let message = ServerMessage::Hello {
            version: 1,
            features: vec![STREAM.to_owned()],
            viewer,
            rights: v.principal.rights.iter().copied().collect(),
            settings: self.settings,
            screens: self.report.size().map(screens_of).unwrap_or_default(),
            ticket: self.ticket(viewer, &v.principal.subject),
            resumed,
            heartbeat_ms: HEARTBEAT_MS,
            turn: None,
            ice_servers: Vec::new(),
        };
        self.send(viewer, message);
        if let Some(cursor) = self.cursor.clone() {
            self.send(viewer, cursor);
        }
        if let Some((caps, num)) = self.locks {
            self.send(viewer, ServerMessage::Locks { caps, num });
        }
        if let Some(notice) = &self.notice {
            let notice = Some(notice.for_viewers(now));
            self.send(viewer, ServerMessage::Notice { notice });
        }
    }

    fn ticket(&self, viewer: u32, subject: &str) -> String {
        let ticket = Ticket {
            session: self.config.name.clone(),
            viewer,
            nonce: self.viewers.get(&viewer).map_or(0, |v| v.nonce),
            subject: subject.to_owned(),
            control: self.control.holder() == Some(viewer),
            issued: self.unix_now,
        };
        ticket.sign(&self.ticket_key)
    }

    fn closed(&mut self, socket: u64, now: Instant) {
        let Some((&id, viewer)) = self.viewers.iter_mut().find(|(_, v)| v.socket == Some(socket)) else {
            return;
        };
        viewer.socket = None;
        viewer.stop_streaming();
        if viewer.is_gone() {
            viewer.gone_at = Some(now);
            self.release_held(id);
        }
        self.update_renditions(now);
    }

    fn longest_gone(&self) -> Option<u32> {
        let gone = self.viewers.iter().filter_map(|(id, v)| Some((v.gone_at?, *id)));
        gone.min().map(|(_, id)| id)
    }

    /// Ends a viewer and passes control on.
    fn forget(&mut self, viewer: u32, now: Instant) {
        let socket = self.viewers.get(&viewer).and_then(|v| v.socket);
        self.drop_viewer(viewer, now);
        if let Some(socket) = socket {
            self.close(socket, ByeReason::Replaced, "you left this session");
        }
    }

    fn drop_viewer(&mut self, viewer: u32, now: Instant) {
        self.release_held(viewer);
        if self.viewers.remove(&viewer).is_none() {
            return;
        }
        self.outputs.push_back(Output::DropPeer { viewer });
        if self.control.release(viewer) {
            let next =
                self.viewers.iter().find(|(_, v)| v.may(Right::Control) && !v.is_gone()).map(|(id, _)| *id);
            if let Some(next) = next {
                self.control.take_if_free(next);
            }
            self.control_changed(now);
        }
        self.update_renditions(now);
    }

    fn revoked(&mut self, tokens: &HashSet<String>, now: Instant) {
        let by_token = |v: &Viewer| v.principal.expires.is_some() && tokens.contains(&v.principal.subject);
        let revoked: Vec<_> =
            self.viewers.iter().filter(|(_, v)| by_token(v)).map(|(id, v)| (*id, v.socket)).collect();
        for (viewer, socket) in revoked {
            self.drop_viewer(viewer, now);
            if let Some(socket) = socket {
                self.close(socket, ByeReason::Revoked, "your access to this session was withdrawn");
            }
        }
    }

    fn shutdown(&mut self) {
        for viewer in self.viewers.values() {
            if let Some(socket) = viewer.socket {
                self.outputs.push_back(Output::Close {
                    socket,
                    reason: ByeReason::Shutdown,
                    message: "the gateway is stopping; this page connects again by itself".to_owned(),
                });
            }
        }
        self.outputs.push_back(Output::Desktop(DesktopAction::ReleaseAll));
        self.outputs.push_back(Output::Desktop(DesktopAction::Controlled(false)));
    }

    /// The same again is no news: who has closed it is not to see it again.
    fn post(&mut self, notice: Option<Notice>, now: Instant) {
        let same = match (&self.notice, &notice) {
            (Some(old), Some(new)) => old.says_the_same(new),
            (old, new) => old.is_none() && new.is_none(),
        };
        if !same {
            let notice = notice.as_ref().map(|notice| notice.for_viewers(now));
            self.broadcast(&ServerMessage::Notice { notice });
        }
        self.notice = notice;
    }

    fn count_viewers(&mut self, now: Instant) {
        self.activity.viewers(self.viewers.values().filter(|v| !v.is_gone()).count(), now);
    }

    fn may(&self, viewer: u32, right: Right) -> bool {
        self.viewers.get(&viewer).is_some_and(|v| v.may(right))
    }

    fn send(&mut self, viewer: u32, message: ServerMessage) {
        self.outputs.push_back(Output::Send { viewer, message });
    }

    fn broadcast(&mut self, message: &ServerMessage) {
        let everyone = self.viewers.keys().map(|&viewer| Output::Send { viewer, message: message.clone() });
        self.outputs.extend(everyone);
    }

    fn error(&mut self, viewer: u32, code: ErrorCode, message: &str) {
        self.send(viewer, ServerMessage::Error { code, message: message.to_owned() });
    }

    fn close(&mut self, socket: u64, reason: ByeReason, message: &str) {
        self.outputs.push_back(Output::Close { socket, reason, message: message.to_owned() });
    }

    fn tell_status(&mut self) {
        let holder = self.control.holder();
        let changed: Vec<_> = self
            .viewers
            .iter()
            .map(|(id, v)| (*id, self.report.status(Some(v), &self.viewers, holder, self.settings)))
            .filter(|(id, status)| self.viewers[id].told.as_ref() != Some(status))
            .collect();
        for (id, status) in changed {
            if let Some(v) = self.viewers.get_mut(&id) {
                v.told = Some(status.clone());
            }
            self.send(id, ServerMessage::Status(status));
        }
    }
}

#[cfg(test)]
mod presence_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tier_tests;
