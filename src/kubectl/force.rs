//! PURE. What is asked before a pod is struck off whose node may still run it.

use super::text::plain;
use crate::crd::{ConditionStatus, VDISession};
use crate::operator::reason::Reason;

/// The question of `restart --force`.
pub fn question(session: &VDISession, pod: &str) -> String {
    let status = session.status.as_ref();
    let node = plain(status.and_then(|s| s.node_name.as_deref()).unwrap_or("of no name"));
    let conditions = status.map(|s| s.conditions.as_slice()).unwrap_or_default();
    let lost = conditions
        .iter()
        .find(|c| c.status != ConditionStatus::True && Reason::parse(&c.reason) == Some(Reason::NodeLost));
    let found = match lost {
        Some(condition) => plain(&condition.message),
        None => format!(
            "Node {node} is NOT known to be lost: without --force the desktop ends in order, and loses less."
        ),
    };
    format!(
        "{found}\nPod {pod} will be struck off without a word from node {node}. What was not saved is lost. If the node \
         still runs, the old desktop goes on there, and two desktops may write to one home and damage files in it: \
         make sure first that the node is off."
    )
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::crd::{Condition, VDISessionSpec, VDISessionStatus};

    #[test]
    fn it_says_whether_the_node_is_lost_and_what_may_be() {
        let mut session = VDISession::new("alice", VDISessionSpec::default());
        let node_name = Some("node-1".to_owned());
        session.status = Some(VDISessionStatus { node_name, ..VDISessionStatus::default() });
        let well = question(&session, "vdi-alice");
        assert!(well.starts_with("Node node-1 is NOT known to be lost"), "{well}");
        session.status.as_mut().unwrap().conditions = vec![Condition {
            type_: "PodReady".to_owned(),
            status: ConditionStatus::Unknown,
            reason: Reason::NodeLost.as_str().to_owned(),
            message: "node-1 has not answered for 5m".to_owned(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: None,
        }];
        let lost = question(&session, "vdi-alice");
        assert!(lost.starts_with("node-1 has not answered for 5m\nPod vdi-alice"), "{lost}");
        assert!(lost.contains("lost") && lost.contains("two desktops may write to one home"));
    }
}
