//! The admission webhook: pods labelled `vdi.kasm.io/inject: "true"` get the gateway's sidecar as they are made.
//!
//! Every replica answers ([`serve`], [`review`]) with the certificate that stands in one Secret. The leader makes what
//! is in it, and tells the API server which authorities to trust ([`keep`]); in which order is [`rotation`]'s.

pub mod certificates;
mod configuration;
pub mod keep;
pub mod review;
pub mod rotation;
pub mod serve;

pub use self::configuration::configuration;
use super::settings::Settings;
use crate::inject::Injection;

/// Name of the `MutatingWebhookConfiguration`, and of the one webhook in it.
pub const CONFIGURATION: &str = "deskgate-inject.vdi.kasm.io";
/// Name of the Service in front of the replicas, in the operator's namespace.
pub const SERVICE: &str = "kasm-operator-webhook";
/// Name of the Secret with authorities and certificate, there too.
pub const SECRET: &str = "kasm-operator-webhook";
/// Where reviews are asked for.
pub const PATH: &str = "/inject";
/// Field manager of what is written for the webhook's sake.
pub const MANAGER: &str = "deskgate-webhook";

/// Names that the API server calls the webhook by.
pub fn names(own_namespace: &str) -> Vec<String> {
    let service = format!("{SERVICE}.{own_namespace}.svc");
    vec![service.clone(), format!("{service}.cluster.local")]
}

/// The sidecar of pods that the webhook injects. Their annotations say the rest.
pub fn injection(settings: &Settings) -> Injection {
    Injection {
        image_pull_policy: settings.gateway_pull_policy,
        ..Injection::new(settings.gateway_image.clone())
    }
}
