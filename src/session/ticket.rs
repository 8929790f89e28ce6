//! PURE. Resume tickets: who a viewer was, signed, so that it can go on after its socket, or the gateway,
//! was gone. The gateway keeps nothing: the ticket is the state.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use thiserror::Error;

/// A ticket is taken for this long after it was issued, in seconds.
pub const LIFETIME_S: u64 = 12 * 3_600;
const MAX_BYTES: usize = 1_024;

/// What a ticket says. It grants nothing: rights come from the credential that the socket was opened with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The session it is for.
    pub session: String,
    /// The viewer's number.
    pub viewer: u32,
    /// Drawn when the viewer joined: numbers begin anew with a gateway, and are nobody's proof.
    pub nonce: u64,
    /// Whose it is (see `Principal::subject`): a ticket is no use to somebody else.
    pub subject: String,
    /// True if the viewer had control.
    pub control: bool,
    /// Seconds since the Unix epoch.
    pub issued: u64,
}

/// Why a ticket was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TicketError {
    /// Not a ticket of this gateway.
    #[error("the resume ticket is not ours")]
    Forged,
    /// For another session or another person.
    #[error("the resume ticket belongs to another session")]
    Foreign,
    /// Too old.
    #[error("the resume ticket has expired")]
    Expired,
}

fn mac(key: &[u8], body: &str) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(b"deskgate ticket\0");
    mac.update(body.as_bytes());
    Some(mac)
}

impl Ticket {
    /// The ticket as text.
    pub fn sign(&self, key: &[u8]) -> String {
        let body = URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default());
        let tag =
            mac(key, &body).map(|m| URL_SAFE_NO_PAD.encode(m.finalize().into_bytes())).unwrap_or_default();
        format!("{body}.{tag}")
    }

    /// Checks a ticket for `session` and `subject` at `now` (seconds since the Unix epoch).
    ///
    /// # Errors
    /// [`TicketError`]; the caller goes on as if there had been none.
    pub fn verify(
        text: &str,
        key: &[u8],
        session: &str,
        subject: &str,
        now: u64,
    ) -> Result<Self, TicketError> {
        let ticket = Self::authentic(text, key).ok_or(TicketError::Forged)?;
        if ticket.session != session || ticket.subject != subject {
            return Err(TicketError::Foreign);
        }
        if now > ticket.issued.saturating_add(LIFETIME_S) {
            return Err(TicketError::Expired);
        }
        Ok(ticket)
    }

    fn authentic(text: &str, key: &[u8]) -> Option<Self> {
        if text.len() > MAX_BYTES {
            return None;
        }
        let (body, tag) = text.split_once('.')?;
        mac(key, body)?.verify_slice(&URL_SAFE_NO_PAD.decode(tag).ok()?).ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Ticket {
        Ticket {
            session: "s".into(),
            viewer: 7,
            nonce: 3,
            subject: "alice".into(),
            control: true,
            issued: 1_000,
        }
    }

    #[test]
    fn round_trip_and_every_refusal() {
        let text = ticket().sign(b"key");
        let check =
            |text: &str, key: &[u8], session, subject, now| Ticket::verify(text, key, session, subject, now);
        assert_eq!(check(&text, b"key", "s", "alice", 1_001), Ok(ticket()));
        assert_eq!(check(&text, b"other", "s", "alice", 1_001), Err(TicketError::Forged));
        assert_eq!(check(&text, b"key", "t", "alice", 1_001), Err(TicketError::Foreign));
        assert_eq!(check(&text, b"key", "s", "bob", 1_001), Err(TicketError::Foreign));
        assert_eq!(check(&text, b"key", "s", "alice", 1_001 + LIFETIME_S), Err(TicketError::Expired));
        for bad in ["", ".", "a.b", &text[1..], &text[..text.len() - 2], &"x".repeat(5_000)] {
            assert_eq!(check(bad, b"key", "s", "alice", 1_001), Err(TicketError::Forged));
        }
    }
}
