//! The admission webhook as the API server calls it: behind its Service, on every replica, through rotations.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use deskgate::manifests::{self, Values};
use deskgate::operator::settings::{Lifetimes, Settings};
use deskgate::operator::webhook::{CONFIGURATION, MANAGER, SECRET, SERVICE, rotation::State};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::life::ask;
use super::{Desks, Operator, settings};
use crate::rig::Cluster;
use crate::rig::wait::{DEADLINE, wait_for, wait_until};

const PORT: u16 = 8443;
/// Never due in a test.
const LONG: Lifetimes = Lifetimes {
    authority: Duration::from_secs(10_000),
    serving: Duration::from_secs(5_000),
    settle: Duration::from_secs(3),
    poll: Duration::from_millis(300),
};
/// Often due; yet what is left when they are is long for a busy machine.
pub const SHORT: Lifetimes =
    Lifetimes { authority: Duration::from_secs(36), serving: Duration::from_secs(15), ..LONG };

/// The webhook's Service and configuration, as the manifests have them.
pub async fn register(desks: &Desks) {
    let values = Values { own_namespace: desks.namespace.clone(), ..Values::default() };
    let is_webhooks = |o: &Value| o["metadata"]["name"] == SERVICE || o["metadata"]["name"] == CONFIGURATION;
    let objects = manifests::base::objects(&values).into_iter().filter(is_webhooks);
    let texts: Vec<String> = objects.map(|o| o.to_string()).collect();
    assert_eq!(texts.len(), 2);
    desks.cluster.apply_yaml(&texts.join("\n---\n")).await;
}

/// Waits until the Secret has been written again.
pub async fn wait_for_renewal(desks: &Desks) {
    let first = state(desks).await;
    wait_until(DEADLINE, "another certificate", async || {
        if state(desks).await.serving == first.serving { Err("the same".to_owned()) } else { Ok(()) }
    })
    .await;
}

async fn state(desks: &Desks) -> State {
    let secret = desks.api::<Secret>().get(SECRET).await.unwrap();
    serde_json::from_slice(&secret.data.unwrap()["state.json"].0).unwrap()
}

/// An operator of two replicas behind their Service, and a namespace whose pods it injects.
struct Hooked {
    desks: Desks,
    users: String,
    /// The first leads.
    replicas: Vec<(Operator, SocketAddr)>,
}

impl Hooked {
    async fn new(lifetimes: Lifetimes) -> Self {
        let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start().await));
        let desks = Desks::on(cluster, "hook", &[]).await;
        desks.account().await;
        register(&desks).await;
        let users = cluster.namespace("users").await;
        let mut hooked = Self { desks, users, replicas: Vec::new() };
        for name in ["replica-1", "replica-2"] {
            let address = hooked.replica_pod(name).await;
            let started = hooked.start(name, address, lifetimes).await;
            hooked.replicas.push(started);
        }
        hooked.wait_until_called().await;
        hooked
    }

    /// The pod that a replica would run in; its address.
    async fn replica_pod(&self, name: &str) -> SocketAddr {
        let mut objects = manifests::base::objects(&Values::default()).into_iter();
        let deployment = objects.find(|o| o["kind"] == "Deployment").unwrap();
        let mut pod = deployment["spec"]["template"].clone();
        pod["metadata"]["name"] = json!(name);
        // The account is the one that the test made; nothing runs in the pod.
        pod["spec"]["containers"][0]["args"] = json!([]);
        let pods = self.desks.api::<Pod>();
        pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
        let ready = wait_for(&pods, name, "a ready pod", |p| {
            let conditions = p.status.iter().flat_map(|s| s.conditions.iter().flatten());
            conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
        })
        .await;
        let address = ready.status.unwrap().pod_ip.unwrap();
        SocketAddr::new(address.parse().unwrap(), PORT)
    }

    async fn start(&self, name: &str, at: SocketAddr, certificates: Lifetimes) -> (Operator, SocketAddr) {
        let client = self.desks.account_as_it_is().await;
        let settings = Settings { certificates, ..settings(&self.desks.namespace) };
        let listener = TcpListener::bind(at).await.unwrap();
        let operator = Operator::start_at(client, settings, name, listener).await;
        let url = format!("http://{}/readyz", operator.health);
        wait_until(DEADLINE, "a ready replica", async || {
            let (code, text) = ask("GET", &url, "x", &[]).await;
            if code == 200 { Ok(()) } else { Err(text) }
        })
        .await;
        (operator, at)
    }

    /// Waits until the API server has the authority and finds the replicas.
    async fn wait_until_called(&self) {
        wait_until(DEADLINE, "an injected pod", async || {
            self.create("first", true, json!({}), true).await.map(drop).map_err(|e| e.to_string())
        })
        .await;
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.desks.client.clone(), &self.users)
    }

    async fn create(
        &self,
        name: &str,
        labelled: bool,
        spec: Value,
        dry_run: bool,
    ) -> Result<Pod, kube::Error> {
        let params = PostParams { dry_run, ..PostParams::default() };
        self.pods().create(&params, &pod(name, labelled, spec)).await
    }

    fn configurations(&self) -> Api<MutatingWebhookConfiguration> {
        Api::all(self.desks.client.clone())
    }

    async fn bundle(&self) -> Vec<u8> {
        let configuration = self.configurations().get(CONFIGURATION).await.unwrap();
        configuration.webhooks.unwrap()[0].client_config.ca_bundle.clone().unwrap_or_default().0
    }

    /// What a replica shows to a client that trusts the published authorities.
    async fn shown(&self, at: SocketAddr) -> Result<CertificateDer<'static>, std::io::Error> {
        let bundle = self.bundle().await;
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(&bundle) {
            roots.add(root.unwrap()).unwrap();
        }
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = format!("{SERVICE}.{}.svc", self.desks.namespace);
        let stream = TcpStream::connect(at).await?;
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector.connect(ServerName::try_from(name).unwrap(), stream).await?;
        Ok(stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned())
    }

    /// Takes a replica's pod out of the Service, and waits until the API server knows.
    async fn leave_out(&self, name: &str) {
        let patch = json!({"metadata": {"labels": {"control-plane": "nobody"}}});
        let pods = self.desks.api::<Pod>();
        pods.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
        let slices = self.desks.api::<EndpointSlice>();
        wait_until(DEADLINE, "one endpoint", async || {
            let of = ListParams::default().labels(&format!("kubernetes.io/service-name={SERVICE}"));
            let slices = slices.list(&of).await.unwrap();
            let count: usize = slices.iter().map(|s| s.endpoints.len()).sum();
            if count == 1 { Ok(()) } else { Err(count.to_string()) }
        })
        .await;
    }
}

fn pod(name: &str, labelled: bool, spec: Value) -> Pod {
    let mut all = json!({"containers": [{"name": "desktop", "image": "registry.example/xterm:1"}]});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let labels = if labelled { json!({"vdi.kasm.io/inject": "true"}) } else { json!({"app": "xterm"}) };
    let metadata = json!({
        "name": name, "labels": labels, "annotations": {"vdi.kasm.io/secret": "desk-token"},
    });
    serde_json::from_value(json!({"metadata": metadata, "spec": all})).unwrap()
}

fn is_injected(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref().unwrap();
    spec.init_containers.iter().flatten().any(|c| c.name == "gateway")
        && spec
            .volumes
            .iter()
            .flatten()
            .any(|v| v.secret.as_ref().is_some_and(|s| s.secret_name.as_deref() == Some("desk-token")))
}

#[tokio::test(flavor = "multi_thread")]
async fn labelled_pods_get_the_sidecar_from_any_replica_and_a_restart_writes_nothing() {
    let mut hooked = Hooked::new(LONG).await;
    assert!(is_injected(&hooked.create("desk", true, json!({}), false).await.unwrap()));
    assert!(is_injected(&hooked.pods().get("desk").await.unwrap()));
    assert!(!is_injected(&hooked.create("other", false, json!({}), false).await.unwrap()));
    assert!(is_injected(&hooked.create("tried", true, json!({}), true).await.unwrap()));
    assert!(hooked.pods().get_opt("tried").await.unwrap().is_none(), "a dry run");
    let refused = hooked.create("bad", true, json!({"hostNetwork": true}), false).await.unwrap_err();
    let expected =
        format!("admission webhook \"{CONFIGURATION}\" denied the request: the pod has hostNetwork");
    assert!(refused.to_string().contains(&expected), "{refused}");
    // What stands in the way of replicas would stand in its own.
    let own = hooked.desks.api::<Pod>();
    let params = PostParams { dry_run: true, ..PostParams::default() };
    assert!(!is_injected(&own.create(&params, &pod("own", true, json!({}))).await.unwrap()));

    // Both replicas show the one certificate; the follower alone does as well as both.
    let serving = CertificateDer::from_pem_slice(state(&hooked.desks).await.serving.certificate.as_bytes());
    let serving = serving.unwrap();
    for (_, at) in &hooked.replicas {
        assert_eq!(hooked.shown(*at).await.unwrap(), serving);
    }
    let leads = async |operator: &Operator| {
        let text = ask("GET", &format!("http://{}/metrics", operator.health), "x", &[]).await.1;
        text.lines().any(|line| line == "vdi_leading 1")
    };
    assert!(leads(&hooked.replicas[0].0).await && !leads(&hooked.replicas[1].0).await);
    hooked.leave_out("replica-1").await;
    for n in 0..5 {
        assert!(is_injected(&hooked.create(&format!("follower-{n}"), true, json!({}), true).await.unwrap()));
    }

    // Settled, applied again, started again: nothing is written.
    let mark = hooked.desks.cluster.audit_mark();
    register(&hooked.desks).await;
    let addresses: Vec<SocketAddr> = hooked.replicas.drain(..).map(|(_, at)| at).collect();
    for (name, at) in ["replica-1", "replica-2"].into_iter().zip(addresses) {
        let again = wait_until(DEADLINE, "a free port", async || {
            TcpListener::bind(at).await.map(drop).map_err(|e| e.to_string())
        });
        again.await;
        let started = hooked.start(name, at, LONG).await;
        hooked.replicas.push(started);
    }
    let of_webhook = |resource: &'static str, verb: &'static str| {
        move |e: &crate::rig::audit::AuditEvent| e.object_ref.resource == resource && e.verb == verb
    };
    let looks = of_webhook("mutatingwebhookconfigurations", "get");
    wait_until(DEADLINE, "the leader's looks", async || {
        let count = hooked.desks.cluster.audit_events(mark, looks).len();
        if count >= 4 { Ok(()) } else { Err(count.to_string()) }
    })
    .await;
    let writes = hooked.desks.cluster.audit_events(mark, |e| {
        e.is_write() && (e.object_ref.resource == "secrets" || e.request_uri.contains(MANAGER))
    });
    assert!(writes.is_empty(), "{writes:?}");
    assert!(is_injected(&hooked.create("again", true, json!({}), true).await.unwrap()));

    // Deleting the Secret makes new authorities.
    let before = hooked.bundle().await;
    hooked.desks.api::<Secret>().delete(SECRET, &DeleteParams::default()).await.unwrap();
    wait_until(DEADLINE, "another authority", async || {
        let is_new = hooked.bundle().await != before;
        let created = hooked.create("new", true, json!({}), true).await.map_err(|e| e.to_string())?;
        if is_new && is_injected(&created) { Ok(()) } else { Err("the same".to_owned()) }
    })
    .await;

    // A Secret of that name that is somebody else's is left alone.
    let secrets = hooked.desks.api::<Secret>();
    let foreign = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "mallory"}}, "data": {"state.json": ""}});
    secrets.patch(SECRET, &PatchParams::default(), &Patch::Merge(&foreign)).await.unwrap();
    let version = secrets.get(SECRET).await.unwrap().resource_version();
    let mark = hooked.desks.cluster.audit_mark();
    wait_until(DEADLINE, "the leader's looks", async || {
        let count = hooked.desks.cluster.audit_events(mark, looks).len();
        if count >= 3 { Ok(()) } else { Err(count.to_string()) }
    })
    .await;
    assert_eq!(secrets.get(SECRET).await.unwrap().resource_version(), version);
    assert!(is_injected(&hooked.create("still", true, json!({}), true).await.unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_pod_is_refused_while_authorities_and_certificates_change() {
    let hooked = Arc::new(Hooked::new(SHORT).await);
    let done = Arc::new(AtomicBool::new(false));
    let made = Arc::new(AtomicU32::new(0));
    let pods = tokio::spawn({
        let (hooked, done, made) = (Arc::clone(&hooked), Arc::clone(&done), Arc::clone(&made));
        async move {
            while !done.load(Ordering::Relaxed) {
                let name = format!("desk-{}", made.fetch_add(1, Ordering::Relaxed));
                let pod = hooked.create(&name, true, json!({}), false).await;
                assert!(is_injected(&pod.unwrap_or_else(|e| panic!("{name}: {e}"))), "{name}");
            }
        }
    });
    // The API server keeps connections; a new one has to be possible at any time.
    let handshakes = tokio::spawn({
        let (hooked, done) = (Arc::clone(&hooked), Arc::clone(&done));
        async move {
            let mut shown = std::collections::BTreeSet::new();
            while !done.load(Ordering::Relaxed) {
                for (_, at) in &hooked.replicas {
                    shown.insert(hooked.shown(*at).await.unwrap().to_vec());
                }
            }
            shown.len()
        }
    });
    for turn in ["first", "second"] {
        let before = state(&hooked.desks).await.current;
        wait_until(DEADLINE * 2, &format!("{turn} switch"), async || {
            let ended = pods.is_finished() || handshakes.is_finished();
            let switched = state(&hooked.desks).await.current != before;
            if ended || switched { Ok(()) } else { Err("the same authority".to_owned()) }
        })
        .await;
    }
    done.store(true, Ordering::Relaxed);
    pods.await.unwrap();
    let shown = handshakes.await.unwrap();
    assert!(shown >= 5, "{shown} certificates");
    assert!(made.load(Ordering::Relaxed) >= 100, "{} pods", made.load(Ordering::Relaxed));
}
