//! The API server's audit log: who asked what, and what the answer was.

use std::io::{Read, Seek, SeekFrom};

use serde::Deserialize;

/// One request, of any user, that was answered.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuditEvent {
    /// `ResponseComplete`; for a watch that still goes on `ResponseStarted`.
    pub stage: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`…
    pub verb: String,
    /// Path and query.
    #[serde(rename = "requestURI")]
    pub request_uri: String,
    /// Whoever is authenticated.
    pub user: AuditUser,
    /// Whoever that one acts as.
    pub impersonated_user: Option<AuditUser>,
    /// What it is about, if about an object.
    pub object_ref: ObjectRef,
    /// The answer.
    pub response_status: ResponseStatus,
    /// When it came, RFC 3339.
    pub request_received_timestamp: String,
    /// What the client calls itself.
    pub user_agent: String,
}

/// A user as the API server knows one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AuditUser {
    /// `alice`, `system:serviceaccount:NAMESPACE:NAME`…
    pub username: String,
    /// Its groups.
    pub groups: Vec<String>,
}

/// What a request is about.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectRef {
    /// Plural, lower case.
    pub resource: String,
    /// `status`, `binding`…
    pub subresource: String,
    /// Empty for cluster-scoped ones.
    pub namespace: String,
    /// Empty for lists and for generated names.
    pub name: String,
    /// Empty for the core group.
    pub api_group: String,
    /// Of the object, where known.
    pub uid: String,
}

/// The answer to a request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ResponseStatus {
    /// HTTP status.
    pub code: u16,
    /// `Forbidden`, `Conflict`…
    pub reason: String,
    /// In words.
    pub message: String,
}

impl AuditEvent {
    /// Whether it asked for a change (also one that was refused).
    pub fn is_write(&self) -> bool {
        ["create", "update", "patch", "delete", "deletecollection"].contains(&self.verb.as_str())
    }
}

/// A place in the audit log.
#[derive(Clone, Copy, Debug)]
pub struct AuditMark(u64);

impl super::Cluster {
    /// The end of the audit log.
    pub fn audit_mark(&self) -> AuditMark {
        AuditMark(std::fs::metadata(self.audit_log()).map_or(0, |m| m.len()))
    }

    /// The events after a mark that pass a filter. One may appear a moment after its client has the answer.
    pub fn audit_events(&self, since: AuditMark, wanted: impl Fn(&AuditEvent) -> bool) -> Vec<AuditEvent> {
        let mut file = std::fs::File::open(self.audit_log()).unwrap();
        file.seek(SeekFrom::Start(since.0)).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        // A line without its end is still being written.
        text.split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| serde_json::from_str::<AuditEvent>(line).unwrap())
            .filter(|event| wanted(event))
            .collect()
    }
}
