//! PURE. What viewers are to be ready for: from an operator's words to a notice with a deadline.

use std::fmt;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::wire::api::NoticeRequest;
use crate::wire::signal::{self, NoticeAction};

/// What lies further ahead is a mistake, and no countdown that anybody would look at.
const FURTHEST: Duration = Duration::from_secs(7 * 86_400);
/// Characters of a reason.
const REASON: usize = 32;

/// Something is going to happen to the desktop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    action: NoticeAction,
    /// Seconds since the Unix epoch: by it a page knows a notice again that somebody has closed.
    at: u64,
    deadline: Instant,
    reason: Option<String>,
    home_stays: Option<bool>,
}

/// Why a request is no notice.
#[derive(Debug, Error)]
pub enum BadNotice {
    /// No JSON, or not what is expected.
    #[error("the body is no notice: {0}")]
    Json(#[from] serde_json::Error),
    /// A time, and nothing that happens then.
    #[error("action is missing: suspend or delete is expected, or at: null")]
    NoAction,
    /// No time.
    #[error("at: a time such as 2027-01-31T12:00:00Z (RFC 3339) is expected: {0}")]
    Time(#[from] jiff::Error),
    /// A time that has passed.
    #[error("at: this time has passed by the gateway's clock")]
    Past,
    /// A time that nobody waits for.
    #[error("at: more than 7 days ahead")]
    Far,
    /// No word.
    #[error("reason: a word such as timeout or idle is expected: letters, digits and '-', at most {REASON}")]
    Reason,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match self.action {
            NoticeAction::Suspend => "suspend",
            NoticeAction::Delete => "delete",
        };
        write!(f, "{action} at {} ({})", self.at, self.reason.as_deref().unwrap_or("no reason given"))
    }
}

impl Notice {
    /// Reads the body of `POST /api/notice`; `None` withdraws. `unix_now` is `now` in seconds since the Unix epoch.
    ///
    /// # Errors
    /// [`BadNotice`], which names the field.
    pub fn parse(body: &[u8], unix_now: u64, now: Instant) -> Result<Option<Self>, BadNotice> {
        let NoticeRequest { action, at, reason, home_stays } = serde_json::from_slice(body)?;
        if reason.as_deref().is_some_and(|reason| !is_word(reason)) {
            return Err(BadNotice::Reason);
        }
        let Some(at) = at else { return Ok(None) };
        let action = action.ok_or(BadNotice::NoAction)?;
        let at = at.parse::<jiff::Timestamp>()?.as_second();
        let at = u64::try_from(at).map_err(|_| BadNotice::Past)?;
        let left = Duration::from_secs(at.checked_sub(unix_now).ok_or(BadNotice::Past)?);
        if left > FURTHEST {
            return Err(BadNotice::Far);
        }
        let home_stays = home_stays.or((action == NoticeAction::Suspend).then_some(true));
        Ok(Some(Self { action, at, deadline: now + left, reason, home_stays }))
    }

    /// As a page is told at `now`. Browsers' clocks are wrong by minutes: what is left is said, not when.
    pub(super) fn for_viewers(&self, now: Instant) -> signal::Notice {
        signal::Notice {
            action: self.action,
            at: self.at,
            left_ms: self.deadline.saturating_duration_since(now).as_millis() as u64,
            reason: self.reason.clone(),
            home_stays: self.home_stays,
        }
    }

    /// True if it says what `other` says, however many milliseconds lay between the two.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        let said = |n: &Self| (n.action, n.at, n.reason.clone(), n.home_stays);
        said(self) == said(other)
    }
}

fn is_word(text: &str) -> bool {
    (1..=REASON).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2027-01-31T12:00:00Z.
    const NOW: u64 = 1_801_396_800;

    fn parse(body: &str) -> Result<Option<Notice>, String> {
        Notice::parse(body.as_bytes(), NOW, Instant::now()).map_err(|error| error.to_string())
    }

    fn told(body: &str) -> signal::Notice {
        let now = Instant::now();
        Notice::parse(body.as_bytes(), NOW, now).unwrap().unwrap().for_viewers(now)
    }

    #[test]
    fn what_is_left_is_said_in_any_time_zone() {
        let suspend = told(r#"{"action":"suspend","at":"2027-01-31T12:05:00Z","reason":"timeout"}"#);
        assert_eq!((suspend.action, suspend.left_ms), (NoticeAction::Suspend, 300_000));
        assert_eq!((suspend.reason.as_deref(), suspend.home_stays), (Some("timeout"), Some(true)));
        let east = told(r#"{"action":"suspend","at":"2027-01-31T14:05:00.5+02:00","reason":"timeout"}"#);
        assert_eq!(east, suspend);
    }

    #[test]
    fn of_the_home_nothing_is_said_that_nobody_knows() {
        let stays = |more: &str| {
            told(&format!(r#"{{"action":"delete","at":"2027-01-31T12:05:00Z"{more}}}"#)).home_stays
        };
        assert_eq!(stays(""), None);
        assert_eq!(stays(r#","homeStays":true"#), Some(true));
        assert_eq!(stays(r#","homeStays":false"#), Some(false));
    }

    #[test]
    fn null_withdraws() {
        for body in [r#"{"at":null}"#, r#"{"action":"suspend","at":null,"reason":"idle"}"#] {
            assert_eq!(parse(body), Ok(None));
        }
    }

    #[test]
    fn one_wrong_field_is_one_named_error() {
        let long = format!(r#"{{"at":null,"reason":"{}"}}"#, "x".repeat(REASON + 1));
        for (body, word) in [
            ("", "no notice"),
            ("{}", "`at`"),
            (r#"{"action":"suspend"}"#, "`at`"),
            (r#"{"action":"reboot","at":null}"#, "reboot"),
            (r#"{"at":"2027-01-31T12:05:00Z"}"#, "action"),
            (r#"{"action":"suspend","at":"in five minutes"}"#, "RFC 3339"),
            (r#"{"action":"suspend","at":"2027-01-31T12:05:00"}"#, "RFC 3339"),
            (r#"{"action":"suspend","at":300}"#, "no notice"),
            (r#"{"action":"suspend","at":"2027-01-31T11:59:59Z"}"#, "passed"),
            (r#"{"action":"suspend","at":"1969-01-31T11:59:59Z"}"#, "passed"),
            (r#"{"action":"suspend","at":"2027-02-07T12:00:01Z"}"#, "7 days"),
            (r#"{"at":null,"reason":"<b>"}"#, "reason"),
            (r#"{"at":null,"reason":""}"#, "reason"),
            (&long, "reason"),
        ] {
            let error = parse(body).unwrap_err();
            assert!(error.contains(word), "{body}: {error}");
        }
    }
}
