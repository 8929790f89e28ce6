//! `/api/status`: everything that can be said about the gateway, for people and programs that look into a fault.

use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::{Value, json};

use super::heart::{Heart, TICK};

impl Heart {
    pub(super) fn status(&self, now: Instant) -> Value {
        let parts = &self.parts;
        let stats = parts.capture.stats();
        let refused = parts.mux.refused();
        let viewers: Vec<Value> = parts
            .mux
            .viewers()
            .filter_map(|v| {
                let ledger = parts.mux.ledger(v)?;
                let (packets, bytes, retransmissions) = ledger.totals();
                Some(json!({
                    "viewer": v, "bitrate": ledger.bitrate(now, TICK), "packets": packets, "bytes": bytes,
                    "retransmissions": retransmissions,
                }))
            })
            .collect();
        json!({
            "session": parts.name,
            "ready": parts.link.flags().ready.load(Ordering::Relaxed),
            "status": parts.session.status(),
            "screen": self.size,
            "capture": {
                "fresh": stats.fresh, "repeats": stats.repeats, "polls": stats.polls,
                "grabbedBytes": stats.grabbed_bytes, "missedDamage": stats.missed_damage,
                "connects": stats.connects, "shm": stats.shm.map(|m| format!("{m:?}").to_lowercase()),
            },
            "renditions": parts.renditions.report(),
            "media": viewers,
            "refused": {
                "unknown": refused.unknown, "integrity": refused.integrity, "unverified": refused.unverified,
                "excess": refused.excess,
            },
        })
    }
}
