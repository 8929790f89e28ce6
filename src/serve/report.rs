//! `/api/status`: everything that can be said about the gateway, for people and programs that look into a fault.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::heart::{Heart, TICK};
use crate::wire::api::{Display, Stream};
use crate::wire::signal::{DisplayState, MediaPath, Status};

impl Heart {
    pub(super) fn status(&self, now: Instant) -> Value {
        let parts = &self.parts;
        let stats = parts.capture.stats();
        let refused = parts.mux.refused();
        let status = parts.session.status();
        let stream = self.stream_state(&status);
        json!({
            "session": parts.name,
            "sessionUid": parts.uid.as_ref().map(|uid| uid.as_str()),
            "ready": stream.ready,
            "stream": stream,
            "status": status,
            "screen": self.size,
            "capture": {
                "fresh": stats.fresh, "repeats": stats.repeats, "polls": stats.polls,
                "grabbedBytes": stats.grabbed_bytes, "missedDamage": stats.missed_damage,
                "connects": stats.connects, "shm": stats.shm.map(|m| format!("{m:?}").to_lowercase()),
            },
            "renditions": parts.renditions.report(),
            "media": self.media(now),
            "refused": {
                "unknown": refused.unknown, "integrity": refused.integrity, "unverified": refused.unverified,
                "excess": refused.excess,
            },
        })
    }

    /// Whether there is a picture to be had, for programs.
    fn stream_state(&self, status: &Status) -> Stream {
        let (parts, state) = (&self.parts, status.display);
        // With the display there, the message is of something else.
        let message = if state == DisplayState::Waiting { status.message.clone() } else { String::new() };
        Stream {
            ready: parts.link.flags().ready.load(Ordering::Relaxed),
            display: Display { state, message },
            encoder: parts.renditions.ranking().in_use(),
            exhausted: parts.renditions.all_exhausted(),
            unusable: parts.renditions.ranking().unusable(),
        }
    }

    /// Everybody that media is sent to, or is to be: by WebRTC, or on a WebSocket.
    fn media(&self, now: Instant) -> Vec<Value> {
        let (mux, session) = (&self.parts.mux, &self.parts.session);
        let streams =
            self.sockets.values().filter_map(|s| Some((s.viewer?, s.stream.as_ref()?.1.round_trip())));
        let streams: BTreeMap<u32, Option<Duration>> = streams.collect();
        let viewers: BTreeSet<u32> = mux.viewers().chain(streams.keys().copied()).collect();
        let of = |viewer: u32| {
            let path = session.media_path(viewer);
            let round_trip = match path {
                Some(MediaPath::Websocket) => streams.get(&viewer).copied().flatten(),
                _ => mux.round_trip(viewer),
            };
            let ledger = mux.ledger(viewer);
            let totals = ledger.map(|ledger| ledger.totals());
            json!({
                "viewer": viewer,
                "path": path,
                "rttMs": round_trip.map(|t| t.as_secs_f64() * 1e3),
                "bitrate": ledger.map(|ledger| ledger.bitrate(now, TICK)),
                "packets": totals.map(|(packets, ..)| packets),
                "bytes": totals.map(|(_, bytes, _)| bytes),
                "retransmissions": totals.map(|(.., retransmissions)| retransmissions),
            })
        };
        viewers.into_iter().map(of).collect()
    }
}
