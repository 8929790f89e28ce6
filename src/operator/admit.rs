//! PURE. Quotas: who is admitted. The first N that are to run, by age; the rest wait, and are told for whom.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use super::reason::Reason;
use super::settings::Quotas;

/// One session that is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// UID.
    pub uid: String,
    /// `namespace/name`, for messages.
    pub name: String,
    /// Whose.
    pub user: String,
    /// Of what.
    pub template: String,
    /// GPU slices that it takes.
    pub gpu: u32,
    /// Whether it runs already: a desktop that runs is not ended by a quota.
    pub has_pod: bool,
    /// Age decides among the others.
    pub created: Timestamp,
}

/// What quotas say of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may run.
    Admitted,
    /// It waits.
    Waits {
        /// For sessions or for GPU slices.
        reason: Reason,
        /// Which limit, and who holds what there is.
        message: String,
    },
}

/// A limit, and what counts against it.
struct Limit<'a> {
    what: String,
    most: u32,
    reason: Reason,
    counts: Box<dyn Fn(&Candidate) -> bool + 'a>,
}

/// Says whether the session of `uid` is admitted among all that are to run. One that is not among them is admitted:
/// it takes nothing.
pub fn admit(candidates: &[Candidate], uid: &str, quotas: &Quotas) -> Admission {
    let Some(own) = candidates.iter().find(|c| c.uid == uid) else { return Admission::Admitted };
    let own_limits = limits(quotas, own);
    if own_limits.is_empty() {
        return Admission::Admitted;
    }
    let mut queue: Vec<&Candidate> = candidates.iter().collect();
    queue.sort_by_key(|c| (!c.has_pod, c.created, c.uid.as_str()));
    // Who waits for one limit takes nothing of another: else two that wait would keep each other out.
    let mut admitted: Vec<&Candidate> = Vec::new();
    for candidate in queue {
        let refused = limits(quotas, candidate).into_iter().find(|limit| {
            let taken: u32 = admitted.iter().filter(|a| (limit.counts)(a)).map(|a| weight(limit, a)).sum();
            taken + weight(limit, candidate) > limit.most
        });
        match refused {
            None if candidate.uid == uid => return Admission::Admitted,
            None => admitted.push(candidate),
            Some(limit) if candidate.uid == uid => return waits(&limit, &admitted, own),
            Some(_) => {}
        }
    }
    Admission::Admitted
}

fn weight(limit: &Limit<'_>, candidate: &Candidate) -> u32 {
    if limit.reason == Reason::GpuQuotaExceeded { candidate.gpu } else { 1 }
}

fn limits<'a>(quotas: &Quotas, own: &'a Candidate) -> Vec<Limit<'a>> {
    let template = quotas.templates.get(&own.template);
    let (user, kind) = (own.user.as_str(), own.template.as_str());
    let mut limits = Vec::new();
    let mut add = |most: Option<u32>, what: String, reason, counts: Box<dyn Fn(&Candidate) -> bool + 'a>| {
        if let Some(most) = most {
            limits.push(Limit { what, most, reason, counts });
        }
    };
    let sessions = Reason::SessionQuotaExceeded;
    add(quotas.sessions_per_user, format!("sessions of {user}"), sessions, Box::new(move |c| c.user == user));
    add(
        template.and_then(|t| t.sessions_per_user),
        format!("sessions of {user} from template {kind}"),
        sessions,
        Box::new(move |c| c.user == user && c.template == kind),
    );
    add(
        template.and_then(|t| t.sessions),
        format!("sessions from template {kind}"),
        sessions,
        Box::new(move |c| c.template == kind),
    );
    if own.gpu > 0 {
        let gpu = Reason::GpuQuotaExceeded;
        add(quotas.gpu_per_user, format!("GPU slices of {user}"), gpu, Box::new(move |c| c.user == user));
        add(
            template.and_then(|t| t.gpu),
            format!("GPU slices of template {kind}"),
            gpu,
            Box::new(move |c| c.template == kind),
        );
    }
    limits
}

fn waits(limit: &Limit<'_>, admitted: &[&Candidate], own: &Candidate) -> Admission {
    let mut holders: BTreeMap<&str, u32> = BTreeMap::new();
    for holder in admitted.iter().filter(|a| (limit.counts)(a) && weight(limit, a) > 0) {
        holders.insert(&holder.name, weight(limit, holder));
    }
    const SHOWN: usize = 5;
    let mut names: Vec<String> = holders
        .iter()
        .take(SHOWN)
        .map(|(name, n)| if *n > 1 { format!("{name} ({n})") } else { (*name).to_owned() })
        .collect();
    if holders.len() > SHOWN {
        names.push(format!("{} more", holders.len() - SHOWN));
    }
    let held = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
    let wanted = weight(limit, own);
    let message = format!("at most {} {}, {wanted} wanted; held by {held}", limit.most, limit.what);
    Admission::Waits { reason: limit.reason, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::settings::TemplateQuota;

    fn candidate(n: i64, user: &str, template: &str, gpu: u32) -> Candidate {
        Candidate {
            uid: format!("uid-{n}"),
            name: format!("desks/s{n}"),
            user: user.to_owned(),
            template: template.to_owned(),
            gpu,
            has_pod: false,
            created: Timestamp::from_second(n).unwrap(),
        }
    }

    #[test]
    fn the_oldest_are_admitted_and_the_rest_are_told_for_whom_they_wait() {
        let all = [
            candidate(3, "alice", "t", 0),
            candidate(1, "alice", "t", 0),
            candidate(2, "alice", "t", 0),
            candidate(4, "bob", "t", 0),
        ];
        let quotas = Quotas { sessions_per_user: Some(2), ..Quotas::default() };
        assert_eq!(admit(&all, "uid-1", &quotas), Admission::Admitted);
        assert_eq!(admit(&all, "uid-2", &quotas), Admission::Admitted);
        assert_eq!(admit(&all, "uid-4", &quotas), Admission::Admitted);
        let message = "at most 2 sessions of alice, 1 wanted; held by desks/s1, desks/s2".to_owned();
        assert_eq!(
            admit(&all, "uid-3", &quotas),
            Admission::Waits { reason: Reason::SessionQuotaExceeded, message }
        );
    }

    #[test]
    fn who_runs_already_goes_before_who_is_older_and_comes_back() {
        let quotas = Quotas { sessions_per_user: Some(1), ..Quotas::default() };
        let runs = Candidate { has_pod: true, ..candidate(2, "alice", "t", 0) };
        let all = [candidate(1, "alice", "t", 0), runs];
        assert!(matches!(admit(&all, "uid-1", &quotas), Admission::Waits { .. }));
        assert_eq!(admit(&all, "uid-2", &quotas), Admission::Admitted);
    }

    #[test]
    fn a_session_that_waits_takes_nothing() {
        let quotas = Quotas {
            gpu_per_user: Some(1),
            templates: [("t".to_owned(), TemplateQuota { sessions: Some(2), ..TemplateQuota::default() })]
                .into(),
            ..Quotas::default()
        };
        let all = [candidate(1, "alice", "t", 1), candidate(2, "alice", "t", 1), candidate(3, "bob", "t", 0)];
        assert!(matches!(
            admit(&all, "uid-2", &quotas),
            Admission::Waits { reason: Reason::GpuQuotaExceeded, .. }
        ));
        assert_eq!(admit(&all, "uid-3", &quotas), Admission::Admitted, "uid-2 holds no seat of the template");
    }

    #[test]
    fn without_quotas_everybody_is_admitted() {
        assert_eq!(admit(&[candidate(1, "a", "t", 9)], "uid-1", &Quotas::default()), Admission::Admitted);
        let quotas = Quotas { sessions_per_user: Some(0), ..Quotas::default() };
        assert_eq!(admit(&[], "uid-1", &quotas), Admission::Admitted, "a suspended session takes nothing");
        assert!(matches!(admit(&[candidate(1, "a", "t", 0)], "uid-1", &quotas), Admission::Waits { .. }));
    }
}
