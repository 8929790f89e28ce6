//! PURE. What a probe found, as JSON and as text.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::path::{End, Path};
use super::verdict::{Judgement, Steps, Verdict};
use crate::frame::Size;

/// Everything about one path. Absent is what was not reached.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The gateway.
    pub url: String,
    /// The path that was asked for.
    pub path: Path,
    /// See [`Judgement`].
    #[serde(flatten)]
    pub judgement: Judgement,
    /// The process's exit code.
    pub exit_code: u8,
    /// How far it came: milliseconds since the start.
    pub steps: StepsMs,
    /// How media came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<Connection>,
    /// What was decoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video: Option<Video>,
    /// What the network did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// What the gateway said about itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayState>,
}

/// [`Steps`] in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepsMs {
    http: Option<f64>,
    web_socket: Option<f64>,
    hello: Option<f64>,
    answer: Option<f64>,
    ice: Option<f64>,
    dtls: Option<f64>,
    first_packet: Option<f64>,
    first_frame: Option<f64>,
}

/// Milliseconds with a tenth: what is finer is noise.
pub fn ms(time: Duration) -> f64 {
    tenth(time.as_secs_f64() * 1_000.0)
}

fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

impl From<Steps> for StepsMs {
    fn from(steps: Steps) -> Self {
        Self {
            http: steps.http.map(ms),
            web_socket: steps.web_socket.map(ms),
            hello: steps.hello.map(ms),
            answer: steps.answer.map(ms),
            ice: steps.ice.map(ms),
            dtls: steps.dtls.map(ms),
            first_packet: steps.first_packet.map(ms),
            first_frame: steps.first_frame.map(ms),
        }
    }
}

impl StepsMs {
    fn named(&self) -> [(&'static str, Option<f64>); 8] {
        [
            ("http", self.http),
            ("websocket", self.web_socket),
            ("hello", self.hello),
            ("answer", self.answer),
            ("ice", self.ice),
            ("dtls", self.dtls),
            ("first packet", self.first_packet),
            ("first frame", self.first_frame),
        ]
    }
}

/// How media came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Connection {
    /// Its name.
    pub path: Path,
    /// Our end of the pair that ICE chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<End>,
    /// The gateway's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<End>,
}

impl Connection {
    fn pair(&self) -> String {
        let both = self.local.as_ref().zip(self.remote.as_ref());
        both.map(|(local, remote)| format!("  {}  ->  {}", end(local), end(remote))).unwrap_or_default()
    }
}

/// What was decoded.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Video {
    /// As in SDP.
    pub codec: Option<String>,
    /// The gateway's encoder.
    pub encoder: Option<String>,
    /// The probe's decoder.
    pub decoder: Option<String>,
    /// Size of the picture.
    #[serde(flatten)]
    pub size: Size,
    /// Pictures decoded.
    pub frames: usize,
    /// A second, over the time watched.
    pub fps: f64,
    /// Longest time without a new one, after the first.
    pub longest_gap_ms: f64,
    /// How often the picture changed.
    pub changes: u64,
    /// How long was watched, seconds.
    pub seconds: f64,
}

/// What the network did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// Video, kbit/s.
    pub kbps: f64,
    /// Video packets received.
    pub packets: u64,
    /// Video packets that never came.
    pub lost: u64,
    /// Of those that were sent, percent.
    pub loss_percent: f64,
    /// Jitter between arrivals (RFC 3550 §6.4.1).
    pub jitter_ms: Option<f64>,
    /// Round trips of STUN Binding requests to the same port in the same transport, beside the media.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip_ms: Option<Spread>,
}

/// The least, the middle and the most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The middle one.
    pub median: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// Of these values; nothing of none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len().checked_sub(1)? / 2;
        let hundredth = |value: &f64| (value * 100.0).round() / 100.0;
        Some(Self {
            min: hundredth(values.first()?),
            median: hundredth(values.get(middle)?),
            max: hundredth(values.last()?),
        })
    }
}

/// What the gateway said about itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayState {
    /// This viewer's number.
    pub viewer: u32,
    /// Everyone there, this one included.
    pub viewers: Option<usize>,
    /// `live` or `waiting`.
    pub display: Option<String>,
    /// What it waits for or what went wrong.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Pictures that it captured while we watched because something was drawn.
    pub captured: Option<u64>,
}

/// Share of `lost` in what was sent, percent.
pub fn loss_percent(packets: u64, lost: u64) -> f64 {
    let sent = packets.saturating_add(lost);
    if sent == 0 { 0.0 } else { (lost as f64 / sent as f64 * 10_000.0).round() / 100.0 }
}

impl Report {
    /// A few lines for people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let mut line = |name: &str, text: String| {
            let _ = writeln!(out, "{name:<11} {text}");
        };
        line("gateway", self.url.clone());
        let verdict = self.judgement.verdict;
        line("verdict", format!("{}: {}", verdict.text(), self.judgement.why));
        if !self.judgement.next.is_empty() {
            line("next", self.judgement.next.clone());
        }
        match &self.connection {
            Some(c) => line("path", format!("{} (asked for {}){}", c.path, self.path, c.pair())),
            None => line("path", format!("asked for {}", self.path)),
        }
        if let Some(v) = &self.video {
            line(
                "picture",
                format!(
                    "{}x{}  {:.1} fps  {} frames, {} changes in {:.1} s  longest gap {:.0} ms",
                    v.size.width, v.size.height, v.fps, v.frames, v.changes, v.seconds, v.longest_gap_ms
                ),
            );
            let or = |name: &Option<String>| name.clone().unwrap_or_else(|| "?".into());
            line("codec", format!("{}  {} -> {}", or(&v.codec), or(&v.encoder), or(&v.decoder)));
        }
        if let Some(n) = &self.network {
            let jitter = n.jitter_ms.map_or("?".into(), |j| format!("{j:.1} ms"));
            let trip = n
                .round_trip_ms
                .map_or("?".into(), |r| format!("{:.1} ms ({:.1} to {:.1})", r.median, r.min, r.max));
            line(
                "network",
                format!(
                    "{:.0} kbit/s  {} packets, {} lost ({:.2} %)  jitter {jitter}  round trip {trip}",
                    n.kbps, n.packets, n.lost, n.loss_percent
                ),
            );
        }
        let steps: Vec<String> = self
            .steps
            .named()
            .iter()
            .filter_map(|(name, at)| Some(format!("{name} {:.0}", (*at)?)))
            .collect();
        line("steps, ms", if steps.is_empty() { "none".into() } else { steps.join("  ") });
        out
    }
}

fn end(end: &End) -> String {
    let relay = end.relay_protocol.map(|carrier| format!(" by {}", carrier.name())).unwrap_or_default();
    format!("{} {}{relay} {}", end.kind, end.protocol, end.address)
}

/// Several paths as a table.
pub fn table(reports: &[Report]) -> String {
    let mut rows = vec![
        ["path", "works", "took", "first frame", "round trip", "fps", "kbit/s", "why not"].map(str::to_owned),
    ];
    for report in reports {
        let or = |value: Option<String>| value.unwrap_or_else(|| "-".into());
        let works = report.judgement.verdict == Verdict::Ok;
        let trip = report.network.as_ref().and_then(|n| n.round_trip_ms);
        rows.push([
            report.path.to_string(),
            if works { "yes" } else { "no" }.into(),
            or(report.connection.as_ref().map(|c| c.path.to_string())),
            or(report.steps.first_frame.map(|t| format!("{t:.0} ms"))),
            or(trip.map(|t| format!("{:.1} ms", t.median))),
            or(report.video.as_ref().map(|v| format!("{:.1}", v.fps))),
            or(report.network.as_ref().map(|n| format!("{:.0}", n.kbps))),
            if works {
                String::new()
            } else {
                format!("{}: {}", report.judgement.verdict.text(), report.judgement.why)
            },
        ]);
    }
    lay_out(&rows)
}

/// What a swarm was asked to be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Swarm {
    /// Viewers that watch.
    pub active: usize,
    /// Viewers whose tab is hidden.
    pub idle: usize,
    /// How long they were watched.
    pub seconds: f64,
}

/// What one viewer of a swarm got.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// Its tab is hidden.
    pub idle: bool,
    /// ICE and DTLS got through.
    pub connected: bool,
    /// From its first request.
    pub first_frame_ms: Option<f64>,
    /// Frames a second, while watched.
    pub fps: f64,
    /// Video, while watched.
    pub kbps: f64,
    /// Video, since it came.
    pub bytes: u64,
    /// Packets, since it came.
    pub packets: u64,
    /// Packets that never came.
    pub lost: u64,
}

/// What a swarm found. Rates are of the active viewers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SwarmReport {
    /// The gateway.
    pub url: String,
    /// What was asked for.
    #[serde(flatten)]
    pub swarm: Swarm,
    /// Active ones that were connected.
    pub active_connected: usize,
    /// Idle ones that were connected.
    pub idle_connected: usize,
    /// Frames a second.
    pub fps: Option<Spread>,
    /// The slowest one's frame rate of the median.
    pub slowest_of_median: Option<f64>,
    /// kbit/s each.
    pub kbps: Option<Spread>,
    /// From a viewer's first request to its first frame.
    pub first_frame_ms: Option<Spread>,
    /// Bytes of video to all of them.
    pub bytes: u64,
    /// Packets to all of them.
    pub packets: u64,
    /// Packets that never came.
    pub lost: u64,
    /// The process's exit code.
    pub exit_code: u8,
}

impl SwarmReport {
    /// Sums up.
    pub fn new(url: &str, swarm: Swarm, shares: &[Share]) -> Self {
        let connected = |idle| shares.iter().filter(move |s| s.idle == idle && s.connected);
        let fps = Spread::of(connected(false).map(|s| s.fps));
        let all = connected(false).count() == swarm.active && connected(true).count() == swarm.idle;
        let verdict = match fps {
            _ if !all => Verdict::NotConnected,
            Some(fps) if fps.max == 0.0 => Verdict::NoVideo,
            _ => Verdict::Ok,
        };
        Self {
            url: url.to_owned(),
            swarm,
            active_connected: connected(false).count(),
            idle_connected: connected(true).count(),
            fps,
            slowest_of_median: fps
                .filter(|fps| fps.median > 0.0)
                .map(|fps| (fps.min / fps.median * 1_000.0).round() / 1_000.0),
            kbps: Spread::of(connected(false).map(|s| s.kbps)),
            first_frame_ms: Spread::of(connected(false).filter_map(|s| s.first_frame_ms)),
            bytes: shares.iter().map(|s| s.bytes).sum(),
            packets: shares.iter().map(|s| s.packets).sum(),
            lost: shares.iter().map(|s| s.lost).sum(),
            exit_code: verdict.exit_code(),
        }
    }

    /// A few lines for people.
    pub fn text(&self) -> String {
        let spread = |spread: Option<Spread>| match spread {
            Some(s) => format!("{:.1} min  {:.1} median  {:.1} max", s.min, s.median, s.max),
            None => "-".into(),
        };
        let Swarm { active, idle, seconds } = self.swarm;
        format!(
            "gateway      {}\n\
             connected    {} of {active} active, {} of {idle} idle\n\
             frames/s     {}  slowest of median {}\n\
             kbit/s each  {}\n\
             first frame  {} ms\n\
             in total     {:.1} MB  {} packets, {} lost ({:.2} %), watched {seconds:.1} s\n",
            self.url,
            self.active_connected,
            self.idle_connected,
            spread(self.fps),
            self.slowest_of_median.map_or("-".into(), |s| format!("{s:.3}")),
            spread(self.kbps),
            spread(self.first_frame_ms),
            self.bytes as f64 / 1e6,
            self.packets,
            self.lost,
            loss_percent(self.packets, self.lost),
        )
    }
}

/// Columns as wide as their widest cell, two spaces between.
fn lay_out<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|r| r[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..N).map(width).collect();
    rows.iter()
        .map(|row| {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, w)| format!("{cell:<w$}")).collect();
            format!("{}\n", cells.join("  ").trim_end())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verdict: Verdict) -> Report {
        Report {
            url: "http://127.0.0.1:8080/".into(),
            path: Path::TurnTcp,
            judgement: Judgement { verdict, why: "because".into(), next: String::new() },
            exit_code: verdict.exit_code(),
            steps: Steps { http: Some(Duration::from_micros(1_234)), ..Steps::default() }.into(),
            connection: None,
            video: None,
            network: None,
            gateway: None,
        }
    }

    #[test]
    fn json_is_flat_where_it_is_read_and_absent_where_nothing_was_reached() {
        let json = serde_json::to_value(report(Verdict::NotConnected)).unwrap();
        assert_eq!(json["verdict"], "not-connected");
        assert_eq!(json["exitCode"], 8);
        assert_eq!(json["path"], "turn-tcp");
        assert_eq!(json["steps"]["http"], 1.2);
        assert!(json["steps"]["firstFrame"].is_null());
        assert!(json.get("video").is_none() && json.get("next").is_none());
    }

    #[test]
    fn text_says_the_verdict_and_how_far_it_came() {
        let text = report(Verdict::NotConnected).text();
        assert!(text.contains("not connected: because"), "{text}");
        assert!(text.contains("http 1"), "{text}");
    }

    #[test]
    fn a_table_is_aligned() {
        let mut works = report(Verdict::Ok);
        works.steps.first_frame = Some(101.0);
        let text = table(&[works, report(Verdict::NotConnected)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        let column = lines[0].find("first frame").unwrap();
        assert!(lines[1][column..].starts_with("101 ms") && lines[2][column..].starts_with('-'));
        assert!(lines[2].ends_with("not connected: because"));
    }

    #[test]
    fn spread_and_loss() {
        assert_eq!(Spread::of([]), None);
        let spread = Spread::of([3.0, 1.0, 2.04]).unwrap();
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 2.04, 3.0));
        assert_eq!((loss_percent(0, 0), loss_percent(98, 2)), (0.0, 2.0));
    }

    #[test]
    fn a_swarm_is_summed_up_over_those_that_watch() {
        let share = |idle, connected, fps| Share {
            idle,
            connected,
            first_frame_ms: Some(10.0),
            fps,
            kbps: 2_000.0,
            bytes: 100,
            packets: 10,
            lost: 1,
        };
        let swarm = Swarm { active: 3, idle: 1, seconds: 5.0 };
        let seated = [
            share(false, true, 27.0),
            share(false, true, 30.0),
            share(false, true, 30.0),
            share(true, true, 0.0),
        ];
        let report = SwarmReport::new("u", swarm, &seated);
        assert_eq!((report.active_connected, report.idle_connected, report.exit_code), (3, 1, 0));
        assert_eq!((report.slowest_of_median, report.bytes, report.lost), (Some(0.9), 400, 4));
        assert!(report.text().contains("3 of 3 active, 1 of 1 idle"));
        let one_missing = SwarmReport::new("u", swarm, &seated[1..]);
        assert_eq!(one_missing.exit_code, Verdict::NotConnected.exit_code());
    }
}
