//! PURE. A viewer's RTCP: how much it may ask for, and what of it the gateway acts on. One datagram has room for
//! thousands of retransmissions, and reports of thousands of packets.

use std::collections::VecDeque;
use std::time::Instant;

use rtc::interceptor::{Attribute, Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::rtcp;
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::{NackPair, TransportLayerNack};
use rtc::sansio::Protocol;
use rtc::shared::error::Error;

use crate::session::Bucket;

/// Packets sent again, a second and at once: more than half of 8 Mbit/s.
const RETRANSMISSIONS: (u32, u32) = (500, 500);
/// Reports of arrival, a second and at once. Browsers send twenty.
const REPORTS: (u32, u32) = (100, 50);

/// See the module.
pub struct RtcpGuard {
    video: u32,
    retransmissions: Bucket,
    reports: Bucket,
    read: VecDeque<TaggedPacket>,
    write: VecDeque<TaggedPacket>,
}

impl RtcpGuard {
    /// With full budgets; `video` is the SSRC of what is sent.
    pub fn new(video: u32, now: Instant) -> Self {
        let bucket = |(rate, burst)| Bucket::new(rate, burst, now);
        Self {
            video,
            retransmissions: bucket(RETRANSMISSIONS),
            reports: bucket(REPORTS),
            read: VecDeque::new(),
            write: VecDeque::new(),
        }
    }

    /// What of a packet may pass: nothing of what nobody acts on.
    fn admit(&mut self, packet: Box<dyn rtcp::Packet>, now: Instant) -> Option<Box<dyn rtcp::Packet>> {
        if let Some(report) = packet.as_any().downcast_ref::<TransportLayerCc>() {
            // Browsers name the SSRC of the packet that came last. If that was a retransmission, `rtc` takes the report,
            // and all that came with it, for somebody else's.
            let report = TransportLayerCc { media_ssrc: self.video, ..report.clone() };
            return self.reports.take(now).then(|| -> Box<dyn rtcp::Packet> { Box::new(report) });
        }
        let Some(nack) = packet.as_any().downcast_ref::<TransportLayerNack>() else {
            let asks =
                packet.as_any().is::<PictureLossIndication>() || packet.as_any().is::<FullIntraRequest>();
            return asks.then_some(packet);
        };
        let mut grants =
            |pair: &NackPair| (0..=pair.lost_packets.count_ones()).all(|_| self.retransmissions.take(now));
        let nacks: Vec<NackPair> = nack.nacks.iter().take_while(|pair| grants(pair)).copied().collect();
        let (sender_ssrc, media_ssrc) = (nack.sender_ssrc, nack.media_ssrc);
        (!nacks.is_empty()).then(|| {
            let admitted: Box<dyn rtcp::Packet> =
                Box::new(TransportLayerNack { sender_ssrc, media_ssrc, nacks });
            admitted
        })
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for RtcpGuard {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, mut msg: TaggedPacket) -> Result<(), Error> {
        let now = msg.now;
        if let Packet::Rtcp(packets) = &mut msg.message.packet {
            *packets = std::mem::take(packets).into_iter().filter_map(|p| self.admit(p, now)).collect();
            if packets.is_empty() {
                return Ok(());
            }
            // Else `rtc` keeps it to itself.
            msg.message.add(Attribute::DeliverToApplication);
        }
        self.read.push_back(msg);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.read.pop_front()
    }

    fn handle_write(&mut self, msg: TaggedPacket) -> Result<(), Error> {
        self.write.push_back(msg);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.write.pop_front()
    }

    fn handle_timeout(&mut self, _now: Instant) -> Result<(), Error> {
        Ok(())
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        None
    }
}

impl Interceptor for RtcpGuard {
    fn bind_local_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _info: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn asked(packet: Option<Box<dyn rtcp::Packet>>) -> usize {
        let nacks = packet.map(|p| p.as_any().downcast_ref::<TransportLayerNack>().unwrap().nacks.clone());
        nacks.into_iter().flatten().map(|pair| 1 + pair.lost_packets.count_ones() as usize).sum()
    }

    #[test]
    fn retransmissions_and_reports_have_budgets_and_the_rest_passes() {
        let start = Instant::now();
        let mut guard = RtcpGuard::new(2, start);
        let nack = |pairs: usize| {
            let nacks = vec![NackPair { packet_id: 1, lost_packets: 0xffff }; pairs];
            Box::new(TransportLayerNack { sender_ssrc: 1, media_ssrc: 2, nacks })
        };
        assert_eq!(asked(guard.admit(nack(2), start)), 34);
        let granted: usize = (0..100).map(|_| asked(guard.admit(nack(250), start))).sum();
        assert!(granted <= 500, "{granted}");
        assert!(guard.admit(nack(1), start).is_none());
        assert_eq!(asked(guard.admit(nack(1), start + Duration::from_secs(1))), 17);

        let report = || Box::new(TransportLayerCc::default());
        assert_eq!((0..1_000).filter(|_| guard.admit(report(), start).is_some()).count(), 50);
        assert!(guard.admit(Box::new(PictureLossIndication::default()), start).is_some());
        let nobodys = rtcp::receiver_report::ReceiverReport::default();
        assert!(guard.admit(Box::new(nobodys), start).is_none());
    }
}
