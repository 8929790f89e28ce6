//! What `/metrics` shows.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Upper bounds in seconds: half a millisecond to a second.
const LATENCY: [f64; 11] = [0.0005, 0.001, 0.002, 0.003, 0.005, 0.008, 0.012, 0.02, 0.05, 0.2, 1.0];

/// Counters of one gateway. Updating one is an atomic addition.
pub struct Metrics {
    registry: Registry,
    /// Frames that came from the capture.
    pub captured: Counter,
    /// Frames that left an encoder.
    pub encoded: Counter,
    /// Frames sent, once for each viewer.
    pub sent: Counter,
    /// Frames not sent: no room, or a key frame had to come first.
    pub dropped: Counter,
    /// Key frames asked of an encoder.
    pub keyframes: Counter,
    /// Input frames of viewers.
    pub input: Counter,
    /// Bytes of encoded video.
    pub bytes: Counter,
    /// Grab and conversion done to encoded.
    pub encode: Histogram,
    /// Change known to handed to the socket.
    pub capture_to_sent: Histogram,
    /// Viewers that are here.
    pub viewers: Gauge,
    /// Video bitrate over the last second, all viewers, bits a second.
    pub bitrate: Gauge<f64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("deskgate");
        let metrics = Self {
            captured: Counter::default(),
            encoded: Counter::default(),
            sent: Counter::default(),
            dropped: Counter::default(),
            keyframes: Counter::default(),
            input: Counter::default(),
            bytes: Counter::default(),
            encode: Histogram::new(LATENCY),
            capture_to_sent: Histogram::new(LATENCY),
            viewers: Gauge::default(),
            bitrate: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("frames_captured", "Frames that came from the capture", metrics.captured.clone());
        registry.register("frames_encoded", "Frames that left an encoder", metrics.encoded.clone());
        registry.register("frames_sent", "Frames sent, once for each viewer", metrics.sent.clone());
        registry.register(
            "frames_dropped",
            "Frames not sent: no room, or a key frame had to come first",
            metrics.dropped.clone(),
        );
        registry.register("keyframes_requested", "Key frames asked of an encoder", metrics.keyframes.clone());
        registry.register("input_events", "Input frames of viewers", metrics.input.clone());
        let (bytes, seconds) = (Unit::Bytes, Unit::Seconds);
        registry.register_with_unit("encoded", "Encoded video", bytes, metrics.bytes.clone());
        registry.register_with_unit(
            "encode",
            "From grabbed and converted to encoded",
            seconds.clone(),
            metrics.encode.clone(),
        );
        registry.register_with_unit(
            "capture_to_sent",
            "From the change being known to handed to the socket",
            seconds,
            metrics.capture_to_sent.clone(),
        );
        registry.register("viewers", "Viewers that are here", metrics.viewers.clone());
        registry.register(
            "bitrate_bits_per_second",
            "Video sent to all viewers over the last second",
            metrics.bitrate.clone(),
        );
        Self { registry, ..metrics }
    }
}

impl Metrics {
    /// The text format of Prometheus (OpenMetrics).
    pub fn text(&self) -> String {
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            tracing::error!(%error, code = "metrics", "metrics could not be written");
        }
        text
    }

    /// Counts one encoded frame.
    pub fn frame(&self, bytes: usize, encode: Duration) {
        self.encoded.inc();
        self.bytes.inc_by(bytes as u64);
        self.encode.observe(encode.as_secs_f64());
    }
}
