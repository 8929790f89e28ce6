//! PURE. How a pipeline file is written: what serde reads, and where in the file a mistake is.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::catalog::{Ability, Budget, CatalogError, Matrix, Unit};
use super::version::VersionRange;
use crate::frame::PixelFormat;

/// One file, as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawEntry {
    #[serde(default)]
    pub(super) aliases: Vec<String>,
    #[serde(default)]
    pub(super) hardware: bool,
    #[serde(default)]
    pub(super) gstreamer: VersionRange,
    pub(super) needs: Spanned<Vec<String>>,
    pub(super) format: RawFormat,
    pub(super) matrix: Option<Spanned<Matrix>>,
    pub(super) launch: Spanned<String>,
    pub(super) abilities: Vec<Ability>,
    pub(super) optional: Option<Spanned<Vec<String>>>,
    #[serde(default)]
    pub(super) properties: RawProperties,
    #[serde(default)]
    pub(super) when: Vec<RawWhen>,
    pub(super) bitrate: RawBitrate,
    #[serde(default)]
    pub(super) vbv: Vec<RawVbv>,
    pub(super) idr: RawIdr,
}

/// Element properties, as written.
pub(super) type RawProperties = BTreeMap<String, Spanned<RawValue>>;

#[derive(Clone, Copy, Deserialize)]
pub(super) enum RawFormat {
    #[serde(rename = "NV12")]
    Nv12,
    I420,
}

impl From<RawFormat> for PixelFormat {
    fn from(raw: RawFormat) -> Self {
        match raw {
            RawFormat::Nv12 => Self::Nv12,
            RawFormat::I420 => Self::I420,
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum RawValue {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawWhen {
    pub(super) gstreamer: VersionRange,
    pub(super) properties: RawProperties,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawBitrate {
    pub(super) property: String,
    pub(super) unit: Unit,
    pub(super) budget: Budget,
    #[serde(default)]
    pub(super) costs_idr: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawVbv {
    pub(super) property: String,
    pub(super) unit: Unit,
    pub(super) frames: Spanned<f64>,
    #[serde(default)]
    pub(super) at_least_s: f64,
    #[serde(default)]
    pub(super) live: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawIdr {
    pub(super) event: VersionRange,
    #[serde(default)]
    pub(super) otherwise: RawProperties,
}

/// A mistake at a byte offset of a file.
pub(super) fn mistake(path: &str, text: &str, offset: usize, message: impl Into<String>) -> CatalogError {
    let message = message.into();
    let (line, written) = locate(text, offset);
    let field = missing_field(&message)
        .map(|name| join(table_above(text, line), name))
        .unwrap_or_else(|| field_on(text, line, written));
    CatalogError { file: path.to_owned(), line, field, message }
}

/// What serde found wrong.
pub(super) fn from_toml(path: &str, text: &str, error: &toml::de::Error) -> CatalogError {
    let offset = error.span().map_or(0, |span| span.start);
    mistake(path, text, offset, error.message().trim().replace('\n', " "))
}

/// Line number (from 1) and content of the line that holds `offset`.
fn locate(text: &str, offset: usize) -> (usize, &str) {
    let mut start = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if offset < start + line.len() {
            return (index + 1, line.trim_end());
        }
        start += line.len();
    }
    (text.lines().count().max(1), text.lines().last().unwrap_or(""))
}

/// serde points at the table, not at the line where a missing field would stand.
fn missing_field(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.strip_suffix('`')
}

fn field_on(text: &str, line: usize, written: &str) -> String {
    match written.split_once('=') {
        Some((key, _)) => join(table_above(text, line), key.trim().trim_matches('"')),
        None => written.trim().trim_matches(['[', ']']).to_owned(),
    }
}

/// Name of the table that line `line` (from 1) belongs to; empty at the top of the file.
fn table_above(text: &str, line: usize) -> &str {
    let above = text.lines().take(line).filter(|l| l.trim_start().starts_with('['));
    above.last().map_or("", |l| l.split('#').next().unwrap_or("").trim().trim_matches(['[', ']']))
}

fn join(table: &str, key: &str) -> String {
    if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a = 1\n\n[bitrate] # how\nunit = \"x\"\n[[vbv]]\nframes = 1\n";

    fn at(needle: &str) -> CatalogError {
        mistake("f", TEXT, TEXT.find(needle).unwrap(), "m")
    }

    #[test]
    fn a_mistake_names_line_and_dotted_field() {
        assert_eq!((at("1\n").line, at("a =").field), (1, "a".to_owned()));
        assert_eq!((at("unit").line, at("\"x\"").field), (4, "bitrate.unit".to_owned()));
        assert_eq!((at("frames").line, at("frames").field), (6, "vbv.frames".to_owned()));
    }

    #[test]
    fn a_missing_field_is_named_with_its_table() {
        let error = mistake("f", TEXT, TEXT.find("[bitrate]").unwrap(), "missing field `property`");
        assert_eq!((error.line, error.field.as_str()), (3, "bitrate.property"));
    }

    #[test]
    fn an_offset_past_the_end_is_the_last_line() {
        assert_eq!(mistake("f", TEXT, 9_999, "m").line, 6);
        assert_eq!(mistake("f", "", 0, "m").line, 1);
    }
}
