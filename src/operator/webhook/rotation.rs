//! PURE. When certificates are made anew, and in which order, so that no call fails on the way: an API server trusts an
//! authority before anything signed by it is shown, and for as long as anything signed by it may still be shown.
//!
//! Each step is one write, of the Secret or of the webhook's `caBundle`, and what is due follows from these two: a
//! leader that ends after any of them leaves nothing half done.

use k8s_openapi::jiff::Timestamp;
use rcgen::KeyPair;
use serde::{Deserialize, Serialize};

use super::certificates::{self, Pair};
use crate::operator::settings::Lifetimes;

/// What the Secret holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The authority that signs.
    pub current: Pair,
    /// The one that will, announced ahead.
    pub next: Option<Pair>,
    /// The one that did: replicas may show what it signed.
    pub previous: Option<Former>,
    /// What replicas show.
    pub serving: Pair,
    /// The names in that certificate.
    pub names: Vec<String>,
}

/// An authority that signs no longer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// PEM.
    pub certificate: String,
    /// When it ends, and with it the last that it signed.
    pub until: Timestamp,
}

/// What the API server has as `caBundle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// Nothing: the webhook is not registered, and nobody calls.
    Nowhere,
    /// Something else than [`State::bundle`].
    Otherwise,
    /// That, as far as this leader knows since then.
    Since(Timestamp),
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make everything: there is nothing that is of use.
    Begin,
    /// Give the API server the bundle.
    Publish,
    /// Make the next authority, and use it for nothing yet.
    Announce,
    /// Let the next authority sign, beginning with a new certificate.
    Switch,
    /// Make a new certificate under the same authority.
    Renew,
    /// Forget the authority that has ended.
    Retire,
    /// Nothing.
    Rest,
}

impl State {
    /// The authorities to be trusted (PEM), oldest first: a switch does not change it.
    pub fn bundle(&self) -> String {
        let previous = self.previous.as_ref().map(|p| p.certificate.as_str());
        let next = self.next.as_ref().map(|n| n.certificate.as_str());
        previous.into_iter().chain([self.current.certificate.as_str()]).chain(next).collect()
    }
}

/// What is to be done now: one step.
pub fn due(
    state: Option<&State>,
    published: Published,
    names: &[String],
    now: Timestamp,
    lifetimes: &Lifetimes,
) -> Action {
    let Some(state) = state else { return Action::Begin };
    let has_ended = state.current.has_ended(now);
    let next = state.next.as_ref().filter(|next| !next.has_ended(now));
    if has_ended && next.is_none() {
        return Action::Begin;
    }
    if published == Published::Otherwise {
        return Action::Publish;
    }
    if has_ended {
        return Action::Switch;
    }
    let serving = &state.serving;
    // One that ends with its authority cannot be outlived by another.
    if state.names != names || (serving.is_due(now) && serving.until < state.current.until) {
        return Action::Renew;
    }
    if state.previous.as_ref().is_some_and(|p| now >= p.until) {
        return Action::Retire;
    }
    match (next, published) {
        (None, _) if state.current.is_due(now) => Action::Announce,
        (Some(_), Published::Since(then)) if now.duration_since(then).unsigned_abs() < lifetimes.settle => {
            Action::Rest
        }
        (Some(_), _) => Action::Switch,
        (None, _) => Action::Rest,
    }
}

/// What the Secret holds after a step; `None`: the step is none of the Secret's. `key` makes keys.
///
/// # Errors
/// Of rcgen.
pub fn step(
    action: Action,
    state: Option<&State>,
    names: &[String],
    now: Timestamp,
    lifetimes: &Lifetimes,
    mut key: impl FnMut() -> Result<KeyPair, rcgen::Error>,
) -> Result<Option<State>, rcgen::Error> {
    let signed = |authority: &Pair, key: KeyPair| {
        certificates::serving(authority, &key, names, now, lifetimes.serving)
    };
    let known = state.cloned();
    Ok(match (action, known) {
        (Action::Publish | Action::Rest, _) => None,
        (Action::Begin, _) | (_, None) => {
            let current = certificates::authority(&key()?, now, lifetimes.authority)?;
            let serving = signed(&current, key()?)?;
            Some(State { current, next: None, previous: None, serving, names: names.to_vec() })
        }
        (Action::Announce, Some(state)) => {
            let next = certificates::authority(&key()?, now, lifetimes.authority)?;
            Some(State { next: Some(next), ..state })
        }
        (Action::Switch, Some(State { current, next: Some(next), .. })) => {
            let serving = signed(&next, key()?)?;
            let previous = Former { certificate: current.certificate, until: current.until };
            let names = names.to_vec();
            Some(State { current: next, next: None, previous: Some(previous), serving, names })
        }
        (Action::Switch, Some(_)) => None,
        (Action::Renew, Some(state)) => {
            let serving = signed(&state.current, key()?)?;
            Some(State { serving, names: names.to_vec(), ..state })
        }
        (Action::Retire, Some(state)) => Some(State { previous: None, ..state }),
    })
}

#[cfg(test)]
#[path = "rotation_tests.rs"]
mod tests;
