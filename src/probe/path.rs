//! PURE. The ways that media can take to a viewer, and how a client is held to one of them.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::Serialize;
use thiserror::Error;

use crate::wire::signal::TurnAccess;

/// A way for media. One word each, the same in flags, reports and tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Path {
    /// Straight UDP.
    Udp,
    /// Whatever needs no UDP, as a browser behind a strict firewall has it.
    Tcp,
    /// TURN over UDP.
    TurnUdp,
    /// TURN over TCP.
    TurnTcp,
    /// TURN over TLS.
    Turns,
    /// Straight TCP (RFC 6544).
    IceTcp,
    /// The WebSocket.
    Ws,
    /// Everything that the page would try; ICE chooses.
    Auto,
}

impl Path {
    /// All, in the order of a table.
    pub const ALL: [Path; 8] =
        [Self::Auto, Self::Udp, Self::Tcp, Self::TurnUdp, Self::TurnTcp, Self::Turns, Self::IceTcp, Self::Ws];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::TurnUdp => "turn-udp",
            Self::TurnTcp => "turn-tcp",
            Self::Turns => "turns",
            Self::IceTcp => "ice-tcp",
            Self::Ws => "ws",
            Self::Auto => "auto",
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Path {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|path| path.name() == text)
            .ok_or_else(|| format!("one of {} is expected", names()))
    }
}

/// How a TURN server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Carrier {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
    /// A stream inside TLS.
    Tls,
}

impl Carrier {
    /// As in `RTCIceCandidate.relayProtocol`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// What a gateway offers at the URL that was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    /// The URL is https.
    pub secure: bool,
    /// Its greeting holds credentials for TURN.
    pub turn: bool,
    /// TLS ends in the gateway, not in a proxy.
    pub tls: bool,
    /// It sends video over the WebSocket.
    pub stream: bool,
}

/// Who carries media, and how it is held to a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// webrtcbin.
    Ice(IcePlan),
    /// `rtc`, over a TCP connection to a candidate of the gateway's.
    Tcp,
    /// The WebSocket itself.
    Ws,
}

/// What ICE is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IcePlan {
    /// Only relayed candidates of ours (`iceTransportPolicy: relay`).
    pub relay_only: bool,
    /// Ways to the gateway's TURN server.
    pub turn: Vec<Carrier>,
}

/// Why a path cannot be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unavailable {
    /// No credentials in its greeting.
    #[error("the gateway offers no TURN server")]
    NoTurn,
    /// No TLS.
    #[error("TURN over TLS needs an https URL")]
    NoTls,
    /// A proxy in front ends TLS: it passes HTTP, and nothing else.
    #[error(
        "a proxy in front of the gateway ends TLS and passes HTTP only: TURN over TCP cannot get through"
    )]
    Proxy,
    /// Nothing of that kind in the answer.
    #[error("the gateway's answer holds no candidate for it")]
    NoCandidate,
    /// An older gateway.
    #[error("this gateway sends no video over the WebSocket")]
    NoStream,
}

/// How to hold a viewer to `path`.
///
/// # Errors
/// [`Unavailable`].
pub fn plan(path: Path, offered: Offered) -> Result<Plan, Unavailable> {
    let ice = |relay_only, turn| Plan::Ice(IcePlan { relay_only, turn });
    let relay = |turn: &[Carrier]| match offered {
        Offered { turn: false, .. } => Err(Unavailable::NoTurn),
        Offered { secure: true, tls: false, .. } => Err(Unavailable::Proxy),
        _ => Ok(ice(true, turn.to_vec())),
    };
    // The same servers as in web/src/media/paths.ts.
    let streams = match offered {
        Offered { turn: false, .. } | Offered { secure: true, tls: false, .. } => &[][..],
        Offered { secure: true, .. } => &[Carrier::Tcp, Carrier::Tls],
        Offered { secure: false, .. } => &[Carrier::Tcp],
    };
    match path {
        Path::Udp => Ok(ice(false, Vec::new())),
        Path::Auto => Ok(ice(false, streams.to_vec())),
        Path::Tcp => relay(streams),
        Path::TurnUdp if offered.turn => Ok(ice(true, vec![Carrier::Udp])),
        Path::TurnUdp => Err(Unavailable::NoTurn),
        Path::TurnTcp => relay(&[Carrier::Tcp]),
        Path::Turns if !offered.secure => Err(Unavailable::NoTls),
        Path::Turns => relay(&[Carrier::Tls]),
        Path::IceTcp => Ok(Plan::Tcp),
        Path::Ws if offered.stream => Ok(Plan::Ws),
        Path::Ws => Err(Unavailable::NoStream),
    }
}

/// The answer with candidates of one protocol only (`udp`, `tcp`).
///
/// # Errors
/// [`Unavailable::NoCandidate`] if none is left.
pub fn filter_answer(sdp: &str, protocol: &str) -> Result<String, Unavailable> {
    let mut kept = 0;
    let lines: Vec<&str> = sdp
        .lines()
        .filter(|line| match line.strip_prefix("a=candidate:") {
            Some(candidate) => {
                let keeps = is_of(candidate, protocol);
                kept += usize::from(keeps);
                keeps
            }
            None => true,
        })
        .collect();
    if kept == 0 {
        return Err(Unavailable::NoCandidate);
    }
    Ok(lines.join("\r\n") + "\r\n")
}

/// `foundation component protocol priority address port typ …` (RFC 8839 §5.1).
fn is_of(candidate: &str, protocol: &str) -> bool {
    candidate.split_whitespace().nth(2).is_some_and(|p| p.eq_ignore_ascii_case(protocol))
}

/// RFC 8445 §5.1.2.1 and RFC 6544 §4.2: as the page has it, behind UDP and before every relay; passive.
const TCP_PRIORITY: u32 = (90 << 24) + (((4 << 13) | 0x1fff) << 8) + 255;

/// The answer with the gateway's TCP candidate (RFC 6544) instead of its own: only who came there knows the address by
/// which the port is reached, so that the page adds it as well.
pub fn tcp_answer(sdp: &str, at: SocketAddr) -> String {
    let (ip, port) = (at.ip(), at.port());
    let candidate = format!("a=candidate:tcp 1 tcp {TCP_PRIORITY} {ip} {port} typ host tcptype passive");
    let mut lines: Vec<&str> = sdp.lines().filter(|line| !line.starts_with("a=candidate:")).collect();
    let first = lines.iter().position(|line| line.starts_with("a=mid:")).map_or(lines.len(), |n| n + 1);
    lines.insert(first, &candidate);
    lines.join("\r\n") + "\r\n"
}

/// Addresses of an answer's candidates, best first.
pub fn candidates(sdp: &str) -> Vec<SocketAddr> {
    let candidate = |line: &str| {
        let words: Vec<&str> = line.strip_prefix("a=candidate:")?.split_whitespace().collect();
        let (ip, port) = (words.get(4)?.parse().ok()?, words.get(5)?.parse().ok()?);
        Some((words.get(3)?.parse::<u32>().ok()?, SocketAddr::new(ip, port)))
    };
    let mut found: Vec<(u32, SocketAddr)> = sdp.lines().filter_map(candidate).collect();
    found.sort_by_key(|(priority, _)| std::cmp::Reverse(*priority));
    found.dedup();
    found.into_iter().map(|(_, address)| address).collect()
}

/// Payload types of video in an answer, with the names of their codecs.
pub fn video_formats(sdp: &str) -> Vec<(u8, String)> {
    let video =
        sdp.lines().skip_while(|l| !l.starts_with("m=video ")).skip(1).take_while(|l| !l.starts_with("m="));
    video
        .filter_map(|line| {
            let (number, rest) = line.strip_prefix("a=rtpmap:")?.split_once(' ')?;
            Some((number.parse().ok()?, rest.split('/').next()?.to_ascii_uppercase()))
        })
        .collect()
}

/// The TURN server as libnice takes it. User name and password are escaped: both may hold a colon.
pub fn turn_uri(at: SocketAddr, carrier: Carrier, access: &TurnAccess) -> String {
    let escape = |text: &str| -> String {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
    };
    // TLS is in a pipe in front (pipe.rs): libnice only knows Google's imitation of it.
    let transport = if carrier == Carrier::Udp { "udp" } else { "tcp" };
    format!("turn://{}:{}@{at}?transport={transport}", escape(&access.username), escape(&access.credential))
}

/// One end of the pair that ICE chose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// `host`, `srflx`, `prflx` or `relay`.
    pub kind: String,
    /// `udp` or `tcp`.
    pub protocol: String,
    /// Address and port.
    pub address: String,
    /// How the relay is reached, for `relay`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay_protocol: Option<Carrier>,
}

/// Which of the ways to the relay is in use: `piped` bytes of the `received` ones came through the pipe.
/// libnice does not tell, and the pipe is all that sets TLS apart.
pub fn carrier(offered: &[Carrier], piped: u64, received: u64) -> Option<Carrier> {
    match offered {
        [one] => Some(*one),
        // The pipe carries more than the media: TURN's own messages, and the frames around it.
        _ if piped > received / 2 && offered.contains(&Carrier::Tls) => Some(Carrier::Tls),
        _ => offered.iter().copied().find(|carrier| *carrier != Carrier::Tls),
    }
}

/// Which path a pair is whose relay, if any, is reached by `carrier`.
pub fn name_pair(local: &End, carrier: Option<Carrier>) -> Path {
    match (local.kind.as_str(), carrier) {
        ("relay", Some(Carrier::Tls)) => Path::Turns,
        ("relay", Some(Carrier::Tcp)) => Path::TurnTcp,
        ("relay", _) => Path::TurnUdp,
        _ if local.protocol == "tcp" => Path::IceTcp,
        _ => Path::Udp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back() {
        for path in Path::ALL {
            assert_eq!(path.name().parse(), Ok(path));
            assert_eq!(serde_json::to_value(path).unwrap(), path.name());
        }
        assert!("quic".parse::<Path>().unwrap_err().contains("turn-tcp"));
    }

    const PLAIN: Offered = Offered { secure: false, turn: true, tls: false, stream: true };
    const SECURE: Offered = Offered { secure: true, turn: true, tls: true, stream: true };
    const PROXY: Offered = Offered { secure: true, turn: true, tls: false, stream: true };

    fn ice(path: Path, offered: Offered) -> (bool, Vec<Carrier>) {
        match plan(path, offered) {
            Ok(Plan::Ice(IcePlan { relay_only, turn })) => (relay_only, turn),
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn relays_are_forced_by_their_server_and_the_relay_policy() {
        for (path, offered, turn) in [
            (Path::TurnUdp, PLAIN, vec![Carrier::Udp]),
            (Path::TurnTcp, PLAIN, vec![Carrier::Tcp]),
            (Path::TurnTcp, SECURE, vec![Carrier::Tcp]),
            (Path::Turns, SECURE, vec![Carrier::Tls]),
            (Path::Tcp, PLAIN, vec![Carrier::Tcp]),
            (Path::Tcp, SECURE, vec![Carrier::Tcp, Carrier::Tls]),
        ] {
            assert_eq!(ice(path, offered), (true, turn), "{path}");
        }
        assert_eq!(ice(Path::Udp, PLAIN), (false, vec![]));
    }

    #[test]
    fn auto_is_what_the_page_tries() {
        assert_eq!(ice(Path::Auto, PLAIN), (false, vec![Carrier::Tcp]));
        assert_eq!(ice(Path::Auto, SECURE), (false, vec![Carrier::Tcp, Carrier::Tls]));
        assert_eq!(ice(Path::Auto, PROXY), (false, vec![]));
        assert_eq!(ice(Path::Auto, Offered::default()), (false, vec![]));
    }

    #[test]
    fn what_cannot_be_tried_says_why() {
        let none = Offered::default();
        assert_eq!(plan(Path::TurnUdp, none), Err(Unavailable::NoTurn));
        assert_eq!(plan(Path::Tcp, none), Err(Unavailable::NoTurn));
        assert_eq!(plan(Path::Ws, none), Err(Unavailable::NoStream));
        assert_eq!(plan(Path::Turns, PLAIN), Err(Unavailable::NoTls));
        assert_eq!(plan(Path::Turns, PROXY), Err(Unavailable::Proxy));
        assert_eq!(plan(Path::TurnTcp, PROXY), Err(Unavailable::Proxy));
    }

    #[test]
    fn candidates_of_other_protocols_are_left_out() {
        let sdp = "v=0\r\na=candidate:1 1 udp 1 192.0.2.1 8080 typ host\r\n\
            a=candidate:3 1 udp 7 2001:db8::1 8080 typ host\r\n\
            a=candidate:2 1 TCP 9 192.0.2.1 8080 typ host tcptype passive\r\na=mid:0\r\n";
        let filtered = filter_answer(sdp, "udp").unwrap();
        assert!(filtered.contains("udp 1") && !filtered.contains("TCP") && filtered.ends_with("a=mid:0\r\n"));
        assert_eq!(
            candidates(&filtered),
            ["[2001:db8::1]:8080", "192.0.2.1:8080"].map(|at| at.parse::<SocketAddr>().unwrap())
        );
        assert!(filter_answer(sdp, "tcp").unwrap().contains("tcptype"));
        assert_eq!(filter_answer(&filtered, "tcp"), Err(Unavailable::NoCandidate));
    }

    #[test]
    fn the_tcp_candidate_is_where_the_probe_came_from() {
        let sdp = "v=0\r\nm=video 9 X 96\r\na=mid:0\r\na=candidate:1 1 udp 1 192.0.2.1 8080 typ host\r\n\
            m=application 9 X 1\r\na=mid:1\r\n";
        let at = "[2001:db8::1]:8080".parse().unwrap();
        let answer = tcp_answer(sdp, at);
        assert_eq!(candidates(&answer), [at]);
        let place = answer.find("a=candidate:").unwrap();
        assert!(answer.find("m=application").unwrap() > place && answer.find("a=mid:0").unwrap() < place);
    }

    #[test]
    fn formats_of_video_are_read() {
        let sdp = "m=audio 9 X 111\r\na=rtpmap:111 opus/48000/2\r\nm=video 9 X 96 97\r\n\
            a=rtpmap:96 h264/90000\r\na=rtpmap:97 rtx/90000\r\nm=application 9 X 1\r\na=rtpmap:1 x/1\r\n";
        assert_eq!(video_formats(sdp), [(96, "H264".to_owned()), (97, "RTX".to_owned())]);
    }

    #[test]
    fn credentials_are_escaped_and_tls_is_left_to_the_pipe() {
        let access = TurnAccess { username: "1700000000:7".into(), credential: "a+/=".into(), tls: true };
        let at = "[::1]:8080".parse().unwrap();
        assert_eq!(
            turn_uri(at, Carrier::Tls, &access),
            "turn://1700000000%3A7:a%2B%2F%3D@[::1]:8080?transport=tcp"
        );
        assert!(turn_uri(at, Carrier::Udp, &access).ends_with("?transport=udp"));
    }

    #[test]
    fn pairs_have_the_names_of_paths() {
        let end = |kind: &str, protocol: &str| End {
            kind: kind.into(),
            protocol: protocol.into(),
            ..End::default()
        };
        assert_eq!(name_pair(&end("prflx", "udp"), Some(Carrier::Tcp)), Path::Udp);
        assert_eq!(name_pair(&end("relay", "udp"), Some(Carrier::Tcp)), Path::TurnTcp);
        assert_eq!(name_pair(&end("relay", "udp"), Some(Carrier::Tls)), Path::Turns);
        assert_eq!(name_pair(&end("relay", "udp"), Some(Carrier::Udp)), Path::TurnUdp);
        assert_eq!(name_pair(&end("host", "tcp"), None), Path::IceTcp);
    }

    #[test]
    fn tls_is_told_by_what_went_through_the_pipe() {
        let both = [Carrier::Tcp, Carrier::Tls];
        assert_eq!(carrier(&both, 1_100, 1_000), Some(Carrier::Tls));
        // An allocation that is not used costs a few messages.
        assert_eq!(carrier(&both, 300, 100_000), Some(Carrier::Tcp));
        assert_eq!(carrier(&[Carrier::Tls], 0, 0), Some(Carrier::Tls));
        assert_eq!(carrier(&[], 0, 0), None);
    }
}
