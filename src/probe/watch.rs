//! One probe of one path: log in, offer, watch, judge.

use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep_until};
use tokio_rustls::TlsConnector;

use super::Task;
use super::access::{Credential, Site};
use super::decoder::{Feed, Seen, lock};
use super::path::{
    Carrier, IcePlan, Path, Plan, carrier, filter_answer, name_pair, plan, tcp_answer, turn_uri,
};
use super::peer::{Counters, IceConfig, Peer, PeerEvent};
use super::ping::{Way, ping};
use super::pipe::Pipe;
use super::report::{Connection, GatewayState, Network, Report, Spread, Video, loss_percent, ms};
use super::signal::{Greeting, Incoming, Signal};
use super::straight::Straight;
use super::target::Target;
use super::verdict::{Evidence, Look, Steps, Stop, captured_between, judge};
use crate::frame::Codec;
use crate::wire::media::VideoHeader;
use crate::wire::signal::{ClientMessage, DisplayState, ErrorCode, ServerMessage, Status, TurnAccess};

/// From the start to the first picture.
const FIRST_FRAME: Duration = Duration::from_secs(20);
/// How often the gateway is asked how many pictures it captured.
const LOOK: Duration = Duration::from_millis(500);
/// How long after the answer the page waits for ICE before it asks for video over the WebSocket.
const FALL_BACK: Duration = Duration::from_secs(1);
/// How often the round trip of the WebSocket is measured, where it carries the video.
const PING: Duration = Duration::from_millis(200);
/// Most round trips that are kept.
const TRIPS: usize = 1_000;

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
    /// Video comes over the WebSocket.
    streaming: bool,
    /// It may be asked for where WebRTC does not get through.
    fallback: bool,
    turn: Vec<Carrier>,
    carrier: Option<Carrier>,
    counters: (Counters, Counters),
    watched: Option<(Duration, Duration)>,
    trips: Arc<Mutex<Vec<Duration>>>,
}

enum Media {
    Ice(Peer),
    Tcp(Straight),
    Ws,
}

/// Video that comes over the WebSocket.
#[derive(Default)]
struct Stream {
    feed: Option<Feed>,
    frames: u64,
    bytes: u64,
}

/// A viewer that has been greeted, with its half of the connection.
struct Link {
    signal: Signal,
    media: Media,
    events: Option<mpsc::Receiver<PeerEvent>>,
    pipe: Option<Pipe>,
    stream: Stream,
    /// Where the gateway was reached.
    address: SocketAddr,
}

impl Link {
    /// Of both ways: one may have taken over from the other.
    async fn counters(&self) -> Counters {
        let mut counters = match &self.media {
            Media::Ice(peer) => peer.counters().await,
            Media::Tcp(straight) => straight.counters(),
            Media::Ws => Counters::default(),
        };
        counters.packets += self.stream.frames;
        counters.bytes += self.stream.bytes;
        counters
    }

    fn accept(&self, sdp: &str) -> Result<(), Halt> {
        match &self.media {
            Media::Ice(peer) => {
                peer.accept(&filter_answer(sdp, "udp").map_err(Stop::Unavailable)?).map_err(Halt::Broken)
            }
            Media::Tcp(straight) => {
                straight.accept(&tcp_answer(sdp, self.address));
                Ok(())
            }
            Media::Ws => Ok(()),
        }
    }

    async fn frame(&mut self, message: Bytes, seen: &Arc<Mutex<Seen>>) -> Result<(), Halt> {
        let Some((header, unit)) = VideoHeader::parse(&message) else { return Ok(()) };
        let feed = match &self.stream.feed {
            Some(feed) => feed,
            None => self.stream.feed.insert(Feed::units(header.codec, seen).map_err(Halt::Broken)?),
        };
        self.stream.frames += 1;
        self.stream.bytes += unit.len() as u64;
        feed.push(message.slice_ref(unit));
        self.signal.bytes(header.acknowledgement()).await;
        Ok(())
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
            streaming: false,
            fallback: false,
            turn: Vec::new(),
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
        let mut signal = Signal::open(&site).await?;
        self.steps.web_socket = self.now();
        let greeting = signal.greet(true).await?;
        self.number = Some(greeting.viewer);
        self.steps.hello = self.now();
        let offered = greeting.offered(options.target.is_secure());
        self.fallback = self.path == Path::Auto && offered.stream;
        let plan = match plan(self.path, offered) {
            Ok(plan) => plan,
            Err(why) => {
                signal.leave().await;
                return Err(Stop::Unavailable(why).into());
            }
        };
        progress("let in; connecting");
        let mut link = self.link(&site, signal, plan, greeting).await?;
        let outcome = self.look_on(&site, &mut link, progress).await;
        link.signal.leave().await;
        outcome
    }

    async fn look_on(&mut self, site: &Site, link: &mut Link, progress: &dyn Fn(&str)) -> Result<(), Halt> {
        self.connect(link).await?;
        if lock(&self.seen).first_frame.is_some() {
            progress("a picture; watching");
            self.watch(site, link).await?;
        }
        Ok(())
    }

    async fn link(
        &mut self,
        site: &Site,
        mut signal: Signal,
        plan: Plan,
        greeting: Greeting,
    ) -> Result<Link, Halt> {
        let (media, events, pipe) = match plan {
            Plan::Ice(plan) => {
                let pipe = match plan.turn.contains(&Carrier::Tls) {
                    true => Some(Pipe::open(site.clone()).await?),
                    false => None,
                };
                let config = ice(site, &plan, greeting.turn.as_ref(), pipe.as_ref());
                self.turn = plan.turn;
                let (peer, events) = Peer::start(&config, &self.seen).map_err(Halt::Broken)?;
                (Media::Ice(peer), Some(events), pipe)
            }
            Plan::Tcp => {
                let local = local_address(site).await.map_err(|e| Halt::Broken(e.to_string()))?;
                let (straight, events) = Straight::start(local, &self.seen).map_err(Halt::Broken)?;
                (Media::Tcp(straight), Some(events), None)
            }
            Plan::Ws => {
                signal.say(&ClientMessage::Stream { codecs: codecs() }).await;
                self.streaming = true;
                (Media::Ws, None, None)
            }
        };
        Ok(Link { signal, media, events, pipe, stream: Stream::default(), address: site.address })
    }

    /// Until there is a picture, or it is clear that there will be none.
    async fn connect(&mut self, link: &mut Link) -> Result<(), Halt> {
        let arrived = lock(&self.seen).arrived.clone();
        let deadline = self.start + FIRST_FRAME;
        while self.lost.is_none() {
            let fall_back = self.fall_back_at().unwrap_or(deadline);
            tokio::select! {
                () = arrived.notified() => return Ok(()),
                () = sleep_until(deadline) => return Ok(()),
                () = sleep_until(fall_back) => {
                    self.fallback = false;
                    self.streaming = true;
                    link.signal.say(&ClientMessage::Stream { codecs: codecs() }).await;
                }
                more = self.turn(link) => more?,
            }
        }
        Ok(())
    }

    /// When the page would ask for video over the WebSocket.
    fn fall_back_at(&self) -> Option<Instant> {
        let answer = self.steps.answer.filter(|_| self.fallback && self.steps.ice.is_none())?;
        Some(self.start + answer + FALL_BACK)
    }

    async fn watch(&mut self, site: &Site, link: &mut Link) -> Result<(), Halt> {
        let from = self.start.elapsed();
        self.counters.0 = link.counters().await;
        self.carrier = self.carrier_of(link, &self.counters.0);
        let _looking = Task::spawn(look(site.clone(), self.start, self.looks.clone()));
        let _pinging = self.way(site).map(|way| {
            let trips = self.trips.clone();
            Task::spawn(async move { ping(way, &trips).await })
        });
        let end = Instant::now() + self.options.seconds;
        let mut pings = interval(PING);
        while self.lost.is_none() {
            tokio::select! {
                () = sleep_until(end) => break,
                _ = pings.tick(), if self.streaming => link.signal.ping().await,
                more = self.turn(link) => more?,
            }
        }
        self.counters.1 = link.counters().await;
        self.carrier = self.carrier_of(link, &self.counters.1);
        self.watched = Some((from, self.start.elapsed()));
        Ok(())
    }

    fn carrier_of(&self, link: &Link, counters: &Counters) -> Option<Carrier> {
        carrier(&self.turn, link.pipe.as_ref().map_or(0, Pipe::received), counters.bytes)
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
        let event = async {
            match &mut link.events {
                Some(events) => events.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            incoming = link.signal.next() => self.incoming(link, incoming).await,
            event = event => match event {
                Some(event) => self.event(link, event).await,
                None => Err(Halt::Broken("the peer connection ended".to_owned())),
            },
        }
    }

    async fn incoming(&mut self, link: &mut Link, incoming: Incoming) -> Result<(), Halt> {
        match incoming {
            Incoming::Message(message) => self.message(link, *message),
            Incoming::Frame(message) => link.frame(message, &self.seen).await,
            Incoming::Pong(trip) => {
                let mut trips = lock(&self.trips);
                if trips.len() < TRIPS {
                    trips.push(trip);
                }
                Ok(())
            }
            // Media of a peer connection goes on without it, as in the page.
            Incoming::Closed => {
                self.lost = self.lost.or(self.now().filter(|_| self.streaming));
                Ok(())
            }
        }
    }

    async fn event(&mut self, link: &mut Link, event: PeerEvent) -> Result<(), Halt> {
        match event {
            PeerEvent::Offer(sdp) => link.signal.say(&ClientMessage::Offer { sdp }).await,
            PeerEvent::Candidate(line, candidate) => {
                let message = ClientMessage::Candidate {
                    candidate: Some(candidate),
                    sdp_mid: None,
                    sdp_m_line_index: u16::try_from(line).ok(),
                };
                link.signal.say(&message).await;
            }
            PeerEvent::Ice => {
                self.steps.ice = self.steps.ice.or(self.now());
                if self.streaming {
                    self.streaming = false;
                    link.signal.say(&ClientMessage::Stream { codecs: Vec::new() }).await;
                }
            }
            PeerEvent::Connected => self.steps.dtls = self.steps.dtls.or(self.now()),
            PeerEvent::Lost => self.lost = self.lost.or(self.now().filter(|_| !self.streaming)),
            PeerEvent::Text(text) => {
                if let Ok(message) = serde_json::from_str(&text) {
                    self.message(link, message)?;
                }
            }
            PeerEvent::Failed(why) => return Err(Halt::Broken(why)),
        }
        Ok(())
    }

    fn message(&mut self, link: &Link, message: ServerMessage) -> Result<(), Halt> {
        match message {
            ServerMessage::Answer { sdp } => {
                self.steps.answer = self.steps.answer.or(self.now());
                link.accept(&sdp)?;
            }
            ServerMessage::Status(status) => self.status = Some(status),
            ServerMessage::Bye { reason, message } => return Err(Stop::Ended { reason, message }.into()),
            ServerMessage::Error {
                code: ErrorCode::NoCodec | ErrorCode::BadOffer | ErrorCode::NoEncoder,
                message,
            } => return Err(Stop::NoAnswer(message).into()),
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
        if steps.ice.is_some() {
            steps.dtls = steps.dtls.or(seen.first_packet);
        }
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
            connection: self.connection(&seen),
            video: self.video(&seen),
            network: self.network(),
            gateway: self.gateway(&looks),
        }
    }

    fn connection(&self, seen: &Seen) -> Option<Connection> {
        if self.streaming {
            return seen.first_packet.map(|_| Connection { path: Path::Ws, local: None, remote: None });
        }
        let (mut local, remote) = self.counters.1.pair.clone().or_else(|| self.counters.0.pair.clone())?;
        local.relay_protocol = self.carrier.filter(|_| local.kind == "relay");
        let path = name_pair(&local, self.carrier);
        Some(Connection { path, local: Some(local), remote: Some(remote) })
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
            captured: captured_between(looks),
        })
    }
}

/// What can be decoded, best first.
fn codecs() -> Vec<String> {
    [Codec::H264, Codec::Vp8].map(|codec| codec.name().to_owned()).to_vec()
}

fn ice(site: &Site, plan: &IcePlan, turn: Option<&TurnAccess>, pipe: Option<&Pipe>) -> IceConfig {
    let server = |carrier| match carrier {
        Carrier::Tls => pipe.map(|pipe| pipe.address),
        Carrier::Udp | Carrier::Tcp => Some(site.address),
    };
    let uri = |carrier| Some(turn_uri(server(carrier)?, carrier, turn?));
    let near = site.ip().is_loopback() || pipe.is_some();
    IceConfig {
        relay_only: plan.relay_only,
        turn: plan.turn.iter().filter_map(|carrier| uri(*carrier)).collect(),
        local: if near { local_addresses() } else { Vec::new() },
    }
}

/// Asks the gateway again and again how many pictures it captured.
async fn look(site: Site, start: Instant, looks: Arc<Mutex<Vec<Look>>>) {
    let mut every = interval(LOOK);
    loop {
        every.tick().await;
        let captured = site.status().await.ok().and_then(|s| s["capture"]["fresh"].as_u64());
        lock(&looks).push(Look { at: start.elapsed(), captured });
    }
}

/// Every address of this machine, loopback too: libnice leaves that out by itself.
fn local_addresses() -> Vec<IpAddr> {
    let all = if_addrs::get_if_addrs().unwrap_or_default();
    all.into_iter().filter(|i| !i.is_link_local()).map(|i| i.ip()).collect()
}

/// The address of ours from which the gateway is reached.
pub(super) async fn local_address(site: &Site) -> std::io::Result<IpAddr> {
    let any: IpAddr = if site.address.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(site.address).await?;
    Ok(socket.local_addr()?.ip())
}
