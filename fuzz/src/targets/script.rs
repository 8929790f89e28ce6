//! Several things one after the other, written down as bytes: `u8 what | u8 who | u16 length | bytes`. What is cut off
//! counts as it is, so that every input is a script.

/// Steps of one script that are taken: more find nothing that fewer do not.
const MAX_STEPS: usize = 128;

/// One thing that happens.
pub struct Step<'a> {
    /// What.
    pub what: u8,
    /// To whom, or from whom.
    pub who: u8,
    /// With what.
    pub bytes: &'a [u8],
}

impl Step<'_> {
    /// The first two bytes as a number: how long something takes.
    pub fn number(&self) -> u16 {
        self.bytes.first_chunk().map_or(0, |number| u16::from_be_bytes(*number))
    }
}

/// The steps of a script.
pub fn steps(mut script: &[u8]) -> impl Iterator<Item = Step<'_>> {
    std::iter::from_fn(move || {
        let (&[what, who, high, low], rest) = script.split_first_chunk()?;
        let (bytes, rest) = rest.split_at(usize::from(u16::from_be_bytes([high, low])).min(rest.len()));
        script = rest;
        Some(Step { what, who, bytes })
    })
    .take(MAX_STEPS)
}
