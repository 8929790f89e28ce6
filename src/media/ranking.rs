//! PURE. Every entry in its order of preference, and why those before the one in use are not used.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::catalog::{Catalog, Entry};
use super::choose::{Host, PassedOver, codecs, narrowed, passed_over};
use crate::frame::Codec;
use crate::wire::api;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Ranking {
    entries: Vec<(Arc<Entry>, Option<PassedOver>)>,
    /// What became of those that were tried.
    failed: BTreeMap<(Codec, String), String>,
    /// The one of each codec that worked last.
    proved: BTreeMap<Codec, String>,
}

impl Ranking {
    /// Of every codec, the preferred one first.
    pub fn new(catalog: &Catalog, host: &Host, forced: Option<&str>) -> Self {
        let of = |codec| {
            let forced = narrowed(catalog, codec, forced);
            catalog.of(codec).map(move |entry| (entry.clone(), passed_over(entry, host, forced)))
        };
        let entries = codecs(catalog, forced).into_iter().flat_map(of).collect();
        Self { entries, ..Self::default() }
    }

    /// An encoder has made its first frame.
    pub fn works(&mut self, codec: Codec, name: &str) {
        self.failed.remove(&(codec, name.to_owned()));
        self.proved.insert(codec, name.to_owned());
    }

    /// An encoder was tried and left.
    pub fn fails(&mut self, codec: Codec, name: &str, reason: &str) {
        self.failed.insert((codec, name.to_owned()), reason.to_owned());
        if self.proved.get(&codec).is_some_and(|proved| proved == name) {
            self.proved.remove(&codec);
        }
    }

    /// The best of those that work.
    pub fn in_use(&self) -> Option<api::Encoder> {
        self.entries.iter().find(|(entry, _)| self.is_proved(entry)).map(|(entry, _)| api::Encoder {
            name: entry.name.clone(),
            codec: entry.codec.name().to_owned(),
            hardware: entry.hardware,
        })
    }

    /// Those before it. What nobody asked for is not missed.
    pub fn unusable(&self) -> Vec<api::UnusableEncoder> {
        let before = self.entries.iter().take_while(|(entry, _)| !self.is_proved(entry));
        let row = |(entry, passed_over): &(Arc<Entry>, Option<PassedOver>)| {
            let reason = match passed_over {
                Some(PassedOver::NotAskedFor { .. }) => return None,
                Some(passed_over) => passed_over.to_string(),
                None => self.failed.get(&(entry.codec, entry.name.clone()))?.clone(),
            };
            Some(api::UnusableEncoder {
                name: entry.name.clone(),
                codec: entry.codec.name().to_owned(),
                hardware: entry.hardware,
                reason,
            })
        };
        before.filter_map(row).collect()
    }

    fn is_proved(&self, entry: &Entry) -> bool {
        self.proved.get(&entry.codec).is_some_and(|name| *name == entry.name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::version::Version;
    use super::*;

    fn ranking(elements: &[&str], forced: Option<&str>) -> Ranking {
        let elements = elements.iter().map(|e| (*e).to_owned()).collect();
        let host = Host { gstreamer: Version(1, 22, 0), elements, missing: BTreeMap::new() };
        Ranking::new(&Catalog::shipped().unwrap(), &host, forced)
    }

    fn unusable(ranking: &Ranking) -> Vec<(String, String)> {
        ranking.unusable().into_iter().map(|u| (u.name, u.reason)).collect()
    }

    #[test]
    fn a_machine_without_a_gpu_says_so_beside_the_encoder_in_use() {
        let mut ranking = ranking(&["deskgatex264enc", "vp8enc"], None);
        ranking.works(Codec::Vp8, "vp8enc");
        ranking.works(Codec::H264, "x264");
        let used = ranking.in_use().unwrap();
        assert_eq!((used.name.as_str(), used.codec.as_str(), used.hardware), ("x264", "H264", false));
        let unusable = ranking.unusable();
        assert!(unusable.iter().all(|u| u.hardware && u.name != "x264"), "{unusable:?}");
        let nvenc = unusable.iter().find(|u| u.name == "nvcudah264enc").unwrap();
        assert!(nvenc.reason.contains("element missing"), "{nvenc:?}");
    }

    #[test]
    fn one_that_fails_at_work_is_no_longer_in_use_until_it_works_again() {
        let mut ranking = ranking(&["nvcudah264enc", "cudaupload", "deskgatex264enc"], None);
        ranking.works(Codec::H264, "nvcudah264enc");
        assert!(ranking.in_use().unwrap().hardware);
        assert_eq!(unusable(&ranking), []);
        ranking.fails(Codec::H264, "nvcudah264enc", "no frame for 2 s");
        assert_eq!(ranking.in_use(), None);
        ranking.works(Codec::H264, "x264");
        assert_eq!(ranking.in_use().unwrap().name, "x264");
        assert!(unusable(&ranking).contains(&("nvcudah264enc".into(), "no frame for 2 s".into())));
        ranking.works(Codec::H264, "nvcudah264enc");
        assert_eq!(unusable(&ranking), []);
    }

    #[test]
    fn an_encoder_that_was_asked_for_misses_no_other() {
        let mut ranking = ranking(&["deskgatex264enc", "openh264enc"], Some("openh264enc"));
        ranking.works(Codec::H264, "openh264enc");
        assert_eq!(ranking.in_use().unwrap().name, "openh264enc");
        assert_eq!(unusable(&ranking), []);
    }
}
