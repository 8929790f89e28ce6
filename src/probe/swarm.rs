//! Many viewers at once, for load: on `rtc`, without decoding.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::access::Site;
use super::decoder::lock;
use super::lean::{Lean, LeanEvent};
use super::path::{candidates, filter_answer};
use super::report::{Share, Swarm, SwarmReport, ms};
use super::signal::{Incoming, Signal};
use super::tally::Tally;
use super::verdict::Stop;
use super::watch::{Options, local_address};
use crate::wire::signal::{ByeReason, ClientMessage, ServerMessage};

/// Viewers that are on their way in at once: more would measure the crowd at the door.
const DOOR: u32 = 8;
/// For one viewer to be connected, and to have its first frame.
const JOIN: Duration = Duration::from_secs(30);
/// After how many of them it is told.
const TELL: usize = 25;
/// Before a viewer that was turned away by the rate limit tries again.
const AGAIN: Duration = Duration::from_secs(1);

/// For all of them to say goodbye.
const GOODBYE: Duration = Duration::from_secs(3);

/// What one viewer has seen so far.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    tally: Tally,
    connected: Option<Duration>,
    first_frame: Option<Duration>,
}

impl Progress {
    fn is_seated(&self, idle: bool) -> bool {
        self.connected.is_some() && (idle || self.first_frame.is_some())
    }
}

/// One viewer.
#[derive(Clone, Debug)]
struct Seat {
    progress: Arc<Mutex<Progress>>,
    idle: bool,
}

/// Brings in `active` viewers that watch and `idle` ones whose tab is hidden, and watches them.
///
/// # Errors
/// [`Stop`] when not even the first gets in.
pub async fn swarm(
    options: &Options,
    active: usize,
    idle: usize,
    progress: &dyn Fn(&str),
) -> Result<SwarmReport, Stop> {
    let site = Site::open(options.target.clone(), &options.credential, &options.tls).await?;
    site.status().await?;
    let local = local_address(&site).await.map_err(|e| Stop::Unreachable(e.to_string()))?;
    let door = Arc::new(Semaphore::new(DOOR as usize));
    let (leave, stay) = watch::channel(false);
    let mut viewers = JoinSet::new();
    let seats: Vec<Seat> =
        (0..active + idle).map(|n| Seat { progress: Arc::default(), idle: n >= active }).collect();
    for (n, seat) in seats.iter().enumerate() {
        let Ok(permit) = door.clone().acquire_owned().await else { break };
        viewers.spawn(sit(site.clone(), local, seat.clone(), permit, stay.clone()));
        if n % TELL == TELL - 1 {
            progress(&format!("{} of {} at the door", n + 1, seats.len()));
        }
    }
    // Once nobody holds the door, each is seated or has given up.
    let _ = door.acquire_many(DOOR).await;
    progress("watching");
    let before: Vec<Tally> = seats.iter().map(|seat| lock(&seat.progress).tally).collect();
    let from = Instant::now();
    sleep(options.seconds).await;
    let seconds = from.elapsed().as_secs_f64();
    let shares: Vec<Share> =
        seats.iter().zip(&before).map(|(seat, before)| share(seat, before, seconds)).collect();
    // Every one says goodbye; whoever does not is left behind.
    let _ = leave.send(true);
    let _ = timeout(GOODBYE, async { while viewers.join_next().await.is_some() {} }).await;
    Ok(SwarmReport::new(options.target.text(), Swarm { active, idle, seconds }, &shares))
}

fn share(seat: &Seat, before: &Tally, seconds: f64) -> Share {
    let progress = lock(&seat.progress);
    let tally = progress.tally;
    let since = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds.max(0.001);
    Share {
        idle: seat.idle,
        connected: progress.connected.is_some(),
        first_frame_ms: progress.first_frame.map(ms),
        fps: since(tally.frames, before.frames),
        kbps: since(tally.bytes, before.bytes) * 8.0 / 1_000.0,
        bytes: tally.bytes,
        packets: tally.packets,
        lost: tally.lost(),
    }
}

async fn sit(
    site: Site,
    local: IpAddr,
    seat: Seat,
    permit: OwnedSemaphorePermit,
    mut stay: watch::Receiver<bool>,
) {
    let start = Instant::now();
    let joined = timeout(JOIN, join(&site, local, &seat, start)).await;
    let (mut signal, mut lean) = match joined {
        Ok(Ok(joined)) => joined,
        Ok(Err(why)) => return tracing::warn!(why, "a viewer did not get in"),
        Err(_) => return tracing::warn!("a viewer did not get in within {} s", JOIN.as_secs()),
    };
    drop(permit);
    loop {
        tokio::select! {
            event = lean.next() => match event {
                LeanEvent::Lost => return tracing::warn!("a viewer lost the gateway"),
                event => note(&seat, &event, start),
            },
            incoming = signal.next() => if let Some(why) = ended(&incoming) {
                return tracing::warn!(why, "a viewer was ended");
            },
            _ = stay.changed() => break,
        }
    }
    signal.leave().await;
}

fn ended(incoming: &Incoming) -> Option<String> {
    let Incoming::Message(message) = incoming else { return None };
    match &**message {
        ServerMessage::Bye { message, .. } => Some(message.clone()),
        _ => None,
    }
}

fn note(seat: &Seat, event: &LeanEvent, start: Instant) {
    let mut progress = lock(&seat.progress);
    match event {
        LeanEvent::Connected => progress.connected = progress.connected.or(Some(start.elapsed())),
        LeanEvent::Packet(packet) => {
            let header = &packet.header;
            progress.tally.count(header.ssrc, header.sequence_number, header.marker, packet.payload.len());
            if header.marker {
                progress.first_frame = progress.first_frame.or(Some(start.elapsed()));
            }
        }
        LeanEvent::Ice | LeanEvent::Lost | LeanEvent::Text(_) => {}
    }
}

/// From the WebSocket to a connection, and to the first frame of one that watches.
async fn join(site: &Site, local: IpAddr, seat: &Seat, start: Instant) -> Result<(Signal, Lean), String> {
    let mut signal = loop {
        let mut signal = Signal::open(site).await.map_err(|e| format!("{e:?}"))?;
        match signal.greet(!seat.idle).await {
            Ok(_) => break signal,
            // Many viewers with one credential come too fast for it.
            Err(Stop::Ended { reason: ByeReason::Full, message }) if message.contains("short time") => {
                sleep(AGAIN).await;
            }
            Err(stop) => return Err(format!("{stop:?}")),
        }
    };
    let mut lean = Lean::udp(local).await?;
    signal.say(&ClientMessage::Offer { sdp: lean.offer() }).await;
    loop {
        tokio::select! {
            incoming = signal.next() => match incoming {
                Incoming::Message(message) => match *message {
                    ServerMessage::Answer { sdp } => {
                        let sdp = filter_answer(&sdp, "udp").map_err(|e| e.to_string())?;
                        lean.accept(&sdp, &candidates(&sdp)).await?;
                    }
                    ServerMessage::Bye { message, .. } | ServerMessage::Error { message, .. } => {
                        return Err(message);
                    }
                    _ => {}
                },
                Incoming::Frame(_) | Incoming::Pong(_) => {}
                Incoming::Closed => return Err("the WebSocket closed".to_owned()),
            },
            event = lean.next() => {
                if matches!(event, LeanEvent::Lost) {
                    return Err("ICE or DTLS did not get through".to_owned());
                }
                note(seat, &event, start);
                if lock(&seat.progress).is_seated(seat.idle) {
                    return Ok((signal, lean));
                }
            }
        }
    }
}
