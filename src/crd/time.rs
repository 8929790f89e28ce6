//! PURE. Spans of time as people write them: `8h`, `90m`, `1h30m`, `0` for never.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// A time after which something happens, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timeout {
    /// After so long.
    After(Duration),
    /// Written as `0`.
    Never,
}

/// Why a text is no span of time.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not a time such as 30m, 8h, 1h30m, or 0 for never")]
pub struct TimeoutError(pub String);

impl Timeout {
    /// So many seconds; 0 is never, as in the text.
    pub const fn seconds(seconds: u64) -> Self {
        if seconds == 0 { Self::Never } else { Self::After(Duration::from_secs(seconds)) }
    }

    /// The span, if there is one.
    pub const fn span(self) -> Option<Duration> {
        match self {
            Self::After(span) => Some(span),
            Self::Never => None,
        }
    }
}

impl FromStr for Timeout {
    type Err = TimeoutError;

    fn from_str(text: &str) -> Result<Self, TimeoutError> {
        let wrong = || TimeoutError(text.to_owned());
        if let Ok(seconds) = text.parse::<u64>() {
            return if seconds <= MOST { Ok(Self::seconds(seconds)) } else { Err(wrong()) };
        }
        let mut seconds = 0_u64;
        let mut rest = text;
        while !rest.is_empty() {
            let at = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let number: u64 = rest[..at].parse().map_err(|_| wrong())?;
            let unit = match rest.as_bytes()[at] {
                b'd' => 86_400,
                b'h' => 3600,
                b'm' => 60,
                b's' => 1,
                _ => return Err(wrong()),
            };
            seconds = number.checked_mul(unit).and_then(|n| n.checked_add(seconds)).ok_or_else(wrong)?;
            rest = &rest[at + 1..];
        }
        if text.is_empty() || seconds > MOST { Err(wrong()) } else { Ok(Self::seconds(seconds)) }
    }
}

/// Ten years: what is longer is a mistake, and dates stay within what a calendar holds.
const MOST: u64 = 3650 * 86_400;

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::After(span) = self else { return f.write_str("0") };
        let mut left = span.as_secs();
        for (unit, name) in [(86_400, 'd'), (3600, 'h'), (60, 'm'), (1, 's')] {
            if left >= unit {
                write!(f, "{}{name}", left / unit)?;
                left %= unit;
            }
        }
        Ok(())
    }
}
