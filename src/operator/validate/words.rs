//! PURE. The shapes of single fields, and what is said of those that have another.

use std::fmt::{Debug, Display};

use crate::crd::{IntOrText, Quantity, Timeout};

/// Most processors of a container.
const MOST_CPU: u32 = 1024;
/// Fewest mebibytes of memory: `memory: 4` is four bytes, and meant `4Gi`.
const LEAST_MEMORY: u32 = 32;
/// Ten years, in seconds: as the CRD has it.
const MOST_SECONDS: i64 = 315_360_000;

/// Says that `field` holds `value` where `expected` should be.
pub(super) fn wrong(field: impl Display, value: impl Debug, expected: impl Display) -> String {
    format!("{field} is {value:?}: {expected}")
}

/// As much as fits, for texts that strangers wrote: a condition is read by people.
pub(super) fn short(text: &str) -> String {
    const MOST: usize = 80;
    if text.chars().count() <= MOST {
        text.to_owned()
    } else {
        text.chars().take(MOST).chain(['…']).collect()
    }
}

pub(super) fn cpu(field: &str, value: &IntOrText) -> Result<Quantity, String> {
    let text = value.to_string();
    let expected =
        format!("processors such as 2, \"1.5\" or 500m are expected, more than 0 and at most {MOST_CPU}");
    let number = text.strip_suffix('m').filter(|n| !n.contains('.')).unwrap_or(&text);
    let shape = number.bytes().all(|b| b.is_ascii_digit() || b == b'.') && !number.starts_with('.');
    let parsed = text.parse::<Quantity>().ok().filter(|q| shape && !q.is_zero());
    parsed.filter(|q| *q <= Quantity::units(MOST_CPU)).ok_or_else(|| wrong(field, short(&text), expected))
}

/// Suffixes of sizes that people mean.
fn has_size_suffix(text: &str) -> bool {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let suffix = text.strip_prefix(number).unwrap_or_default();
    number.starts_with(|c: char| c.is_ascii_digit())
        && matches!(suffix, "" | "k" | "Ki" | "M" | "Mi" | "G" | "Gi" | "T" | "Ti")
}

pub(super) fn memory(field: &str, text: &str) -> Result<Quantity, String> {
    let parsed = text.parse::<Quantity>().ok().filter(|_| has_size_suffix(text));
    parsed.filter(|q| *q >= Quantity::mebibytes(LEAST_MEMORY)).ok_or_else(|| {
        wrong(
            field,
            short(text),
            format!("memory such as 4Gi or 512Mi is expected, at least {LEAST_MEMORY}Mi"),
        )
    })
}

pub(super) fn size(field: &str, text: &str) -> Result<Quantity, String> {
    let parsed = text.parse::<Quantity>().ok().filter(|_| has_size_suffix(text) && !text.contains('.'));
    parsed
        .filter(|q| !q.is_zero())
        .ok_or_else(|| wrong(field, short(text), "a size such as 10Gi is expected, more than 0"))
}

pub(super) fn quantity(field: &str, text: &str) -> Result<Quantity, String> {
    text.parse().map_err(|_| wrong(field, short(text), "a quantity such as 500m, 2 or 4Gi is expected"))
}

pub(super) fn timeout(field: &str, value: &IntOrText) -> Result<Timeout, String> {
    let expected = "a time such as 8h, 90m or 1h30m is expected, at most 3650d, or 0 for never";
    match value {
        IntOrText::Int(seconds) if (0..=MOST_SECONDS).contains(seconds) => {
            Ok(Timeout::seconds(seconds.unsigned_abs()))
        }
        IntOrText::Int(seconds) => Err(wrong(field, seconds, expected)),
        // A bare number in quotes may be seconds or minutes: the CRD refuses it too.
        IntOrText::Text(text) if text != "0" && text.bytes().all(|b| b.is_ascii_digit()) => {
            Err(wrong(field, short(text), expected))
        }
        IntOrText::Text(text) => text.parse().map_err(|_| wrong(field, short(text), expected)),
    }
}

/// A name of Kubernetes' (RFC 1123 §2.1): one label, or several with dots between them.
pub(super) fn is_name(text: &str, most: usize, dots: bool) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let label = |l: &str| !l.is_empty() && l.bytes().all(inner) && !l.starts_with('-') && !l.ends_with('-');
    text.len() <= most && if dots { text.split('.').all(label) } else { label(text) }
}

pub(super) fn storage_class(field: &str, name: &str) -> Result<String, String> {
    if is_name(name, 253, true) {
        Ok(name.to_owned())
    } else {
        Err(wrong(field, short(name), "the name of a StorageClass is expected"))
    }
}

/// Neither empty nor with blanks or control characters in it.
pub(super) fn is_word(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}
