//! ICE over TCP, on [`Lean`]: its packets go to a decoder of GStreamer's.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use rtc::shared::marshal::Marshal;
use tokio::sync::mpsc;

use super::Task;
use super::decoder::{Feed, Seen, lock};
use super::lean::{Lean, LeanEvent};
use super::path::{End, candidates, video_formats};
use super::peer::{Counters, PeerEvent};
use super::tally::Tally;
use crate::frame::Codec;

/// Events and answers that may wait.
const QUEUE: usize = 64;

/// A viewer whose media goes by one TCP connection. Ends when dropped.
pub struct Straight {
    answers: mpsc::Sender<String>,
    counters: Arc<Mutex<Counters>>,
    _task: Task,
}

impl Straight {
    /// Makes the offer.
    ///
    /// # Errors
    /// For people.
    pub fn start(
        local: IpAddr,
        seen: &Arc<Mutex<Seen>>,
    ) -> Result<(Self, mpsc::Receiver<PeerEvent>), String> {
        let lean = Lean::tcp(local)?;
        let (events, inbox) = mpsc::channel(QUEUE);
        let (answers, queue) = mpsc::channel(QUEUE);
        let counters: Arc<Mutex<Counters>> = Arc::default();
        let driver = Driver {
            lean,
            events,
            counters: counters.clone(),
            tally: Tally::default(),
            seen: seen.clone(),
            formats: Vec::new(),
            feed: None,
        };
        Ok((Self { answers, counters, _task: Task::spawn(driver.run(queue)) }, inbox))
    }

    /// Takes the gateway's answer.
    pub fn accept(&self, sdp: &str) {
        // One answer comes for one offer: there is room.
        let _ = self.answers.try_send(sdp.to_owned());
    }

    /// Counters of this moment.
    pub fn counters(&self) -> Counters {
        lock(&self.counters).clone()
    }
}

struct Driver {
    lean: Lean,
    events: mpsc::Sender<PeerEvent>,
    counters: Arc<Mutex<Counters>>,
    tally: Tally,
    seen: Arc<Mutex<Seen>>,
    formats: Vec<(u8, String)>,
    feed: Option<Feed>,
}

impl Driver {
    async fn run(mut self, mut answers: mpsc::Receiver<String>) {
        self.tell(PeerEvent::Offer(self.lean.offer())).await;
        loop {
            tokio::select! {
                answer = answers.recv() => match answer {
                    Some(sdp) => self.accept(&sdp).await,
                    None => return,
                },
                event = self.lean.next() => self.event(event).await,
            }
        }
    }

    async fn tell(&mut self, event: PeerEvent) {
        // The probe may have given up meanwhile.
        let _ = self.events.send(event).await;
    }

    async fn accept(&mut self, sdp: &str) {
        self.formats = video_formats(sdp);
        if let Err(why) = self.lean.accept(sdp, &candidates(sdp)).await {
            tracing::info!(why, "ICE over TCP");
            return self.tell(PeerEvent::Lost).await;
        }
        lock(&self.counters).pair = self.lean.ends().map(|(local, remote)| (end(local), end(remote)));
    }

    async fn event(&mut self, event: LeanEvent) {
        match event {
            LeanEvent::Ice => self.tell(PeerEvent::Ice).await,
            LeanEvent::Connected => self.tell(PeerEvent::Connected).await,
            LeanEvent::Lost => self.tell(PeerEvent::Lost).await,
            LeanEvent::Text(text) => self.tell(PeerEvent::Text(text)).await,
            LeanEvent::Packet(packet) => {
                if let Err(why) = self.packet(&packet) {
                    self.tell(PeerEvent::Failed(why)).await;
                }
            }
        }
    }

    fn packet(&mut self, packet: &rtc::rtp::Packet) -> Result<(), String> {
        let header = &packet.header;
        self.tally.count(header.ssrc, header.sequence_number, header.marker, packet.payload.len());
        let mut counters = lock(&self.counters);
        counters.packets = self.tally.packets;
        counters.bytes = self.tally.bytes;
        counters.lost = self.tally.lost();
        drop(counters);
        let Some(codec) = self.codec(header.payload_type) else { return Ok(()) };
        if self.feed.is_none() {
            self.feed = Some(Feed::rtp(codec, header.payload_type, &self.seen)?);
        }
        if let (Some(feed), Ok(bytes)) = (&self.feed, packet.marshal()) {
            feed.push(bytes.to_vec());
        }
        Ok(())
    }

    fn codec(&self, payload_type: u8) -> Option<Codec> {
        let name = self.formats.iter().find(|(number, _)| *number == payload_type)?.1.as_str();
        [Codec::H264, Codec::Vp8].into_iter().find(|codec| codec.name() == name)
    }
}

fn end(address: SocketAddr) -> End {
    End { kind: "host".into(), protocol: "tcp".into(), address: address.to_string(), ..End::default() }
}
