//! PURE. The link into a desktop.

use jiff::Timestamp;
use serde_json::json;

use super::error::Error;
use super::text::plain;
use crate::crd::VDISession;
use crate::token::{self, Claims};
use crate::wire::signal::Right;

/// A link, and what it is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// URL#token.
    pub url: String,
    /// The token's id.
    pub id: String,
}

/// Signs a link into `session` that can be used until `expires`. `random` becomes the token's id.
///
/// # Errors
/// [`Error::NoUrl`] while the session has none.
pub fn link(
    session: &VDISession,
    secret: &[u8],
    rights: &[Right],
    expires: Timestamp,
    random: [u8; 8],
) -> Result<Link, Error> {
    let name = session.metadata.name.clone().unwrap_or_default();
    let url = session.status.as_ref().and_then(|s| s.url.as_deref()).filter(|u| is_web(u));
    let Some(url) = url else { return Err(Error::NoUrl(name)) };
    let expires = u64::try_from(expires.as_second()).unwrap_or_default();
    let claims = Claims::new(random, name, rights.iter().copied(), expires);
    let token = token::sign(secret, &claims)?;
    Ok(Link { url: token::link(&plain(url), &token), id: claims.jti })
}

/// A browser is sent there: what is no web address has been put there by somebody else than the operator.
fn is_web(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

/// A page that leads on to `url`. A browser is started with the page's file: the link itself would stand in a list of
/// processes, for every user of the machine to read.
pub fn page(url: &str) -> String {
    // Inside a script element nothing but `<` could end the text early.
    let text = json!(url).to_string().replace('<', "\\u003c");
    format!(
        "<!doctype html><meta charset=\"utf-8\"><meta name=\"referrer\" content=\"no-referrer\"><title>Deskgate</title>\
         <script>location.replace({text})</script>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::{VDISessionSpec, VDISessionStatus};

    const SECRET: &[u8] = b"a secret of thirty-two bytes ....";

    fn session(url: Option<&str>) -> VDISession {
        let mut session = VDISession::new("alice", VDISessionSpec::default());
        session.status =
            Some(VDISessionStatus { url: url.map(str::to_owned), ..VDISessionStatus::default() });
        session
    }

    #[test]
    fn the_link_lets_into_this_session_until_it_expires() {
        let rights = [Right::View, Right::Control];
        let expires = Timestamp::from_second(100).unwrap();
        let made = link(&session(Some("https://a.example/")), SECRET, &rights, expires, [1; 8]).unwrap();
        let token = made.url.strip_prefix("https://a.example/#token=").unwrap();
        let claims = token::verify(SECRET, token, "alice", 99).unwrap();
        assert_eq!((claims.jti, claims.rights), (made.id, rights.into()));
        assert!(token::verify(SECRET, token, "alice", 100).is_none());
        assert!(token::verify(SECRET, token, "bob", 99).is_none());
    }

    #[test]
    fn without_a_web_address_there_is_no_link() {
        for url in [None, Some("javascript:alert(1)"), Some("")] {
            let made = link(&session(url), SECRET, &[Right::View], Timestamp::UNIX_EPOCH, [0; 8]);
            assert!(matches!(made, Err(Error::NoUrl(_))), "{url:?}");
        }
    }

    #[test]
    fn a_url_cannot_leave_its_place_in_the_page() {
        let page = page("https://a/\"</script><script>alert(1)</script>");
        assert_eq!(page.matches("</script>").count(), 1, "{page}");
        assert!(page.contains(r#"location.replace("https://a/\"\u003c/script>"#), "{page}");
    }
}
