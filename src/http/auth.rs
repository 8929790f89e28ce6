//! PURE. One function turns a credential into a [`Principal`]; everything that asks who somebody is uses it.

use std::collections::HashSet;
use std::net::IpAddr;

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::config::{Basic, ForwardAuth};
use crate::session::Principal;
use crate::token;
use crate::wire::signal::Right;

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Denied {
    /// No credential, or none that holds. One answer for all: which part was wrong is nobody's business.
    #[error("a valid token is needed: open the link that `deskgate token` printed")]
    Unauthenticated,
    /// DNS rebinding: the name in Host is not this machine's.
    #[error("this gateway has no token secret, so it answers to localhost only")]
    Host,
    /// Another site's page.
    #[error("this origin may not open the session; see --allowed-origin")]
    Origin,
    /// Somebody who is known, and may do other things.
    #[error("this credential does not give the right for that")]
    Forbidden,
}

/// Everything that authentication needs.
pub struct Auth {
    /// The session's name, which tokens must carry.
    pub session: String,
    /// Signs tokens.
    pub secret: Option<Vec<u8>>,
    /// Names and passwords.
    pub basic: Option<Basic>,
    /// The proxy in front.
    pub forward: Option<ForwardAuth>,
    /// Other origins that are let in.
    pub allowed_origins: Vec<String>,
}

impl Auth {
    /// Name of the session's cookie. Cookies know no ports: two sessions forwarded to `localhost` must not
    /// take each other's. Nor do they know schemes: a page over plain HTTP cannot replace a `Secure` cookie, and
    /// would stay outside if both had one name (RFC 6265bis §5.7, §4.1.3.2).
    pub fn cookie_name(&self, secure: bool) -> String {
        let digest = Sha256::new()
            .chain_update(self.session.as_bytes())
            .chain_update([0])
            .chain_update(self.secret.as_deref().unwrap_or_default())
            .finalize();
        let prefix = if secure { "__Host-" } else { "" };
        format!("{prefix}deskgate_{}", digest[..6].iter().map(|b| format!("{b:02x}")).collect::<String>())
    }

    /// Who sends this request, from `peer`, at `now` (seconds since the Unix epoch).
    ///
    /// # Errors
    /// [`Denied`]; the caller answers 401 or 403 and tells nothing else.
    pub fn principal(
        &self,
        headers: &HeaderMap,
        peer: IpAddr,
        revoked: &HashSet<String>,
        now: u64,
    ) -> Result<Principal, Denied> {
        self.check_source(headers)?;
        if self.is_open() {
            return Ok(Principal::controller("local"));
        }
        let authorization = text(headers, AUTHORIZATION);
        let bearer = authorization.and_then(|a| a.strip_prefix("Bearer "));
        bearer
            .and_then(|token| self.token(token, revoked, now))
            .or_else(|| self.token(self.cookie(headers)?, revoked, now))
            .or_else(|| self.basic(authorization?.strip_prefix("Basic ")?))
            .or_else(|| self.forwarded(headers, peer))
            .ok_or(Denied::Unauthenticated)
    }

    /// True if Basic authentication is on, so that the browser should ask for it.
    pub fn asks_for_password(&self) -> bool {
        self.basic.is_some()
    }

    fn is_open(&self) -> bool {
        self.secret.is_none() && self.basic.is_none() && self.forward.is_none()
    }

    /// Whether the page that sends this may do so at all: against DNS rebinding and foreign sites.
    ///
    /// # Errors
    /// [`Denied::Host`] or [`Denied::Origin`].
    pub fn check_source(&self, headers: &HeaderMap) -> Result<(), Denied> {
        let host = text(headers, HOST).unwrap_or_default().to_ascii_lowercase();
        if self.is_open() && !is_loopback_host(&host) {
            return Err(Denied::Host);
        }
        // More than one Origin, or one that is no text, is nobody's browser.
        let mut origins = headers.get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else { return Ok(()) };
        let origin = origin.to_str().map_err(|_| Denied::Origin)?.to_ascii_lowercase();
        let same = ["http://", "https://"].iter().any(|s| origin.strip_prefix(s) == Some(host.as_str()));
        if origins.next().is_none() && (same || self.allowed_origins.contains(&origin)) {
            return Ok(());
        }
        Err(Denied::Origin)
    }

    fn cookie<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let pairs =
            || headers.get_all(COOKIE).iter().filter_map(|c| c.to_str().ok()).flat_map(|c| c.split(';'));
        [true, false].into_iter().find_map(|secure| {
            let name = self.cookie_name(secure);
            pairs().find_map(|pair| pair.trim().strip_prefix(&name)?.strip_prefix('='))
        })
    }

    fn token(&self, token: &str, revoked: &HashSet<String>, now: u64) -> Option<Principal> {
        let claims = token::verify(self.secret.as_deref()?, token, &self.session, now)?;
        // A token that gives neither the picture nor the API is of no use to anybody.
        let of_use = [Right::View, Right::Operate].iter().any(|right| claims.rights.contains(right));
        if revoked.contains(&claims.jti) || !of_use {
            return None;
        }
        Some(Principal { subject: claims.jti, rights: claims.rights, expires: Some(claims.exp) })
    }

    fn basic(&self, encoded: &str) -> Option<Principal> {
        let basic = self.basic.as_ref()?;
        let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
        let (user, password) = decoded.split_once(':')?;
        // Every comparison is made, so that time tells nothing.
        let user_ok = same(user, &basic.user);
        let full = same(password, &basic.password);
        let view = basic.view_password.as_deref().is_some_and(|v| same(password, v));
        match (user_ok, full, view) {
            (true, true, _) => Some(Principal::controller(user)),
            (true, false, true) => Some(Principal::viewer(format!("{user} (view)"))),
            _ => None,
        }
    }

    fn forwarded(&self, headers: &HeaderMap, peer: IpAddr) -> Option<Principal> {
        let forward = self.forward.as_ref()?;
        if !forward.from.iter().any(|net| net.contains(peer)) {
            return None;
        }
        let mut values = headers.get_all(forward.header.as_str()).iter();
        let user = values.next()?.to_str().ok().filter(|u| !u.is_empty())?;
        // A second one was smuggled in by the client.
        if values.next().is_some() {
            return None;
        }
        let owns = forward.owner.as_deref().is_none_or(|owner| owner == user);
        Some(if owns { Principal::controller(user) } else { Principal::viewer(user) })
    }
}

/// Compares in a time that depends on nothing secret: digests, not texts.
fn same(a: &str, b: &str) -> bool {
    let (a, b) = (Sha256::digest(a.as_bytes()), Sha256::digest(b.as_bytes()));
    a.iter().zip(b.iter()).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
}

fn text(headers: &HeaderMap, name: axum::http::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// `localhost` or a loopback literal, with or without a port.
fn is_loopback_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
