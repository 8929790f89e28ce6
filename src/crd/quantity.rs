//! PURE. Quantities of Kubernetes, to compare and to add: `500m`, `4Gi`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A quantity in thousandths of its unit; keeps the text that it was written as.
#[derive(Clone, Debug)]
pub struct Quantity {
    text: String,
    milli: i128,
}

/// Why a text is no quantity.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not a quantity such as 500m, 2 or 4Gi")]
pub struct QuantityError(pub String);

/// Suffixes of `resource.Quantity`, with what they multiply thousandths by.
const SUFFIXES: [(&str, i128); 14] = [
    ("Ki", 1000 << 10),
    ("Mi", 1000 << 20),
    ("Gi", 1000 << 30),
    ("Ti", 1000 << 40),
    ("Pi", 1000 << 50),
    ("Ei", 1000 << 60),
    ("m", 1),
    ("k", 1_000_000),
    ("M", 1_000_000_000),
    ("G", 1_000_000_000_000),
    ("T", 1_000_000_000_000_000),
    ("P", 1_000_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000_000),
    ("", 1000),
];

impl Quantity {
    /// So many whole units.
    pub fn units(number: u32) -> Self {
        Self { text: number.to_string(), milli: i128::from(number) * 1000 }
    }

    /// So many mebibytes, written as gibibytes where that is a whole number.
    pub fn mebibytes(number: u32) -> Self {
        let text = match number {
            n if n > 0 && n % 1024 == 0 => format!("{}Gi", n / 1024),
            n => format!("{n}Mi"),
        };
        Self { text, milli: i128::from(number) * (1000 << 20) }
    }

    /// Whole mebibytes, rounded down; more than a `u32` holds is as much as it holds.
    pub fn as_mebibytes(&self) -> u32 {
        u32::try_from(self.milli / (1000 << 20)).unwrap_or(u32::MAX)
    }

    /// The value in thousandths: 1 500 for `1500m` and for `1.5`.
    pub const fn milli(&self) -> i128 {
        self.milli
    }

    /// True for `0`, `0m`, `0Gi`.
    pub const fn is_zero(&self) -> bool {
        self.milli == 0
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let wrong = || QuantityError(text.to_owned());
        let (number, factor) = SUFFIXES
            .iter()
            .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)))
            .ok_or_else(wrong)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = |t: &str, most: usize| t.len() <= most && t.bytes().all(|b| b.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !digits(whole, 15) || !digits(fraction, 3) {
            return Err(wrong());
        }
        let thousandths: i128 = format!("0{whole}{fraction:0<3}").parse().map_err(|_| wrong())?;
        // Rounded up, as Kubernetes does with what is finer than its scale.
        let milli = (thousandths * factor + 999) / 1000;
        Ok(Self { text: text.to_owned(), milli })
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.milli == other.milli
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.milli.cmp(&other.milli)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
