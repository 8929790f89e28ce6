//! What a viewer says of arrivals, from its RTCP to the bitrate that follows.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use deskgate::transport::congestion::Congestion;
use deskgate::transport::feedback::Arrivals;
use deskgate::transport::ledger::{Ledger, Sent};
use rtc::rtcp::packet::unmarshal;
use rtc::rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;

use super::script;

/// More cannot be carried by what this gateway runs on, in kbit/s.
const MOST: u32 = 400_000_000;

/// Each step: so many packets are sent, so many tens of milliseconds pass, this RTCP packet comes.
pub fn run(data: &[u8]) {
    let mut now = Instant::now();
    let (mut ledger, mut congestion) = (Ledger::default(), Congestion::new(now));
    let mut number: u16 = 0;
    for step in script::steps(data) {
        for _ in 0..step.what {
            ledger.record(Sent { number: Some(number), size: 1_200, at: now, retransmission: false });
            number = number.wrapping_add(1);
        }
        now += Duration::from_millis(10 * u64::from(step.who));
        for arrivals in reports(step.bytes) {
            assert!(arrivals.times.len() <= 1_024);
            let heard = ledger.arrivals(&arrivals);
            assert!(heard.len() <= arrivals.times.len());
            congestion.handle(&heard, now);
            let limit = congestion.limit_kbps();
            assert!(limit.is_none_or(|limit| (250..MOST).contains(&limit)), "{limit:?}");
            let _ = congestion.news();
        }
    }
}

/// `rtc` reads RTCP behind `Mux::with_peer`, which outlives its panics.
fn reports(bytes: &[u8]) -> Vec<Arrivals> {
    let mut rest = bytes;
    let packets = catch_unwind(AssertUnwindSafe(|| unmarshal(&mut rest)));
    let Ok(Ok(packets)) = packets else { return Vec::new() };
    let reports = packets.iter().filter_map(|packet| packet.as_any().downcast_ref::<TransportLayerCc>());
    reports.map(Arrivals::from).collect()
}
