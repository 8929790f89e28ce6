//! H.264 byte streams: NAL units lie where ITU-T H.264 Annex B says.

use deskgate::media::annexb::{IDR, has_idr, nal_types, nal_units};

const START: [u8; 3] = [0, 0, 1];

pub fn run(data: &[u8]) {
    let units: Vec<&[u8]> = nal_units(data).collect();
    assert!(units.iter().all(|unit| !unit.is_empty() && !unit.windows(3).any(|bytes| bytes == START)));
    assert_eq!(units, expected(data));
    assert_eq!(nal_types(data).any(|kind| kind == IDR), has_idr(data));
    let written: Vec<u8> = units.iter().flat_map(|unit| START.iter().chain(*unit)).copied().collect();
    assert_eq!(nal_units(&written).collect::<Vec<_>>(), units, "written and read again");
}

/// The same, byte by byte.
fn expected(data: &[u8]) -> Vec<&[u8]> {
    let starts: Vec<usize> = (0..data.len()).filter(|at| data[*at..].starts_with(&START)).collect();
    let ends = starts.iter().skip(1).copied().chain([data.len()]);
    let units = starts.iter().zip(ends).map(|(start, end)| &data[start + 3..end]);
    let end = |unit: &[u8]| (0..unit.len()).rev().find(|at| unit[*at] != 0).map_or(0, |last| last + 1);
    units.map(|unit| &unit[..end(unit)]).filter(|unit| !unit.is_empty()).collect()
}
