//! PURE. Session tokens (RFC 7519): their claims, who signs and who reads them, and the link that carries one. What
//! the gateway, the command line and the operator must agree on.

use std::collections::BTreeSet;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::wire::signal::Right;

/// Shorter secrets can be guessed (RFC 7518 §3.2 wants as many bits as the hash has).
const MIN_SECRET: usize = 32;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Id, by which it is revoked.
    pub jti: String,
    /// The session that it is for.
    pub aud: String,
    /// What its bearer may do.
    pub rights: BTreeSet<Right>,
    /// Seconds since the Unix epoch.
    pub exp: u64,
}

impl Claims {
    /// Claims with a new id, made of `random` bytes.
    pub fn new(
        random: [u8; 8],
        session: impl Into<String>,
        rights: impl IntoIterator<Item = Right>,
        exp: u64,
    ) -> Self {
        let jti = random.iter().map(|b| format!("{b:02x}")).collect();
        Self { jti, aud: session.into(), rights: rights.into_iter().collect(), exp }
    }
}

/// Why something cannot be the secret that signs tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadSecret {
    /// Nothing but white space.
    #[error("the secret is empty, at least {MIN_SECRET} bytes are needed")]
    Empty,
    /// One that can be guessed.
    #[error("the secret has {0} bytes, at least {MIN_SECRET} are needed")]
    Short(usize),
}

/// The secret in a file or a Kubernetes Secret: its text without white space around it.
///
/// # Errors
/// [`BadSecret`].
pub fn secret(text: &[u8]) -> Result<&[u8], BadSecret> {
    match text.trim_ascii() {
        [] => Err(BadSecret::Empty),
        secret if secret.len() < MIN_SECRET => Err(BadSecret::Short(secret.len())),
        secret => Ok(secret),
    }
}

/// Signs a token.
///
/// # Errors
/// When the claims cannot be written, which no value of theirs causes.
pub fn sign(secret: &[u8], claims: &Claims) -> Result<String, jsonwebtoken::errors::Error> {
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret))
}

/// What a token for `session` says, if it holds at `now` (seconds since the Unix epoch). Whether it was revoked is
/// for the caller to know.
pub fn verify(secret: &[u8], token: &str, session: &str, now: u64) -> Option<Claims> {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_audience(&[session]);
    validation.set_required_spec_claims(&["exp", "aud"]);
    // Time is an argument here.
    validation.validate_exp = false;
    let claims = jsonwebtoken::decode::<Claims>(token, &DecodingKey::from_secret(secret), &validation);
    claims.ok().map(|data| data.claims).filter(|claims| claims.exp > now)
}

/// The link that lets whoever opens it into the session at `url`. The token stands in the fragment, which browsers
/// send to nobody; the page takes it from there.
pub fn link(url: &str, token: &str) -> String {
    let url = url.split('#').next().unwrap_or_default();
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    // The page's own addresses are relative: without a path there is nothing that they are relative to.
    let slash = if authority.contains(['/', '?']) { "" } else { "/" };
    format!("{url}{slash}#token={token}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"a secret of thirty-two bytes ....";

    #[test]
    fn a_token_is_read_back_until_it_expires_and_by_its_own_session_alone() {
        let claims = Claims::new([0xab; 8], "desk", [Right::View, Right::Operate], 100);
        assert_eq!(claims.jti, "abababababababab");
        let token = sign(SECRET, &claims).unwrap();
        assert_eq!(verify(SECRET, &token, "desk", 99), Some(claims));
        assert_eq!(verify(SECRET, &token, "desk", 100), None);
        assert_eq!(verify(SECRET, &token, "other", 99), None);
        assert_eq!(verify(b"another secret", &token, "desk", 99), None);
    }

    #[test]
    fn rights_are_words() {
        let claims = Claims::new([0; 8], "desk", [Right::Operate, Right::Control, Right::View], 1);
        let json = serde_json::to_value(&claims).unwrap();
        assert_eq!(json["rights"], serde_json::json!(["view", "control", "operate"]));
    }

    #[test]
    fn a_secret_is_long_enough_without_white_space() {
        assert_eq!(secret(b""), Err(BadSecret::Empty));
        assert_eq!(secret(b" \n\t"), Err(BadSecret::Empty));
        assert_eq!(secret(b"short\n"), Err(BadSecret::Short(5)));
        assert_eq!(secret(&[SECRET, b"\n"].concat()), Ok(SECRET));
    }

    #[test]
    fn a_link_has_a_path_and_one_fragment() {
        for (url, wanted) in [
            ("https://desk.example", "https://desk.example/#token=t"),
            ("https://desk.example/", "https://desk.example/#token=t"),
            ("https://desk.example/a/b/", "https://desk.example/a/b/#token=t"),
            ("https://desk.example/#token=old", "https://desk.example/#token=t"),
            ("http://localhost:8080/?ui=none", "http://localhost:8080/?ui=none#token=t"),
        ] {
            assert_eq!(link(url, "t"), wanted);
        }
    }
}
