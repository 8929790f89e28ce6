//! PURE. What an H.264 byte stream holds, as far as we need to know.

/// NAL unit type of a picture that a decoder can start from.
pub const IDR: u8 = 5;
/// NAL unit type of a sequence parameter set.
pub const SPS: u8 = 7;
/// NAL unit type of a picture parameter set.
pub const PPS: u8 = 8;

/// NAL units of an access unit in byte-stream format (Annex B), start codes left out.
pub fn nal_units(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(data);
    std::iter::from_fn(move || {
        let unit = rest?;
        let end = unit.windows(3).position(|w| w == [0, 0, 1]).unwrap_or(unit.len());
        rest = after_start_code(&unit[end..]);
        // A unit ends with a stop bit: zeros before the next start code belong to nobody (H.264 §B.1.1).
        let end = unit[..end].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Some(&unit[..end])
    })
    .filter(|unit| !unit.is_empty())
}

/// Types of those units, in order.
pub fn nal_types(data: &[u8]) -> impl Iterator<Item = u8> {
    nal_units(data).filter_map(|unit| unit.first()).map(|header| header & 0x1f)
}

/// Does the access unit hold an IDR picture?
pub fn has_idr(data: &[u8]) -> bool {
    nal_types(data).any(|kind| kind == IDR)
}

fn after_start_code(data: &[u8]) -> Option<&[u8]> {
    data.windows(3).position(|w| w == [0, 0, 1]).map(|at| &data[at + 3..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_split_at_long_and_short_start_codes() {
        let data = [0, 0, 0, 1, 0x67, 1, 2, 0, 0, 0, 1, 0x68, 3, 0, 0, 0, 0, 1, 0x65, 4, 5];
        let units: Vec<&[u8]> = nal_units(&data).collect();
        assert_eq!(units, [&[0x67, 1, 2][..], &[0x68, 3], &[0x65, 4, 5]]);
        assert_eq!(nal_types(&data).collect::<Vec<_>>(), [SPS, PPS, IDR]);
        assert!(has_idr(&data) && !has_idr(&data[..14]));
    }

    #[test]
    fn what_is_no_byte_stream_holds_nothing() {
        for data in [&[][..], &[0], &[0, 0], &[0, 0, 1], &[0, 0, 0, 1], &[9, 9, 9, 9]] {
            assert_eq!(nal_types(data).count(), 0, "{data:?}");
        }
    }
}
