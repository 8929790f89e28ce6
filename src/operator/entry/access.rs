//! PURE. Who stands at the door of a session that does not run: the same credentials as its gateway takes.

use std::net::IpAddr;

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};

use crate::operator::settings::ForwardAuthSettings;
use crate::token;
use crate::trusted_net::TrustedNet;
use crate::wire::signal::Right;

/// What a visitor may do; the more, the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Visitor {
    /// Nothing is known of him.
    Unknown,
    /// See how it stands.
    Looks,
    /// Everything.
    Controls,
}

/// What is needed to tell who somebody is.
pub struct Access<'a> {
    /// Name of the session: tokens are for one.
    pub session: &'a str,
    /// Whose session it is.
    pub user: &'a str,
    /// The proxy in front, if there is one.
    pub forward: Option<&'a ForwardAuthSettings>,
    /// Seconds since the Unix epoch.
    pub now: u64,
}

/// More tokens than that are nobody's browser.
const MOST_TOKENS: usize = 8;

impl Access<'_> {
    /// What the trusted proxy says, if it says something.
    pub fn forwarded(&self, headers: &HeaderMap, peer: IpAddr) -> Option<Visitor> {
        let forward = self.forward?;
        let trusted = |net: &String| TrustedNet::parse(net).is_some_and(|net| net.contains(peer));
        if !forward.from.iter().any(trusted) {
            return None;
        }
        let mut values = headers.get_all(forward.header.as_str()).iter();
        let user = values.next()?.to_str().ok().filter(|user| !user.is_empty())?;
        // A second one was smuggled in by the client.
        if values.next().is_some() {
            return None;
        }
        Some(if user == self.user { Visitor::Controls } else { Visitor::Looks })
    }

    /// Tokens that a request brings: as Bearer, and in the cookies that gateways set.
    pub fn tokens<'h>(&self, headers: &'h HeaderMap) -> Vec<&'h str> {
        let bearer = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()?.strip_prefix("Bearer "));
        let pairs = headers.get_all(COOKIE).iter().filter_map(|c| c.to_str().ok()).flat_map(|c| c.split(';'));
        let cookies = pairs.filter_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            let name = name.strip_prefix("__Host-").unwrap_or(name);
            name.starts_with("deskgate_").then_some(value)
        });
        bearer.into_iter().chain(cookies).take(MOST_TOKENS).collect()
    }

    /// What the best of the tokens gives.
    pub fn bearer(&self, tokens: &[&str], key: &[u8]) -> Visitor {
        let claims = tokens.iter().filter_map(|t| token::verify(key, t, self.session, self.now));
        let given = claims.map(|claims| {
            if claims.rights.contains(&Right::Control) {
                Visitor::Controls
            } else if claims.rights.contains(&Right::View) {
                Visitor::Looks
            } else {
                Visitor::Unknown
            }
        });
        given.max().unwrap_or(Visitor::Unknown)
    }
}

/// Whether a request comes from the page itself: browsers name the origin of every POST.
pub fn same_origin(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let mut origins = headers.get_all(ORIGIN).iter();
    let Some(origin) = origins.next() else { return true };
    let text = origin.to_str().unwrap_or_default();
    let own = ["https://", "http://"].iter().any(|scheme| text.strip_prefix(scheme) == Some(host));
    own && origins.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Claims;

    const KEY: &[u8] = b"a secret of thirty-two bytes ....";

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(axum::http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        map
    }

    fn access(forward: Option<&ForwardAuthSettings>) -> Access<'_> {
        Access { session: "desk", user: "alice@example.com", forward, now: 50 }
    }

    #[test]
    fn only_the_proxys_own_word_counts() {
        let forward =
            ForwardAuthSettings { header: "x-user".to_owned(), from: vec!["10.42.0.0/16".to_owned()] };
        let access = access(Some(&forward));
        let says = |pairs: &[(&str, &str)], peer: [u8; 4]| access.forwarded(&headers(pairs), peer.into());
        assert_eq!(says(&[("x-user", "alice@example.com")], [10, 42, 1, 1]), Some(Visitor::Controls));
        assert_eq!(says(&[("x-user", "bob")], [10, 42, 1, 1]), Some(Visitor::Looks));
        assert_eq!(says(&[("x-user", "alice@example.com")], [10, 43, 1, 1]), None);
        assert_eq!(says(&[("x-user", "alice@example.com"), ("x-user", "bob")], [10, 42, 1, 1]), None);
        assert_eq!(says(&[], [10, 42, 1, 1]), None);
    }

    #[test]
    fn a_token_gives_what_it_says_until_it_expires() {
        let access = access(None);
        let token = |rights: &[Right], exp| {
            token::sign(KEY, &Claims::new([1; 8], "desk", rights.iter().copied(), exp)).unwrap()
        };
        let control = token(&[Right::View, Right::Control], 100);
        let view = token(&[Right::View], 100);
        let old = token(&[Right::View, Right::Control], 50);
        assert_eq!(access.bearer(&[&view, &control], KEY), Visitor::Controls);
        assert_eq!(access.bearer(&[&view], KEY), Visitor::Looks);
        assert_eq!(access.bearer(&[&old], KEY), Visitor::Unknown);
        assert_eq!(access.bearer(&[&control], b"another secret of thirty-two ..."), Visitor::Unknown);
        let bearer = format!("Bearer {view}");
        let cookies = format!("a=b; __Host-deskgate_0a={control}; deskgate_0b={view}");
        let found = headers(&[("authorization", &bearer), ("cookie", &cookies)]);
        assert_eq!(access.tokens(&found), [view.as_str(), control.as_str(), view.as_str()]);
    }

    #[test]
    fn other_sites_do_not_wake() {
        let from = |origin: &str| same_origin(&headers(&[("host", "a.example"), ("origin", origin)]));
        assert!(from("https://a.example") && !from("https://b.example") && !from("null"));
        assert!(same_origin(&headers(&[("host", "a.example")])), "no browser");
    }
}
