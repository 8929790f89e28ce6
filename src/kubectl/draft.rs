//! PURE. A session that is to be made, from what was typed.

use thiserror::Error;

use crate::crd::{
    IntOrText, PersistenceSpec, Quantity, QuantityError, SessionResources, Timeout, TimeoutError, VDISession,
    VDISessionSpec,
};

/// What was typed, parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// Name of the session.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Whose it is.
    pub user: String,
    /// What it is made from.
    pub template: String,
    /// Compute; what is absent comes from the template.
    pub resources: SessionResources,
    /// The home.
    pub home: HomeWish,
    /// Longest run.
    pub timeout: Option<IntOrText>,
    /// How long nobody may be there.
    pub idle_timeout: Option<IntOrText>,
}

/// What was said about the home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HomeWish {
    /// Nothing: as the template has it.
    Template,
    /// None.
    None,
    /// One of this size, if it has to be made.
    Size(String),
}

impl Draft {
    /// The object to be created. What was not said stays absent: the template decides.
    pub fn session(self) -> VDISession {
        let persistence = match self.home {
            HomeWish::Template => None,
            HomeWish::None => Some(PersistenceSpec { enabled: Some(false), ..PersistenceSpec::default() }),
            HomeWish::Size(size) => Some(PersistenceSpec { size: Some(size), ..PersistenceSpec::default() }),
        };
        let resources = (self.resources != SessionResources::default()).then_some(self.resources);
        let spec = VDISessionSpec {
            user: self.user,
            template: self.template,
            resources,
            persistence,
            timeout: self.timeout,
            idle_timeout: self.idle_timeout,
            ..VDISessionSpec::default()
        };
        let mut session = VDISession::new(&self.name, spec);
        session.metadata.namespace = Some(self.namespace);
        session
    }
}

/// Why a text is no name of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("at most 50 of a-z, 0-9 and '-', a letter first, no '-' at the end")]
pub struct NameError;

/// A session's name: the rule of the CRD, told before anything is asked of a cluster.
///
/// # Errors
/// [`NameError`].
pub fn name(text: &str) -> Result<String, NameError> {
    let letters = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let ends = text.starts_with(|c: char| c.is_ascii_lowercase()) && !text.ends_with('-');
    if letters && ends && text.len() <= 50 { Ok(text.to_owned()) } else { Err(NameError) }
}

/// Processors: `2`, `1.5`, `500m`.
///
/// # Errors
/// [`QuantityError`].
pub fn cpu(text: &str) -> Result<IntOrText, QuantityError> {
    text.parse::<Quantity>().map(|_| int_or_text(text))
}

/// Memory, or the size of a home: `4Gi`.
///
/// # Errors
/// [`QuantityError`].
pub fn bytes(text: &str) -> Result<String, QuantityError> {
    text.parse::<Quantity>().map(|_| text.to_owned())
}

/// A time of a spec: `8h`, `90m`, seconds, or `0` for never.
///
/// # Errors
/// [`TimeoutError`].
pub fn span(text: &str) -> Result<IntOrText, TimeoutError> {
    text.parse::<Timeout>().map(|_| int_or_text(text))
}

/// Seconds without a unit are a number in the CRD.
fn int_or_text(text: &str) -> IntOrText {
    text.parse().map_or_else(|_| IntOrText::Text(text.to_owned()), IntOrText::Int)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn draft() -> Draft {
        Draft {
            name: "alice".to_owned(),
            namespace: "desks".to_owned(),
            user: "alice@example.com".to_owned(),
            template: "ubuntu".to_owned(),
            resources: SessionResources::default(),
            home: HomeWish::Template,
            timeout: None,
            idle_timeout: None,
        }
    }

    #[test]
    fn what_was_not_said_stays_absent() {
        let spec = serde_json::to_value(draft().session().spec).unwrap();
        assert_eq!(spec, json!({"user": "alice@example.com", "template": "ubuntu"}));
    }

    #[test]
    fn everything_that_was_said_is_there() {
        let draft = Draft {
            resources: SessionResources {
                gpu: Some(1),
                cpu: Some(cpu("1.5").unwrap()),
                memory: Some(bytes("4Gi").unwrap()),
            },
            home: HomeWish::Size(bytes("10Gi").unwrap()),
            timeout: Some(span("8h").unwrap()),
            idle_timeout: Some(span("90").unwrap()),
            ..draft()
        };
        let session = serde_json::to_value(draft.session()).unwrap();
        assert_eq!(session["metadata"], json!({"name": "alice", "namespace": "desks"}));
        assert_eq!(
            session["spec"],
            json!({
                "user": "alice@example.com", "template": "ubuntu",
                "resources": {"gpu": 1, "cpu": "1.5", "memory": "4Gi"},
                "persistence": {"size": "10Gi"},
                "timeout": "8h", "idleTimeout": 90,
            })
        );
        let homeless = Draft { home: HomeWish::None, ..self::draft() }.session();
        assert_eq!(serde_json::to_value(homeless.spec.persistence).unwrap(), json!({"enabled": false}));
    }

    #[test]
    fn names_follow_the_rule_of_the_crd() {
        for good in ["a", "alice", "a-1", &"a".repeat(50)] {
            assert_eq!(name(good), Ok(good.to_owned()));
        }
        for bad in ["", "1a", "a-", "Alice", "a.b", "ä", &"a".repeat(51)] {
            assert_eq!(name(bad), Err(NameError), "{bad}");
        }
        assert!(cpu("two").is_err() && bytes("4 GB").is_err() && span("soon").is_err());
    }
}
