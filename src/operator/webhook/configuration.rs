//! PURE. Which pods the API server asks the webhook about.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhook, MutatingWebhookConfiguration, RuleWithOperations, ServiceReference, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::api::ObjectMeta;

use super::{CONFIGURATION, PATH, SERVICE};
use crate::inject::INJECT;

/// Label that the API server itself gives every namespace.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
/// Seconds. An answer takes milliseconds; whoever makes the pod waits that long for a replica that is gone.
const PATIENCE: i32 = 5;

/// The object that registers the webhook, without `caBundle`: that is the leader's. Pods of `own_namespace` are none of
/// its business: else a replica could not start while none answers.
pub fn configuration(own_namespace: &str) -> MutatingWebhookConfiguration {
    let service = ServiceReference {
        name: SERVICE.to_owned(),
        namespace: own_namespace.to_owned(),
        path: Some(PATH.to_owned()),
        port: Some(443),
    };
    let elsewhere = LabelSelectorRequirement {
        key: NAMESPACE_NAME.to_owned(),
        operator: "NotIn".to_owned(),
        values: Some(vec![own_namespace.to_owned(), "kube-system".to_owned()]),
    };
    let new_pods = RuleWithOperations {
        operations: Some(vec!["CREATE".to_owned()]),
        api_groups: Some(vec![String::new()]),
        api_versions: Some(vec!["v1".to_owned()]),
        resources: Some(vec!["pods".to_owned()]),
        scope: Some("Namespaced".to_owned()),
    };
    let webhook = MutatingWebhook {
        name: CONFIGURATION.to_owned(),
        admission_review_versions: vec!["v1".to_owned()],
        client_config: WebhookClientConfig { service: Some(service), ..WebhookClientConfig::default() },
        // A pod that asked for a gateway and got none would be a desktop that nobody can reach.
        failure_policy: Some("Fail".to_owned()),
        match_policy: Some("Equivalent".to_owned()),
        namespace_selector: Some(LabelSelector {
            match_expressions: Some(vec![elsewhere]),
            ..LabelSelector::default()
        }),
        object_selector: Some(LabelSelector {
            match_labels: Some(BTreeMap::from([(INJECT.to_owned(), "true".to_owned())])),
            ..LabelSelector::default()
        }),
        // Another webhook may add what the sidecar has to fit to, such as a volume.
        reinvocation_policy: Some("IfNeeded".to_owned()),
        rules: Some(vec![new_pods]),
        side_effects: "None".to_owned(),
        timeout_seconds: Some(PATIENCE),
        match_conditions: None,
    };
    MutatingWebhookConfiguration {
        metadata: ObjectMeta { name: Some(CONFIGURATION.to_owned()), ..ObjectMeta::default() },
        webhooks: Some(vec![webhook]),
    }
}
