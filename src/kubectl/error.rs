//! PURE. Everything that can go wrong: what, why, and what to do next.

use kube::config::KubeconfigError;
use kube::core::Status;
use thiserror::Error;

use super::text::plain;
use crate::token::BadSecret;

/// A request to the API server, to name in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// As RBAC has it: get, list, watch, create, patch, delete.
    pub verb: &'static str,
    /// As RBAC has it, with the group behind it: `vdisessions.vdi.kasm.io`, `pods/log`.
    pub resource: &'static str,
    /// The object.
    pub name: Option<String>,
    /// Its namespace; `None`: the resource has none, or all of them.
    pub namespace: Option<String>,
}

impl Call {
    fn text(&self) -> String {
        let name = self.name.as_ref().map(|n| format!(" {n}")).unwrap_or_default();
        let place = self.namespace.as_ref().map(|n| format!(" in namespace {n}")).unwrap_or_default();
        format!("{} {}{name}{place}", self.verb, self.resource)
    }

    /// Commands that give this right, to `user` and no one else.
    fn grant(&self, user: &str) -> String {
        let Self { verb, resource, .. } = self;
        let kind = if self.namespace.is_some() { "role" } else { "clusterrole" };
        let place = self.namespace.as_ref().map(|n| format!(" -n {n}")).unwrap_or_default();
        // A rule with names would not let anyone create, list or watch.
        let one = |name: &String| format!(" --resource-name={name}");
        let named = !matches!(*verb, "create" | "list" | "watch");
        let only = self.name.as_ref().filter(|_| named).map(one).unwrap_or_default();
        let role = format!("vdi-{verb}-{}", resource.split(['.', '/']).next().unwrap_or_default());
        format!(
            "kubectl create {kind} {role}{place} --verb={verb} --resource={resource}{only} && \
             kubectl create {kind}binding {role}{place} --{kind}={role} --user='{user}'"
        )
    }
}

/// What went wrong. Each says what, why, and on its last line what to do next.
#[derive(Debug, Error)]
pub enum Error {
    /// No kubeconfig, or not one that says where to go.
    #[error(
        "no cluster to talk to: {0}\n  next: name a file with --kubeconfig or KUBECONFIG; \
         `kubectl config get-contexts` lists its contexts"
    )]
    Kubeconfig(#[from] KubeconfigError),
    /// The kubeconfig asks for what this client cannot do.
    #[error("cannot use this kubeconfig: {0}\n  next: does kubectl work with it? Then name another context")]
    Client(String),
    /// Nobody answers.
    #[error(
        "the API server {url} does not answer: {why}\n  next: `kubectl version` tells whether it is the way there \
         or the server; --context names another cluster"
    )]
    Unreachable {
        /// Where it should be.
        url: String,
        /// The network's words.
        why: String,
    },
    /// 401.
    #[error(
        "the API server does not know who you are: {0}\n  next: sign in anew; `kubectl auth whoami` shows whether \
         it worked"
    )]
    Unauthorized(String),
    /// 403 by RBAC.
    #[error(
        "{user} may not {}: {why}\n  next: whoever administers the namespace or cluster can give that right: {}",
        call.text(), call.grant(user)
    )]
    Forbidden {
        /// What was asked for.
        call: Box<Call>,
        /// Who asked.
        user: String,
        /// The server's words.
        why: String,
    },
    /// 403 by an admission policy, webhook or quota.
    #[error(
        "the cluster refused to {}: {why}\n  next: ask for what the rule allows, or whoever administers the cluster \
         for an exception", call.text()
    )]
    Denied {
        /// What was asked for.
        call: Box<Call>,
        /// The server's words.
        why: String,
    },
    /// The CRDs are missing.
    #[error(
        "the cluster does not know {}: {why}\n  next: install Deskgate's CRDs (`deskgate crds | kubectl apply \
         --server-side -f -`), or name another cluster with --context", .call.resource
    )]
    KindMissing {
        /// What was asked for.
        call: Box<Call>,
        /// The server's words.
        why: String,
    },
    /// No session of that name.
    #[error(
        "there is no session {name} in namespace {namespace}{}\n  next: `kubectl vdi list -A` shows all that you may \
         see; -n names another namespace",
        meant(close)
    )]
    NoSession {
        /// What was asked for.
        name: String,
        /// Where.
        namespace: String,
        /// What may have been meant.
        close: Vec<String>,
    },
    /// The name is taken.
    #[error(
        "there is a session {name} in namespace {namespace} already\n  next: `kubectl vdi open {name} -n {namespace}` \
         opens it; or take another name"
    )]
    Exists {
        /// The name.
        name: String,
        /// Where.
        namespace: String,
    },
    /// 422: schema or CEL.
    #[error("the session cannot be as asked for: {0}\n  next: mend what is named and try again")]
    Invalid(String),
    /// 409: not the object that was looked at.
    #[error("{what} was replaced or deleted meanwhile: {why}\n  next: look again with `kubectl vdi list`")]
    Changed {
        /// Which object.
        what: String,
        /// The server's words.
        why: String,
    },
    /// Anything else that the server says.
    #[error("could not {}: {why}\n  next: try again; if it stays, `kubectl vdi list` shows the session's state", call.text())]
    Api {
        /// What was asked for.
        call: Box<Call>,
        /// The server's words.
        why: String,
    },
    /// No pod where one is needed.
    #[error("session {name} has no pod: {why}\n  next: {next}")]
    NoPod {
        /// The session.
        name: String,
        /// Why.
        why: String,
        /// What to do.
        next: String,
    },
    /// No link yet.
    #[error(
        "session {0} has no URL yet: its route is made when its pod is ready\n  next: `kubectl vdi open {0}` without \
         --no-wait and --no-wake waits for it"
    )]
    NoUrl(String),
    /// The Secret is not there.
    #[error(
        "session {name} has no Secret {secret} to sign links with: the operator has not made it\n  next: \
         `kubectl vdi list -o wide` shows what the session waits for; is the operator running?"
    )]
    NoSecret {
        /// The session.
        name: String,
        /// The Secret.
        secret: String,
    },
    /// Somebody else's Secret.
    #[error(
        "the Secret {secret} does not belong to session {name}: no link signed with it would be taken\n  next: rename \
         or remove it; the operator then makes the session's own"
    )]
    ForeignSecret {
        /// The session.
        name: String,
        /// The Secret.
        secret: String,
    },
    /// The Secret holds nothing to sign with.
    #[error(
        "the Secret {secret} cannot sign links: {why}\n  next: delete it and restart the session; the operator makes \
         it anew"
    )]
    BadSecret {
        /// The Secret.
        secret: String,
        /// Why.
        why: BadSecret,
    },
    /// The session does not get ready without help.
    #[error("session {name} does not get ready: {condition} {reason}: {message}\n  next: {next}")]
    Ended {
        /// The session.
        name: String,
        /// The condition that says so.
        condition: String,
        /// Its reason.
        reason: String,
        /// Its message.
        message: String,
        /// What to do.
        next: &'static str,
    },
    /// It was deleted while something waited for it.
    #[error("session {0} was deleted meanwhile\n  next: `kubectl vdi create` makes it anew")]
    Gone(String),
    /// The wait was as long as it was allowed to be.
    #[error(
        "session {name}: not there yet after {limit}: {last}\n  next: `kubectl vdi list -o wide` shows how it goes on"
    )]
    TimedOut {
        /// The session.
        name: String,
        /// The limit.
        limit: String,
        /// What was seen last.
        last: String,
    },
    /// A token that could not be written.
    #[error("could not sign the link: {0}\n  next: nothing in your hands; please report it")]
    Sign(#[from] jsonwebtoken::errors::Error),
    /// The question was not answered with yes.
    #[error("nothing was done: the answer was not `yes`\n  next: --yes answers it beforehand")]
    NotConfirmed,
}

fn meant(close: &[String]) -> String {
    if close.is_empty() { String::new() } else { format!("; did you mean {}?", close.join(", ")) }
}

/// Where an error of the client came from.
pub fn classify(call: Call, url: &str, error: kube::Error) -> Error {
    let call = Box::new(call);
    match error {
        kube::Error::Api(status) => refused(call, &status),
        kube::Error::Auth(why) => Error::Unauthorized(plain(&chain(&why))),
        kube::Error::SerdeError(why) => Error::Api { call, why: plain(&chain(&why)) },
        kube::Error::Service(why) => Error::Unreachable { url: url.to_owned(), why: plain(&chain(&*why)) },
        other => Error::Unreachable { url: url.to_owned(), why: plain(&chain(&other)) },
    }
}

fn refused(call: Box<Call>, status: &Status) -> Error {
    let why = words(status);
    match status.code {
        401 => Error::Unauthorized(why),
        403 if status.message.contains(&format!("cannot {} resource", call.verb)) => {
            // `User "alice" cannot get resource "secrets" …`: the server knows best whom it saw.
            let user = status.message.split("User \"").nth(1).and_then(|t| t.split('"').next());
            Error::Forbidden { user: plain(user.unwrap_or("this user")), call, why }
        }
        403 => Error::Denied { call, why },
        // Of an object that is missing the server names the kind; of a kind that is missing, nothing.
        404 if status.details.as_ref().is_none_or(|d| d.name.is_empty()) => Error::KindMissing { call, why },
        409 if status.is_already_exists() => Error::Exists {
            name: call.name.unwrap_or_default(),
            namespace: call.namespace.unwrap_or_default(),
        },
        409 => Error::Changed { what: call.name.unwrap_or_default(), why },
        422 => Error::Invalid(why),
        _ => Error::Api { call, why },
    }
}

/// The server's words: each cause with its field where there are any, for the message only strings them together.
fn words(status: &Status) -> String {
    let causes = status.details.iter().flat_map(|d| &d.causes).filter(|c| !c.message.is_empty());
    let causes: Vec<String> = causes
        .map(|c| if c.field.is_empty() { c.message.clone() } else { format!("{}: {}", c.field, c.message) })
        .collect();
    plain(&if status.is_invalid() && !causes.is_empty() { causes.join("; ") } else { status.message.clone() })
}

/// An error and what it stems from; what repeats its cause is said once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn call() -> Call {
        Call {
            verb: "get",
            resource: "secrets",
            name: Some("vdi-alice".to_owned()),
            namespace: Some("desks".to_owned()),
        }
    }

    fn refuse(status: Value) -> Error {
        let status: Status = serde_json::from_value(status).unwrap();
        classify(call(), "https://cluster", kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn a_missing_right_is_named_and_how_to_give_it() {
        let message = r#"secrets "vdi-alice" is forbidden: User "bob" cannot get resource "secrets" in API group "" in the namespace "desks""#;
        let error = refuse(json!({"code": 403, "reason": "Forbidden", "message": message})).to_string();
        let wanted = [
            "bob may not get secrets vdi-alice in namespace desks",
            "kubectl create role vdi-get-secrets -n desks --verb=get --resource=secrets --resource-name=vdi-alice && \
             kubectl create rolebinding vdi-get-secrets -n desks --role=vdi-get-secrets --user='bob'",
        ];
        assert!(wanted.iter().all(|w| error.contains(w)), "{error}");
        let list = Call { verb: "list", name: None, namespace: None, resource: "vdisessions.vdi.kasm.io" };
        assert!(list.grant("bob").starts_with("kubectl create clusterrole vdi-list-vdisessions --verb=list"));
    }

    #[test]
    fn each_refusal_has_its_own_words() {
        let policy = refuse(json!({"code": 403, "reason": "Forbidden", "message": "denied: not your name"}));
        assert!(matches!(policy, Error::Denied { .. }), "{policy}");
        let kind =
            refuse(json!({"code": 404, "message": "the server could not find the requested resource"}));
        assert!(matches!(kind, Error::KindMissing { .. }), "{kind}");
        let exists = refuse(json!({"code": 409, "reason": "AlreadyExists", "message": "x"}));
        assert!(matches!(exists, Error::Exists { .. }), "{exists}");
        let conflict = refuse(json!({"code": 409, "reason": "Conflict", "message": "the UID differs"}));
        assert!(matches!(conflict, Error::Changed { .. }), "{conflict}");
        let invalid =
            refuse(json!({"code": 422, "reason": "Invalid", "message": "long", "details": {"causes": [
            {"field": "spec.resources.gpu", "message": "at most 64"}, {"message": "and\u{1b} more"}]}}));
        assert!(invalid.to_string().contains("spec.resources.gpu: at most 64; and  more"), "{invalid}");
        let expired = refuse(json!({"code": 401, "reason": "Unauthorized", "message": "Unauthorized"}));
        assert!(matches!(expired, Error::Unauthorized(_)), "{expired}");
    }

    #[test]
    fn the_names_that_may_have_been_meant_are_told() {
        let error = |close: &[&str]| Error::NoSession {
            name: "alcie".to_owned(),
            namespace: "desks".to_owned(),
            close: close.iter().map(|c| (*c).to_owned()).collect(),
        };
        assert!(error(&["alice"]).to_string().contains("did you mean alice?"));
        assert!(!error(&[]).to_string().contains("mean"));
    }
}
