//! PURE. Tables of sessions, as kubectl prints its own.

use std::time::Duration;

use jiff::Timestamp;

use super::progress::READY;
use super::text::{age, plain};
use crate::crd::{Condition, VDISession};

/// What a table shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// The namespace too.
    pub namespace: bool,
    /// Node, reason, viewers and idle time too.
    pub wide: bool,
}

/// Between two columns.
const GAP: usize = 3;

/// The table, a line for each session.
pub fn table(sessions: &[VDISession], columns: Columns, now: Timestamp) -> String {
    let mut rows = vec![head(columns)];
    rows.extend(sessions.iter().map(|s| row(s, columns, now)));
    let count = rows.first().map_or(0, Vec::len);
    let width = |i: usize| rows.iter().filter_map(|r| r.get(i)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let line: String =
            row.iter().zip(&widths).map(|(cell, w)| format!("{cell:<w$}", w = w + GAP)).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn head(columns: Columns) -> Vec<String> {
    let namespace = columns.namespace.then_some("NAMESPACE");
    let usual = ["NAME", "USER", "TEMPLATE", "PHASE", "READY", "URL", "AGE"];
    let wide = if columns.wide { ["NODE", "REASON", "VIEWERS", "IDLE"].as_slice() } else { &[] };
    namespace.into_iter().chain(usual).chain(wide.iter().copied()).map(str::to_owned).collect()
}

fn row(session: &VDISession, columns: Columns, now: Timestamp) -> Vec<String> {
    let (meta, spec) = (&session.metadata, &session.spec);
    let status = session.status.clone().unwrap_or_default();
    let ready = status.conditions.iter().find(|c| c.type_ == READY);
    let since = |t: Option<Timestamp>| t.map(|t| age(between(t, now)));
    let phase = match (&meta.deletion_timestamp, status.phase) {
        (Some(_), _) => Some("Terminating".to_owned()),
        (None, phase) => phase.map(|p| format!("{p:?}")),
    };
    let mut cells = Vec::new();
    if columns.namespace {
        cells.push(meta.namespace.clone());
    }
    cells.extend([
        meta.name.clone(),
        Some(spec.user.clone()),
        Some(spec.template.clone()),
        phase,
        ready.map(|c| format!("{:?}", c.status)),
        status.url,
        since(meta.creation_timestamp.as_ref().map(|t| t.0)),
    ]);
    if columns.wide {
        let idle = status.last_activity_time.filter(|_| status.viewers == Some(0));
        cells.extend([
            status.node_name,
            ready.map(|c: &Condition| c.reason.clone()),
            status.viewers.map(|v| v.to_string()),
            since(idle.map(|t| t.0)),
        ]);
    }
    cells.into_iter().map(|c| c.map_or_else(|| "-".to_owned(), |c| plain(&c))).collect()
}

/// Clocks differ: what lies ahead has just happened.
fn between(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::crd::{ConditionStatus, Phase, VDISessionSpec, VDISessionStatus};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn running() -> VDISession {
        let spec = VDISessionSpec {
            user: "alice\u{1b}[2J".to_owned(),
            template: "ubuntu".to_owned(),
            ..VDISessionSpec::default()
        };
        let mut session = VDISession::new("alice", spec);
        session.metadata.namespace = Some("desks".to_owned());
        session.metadata.creation_timestamp = Some(Time(at(0)));
        session.status = Some(VDISessionStatus {
            phase: Some(Phase::Running),
            conditions: vec![Condition {
                type_: READY.to_owned(),
                status: ConditionStatus::True,
                reason: "Ready".to_owned(),
                message: String::new(),
                last_transition_time: Time(at(0)),
                observed_generation: None,
            }],
            node_name: Some("node-1".to_owned()),
            url: Some("https://a.example/".to_owned()),
            viewers: Some(0),
            last_activity_time: Some(Time(at(60))),
            ..VDISessionStatus::default()
        });
        session
    }

    #[test]
    fn columns_line_up_and_what_is_not_known_is_a_dash() {
        let sessions = [running(), VDISession::new("b", VDISessionSpec::default())];
        let text = table(&sessions, Columns { namespace: true, wide: false }, at(150));
        let wanted = "\
NAMESPACE   NAME    USER        TEMPLATE   PHASE     READY   URL                  AGE
desks       alice   alice [2J   ubuntu     Running   True    https://a.example/   2m30s
-           b                              -         -       -                    -
";
        assert_eq!(text, wanted);
    }

    #[test]
    fn wide_says_where_it_runs_and_since_when_nobody_is_there() {
        let mut going = running();
        going.metadata.deletion_timestamp = Some(Time(at(0)));
        let text = table(&[running(), going], Columns { namespace: false, wide: true }, at(150));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].ends_with("NODE     REASON   VIEWERS   IDLE"), "{text}");
        assert!(lines[1].ends_with("node-1   Ready    0         90s"), "{text}");
        assert!(lines[2].contains("Terminating"), "{text}");
        assert_eq!(between(at(9), at(1)), Duration::ZERO);
    }
}
