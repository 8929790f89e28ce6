//! PURE. What is applied to a cluster, made from code: roles and documentation cannot differ.

pub mod admission;
pub mod base;
pub mod examples;
mod files;
pub mod gpu;
pub mod rbac;
pub mod sessions;

use serde::Serialize;
use serde_json::{Map, Value, json};

pub use self::files::files;
use crate::crd;
use crate::operator::names;
use crate::operator::settings::RouteSettings;

/// Name of the Deployment, its account and its Service.
pub const NAME: &str = "kasm-operator";

/// What differs from cluster to cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    /// Image of the operator.
    pub image: String,
    /// Image of the gateway's sidecar.
    pub gateway_image: String,
    /// Domain that sessions get their hosts in.
    pub domain: String,
    /// Namespaces with sessions.
    pub namespaces: Vec<String>,
    /// The operator's own namespace.
    pub own_namespace: String,
    /// More arguments of the operator.
    pub arguments: Vec<String>,
    /// What its arguments say of Traefik: the catch-all is where the sessions' routes are.
    pub route: RouteSettings,
    /// Text of the settings file.
    pub settings_file: String,
}

/// Where the pod has the settings file.
pub const SETTINGS_FILE: &str = "/etc/deskgate/operator.toml";
/// A settings file that says nothing, and how it would.
pub const NO_SETTINGS: &str = "\
# Who may have how much; absent: as much as there is. See docs/operator.md.
#
# [quotas]
# sessions-per-user = 3
# gpu-per-user = 1
#
# [quotas.templates.ubuntu-gpu]
# gpu = 8
";

impl Values {
    /// The operator's command line.
    pub fn command_line(&self) -> Vec<String> {
        let mut all = vec![
            "operator".to_owned(),
            format!("--domain={}", self.domain),
            format!("--own-namespace={}", self.own_namespace),
            format!("--gateway-image={}", self.gateway_image),
        ];
        all.extend(self.namespaces.iter().map(|n| format!("--namespace={n}")));
        all.extend(self.arguments.iter().cloned());
        all
    }
}

impl Default for Values {
    fn default() -> Self {
        Self {
            image: "registry.example/deskgate:latest".to_owned(),
            gateway_image: "registry.example/deskgate-gateway:latest".to_owned(),
            domain: "vdi.example.com".to_owned(),
            namespaces: vec!["desks".to_owned()],
            own_namespace: "kasm".to_owned(),
            arguments: Vec::new(),
            route: RouteSettings::default(),
            settings_file: NO_SETTINGS.to_owned(),
        }
    }
}

fn labels() -> Map<String, Value> {
    let pairs = [(names::LABEL_NAME, NAME), ("app.kubernetes.io/part-of", "deskgate")];
    pairs.into_iter().map(|(k, v)| (k.to_owned(), json!(v))).collect()
}

fn pod_labels() -> Map<String, Value> {
    let mut all = labels();
    all.insert("control-plane".to_owned(), json!("controller-manager"));
    all
}

/// Labels of a namespace that takes restricted pods only.
fn restricted() -> Map<String, Value> {
    ["enforce", "audit", "warn"]
        .into_iter()
        .map(|mode| (format!("pod-security.kubernetes.io/{mode}"), json!("restricted")))
        .collect()
}

/// Everything that a cluster needs, in the order in which it can be applied; the CRDs go before it.
pub fn all(values: &Values) -> Vec<Value> {
    let mut all = base::objects(values);
    all.extend(admission::policies(values));
    for namespace in &values.namespaces {
        all.extend(sessions::objects(values, namespace));
    }
    all
}

/// CRDs and all the rest as one text.
///
/// # Errors
/// What cannot be written as YAML, which nothing here is.
pub fn text(values: &Values) -> Result<String, serde_saphyr::ser::Error> {
    let mut texts: Vec<String> = crd::definition_texts()?.into_iter().map(|(_, text)| text).collect();
    texts.push(yaml(&all(values))?);
    Ok(texts.join("---\n"))
}

/// Several documents in one text.
///
/// # Errors
/// What cannot be written as YAML.
pub fn yaml<T: Serialize>(objects: &[T]) -> Result<String, serde_saphyr::ser::Error> {
    let texts: Vec<String> = objects.iter().map(serde_saphyr::to_string).collect::<Result<_, _>>()?;
    Ok(texts.join("---\n"))
}

#[cfg(test)]
mod tests;
