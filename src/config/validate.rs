//! PURE. From settings as given to settings that cannot be wrong.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use thiserror::Error;

use super::ice::IceConfig;
use super::identity::{SessionUid, SignInHint};
use super::layer::Layer;
use crate::trusted_net::TrustedNet;
use crate::wire::signal::Settings;

/// What is streamed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An X display; its name is checked by the capture's own parser.
    X11 {
        /// Such as `:1`.
        display: String,
        /// Authority file, if one was named.
        xauthority: Option<PathBuf>,
    },
    /// A moving test picture.
    Test,
}

/// A proxy in front that says who somebody is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardAuth {
    /// Its header, in lower case.
    pub header: String,
    /// Where it connects from: from anywhere else the header is ignored.
    pub from: Vec<TrustedNet>,
    /// Who gets control.
    pub owner: Option<String>,
}

/// Names and passwords of Basic authentication.
#[derive(Clone, PartialEq, Eq)]
pub struct Basic {
    /// User name.
    pub user: String,
    /// Password that gives control.
    pub password: String,
    /// Password that lets somebody look.
    pub view_password: Option<String>,
}

impl fmt::Debug for Basic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Basic").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Where the certificate of TLS comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// From files, which are watched.
    Files {
        /// The chain, the gateway's own certificate first; PEM.
        certificate: PathBuf,
        /// Its private key; PEM.
        key: PathBuf,
    },
    /// Made at the start.
    SelfSigned,
}

/// A fault that real parts do not produce on demand, shown on request: for tests of what happens then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Damage is never reported.
    IgnoreDamage,
    /// The first encoder that a viewer gets freezes three seconds later.
    StallEncoder,
}

/// Settings of one gateway.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// What to stream.
    pub source: Source,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Addresses to offer instead of the bound ones; port 0 is the listener's.
    pub advertise: Vec<SocketAddr>,
    /// TLS beside plain HTTP.
    pub tls: Option<Tls>,
    /// STUN and TURN servers that viewers are told of.
    pub ice: IceConfig,
    /// The session's name.
    pub session: String,
    /// Its UID, if it is one of Kubernetes'.
    pub session_uid: Option<SessionUid>,
    /// For people who come without a credential.
    pub sign_in_hint: Option<SignInHint>,
    /// Signs tokens.
    pub token_secret_file: Option<PathBuf>,
    /// Ids of revoked tokens.
    pub revoked_tokens_file: Option<PathBuf>,
    /// Other origins that are let in, in lower case.
    pub allowed_origins: Vec<String>,
    /// See [`ForwardAuth`].
    pub forward_auth: Option<ForwardAuth>,
    /// See [`Basic`].
    pub basic: Option<Basic>,
    /// The one encoder to use.
    pub encoder: Option<String>,
    /// More pipeline files.
    pub pipelines: Option<PathBuf>,
    /// Settings that viewers can change.
    pub settings: Settings,
    /// True if the screen may follow the window.
    pub resize: bool,
    /// Most viewers.
    pub max_viewers: usize,
    /// A fault to show.
    pub fault: Option<Fault>,
    /// For what must outlive a restart.
    pub state_dir: Option<PathBuf>,
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// A value out of its range, or not understood.
    #[error("--{name} {value}: {why}")]
    Value {
        /// The flag.
        name: &'static str,
        /// What it held.
        value: String,
        /// What is expected.
        why: &'static str,
    },
    /// A listener that others can reach, and nothing that asks who they are.
    #[error(
        "--listen {0} can be reached from other machines, so it needs --token-secret-file FILE \
         (make one with: head -c 32 /dev/urandom | base64 > FILE), Basic authentication or forward-auth"
    )]
    OpenListener(SocketAddr),
    /// Half of a pair.
    #[error(
        "--{given} needs --{missing} too: TLS takes a certificate chain and its private key, both as PEM"
    )]
    HalfTls {
        /// The half that is there.
        given: &'static str,
        /// The other one.
        missing: &'static str,
    },
    /// Two certificates.
    #[error(
        "--tls self-signed makes a certificate, --tls-cert and --tls-key name one: leave one of them out"
    )]
    TwoTls,
}

pub(super) fn value(name: &'static str, value: impl ToString, why: &'static str) -> ConfigError {
    ConfigError::Value { name, value: value.to_string(), why }
}

impl ServeConfig {
    /// Validates settings. `host_name` is the default session name; `display` the default display.
    ///
    /// # Errors
    /// [`ConfigError`], which names the flag.
    pub fn new(layer: Layer, host_name: String, display: Option<String>) -> Result<Self, ConfigError> {
        let ice = IceConfig::new(&layer)?;
        let fps = ranged("fps", layer.fps.unwrap_or(60), 5..=240, "5 to 240 is expected")?;
        let bitrate_kbps =
            ranged("bitrate", layer.bitrate.unwrap_or(8_000), 100..=200_000, "100 to 200000 is expected")?;
        let listen = layer.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080)));
        let basic = layer.basic_auth_password.map(|password| Basic {
            user: layer.basic_auth_user.unwrap_or_else(|| "ubuntu".to_owned()),
            password,
            view_password: layer.basic_auth_viewonly_password,
        });
        let forward_auth = match layer.forward_auth_header {
            Some(header) => Some(ForwardAuth {
                header: header.to_ascii_lowercase(),
                from: nets(&layer.forward_auth_from)?,
                owner: layer.owner,
            }),
            None => None,
        };
        let guarded = layer.token_secret_file.is_some() || basic.is_some() || forward_auth.is_some();
        if !listen.ip().is_loopback() && !guarded {
            return Err(ConfigError::OpenListener(listen));
        }
        Ok(Self {
            ice,
            source: source(layer.source.as_deref(), layer.display.or(display), layer.xauthority)?,
            listen,
            advertise: layer.advertise.iter().map(|a| advertised(a)).collect::<Result<_, _>>()?,
            tls: tls(layer.tls.as_deref(), layer.tls_cert, layer.tls_key)?,
            session: layer.session.unwrap_or(host_name),
            session_uid: parsed("session-uid", layer.session_uid.as_deref(), SessionUid::parse)?,
            sign_in_hint: parsed("sign-in-hint", layer.sign_in_hint.as_deref(), SignInHint::parse)?,
            revoked_tokens_file: layer.revoked_tokens_file.or_else(|| {
                let mut name = layer.token_secret_file.clone()?.into_os_string();
                name.push(".revoked");
                Some(name.into())
            }),
            token_secret_file: layer.token_secret_file,
            allowed_origins: layer.allowed_origin.iter().map(|o| origin(o)).collect::<Result<_, _>>()?,
            forward_auth,
            basic,
            encoder: layer.encoder,
            pipelines: layer.pipelines,
            settings: Settings { bitrate_kbps, fps },
            resize: layer.resize.unwrap_or(true),
            max_viewers: layer.max_viewers.unwrap_or(100),
            fault: layer.fault.as_deref().map(fault).transpose()?,
            state_dir: layer.state_dir,
        })
    }
}

fn parsed<T>(
    name: &'static str,
    given: Option<&str>,
    parse: impl Fn(&str) -> Result<T, &'static str>,
) -> Result<Option<T>, ConfigError> {
    given.map(|text| parse(text).map_err(|why| value(name, text, why))).transpose()
}

fn ranged(
    name: &'static str,
    given: u32,
    range: std::ops::RangeInclusive<u32>,
    why: &'static str,
) -> Result<u32, ConfigError> {
    if range.contains(&given) { Ok(given) } else { Err(value(name, given, why)) }
}

fn nets(texts: &[String]) -> Result<Vec<TrustedNet>, ConfigError> {
    let net = |t: &String| {
        TrustedNet::parse(t)
            .ok_or_else(|| value("forward-auth-from", t, "a network such as 10.42.0.0/16 is expected"))
    };
    texts.iter().map(net).collect()
}

fn source(
    name: Option<&str>,
    display: Option<String>,
    xauthority: Option<PathBuf>,
) -> Result<Source, ConfigError> {
    match name {
        None | Some("x11") => {
            Ok(Source::X11 { display: display.unwrap_or_else(|| ":0".to_owned()), xauthority })
        }
        Some("test") => Ok(Source::Test),
        Some(other) => Err(value("source", other, "x11 or test is expected")),
    }
}

fn tls(
    mode: Option<&str>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Result<Option<Tls>, ConfigError> {
    match (mode, certificate, key) {
        (None, None, None) => Ok(None),
        (None, Some(certificate), Some(key)) => Ok(Some(Tls::Files { certificate, key })),
        (None, Some(_), None) => Err(ConfigError::HalfTls { given: "tls-cert", missing: "tls-key" }),
        (None, None, Some(_)) => Err(ConfigError::HalfTls { given: "tls-key", missing: "tls-cert" }),
        (Some("self-signed"), None, None) => Ok(Some(Tls::SelfSigned)),
        (Some("self-signed"), ..) => Err(ConfigError::TwoTls),
        (Some(other), ..) => {
            Err(value("tls", other, "self-signed is expected, or --tls-cert and --tls-key instead"))
        }
    }
}

fn fault(name: &str) -> Result<Fault, ConfigError> {
    match name {
        "ignore-damage" => Ok(Fault::IgnoreDamage),
        "stall-encoder" => Ok(Fault::StallEncoder),
        other => Err(value("fault", other, "ignore-damage or stall-encoder is expected")),
    }
}

fn advertised(text: &str) -> Result<SocketAddr, ConfigError> {
    let address: Option<SocketAddr> =
        text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 0)));
    address.filter(|a| !a.ip().is_unspecified() && !a.ip().is_multicast()).ok_or_else(|| {
        value("advertise", text, "an address such as 203.0.113.7 or 203.0.113.7:30080 is expected")
    })
}

fn origin(text: &str) -> Result<String, ConfigError> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match host {
        Some(host) if !host.is_empty() && !host.contains(['/', '*', ' ']) => Ok(text.to_ascii_lowercase()),
        _ => Err(value("allowed-origin", text, "an origin such as https://portal.example is expected")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(layer: Layer) -> Result<ServeConfig, ConfigError> {
        ServeConfig::new(layer, "host".into(), None)
    }

    #[test]
    fn the_default_is_an_open_loopback_listener() {
        let config = config(Layer::default()).unwrap();
        assert!(config.listen.ip().is_loopback());
        assert_eq!(config.source, Source::X11 { display: ":0".into(), xauthority: None });
    }

    #[test]
    fn an_open_listener_for_others_is_refused() {
        let listen = "0.0.0.0:8080".parse().unwrap();
        let open = Layer { listen: Some(listen), ..Layer::default() };
        assert_eq!(config(open.clone()).unwrap_err(), ConfigError::OpenListener(listen));
        assert!(config(Layer { token_secret_file: Some("s".into()), ..open.clone() }).is_ok());
        assert!(config(Layer { basic_auth_password: Some("s".into()), ..open }).is_ok());
    }

    #[test]
    fn one_wrong_field_is_one_named_error() {
        let wrong = |layer| match config(layer).unwrap_err() {
            ConfigError::Value { name, .. } => name,
            other => panic!("{other}"),
        };
        let base = Layer::default;
        assert_eq!(wrong(Layer { fps: Some(4), ..base() }), "fps");
        assert_eq!(wrong(Layer { bitrate: Some(1), ..base() }), "bitrate");
        assert_eq!(wrong(Layer { source: Some("file".into()), ..base() }), "source");
        assert_eq!(wrong(Layer { session_uid: Some("a b".into()), ..base() }), "session-uid");
        assert_eq!(wrong(Layer { sign_in_hint: Some(String::new()), ..base() }), "sign-in-hint");
        assert_eq!(wrong(Layer { advertise: vec!["0.0.0.0".into()], ..base() }), "advertise");
        assert_eq!(wrong(Layer { allowed_origin: vec!["*".into()], ..base() }), "allowed-origin");
        let forward = Layer {
            forward_auth_header: Some("X-User".into()),
            forward_auth_from: vec!["10.0.0.0/33".into()],
            ..base()
        };
        assert_eq!(wrong(forward), "forward-auth-from");
    }

    #[test]
    fn tls_has_one_certificate_and_its_key() {
        let given = |mode: Option<&str>, cert: Option<&str>, key: Option<&str>| {
            let path = |p: Option<&str>| p.map(PathBuf::from);
            config(Layer {
                tls: mode.map(Into::into),
                tls_cert: path(cert),
                tls_key: path(key),
                ..Layer::default()
            })
            .map(|config| config.tls)
        };
        let files = Tls::Files { certificate: "c".into(), key: "k".into() };
        assert_eq!(given(None, None, None), Ok(None));
        assert_eq!(given(None, Some("c"), Some("k")), Ok(Some(files)));
        assert_eq!(given(Some("self-signed"), None, None), Ok(Some(Tls::SelfSigned)));
        let half = |given, missing| Err(ConfigError::HalfTls { given, missing });
        assert_eq!(given(None, Some("c"), None), half("tls-cert", "tls-key"));
        assert_eq!(given(None, None, Some("k")), half("tls-key", "tls-cert"));
        assert_eq!(given(Some("self-signed"), Some("c"), Some("k")), Err(ConfigError::TwoTls));
        assert!(matches!(given(Some("on"), None, None), Err(ConfigError::Value { name: "tls", .. })));
    }

    #[test]
    fn passwords_do_not_show() {
        let basic =
            Basic { user: "u".into(), password: "canary".into(), view_password: Some("canary".into()) };
        assert!(!format!("{basic:?}").contains("canary"));
    }
}
