//! PURE. From an offer to an answering `rtc` peer connection: one video sender, two data channels.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rtc::data_channel::{RTCDataChannelId, RTCDataChannelInit};
use rtc::ice::mdns::MulticastDnsMode;
use rtc::interceptor::{Registry, Slot};
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::configuration::setting_engine::{SctpMaxMessageSize, SettingEngineBuilder};
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::transport::{
    CandidateConfig, CandidateHostConfig, RTCIceCandidate, RTCIceCandidateInit,
};
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtp_transceiver::rtp_sender::{
    RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
    RTCRtpHeaderExtensionCapability, RTCRtpRtxParameters, RtpCodecKind,
};
use rtc::rtp_transceiver::{RTCRtpSenderId, RTCRtpTransceiverDirection};
use rtc::sdp::extmap::TRANSPORT_CC_URI;
use rtc::shared::error::{Error, Result};

use super::offer::{OfferError, VideoFormat, media_sections};
use super::rtcp_guard::RtcpGuard;
use super::srtp_keys::{PROFILES, SrtpKeys};
use super::video::{ExtensionId, Negotiated};
use crate::frame::Codec;
use crate::turn::relayed;
use crate::wire::{CONTROL_CHANNEL, MAX_JSON_BYTES, MOTION_CHANNEL};

/// Header extension that tells the receiver to render at once (libwebrtc's `playout-delay`).
const PLAYOUT_DELAY_URI: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";
/// A viewer that is silent for this long is paused.
const ICE_DISCONNECTED: Duration = Duration::from_secs(5);
/// It is given up this long after that, 30 s in all (RFC 7675 §5.1); the page notices sooner and offers again.
const ICE_FAILED: Duration = Duration::from_secs(25);
const ICE_KEEPALIVE: Duration = Duration::from_secs(2);

/// What a peer needs besides the offer. Random values are the caller's.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// Our ICE user name fragment: the key by which its checks find this peer.
    pub ufrag: String,
    /// Our ICE password; at least 22 characters (RFC 8839 §5.4).
    pub password: String,
    /// Host candidates to answer with.
    pub candidates: Vec<SocketAddr>,
    /// SSRC of the video.
    pub ssrc: u32,
    /// SSRC of its retransmissions.
    pub rtx_ssrc: u32,
    /// First RTP sequence number.
    pub sequence: u16,
    /// First RTP timestamp.
    pub timestamp: u32,
    /// What the calendar says now, since the Unix epoch: sender reports tell it.
    pub unix: Duration,
}

pub(super) struct Built {
    pub pc: RTCPeerConnection,
    pub answer: String,
    pub video: RTCRtpSenderId,
    pub negotiated: Negotiated,
    pub keys: SrtpKeys,
    pub control: RTCDataChannelId,
    pub motion: RTCDataChannelId,
}

pub(super) fn answer(
    config: &PeerConfig,
    format: &VideoFormat,
    offer: &str,
    now: Instant,
) -> std::result::Result<Built, OfferError> {
    let built = build(config, format, offer, now).map_err(|e| OfferError::Refused(e.to_string()))?;
    // RFC 3264 §6. `rtc` 0.21 leaves out m-lines without a direction, and what follows an empty line.
    if media_sections(&built.answer) != media_sections(offer) {
        return Err(OfferError::Refused("not every m-line of it can be answered".to_owned()));
    }
    Ok(built)
}

fn build(config: &PeerConfig, format: &VideoFormat, offer: &str, now: Instant) -> Result<Built> {
    let engine = media_engine(format)?;
    let registry = Registry::new().with(Slot::from(3_500), RtcpGuard::new(config.ssrc, now));
    let keys = SrtpKeys::new(rtc::crypto::default_provider().map_err(|e| Error::Crypto(e.to_string()))?);
    let mut pc = RTCPeerConnectionBuilder::new()
        .with_setting_engine(
            SettingEngineBuilder::new()
                .with_ice_credentials(config.ufrag.clone(), config.password.clone())
                // `.local` candidates would make us query by multicast; the browser's own checks reveal
                // its address anyway (peer-reflexive, RFC 8445 §7.3.1.3).
                .with_multicast_dns_mode(MulticastDnsMode::Disabled)
                .with_ice_timeouts(Some(ICE_DISCONNECTED), Some(ICE_FAILED), Some(ICE_KEEPALIVE))
                .with_crypto_provider(keys.listener())
                .with_srtp_protection_profiles(PROFILES.to_vec())
                .with_sctp_max_message_size(SctpMaxMessageSize::Bounded(MAX_JSON_BYTES as u32))
                .build(),
        )
        .with_media_engine(engine)
        .with_interceptor_registry(registry)
        .build(now)?;

    let video = pc.add_track(video_track(config, format))?;
    let control = pc.create_data_channel(
        "control",
        Some(RTCDataChannelInit { negotiated: Some(CONTROL_CHANNEL), ..Default::default() }),
    )?;
    let control = control.id();
    let motion = pc.create_data_channel(
        "motion",
        Some(RTCDataChannelInit {
            ordered: false,
            max_retransmits: Some(0),
            negotiated: Some(MOTION_CHANNEL),
            ..Default::default()
        }),
    )?;
    let motion = motion.id();

    pc.set_remote_description(now, RTCSessionDescription::offer(offer.to_owned())?)?;
    // Sound is not sent yet. Left alone, `rtc` 0.21 answers an inactive m-line with recvonly, which browsers
    // refuse (RFC 8829 §5.3.1).
    for id in pc.get_transceivers().collect::<Vec<_>>() {
        if let Some(mut transceiver) = pc.rtp_transceiver(id)
            && transceiver.sender() != Some(video)
        {
            transceiver.set_direction(RTCRtpTransceiverDirection::Inactive);
        }
    }
    for address in &config.candidates {
        pc.add_local_candidate(host_candidate(*address)?)?;
    }
    pc.add_local_candidate(Default::default())?;
    let answer = pc.create_answer(None)?;
    pc.set_local_description(now, answer.clone())?;
    // Only now do the candidates stand in the description.
    let answer = pc.local_description().unwrap_or(answer).sdp;
    // These are for the core alone: a page knows by itself where it can connect to.
    for address in relayed::ICE_TCP {
        pc.add_local_candidate(host_candidate(address)?)?;
    }
    let Some(mut sender) = pc.rtp_sender(video) else { return Err(Error::ErrRTPSenderNotExisted) };
    let parameters = &sender.get_parameters().rtp_parameters;
    let payload_type = parameters
        .codecs
        .iter()
        .find(|c| c.rtp_codec.mime_type.eq_ignore_ascii_case(&mime(format.codec)))
        .map_or(format.payload_type, |c| c.payload_type);
    let extension = |uri| {
        let found = parameters.header_extensions.iter().find(|e| e.uri == uri)?;
        ExtensionId::new(found.id)
    };
    let negotiated = Negotiated {
        ssrc: config.ssrc,
        payload_type,
        rtx: format.rtx.map(|rtx| (config.rtx_ssrc, rtx)),
        playout_delay: extension(PLAYOUT_DELAY_URI),
        transport_cc: extension(TRANSPORT_CC_URI),
    };
    Ok(Built { pc, answer, video, negotiated, keys, control, motion })
}

fn host_candidate(address: SocketAddr) -> Result<RTCIceCandidateInit> {
    let candidate = CandidateHostConfig {
        base_config: CandidateConfig {
            network: "udp".to_owned(),
            address: address.ip().to_string(),
            port: address.port(),
            component: 1,
            ..Default::default()
        },
        ..Default::default()
    };
    RTCIceCandidate::from(&candidate.new_candidate_host()?).to_json()
}

fn mime(codec: Codec) -> String {
    format!("video/{}", codec.name())
}

fn media_engine(format: &VideoFormat) -> Result<MediaEngine> {
    let mut engine = MediaEngine::default();
    let feedback = [("nack", ""), ("nack", "pli"), ("ccm", "fir"), ("transport-cc", "")];
    engine.register_codec(
        RTCRtpCodecParameters {
            rtp_codec: RTCRtpCodec {
                rtcp_feedback: feedback
                    .iter()
                    .map(|(typ, parameter)| RTCPFeedback {
                        typ: (*typ).to_owned(),
                        parameter: (*parameter).to_owned(),
                    })
                    .collect(),
                ..video_codec(format)
            },
            payload_type: format.payload_type,
        },
        RtpCodecKind::Video,
    )?;
    if let Some(rtx) = format.rtx {
        engine.register_codec(
            RTCRtpCodecParameters {
                rtp_codec: RTCRtpCodec {
                    mime_type: "video/rtx".to_owned(),
                    clock_rate: 90_000,
                    sdp_fmtp_line: format!("apt={}", format.payload_type),
                    ..Default::default()
                },
                payload_type: rtx,
            },
            RtpCodecKind::Video,
        )?;
    }
    // Sound is not sent yet; its m-lines are accepted so that it needs no new one.
    engine.register_codec(
        RTCRtpCodecParameters {
            rtp_codec: RTCRtpCodec {
                mime_type: "audio/opus".to_owned(),
                clock_rate: 48_000,
                channels: 2,
                ..Default::default()
            },
            payload_type: 111,
        },
        RtpCodecKind::Audio,
    )?;
    for (uri, kind) in [
        (PLAYOUT_DELAY_URI, RtpCodecKind::Video),
        (TRANSPORT_CC_URI, RtpCodecKind::Video),
        (TRANSPORT_CC_URI, RtpCodecKind::Audio),
    ] {
        engine.register_header_extension(
            RTCRtpHeaderExtensionCapability { uri: uri.to_owned() },
            kind,
            None,
        )?;
    }
    Ok(engine)
}

fn video_codec(format: &VideoFormat) -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: mime(format.codec),
        clock_rate: 90_000,
        sdp_fmtp_line: format.fmtp.clone(),
        ..Default::default()
    }
}

fn video_track(config: &PeerConfig, format: &VideoFormat) -> MediaStreamTrack {
    MediaStreamTrack::new(
        // Sound will have a stream of its own: one stream would make the browser delay the picture to the
        // sound's buffer.
        "desktop".to_owned(),
        "desktop-video".to_owned(),
        "desktop-video".to_owned(),
        RtpCodecKind::Video,
        vec![RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters {
                ssrc: Some(config.ssrc),
                rtx: format.rtx.map(|_| RTCRtpRtxParameters { ssrc: config.rtx_ssrc }),
                ..Default::default()
            },
            codec: video_codec(format),
            ..Default::default()
        }],
    )
}
