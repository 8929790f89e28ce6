//! Events of a session: one when the reason of its `Ready` changes.

use kube::Resource;
use kube::runtime::events::{Event, EventType, Recorder};

use super::conditions::Finding;
use super::reason::{self, Reason};
use crate::crd::{ConditionStatus, VDISession};

/// Publishes what changed. An Event that cannot be written is no reason to fail: the condition says the same.
pub async fn publish(recorder: &Recorder, session: &VDISession, ready: &Finding) {
    let event = Event {
        type_: kind(ready),
        reason: ready.reason.as_str().to_owned(),
        note: note(ready),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    if let Err(error) = recorder.publish(&event, &session.object_ref(&())).await {
        tracing::debug!(code = "event_failed", %error, "an Event could not be written");
    }
}

/// A warning where somebody has to do something.
fn kind(ready: &Finding) -> EventType {
    let harmless = ready.status == ConditionStatus::True
        || ready.reason.hint().is_empty()
        || reason::is_suspension(ready.reason)
        // A start passes through these; what does not pass has a Warning of the provisioner's own.
        || matches!(ready.reason, Reason::WaitingForDisplay | Reason::ProvisioningPending);
    if harmless { EventType::Normal } else { EventType::Warning }
}

/// Message and hint; the API takes 1 kB.
fn note(ready: &Finding) -> Option<String> {
    let hint = ready.reason.hint();
    let text = match (ready.message.as_str(), hint) {
        ("", "") => return None,
        (message, "") => message.to_owned(),
        ("", hint) => hint.to_owned(),
        (message, hint) => format!("{message}. {hint}"),
    };
    const MOST: usize = 1000;
    let end = text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= MOST).last();
    Some(text[..end.unwrap_or(0)].to_owned())
}
