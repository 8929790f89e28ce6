//! PURE. What a viewer says of the arrival of packets: transport-wide congestion control feedback
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).

use rtc::rtcp::transport_feedbacks::transport_layer_cc::{
    PacketStatusChunk, SymbolTypeTcc, TransportLayerCc,
};

/// Unit of the reference time, in microseconds.
const REFERENCE_US: i64 = 64_000;
/// Packets that one report is believed to cover: half a second at 20 Mbit/s. Chunks could claim 65535.
const MAX_PACKETS: usize = 1_024;

/// Which packets of a report have arrived, and when by the viewer's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrivals {
    /// Transport-wide number of the first packet that the report covers.
    pub first: u16,
    /// Microseconds of the viewer's clock, for each packet from the first on; nothing for one that has not arrived.
    pub times: Vec<Option<i64>>,
}

impl From<&TransportLayerCc> for Arrivals {
    fn from(report: &TransportLayerCc) -> Self {
        let mut clock = i64::from(report.reference_time) * REFERENCE_US;
        let mut deltas = report.recv_deltas.iter();
        let covered = usize::from(report.packet_status_count).min(MAX_PACKETS);
        let symbols = report.packet_chunks.iter().flat_map(symbols);
        let times = symbols.take(covered).map(|symbol| {
            let received = matches!(
                symbol,
                SymbolTypeTcc::PacketReceivedSmallDelta | SymbolTypeTcc::PacketReceivedLargeDelta
            );
            let delta = received.then(|| deltas.next()).flatten()?;
            clock += delta.delta;
            Some(clock)
        });
        Self { first: report.base_sequence_number, times: times.collect() }
    }
}

fn symbols(chunk: &PacketStatusChunk) -> Box<dyn Iterator<Item = SymbolTypeTcc> + '_> {
    match chunk {
        PacketStatusChunk::RunLengthChunk(run) => {
            Box::new(std::iter::repeat_n(run.packet_status_symbol, usize::from(run.run_length)))
        }
        PacketStatusChunk::StatusVectorChunk(vector) => Box::new(vector.symbol_list.iter().copied()),
    }
}

#[cfg(test)]
mod tests {
    use rtc::rtcp::transport_feedbacks::transport_layer_cc::{
        RecvDelta, RunLengthChunk, StatusChunkTypeTcc, StatusVectorChunk, SymbolSizeTypeTcc,
    };

    use super::*;

    const SMALL: SymbolTypeTcc = SymbolTypeTcc::PacketReceivedSmallDelta;
    const LOST: SymbolTypeTcc = SymbolTypeTcc::PacketNotReceived;

    fn run(symbol: SymbolTypeTcc, length: u16) -> PacketStatusChunk {
        PacketStatusChunk::RunLengthChunk(RunLengthChunk {
            type_tcc: StatusChunkTypeTcc::RunLengthChunk,
            packet_status_symbol: symbol,
            run_length: length,
        })
    }

    fn report(count: u16, chunks: Vec<PacketStatusChunk>, deltas: &[i64]) -> Arrivals {
        let recv_deltas = deltas.iter().map(|&delta| RecvDelta { type_tcc_packet: SMALL, delta }).collect();
        Arrivals::from(&TransportLayerCc {
            base_sequence_number: 65_535,
            packet_status_count: count,
            reference_time: 2,
            packet_chunks: chunks,
            recv_deltas,
            ..Default::default()
        })
    }

    #[test]
    fn runs_and_vectors_are_walked_with_their_deltas() {
        let vector = PacketStatusChunk::StatusVectorChunk(StatusVectorChunk {
            type_tcc: StatusChunkTypeTcc::StatusVectorChunk,
            symbol_size: SymbolSizeTypeTcc::OneBit,
            symbol_list: vec![LOST, SMALL, LOST, LOST],
        });
        let arrivals = report(5, vec![run(SMALL, 2), vector], &[1_000, 250, 500]);
        assert_eq!(arrivals.first, 65_535);
        assert_eq!(arrivals.times, [Some(129_000), Some(129_250), None, Some(129_750), None]);
    }

    #[test]
    fn what_cannot_be_is_cut_off() {
        assert_eq!(
            report(3, vec![run(SMALL, 3)], &[250]).times,
            [Some(128_250), None, None],
            "no deltas left"
        );
        assert_eq!(report(u16::MAX, vec![run(LOST, 8_191); 8], &[]).times.len(), MAX_PACKETS);
        assert!(report(0, vec![run(SMALL, 9)], &[]).times.is_empty());
    }
}
