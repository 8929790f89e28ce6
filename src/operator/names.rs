//! PURE. Names, labels and annotations. A session's children share one name; nothing finds a pod by it: `status.podName`
//! and owner references do.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// Finalizer of sessions.
pub const FINALIZER: &str = "vdi.kasm.io/session-cleanup";
/// Field manager of everything that the operator applies.
pub const MANAGER: &str = "deskgate-operator";
/// What the pods of sessions are selected by.
pub const APP: &str = "vdi-session";

/// Label: whose application an object belongs to; [`APP`] here.
pub const LABEL_NAME: &str = "app.kubernetes.io/name";
/// Label: name of the session.
pub const LABEL_INSTANCE: &str = "app.kubernetes.io/instance";
/// Label: who manages the object; [`MANAGER`] here.
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Label: hash of the user's name, which itself is no label value; annotation: the name.
pub const USER: &str = "vdi.kasm.io/user";
/// Annotation: the template that an object was made from.
pub const TEMPLATE: &str = "vdi.kasm.io/template";
/// Label: UID of the session.
pub const LABEL_SESSION_UID: &str = "vdi.kasm.io/session-uid";
/// Annotation of a pod: hash of what it was built from.
pub const SPEC_HASH: &str = "vdi.kasm.io/spec-hash";
/// Annotation of a session: when the operator suspended it (RFC 3339).
pub const SUSPENDED_AT: &str = "vdi.kasm.io/idle-suspended-at";
/// Annotation of a session: why it did: `Idle`, `Timeout` or `Logout`.
pub const SUSPENDED_WHY: &str = "vdi.kasm.io/idle-suspended-why";
/// Annotation of a session: when somebody wanted it back (RFC 3339).
pub const WAKE_AT: &str = "vdi.kasm.io/wake-requested-at";
/// Annotation of a session: value names the run that was asked to end, by its pod's UID (`kubectl vdi restart`).
pub const RESTART: &str = "vdi.kasm.io/restart-requested";

/// What the names of children begin with.
pub const CHILD_PREFIX: &str = "vdi-";
/// What the names of homes' claims begin with.
pub const HOME_PREFIX: &str = "vdi-home-";

/// Name of a session's Secret, Service, Pod, IngressRoute and NetworkPolicy.
pub fn child(session: &str) -> String {
    format!("{CHILD_PREFIX}{session}")
}

/// The host that a session is reached at: stable over re-creation, distinct across namespaces.
pub fn host(namespace: &str, session: &str, domain: &str) -> String {
    format!("{session}-{}.{domain}", hex(&[namespace, "/", session], 8))
}

/// The host for TURN over TLS: an HTTPS router and a TCP router of Traefik must not share one.
pub fn turn_host(host: &str) -> String {
    format!("t-{host}")
}

/// The session that a host may belong to: its name and hash, for one label in front of `domain`.
pub fn parse_host<'a>(host: &'a str, domain: &str) -> Option<(&'a str, &'a str)> {
    let label = host.strip_suffix(domain)?.strip_suffix('.')?;
    let (session, hash) = label.rsplit_once('-')?;
    (hash.len() == 8 && !label.contains('.')).then_some((session, hash))
}

/// The claim of a user's home: one per user and template.
pub fn home(user: &str, template: &str) -> String {
    let end = |text: String| text.trim_end_matches('-').to_owned();
    let template_part = end(template.chars().take(20).collect());
    format!("{HOME_PREFIX}{}-{template_part}-{}", slug(user, 20), hex(&[user, "\0", template], 10))
}

/// A user's name as a label value.
pub fn user_label(user: &str) -> String {
    hex(&[user], 16)
}

/// Labels of a session's children.
pub fn labels(session: &str, uid: &str, user: &str) -> BTreeMap<String, String> {
    [
        (LABEL_NAME, APP.to_owned()),
        (LABEL_INSTANCE, session.to_owned()),
        (LABEL_MANAGED_BY, MANAGER.to_owned()),
        (LABEL_SESSION_UID, uid.to_owned()),
        (USER, user_label(user)),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), v))
    .collect()
}

/// The first `digits` hexadecimal digits of the SHA-256 of the parts together.
pub fn hex(parts: &[&str], digits: usize) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.as_bytes());
    }
    let mut text: String = digest.finalize().iter().map(|b| format!("{b:02x}")).collect();
    text.truncate(digits);
    text
}

/// What of a text may stand in an object's name; `user` if nothing may.
fn slug(text: &str, most: usize) -> String {
    let mut slug = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        match c {
            'a'..='z' | '0'..='9' => slug.push(c),
            _ if !slug.is_empty() && !slug.ends_with('-') => slug.push('-'),
            _ => {}
        }
        if slug.len() >= most {
            break;
        }
    }
    let slug = slug.trim_matches('-');
    if slug.is_empty() { "user".to_owned() } else { slug.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_stable_and_distinct() {
        let host = host("desks", "alice", "vdi.example.com");
        assert_eq!(host, format!("alice-{}.vdi.example.com", hex(&["desks/alice"], 8)));
        assert_ne!(host, super::host("other", "alice", "vdi.example.com"));
        let (session, hash) = parse_host(&host, "vdi.example.com").unwrap();
        assert_eq!((session, hash), ("alice", hex(&["desks/alice"], 8).as_str()));
        assert_eq!(parse_host("a.b-12345678.vdi.example.com", "vdi.example.com"), None);
        assert_eq!(parse_host("vdi.example.com", "vdi.example.com"), None);
    }

    #[test]
    fn a_name_holds_every_user_and_fits() {
        for user in ["alice@example.com", "Ünïcode User", "----", "日本", &"x".repeat(254)] {
            let name = home(user, &"long-template-name".repeat(3));
            assert!(name.len() <= 63, "{name}");
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
                "{name}"
            );
            assert!(!name.contains("--"), "{name}");
        }
        assert_ne!(home("a", "b-c"), home("a-b", "c"));
        assert!(home("alice@example.com", "ubuntu").starts_with("vdi-home-alice-example-com-ubuntu-"));
    }
}
