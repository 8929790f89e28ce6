//! `deskgate serve`: the one place where capture, media, transport, HTTP and desktop meet.

mod addresses;
mod fanout;
mod heart;
mod ice_servers;
mod joining;
mod link;
mod listener;
mod memory;
mod metrics;
mod renditions;
mod report;
mod secrets;
mod self_signed;
mod tls;

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use self::addresses::Addresses;
use self::heart::{Heart, Parts};
use self::ice_servers::IceServers;
use self::link::{Command, Link};
use self::listener::Port;
use self::metrics::Metrics;
use self::renditions::{Encoders, Renditions};
use self::tls::{Files, Tls, TlsError};
use crate::capture::{self, CaptureConfig};
use crate::config::{self, Fault, ServeConfig, Source};
use crate::desktop;
use crate::display::{BadDisplayName, DisplayName};
use crate::frame::Size;
use crate::http::auth::Auth;
use crate::http::site::Site;
use crate::http::{Front, Guard};
use crate::media::catalog::{Catalog, CatalogError};
use crate::media::choose::{self, UnknownEncoder};
use crate::media::host;
use crate::media::ranking::Ranking;
use crate::session::{Session, SessionConfig};
use crate::transport::mux::Mux;
use crate::transport::net::{Net, Waker};

pub use self::secrets::token_secret;

/// Size of the test picture.
const TEST_SIZE: Size = Size { width: 1280, height: 720 };
/// What sockets get to say goodbye in.
const GRACE: Duration = Duration::from_secs(2);
/// Between two looks at the list of revoked tokens.
const REVOCATIONS: Duration = Duration::from_secs(2);
/// Times that a port chosen by the system is tried for TCP and UDP alike.
const PORT_TRIES: usize = 16;

/// Why a gateway did not start. Once it has, nothing but a signal ends it.
#[derive(Debug, Error)]
pub enum ServeError {
    /// `--display` is no display name.
    #[error("--display: {0}")]
    Display(#[from] BadDisplayName),
    /// A pipeline file has a mistake.
    #[error("{0}")]
    Catalog(#[from] CatalogError),
    /// `--encoder` names none.
    #[error("--encoder: {0}")]
    Encoder(#[from] UnknownEncoder),
    /// GStreamer does not start.
    #[error("GStreamer: {0}")]
    Gstreamer(String),
    /// No entry of the catalogue can run here.
    #[error(
        "no encoder can run here; `deskgate encoders` says why (on Debian: apt-get install gstreamer1.0-plugins-ugly gstreamer1.0-plugins-good)"
    )]
    NoEncoder,
    /// There is no certificate for TLS.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// The port cannot be had.
    #[error("--listen {address}: {error} (is another gateway running? choose another port)")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// The system's word.
        error: io::Error,
    },
    /// A bug: whoever supervises this process should start it again.
    #[error("the gateway's loop ended unexpectedly; its panic stands in the log")]
    LoopEnded,
    /// Something else that the system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A file could not be used.
    #[error("{what} {path}: {error}")]
    File {
        /// Which setting.
        what: &'static str,
        /// Its value.
        path: String,
        /// The system's word.
        error: io::Error,
    },
}

/// Runs a gateway until SIGTERM or SIGINT. `started` is told the bound address.
///
/// # Errors
/// [`ServeError`], before anything is served.
pub fn run(config: ServeConfig, started: impl FnOnce(SocketAddr)) -> Result<(), ServeError> {
    memory::keep_compact();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let served = runtime.block_on(serve(config, started));
    // A loop that hangs must not keep the process: the pod's grace period is for viewers.
    runtime.shutdown_timeout(GRACE);
    served
}

async fn serve(config: ServeConfig, started: impl FnOnce(SocketAddr)) -> Result<(), ServeError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let encoders = encoders(&config)?;
    let waker = Waker::new()?;
    let (listener, mut net, addresses) = bind(&config, waker.clone()).await?;
    let bound = addresses.bound();
    let tls = tls(&config, &addresses)?;
    if let Some(also) = addresses.also()
        && let Err(error) = net.bind_also(also)
    {
        tracing::info!(%error, "Firefox may not reach this loopback listener");
    }
    let secret = config.token_secret_file.as_deref().map(token_secret).transpose()?;
    let ticket_key = secrets::ticket_key(secret.as_deref(), config.state_dir.clone(), &config.session)?;
    let metrics = Arc::new(Metrics::default());
    let (link, queue) = Link::new(waker, metrics.clone());
    let parts = parts(&config, ticket_key, net, addresses, encoders, metrics, &link)?;
    tokio::spawn(parts.ice.clone().keep(config.session.clone()));
    let (alive, ended) = oneshot::channel::<()>();
    let heart = thread::Builder::new().name("gateway".to_owned()).spawn(move || {
        // Dropped when the loop ends, be it by a panic.
        let _alive = alive;
        Heart::new(parts, queue).run();
    })?;

    let front = Front { session_uid: config.session_uid, sign_in_hint: config.sign_in_hint };
    let auth = Auth {
        session: config.session,
        secret,
        basic: config.basic,
        forward: config.forward_auth,
        allowed_origins: config.allowed_origins,
    };
    let guard = Arc::new(Guard::new(auth, config.revoked_tokens_file));
    let sockets = TaskTracker::new();
    let site = Site::new(Arc::new(link.clone()), guard.clone(), front, sockets.clone());
    let port = Port { site, link: link.clone(), tls: tls.as_ref().map(Tls::acceptor) };
    let serving = tokio::spawn(listener::serve(listener, port));
    if let Some(tls) = tls {
        tokio::spawn(tls.watch());
    }
    if guard.watches_revocations() {
        tokio::spawn(watch_revocations(guard, link.clone()));
    }
    started(bound);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = ended => return Err(ServeError::LoopEnded),
    }
    tracing::info!("stopping");
    link.tell(Command::Shutdown);
    sockets.close();
    // The loop ends once it has left a goodbye for every viewer; sockets end once they have delivered it.
    let ended = tokio::task::spawn_blocking(move || heart.join());
    if tokio::time::timeout(GRACE, ended).await.is_err() {
        tracing::warn!(code = "slow-stop", "the gateway's loop did not end in time");
    }
    serving.abort();
    if tokio::time::timeout(GRACE, sockets.wait()).await.is_err() {
        tracing::info!(sockets = sockets.len(), "sockets that did not hang up in time are cut");
    }
    Ok(())
}

/// Tells the loop whose tokens have been revoked, so that those who are in already leave too.
async fn watch_revocations(guard: Arc<Guard>, link: Link) {
    let mut known = HashSet::new();
    let mut look = tokio::time::interval(REVOCATIONS);
    loop {
        look.tick().await;
        let revoked = guard.revoked();
        if revoked != known {
            known.clone_from(&revoked);
            link.tell(Command::Revoked(revoked));
        }
    }
}

fn parts(
    config: &ServeConfig,
    ticket_key: Vec<u8>,
    net: Net,
    addresses: Addresses,
    encoders: Encoders,
    metrics: Arc<Metrics>,
    link: &Link,
) -> Result<Parts, ServeError> {
    let crypto = rtc::crypto::default_provider().map_err(|e| io::Error::other(e.to_string()))?;
    let events = link.clone();
    let source = match &config.source {
        Source::X11 { display, xauthority } => {
            capture::Source::X11 { display: display.parse::<DisplayName>()?, xauthority: xauthority.clone() }
        }
        Source::Test => capture::Source::Test { size: TEST_SIZE, still: false },
    };
    let ignore_damage = config.fault == Some(Fault::IgnoreDamage);
    let capture_config =
        CaptureConfig { fps: config.settings.fps, ignore_damage, ..CaptureConfig::new(source) };
    let capture = capture::spawn(capture_config, move |event| {
        events.tell(Command::Capture(event));
    })?;
    let desktop = match &config.source {
        Source::X11 { display, xauthority } => {
            let events = link.clone();
            let on_event = move |event| {
                events.tell(Command::Desktop(event));
            };
            Some(desktop::spawn(display.parse()?, xauthority.clone(), on_event).map_err(io::Error::other)?)
        }
        Source::Test => None,
    };
    let session = SessionConfig {
        name: config.session.clone(),
        settings: config.settings,
        max_viewers: config.max_viewers,
        resizable: config.resize,
    };
    Ok(Parts {
        name: config.session.clone(),
        uid: config.session_uid.clone(),
        session: Session::new(session, ticket_key.clone(), Instant::now()),
        ice: IceServers::new(config.ice.clone(), crypto.clone()),
        mux: Mux::new(crypto, secrets::turn_secret(&ticket_key), Instant::now()),
        ticket_key,
        net,
        addresses,
        renditions: Renditions::new(
            encoders,
            config.settings,
            link.clone(),
            capture.clone(),
            metrics.clone(),
        ),
        capture,
        desktop,
        metrics,
        stall_encoder: config.fault == Some(Fault::StallEncoder),
        link: link.clone(),
    })
}

fn tls(config: &ServeConfig, addresses: &Addresses) -> Result<Option<Tls>, TlsError> {
    match &config.tls {
        None => Ok(None),
        Some(config::Tls::Files { certificate, key }) => {
            Tls::from_files(Files { certificate: certificate.clone(), key: key.clone() }).map(Some)
        }
        Some(config::Tls::SelfSigned) => {
            let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
            let dir = secrets::state_dir(config.state_dir.clone());
            self_signed::tls(self_signed::names(&host, addresses.hosts()), dir.as_deref()).map(Some)
        }
    }
}

/// TCP and UDP on one port. Port 0 lets the system choose one that both can have.
async fn bind(config: &ServeConfig, waker: Waker) -> Result<(TcpListener, Net, Addresses), ServeError> {
    let address = config.listen;
    let listen = |error| ServeError::Listen { address, error };
    let tries = if address.port() == 0 { PORT_TRIES } else { 1 };
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..tries {
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let bound = listener.local_addr().map_err(listen)?;
        let addresses = Addresses::new(bound, &config.advertise);
        match Net::bind(bound, addresses.advertised().to_vec(), waker.clone()) {
            Ok(net) => return Ok((listener, net, addresses)),
            Err(error) => last = error,
        }
    }
    Err(listen(last))
}

/// The catalogue: built in, and what `--pipelines` adds.
///
/// # Errors
/// A file that cannot be read, or has a mistake.
pub fn catalog(config: Option<&std::path::Path>) -> Result<Catalog, ServeError> {
    let shipped = Catalog::shipped()?;
    let Some(dir) = config else { return Ok(shipped) };
    let files = host::read_pipelines(dir).map_err(|error| ServeError::File {
        what: "--pipelines",
        path: dir.display().to_string(),
        error,
    })?;
    Ok(shipped.with(files.iter().map(|(path, text)| (path.as_str(), text.as_str())))?)
}

/// What to try for each codec, the preferred codec first.
fn encoders(config: &ServeConfig) -> Result<Encoders, ServeError> {
    crate::media::init().map_err(|e| ServeError::Gstreamer(e.to_string()))?;
    let catalog = catalog(config.pipelines.as_deref())?;
    if let Some(name) = &config.encoder {
        choose::check_name(&catalog, name)?;
    }
    let host = host::detect(&catalog);
    let forced = config.encoder.as_deref();
    let candidates: Vec<_> = choose::codecs(&catalog, forced)
        .into_iter()
        .map(|codec| (codec, choose::choose(&catalog, codec, &host, forced).candidates))
        .filter(|(_, entries)| !entries.is_empty())
        .collect();
    if candidates.is_empty() {
        return Err(ServeError::NoEncoder);
    }
    Ok(Encoders { candidates, ranking: Ranking::new(&catalog, &host, forced) })
}
