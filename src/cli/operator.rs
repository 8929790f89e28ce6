//! `operator`.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgAction, Args};
use deskgate::crd::ImagePullPolicy;
use deskgate::operator::settings::{
    DEFAULT_CONCURRENCY, ForwardAuthSettings, Lifetimes, Pace, RouteSettings, Settings, SettingsFile,
};
use deskgate::operator::{self, Replica};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Flags of `deskgate operator`.
#[derive(Args)]
pub struct Operator {
    /// Domain that sessions get their hosts in, such as vdi.example.com
    #[arg(long, value_name = "DOMAIN")]
    domain: String,
    /// Namespace whose sessions are looked after; repeatable
    #[arg(long = "namespace", value_name = "NAME", required = true)]
    namespaces: Vec<String>,
    /// The operator's own namespace
    #[arg(long, value_name = "NAME", default_value = "kasm")]
    own_namespace: String,
    /// Image of the gateway's sidecar
    #[arg(long, value_name = "IMAGE")]
    gateway_image: String,
    /// When that image is pulled: Always, IfNotPresent, Never [default: Kubernetes' own rule]
    #[arg(long, value_name = "POLICY", value_parser = super::inject::policy)]
    gateway_pull_policy: Option<ImagePullPolicy>,
    /// Traefik's entry point for sessions; repeatable
    #[arg(long = "entry-point", value_name = "NAME", default_value = "websecure")]
    entry_points: Vec<String>,
    /// Traefik's middleware on every session's route, NAME or NAMESPACE/NAME; repeatable
    #[arg(long = "middleware", value_name = "NAME")]
    middlewares: Vec<String>,
    /// Ingress class, where Traefik filters by it
    #[arg(long, value_name = "NAME")]
    ingress_class: Option<String>,
    /// Traefik's entry point for TURN over TLS, on hosts t-<session>-<hash>.DOMAIN [default: none]
    #[arg(long, value_name = "NAME")]
    turn_entry_point: Option<String>,
    /// Namespace of Traefik's pods, which may reach sessions
    #[arg(long, value_name = "NAME", default_value = "kube-system")]
    traefik_namespace: String,
    /// Port in the sessions' URLs, where it is not the scheme's own
    #[arg(long, value_name = "PORT")]
    public_port: Option<u16>,
    /// Whether Traefik ends TLS for sessions; false: something in front of it does, or nothing
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    tls: bool,
    /// Header in which a forward-auth proxy names the user, such as X-Auth-Request-Email
    #[arg(long, value_name = "HEADER", requires = "forward_auth_from")]
    forward_auth_header: Option<String>,
    /// Networks that this proxy, or Traefik in front of it, connects from; repeatable
    #[arg(long, value_name = "CIDR")]
    forward_auth_from: Vec<String>,
    /// Address that viewers reach node ports at [default: each node's own]
    #[arg(long, value_name = "IP")]
    node_address: Option<IpAddr>,
    /// URL of Traefik's entry point as seen from here; each session's route is then asked for through it
    #[arg(long, value_name = "URL")]
    ingress_probe: Option<String>,
    /// Settings file (TOML) with quotas
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Most reconciles at a time in one namespace
    #[arg(long, value_name = "N", default_value_t = DEFAULT_CONCURRENCY)]
    concurrency: u16,
    /// Where /healthz, /readyz and /metrics are
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:8081")]
    listen_health: SocketAddr,
    /// Where the catch-all behind all routes is: progress, wake page, 404
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:8080")]
    listen_entry: SocketAddr,
    /// Where the admission webhook is (TLS)
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:8443")]
    listen_webhook: SocketAddr,
    /// Seconds that a silent leader keeps the lease
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u16).range(3..=300))]
    lease_seconds: u16,
}

fn read(path: &Path) -> Result<SettingsFile, Box<dyn Error>> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    SettingsFile::from_toml(&text).map_err(|e| format!("{}: {e}", path.display()).into())
}

impl Operator {
    /// What the flags and the file say.
    pub fn settings(&self) -> Result<Settings, Box<dyn Error>> {
        let file = self.config.as_deref().map(read).transpose()?.unwrap_or_default();
        let forward_auth = self
            .forward_auth_header
            .clone()
            .map(|header| ForwardAuthSettings { header, from: self.forward_auth_from.clone() });
        let settings = Settings {
            domain: self.domain.to_ascii_lowercase(),
            namespaces: self.namespaces.clone(),
            own_namespace: self.own_namespace.clone(),
            gateway_image: self.gateway_image.clone(),
            gateway_pull_policy: self.gateway_pull_policy,
            route: RouteSettings {
                entry_points: self.entry_points.clone(),
                middlewares: self.middlewares.clone(),
                ingress_class: self.ingress_class.clone(),
                turn_entry_point: self.turn_entry_point.clone(),
                traefik_namespace: self.traefik_namespace.clone(),
                public_port: self.public_port,
                tls: self.tls,
            },
            forward_auth,
            node_address: self.node_address,
            ingress_probe: self.ingress_probe.clone(),
            quotas: file.quotas,
            concurrency: self.concurrency,
            pace: Pace::default(),
            certificates: Lifetimes::default(),
        };
        Ok(settings.check()?)
    }

    pub fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        let settings = self.settings()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let client = kube::Client::try_default().await.map_err(|e| {
                format!(
                    "no way to the API server: {e}; in a pod it is the service account, elsewhere KUBECONFIG"
                )
            })?;
            let replica = Replica {
                identity: identity(),
                health: listen(self.listen_health).await?,
                entry: listen(self.listen_entry).await?,
                webhook: listen(self.listen_webhook).await?,
                lease: Duration::from_secs(self.lease_seconds.into()),
                // Renewed when a third of it is left.
                lease_grace: Duration::from_secs((self.lease_seconds / 3).into()),
            };
            let (mut terminate, mut interrupt) =
                (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
            let shutdown = async move {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            };
            operator::run(client, settings, replica, shutdown).await?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Box<dyn Error>> {
    Ok(TcpListener::bind(address).await.map_err(|e| format!("listening on {address}: {e}"))?)
}

/// Name of the pod, which is the host name there; with the process id, so that two on one machine differ.
fn identity() -> String {
    let host = std::env::var("HOSTNAME")
        .ok()
        .or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())
        .map_or_else(|| "deskgate".to_owned(), |name| name.trim().to_owned());
    format!("{host}-{}", std::process::id())
}
