//! PURE. Settings of the operator: flags, and the file for what is a table.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use crate::crd::ImagePullPolicy;

/// Reconciles at a time in one namespace, where nothing is said.
pub const DEFAULT_CONCURRENCY: u16 = 16;

/// What the operator needs to know of its cluster. Validated: see [`Settings::check`].
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Domain that sessions get their hosts in.
    pub domain: String,
    /// Namespaces whose sessions are looked after.
    pub namespaces: Vec<String>,
    /// The operator's own namespace.
    pub own_namespace: String,
    /// Image of the gateway's sidecar.
    pub gateway_image: String,
    /// When that image is pulled.
    pub gateway_pull_policy: Option<ImagePullPolicy>,
    /// Traefik's side.
    pub route: RouteSettings,
    /// A forward-auth proxy that names the user.
    pub forward_auth: Option<ForwardAuthSettings>,
    /// Address that viewers reach node ports at; absent: the node's own.
    pub node_address: Option<IpAddr>,
    /// URL of Traefik's entry point as the operator reaches it, to ask for each session's route.
    pub ingress_probe: Option<String>,
    /// Who may have how much.
    pub quotas: Quotas,
    /// Most reconciles at a time in one namespace.
    pub concurrency: u16,
    /// Back-off and poll times; tests shorten them.
    pub pace: Pace,
    /// How long the webhook's certificates last; tests shorten it.
    pub certificates: Lifetimes,
}

impl Settings {
    /// An operator of one namespace, which is also its own, with everything else as it is where nothing is said.
    pub fn new(domain: &str, namespace: &str, gateway_image: &str) -> Self {
        Self {
            domain: domain.to_owned(),
            namespaces: vec![namespace.to_owned()],
            own_namespace: namespace.to_owned(),
            gateway_image: gateway_image.to_owned(),
            gateway_pull_policy: None,
            route: RouteSettings::default(),
            forward_auth: None,
            node_address: None,
            ingress_probe: None,
            quotas: Quotas::default(),
            concurrency: DEFAULT_CONCURRENCY,
            pace: Pace::default(),
            certificates: Lifetimes::default(),
        }
    }
}

/// Traefik's side of a session.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteSettings {
    /// Entry points of the routes.
    pub entry_points: Vec<String>,
    /// Middlewares, as `namespace/name` or `name` (in the session's namespace).
    pub middlewares: Vec<String>,
    /// Value of the annotation `kubernetes.io/ingress.class`, where Traefik filters by it.
    pub ingress_class: Option<String>,
    /// Entry point of TURN over TLS; absent: none.
    pub turn_entry_point: Option<String>,
    /// Namespace of Traefik's pods, for NetworkPolicies.
    pub traefik_namespace: String,
    /// Port in the URLs, where it is not 443.
    pub public_port: Option<u16>,
    /// False: routes without TLS, and `http` in URLs (a proxy in front ends TLS).
    pub tls: bool,
}

impl Default for RouteSettings {
    fn default() -> Self {
        Self {
            entry_points: vec!["websecure".to_owned()],
            middlewares: Vec::new(),
            ingress_class: None,
            turn_entry_point: None,
            traefik_namespace: "kube-system".to_owned(),
            public_port: None,
            tls: true,
        }
    }
}

/// A proxy in front that says who somebody is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardAuthSettings {
    /// The header.
    pub header: String,
    /// Networks that it connects from (CIDR).
    pub from: Vec<String>,
}

/// The longest and shortest waits of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// First wait before a failed pod is replaced; doubles with each.
    pub replace_first: Duration,
    /// Longest such wait.
    pub replace_most: Duration,
    /// Replacements in a row before the session is Failed.
    pub replacements: u32,
    /// Shortest time between two looks at a gateway that does not stream yet.
    pub gateway_starting: Duration,
    /// Shortest time between two looks at one that does.
    pub gateway_running: Duration,
    /// Warning before a run ends.
    pub warning: Duration,
    /// How long a deletion waits for the pod after its grace period.
    pub cleanup: Duration,
    /// First wait after a reconcile that failed; doubles with each.
    pub retry_first: Duration,
    /// Longest such wait: ten times `cleanup` has room for many of them, so that a server that fails now and then does
    /// not keep a home that is to go.
    pub retry_most: Duration,
}

impl Pace {
    /// Until the next look at what has not been as it is to be for so long: soon at first, ever more rarely later.
    pub fn until_look(&self, trouble: Duration) -> Duration {
        (trouble / 30).min(self.gateway_running).max(self.gateway_starting)
    }

    /// Until the next try after so many reconciles in a row that failed, one at least.
    pub fn until_try(&self, failed: u32) -> Duration {
        doubled(self.retry_first, failed, self.retry_most)
    }

    /// Until the next pod after so many that failed in a row, one at least.
    pub fn until_replacement(&self, failed: u32) -> Duration {
        doubled(self.replace_first, failed, self.replace_most)
    }
}

/// `first` after one failure, twice as long after each further one, `most` at most.
fn doubled(first: Duration, failures: u32, most: Duration) -> Duration {
    first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(most)
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            replace_first: Duration::from_secs(10),
            replace_most: Duration::from_secs(300),
            replacements: 5,
            gateway_starting: Duration::from_secs(1),
            gateway_running: Duration::from_secs(30),
            warning: Duration::from_secs(300),
            cleanup: Duration::from_secs(60),
            retry_first: Duration::from_millis(500),
            retry_most: Duration::from_secs(10),
        }
    }
}

/// How long the webhook's certificates last. They are made anew when two thirds of their life have passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Of an authority.
    pub authority: Duration,
    /// Of a certificate.
    pub serving: Duration,
    /// How long an authority is published before it signs: all API servers know it by then.
    pub settle: Duration,
    /// Between two looks at the Secret; far less than a third of a certificate's life.
    pub poll: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        const DAY: u64 = 24 * 3600;
        Self {
            authority: Duration::from_secs(365 * DAY),
            serving: Duration::from_secs(90 * DAY),
            settle: Duration::from_secs(300),
            poll: Duration::from_secs(30),
        }
    }
}

/// Who may have how much; absent: as much as there is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Quotas {
    /// Sessions of one user that run at a time.
    pub sessions_per_user: Option<u32>,
    /// GPU slices of one user's running sessions.
    pub gpu_per_user: Option<u32>,
    /// By template.
    pub templates: BTreeMap<String, TemplateQuota>,
}

/// How much of one template may run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct TemplateQuota {
    /// Sessions of all users.
    pub sessions: Option<u32>,
    /// GPU slices of all users.
    pub gpu: Option<u32>,
    /// Sessions of one user.
    pub sessions_per_user: Option<u32>,
}

/// Tables of the settings file (TOML).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct SettingsFile {
    /// Who may have how much.
    pub quotas: Quotas,
}

/// A setting that cannot be.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The file is no TOML, or has a key or type that is not one of ours; the text names line and key.
    #[error("settings file: {0}")]
    File(#[from] toml::de::Error),
    /// A value that cannot be.
    #[error("--{flag} {value}: {why}")]
    Value {
        /// The flag.
        flag: &'static str,
        /// What it held.
        value: String,
        /// What is expected.
        why: &'static str,
    },
}

impl SettingsFile {
    /// Reads the file's text.
    ///
    /// # Errors
    /// [`SettingsError::File`], which names line and key.
    pub fn from_toml(text: &str) -> Result<Self, SettingsError> {
        Ok(toml::from_str(text)?)
    }
}

impl Settings {
    /// Checks what types cannot.
    ///
    /// # Errors
    /// [`SettingsError::Value`] for the first value that cannot be.
    pub fn check(self) -> Result<Self, SettingsError> {
        let wrong = |flag, value: &str, why| SettingsError::Value { flag, value: value.to_owned(), why };
        if !is_domain(&self.domain) {
            return Err(wrong("domain", &self.domain, "a DNS name such as vdi.example.com is expected"));
        }
        // `<session ≤ 50>-<8>` is one DNS label; the whole name may have 253 octets (RFC 1035 §2.3.4).
        if self.domain.len() > 180 {
            return Err(wrong("domain", &self.domain, "at most 180 characters"));
        }
        if self.namespaces.is_empty() {
            return Err(wrong("namespace", "", "at least one namespace for sessions is needed"));
        }
        for namespace in self.namespaces.iter().chain([&self.own_namespace]) {
            if !is_label(namespace) {
                return Err(wrong("namespace", namespace, "a namespace's name is expected"));
            }
        }
        if self.gateway_image.trim().is_empty() {
            return Err(wrong("gateway-image", "", "the image of the gateway is needed"));
        }
        if self.concurrency == 0 {
            return Err(wrong("concurrency", "0", "at least 1"));
        }
        Ok(self)
    }
}

/// A DNS label (RFC 1123 §2.1).
fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_domain(text: &str) -> bool {
    text.split('.').all(is_label)
}
