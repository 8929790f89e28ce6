//! PURE. Quotas: who is admitted. The first N that are to run, by age; the rest wait, and are told for whom.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

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

/// What quotas say of all sessions that are to run.
#[derive(Debug, Default)]
pub struct Admissions(HashMap<String, Admission>);

impl Admissions {
    /// What they say of the session of `uid`. One that is not to run is admitted: it takes nothing.
    pub fn of(&self, uid: &str) -> Admission {
        self.0.get(uid).cloned().unwrap_or(Admission::Admitted)
    }
}

/// Who shares a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Sharers<'a> {
    User(&'a str),
    UserOfTemplate(&'a str, &'a str),
    Template(&'a str),
}

/// What a limit is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Good {
    Sessions,
    GpuSlices,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Limit<'a> {
    sharers: Sharers<'a>,
    good: Good,
    most: u32,
}

/// What has been given of a limit: to whom, and how much.
#[derive(Default)]
struct Given<'a> {
    sum: u32,
    holders: BTreeMap<&'a str, u32>,
}

/// Says who is admitted of all that are to run.
pub fn admit(candidates: &[Candidate], quotas: &Quotas) -> Admissions {
    let mut queue: Vec<&Candidate> = candidates.iter().collect();
    queue.sort_by_key(|c| (!c.has_pod, c.created, c.uid.as_str()));
    let mut given: HashMap<Limit<'_>, Given<'_>> = HashMap::new();
    let mut admissions = HashMap::new();
    for candidate in queue {
        let limits = limits(quotas, candidate);
        let is_full = |limit: &&Limit<'_>| {
            let sum = given.get(*limit).map_or(0, |given| given.sum);
            sum.saturating_add(limit.good.of(candidate)) > limit.most
        };
        let admission = match limits.iter().find(is_full) {
            Some(limit) => limit.waits(given.get(limit), candidate),
            // Who waits for one limit takes nothing of another: else two that wait would keep each other out.
            None => {
                for limit in limits {
                    given.entry(limit).or_default().add(candidate, limit.good);
                }
                Admission::Admitted
            }
        };
        admissions.insert(candidate.uid.clone(), admission);
    }
    Admissions(admissions)
}

/// The limits that a session falls under, in the order in which they are told.
fn limits<'a>(quotas: &Quotas, own: &'a Candidate) -> Vec<Limit<'a>> {
    let template = quotas.templates.get(&own.template);
    let of_user = Sharers::User(&own.user);
    let of_template = Sharers::Template(&own.template);
    let of_both = Sharers::UserOfTemplate(&own.user, &own.template);
    let all = [
        (of_user, Good::Sessions, quotas.sessions_per_user),
        (of_both, Good::Sessions, template.and_then(|t| t.sessions_per_user)),
        (of_template, Good::Sessions, template.and_then(|t| t.sessions)),
        (of_user, Good::GpuSlices, quotas.gpu_per_user),
        (of_template, Good::GpuSlices, template.and_then(|t| t.gpu)),
    ];
    all.into_iter()
        .filter(|(_, good, _)| good.of(own) > 0)
        .filter_map(|(sharers, good, most)| most.map(|most| Limit { sharers, good, most }))
        .collect()
}

impl Good {
    const fn of(self, candidate: &Candidate) -> u32 {
        match self {
            Self::Sessions => 1,
            Self::GpuSlices => candidate.gpu,
        }
    }
}

impl<'a> Given<'a> {
    fn add(&mut self, holder: &'a Candidate, good: Good) {
        self.sum = self.sum.saturating_add(good.of(holder));
        self.holders.insert(&holder.name, good.of(holder));
    }
}

impl Limit<'_> {
    fn waits(&self, given: Option<&Given<'_>>, own: &Candidate) -> Admission {
        let reason = match self.good {
            Good::Sessions => Reason::SessionQuotaExceeded,
            Good::GpuSlices => Reason::GpuQuotaExceeded,
        };
        let (most, wanted) = (self.most, self.good.of(own));
        let held = given.map_or_else(|| "nobody".to_owned(), Given::text);
        Admission::Waits {
            reason,
            message: format!("at most {most} {self}, {wanted} wanted; held by {held}"),
        }
    }
}

impl fmt::Display for Limit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, from) = match self.good {
            Good::Sessions => ("sessions", "from template"),
            Good::GpuSlices => ("GPU slices", "of template"),
        };
        match self.sharers {
            Sharers::User(user) => write!(f, "{what} of {user}"),
            Sharers::UserOfTemplate(user, template) => write!(f, "{what} of {user} {from} {template}"),
            Sharers::Template(template) => write!(f, "{what} {from} {template}"),
        }
    }
}

impl Given<'_> {
    fn text(&self) -> String {
        const SHOWN: usize = 5;
        let named = self.holders.iter().take(SHOWN);
        let mut names: Vec<String> = named
            .map(|(name, n)| if *n > 1 { format!("{name} ({n})") } else { (*name).to_owned() })
            .collect();
        if self.holders.len() > SHOWN {
            names.push(format!("{} more", self.holders.len() - SHOWN));
        }
        names.join(", ")
    }
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
        assert_eq!(admit(&all, &quotas).of("uid-1"), Admission::Admitted);
        assert_eq!(admit(&all, &quotas).of("uid-2"), Admission::Admitted);
        assert_eq!(admit(&all, &quotas).of("uid-4"), Admission::Admitted);
        let message = "at most 2 sessions of alice, 1 wanted; held by desks/s1, desks/s2".to_owned();
        assert_eq!(
            admit(&all, &quotas).of("uid-3"),
            Admission::Waits { reason: Reason::SessionQuotaExceeded, message }
        );
    }

    #[test]
    fn who_runs_already_goes_before_who_is_older_and_comes_back() {
        let quotas = Quotas { sessions_per_user: Some(1), ..Quotas::default() };
        let runs = Candidate { has_pod: true, ..candidate(2, "alice", "t", 0) };
        let all = [candidate(1, "alice", "t", 0), runs];
        assert!(matches!(admit(&all, &quotas).of("uid-1"), Admission::Waits { .. }));
        assert_eq!(admit(&all, &quotas).of("uid-2"), Admission::Admitted);
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
            admit(&all, &quotas).of("uid-2"),
            Admission::Waits { reason: Reason::GpuQuotaExceeded, .. }
        ));
        assert_eq!(
            admit(&all, &quotas).of("uid-3"),
            Admission::Admitted,
            "uid-2 holds no seat of the template"
        );
    }

    #[test]
    fn without_quotas_everybody_is_admitted() {
        let one = [candidate(1, "a", "t", 9)];
        assert_eq!(admit(&one, &Quotas::default()).of("uid-1"), Admission::Admitted);
        let quotas = Quotas { sessions_per_user: Some(0), ..Quotas::default() };
        assert_eq!(admit(&[], &quotas).of("uid-1"), Admission::Admitted, "a suspended session takes nothing");
        let Admission::Waits { message, .. } = admit(&one, &quotas).of("uid-1") else { panic!("admitted") };
        assert_eq!(message, "at most 0 sessions of a, 1 wanted; held by nobody");
    }
}
