//! A real Traefik between operator and gateway: whether a route leads to its session is asked, not believed.
//!
//! Traefik takes seven minutes to build, so these are not part of `make test`: `make test-traefik` runs them.

use std::net::TcpListener;

use deskgate::operator::settings::Settings;
use serde_json::json;

use super::{Desks, found, life, settings};
use crate::rig::Cluster;
use crate::rig::process::{Process, command};
use crate::rig::programs;

/// A Traefik with one entry point, HTTP and HTTPS on one port as its routes have it.
struct Traefik {
    port: u16,
    process: Option<Process>,
    namespace: String,
}

impl Traefik {
    fn start(cluster: &Cluster, namespace: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut traefik = Self { port, process: None, namespace: namespace.to_owned() };
        traefik.start_again(cluster);
        traefik
    }

    fn start_again(&mut self, cluster: &Cluster) {
        let mut traefik = command(programs::traefik());
        traefik
            .args(["--global.checknewversion=false", "--global.sendanonymoususage=false"])
            .arg(format!("--entrypoints.websecure.address=127.0.0.1:{}", self.port))
            .args(["--providers.kubernetescrd=true", "--providers.providersthrottleduration=100ms"])
            .arg(format!("--providers.kubernetescrd.namespaces={}", self.namespace))
            .env("KUBECONFIG", cluster.kubeconfig_of_admin());
        let log = cluster.folder().join(format!("traefik-{}.log", self.port));
        self.process = Some(Process::spawn("traefik", traefik, &log));
    }

    fn stop(&mut self) {
        self.process = None;
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}", self.port)
    }
}

fn probing(desks: &Desks, url: String) -> Settings {
    let mut settings = settings(&desks.namespace);
    settings.route.tls = url.starts_with("https");
    settings.ingress_probe = Some(url);
    settings
}

async fn a_route_is_asked_through_traefik(name: &str, scheme: &str) {
    let desks = Desks::new(name).await;
    let mut traefik = Traefik::start(desks.cluster, &desks.namespace);
    desks.make_template(json!({})).await;
    life::serve_for_real(&desks);
    let _operator = desks.operator_with(probing(&desks, traefik.url(scheme))).await;
    desks.make_session("desk", json!({})).await;
    let session = desks.holds("desk", "RouteReady").await;
    assert_eq!(found(&session, "RouteReady").unwrap().1, "Routed");

    traefik.stop();
    let message = desks.reason("desk", "RouteReady", "ProbeFailed").await;
    assert!(message.contains(&traefik.url(scheme)) && message.contains("refused"), "{message}");
    traefik.start_again(desks.cluster);
    desks.holds("desk", "RouteReady").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Traefik, see the module"]
async fn a_route_is_ready_when_traefik_leads_to_the_session_over_tls() {
    a_route_is_asked_through_traefik("tls-way", "https").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Traefik, see the module"]
async fn a_route_is_ready_when_traefik_leads_to_the_session_without_tls() {
    a_route_is_asked_through_traefik("plain-way", "http").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Traefik, see the module"]
async fn a_route_that_traefik_does_not_take_is_not_ready() {
    let desks = Desks::new("no-way").await;
    let traefik = Traefik::start(desks.cluster, &desks.namespace);
    desks.make_template(json!({})).await;
    life::serve_for_real(&desks);
    let mut settings = probing(&desks, traefik.url("https"));
    // A middleware that is not there: Traefik takes the object and makes no router of it.
    settings.route.middlewares = vec!["absent".to_owned()];
    let _operator = desks.operator_with(settings).await;
    desks.make_session("desk", json!({})).await;
    let message = desks.reason("desk", "RouteReady", "ProbeFailed").await;
    assert!(message.contains("does not lead to the gateway"), "{message}");
}
