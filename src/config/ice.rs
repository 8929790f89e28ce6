//! PURE. STUN and TURN servers that viewers are told of besides the one inside.

use std::fmt;

use super::layer::Layer;
use super::validate::{ConfigError, value};

/// URL of a STUN or TURN server (RFC 7064, RFC 7065), as browsers take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceUrl(String);

impl IceUrl {
    /// One of a STUN server.
    pub fn stun(text: &str) -> Result<Self, &'static str> {
        url(text, Kind::Stun)
    }

    /// One of a TURN server.
    pub fn turn(text: &str) -> Result<Self, &'static str> {
        url(text, Kind::Turn)
    }

    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a server is a STUN or a TURN server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Stun,
    Turn,
}

/// What opens somebody else's TURN server.
#[derive(Clone, PartialEq, Eq)]
pub enum TurnCredentials {
    /// One name and password for everybody.
    Static {
        /// The name.
        username: String,
        /// Its password.
        password: String,
    },
    /// Names that expire, and passwords made from a shared secret: the TURN REST convention (`use-auth-secret` of
    /// coturn).
    Secret(String),
}

impl fmt::Debug for TurnCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Static { .. } => "Static",
            Self::Secret(_) => "Secret",
        })
    }
}

/// Servers that viewers are told of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IceConfig {
    /// STUN servers.
    pub stun: Vec<IceUrl>,
    /// TURN servers of others, and what opens them.
    pub turn: Option<(Vec<IceUrl>, TurnCredentials)>,
    /// A service that hands out TURN servers with credentials.
    pub rest: Option<String>,
    /// Ways to the TURN server inside that the gateway cannot know of: routes, load balancers.
    pub advertised: Vec<IceUrl>,
}

impl IceConfig {
    pub(super) fn new(layer: &Layer) -> Result<Self, ConfigError> {
        let urls = |name, texts: &[String], kind| {
            let parse = |text: &String| url(text, kind).map_err(|why| value(name, text, why));
            texts.iter().map(parse).collect::<Result<Vec<_>, _>>()
        };
        let (stun, turn) = (urls("stun", &layer.stun, Kind::Stun)?, urls("turn", &layer.turn, Kind::Turn)?);
        let advertised = urls("advertise-turn", &layer.advertise_turn, Kind::Turn)?;
        for IceUrl(text) in &advertised {
            // libwebrtc hands every packet from a TURN server's address to its TURN port, our checks and media too.
            if !text.starts_with("turns:") && !text.ends_with("?transport=tcp") {
                return Err(value("advertise-turn", text, ADVERTISED));
            }
        }
        let rest = layer.turn_rest.clone();
        if let Some(text) = rest.as_ref().filter(|t| !t.starts_with("https://") && !t.starts_with("http://"))
        {
            return Err(value(
                "turn-rest",
                text,
                "a URL such as https://turn.example/credentials is expected",
            ));
        }
        let credentials = match (&layer.turn_username, &layer.turn_password, &layer.turn_shared_secret) {
            (Some(username), Some(password), _) => {
                Some(TurnCredentials::Static { username: username.clone(), password: password.clone() })
            }
            (_, _, Some(secret)) => Some(TurnCredentials::Secret(secret.clone())),
            _ => None,
        };
        let turn = match (turn, credentials) {
            (turn, _) if turn.is_empty() => None,
            (turn, Some(credentials)) => Some((turn, credentials)),
            (turn, None) => return Err(value("turn", turn[0].as_str(), NO_CREDENTIALS)),
        };
        Ok(Self { stun, turn, rest, advertised })
    }
}

const ADVERTISED: &str = "turns:HOST:PORT or turn:HOST:PORT?transport=tcp is expected; over UDP the candidates of \
     --advertise do the same, and better";
const NO_CREDENTIALS: &str = "this server needs credentials: DESKGATE_TURN_USERNAME and DESKGATE_TURN_PASSWORD, or \
     DESKGATE_TURN_SHARED_SECRET, in the environment";

fn url(text: &str, kind: Kind) -> Result<IceUrl, &'static str> {
    let why = match kind {
        Kind::Stun => "a URL such as stun:stun.example:3478 is expected",
        Kind::Turn => {
            "a URL such as turn:turn.example:3478?transport=udp or turns:turn.example:443 is expected"
        }
    };
    let (scheme, rest) = text.split_once(':').ok_or(why)?;
    let (place, query) = rest.split_once('?').map_or((rest, None), |(place, query)| (place, Some(query)));
    let known = match kind {
        Kind::Stun => matches!(scheme, "stun" | "stuns") && query.is_none(),
        Kind::Turn => {
            matches!(scheme, "turn" | "turns")
                && matches!(query, None | Some("transport=udp" | "transport=tcp"))
        }
    };
    let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            let host = address.parse::<std::net::Ipv6Addr>().map(|_| address);
            (host.map_err(|_| why)?, port.strip_prefix(':').or(Some(port).filter(|p| !p.is_empty())))
        }
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let host_is_one = !host.is_empty()
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':'));
    let port_is_one = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    if known && host_is_one && port_is_one { Ok(IceUrl(text.to_owned())) } else { Err(why) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(layer: Layer) -> Result<IceConfig, ConfigError> {
        IceConfig::new(&layer)
    }

    #[test]
    fn urls_are_those_that_browsers_take() {
        for good in
            ["turn:t.example", "turns:t.example:443", "turn:10.0.0.1:3478?transport=udp", "turn:[::1]:9"]
        {
            assert!(url(good, Kind::Turn).is_ok(), "{good}");
        }
        for bad in [
            "",
            "turn:",
            "stun:t.example",
            "turn:t.example:0",
            "turn:t.example:65536",
            "turn:t example",
            "turn:t.example?transport=sctp",
            "turn://t.example",
            "turn:u@t.example",
            "turn:[::1",
            "turn:[::1]9x",
        ] {
            assert!(url(bad, Kind::Turn).is_err(), "{bad}");
        }
        assert!(url("stun:s.example:19302", Kind::Stun).is_ok());
        assert!(url("stun:s.example?transport=udp", Kind::Stun).is_err());
    }

    #[test]
    fn a_server_of_others_needs_credentials() {
        let turn = vec!["turn:t.example".to_owned()];
        let error = config(Layer { turn: turn.clone(), ..Layer::default() }).unwrap_err().to_string();
        assert!(error.contains("DESKGATE_TURN_SHARED_SECRET"), "{error}");
        let secret = Layer { turn_shared_secret: Some("canary".into()), ..Layer::default() };
        let with = config(Layer { turn, ..secret.clone() }).unwrap();
        assert!(matches!(&with.turn, Some((_, TurnCredentials::Secret(s))) if s == "canary"));
        assert!(!format!("{with:?}").contains("canary"));
        assert_eq!(config(secret).unwrap().turn, None, "a secret alone names no server");
    }

    #[test]
    fn our_own_server_is_not_advertised_over_udp() {
        let advertised = |text: &str| config(Layer { advertise_turn: vec![text.into()], ..Layer::default() });
        assert!(advertised("turns:turn.desk.example:443").is_ok());
        assert!(advertised("turn:desk.example:30080?transport=tcp").is_ok());
        for udp in ["turn:desk.example", "turn:desk.example?transport=udp"] {
            assert!(advertised(udp).is_err(), "{udp}");
        }
    }
}
