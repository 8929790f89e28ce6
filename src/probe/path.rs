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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
    /// A stream inside TLS.
    Tls,
}

/// What ICE is given for a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Only relayed candidates of ours (`iceTransportPolicy: relay`).
    pub relay_only: bool,
    /// How to reach the gateway's TURN server, if at all.
    pub turn: Option<Carrier>,
    /// Candidates of the answer that may be used, by protocol.
    pub udp: bool,
    /// See `udp`.
    pub tcp: bool,
}

/// Why a path cannot be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unavailable {
    /// No credentials in its greeting.
    #[error("the gateway offers no TURN server")]
    NoTurn,
    /// TLS ends somewhere that the URL does not show.
    #[error("TURN over TLS needs an https URL")]
    NoTls,
    /// A proxy in front ends TLS, or the gateway does: TCP without TLS does not get through.
    #[error("this port speaks TLS, so that TURN without TLS does not get through: use turns")]
    TlsOnly,
    /// Nothing of that kind in the answer.
    #[error("the gateway offers no candidate for it")]
    NoCandidate,
    /// Written for, not yet there.
    #[error("this version of the probe does not speak it yet")]
    NotBuilt,
}

/// How to hold a client to `path`, against a gateway at an `https` URL or not, with or without TURN.
///
/// # Errors
/// [`Unavailable`].
pub fn plan(path: Path, secure: bool, turn: bool) -> Result<Plan, Unavailable> {
    let stream = if secure { Carrier::Tls } else { Carrier::Tcp };
    let relay = |carrier| match turn {
        true => Ok(Plan { relay_only: true, turn: Some(carrier), udp: true, tcp: false }),
        false => Err(Unavailable::NoTurn),
    };
    match path {
        Path::Udp => Ok(Plan { relay_only: false, turn: None, udp: true, tcp: false }),
        // The same servers as in web/src/media/paths.ts.
        Path::Auto => Ok(Plan { relay_only: false, turn: turn.then_some(stream), udp: true, tcp: false }),
        Path::Tcp => relay(stream),
        Path::TurnUdp => relay(Carrier::Udp),
        Path::TurnTcp if secure => Err(Unavailable::TlsOnly),
        Path::TurnTcp => relay(Carrier::Tcp),
        Path::Turns if !secure => Err(Unavailable::NoTls),
        Path::Turns => relay(Carrier::Tls),
        Path::IceTcp | Path::Ws => Err(Unavailable::NotBuilt),
    }
}

/// The answer without the candidates that the plan excludes.
///
/// # Errors
/// [`Unavailable::NoCandidate`] if none is left.
pub fn filter_answer(sdp: &str, plan: &Plan) -> Result<String, Unavailable> {
    let mut kept = 0;
    let lines: Vec<&str> = sdp
        .lines()
        .filter(|line| match line.strip_prefix("a=candidate:") {
            Some(candidate) => {
                let keeps = wanted(candidate, plan);
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
fn wanted(candidate: &str, plan: &Plan) -> bool {
    match candidate.split_whitespace().nth(2).map(str::to_ascii_lowercase).as_deref() {
        Some("udp") => plan.udp,
        Some("tcp") => plan.tcp,
        _ => false,
    }
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
    pub relay_protocol: Option<String>,
}

/// Which path a chosen pair is; `carrier` is what the TURN server was offered as.
pub fn name_pair(local: &End, carrier: Option<Carrier>) -> Path {
    match (local.kind.as_str(), local.protocol.as_str(), carrier) {
        ("relay", _, Some(Carrier::Tls)) => Path::Turns,
        ("relay", _, Some(Carrier::Tcp)) => Path::TurnTcp,
        ("relay", ..) => Path::TurnUdp,
        (_, "tcp", _) => Path::IceTcp,
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

    #[test]
    fn relays_are_forced_by_one_server_and_the_relay_policy() {
        for (path, secure, carrier) in [
            (Path::TurnUdp, false, Carrier::Udp),
            (Path::TurnTcp, false, Carrier::Tcp),
            (Path::Turns, true, Carrier::Tls),
            (Path::Tcp, false, Carrier::Tcp),
            (Path::Tcp, true, Carrier::Tls),
        ] {
            let plan = plan(path, secure, true).unwrap();
            assert_eq!((plan.relay_only, plan.turn), (true, Some(carrier)), "{path}");
        }
        assert_eq!(plan(Path::Udp, false, true).unwrap().turn, None);
        assert!(!plan(Path::Auto, false, true).unwrap().relay_only);
    }

    #[test]
    fn what_cannot_be_tried_says_why() {
        assert_eq!(plan(Path::TurnUdp, false, false), Err(Unavailable::NoTurn));
        assert_eq!(plan(Path::Turns, false, true), Err(Unavailable::NoTls));
        assert_eq!(plan(Path::TurnTcp, true, true), Err(Unavailable::TlsOnly));
        // Without TURN the page still tries UDP.
        assert_eq!(plan(Path::Auto, false, false).unwrap().turn, None);
    }

    #[test]
    fn candidates_of_other_protocols_are_left_out() {
        let sdp = "v=0\r\na=candidate:1 1 udp 1 192.0.2.1 8080 typ host\r\n\
            a=candidate:2 1 TCP 1 192.0.2.1 8080 typ host tcptype passive\r\na=mid:0\r\n";
        let udp = plan(Path::Udp, false, false).unwrap();
        let filtered = filter_answer(sdp, &udp).unwrap();
        assert!(filtered.contains("udp 1") && !filtered.contains("TCP") && filtered.ends_with("a=mid:0\r\n"));
        assert_eq!(filter_answer(&sdp.replace("udp", "sctp"), &udp), Err(Unavailable::NoCandidate));
    }

    #[test]
    fn credentials_are_escaped_and_tls_is_left_to_the_pipe() {
        let access = TurnAccess { username: "1700000000:7".into(), credential: "a+/=".into() };
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
}
