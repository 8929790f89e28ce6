//! PURE. JSON of the HTTP API (`docs/api.md`): what the operator asks of a gateway, and what it posts.

use serde::{Deserialize, Serialize};

use super::signal::{DisplayState, NoticeAction};

/// Header in which every HTTP answer names the session that the gateway serves: its `metadata.uid`.
pub const SESSION_UID: &str = "deskgate-session-uid";

/// Answer of `GET /api/activity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    /// Viewers that are connected.
    pub viewers: usize,
    /// Since the last input that reached the desktop, since a viewer left last, or since the gateway started:
    /// whichever is the latest.
    pub idle_seconds: u64,
}

/// Body of `POST /api/notice`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NoticeRequest {
    /// What is going to happen; may be absent where `at` is null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<NoticeAction>,
    /// When, as RFC 3339 has it; null withdraws the notice. Without it nothing is meant, so it has to be there.
    #[serde(deserialize_with = "Option::deserialize")]
    pub at: Option<String>,
    /// Why: `timeout`, `idle`, or a word that a newer page knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the home outlives it; absent: suspending keeps it, of deleting nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home_stays: Option<bool>,
}

/// What `GET /api/status` promises to programs; there is more in it for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The session's name.
    pub session: String,
    /// Its `metadata.uid`, if the gateway was told.
    #[serde(default)]
    pub session_uid: Option<String>,
    /// Whether there is a picture to be had.
    pub stream: Stream,
}

/// Whether there is a picture to be had, and what it is made by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stream {
    /// The display is there, and a frame of it has been encoded: the same as `/readyz`.
    pub ready: bool,
    /// The X display.
    pub display: Display,
    /// The encoder that worked last, of the codec that is preferred; none yet, or no longer.
    #[serde(default)]
    pub encoder: Option<Encoder>,
    /// Whether every encoder of every codec was tried and failed: `unusable` says why. They are tried again.
    #[serde(default)]
    pub exhausted: bool,
    /// Entries of the catalogue that are preferred to that one, and why they are not used.
    #[serde(default)]
    pub unusable: Vec<UnusableEncoder>,
}

/// The X display.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Display {
    /// Captured, or waited for.
    pub state: DisplayState,
    /// What is waited for, for people; empty when nothing is.
    pub message: String,
}

/// An encoder that works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Encoder {
    /// Catalogue entry.
    pub name: String,
    /// As in SDP (`H264`, `VP8`).
    pub codec: String,
    /// True if a GPU does the work.
    pub hardware: bool,
}

/// An encoder that is not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnusableEncoder {
    /// Catalogue entry.
    pub name: String,
    /// As in SDP.
    pub codec: String,
    /// True if a GPU would do the work.
    pub hardware: bool,
    /// Why, for people.
    pub reason: String,
}
