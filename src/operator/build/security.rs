//! PURE. Security contexts: the template's over those that Pod Security "restricted" wants.

use k8s_openapi::api::core::v1::{Capabilities, PodSecurityContext, SeccompProfile, SecurityContext};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Who runs a desktop, and whose its home is.
const USER: i64 = 1000;

/// The pod's.
pub fn pod(given: Option<&PodSecurityContext>) -> PodSecurityContext {
    let strict = PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        // A home of many files would be walked through at every start.
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(runtime_default()),
        ..PodSecurityContext::default()
    };
    let Some(given) = given else { return strict };
    let mut merged = merge(strict, given);
    if merged.run_as_user == Some(0) && given.run_as_non_root.is_none() {
        merged.run_as_non_root = None;
    }
    merged
}

/// The desktop's container. Who it runs as comes from the pod where the template does not say.
pub fn desktop(given: Option<&SecurityContext>) -> SecurityContext {
    let strict = SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        ..SecurityContext::default()
    };
    let Some(given) = given else { return strict };
    let mut merged = merge(strict, given);
    // Root here, not root in the pod: such a container would never start.
    if merged.run_as_user == Some(0) && given.run_as_non_root.is_none() {
        merged.run_as_non_root = Some(false);
    }
    // The API server refuses "no escalation" beside either of these.
    let added = merged.capabilities.as_ref().and_then(|c| c.add.as_ref());
    let is_admin = added.is_some_and(|a| a.iter().any(|name| name == "SYS_ADMIN" || name == "CAP_SYS_ADMIN"));
    if given.allow_privilege_escalation.is_none() && (merged.privileged == Some(true) || is_admin) {
        merged.allow_privilege_escalation = None;
    }
    merged
}

fn runtime_default() -> SeccompProfile {
    SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }
}

/// `over` laid over `under`, field by field.
fn merge<T: Serialize + DeserializeOwned + Clone>(under: T, over: &T) -> T {
    let both = serde_json::to_value(&under).and_then(|u| Ok((u, serde_json::to_value(over)?)));
    let merged = both.and_then(|(mut under, over)| {
        overlay(&mut under, over);
        serde_json::from_value(under)
    });
    // Both were of this type, so what is laid together is: this is never reached.
    merged.unwrap_or(under)
}

fn overlay(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                match under.get_mut(&key) {
                    Some(place) => overlay(place, value),
                    None => {
                        under.insert(key, value);
                    }
                }
            }
        }
        (place, value) => *place = value,
    }
}
