//! PURE. The catalogue of encoder pipelines: TOML in, validated entries out.
//!
//! A file `gst-pipelines/<codec>/NN-name.toml` is one [`Entry`]; listing order is preference. What may stand in
//! a file is described in `gst-pipelines/README.md`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use thiserror::Error;

use super::syntax::{RawEntry, RawProperties, RawValue, from_toml, mistake};
use super::version::{Version, VersionRange};
use crate::frame::{Codec, PixelFormat, Size};

/// Folders of `gst-pipelines/` and what their entries encode.
const FOLDERS: [(&str, Codec); 2] = [("h264", Codec::H264), ("vp8", Codec::Vp8)];

macro_rules! shipped {
    ($($path:literal),+ $(,)?) => {
        &[$(($path, include_str!(concat!("../../gst-pipelines/", $path)))),+]
    };
}

/// The files that are part of the binary.
const SHIPPED: &[(&str, &str)] = shipped![
    "h264/10-nvcudah264enc.toml",
    "h264/20-nvh264enc.toml",
    "h264/30-nvh264enc-legacy.toml",
    "h264/40-vah264enc.toml",
    "h264/45-x264.toml",
    "h264/50-x264-gstreamer.toml",
    "h264/60-openh264enc.toml",
    "vp8/50-vp8enc.toml",
];

/// What an entry can do without being built anew. What it lacks, the rendition does by building it anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ability {
    /// Another bitrate.
    SetBitrate,
    /// Another frame rate.
    SetFps,
    /// Another picture size.
    SetSize,
    /// A key frame now. Also needs [`Entry::idr_event`] to hold the version at hand.
    ForceIdr,
}

/// How colours become luma and chroma.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Matrix {
    /// What capture makes; for encoders that say so in the stream, or cannot, where decoders assume it.
    #[default]
    #[serde(rename = "BT.601")]
    Bt601,
    /// What decoders assume of a stream that cannot say: frames are converted.
    #[serde(rename = "BT.709")]
    Bt709,
}

/// What a number in a property counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Bits (a second).
    Bit,
    /// 1000 bits (a second).
    Kbit,
    /// 1024 bits (a second): what NVENC elements call kbit.
    Kibit,
    /// Milliseconds at the bitrate; only for a buffer.
    Ms,
}

impl Unit {
    fn of_kbit(self, kbit: f64) -> f64 {
        match self {
            Self::Bit => kbit * 1000.0,
            Self::Kbit | Self::Ms => kbit,
            Self::Kibit => kbit * 1000.0 / 1024.0,
        }
    }
}

/// By which clock the encoder shares the bitrate out among frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Budget {
    /// The frame rate in the caps: fewer frames than that spend less than the bitrate unless it is scaled up.
    Caps,
    /// The frames' time stamps.
    Timestamps,
}

/// How the bitrate is set.
#[derive(Clone, Debug, PartialEq)]
pub struct Bitrate {
    /// Property of the encoder.
    pub property: String,
    /// Its unit.
    pub unit: Unit,
    /// See [`Budget`].
    pub budget: Budget,
    /// Every write makes a key frame: small changes are not worth it.
    pub costs_idr: bool,
}

/// One property of the rate control's buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct Vbv {
    /// Property of the encoder.
    pub property: String,
    /// Its unit.
    pub unit: Unit,
    /// Its size in frames.
    pub frames: f64,
    /// The least that the element takes at its word, in seconds at the bitrate.
    pub at_least_s: f64,
    /// Written again when the bitrate changes.
    pub live: bool,
}

/// A value of an element's property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PropertyValue {
    /// As GLib reads it from text.
    Literal(String),
    /// `{fps}`: the frame rate.
    Fps,
    /// `{threads}`: the processors, 1 to 4. Also the number of slices: Chromium's
    /// hardware decoders misbehave past four.
    Threads,
    /// `{half-threads}`: half the processors, 1 to 4, for encoders whose threads wait for each other busily.
    HalfThreads,
}

/// Properties of the encoder element, by name.
pub type Properties = BTreeMap<String, PropertyValue>;

/// What an encoder is started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Picture size; even.
    pub size: Size,
    /// Frame rate in the caps, frames a second.
    pub fps: u32,
    /// Target, kbit/s.
    pub bitrate_kbps: u32,
    /// Processors that this process may run on.
    pub processors: u32,
}

/// One way to encode one codec.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What comes out.
    pub codec: Codec,
    /// File name without number and ending; unique within the codec.
    pub name: String,
    /// Other names by which `--encoder` and `SELKIES_ENCODER` may ask for it.
    pub aliases: Vec<String>,
    /// True if a GPU does the work.
    pub hardware: bool,
    /// GStreamer versions in which this entry is right.
    pub gstreamer: VersionRange,
    /// Element factories that must exist.
    pub needs: Vec<String>,
    /// Layout of frames that it takes.
    pub format: PixelFormat,
    /// Matrix that a decoder will apply.
    pub matrix: Matrix,
    /// Elements from raw video to access units, in `gst-launch` syntax; the encoder is `name=encoder`.
    pub launch: String,
    /// What it can do without being built anew.
    pub abilities: Vec<Ability>,
    /// Properties that exist only where the device can do them: left out where they do not.
    pub optional: Vec<String>,
    /// How the bitrate is set.
    pub bitrate: Bitrate,
    /// How the rate control's buffer is set.
    pub vbv: Vec<Vbv>,
    /// GStreamer versions in which a force-key-unit event makes an IDR with its parameter sets.
    pub idr_event: VersionRange,
    properties: Properties,
    when: Vec<(VersionRange, Properties)>,
    without_idr_event: Properties,
}

/// A mistake in a pipeline file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{file}, line {line}, field `{field}`: {message}")]
pub struct CatalogError {
    /// The file.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// Dotted, as in the file.
    pub field: String,
    /// What is wrong.
    pub message: String,
}

impl Entry {
    /// Reads one file; `path` is `<codec>/NN-name.toml`, with anything in front.
    ///
    /// # Errors
    /// The first mistake, with line and field.
    pub fn parse(path: &str, text: &str) -> Result<Self, CatalogError> {
        let (codec, name) = identity(path).map_err(|message| CatalogError {
            file: path.to_owned(),
            line: 0,
            field: "file name".to_owned(),
            message,
        })?;
        let raw: RawEntry = toml::from_str(text).map_err(|error| from_toml(path, text, &error))?;
        check(path, text, &raw)?;
        let read = |raw: &RawProperties| properties(path, text, raw);
        Ok(Self {
            codec,
            name,
            properties: read(&raw.properties)?,
            when: raw
                .when
                .iter()
                .map(|w| Ok((w.gstreamer, read(&w.properties)?)))
                .collect::<Result<_, _>>()?,
            without_idr_event: read(&raw.idr.otherwise)?,
            aliases: raw.aliases,
            hardware: raw.hardware,
            gstreamer: raw.gstreamer,
            needs: raw.needs.into_inner(),
            format: raw.format.into(),
            matrix: raw.matrix.map(toml::Spanned::into_inner).unwrap_or_default(),
            launch: raw.launch.into_inner(),
            abilities: raw.abilities,
            optional: raw.optional.map(toml::Spanned::into_inner).unwrap_or_default(),
            bitrate: Bitrate {
                property: raw.bitrate.property,
                unit: raw.bitrate.unit,
                budget: raw.bitrate.budget,
                costs_idr: raw.bitrate.costs_idr,
            },
            vbv: raw
                .vbv
                .into_iter()
                .map(|v| Vbv {
                    property: v.property,
                    unit: v.unit,
                    frames: v.frames.into_inner(),
                    at_least_s: v.at_least_s,
                    live: v.live,
                })
                .collect(),
            idr_event: raw.idr.event,
        })
    }

    /// Factory name of the element that encodes.
    pub fn encoder_element(&self) -> &str {
        encoder_in(&self.launch).unwrap_or_default()
    }

    /// Properties to set in this GStreamer version, bitrate and buffer not among them.
    pub fn properties(&self, version: Version) -> Properties {
        let mut all = self.properties.clone();
        for (range, more) in &self.when {
            if range.contains(version) {
                all.extend(more.clone());
            }
        }
        if !self.idr_event.contains(version) {
            all.extend(self.without_idr_event.clone());
        }
        all
    }

    /// Can it do that without being built anew?
    pub fn can(&self, ability: Ability, version: Version) -> bool {
        self.abilities.contains(&ability)
            && (ability != Ability::ForceIdr || self.idr_event.contains(version))
    }

    /// The bitrate property's value when `rate` frames a second really come, against `caps_fps` in the caps.
    pub fn bitrate_value(&self, kbps: u32, caps_fps: u32, rate: f64) -> i64 {
        let scale = match self.bitrate.budget {
            Budget::Caps if rate > 0.0 => f64::from(caps_fps) / rate,
            _ => 1.0,
        };
        (self.bitrate.unit.of_kbit(f64::from(kbps) * scale).round() as i64).max(1)
    }
}

/// The least that a buffer holds, in kbit. On a narrow way a frame's part is less than the outlines of a picture take: a
/// rate control that may not save up for them codes blocks of grey, and goes on coding them when nothing moves any more.
const LEAST_KBIT: f64 = 32.0;

impl Vbv {
    /// The property's value.
    pub fn value(&self, kbps: u32, fps: u32) -> i64 {
        let least = LEAST_KBIT / f64::from(kbps.max(1));
        let seconds = (self.frames / f64::from(fps.max(1))).max(self.at_least_s).max(least);
        let value = match self.unit {
            // Rounded down: x264 raises less than a frame to a frame, and has a mode for exactly one.
            Unit::Ms => (seconds * 1000.0).floor(),
            unit => unit.of_kbit(f64::from(kbps) * seconds).ceil(),
        };
        (value as i64).max(1)
    }
}

impl PropertyValue {
    /// As GLib reads it.
    pub fn text(&self, terms: &Terms) -> String {
        match self {
            Self::Literal(text) => text.clone(),
            Self::Fps => terms.fps.to_string(),
            Self::Threads => terms.processors.clamp(1, 4).to_string(),
            Self::HalfThreads => (terms.processors / 2).clamp(1, 4).to_string(),
        }
    }
}

/// Every entry, best first within a codec.
#[derive(Clone, Debug, PartialEq)]
pub struct Catalog {
    /// By codec and file name: the listing order.
    entries: BTreeMap<(Codec, String), Arc<Entry>>,
}

impl Catalog {
    /// What is part of the binary.
    ///
    /// # Errors
    /// Never in a binary whose tests pass: a test parses every file.
    pub fn shipped() -> Result<Self, CatalogError> {
        Self { entries: BTreeMap::new() }.with(SHIPPED.iter().copied())
    }

    /// Adds files, given as path and text. One with the codec and name of an entry here replaces it, and takes
    /// its own place in the order.
    ///
    /// # Errors
    /// The first mistake in the first file that has one.
    pub fn with<'a>(
        mut self,
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, CatalogError> {
        for (path, text) in files {
            let entry = Arc::new(Entry::parse(path, text)?);
            self.entries.retain(|_, old| (old.codec, &old.name) != (entry.codec, &entry.name));
            self.entries.insert((entry.codec, file_name(path).to_owned()), entry);
        }
        Ok(self)
    }

    /// Every entry, codec by codec, best first.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.values()
    }

    /// Entries of one codec, best first.
    pub fn of(&self, codec: Codec) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries().filter(move |entry| entry.codec == codec)
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Codec and name, from `…/<codec>/NN-name.toml`.
fn identity(path: &str) -> Result<(Codec, String), String> {
    const SHAPE: &str = "must be <codec>/NN-name.toml";
    let mut parts = path.rsplit('/');
    let stem = parts.next().and_then(|file| file.strip_suffix(".toml")).ok_or(SHAPE)?;
    let folder = parts.next().ok_or(SHAPE)?;
    let (_, codec) = FOLDERS
        .into_iter()
        .find(|(name, _)| *name == folder)
        .ok_or_else(|| format!("`{folder}` is not a codec (h264, vp8)"))?;
    let (number, name) = stem.split_once('-').ok_or(SHAPE)?;
    let two_digits = number.len() == 2 && number.bytes().all(|b| b.is_ascii_digit());
    if !two_digits || name.is_empty() {
        return Err(SHAPE.to_owned());
    }
    Ok((codec, name.to_owned()))
}

/// What serde cannot see.
fn check(path: &str, text: &str, raw: &RawEntry) -> Result<(), CatalogError> {
    let launch = raw.launch.get_ref();
    let wrong = |offset: usize, message: String| Err(mistake(path, text, offset, message));
    if encoder_in(launch).is_none() {
        return wrong(raw.launch.span().start, "no element has `name=encoder`".to_owned());
    }
    for element in elements_in(launch) {
        if !raw.needs.get_ref().iter().any(|need| need == element) {
            return wrong(raw.needs.span().start, format!("lacks `{element}`, which `launch` uses"));
        }
    }
    if let Some(optional) = &raw.optional
        && let Some(name) = optional.get_ref().iter().find(|name| !mentions(raw, name))
    {
        return wrong(optional.span().start, format!("`{name}` is not a property that this file sets"));
    }
    if let Some(matrix) = &raw.matrix
        && *matrix.get_ref() == Matrix::Bt709
        && PixelFormat::from(raw.format) != PixelFormat::I420
    {
        return wrong(matrix.span().start, "BT.709 can be had with I420 only".to_owned());
    }
    for vbv in &raw.vbv {
        if !(0.1..=1000.0).contains(vbv.frames.get_ref()) {
            return wrong(vbv.frames.span().start, "must be 0.1 to 1000 frames".to_owned());
        }
    }
    if raw.bitrate.unit == Unit::Ms {
        let start = text.find("[bitrate]").unwrap_or(0);
        let offset = text[start..].find("unit").map_or(start, |at| start + at);
        return wrong(offset, "a bitrate is not counted in ms".to_owned());
    }
    Ok(())
}

fn mentions(raw: &RawEntry, name: &str) -> bool {
    raw.properties.contains_key(name)
        || raw.when.iter().any(|when| when.properties.contains_key(name))
        || raw.vbv.iter().any(|vbv| vbv.property == name)
}

fn properties(path: &str, text: &str, raw: &RawProperties) -> Result<Properties, CatalogError> {
    raw.iter()
        .map(|(name, value)| {
            let read = property(value.get_ref())
                .map_err(|message| mistake(path, text, value.span().start, message))?;
            Ok((name.clone(), read))
        })
        .collect()
}

fn property(raw: &RawValue) -> Result<PropertyValue, String> {
    Ok(match raw {
        RawValue::Bool(value) => PropertyValue::Literal(value.to_string()),
        RawValue::Int(value) => PropertyValue::Literal(value.to_string()),
        RawValue::Float(value) => PropertyValue::Literal(value.to_string()),
        RawValue::Text(text) => match text.as_str() {
            "{fps}" => PropertyValue::Fps,
            "{threads}" => PropertyValue::Threads,
            "{half-threads}" => PropertyValue::HalfThreads,
            braced if braced.starts_with('{') => {
                return Err(format!("`{braced}` is not one of {{fps}}, {{threads}}, {{half-threads}}"));
            }
            literal => PropertyValue::Literal(literal.to_owned()),
        },
    })
}

/// Factory names of a launch line: the first word of each part that is not caps.
fn elements_in(launch: &str) -> impl Iterator<Item = &str> {
    launch.split('!').filter_map(|part| part.split_whitespace().next()).filter(|word| !word.contains('/'))
}

fn encoder_in(launch: &str) -> Option<&str> {
    let part = launch.split('!').find(|part| part.split_whitespace().any(|word| word == "name=encoder"))?;
    part.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
needs = ["fooenc"]
format = "NV12"
launch = "fooenc name=encoder ! video/x-h264,profile=constrained-baseline"
abilities = ["set-bitrate", "force-idr"]
optional = ["cabac"]
[properties]
cabac = false
gop = -1
threads = "{threads}"
[[when]]
gstreamer = "1.24..1.26"
properties = { tune = "fast", gop = 7 }
[bitrate]
property = "bitrate"
unit = "kibit"
budget = "caps"
[[vbv]]
property = "vbv"
unit = "ms"
frames = 1.5
[idr]
event = "1.24.4.."
otherwise = { gop = "{fps}" }
"#;

    fn entry() -> Entry {
        Entry::parse("x/h264/50-foo.toml", GOOD).unwrap()
    }

    fn mistake_in(from: &str, to: &str) -> CatalogError {
        assert!(GOOD.contains(from), "{from}");
        Entry::parse("x/h264/50-foo.toml", &GOOD.replacen(from, to, 1)).unwrap_err()
    }

    #[test]
    fn every_shipped_file_is_listed_and_parses() {
        let catalog = Catalog::shipped().unwrap();
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/gst-pipelines");
        let mut on_disk = Vec::new();
        for (folder, _) in FOLDERS {
            for file in std::fs::read_dir(format!("{root}/{folder}")).unwrap() {
                on_disk.push(format!("{folder}/{}", file.unwrap().file_name().to_str().unwrap()));
            }
        }
        on_disk.sort();
        assert_eq!(on_disk, SHIPPED.iter().map(|(path, _)| (*path).to_owned()).collect::<Vec<_>>());
        assert_eq!(catalog.entries().count(), SHIPPED.len());
    }

    #[test]
    fn properties_depend_on_the_version() {
        let gop = |version| entry().properties(version)["gop"].clone();
        assert_eq!(gop(Version(1, 22, 0)), PropertyValue::Fps);
        assert_eq!(gop(Version(1, 25, 0)), PropertyValue::Literal("7".to_owned()));
        assert_eq!(gop(Version(1, 26, 0)), PropertyValue::Literal("-1".to_owned()));
        assert!(!entry().properties(Version(1, 26, 0)).contains_key("tune"));
        assert!(!entry().can(Ability::ForceIdr, Version(1, 22, 9)));
        assert!(entry().can(Ability::ForceIdr, Version(1, 24, 4)));
    }

    #[test]
    fn bitrate_is_scaled_from_the_frame_rate_in_the_caps_to_the_real_one() {
        assert_eq!(entry().bitrate_value(1024, 60, 60.0), 1000);
        assert_eq!(entry().bitrate_value(1024, 60, 30.0), 2000);
        assert_eq!(entry().vbv[0].value(8000, 60), 25);
    }

    #[test]
    fn mistakes_name_file_line_and_field() {
        let cases = [
            (mistake_in("needs =", "neds ="), 2, "neds"),
            (mistake_in("\"NV12\"", "\"NV21\""), 3, "format"),
            (mistake_in("\"NV12\"", "\"NV12\"\nmatrix = \"BT.709\""), 4, "matrix"),
            (mistake_in("fooenc name", "barenc name"), 2, "needs"),
            (mistake_in("name=encoder", "name=x"), 4, "launch"),
            (mistake_in("\"force-idr\"", "\"fly\""), 5, "abilities"),
            (mistake_in("[\"cabac\"]", "[\"cabbage\"]"), 6, "optional"),
            (mistake_in("{threads}", "{cores}"), 10, "properties.threads"),
            (mistake_in("1.24..1.26", "1.24-1.26"), 12, "when.gstreamer"),
            (mistake_in("property = \"bitrate\"\n", ""), 14, "bitrate.property"),
            (mistake_in("kibit", "ms"), 16, "bitrate.unit"),
            (mistake_in("frames = 1.5", "frames = \"many\""), 21, "vbv.frames"),
            (mistake_in("frames = 1.5", "frames = 0"), 21, "vbv.frames"),
            (mistake_in("event = \"1.24.4..\"", "event = 3"), 23, "idr.event"),
        ];
        for (error, line, field) in cases {
            assert_eq!((error.line, error.field.as_str()), (line, field), "{error}");
            assert!(error.to_string().starts_with("x/h264/50-foo.toml, line "), "{error}");
        }
        let name = Entry::parse("h264/foo.toml", GOOD).unwrap_err();
        assert_eq!((name.file.as_str(), name.field.as_str()), ("h264/foo.toml", "file name"));
    }

    #[test]
    fn files_replace_by_name_and_sort_by_number() {
        let mine = Catalog::shipped().unwrap().with([("h264/05-x264.toml", GOOD)]).unwrap();
        let names: Vec<_> = mine.of(Codec::H264).map(|entry| entry.name.as_str()).collect();
        assert_eq!((names[0], names.iter().filter(|name| **name == "x264").count()), ("x264", 1));
    }
}
