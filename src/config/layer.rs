//! PURE. One source of settings, as typed; layers are laid over each other.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;
use thiserror::Error;

/// Settings that were given somewhere. Also the flags of `deskgate serve`, and the keys of its file.
#[derive(Args, Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Layer {
    /// X display to stream, such as `:1`; waited for as long as it takes [default: $DISPLAY, else :0]
    #[arg(long, env = "DESKGATE_DISPLAY", value_name = "DISPLAY")]
    pub display: Option<String>,
    /// Authority file of the X server [default: $XAUTHORITY, else ~/.Xauthority]
    #[arg(long, env = "DESKGATE_XAUTHORITY", value_name = "FILE")]
    pub xauthority: Option<PathBuf>,
    /// What to stream: `x11`, or `test` for a moving test picture [default: x11]
    #[arg(long, env = "DESKGATE_SOURCE", value_name = "SOURCE")]
    pub source: Option<String>,
    /// The one port, TCP and UDP [default: 127.0.0.1:8080]
    #[arg(long, env = "DESKGATE_LISTEN", value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// Address that viewers reach this gateway by, instead of the bound ones (NAT 1:1, node port); repeatable
    #[arg(long, env = "DESKGATE_ADVERTISE", value_name = "IP[:PORT]", value_delimiter = ',')]
    #[serde(default)]
    pub advertise: Vec<String>,
    /// Certificate chain for TLS on the same port, PEM; read again when it changes. Plain HTTP goes on beside it
    #[arg(long, env = "DESKGATE_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of `--tls-cert`, PEM; read again when it changes
    #[arg(long, env = "DESKGATE_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// TLS with a certificate that this gateway makes itself, which browsers warn of: `self-signed`
    #[arg(long, env = "DESKGATE_TLS", value_name = "MODE")]
    pub tls: Option<String>,
    /// Way to the TURN server inside that viewers are told of besides the page's own address, such as a TLS route:
    /// turns:HOST:443; repeatable
    #[arg(long, env = "DESKGATE_ADVERTISE_TURN", value_name = "URL", value_delimiter = ',')]
    #[serde(default)]
    pub advertise_turn: Vec<String>,
    /// TURN server of others, such as turn:HOST:3478?transport=udp; credentials come by the environment:
    /// DESKGATE_TURN_USERNAME and DESKGATE_TURN_PASSWORD, or DESKGATE_TURN_SHARED_SECRET; repeatable
    #[arg(long, env = "DESKGATE_TURN", value_name = "URL", value_delimiter = ',')]
    #[serde(default)]
    pub turn: Vec<String>,
    /// STUN server, such as stun:HOST:19302; repeatable
    #[arg(long, env = "DESKGATE_STUN", value_name = "URL", value_delimiter = ',')]
    #[serde(default)]
    pub stun: Vec<String>,
    /// Service that hands out TURN servers with credentials (TURN REST)
    #[arg(long, env = "DESKGATE_TURN_REST", value_name = "URL")]
    pub turn_rest: Option<String>,
    /// Name on the TURN servers of others (environment only)
    #[arg(skip)]
    pub turn_username: Option<String>,
    /// Password on them (environment only)
    #[arg(skip)]
    pub turn_password: Option<String>,
    /// What passwords on them are made from (environment only)
    #[arg(skip)]
    pub turn_shared_secret: Option<String>,
    /// Name of the session, in tokens and tickets [default: the host name]
    #[arg(long, env = "DESKGATE_SESSION", value_name = "NAME")]
    pub session: Option<String>,
    /// `metadata.uid` of the session, named in a header of every answer, so that a probe knows whose gateway it is
    #[arg(long, env = "DESKGATE_SESSION_UID", value_name = "UID")]
    pub session_uid: Option<String>,
    /// How to get in, for people who come without a credential; `…` around a command. Anybody can read it
    #[arg(long, env = "DESKGATE_SIGN_IN_HINT", value_name = "TEXT")]
    pub sign_in_hint: Option<String>,
    /// File with the secret that signs tokens; without it only a loopback listener starts
    #[arg(long, env = "DESKGATE_TOKEN_SECRET_FILE", value_name = "FILE")]
    pub token_secret_file: Option<PathBuf>,
    /// File with the ids of revoked tokens, one a line [default: the secret's file name + `.revoked`]
    #[arg(long, env = "DESKGATE_REVOKED_TOKENS_FILE", value_name = "FILE")]
    pub revoked_tokens_file: Option<PathBuf>,
    /// Origin, besides the page's own, that may open a session, such as https://portal.example; repeatable
    #[arg(long, env = "DESKGATE_ALLOWED_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    #[serde(default)]
    pub allowed_origin: Vec<String>,
    /// Header in which a trusted forward-auth proxy names the user, such as X-Auth-Request-Email
    #[arg(long, env = "DESKGATE_FORWARD_AUTH_HEADER", value_name = "HEADER", requires = "forward_auth_from")]
    pub forward_auth_header: Option<String>,
    /// Networks that this proxy connects from, such as 10.42.0.0/16; repeatable
    #[arg(long, env = "DESKGATE_FORWARD_AUTH_FROM", value_name = "CIDR", value_delimiter = ',')]
    #[serde(default)]
    pub forward_auth_from: Vec<String>,
    /// User that the proxy's header gives control to; others may look
    #[arg(long, env = "DESKGATE_OWNER", value_name = "USER")]
    pub owner: Option<String>,
    /// Basic authentication: user [default: ubuntu]
    #[arg(long, env = "DESKGATE_BASIC_AUTH_USER", value_name = "USER")]
    pub basic_auth_user: Option<String>,
    /// Basic authentication: password, which turns it on (environment only)
    #[arg(skip)]
    pub basic_auth_password: Option<String>,
    /// Basic authentication: password of those who may only look (environment only)
    #[arg(skip)]
    pub basic_auth_viewonly_password: Option<String>,
    /// Use this encoder alone, by its name in `deskgate encoders` [default: the first that works]
    #[arg(long, env = "DESKGATE_ENCODER", value_name = "NAME")]
    pub encoder: Option<String>,
    /// Folder with pipeline files that add to, or replace, the built-in ones
    #[arg(long, env = "DESKGATE_PIPELINES", value_name = "DIR")]
    pub pipelines: Option<PathBuf>,
    /// Frame limit, frames a second, 5 to 240 [default: 60]
    #[arg(long, env = "DESKGATE_FPS", value_name = "N")]
    pub fps: Option<u32>,
    /// Video bitrate, kbit/s, 100 to 200000 [default: 8000]
    #[arg(long, env = "DESKGATE_BITRATE", value_name = "KBPS")]
    pub bitrate: Option<u32>,
    /// Let the screen follow the controller's window [default: true]
    #[arg(long, env = "DESKGATE_RESIZE", value_name = "BOOL")]
    pub resize: Option<bool>,
    /// Most viewers at a time [default: 100]
    #[arg(long, env = "DESKGATE_MAX_VIEWERS", value_name = "N")]
    pub max_viewers: Option<usize>,
    /// A fault to show, for tests of what happens then: `ignore-damage`, `stall-encoder`
    #[arg(long, hide = true, value_name = "FAULT")]
    pub fault: Option<String>,
    /// Folder for what must outlive a restart [default: $XDG_RUNTIME_DIR/deskgate, else ~/.local/state/deskgate]
    #[arg(long, env = "DESKGATE_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

/// Why a source of settings could not be read.
#[derive(Debug, Error)]
pub enum LayerError {
    /// The file is no TOML, or has a key or type that is not one of ours; the text names line and key.
    #[error("settings file: {0}")]
    File(#[from] toml::de::Error),
    /// A `SELKIES_*` variable has a value that this gateway cannot take.
    #[error("{name}={value}: {why}")]
    Environment {
        /// The variable.
        name: &'static str,
        /// What it held.
        value: String,
        /// What is expected.
        why: &'static str,
    },
}

macro_rules! lay_over {
    ($upper:ident over $lower:ident: $($option:ident),* ; $($list:ident),*) => {
        Layer {
            $($option: $upper.$option.or($lower.$option),)*
            $($list: if $upper.$list.is_empty() { $lower.$list } else { $upper.$list },)*
        }
    };
}

impl Layer {
    /// Reads the settings file's text.
    ///
    /// # Errors
    /// [`LayerError::File`], which names line and key.
    pub fn from_toml(text: &str) -> Result<Self, LayerError> {
        Ok(toml::from_str(text)?)
    }

    /// Reads the names that Selkies users know, and passwords, which no flag may carry.
    ///
    /// # Errors
    /// [`LayerError::Environment`] for a number that is none.
    pub fn from_environment(get: impl Fn(&str) -> Option<String>) -> Result<Self, LayerError> {
        let number = |name: &'static str| {
            get(name)
                .map(|value| {
                    // Selkies 2 takes lists, ranges and locks: the first number is the value.
                    let first = value.split(['|', ',', '-']).next().unwrap_or_default();
                    let wrong = |_| LayerError::Environment {
                        name,
                        value: value.clone(),
                        why: "a number is expected",
                    };
                    first.trim().parse().map_err(wrong)
                })
                .transpose()
        };
        let text = |name: &str| get(name).filter(|v| !v.is_empty());
        let enabled = |name: &str| text(name).is_none_or(|v| !matches!(v.as_str(), "false" | "0"));
        let basic = enabled("SELKIES_ENABLE_BASIC_AUTH");
        let password = |ours: &str, theirs: &str| text(ours).or_else(|| text(theirs).filter(|_| basic));
        let https = text("SELKIES_ENABLE_HTTPS").is_some_and(|v| matches!(v.as_str(), "true" | "1"));
        let tls_file = |name: &str| text(name).filter(|_| https).map(PathBuf::from);
        let (tls_cert, tls_key) = (tls_file("SELKIES_HTTPS_CERT"), tls_file("SELKIES_HTTPS_KEY"));
        // What Selkies takes without files is self-signed too: the snakeoil certificate of Debian.
        let self_signed = https && tls_cert.is_none() && tls_key.is_none();
        let either = |ours: &str, theirs: &str| text(ours).or_else(|| text(theirs));
        let turn_port: Option<u32> = number("SELKIES_TURN_PORT")?;
        let turn = text("SELKIES_TURN_HOST").map(|host| {
            let tls = text("SELKIES_TURN_TLS").is_some_and(|v| v.starts_with("true"));
            let protocol = text("SELKIES_TURN_PROTOCOL").unwrap_or_else(|| "udp".to_owned());
            let scheme = if tls { "turns" } else { "turn" };
            format!("{scheme}:{host}:{}?transport={protocol}", turn_port.unwrap_or(3478))
        });
        let stun_port: Option<u32> = number("SELKIES_STUN_PORT")?;
        let stun = text("SELKIES_STUN_HOST").map(|host| format!("stun:{host}:{}", stun_port.unwrap_or(3478)));
        let port: Option<u16> = number("SELKIES_PORT")?.and_then(|p: u32| p.try_into().ok());
        let address = text("SELKIES_ADDR").and_then(|a| a.parse().ok());
        Ok(Self {
            listen: match (address, port) {
                (None, None) => None,
                (address, port) => {
                    Some(SocketAddr::new(address.unwrap_or([127, 0, 0, 1].into()), port.unwrap_or(8080)))
                }
            },
            tls_cert,
            tls_key,
            turn: turn.into_iter().collect(),
            stun: stun.into_iter().collect(),
            turn_rest: text("SELKIES_TURN_REST_URI"),
            turn_username: either("DESKGATE_TURN_USERNAME", "SELKIES_TURN_USERNAME"),
            turn_password: either("DESKGATE_TURN_PASSWORD", "SELKIES_TURN_PASSWORD"),
            turn_shared_secret: either("DESKGATE_TURN_SHARED_SECRET", "SELKIES_TURN_SHARED_SECRET"),
            tls: self_signed.then(|| "self-signed".to_owned()),
            encoder: text("SELKIES_ENCODER").and_then(|v| v.split(['|', ',']).next().map(str::to_owned)),
            fps: number("SELKIES_FRAMERATE")?,
            bitrate: number("SELKIES_VIDEO_BITRATE")?,
            resize: text("SELKIES_ENABLE_RESIZE").map(|v| v.starts_with("true")),
            basic_auth_user: text("SELKIES_BASIC_AUTH_USER"),
            basic_auth_password: password("DESKGATE_BASIC_AUTH_PASSWORD", "SELKIES_BASIC_AUTH_PASSWORD"),
            basic_auth_viewonly_password: password(
                "DESKGATE_BASIC_AUTH_VIEWONLY_PASSWORD",
                "SELKIES_BASIC_AUTH_VIEWONLY_PASSWORD",
            ),
            ..Self::default()
        })
    }

    /// This layer, with what it lacks taken from `lower`.
    #[must_use]
    pub fn over(self, lower: Self) -> Self {
        lay_over!(self over lower:
            display, xauthority, source, listen, tls_cert, tls_key, tls, session, session_uid, sign_in_hint,
            token_secret_file, revoked_tokens_file, forward_auth_header, owner, basic_auth_user, basic_auth_password, basic_auth_viewonly_password,
            encoder, pipelines, fps, bitrate, resize, max_viewers, fault, state_dir,
            turn_rest, turn_username, turn_password, turn_shared_secret;
            advertise, advertise_turn, turn, stun, allowed_origin, forward_auth_from
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upper_layers_win_key_by_key() {
        let file = Layer::from_toml("fps = 30\nbitrate = 4000\nadvertise = [\"10.0.0.1\"]").unwrap();
        let selkies = Layer::from_environment(|name| {
            [("SELKIES_FRAMERATE", "50|locked"), ("SELKIES_ENCODER", "x264enc"), ("SELKIES_PORT", "9000")]
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| (*v).to_owned())
        })
        .unwrap();
        let flags = Layer { encoder: Some("vp8enc".into()), ..Layer::default() };
        let all = flags.over(selkies).over(file);
        assert_eq!((all.fps, all.bitrate, all.encoder.as_deref()), (Some(50), Some(4000), Some("vp8enc")));
        assert_eq!(all.listen, Some("127.0.0.1:9000".parse().unwrap()));
        assert_eq!(all.advertise, ["10.0.0.1"]);
    }

    #[test]
    fn mistakes_name_their_place() {
        let error = Layer::from_toml("fps = 60\nbitrat = 1").unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("bitrat"), "{error}");
        let error =
            Layer::from_environment(|n| (n == "SELKIES_FRAMERATE").then(|| "fast".into())).unwrap_err();
        assert_eq!(error.to_string(), "SELKIES_FRAMERATE=fast: a number is expected");
    }

    #[test]
    fn https_of_selkies_is_off_until_it_is_enabled() {
        let env = |enabled: Option<&'static str>, cert: Option<&'static str>| {
            let layer = Layer::from_environment(move |n| match n {
                "SELKIES_ENABLE_HTTPS" => enabled.map(str::to_owned),
                "SELKIES_HTTPS_CERT" | "SELKIES_HTTPS_KEY" => cert.map(str::to_owned),
                _ => None,
            })
            .unwrap();
            (layer.tls, layer.tls_cert, layer.tls_key)
        };
        assert_eq!(env(None, Some("/c")), (None, None, None));
        assert_eq!(env(Some("true"), Some("/c")), (None, Some("/c".into()), Some("/c".into())));
        assert_eq!(env(Some("true"), None), (Some("self-signed".into()), None, None));
    }

    #[test]
    fn basic_authentication_of_selkies_can_be_off() {
        let env = |enabled: &'static str| {
            Layer::from_environment(move |n| match n {
                "SELKIES_BASIC_AUTH_PASSWORD" => Some("pw".into()),
                "SELKIES_ENABLE_BASIC_AUTH" => Some(enabled.into()),
                _ => None,
            })
            .unwrap()
            .basic_auth_password
        };
        assert_eq!(env("true").as_deref(), Some("pw"));
        assert_eq!(env("false"), None);
    }
}
