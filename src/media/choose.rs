//! PURE. Which entries to try, in which order, and why the others are passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::catalog::{Catalog, Entry};
use super::version::{Version, VersionRange};
use crate::frame::Codec;

/// What this machine's GStreamer has.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its version.
    pub gstreamer: Version,
    /// Factories that exist, of those that the catalogue names.
    pub elements: BTreeSet<String>,
    /// Why factories of ours do not.
    pub missing: BTreeMap<String, String>,
}

/// Why an entry is not tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PassedOver {
    /// Another encoder was asked for.
    NotAskedFor {
        /// By this name.
        forced: String,
    },
    /// Written for other versions of GStreamer.
    Gstreamer {
        /// Those.
        needs: VersionRange,
        /// This one.
        have: Version,
    },
    /// These elements are not installed, or found no device when they were registered.
    ElementMissing(Vec<String>),
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAskedFor { forced } => write!(f, "`{forced}` was asked for"),
            Self::Gstreamer { needs, have } => write!(f, "needs GStreamer {needs}; this is {have}"),
            Self::ElementMissing(names) => write!(f, "element missing: {}", names.join(", ")),
        }
    }
}

/// What to try for one codec.
#[derive(Clone, Debug)]
pub struct Choice {
    /// In this order.
    pub candidates: Vec<Arc<Entry>>,
    /// The others, in listing order.
    pub passed_over: Vec<(Arc<Entry>, PassedOver)>,
}

/// An encoder was asked for that no entry answers to.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown encoder `{name}`; there are: {known}")]
pub struct UnknownEncoder {
    /// As asked.
    pub name: String,
    /// Every name and alias, for people.
    pub known: String,
}

/// Checks a name given by `--encoder` or `SELKIES_ENCODER`.
///
/// # Errors
/// [`UnknownEncoder`] if no entry has it as name or alias.
pub fn check_name(catalog: &Catalog, name: &str) -> Result<(), UnknownEncoder> {
    if catalog.entries().any(|entry| answers_to(entry, name)) {
        return Ok(());
    }
    let known: BTreeSet<&str> = catalog
        .entries()
        .flat_map(|entry| std::iter::once(&entry.name).chain(&entry.aliases))
        .map(String::as_str)
        .collect();
    let known = known.into_iter().collect::<Vec<_>>().join(", ");
    Err(UnknownEncoder { name: name.to_owned(), known })
}

/// Every codec, the preferred first: that of an encoder asked for by name, else H.264.
pub fn codecs(catalog: &Catalog, forced: Option<&str>) -> Vec<Codec> {
    let asked = |codec: &Codec| forced.is_some_and(|name| catalog.of(*codec).any(|e| answers_to(e, name)));
    let mut codecs = vec![Codec::H264, Codec::Vp8];
    codecs.sort_by_key(|codec| !asked(codec));
    codecs
}

/// Orders the entries of `codec`. A forced name narrows only the codec that it belongs to, so that a viewer who
/// cannot decode that codec still gets a picture.
pub fn choose(catalog: &Catalog, codec: Codec, host: &Host, forced: Option<&str>) -> Choice {
    let forced = narrowed(catalog, codec, forced);
    let mut choice = Choice { candidates: Vec::new(), passed_over: Vec::new() };
    for entry in catalog.of(codec) {
        match passed_over(entry, host, forced) {
            None => choice.candidates.push(entry.clone()),
            Some(reason) => choice.passed_over.push((entry.clone(), reason)),
        }
    }
    choice
}

/// A forced name, if it narrows this codec.
pub(super) fn narrowed<'a>(catalog: &Catalog, codec: Codec, forced: Option<&'a str>) -> Option<&'a str> {
    forced.filter(|name| catalog.of(codec).any(|entry| answers_to(entry, name)))
}

/// Why `entry` cannot be tried on `host`, if so.
pub fn passed_over(entry: &Entry, host: &Host, forced: Option<&str>) -> Option<PassedOver> {
    if let Some(name) = forced
        && !answers_to(entry, name)
    {
        return Some(PassedOver::NotAskedFor { forced: name.to_owned() });
    }
    if !entry.gstreamer.contains(host.gstreamer) {
        return Some(PassedOver::Gstreamer { needs: entry.gstreamer, have: host.gstreamer });
    }
    let why = |need: &String| match host.missing.get(need) {
        Some(reason) => format!("{need} ({reason})"),
        None => need.clone(),
    };
    let missing: Vec<String> =
        entry.needs.iter().filter(|need| !host.elements.contains(*need)).map(why).collect();
    (!missing.is_empty()).then_some(PassedOver::ElementMissing(missing))
}

fn answers_to(entry: &Entry, name: &str) -> bool {
    entry.name == name || entry.aliases.iter().any(|alias| alias == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(version: Version, elements: &[&str]) -> Host {
        Host {
            gstreamer: version,
            elements: elements.iter().map(|e| (*e).to_owned()).collect(),
            missing: BTreeMap::from([("deskgatex264enc".to_owned(), "no libx264".to_owned())]),
        }
    }

    fn names(choice: &Choice) -> Vec<&str> {
        choice.candidates.iter().map(|entry| entry.name.as_str()).collect()
    }

    const EVERYTHING: &[&str] = &[
        "nvcudah264enc",
        "nvh264enc",
        "cudaupload",
        "h264parse",
        "vah264enc",
        "deskgatex264enc",
        "x264enc",
        "openh264enc",
        "vp8enc",
    ];

    #[test]
    fn hardware_first_and_only_what_fits_the_version() {
        let catalog = Catalog::shipped().unwrap();
        let at = |version| choose(&catalog, Codec::H264, &host(version, EVERYTHING), None);
        let old = ["nvcudah264enc", "nvh264enc-legacy", "vah264enc", "x264", "x264-gstreamer", "openh264enc"];
        assert_eq!(names(&at(Version(1, 22, 0))), old);
        assert_eq!(names(&at(Version(1, 24, 13))), old);
        assert_eq!(
            names(&at(Version(1, 26, 0))),
            ["nvh264enc", "vah264enc", "x264", "x264-gstreamer", "openh264enc"]
        );
        assert_eq!(names(&at(Version(1, 20, 0))), ["x264", "x264-gstreamer", "openh264enc"]);
    }

    #[test]
    fn every_entry_passed_over_says_why() {
        let catalog = Catalog::shipped().unwrap();
        let choice = choose(&catalog, Codec::H264, &host(Version(1, 22, 0), &["x264enc"]), None);
        assert_eq!(names(&choice), ["x264-gstreamer"]);
        let reasons: Vec<String> =
            choice.passed_over.iter().map(|(entry, why)| format!("{}: {why}", entry.name)).collect();
        assert!(reasons.contains(&"openh264enc: element missing: openh264enc".to_owned()), "{reasons:?}");
        let ours = "x264: element missing: deskgatex264enc (no libx264)".to_owned();
        assert!(reasons.contains(&ours), "{reasons:?}");
        assert!(
            reasons.contains(&"nvh264enc: needs GStreamer 1.25.0 or newer; this is 1.22.0".to_owned()),
            "{reasons:?}"
        );
        assert_eq!(choice.passed_over.len() + 1, catalog.of(Codec::H264).count());
    }

    #[test]
    fn a_forced_name_narrows_its_own_codec_only() {
        let catalog = Catalog::shipped().unwrap();
        let host = host(Version(1, 22, 0), EVERYTHING);
        let with = |codec, name| choose(&catalog, codec, &host, Some(name));
        assert_eq!(names(&with(Codec::H264, "openh264enc")), ["openh264enc"]);
        assert_eq!(names(&with(Codec::H264, "nvh264enc")), ["nvcudah264enc", "nvh264enc-legacy"]);
        assert_eq!(names(&with(Codec::H264, "h264enc")).len(), 6);
        assert_eq!(names(&with(Codec::Vp8, "openh264enc")), ["vp8enc"]);
    }

    #[test]
    fn the_codec_of_a_forced_name_is_preferred() {
        let catalog = Catalog::shipped().unwrap();
        assert_eq!(codecs(&catalog, None), [Codec::H264, Codec::Vp8]);
        assert_eq!(codecs(&catalog, Some("x264enc")), [Codec::H264, Codec::Vp8]);
        assert_eq!(codecs(&catalog, Some("vp8enc")), [Codec::Vp8, Codec::H264]);
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let catalog = Catalog::shipped().unwrap();
        for name in ["x264enc", "nvh264enc", "vah264enc", "openh264enc", "vp8enc", "h264enc"] {
            check_name(&catalog, name).unwrap();
        }
        let error = check_name(&catalog, "x265enc").unwrap_err().to_string();
        assert!(error.contains("x265enc") && error.contains("vah264enc"), "{error}");
    }
}
