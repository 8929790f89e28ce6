//! PURE. GStreamer versions and ranges of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// A GStreamer version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<u32> = text
            .split('.')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|_| format!("`{text}` is not a version such as 1.24 or 1.24.4"))?;
        match parts[..] {
            [major, minor] => Ok(Self(major, minor, 0)),
            [major, minor, micro] => Ok(Self(major, minor, micro)),
            _ => Err(format!("`{text}` is not a version such as 1.24 or 1.24.4")),
        }
    }
}

/// Versions from one to below another, written `1.22..1.25`, `1.25..`, `..1.24.4` or `..`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VersionRange {
    /// First version inside.
    pub from: Option<Version>,
    /// First version past the end.
    pub below: Option<Version>,
}

impl VersionRange {
    /// Is `version` inside?
    pub fn contains(&self, version: Version) -> bool {
        self.from.is_none_or(|from| version >= from) && self.below.is_none_or(|below| version < below)
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from, self.below) {
            (None, None) => write!(f, "any version"),
            (Some(from), None) => write!(f, "{from} or newer"),
            (None, Some(below)) => write!(f, "older than {below}"),
            (Some(from), Some(below)) => write!(f, "{from} or newer, older than {below}"),
        }
    }
}

impl<'de> Deserialize<'de> for VersionRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (from, below) = text
            .split_once("..")
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not a range such as 1.22..1.25")))?;
        let bound = |part: &str| match part.trim() {
            "" => Ok(None),
            part => part.parse().map(Some).map_err(serde::de::Error::custom),
        };
        Ok(Self { from: bound(from)?, below: bound(below)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Result<VersionRange, toml::de::Error> {
        #[derive(Deserialize)]
        struct File {
            v: VersionRange,
        }
        toml::from_str::<File>(&format!("v = \"{text}\"")).map(|file| file.v)
    }

    #[test]
    fn a_range_ends_before_its_end() {
        let old = range("1.22..1.24.4").unwrap();
        let inside = [Version(1, 22, 0), Version(1, 24, 3)].map(|v| old.contains(v));
        let outside = [Version(1, 21, 9), Version(1, 24, 4), Version(2, 0, 0)].map(|v| old.contains(v));
        assert_eq!((inside, outside), ([true; 2], [false; 3]));
        assert!(range("..").unwrap().contains(Version(0, 0, 0)));
        assert!(range("1.26..").unwrap().contains(Version(1, 28, 6)));
        assert_eq!(range("1.26..").unwrap().to_string(), "1.26.0 or newer");
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in ["1.22", "1..2", "1.22.0.1..", "a..b", "1.22..x", ""] {
            assert!(range(text).is_err(), "{text}");
        }
    }
}
