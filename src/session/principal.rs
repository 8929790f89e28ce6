//! PURE. Who somebody is, once a credential has been checked.

use std::collections::BTreeSet;

use crate::wire::signal::Right;

/// The result of authentication. Nothing behind it looks at a credential again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Name for people and for tickets: token id, user name, or `local`.
    pub subject: String,
    /// What it may do.
    pub rights: BTreeSet<Right>,
    /// Until when it may join, in seconds since the Unix epoch; `None` is for ever.
    pub expires: Option<u64>,
}

impl Principal {
    /// Somebody with every right.
    pub fn controller(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), rights: [Right::View, Right::Control].into(), expires: None }
    }

    /// Somebody who may look.
    pub fn viewer(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), rights: [Right::View].into(), expires: None }
    }

    /// True if it has this right.
    pub fn may(&self, right: Right) -> bool {
        self.rights.contains(&right)
    }

    /// The same with no more than the rights that are wanted, if any are named; everybody is here to look.
    pub fn limited_to(mut self, wanted: Option<&[Right]>) -> Self {
        let kept =
            |right: &Right| *right == Right::View || wanted.is_none_or(|wanted| wanted.contains(right));
        self.rights.retain(kept);
        self
    }
}
