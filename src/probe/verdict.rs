//! PURE. From what was measured to one word, why, and what to do next.

use std::time::Duration;

use serde::Serialize;

use super::path::{Path, Unavailable};
use super::picture::Sight;
use crate::wire::signal::{ByeReason, DisplayState, Status};

/// What a viewer would get, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// A picture, and it is what the gateway captures.
    Ok,
    /// Nothing answers at the address.
    Unreachable,
    /// 401 or 403.
    Refused,
    /// Something answers, but no gateway that this probe understands.
    NotAGateway,
    /// The gateway ended the viewer.
    Ended,
    /// The path cannot be tried here.
    Unavailable,
    /// ICE or DTLS did not get through.
    NotConnected,
    /// Connected, and no picture.
    NoVideo,
    /// A picture, and all of it is black.
    Black,
    /// A picture that no longer follows the screen.
    Frozen,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Verdict; 10] = [
        Self::Ok,
        Self::Unreachable,
        Self::Refused,
        Self::NotAGateway,
        Self::Ended,
        Self::Unavailable,
        Self::NotConnected,
        Self::NoVideo,
        Self::Black,
        Self::Frozen,
    ];

    /// The process's exit code. 1 is a fault of the probe itself, 2 of its command line.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Unreachable => 3,
            Self::Refused => 4,
            Self::NotAGateway => 5,
            Self::Ended => 6,
            Self::Unavailable => 7,
            Self::NotConnected => 8,
            Self::NoVideo => 9,
            Self::Black => 10,
            Self::Frozen => 11,
        }
    }

    /// True if no other path of the same gateway can end better.
    pub fn ends_all_paths(self) -> bool {
        matches!(self, Self::Unreachable | Self::Refused | Self::NotAGateway)
    }

    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::NotAGateway => "not a gateway",
            Self::Ended => "ended by the gateway",
            Self::Unavailable => "path not available",
            Self::NotConnected => "not connected",
            Self::NoVideo => "no video",
            Self::Black => "black picture",
            Self::Frozen => "frozen picture",
        }
    }
}

/// What ended a probe before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// No TCP or TLS connection.
    Unreachable(String),
    /// 401 or 403, with what the gateway said.
    Refused {
        /// HTTP status.
        status: u16,
        /// Its message.
        message: String,
    },
    /// An answer that is none of a gateway.
    NotAGateway(String),
    /// `bye`.
    Ended {
        /// For programs.
        reason: ByeReason,
        /// For people.
        message: String,
    },
    /// The offer was not answered, and the gateway said why.
    NoAnswer(String),
    /// See [`Unavailable`].
    Unavailable(Unavailable),
}

/// `/api/status` at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Since the probe's start.
    pub at: Duration,
    /// Pictures that the gateway captured because something was drawn; nothing when it did not answer.
    pub captured: Option<u64>,
}

/// Pictures captured between the first and the last look.
pub fn captured_between(looks: &[Look]) -> Option<u64> {
    let mut counts = looks.iter().filter_map(|look| look.captured);
    let first = counts.next()?;
    Some(counts.next_back().unwrap_or(first).saturating_sub(first))
}

/// How far it came; each since the probe's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// The gateway answered a request, and let us in.
    pub http: Option<Duration>,
    /// The WebSocket is open.
    pub web_socket: Option<Duration>,
    /// The gateway greeted us.
    pub hello: Option<Duration>,
    /// Our offer was answered.
    pub answer: Option<Duration>,
    /// ICE found a pair.
    pub ice: Option<Duration>,
    /// DTLS is through.
    pub dtls: Option<Duration>,
    /// First packet of video.
    pub first_packet: Option<Duration>,
    /// First decoded picture.
    pub first_frame: Option<Duration>,
}

/// Everything that a verdict rests on.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    /// The path that was asked for.
    pub path: Path,
    /// What ended it early.
    pub stop: Option<&'a Stop>,
    /// How far it came.
    pub steps: Steps,
    /// When ICE lost the gateway after it had been connected, if it did.
    pub lost: Option<Duration>,
    /// What was seen.
    pub sight: &'a Sight,
    /// Video packets received.
    pub packets: u64,
    /// What the gateway last said about itself.
    pub status: Option<&'a Status>,
    /// `/api/status`, in the order of time.
    pub looks: &'a [Look],
}

/// A verdict with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Judgement {
    /// In one word.
    pub verdict: Verdict,
    /// What was found.
    pub why: String,
    /// What to do about it; empty when there is nothing to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub next: String,
}

fn judgement(verdict: Verdict, why: impl Into<String>, next: impl Into<String>) -> Judgement {
    Judgement { verdict, why: why.into(), next: next.into() }
}

/// The gateway must have captured this many pictures that did not come before a picture is called frozen…
const MISSED: u64 = 3;
/// …over at least this long…
const MISSED_FOR: Duration = Duration::from_secs(1);
/// …not counting what may still be on its way.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

/// Judges. What is known is said, and nothing else: a screen on which nothing is drawn sends nothing, and
/// is not frozen.
pub fn judge(evidence: &Evidence<'_>) -> Judgement {
    if let Some(stop) = evidence.stop {
        return stopped(stop);
    }
    if evidence.sight.times.is_empty() {
        return no_picture(evidence);
    }
    if let Some(lost) = evidence.lost {
        return judgement(
            Verdict::Frozen,
            format!("the connection broke off {:.1} s after the start", lost.as_secs_f64()),
            "see whether the gateway still runs; try --path tcp",
        );
    }
    if let Some(since) = gone(evidence) {
        return judgement(
            Verdict::Frozen,
            format!("the gateway answers no longer since {:.1} s after the start", since.as_secs_f64()),
            "see whether the gateway still runs; its log says why it ended",
        );
    }
    if let Some(why) = frozen(evidence) {
        return judgement(Verdict::Frozen, why, "try --path tcp; look at `deskgate encoders` on the gateway");
    }
    if evidence.sight.is_black() {
        return judgement(
            Verdict::Black,
            "pictures arrive and are decoded, and every one is black",
            "see whether something draws on the display (a window manager, a screen saver, a lock): \
             `xwininfo -root -tree` on the gateway's display",
        );
    }
    ok(evidence)
}

/// The first step that failed. The WebSocket needs no other connection.
fn no_picture(evidence: &Evidence<'_>) -> Judgement {
    let steps = evidence.steps;
    if evidence.path == Path::Ws {
        return no_video(evidence);
    }
    if steps.answer.is_none() {
        return judgement(
            Verdict::NotAGateway,
            "the gateway greeted this viewer but did not answer its offer in time",
            "look at the gateway's log; it may be overloaded",
        );
    }
    if steps.ice.is_none() || steps.dtls.is_none() { not_connected(evidence) } else { no_video(evidence) }
}

fn ok(evidence: &Evidence<'_>) -> Judgement {
    let why = match (evidence.sight.changes, captured_between(evidence.looks)) {
        (0, Some(0)) => "a picture; nothing was drawn on the screen meanwhile, so that nothing had to follow",
        (0, Some(_)) => "a picture; what was drawn meanwhile made no visible difference",
        (0, None) => "a picture that did not change; whether the screen did is not known without /api/status",
        _ => "pictures arrive and follow the screen",
    };
    judgement(Verdict::Ok, why, "")
}

/// What ended a probe, as a verdict.
pub fn stopped(stop: &Stop) -> Judgement {
    match stop {
        Stop::Unreachable(why) => judgement(
            Verdict::Unreachable,
            why,
            "see whether the gateway runs, and whether the port is forwarded",
        ),
        Stop::Refused { status: 401, message } => judgement(
            Verdict::Refused,
            format!("401: {message}"),
            "make a token with `deskgate token` for this session's name and give it with --token-file",
        ),
        Stop::Refused { status, message } => judgement(
            Verdict::Refused,
            format!("{status}: {message}"),
            "use the name under which the gateway expects to be called, or set --token-secret-file on it",
        ),
        Stop::NotAGateway(why) => {
            judgement(Verdict::NotAGateway, why, "give the address at which the page of a Deskgate opens")
        }
        Stop::Ended { reason, message } => {
            let next = match reason {
                ByeReason::Full => "raise --max-viewers on the gateway, or wait",
                ByeReason::Revoked => "make another token with `deskgate token`",
                ByeReason::Shutdown => "wait until the gateway is up again",
                ByeReason::Replaced | ByeReason::Protocol => "look at the gateway's log",
            };
            judgement(Verdict::Ended, message, next)
        }
        Stop::NoAnswer(why) => judgement(
            Verdict::NoVideo,
            why,
            "`deskgate encoders` on the gateway says which encoders work and why",
        ),
        Stop::Unavailable(why) => {
            judgement(Verdict::Unavailable, why.to_string(), "try --all-paths to see which there are")
        }
    }
}

fn not_connected(evidence: &Evidence<'_>) -> Judgement {
    let blocked = match evidence.path {
        Path::Udp => "no UDP of the gateway arrives at its candidates",
        Path::TurnUdp => "TURN over UDP does not get through to the gateway's port",
        Path::TurnTcp | Path::Tcp => "TURN over TCP does not get through to the gateway's port",
        Path::Turns => "TURN over TLS does not get through to the gateway's port",
        Path::IceTcp => "ICE over TCP does not get through to the gateway's candidates",
        Path::Ws | Path::Auto => "none of the ways that the page tries gets through",
    };
    let next = match evidence.path {
        Path::Udp | Path::TurnUdp => {
            "open UDP on the gateway's port, name its outer address with --advertise, or use --path tcp, which needs \
             no UDP"
        }
        _ => {
            "a proxy that passes HTTP only is in the way: pass the port through (TCP, or TLS untouched), or see \
             --all-paths"
        }
    };
    if evidence.steps.ice.is_some() {
        return judgement(
            Verdict::NotConnected,
            "ICE connected, DTLS did not: large or many packets are lost on this path",
            "look at the path's MTU and loss; try --path tcp",
        );
    }
    judgement(Verdict::NotConnected, blocked, next)
}

fn no_video(evidence: &Evidence<'_>) -> Judgement {
    let encoders = "`deskgate encoders` on the gateway says which encoders work and why";
    match evidence.status {
        Some(status) if status.display == DisplayState::Waiting => judgement(
            Verdict::NoVideo,
            format!("connected, but the gateway has no display: {}", status.message),
            "start the X server, or give the gateway the right --display and --xauthority",
        ),
        Some(status) if status.encoder.is_none() && !status.message.is_empty() => judgement(
            Verdict::NoVideo,
            format!("connected, but nothing encodes: {}", status.message),
            encoders,
        ),
        _ if evidence.packets > 0 => judgement(
            Verdict::NoVideo,
            format!("{} packets of video came, and no picture could be decoded from them", evidence.packets),
            "look for loss on the path; try --path tcp",
        ),
        _ => judgement(Verdict::NoVideo, "connected, but no video came", encoders),
    }
}

/// Since when nothing came any more, neither pictures nor answers.
fn gone(evidence: &Evidence<'_>) -> Option<Duration> {
    // It answered before we connected.
    let answered = evidence.looks.iter().rposition(|look| look.captured.is_some());
    let silent = evidence.looks.get(answered.map_or(0, |last| last + 1))?.at;
    let for_long = evidence.looks.last()?.at.saturating_sub(silent) >= MISSED_FOR;
    (for_long && *evidence.sight.times.last()? < silent + ON_ITS_WAY).then_some(silent)
}

/// Why the picture is frozen; nothing if it is not, or cannot be known to be.
fn frozen(evidence: &Evidence<'_>) -> Option<String> {
    let last = *evidence.sight.times.last()?;
    let answered = || evidence.looks.iter().filter_map(|look| Some((look.at, look.captured?)));
    let (since, before) = answered().find(|(at, _)| *at >= last + ON_ITS_WAY)?;
    let (until, after) = answered().next_back()?;
    let missed = after.saturating_sub(before);
    (until.saturating_sub(since) >= MISSED_FOR && missed >= MISSED).then(|| {
        format!(
            "the last picture came {:.1} s after the start; the gateway has captured at least {missed} newer ones since",
            last.as_secs_f64()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::picture::Luma;
    use super::*;
    use crate::frame::Size;

    const CONNECTED: Steps = Steps {
        http: Some(Duration::ZERO),
        web_socket: Some(Duration::ZERO),
        hello: Some(Duration::ZERO),
        answer: Some(Duration::ZERO),
        ice: Some(Duration::ZERO),
        dtls: Some(Duration::ZERO),
        first_packet: None,
        first_frame: None,
    };

    fn seconds(s: f64) -> Duration {
        Duration::from_secs_f64(s)
    }

    fn seen(times: &[f64], luma: u8) -> Sight {
        let mut sight = Sight::default();
        for at in times {
            let bytes = [luma; 64];
            sight.see(seconds(*at), Luma { bytes: &bytes, stride: 8, size: Size { width: 8, height: 8 } });
        }
        sight
    }

    fn evidence(sight: &Sight) -> Evidence<'_> {
        Evidence {
            path: Path::Udp,
            stop: None,
            steps: CONNECTED,
            lost: None,
            sight,
            packets: 0,
            status: None,
            looks: &[],
        }
    }

    fn looks(captured: [u64; 4]) -> Vec<Look> {
        let at = |i: usize| seconds(1.0 + i as f64);
        captured
            .iter()
            .enumerate()
            .map(|(i, &captured)| Look { at: at(i), captured: Some(captured) })
            .collect()
    }

    #[test]
    fn exit_codes_are_distinct_and_leave_one_and_two_to_others() {
        let mut codes: Vec<u8> = Verdict::ALL.iter().map(|v| v.exit_code()).collect();
        assert_eq!(codes[0], 0);
        assert!(!codes[1..].iter().any(|c| *c < 3));
        codes.dedup();
        assert_eq!(codes.len(), Verdict::ALL.len());
    }

    #[test]
    fn a_still_screen_is_not_frozen() {
        let sight = seen(&[0.5, 0.6], 90);
        let still = looks([7; 4]);
        let judged = judge(&Evidence { looks: &still, ..evidence(&sight) });
        assert_eq!(judged.verdict, Verdict::Ok);
        assert!(judged.why.contains("nothing was drawn"), "{}", judged.why);
    }

    #[test]
    fn a_screen_that_goes_on_without_us_is_frozen() {
        let sight = seen(&[0.4], 90);
        let going_on = looks([7, 20, 40, 60]);
        assert_eq!(judge(&Evidence { looks: &going_on, ..evidence(&sight) }).verdict, Verdict::Frozen);
        // Frames still come.
        let sight = seen(&[0.4, 1.4, 2.4, 3.4, 3.9], 90);
        assert_eq!(judge(&Evidence { looks: &going_on, ..evidence(&sight) }).verdict, Verdict::Ok);
        // The one change at the end may be on its way.
        let sight = seen(&[0.4], 90);
        let late = looks([7, 7, 7, 8]);
        assert_eq!(judge(&Evidence { looks: &late, ..evidence(&sight) }).verdict, Verdict::Ok);
    }

    #[test]
    fn a_gateway_that_answers_no_longer_is_gone() {
        let sight = seen(&[0.4, 1.4], 90);
        let mut gone = looks([7, 20, 0, 0]);
        gone[2].captured = None;
        gone[3].captured = None;
        let judged = judge(&Evidence { looks: &gone, ..evidence(&sight) });
        assert_eq!(judged.verdict, Verdict::Frozen);
        assert!(judged.why.contains("no longer since 3.0 s"), "{}", judged.why);
        // Pictures go on: then it is only busy.
        let sight = seen(&[0.4, 1.4, 3.9], 90);
        assert_eq!(judge(&Evidence { looks: &gone, ..evidence(&sight) }).verdict, Verdict::Ok);
    }

    #[test]
    fn without_status_a_picture_that_does_not_change_is_ok_and_that_is_said() {
        let sight = seen(&[0.4], 90);
        let judged = judge(&evidence(&sight));
        assert_eq!(judged.verdict, Verdict::Ok);
        assert!(judged.why.contains("not known"), "{}", judged.why);
    }

    #[test]
    fn a_black_picture_is_said() {
        assert_eq!(judge(&evidence(&seen(&[0.4, 0.5], 16))).verdict, Verdict::Black);
    }

    #[test]
    fn no_picture_names_the_step_that_failed() {
        let nothing = Sight::default();
        let no_ice = Evidence { steps: Steps { ice: None, dtls: None, ..CONNECTED }, ..evidence(&nothing) };
        let judged = judge(&no_ice);
        assert_eq!(judged.verdict, Verdict::NotConnected);
        assert!(judged.why.contains("UDP") && judged.next.contains("--path tcp"));
        let no_dtls = Evidence { steps: Steps { dtls: None, ..CONNECTED }, ..evidence(&nothing) };
        assert!(judge(&no_dtls).why.contains("DTLS"));
        assert!(judge(&Evidence { packets: 9, ..evidence(&nothing) }).why.contains("9 packets"));
        assert_eq!(judge(&evidence(&nothing)).verdict, Verdict::NoVideo);
        let ws = Evidence { path: Path::Ws, steps: Steps::default(), ..evidence(&nothing) };
        assert_eq!(judge(&ws).verdict, Verdict::NoVideo);
        let no_answer = Evidence { steps: Steps { answer: None, ..CONNECTED }, ..evidence(&nothing) };
        assert_eq!(judge(&no_answer).verdict, Verdict::NotAGateway);
    }

    #[test]
    fn every_stop_says_why_and_what_next() {
        let nothing = Sight::default();
        let message = || "because".to_owned();
        for (stop, verdict) in [
            (Stop::Unreachable(message()), Verdict::Unreachable),
            (Stop::Refused { status: 401, message: message() }, Verdict::Refused),
            (Stop::Refused { status: 403, message: message() }, Verdict::Refused),
            (Stop::NotAGateway(message()), Verdict::NotAGateway),
            (Stop::Ended { reason: ByeReason::Full, message: message() }, Verdict::Ended),
            (Stop::NoAnswer(message()), Verdict::NoVideo),
            (Stop::Unavailable(Unavailable::NoTurn), Verdict::Unavailable),
        ] {
            let judged = judge(&Evidence { stop: Some(&stop), ..evidence(&nothing) });
            assert_eq!(judged.verdict, verdict);
            assert!(!judged.why.is_empty() && !judged.next.is_empty(), "{stop:?}");
        }
    }

    #[test]
    fn a_connection_that_breaks_off_is_frozen() {
        let sight = seen(&[0.4], 90);
        let judged = judge(&Evidence { lost: Some(seconds(2.0)), ..evidence(&sight) });
        assert_eq!(judged.verdict, Verdict::Frozen);
        assert!(judged.why.contains("2.0 s"));
    }
}
