//! A kube client that crashes, refuses or loses calls: what a real API server does not do on demand. All
//! else goes to the real one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use deskgate::operator::webhook;
use http::{Method, Request, StatusCode};
use kube::client::Body;
use tokio::sync::Notify;
use tower::{BoxError, service_fn};

use crate::rig::bent::refusal;

/// A place in the operator that calls the API: verb, resource with subresource, and for patches what is patched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site(pub String);

/// When a crash strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// The request is never sent.
    Before,
    /// The request is done, and its answer is never seen.
    After,
}

#[derive(Default)]
struct State {
    seen: BTreeMap<Site, u32>,
    crash: Option<(Site, u32, Moment)>,
    crashed: bool,
    failing: Option<Failing>,
    in_a_row: u32,
    failed: u32,
}

/// Calls that fail at random, never more than ten in a row.
struct Failing {
    per_cent: u32,
    seed: u64,
}

/// What is to go wrong; shared by all clones.
#[derive(Clone, Default)]
pub struct Faults {
    state: Arc<Mutex<State>>,
    struck: Arc<Notify>,
}

impl Faults {
    /// Crashes at the `nth` call (from 1) of a site.
    pub fn crash_at(site: Site, nth: u32, moment: Moment) -> Self {
        let faults = Self::default();
        faults.state.lock().unwrap().crash = Some((site, nth, moment));
        faults
    }

    /// Lets so many per cent of all calls fail: 409, 429, 500, a dropped connection.
    pub fn failing(per_cent: u32, seed: u64) -> Self {
        let faults = Self::default();
        faults.state.lock().unwrap().failing = Some(Failing { per_cent, seed });
        faults
    }

    /// Waits for the crash.
    pub async fn crashed(&self) {
        loop {
            let struck = self.struck.notified();
            if self.state.lock().unwrap().crashed {
                return;
            }
            struck.await;
        }
    }

    /// Sites that were called, and how often.
    pub fn sites(&self) -> BTreeMap<Site, u32> {
        self.state.lock().unwrap().seen.clone()
    }

    /// How many calls were made to fail.
    pub fn failed(&self) -> u32 {
        self.state.lock().unwrap().failed
    }

    fn verdict(&self, request: &Request<Body>) -> Verdict {
        let mut state = self.state.lock().unwrap();
        if state.crashed {
            return Verdict::Crash(Moment::Before);
        }
        let Some(site) = site(request) else { return Verdict::Pass };
        let count = state.seen.entry(site.clone()).or_default();
        *count += 1;
        let count = *count;
        if let Some((at, nth, moment)) = &state.crash
            && *at == site
            && *nth == count
        {
            return Verdict::Crash(*moment);
        }
        state.random()
    }

    fn strike(&self) {
        self.state.lock().unwrap().crashed = true;
        self.struck.notify_waiters();
    }

    /// A client whose calls go through these faults to `client`.
    pub fn client(&self, client: kube::Client) -> kube::Client {
        let faults = self.clone();
        let call = move |request: Request<Body>| {
            let (verdict, faults, client) = (faults.verdict(&request), faults.clone(), client.clone());
            async move {
                match verdict {
                    Verdict::Pass => client.send(request).await.map_err(BoxError::from),
                    Verdict::Crash(moment) => {
                        if moment == Moment::After {
                            // Whatever came back is never seen.
                            let _ = client.send(request).await;
                        }
                        faults.strike();
                        std::future::pending().await
                    }
                    Verdict::LoseAnswer => {
                        let _ = client.send(request).await;
                        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into())
                    }
                    Verdict::Refuse(status, reason) => {
                        Ok(refusal(status, reason, &format!("made to fail: {reason}")))
                    }
                }
            }
        };
        kube::Client::new(service_fn(call), "default")
    }
}

impl State {
    fn random(&mut self) -> Verdict {
        let Some(failing) = &mut self.failing else { return Verdict::Pass };
        // xorshift64: the same seed, the same faults.
        failing.seed ^= failing.seed << 13;
        failing.seed ^= failing.seed >> 7;
        failing.seed ^= failing.seed << 17;
        let roll = failing.seed;
        if roll % 100 >= u64::from(failing.per_cent) || self.in_a_row >= 10 {
            self.in_a_row = 0;
            return Verdict::Pass;
        }
        self.in_a_row += 1;
        self.failed += 1;
        match (roll >> 32) % 5 {
            0 => Verdict::Refuse(StatusCode::CONFLICT, "Conflict"),
            1 => Verdict::Refuse(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
            2 => Verdict::Refuse(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
            3 => Verdict::LoseAnswer,
            _ => Verdict::Refuse(StatusCode::GONE, "Expired"),
        }
    }
}

enum Verdict {
    Pass,
    Crash(Moment),
    Refuse(StatusCode, &'static str),
    LoseAnswer,
}

/// The site of a request; none for leases, discovery and Events, which are no part of a session's life.
pub fn site(request: &Request<Body>) -> Option<Site> {
    let path = request.uri().path();
    let query = request.uri().query().unwrap_or_default();
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let at = parts.iter().position(|p| *p == "namespaces");
    let rest = match at {
        Some(at) => &parts[at + 2..],
        None => parts.get(if parts[0] == "api" { 2 } else { 3 }..)?,
    };
    let resource = rest.first().filter(|r| !["leases", "events"].contains(r))?;
    let subresource = rest.get(2).map(|s| format!("/{s}")).unwrap_or_default();
    let verb = match (request.method(), rest.len()) {
        (&Method::GET, _) if query.contains("watch=") => "watch",
        (&Method::GET, 1) => "list",
        (&Method::GET, _) => "get",
        (&Method::POST, _) => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        (&Method::DELETE, _) => "delete",
        _ => return None,
    };
    // The webhook's Secret is another matter than those of sessions.
    let is_webhooks = rest.get(1) == Some(&webhook::SECRET) || query.contains(webhook::MANAGER);
    let whose = if is_webhooks { " of the webhook" } else { "" };
    Some(Site(format!("{verb} {resource}{subresource}{whose}")))
}
