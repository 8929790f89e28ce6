//! PURE. Rotations on a virtual clock; every handshake on the way is verified as a client would.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, Error, RootCertStore};

use super::*;

const NAME: &str = "kasm-operator-webhook.kasm.svc";
const LIFETIMES: Lifetimes = Lifetimes {
    authority: Duration::from_secs(9000),
    serving: Duration::from_secs(3600),
    settle: Duration::from_secs(60),
    poll: Duration::from_secs(30),
};
/// How late API servers learn of a new bundle: just in time.
const LAG: i64 = 59;
/// How often two replicas look at the Secret; the second is a bad one.
const LOOKS: [i64; 2] = [30, 1000];

fn names() -> Vec<String> {
    vec![NAME.to_owned(), "127.0.0.1".to_owned()]
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn key() -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate()
}

/// What a client says that trusts this bundle and calls by this name.
fn handshake(bundle: &str, serving: &Pair, name: &str, now: Timestamp) -> Result<(), Error> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(root.unwrap()).unwrap();
    }
    if roots.is_empty() {
        return Err(CertificateError::UnknownIssuer.into());
    }
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let certificate = CertificateDer::from_pem_slice(serving.certificate.as_bytes()).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now.as_second().unsigned_abs()));
    verifier.verify_server_cert(&certificate, &[], &name, &[], now).map(drop)
}

/// Secret, configuration, API servers, replicas and a leader.
#[derive(Default)]
struct World {
    second: i64,
    secret: Option<State>,
    /// `caBundle` as it was written, and when.
    bundles: Vec<(i64, String)>,
    /// What the leader remembers.
    seen: Option<(String, Timestamp)>,
    replicas: [Option<Pair>; 2],
    steps: Vec<Action>,
    /// Bundle and certificate that went together; what changes later is only the time.
    verified: BTreeSet<(String, String)>,
    /// Nobody leads until then.
    leaderless: i64,
}

impl World {
    fn now(&self) -> Timestamp {
        at(self.second)
    }

    /// The leader's look: one step.
    fn lead(&mut self) -> Action {
        let now = self.now();
        let wanted = self.secret.as_ref().map(State::bundle).unwrap_or_default();
        let published = if self.bundles.last().is_some_and(|(_, b)| *b == wanted) {
            let known = self.seen.take().filter(|(bundle, _)| *bundle == wanted);
            Published::Since(self.seen.insert(known.unwrap_or((wanted.clone(), now))).1)
        } else {
            Published::Otherwise
        };
        let action = due(self.secret.as_ref(), published, &names(), now, &LIFETIMES);
        if let Some(state) = step(action, self.secret.as_ref(), &names(), now, &LIFETIMES, key).unwrap() {
            self.secret = Some(state);
        } else if action == Action::Publish {
            self.bundles.push((self.second, wanted));
        }
        if action != Action::Rest {
            self.steps.push(action);
        }
        action
    }

    /// The bundle that the slowest API server has.
    fn known_bundle(&self) -> &str {
        let known = self.bundles.iter().rev().find(|(when, _)| *when == 0 || when + LAG <= self.second);
        known.map(|(_, bundle)| bundle.as_str()).unwrap_or_default()
    }

    /// Time passes until `end`. After `crash` steps the leader ends, and for 200 s there is none.
    fn run(&mut self, end: i64, crash: Option<usize>) {
        while self.second < end {
            while self.second >= self.leaderless && self.lead() != Action::Rest {
                if crash == Some(self.steps.len()) {
                    self.seen = None;
                    self.leaderless = self.second + 200;
                }
            }
            for (replica, every) in self.replicas.iter_mut().zip(LOOKS) {
                if self.second % every == 0 || replica.is_none() {
                    *replica = self.secret.as_ref().map(|s| s.serving.clone());
                }
            }
            if self.bundles.is_empty() {
                // Only a leader that ended in the first second of all leaves it so.
                assert!(self.second < 300);
            } else {
                self.verify();
            }
            self.second += 10;
        }
    }

    fn verify(&mut self) {
        let now = self.now();
        let bundles = [self.known_bundle().to_owned(), self.bundles.last().unwrap().1.clone()];
        for replica in self.replicas.iter().flatten() {
            assert!(!replica.has_ended(now), "at {} s after {:?}", self.second, self.steps);
            for bundle in bundles.iter().filter(|b| !b.is_empty()) {
                if self.verified.insert((bundle.clone(), replica.certificate.clone())) {
                    let said = handshake(bundle, replica, NAME, now);
                    assert_eq!(said, Ok(()), "at {} s after {:?}", self.second, self.steps);
                }
            }
        }
        // Go looks at the end of authorities too; rustls does not.
        assert!(!self.secret.as_ref().unwrap().current.has_ended(now), "at {} s", self.second);
    }
}

#[test]
fn no_handshake_fails_through_five_lives_of_authorities() {
    let mut world = World::default();
    world.run(45_000, None);
    let count = |action| world.steps.iter().filter(|a| **a == action).count();
    assert_eq!(count(Action::Begin), 1);
    assert!(count(Action::Switch) >= 6, "{:?}", world.steps);
    assert!(count(Action::Retire) >= 4 && count(Action::Renew) >= 10, "{:?}", world.steps);
}

#[test]
fn nor_with_a_crash_after_any_step() {
    let mut steps = 1;
    let mut crash = 1;
    while crash <= steps {
        let mut world = World::default();
        world.run(18_000, Some(crash));
        steps = world.steps.len();
        crash += 1;
    }
    assert!(steps >= 15, "{steps} steps");
}

#[test]
fn old_and_new_authority_are_both_trusted_before_the_switch_and_after() {
    let mut world = World::default();
    let until = |world: &mut World, wanted: Action| {
        while world.lead() != wanted {
            world.second += 10;
        }
    };
    until(&mut world, Action::Announce);
    let announced = world.secret.clone().unwrap();
    let next = announced.next.clone().unwrap();
    assert_eq!(world.lead(), Action::Publish, "at once");
    let published = world.second;
    until(&mut world, Action::Switch);
    assert!(world.second - published >= 60, "API servers have time to learn of it");
    let switched = world.secret.clone().unwrap();
    assert_eq!(switched.current, next);
    assert_eq!(switched.bundle(), announced.bundle(), "a switch publishes nothing");
    for pair in [&announced.serving, &switched.serving] {
        assert_eq!(handshake(&switched.bundle(), pair, NAME, world.now()), Ok(()));
    }
    let old = handshake(&announced.current.certificate, &switched.serving, NAME, world.now());
    assert!(old.is_err(), "it is the next authority that signs");
    until(&mut world, Action::Retire);
    assert!(world.now() >= announced.current.until);
    assert_eq!(world.secret.clone().unwrap().bundle(), switched.current.certificate);
}

#[test]
fn what_is_not_published_signs_nothing() {
    let mut world = World::default();
    while world.lead() != Action::Announce {
        world.second += 10;
    }
    let state = world.secret.clone();
    let act = |published, second| due(state.as_ref(), published, &names(), at(second), &LIFETIMES);
    let now = world.second;
    assert_eq!(act(Published::Otherwise, now + 600), Action::Publish);
    assert_eq!(act(Published::Since(at(now)), now + 59), Action::Rest);
    assert_eq!(act(Published::Since(at(now)), now + 60), Action::Switch);
    assert_eq!(act(Published::Nowhere, now), Action::Switch, "nobody calls");
    // The clock was set back.
    assert_eq!(act(Published::Since(at(now + 10)), now), Action::Rest);
}

#[test]
fn a_long_absence_ends_in_what_can_still_be_done() {
    let mut world = World::default();
    world.run(10, None);
    let fresh = world.secret.clone().unwrap();
    let act =
        |state: &State, second| due(Some(state), Published::Since(at(0)), &names(), at(second), &LIFETIMES);
    assert_eq!(act(&fresh, 3600), Action::Renew, "the certificate has ended, its authority has not");
    assert_eq!(act(&fresh, 9000), Action::Begin, "both have");
    let renewed = step(Action::Renew, Some(&fresh), &names(), at(8000), &LIFETIMES, key).unwrap().unwrap();
    assert_eq!(renewed.serving.until, renewed.current.until, "it does not outlive its authority");
    let announced =
        step(Action::Announce, Some(&renewed), &names(), at(8000), &LIFETIMES, key).unwrap().unwrap();
    let act = |published, second| due(Some(&announced), published, &names(), at(second), &LIFETIMES);
    assert_eq!(act(Published::Since(at(8990)), 8999), Action::Rest, "another one would last no longer");
    assert_eq!(act(Published::Since(at(8990)), 9000), Action::Switch, "waiting helps nobody any more");
    assert_eq!(act(Published::Otherwise, 9000), Action::Publish);
    assert_eq!(act(Published::Nowhere, 17_000), Action::Begin);
}

#[test]
fn other_names_make_another_certificate() {
    let mut world = World::default();
    world.run(10, None);
    let state = world.secret.unwrap();
    let other = vec!["kasm-operator-webhook.elsewhere.svc".to_owned()];
    let action = due(Some(&state), Published::Since(at(0)), &other, at(10), &LIFETIMES);
    assert_eq!(action, Action::Renew);
    let renewed = step(action, Some(&state), &other, at(10), &LIFETIMES, key).unwrap().unwrap();
    assert_eq!(renewed.bundle(), state.bundle());
    assert_eq!(handshake(&state.bundle(), &renewed.serving, &other[0], at(10)), Ok(()));
    assert!(handshake(&state.bundle(), &renewed.serving, NAME, at(10)).is_err());
    assert_eq!(handshake(&state.bundle(), &state.serving, "127.0.0.1", at(10)), Ok(()));
}

#[test]
fn the_state_survives_the_secret_and_no_log_shows_a_key() {
    let mut world = World::default();
    world.run(10, None);
    let state = world.secret.unwrap();
    let text = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
    assert!(text.contains("PRIVATE KEY") && !format!("{state:?}").contains("PRIVATE KEY"));
}
