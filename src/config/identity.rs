//! PURE. What a gateway says to anybody who asks: whose it is, and how to get in.

/// Characters of a hint.
const HINT: usize = 400;
/// Characters of a UID. Kubernetes' have 36.
const UID: usize = 64;

/// The `metadata.uid` of the session that a gateway serves. Fit for an HTTP header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionUid(String);

impl SessionUid {
    /// Letters, digits, `.`, `_` and `-`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let good = (1..=UID).contains(&text.len()) && text.bytes().all(fits);
        good.then(|| Self(text.to_owned())).ok_or("1 to 64 letters, digits, '.', '_' or '-' are expected")
    }

    /// The UID.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How to get in, for people who came without a credential. Strangers read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInHint(String);

impl SignInHint {
    /// One line.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        let good = (1..=HINT).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        good.then(|| Self(text.to_owned())).ok_or("one line of 1 to 400 characters is expected")
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_cannot_break_out_of_its_header() {
        assert!(SessionUid::parse("2f6a7c1e-8a53-4c8e-9d0e-5a1b3c4d5e6f").is_ok());
        let long = "a".repeat(UID + 1);
        for bad in ["", " ", "a b", "a\r\nset-cookie: x=1", "é", "a\0", "a/b", &long] {
            assert!(SessionUid::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_hint_is_one_bounded_line() {
        let hint = "Run `kubectl vdi open alice -n desks`";
        assert_eq!(SignInHint::parse(&format!(" {hint}\n")).unwrap().as_str(), hint);
        assert!(SignInHint::parse(&"ä".repeat(HINT)).is_ok());
        for bad in ["", " \n", "a\nb", "a\u{1b}[31m", &"a".repeat(HINT + 1)] {
            assert!(SignInHint::parse(bad).is_err(), "{bad:?}");
        }
    }
}
