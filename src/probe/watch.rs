//! One probe of one path: log in, offer, watch, judge.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use gstreamer_webrtc::{WebRTCICEConnectionState as Ice, WebRTCPeerConnectionState as Connected};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Message;

use super::access::{Credential, Site, Socket};
use super::decoder::{Seen, lock};
use super::path::{Carrier, Path, Plan, filter_answer, name_pair, plan, turn_uri};
use super::peer::{Counters, IceConfig, Peer, PeerEvent};
use super::ping::{Way, ping};
use super::pipe::Pipe;
use super::report::{Connection, GatewayState, Network, Report, Spread, Video, loss_percent, ms};
use super::target::Target;
use super::verdict::{Evidence, Look, Steps, Stop, judge};
use crate::wire::signal::{
    ClientMessage, CssSize, DisplayState, ErrorCode, Fit, Right, ServerMessage, Status, TurnAccess,
};

/// From the start to the first picture.
const FIRST_FRAME: Duration = Duration::from_secs(20);
/// For the gateway's greeting.
const HELLO: Duration = Duration::from_secs(10);
/// How often the gateway is asked how many pictures it captured.
const LOOK: Duration = Duration::from_millis(500);

/// What to probe, and for how long.
#[derive(Clone)]
pub struct Options {
    /// The gateway.
    pub target: Target,
    /// Who we are.
    pub credential: Credential,
    /// Whom to trust.
    pub tls: TlsConnector,
    /// How long to watch once there is a picture.
    pub seconds: Duration,
}

/// Probes one path.
///
/// # Errors
/// What this machine lacks for probing; for people. What the gateway lacks is in the report.
pub async fn probe(options: &Options, path: Path, progress: &dyn Fn(&str)) -> Result<Report, String> {
    let mut viewer = Viewer::new(options, path);
    let stop = match viewer.run(progress).await {
        Ok(()) => None,
        Err(Halt::Stop(stop)) => Some(stop),
        Err(Halt::Broken(why)) => return Err(why),
    };
    Ok(viewer.report(stop.as_ref()))
}

enum Halt {
    Stop(Stop),
    /// A fault of this machine's.
    Broken(String),
}

impl From<Stop> for Halt {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

struct Viewer<'a> {
    options: &'a Options,
    path: Path,
    start: Instant,
    seen: Arc<Mutex<Seen>>,
    steps: Steps,
    number: Option<u32>,
    status: Option<Status>,
    looks: Arc<Mutex<Vec<Look>>>,
    lost: Option<Duration>,
    carrier: Option<Carrier>,
    counters: (Counters, Counters),
    watched: Option<(Duration, Duration)>,
    trips: Arc<Mutex<Vec<Duration>>>,
}

/// Ends with what it belongs to.
struct Task(JoinHandle<()>);

impl Task {
    fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A viewer that has been greeted, with its half of the connection.
struct Link {
    socket: Option<Socket>,
    peer: Peer,
    events: mpsc::Receiver<PeerEvent>,
    plan: Plan,
    _pipe: Option<Pipe>,
}

impl Link {
    async fn say(&mut self, message: &ClientMessage) {
        if let Some(socket) = &mut self.socket
            && let Ok(text) = serde_json::to_string(message)
            && socket.send(Message::text(text)).await.is_err()
        {
            self.socket = None;
        }
    }
}

impl<'a> Viewer<'a> {
    fn new(options: &'a Options, path: Path) -> Self {
        let start = Instant::now();
        Self {
            options,
            path,
            start,
            seen: Seen::new(start),
            steps: Steps::default(),
            number: None,
            status: None,
            looks: Arc::default(),
            lost: None,
            carrier: None,
            counters: Default::default(),
            watched: None,
            trips: Arc::default(),
        }
    }

    fn now(&self) -> Option<Duration> {
        Some(self.start.elapsed())
    }

    async fn run(&mut self, progress: &dyn Fn(&str)) -> Result<(), Halt> {
        let options = self.options;
        let site = Site::open(options.target.clone(), &options.credential, &options.tls).await?;
        site.status().await?;
        self.steps.http = self.now();
        let mut socket = site.socket().await?;
        self.steps.web_socket = self.now();
        let turn = self.greet(&mut socket).await?;
        self.steps.hello = self.now();
        let plan = plan(self.path, options.target.is_secure(), turn.is_some()).map_err(Stop::Unavailable)?;
        self.carrier = plan.turn;
        progress("let in; connecting");
        let mut link = self.link(&site, socket, plan, turn).await?;
        self.connect(&mut link).await?;
        if lock(&self.seen).first_frame.is_some() {
            progress("a picture; watching");
            self.watch(&site, &mut link).await?;
        }
        link.say(&ClientMessage::Bye {}).await;
        Ok(())
    }

    /// Says hello as somebody who only looks: control and the screen's size stay as they are.
    async fn greet(&mut self, socket: &mut Socket) -> Result<Option<TurnAccess>, Stop> {
        let hello = ClientMessage::Hello {
            version: 1,
            features: Vec::new(),
            css: CssSize { width: 1280.0, height: 720.0 },
            device_pixel_ratio: 1.0,
            visible: true,
            fit: Fit::Scale,
            resume: None,
            rights: Some(vec![Right::View]),
        };
        let text = serde_json::to_string(&hello).map_err(|e| Stop::NotAGateway(e.to_string()))?;
        let gone = || Stop::NotAGateway("the WebSocket closed before the gateway's greeting".to_owned());
        socket.send(Message::text(text)).await.map_err(|_| gone())?;
        let greeting = async {
            while let Some(Ok(message)) = socket.next().await {
                let Message::Text(text) = message else { continue };
                match serde_json::from_str(&text) {
                    Ok(ServerMessage::Hello { viewer, turn, .. }) => {
                        self.number = Some(viewer);
                        return Ok(turn);
                    }
                    Ok(ServerMessage::Bye { reason, message }) => {
                        return Err(Stop::Ended { reason, message });
                    }
                    _ => {}
                }
            }
            Err(gone())
        };
        let silent = || Stop::NotAGateway(format!("no greeting within {} s", HELLO.as_secs()));
        timeout(HELLO, greeting).await.unwrap_or_else(|_| Err(silent()))
    }

    async fn link(
        &self,
        site: &Site,
        socket: Socket,
        plan: Plan,
        turn: Option<TurnAccess>,
    ) -> Result<Link, Halt> {
        let pipe = match plan.turn {
            Some(Carrier::Tls) => Some(Pipe::open(site.clone()).await?),
            _ => None,
        };
        let server = pipe.as_ref().map_or(site.address, |pipe| pipe.address);
        let config = IceConfig {
            relay_only: plan.relay_only,
            turn: plan.turn.zip(turn).map(|(carrier, access)| turn_uri(server, carrier, &access)),
            local: if server.ip().is_loopback() { local_addresses() } else { Vec::new() },
        };
        let (peer, events) = Peer::start(&config, &self.seen).map_err(Halt::Broken)?;
        Ok(Link { socket: Some(socket), peer, events, plan, _pipe: pipe })
    }

    /// Until there is a picture, or it is clear that there will be none.
    async fn connect(&mut self, link: &mut Link) -> Result<(), Halt> {
        let arrived = lock(&self.seen).arrived.clone();
        let deadline = self.start + FIRST_FRAME;
        while self.lost.is_none() {
            tokio::select! {
                () = arrived.notified() => return Ok(()),
                () = sleep_until(deadline) => return Ok(()),
                more = self.turn(link) => more?,
            }
        }
        Ok(())
    }

    async fn watch(&mut self, site: &Site, link: &mut Link) -> Result<(), Halt> {
        let from = self.start.elapsed();
        self.counters.0 = link.peer.counters().await;
        let _looking = Task::spawn(look(site.clone(), self.start, self.looks.clone()));
        let _pinging = self.way(site).map(|way| {
            let trips = self.trips.clone();
            Task::spawn(async move { ping(way, &trips).await })
        });
        let end = Instant::now() + self.options.seconds;
        while self.lost.is_none() {
            tokio::select! {
                () = sleep_until(end) => break,
                more = self.turn(link) => more?,
            }
        }
        self.counters.1 = link.peer.counters().await;
        self.watched = Some((from, self.start.elapsed()));
        Ok(())
    }

    /// How round trips are measured: in the transport that carries the media.
    fn way(&self, site: &Site) -> Option<Way> {
        let (local, remote) = self.counters.0.pair.as_ref()?;
        match name_pair(local, self.carrier) {
            Path::Udp => remote.address.parse::<SocketAddr>().ok().map(Way::Udp),
            Path::TurnUdp => Some(Way::Udp(site.address)),
            _ => Some(Way::Stream(Box::new(site.clone()))),
        }
    }

    /// One event of whichever side.
    async fn turn(&mut self, link: &mut Link) -> Result<(), Halt> {
        let message = async {
            match &mut link.socket {
                Some(socket) => socket.next().await,
                None => pending().await,
            }
        };
        tokio::select! {
            message = message => match message {
                Some(Ok(Message::Text(text))) => self.message(link, &text)?,
                Some(Ok(_)) => {}
                // Media goes on without it, as in the page.
                Some(Err(_)) | None => link.socket = None,
            },
            event = link.events.recv() => match event {
                Some(event) => self.event(link, event).await?,
                None => return Err(Halt::Broken("webrtcbin ended".to_owned())),
            },
        }
        Ok(())
    }

    async fn event(&mut self, link: &mut Link, event: PeerEvent) -> Result<(), Halt> {
        match event {
            PeerEvent::Offer(sdp) => link.say(&ClientMessage::Offer { sdp }).await,
            PeerEvent::Candidate(line, candidate) => {
                let message = ClientMessage::Candidate {
                    candidate: Some(candidate),
                    sdp_mid: None,
                    sdp_m_line_index: u16::try_from(line).ok(),
                };
                link.say(&message).await;
            }
            PeerEvent::Ice(Ice::Connected | Ice::Completed) => {
                self.steps.ice = self.steps.ice.or(self.now());
            }
            PeerEvent::Ice(Ice::Failed) => self.lost = self.now(),
            PeerEvent::Ice(_) => {}
            PeerEvent::Connection(Connected::Connected) => {
                self.steps.dtls = self.steps.dtls.or(self.now());
            }
            PeerEvent::Connection(Connected::Failed) => self.lost = self.now(),
            PeerEvent::Connection(_) => {}
            PeerEvent::Text(text) => self.message(link, &text)?,
            PeerEvent::Failed(why) => return Err(Halt::Broken(format!("GStreamer: {why}"))),
        }
        Ok(())
    }

    fn message(&mut self, link: &Link, text: &str) -> Result<(), Halt> {
        match serde_json::from_str(text) {
            Ok(ServerMessage::Answer { sdp }) => {
                self.steps.answer = self.steps.answer.or(self.now());
                let sdp = filter_answer(&sdp, &link.plan).map_err(Stop::Unavailable)?;
                link.peer.accept(&sdp).map_err(Halt::Broken)?;
            }
            Ok(ServerMessage::Status(status)) => self.status = Some(status),
            Ok(ServerMessage::Bye { reason, message }) => return Err(Stop::Ended { reason, message }.into()),
            Ok(ServerMessage::Error {
                code: ErrorCode::NoCodec | ErrorCode::BadOffer | ErrorCode::NoEncoder,
                message,
            }) => return Err(Stop::NoAnswer(message).into()),
            // Whatever else it says is for the page.
            _ => {}
        }
        Ok(())
    }

    fn report(self, stop: Option<&Stop>) -> Report {
        let seen = lock(&self.seen);
        let looks = lock(&self.looks);
        let mut steps = self.steps;
        (steps.first_packet, steps.first_frame) = (seen.first_packet, seen.first_frame);
        // What came through DTLS proves it, whatever webrtcbin says of itself.
        steps.dtls = steps.dtls.or(seen.first_packet);
        let evidence = Evidence {
            path: self.path,
            stop,
            steps,
            lost: self.lost,
            sight: &seen.sight,
            packets: self.counters.1.packets,
            status: self.status.as_ref(),
            looks: &looks,
        };
        let judgement = judge(&evidence);
        Report {
            url: self.options.target.text().to_owned(),
            path: self.path,
            exit_code: judgement.verdict.exit_code(),
            judgement,
            steps: steps.into(),
            connection: self.connection(),
            video: self.video(&seen),
            network: self.network(),
            gateway: self.gateway(&looks),
        }
    }

    fn connection(&self) -> Option<Connection> {
        let (local, remote) = self.counters.1.pair.clone().or_else(|| self.counters.0.pair.clone())?;
        Some(Connection { path: name_pair(&local, self.carrier), local, remote })
    }

    fn video(&self, seen: &Seen) -> Option<Video> {
        let (from, to) = self.watched?;
        Some(Video {
            codec: seen.codec.map(|c| c.name().to_owned()),
            encoder: self.status.as_ref().and_then(|s| s.encoder.clone()),
            decoder: seen.decoder.map(str::to_owned),
            size: seen.sight.size?,
            frames: seen.sight.times.len(),
            fps: (seen.sight.fps(from, to) * 10.0).round() / 10.0,
            longest_gap_ms: ms(seen.sight.longest_gap(from, to)),
            changes: seen.sight.changes,
            seconds: to.saturating_sub(from).as_secs_f64(),
        })
    }

    fn network(&self) -> Option<Network> {
        let (from, to) = self.watched?;
        let (before, after) = &self.counters;
        let bits = after.bytes.saturating_sub(before.bytes) as f64 * 8.0;
        Some(Network {
            kbps: (bits / to.saturating_sub(from).as_secs_f64().max(0.001) / 100.0).round() / 10.0,
            packets: after.packets,
            lost: after.lost,
            loss_percent: loss_percent(after.packets, after.lost),
            jitter_ms: after.jitter_ms,
            round_trip_ms: Spread::of(lock(&self.trips).iter().map(|t| t.as_secs_f64() * 1_000.0)),
        })
    }

    fn gateway(&self, looks: &[Look]) -> Option<GatewayState> {
        let status = self.status.as_ref();
        Some(GatewayState {
            viewer: self.number?,
            viewers: status.map(|s| s.viewers.len()),
            display: status
                .map(|s| if s.display == DisplayState::Live { "live" } else { "waiting" }.to_owned()),
            message: status.map(|s| s.message.clone()).unwrap_or_default(),
            captured: looks.first().zip(looks.last()).map(|(a, b)| b.captured.saturating_sub(a.captured)),
        })
    }
}

/// Asks the gateway again and again how many pictures it captured.
async fn look(site: Site, start: Instant, looks: Arc<Mutex<Vec<Look>>>) {
    let mut every = interval(LOOK);
    loop {
        every.tick().await;
        let captured = site.status().await.ok().and_then(|s| s["capture"]["fresh"].as_u64());
        if let Some(captured) = captured {
            lock(&looks).push(Look { at: start.elapsed(), captured });
        }
    }
}

/// Every address of this machine, loopback too: libnice leaves that out by itself.
fn local_addresses() -> Vec<std::net::IpAddr> {
    let all = if_addrs::get_if_addrs().unwrap_or_default();
    all.into_iter().filter(|i| !i.is_link_local()).map(|i| i.ip()).collect()
}
