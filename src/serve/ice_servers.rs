//! STUN and TURN servers that viewers are told of: ways to the one inside, and those of others.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, Uri};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rtc::crypto::RTCCryptoProvider;
use serde::Deserialize;
use thiserror::Error;
use tokio::time::{sleep, timeout};

use crate::config::{IceConfig, IceUrl, TurnCredentials};
use crate::turn::credential::{Credentials, Keys, User};
use crate::wire::signal::IceServer;

/// Credentials that are made here are good for new allocations for this long.
const LIFE_S: u64 = 24 * 3_600;
/// For a service to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Largest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 << 10;
/// Servers, and URLs of each, that are passed on.
const MAX_SERVERS: usize = 16;
/// How often a service is asked: at half of what it grants, but within these.
const ASK_EVERY: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(12 * 3_600));
/// After an answer that was none; doubled each time.
const RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct IceServers {
    config: Arc<IceConfig>,
    keys: Option<Arc<Keys>>,
    granted: Arc<Mutex<Vec<IceServer>>>,
}

impl IceServers {
    /// What this configuration names.
    pub fn new(config: IceConfig, crypto: Arc<dyn RTCCryptoProvider>) -> Self {
        let keys = match &config.turn {
            Some((_, TurnCredentials::Secret(secret))) => {
                Some(Arc::new(Keys::new(secret.clone().into_bytes(), crypto)))
            }
            _ => None,
        };
        Self { config: Arc::new(config), keys, granted: Arc::default() }
    }

    /// For one viewer, at `unix` seconds since the epoch. `own` opens the server inside.
    pub fn of(&self, viewer: u32, own: &Credentials, unix: u64) -> Vec<IceServer> {
        let urls = |urls: &[crate::config::IceUrl]| urls.iter().map(|u| u.as_str().to_owned()).collect();
        let server = |urls: Vec<String>, username: String, credential: String| IceServer {
            urls,
            username: Some(username),
            credential: Some(credential),
        };
        let mut servers = Vec::new();
        if !self.config.stun.is_empty() {
            servers.push(IceServer { urls: urls(&self.config.stun), username: None, credential: None });
        }
        if !self.config.advertised.is_empty() {
            let (username, password) = (own.username.clone(), own.password.clone());
            servers.push(server(urls(&self.config.advertised), username, password));
        }
        match (&self.config.turn, &self.keys) {
            (Some((turn, TurnCredentials::Static { username, password })), _) => {
                servers.push(server(urls(turn), username.clone(), password.clone()));
            }
            (Some((turn, TurnCredentials::Secret(_))), Some(keys)) => {
                match keys.mint(User { expires: unix + LIFE_S, viewer }) {
                    Ok(made) => servers.push(server(urls(turn), made.username, made.password)),
                    Err(error) => {
                        tracing::error!(%error, code = "turn-credentials", "no credentials for --turn")
                    }
                }
            }
            _ => {}
        }
        servers.extend(self.granted.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        servers
    }

    /// Keeps what the service of `--turn-rest` grants up to date, for as long as it is polled. `session` says who asks.
    pub async fn keep(self, session: String) {
        let Some(url) = self.config.rest.as_deref() else { return };
        let mut retry = RETRY.0;
        loop {
            match ask(url, &session).await {
                Ok(Granted { servers, life, refused }) => {
                    tracing::debug!(servers = servers.len(), ?life, "TURN servers granted");
                    if !refused.is_empty() {
                        tracing::warn!(?refused, code = "turn-rest-refused", "{REFUSED}");
                    }
                    *self.granted.lock().unwrap_or_else(PoisonError::into_inner) = servers;
                    retry = RETRY.0;
                    sleep((life / 2).clamp(ASK_EVERY.0, ASK_EVERY.1)).await;
                }
                Err(error) => {
                    tracing::warn!(%error, code = "turn-rest", "--turn-rest gives no TURN server; asked again soon");
                    sleep(retry).await;
                    retry = (retry * 2).min(RETRY.1);
                }
            }
        }
    }
}

/// Why a service granted nothing.
#[derive(Debug, Error)]
enum RestError {
    #[error("it is no URL that can be asked: {0}")]
    Url(#[from] hyper::http::Error),
    #[error("this machine's certificates cannot be read: {0}")]
    Roots(#[from] std::io::Error),
    #[error("it cannot be reached: {0:?}")]
    Unreachable(#[from] hyper_util::client::legacy::Error),
    #[error("it does not answer within 10 seconds")]
    Late,
    #[error("it answers {0}")]
    Status(hyper::StatusCode),
    #[error("its answer breaks off or is too long: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("its answer is not understood: {0}")]
    Json(#[from] serde_json::Error),
    #[error("its answer names no server")]
    Empty,
    #[error(
        "browsers refuse what it names, {0:?}; STUN or TURN URLs are expected, name and password for TURN"
    )]
    Unusable(Vec<String>),
}

const REFUSED: &str = "--turn-rest grants servers that browsers refuse; viewers are not told of them. A URL of STUN or \
     TURN is expected, and name and password for TURN";

/// What a service granted.
#[derive(Debug)]
struct Granted {
    servers: Vec<IceServer>,
    life: Duration,
    /// URLs that no viewer is told of: a browser makes no connection at all for who names one.
    refused: Vec<String>,
}

/// Both shapes that are in use: the draft's (draft-uberti-behave-turn-rest-00 §2.2), and `RTCConfiguration`'s.
#[derive(Deserialize)]
struct Grant {
    #[serde(default)]
    username: Option<String>,
    #[serde(default, alias = "credential")]
    password: Option<String>,
    #[serde(default)]
    ttl: Option<u64>,
    #[serde(default, alias = "urls")]
    uris: Vec<String>,
    #[serde(default, rename = "iceServers")]
    ice_servers: OneOrMany<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    urls: OneOrMany<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    credential: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    Many(Vec<T>),
    One(T),
}

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl<T> OneOrMany<T> {
    fn take(self, most: usize) -> Vec<T> {
        match self {
            Self::Many(many) => many.into_iter().take(most).collect(),
            Self::One(one) => vec![one],
        }
    }
}

async fn ask(url: &str, session: &str) -> Result<Granted, RestError> {
    let uri: Uri = url.parse().map_err(hyper::http::Error::from)?;
    // The header by which services written for Selkies know who asks.
    let request = Request::get(uri).header("x-auth-user", session).body(Empty::<Bytes>::new())?;
    let connector = HttpsConnectorBuilder::new().with_native_roots()?.https_or_http().enable_http1().build();
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let exchange = async {
        let answer = client.request(request).await?;
        if !answer.status().is_success() {
            return Err(RestError::Status(answer.status()));
        }
        Ok(Limited::new(answer.into_body(), MAX_ANSWER).collect().await.map_err(RestError::Body)?.to_bytes())
    };
    let body = timeout(ANSWER, exchange).await.map_err(|_| RestError::Late)??;
    granted(&body)
}

fn granted(body: &[u8]) -> Result<Granted, RestError> {
    let grant: Grant = serde_json::from_slice(body)?;
    let life = Duration::from_secs(grant.ttl.unwrap_or(LIFE_S));
    let of_draft = IceServer {
        urls: grant.uris.into_iter().take(MAX_SERVERS).collect(),
        username: grant.username,
        credential: grant.password,
    };
    let entry = |e: Entry| IceServer {
        urls: e.urls.take(MAX_SERVERS),
        username: e.username,
        credential: e.credential,
    };
    let mut servers: Vec<IceServer> =
        std::iter::once(of_draft).chain(grant.ice_servers.take(MAX_SERVERS).into_iter().map(entry)).collect();
    let refused: Vec<String> = servers.iter_mut().flat_map(take_refused).collect();
    servers.retain(|server| !server.urls.is_empty());
    match (servers.is_empty(), refused.is_empty()) {
        (true, true) => Err(RestError::Empty),
        (true, false) => Err(RestError::Unusable(refused)),
        (false, _) => Ok(Granted { servers, life, refused }),
    }
}

/// Takes out the URLs for which `RTCPeerConnection` would throw (W3C WebRTC §4.2.4: TURN needs name and password).
fn take_refused(server: &mut IceServer) -> Vec<String> {
    let named = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let opened = named(&server.username) && named(&server.credential);
    let good = |url: &String| IceUrl::stun(url).is_ok() || (opened && IceUrl::turn(url).is_ok());
    let (good, refused) = std::mem::take(&mut server.urls).into_iter().partition(good);
    server.urls = good;
    refused
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Layer, ServeConfig};

    fn servers(layer: Layer) -> IceServers {
        let config = ServeConfig::new(layer, "host".into(), None).unwrap().ice;
        IceServers::new(config, rtc::crypto::default_provider().unwrap())
    }

    #[test]
    fn each_server_comes_with_what_opens_it() {
        let own = Credentials { username: "9:1".into(), password: "own".into() };
        let of = |layer: Layer| servers(layer).of(7, &own, 1_000);
        let turn = vec!["turn:t.example".to_owned()];
        let fixed = Layer {
            stun: vec!["stun:s.example".into()],
            turn: turn.clone(),
            turn_username: Some("u".into()),
            turn_password: Some("p".into()),
            advertise_turn: vec!["turns:desk.example:443".into()],
            ..Layer::default()
        };
        let names = |servers: &[IceServer]| -> Vec<(String, Option<String>)> {
            servers.iter().map(|s| (s.urls[0].clone(), s.username.clone())).collect()
        };
        assert_eq!(
            names(&of(fixed)),
            [
                ("stun:s.example".into(), None),
                ("turns:desk.example:443".into(), Some("9:1".into())),
                ("turn:t.example".into(), Some("u".into())),
            ]
        );
        let shared = of(Layer { turn, turn_shared_secret: Some("secret".into()), ..Layer::default() });
        assert_eq!(names(&shared), [("turn:t.example".into(), Some("87400:7".into()))]);
        // printf 87400:7 | openssl dgst -sha1 -hmac secret -binary | base64
        assert_eq!(shared[0].credential.as_deref(), Some("tTPJOqvGD5PbF9NXtqhY2iMPA74="));
        assert!(of(Layer::default()).is_empty());
    }

    #[test]
    fn both_shapes_of_grants_are_read() {
        let draft =
            br#"{"username":"1:u","password":"p","ttl":600,"uris":["turn:t.example:3478?transport=udp"]}"#;
        let Granted { servers, life, .. } = granted(draft).unwrap();
        assert_eq!((servers[0].credential.as_deref(), life), (Some("p"), Duration::from_secs(600)));
        let browser = br#"{"iceServers":[{"urls":"stun:s.example"},{"urls":["turn:t.example"],"username":"u","credential":"c"}]}"#;
        let servers = granted(browser).unwrap().servers;
        assert_eq!(servers.len(), 2);
        assert_eq!(servers[1].credential.as_deref(), Some("c"));
        let one = br#"{"iceServers":{"urls":["turn:t.example"],"username":"u","credential":"c"}}"#;
        assert_eq!(granted(one).unwrap().servers.len(), 1);
        for nothing in [&b"{}"[..], b"[]", b"no", br#"{"uris":[]}"#] {
            assert!(granted(nothing).is_err());
        }
    }

    #[test]
    fn what_a_browser_refuses_is_left_out() {
        let mixed = br#"{"username":"u","password":"p","uris":["turn:t.example","http://x","turn:t.example?transport=sctp"],
            "iceServers":[{"urls":["turn:open.example","stun:s.example"]},{"urls":"turns:t.example","username":"","credential":"p"}]}"#;
        let Granted { servers, refused, .. } = granted(mixed).unwrap();
        let urls: Vec<&String> = servers.iter().flat_map(|server| &server.urls).collect();
        assert_eq!(urls, ["turn:t.example", "stun:s.example"]);
        assert_eq!(
            refused,
            ["http://x", "turn:t.example?transport=sctp", "turn:open.example", "turns:t.example"]
        );
        let useless = granted(br#"{"uris":["turn:t.example:3478"]}"#).unwrap_err().to_string();
        assert!(useless.contains("turn:t.example:3478") && useless.contains("password"), "{useless}");
    }

    /// Answers one request with `answer`; gives the URL, and what was asked.
    fn service(answer: String) -> (String, std::thread::JoinHandle<String>) {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/credentials?service=turn", listener.local_addr().unwrap());
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                asked.extend(byte);
            }
            // Whoever has read enough hangs up.
            let _ = stream.write_all(answer.as_bytes());
            String::from_utf8(asked).unwrap()
        });
        (url, asked)
    }

    fn answer(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn a_service_is_asked_in_the_sessions_name() {
        let grant = r#"{"username":"1:u","password":"p","uris":["turn:t.example"]}"#;
        let (url, asked) = service(answer("200 OK", grant));
        let Granted { servers, .. } = ask(&url, "desk").await.unwrap();
        assert_eq!(servers[0].urls, ["turn:t.example"]);
        let asked = asked.join().unwrap();
        assert!(
            asked.starts_with("GET /credentials?service=turn ") && asked.contains("x-auth-user: desk"),
            "{asked}"
        );
    }

    #[tokio::test]
    async fn answers_that_are_none_are_errors_that_say_so() {
        let (url, _) = service(answer("503 Service Unavailable", ""));
        assert!(ask(&url, "desk").await.unwrap_err().to_string().contains("503"));
        let (url, _) = service(answer("200 OK", &" ".repeat(MAX_ANSWER + 1)));
        assert!(matches!(ask(&url, "desk").await, Err(RestError::Body(_))));
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let gone = ask(&format!("http://{nobody}/"), "desk").await.unwrap_err().to_string();
        assert!(gone.contains("refused"), "{gone}");
    }
}
