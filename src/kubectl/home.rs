//! PURE. What becomes of a home, told before anything is lost.

use crate::crd::{Reclaim, VDISession, VDITemplate};
use crate::operator::names;

/// What becomes of a session's home when the session is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// There is none.
    None,
    /// It stays.
    Kept(String),
    /// It would go, but other sessions name it.
    Shared {
        /// The claim.
        claim: String,
        /// Those sessions.
        with: Vec<String>,
    },
    /// It goes.
    Deleted(String),
    /// The template decides, and could not be read.
    Unknown(String),
}

impl Fate {
    /// Whether files may be lost for good.
    pub const fn is_loss(&self) -> bool {
        matches!(self, Self::Deleted(_) | Self::Unknown(_))
    }

    /// In words.
    pub fn text(&self) -> String {
        match self {
            Self::None => "it has no home: what was not saved elsewhere is lost".to_owned(),
            Self::Kept(claim) => {
                format!(
                    "the home stays (claim {claim}): the next session of the same user and template has it"
                )
            }
            Self::Shared { claim, with } => {
                format!("the home stays (claim {claim}): {} has it too", with.join(", "))
            }
            Self::Deleted(claim) => {
                format!("the home goes with it, and every file in it (claim {claim}, reclaim: Delete)")
            }
            Self::Unknown(claim) => format!(
                "its template could not be read, so it is not known whether the home stays or goes (claim {claim})"
            ),
        }
    }
}

/// Whether a session has a home; `None`: its template decides, and is not known.
fn has_home(session: &VDISession, template: Option<&VDITemplate>) -> Option<bool> {
    let effective = session.status.as_ref().and_then(|s| s.effective.as_ref()).map(|e| e.home.is_some());
    let said = session.spec.persistence.as_ref().and_then(|p| p.enabled);
    let default = |t: &VDITemplate| t.spec.persistence.as_ref().and_then(|p| p.enabled).unwrap_or(true);
    effective.or(said).or_else(|| template.map(default))
}

/// What is lost when the session's pod goes: everything, where there is no home.
pub fn is_homeless(session: &VDISession, template: Option<&VDITemplate>) -> bool {
    has_home(session, template) == Some(false)
}

/// What becomes of the home when `session` is deleted. `others`: the namespace's sessions.
pub fn fate(session: &VDISession, template: Option<&VDITemplate>, others: &[VDISession]) -> Fate {
    let spec = &session.spec;
    let claim = names::home(&spec.user, &spec.template);
    if is_homeless(session, template) {
        return Fate::None;
    }
    let said = spec.persistence.as_ref().and_then(|p| p.reclaim);
    let default = |t: &VDITemplate| t.spec.persistence.as_ref().and_then(|p| p.reclaim).unwrap_or_default();
    match said.or_else(|| template.map(default)) {
        None => Fate::Unknown(claim),
        Some(Reclaim::Retain) => Fate::Kept(claim),
        Some(Reclaim::Delete) => {
            let with = sharers(session, template, others);
            if with.is_empty() { Fate::Deleted(claim) } else { Fate::Shared { claim, with } }
        }
    }
}

/// Other sessions that name the same home.
fn sharers(session: &VDISession, template: Option<&VDITemplate>, others: &[VDISession]) -> Vec<String> {
    others
        .iter()
        .filter(|o| o.metadata.uid != session.metadata.uid && o.metadata.deletion_timestamp.is_none())
        .filter(|o| o.spec.user == session.spec.user && o.spec.template == session.spec.template)
        .filter(|o| !is_homeless(o, template))
        .filter_map(|o| o.metadata.name.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::{PersistenceDefaults, PersistenceSpec, VDISessionSpec, VDITemplateSpec};

    fn session(name: &str, persistence: Option<PersistenceSpec>) -> VDISession {
        let spec = VDISessionSpec {
            user: "alice".to_owned(),
            template: "ubuntu".to_owned(),
            persistence,
            ..VDISessionSpec::default()
        };
        let mut session = VDISession::new(name, spec);
        session.metadata.uid = Some(name.to_owned());
        session
    }

    fn template(enabled: Option<bool>, reclaim: Option<Reclaim>) -> VDITemplate {
        let persistence = Some(PersistenceDefaults { enabled, reclaim, ..PersistenceDefaults::default() });
        VDITemplate::new("ubuntu", VDITemplateSpec { persistence, ..VDITemplateSpec::default() })
    }

    fn said(enabled: Option<bool>, reclaim: Option<Reclaim>) -> Option<PersistenceSpec> {
        Some(PersistenceSpec { enabled, reclaim, ..PersistenceSpec::default() })
    }

    #[test]
    fn the_session_says_it_else_the_template_else_it_stays() {
        let claim = names::home("alice", "ubuntu");
        let keeps = template(None, None);
        let deletes = template(None, Some(Reclaim::Delete));
        let silent = session("a", None);
        assert_eq!(fate(&silent, Some(&keeps), &[]), Fate::Kept(claim.clone()));
        assert_eq!(fate(&silent, Some(&deletes), &[]), Fate::Deleted(claim.clone()));
        assert_eq!(fate(&silent, None, &[]), Fate::Unknown(claim.clone()));
        let retains = session("a", said(None, Some(Reclaim::Retain)));
        assert_eq!(fate(&retains, Some(&deletes), &[]), Fate::Kept(claim.clone()));
        let asks = session("a", said(None, Some(Reclaim::Delete)));
        assert_eq!(fate(&asks, None, &[]), Fate::Deleted(claim));
        assert_eq!(fate(&silent, Some(&template(Some(false), None)), &[]), Fate::None);
        assert_eq!(fate(&session("a", said(Some(false), None)), None, &[]), Fate::None);
    }

    #[test]
    fn a_home_goes_with_its_last_session_alone() {
        let deletes = template(None, Some(Reclaim::Delete));
        let (one, other, homeless) =
            (session("a", None), session("b", None), session("c", said(Some(false), None)));
        let mut stranger = session("d", None);
        stranger.spec.user = "bob".to_owned();
        let all = [one.clone(), other, homeless.clone(), stranger.clone()];
        let shared = fate(&one, Some(&deletes), &all);
        assert!(matches!(&shared, Fate::Shared { with, .. } if with == &["b"]), "{shared:?}");
        assert!(!shared.is_loss());
        assert!(fate(&one, Some(&deletes), &[one.clone(), homeless, stranger]).is_loss());
    }
}
