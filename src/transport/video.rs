//! PURE. One viewer's video on its way out: RTP headers (RFC 3550), retransmissions (RFC 4588), SRTP (RFC 3711).
//!
//! `rtc` would do all this too, but each of its packets walks every handler and interceptor, several times: ten times
//! the cost of what is here. It keeps everything else: ICE, DTLS, data channels, RTCP.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use rtc::crypto::CryptoError;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;

use super::repair::{Repair, RepairWay, Repairs};
use super::srtp::Srtp;
use crate::turn::CHANNEL_HEADER;

/// Left free before each packet, for what our TURN server puts there.
pub const ROOM: usize = CHANNEL_HEADER;
/// Added to a packet by encryption, at most.
const TAG: usize = 16;
/// Packets kept for retransmission: a second of 8 Mbit/s.
const HISTORY: usize = 1_024;
/// Header extensions of one byte (RFC 8285 §4.2).
const ONE_BYTE: u16 = 0xBEDE;

type Sealed<T> = Result<T, CryptoError>;

/// What was negotiated for the video.
#[derive(Clone, Copy, Debug)]
pub struct Negotiated {
    /// SSRC of the video.
    pub ssrc: u32,
    /// Its payload type.
    pub payload_type: u8,
    /// SSRC and payload type of retransmissions; without, packets are sent again as they were.
    pub rtx: Option<(u32, u8)>,
    /// The playout-delay extension.
    pub playout_delay: Option<ExtensionId>,
    /// The transport-wide sequence number.
    pub transport_cc: Option<ExtensionId>,
}

/// Id of a header extension in its one-byte form (RFC 8285 §4.2): 1 to 14. One that was negotiated under another id is
/// not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtensionId(u8);

impl ExtensionId {
    /// Nothing for an id that takes the two-byte form.
    pub fn new(id: u16) -> Option<Self> {
        u8::try_from(id).ok().filter(|id| (1..=14).contains(id)).map(Self)
    }
}

/// One SRTP packet.
#[derive(Clone, Debug)]
pub struct MediaPacket {
    /// As it leaves, after [`ROOM`].
    pub contents: BytesMut,
    /// Its transport-wide sequence number, if it has one.
    pub number: Option<u16>,
    /// True if its payload was sent before.
    pub retransmission: bool,
}

/// A packet as it was sent, but for its encryption. The payload is shared by all viewers.
#[derive(Clone)]
struct Kept {
    timestamp: u32,
    marker: bool,
    number: u16,
    payload: Bytes,
    /// When it was last sent again.
    again_at: Option<Instant>,
}

/// What is done about packets that a viewer misses.
#[derive(Debug, Default)]
pub struct Resent {
    /// What is sent again.
    pub packets: Vec<MediaPacket>,
    /// True if some of them are not: nothing but a key frame helps.
    pub refused: bool,
}

/// See the module.
pub struct Video {
    srtp: Srtp,
    negotiated: Negotiated,
    /// Number of the next packet, continued past 16 bits, as SRTP counts; and that of the next retransmission.
    next: u64,
    next_again: u64,
    /// Transport-wide number of the next packet.
    number: u16,
    /// The first packet of the last key frame: nothing before it is needed any more.
    start: u64,
    /// The last packets, up to the one before `next`.
    kept: VecDeque<Kept>,
    packets: u32,
    octets: u32,
}

impl Video {
    /// Nothing sent yet; `sequence` is the first packet's number.
    pub(super) fn new(srtp: Srtp, negotiated: Negotiated, sequence: u16) -> Self {
        Self {
            srtp,
            negotiated,
            next: sequence.into(),
            next_again: sequence.into(),
            start: sequence.into(),
            number: 0,
            kept: VecDeque::new(),
            packets: 0,
            octets: 0,
        }
    }

    /// What follows is a key frame.
    pub fn begin_keyframe(&mut self) {
        self.start = self.next;
    }

    /// Makes the next packet.
    ///
    /// # Errors
    /// The cryptographic provider's.
    pub fn send(&mut self, timestamp: u32, marker: bool, payload: &Bytes) -> Sealed<MediaPacket> {
        let kept =
            Kept { timestamp, marker, number: self.next_number(), payload: payload.clone(), again_at: None };
        let Negotiated { ssrc, payload_type, .. } = self.negotiated;
        let contents = self.seal((ssrc, payload_type), self.next, &kept, &[])?;
        let number = self.told(kept.number);
        self.next += 1;
        if self.kept.len() == HISTORY {
            self.kept.pop_front();
        }
        self.kept.push_back(kept);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload.len() as u32);
        Ok(MediaPacket { contents, number, retransmission: false })
    }

    /// Makes those packets again that a viewer misses, as far as they are still there and the way has room for them.
    ///
    /// # Errors
    /// The cryptographic provider's.
    pub fn resend(
        &mut self,
        nack: &TransportLayerNack,
        way: &RepairWay,
        repairs: &mut Repairs,
        now: Instant,
    ) -> Sealed<Resent> {
        let mut resent = Resent::default();
        if nack.media_ssrc != self.negotiated.ssrc {
            return Ok(resent);
        }
        for missing in nack.nacks.iter().flat_map(|pair| pair.into_iter()) {
            let behind = (self.next as u16).wrapping_sub(missing);
            let at = self.kept.len().checked_sub(behind.into()).filter(|_| behind > 0);
            let needed = self.next - self.start >= u64::from(behind);
            let Some(kept) = at.filter(|_| needed).and_then(|at| self.kept.get_mut(at)) else { continue };
            match repairs.decide(way, kept.again_at, kept.payload.len(), now) {
                Repair::Send => {
                    kept.again_at = Some(now);
                    let kept = kept.clone();
                    resent.packets.push(self.again(kept, missing, behind)?);
                }
                Repair::OnItsWay => {}
                Repair::Refuse => {
                    resent.refused = true;
                    break;
                }
            }
        }
        Ok(resent)
    }

    /// The packet with the number `missing`, which is that far behind the next one.
    fn again(&mut self, kept: Kept, missing: u16, behind: u16) -> Sealed<MediaPacket> {
        let Some(rtx) = self.negotiated.rtx else {
            // The same bytes as before: other ones under the same number would give the key away (RFC 7714 §8.1).
            let Negotiated { ssrc, payload_type, .. } = self.negotiated;
            let contents = self.seal((ssrc, payload_type), self.next - u64::from(behind), &kept, &[])?;
            return Ok(MediaPacket { contents, number: None, retransmission: true });
        };
        let kept = Kept { number: self.next_number(), ..kept };
        let contents = self.seal(rtx, self.next_again, &kept, &missing.to_be_bytes())?;
        self.next_again += 1;
        Ok(MediaPacket { contents, number: self.told(kept.number), retransmission: true })
    }

    fn next_number(&mut self) -> u16 {
        let number = self.number;
        self.number = number.wrapping_add(1);
        number
    }

    /// A number that is written into packets, if any is.
    fn told(&self, number: u16) -> Option<u16> {
        self.negotiated.transport_cc.map(|_| number)
    }

    /// Header (RFC 3550 §5.1), what stands before the payload, payload: encrypted, with room in front.
    fn seal(
        &mut self,
        (ssrc, payload_type): (u32, u8),
        index: u64,
        kept: &Kept,
        prefix: &[u8],
    ) -> Sealed<BytesMut> {
        let Negotiated { playout_delay, transport_cc, .. } = self.negotiated;
        let words = u16::from(playout_delay.is_some()) + u16::from(transport_cc.is_some());
        let header = 12 + if words > 0 { 4 + 4 * usize::from(words) } else { 0 };
        let mut bytes = BytesMut::with_capacity(ROOM + header + prefix.len() + kept.payload.len() + TAG);
        bytes.put_bytes(0, ROOM);
        bytes.put_u8(0x80 | u8::from(words > 0) << 4);
        bytes.put_u8(u8::from(kept.marker) << 7 | payload_type);
        bytes.put_u16(index as u16);
        bytes.put_u32(kept.timestamp);
        bytes.put_u32(ssrc);
        if words > 0 {
            bytes.put_u16(ONE_BYTE);
            bytes.put_u16(words);
        }
        if let Some(ExtensionId(id)) = playout_delay {
            // Minimum and maximum of 0: rendered on arrival, with no smoothing at all.
            bytes.put_slice(&[id << 4 | 2, 0, 0, 0]);
        }
        if let Some(ExtensionId(id)) = transport_cc {
            let [a, b] = kept.number.to_be_bytes();
            bytes.put_slice(&[id << 4 | 1, a, b, 0]);
        }
        bytes.put_slice(prefix);
        bytes.put_slice(&kept.payload);
        self.srtp.protect(&mut bytes, ROOM, header, ssrc, index)?;
        Ok(bytes)
    }

    /// What RTCP says of this stream (RFC 3550 §6.4.1): one moment by two clocks. Nothing before the first packet.
    pub fn report(&self, ntp_time: u64, rtp_time: u32) -> Option<SenderReport> {
        (!self.kept.is_empty()).then(|| SenderReport {
            ssrc: self.negotiated.ssrc,
            ntp_time,
            rtp_time,
            packet_count: self.packets,
            octet_count: self.octets,
            ..Default::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rtc::rtcp::transport_feedbacks::transport_layer_nack::NackPair;
    use rtc::rtp::packet::Packet;
    use rtc::shared::marshal::Unmarshal;

    use super::super::srtp::tests::{PROFILES, pair};
    use super::*;

    fn video(rtx: Option<(u32, u8)>, sequence: u16) -> Video {
        let negotiated = Negotiated {
            ssrc: 9,
            payload_type: 96,
            rtx,
            playout_delay: ExtensionId::new(5),
            transport_cc: ExtensionId::new(3),
        };
        Video::new(pair(PROFILES[0]).0, negotiated, sequence)
    }

    /// Packets in their order, by another implementation.
    fn decrypted<'a>(sent: impl IntoIterator<Item = &'a MediaPacket>) -> Vec<Packet> {
        let mut context = pair(PROFILES[0]).1;
        let mut open = |sent: &MediaPacket| {
            Packet::unmarshal(&mut context.decrypt_rtp(&sent.contents[ROOM..]).unwrap()).unwrap()
        };
        sent.into_iter().map(&mut open).collect()
    }

    fn payload(n: u32) -> Bytes {
        Bytes::copy_from_slice(&n.to_be_bytes())
    }

    /// Over a way that has room for all.
    fn resend(video: &mut Video, nack: &TransportLayerNack) -> Vec<MediaPacket> {
        let (way, now) = (RepairWay { limit_kbps: None, answers_in: Duration::ZERO }, Instant::now());
        let resent = video.resend(nack, &way, &mut Repairs::new(now), now).unwrap();
        assert!(!resent.refused);
        resent.packets
    }

    fn nack(first: u16, more: u16) -> TransportLayerNack {
        let nacks = vec![NackPair { packet_id: first, lost_packets: more }];
        TransportLayerNack { sender_ssrc: 1, media_ssrc: 9, nacks }
    }

    #[test]
    fn packets_carry_what_was_negotiated() {
        let mut video = video(None, 65_535);
        let sent: Vec<_> = (0..3).map(|n| video.send(700, n == 2, &payload(n)).unwrap()).collect();
        for (n, packet) in (0..).zip(decrypted(&sent)) {
            let header = &packet.header;
            assert_eq!((header.ssrc, header.payload_type, header.timestamp), (9, 96, 700));
            assert_eq!((header.sequence_number, header.marker), (65_535_u16.wrapping_add(n as u16), n == 2));
            assert_eq!((packet.payload, sent[n as usize].number), (payload(n), Some(n as u16)));
            assert_eq!(packet.header.get_extension(5), Some(Bytes::from_static(&[0, 0, 0])));
            assert_eq!(packet.header.get_extension(3), Some(Bytes::copy_from_slice(&[0, n as u8])));
        }
        let report = video.report(77, 90_700).unwrap();
        assert_eq!((report.ssrc, report.ntp_time, report.rtp_time), (9, 77, 90_700));
        assert_eq!((report.packet_count, report.octet_count), (3, 12));
    }

    #[test]
    fn extension_ids_of_the_two_byte_form_are_not_mangled() {
        assert_eq!([0, 15, 17, 257].map(ExtensionId::new), [None; 4]);
        assert_eq!(ExtensionId::new(14), Some(ExtensionId(14)));
    }

    #[test]
    fn what_is_missed_is_sent_again_under_a_number_of_its_own() {
        let mut video = video(Some((10, 97)), 65_530);
        (0..20).for_each(|n| drop(video.send(n, false, &payload(n)).unwrap()));
        // The third packet, and the one eight after it, past the wrap; the last of them was never sent.
        let again = resend(&mut video, &nack(65_532, 1 << 7 | 1 << 15));
        assert_eq!(again.len(), 3);
        for (i, (packet, n)) in decrypted(&again).into_iter().zip([2_u32, 10, 18]).enumerate() {
            let sent = &again[i];
            assert_eq!((packet.header.ssrc, packet.header.payload_type), (10, 97));
            assert_eq!(packet.header.sequence_number, 65_530 + i as u16);
            assert_eq!(packet.header.timestamp, n);
            let original = 65_530_u16.wrapping_add(n as u16).to_be_bytes();
            assert_eq!(packet.payload[..], [&original[..], &payload(n)].concat());
            assert_eq!((sent.number, sent.retransmission), (Some(20 + i as u16), true));
        }
        assert_eq!(video.send(20, false, &payload(20)).unwrap().number, Some(23));
        for unknown in
            [nack(65_529, 0), nack(15, 0), nack(5_000, 0), TransportLayerNack { media_ssrc: 8, ..nack(0, 0) }]
        {
            assert!(resend(&mut video, &unknown).is_empty(), "{unknown:?}");
        }
    }

    #[test]
    fn without_rtx_the_same_bytes_are_sent_again_and_history_is_bounded() {
        let mut video = video(None, 0);
        let sent: Vec<MediaPacket> =
            (0..HISTORY as u32 + 100).map(|n| video.send(n, false, &payload(n)).unwrap()).collect();
        assert_eq!(video.kept.len(), HISTORY);
        assert!(resend(&mut video, &nack(99, 0)).is_empty());
        let again = resend(&mut video, &nack(100, 0));
        assert_eq!(again[0].contents, sent[100].contents);
        assert_eq!((again[0].number, again[0].retransmission), (None, true));
        // And the stream goes on where it was.
        let next = video.send(7, false, &payload(7)).unwrap();
        assert_eq!(decrypted([&next])[0].header.sequence_number, HISTORY as u16 + 100);
    }

    #[test]
    fn what_a_key_frame_made_needless_is_not_sent_again() {
        let mut video = video(Some((10, 97)), 65_534);
        (0..5).for_each(|n| drop(video.send(n, false, &payload(n)).unwrap()));
        video.begin_keyframe();
        (5..8).for_each(|n| drop(video.send(n, false, &payload(n)).unwrap()));
        let again = resend(&mut video, &nack(0, 0b1_1111));
        let payloads: Vec<Bytes> = decrypted(&again).into_iter().map(|p| p.payload.slice(2..)).collect();
        assert_eq!(payloads, [5, 6, 7].map(payload));
    }

    #[test]
    fn what_the_way_has_no_room_for_is_refused_and_what_is_on_its_way_is_not_sent_once_more() {
        let mut video = video(Some((10, 97)), 0);
        let payload = Bytes::from(vec![7; 1_000]);
        (0..20).for_each(|n| drop(video.send(n, false, &payload).unwrap()));
        let start = Instant::now();
        let (mut repairs, now) = (Repairs::new(start), start + Duration::from_secs(1));
        // 192 kbit/s: a quarter of it for half a second is 3,000 bytes.
        let way = RepairWay { limit_kbps: Some(192), answers_in: Duration::from_millis(100) };
        let mut ask = |now| video.resend(&nack(0, 0b1111), &way, &mut repairs, now).unwrap();
        let resent = ask(now);
        assert_eq!((resent.packets.len(), resent.refused), (3, true));
        // A fourth has become possible; the first three are on their way.
        let resent = ask(now + Duration::from_millis(90));
        assert_eq!((resent.packets.len(), resent.refused), (0, true));
        let resent = ask(now + Duration::from_millis(500));
        assert_eq!((resent.packets.len(), resent.refused), (3, true));
    }
}
