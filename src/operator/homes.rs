//! PURE. Homes: whose a claim is, and which session holds it.

use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::names;
use crate::crd::VDISession;

/// A session that is to run and wants a home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimant {
    /// UID.
    pub uid: String,
    /// Name.
    pub name: String,
    /// The claim that it wants.
    pub claim: String,
    /// Whether a pod of it is there.
    pub has_pod: bool,
    /// Age decides among those without a pod.
    pub created: Timestamp,
}

/// The session that holds a claim now, if it is another one than `uid`: who has a pod, else the oldest.
pub fn holder<'a>(claimants: &'a [Claimant], uid: &str, claim: &str) -> Option<&'a str> {
    let first = claimants
        .iter()
        .filter(|c| c.claim == claim)
        .min_by_key(|c| (!c.has_pod, c.created, c.uid.as_str()))?;
    (first.uid != uid).then_some(&first.name)
}

/// Says whose a claim is, if it is not the home of this session's user and template.
pub fn foreign(claim: &PersistentVolumeClaim, session: &VDISession) -> Option<String> {
    let annotation = |key: &str| claim.annotations().get(key).map(String::as_str);
    let (user, template) = (annotation(names::USER), annotation(names::TEMPLATE));
    if user == Some(&session.spec.user) && template == Some(&session.spec.template) {
        return None;
    }
    Some(match (user, template) {
        (Some(user), Some(template)) => format!("the home of {user} for template {template}"),
        _ => "not a home of Deskgate's: it has no annotations of user and template".to_owned(),
    })
}

/// The claim's phase; Pending until the API server says otherwise.
pub fn phase(claim: &PersistentVolumeClaim) -> &str {
    claim.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("Pending")
}

/// Whether a provisioner says in this Event that it cannot make a volume for one pod alone.
pub fn refuses_single_pod(event: &Event) -> bool {
    event.reason.as_deref() == Some("ProvisioningFailed")
        && event.message.as_deref().is_some_and(|m| {
            let text = m.to_ascii_lowercase();
            text.contains("access mode") || text.contains("accessmode")
        })
}

/// Whether it asks for a volume that one pod alone can mount.
pub fn wants_single_pod(claim: &PersistentVolumeClaim) -> bool {
    let modes = claim.spec.as_ref().and_then(|s| s.access_modes.as_deref()).unwrap_or_default();
    modes.iter().any(|mode| mode == "ReadWriteOncePod")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_held_by_who_has_a_pod_else_by_the_oldest() {
        let claimant = |n: i64, has_pod| Claimant {
            uid: format!("u{n}"),
            name: format!("s{n}"),
            claim: "home".to_owned(),
            has_pod,
            created: Timestamp::from_second(n).unwrap(),
        };
        let all = [claimant(2, false), claimant(1, false)];
        assert_eq!(holder(&all, "u2", "home"), Some("s1"));
        assert_eq!(holder(&all, "u1", "home"), None);
        let all = [claimant(2, true), claimant(1, false)];
        assert_eq!(
            holder(&all, "u1", "home"),
            Some("s2"),
            "a live desktop is not thrown out by an older one"
        );
        assert_eq!(holder(&all, "u1", "other"), None);
    }
}
