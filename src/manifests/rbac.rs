//! PURE. What the operator may: ONE table, from which roles, documentation and tests are made.

use serde_json::{Value, json};

use crate::operator::webhook;

/// Where a right holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In the whole cluster.
    Cluster,
    /// In each namespace with sessions.
    Sessions,
    /// In the operator's own namespace.
    Own,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Where.
    pub scope: Scope,
    /// API group; empty: the core.
    pub group: &'static str,
    /// Resources, with subresources.
    pub resources: &'static [&'static str],
    /// Verbs.
    pub verbs: &'static [&'static str],
    /// Names of the objects; empty: all.
    pub names: &'static [&'static str],
    /// What for.
    pub why: &'static str,
}

/// A rule about certain objects alone.
const fn named(rule: Rule, names: &'static [&'static str]) -> Rule {
    Rule { names, ..rule }
}

const fn rule(
    scope: Scope,
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
    why: &'static str,
) -> Rule {
    Rule { scope, group, resources, verbs, names: &[], why }
}

use Scope::{Cluster, Own, Sessions};

/// Everything that the operator may. No wildcards; Secrets are never listed or watched.
pub const RULES: &[Rule] = &[
    rule(Cluster, "vdi.kasm.io", &["vditemplates"], &["list", "watch"], "what sessions are made from"),
    rule(Cluster, "", &["nodes"], &["list", "watch"], "a node that does not answer makes no second pod"),
    rule(
        Sessions,
        "vdi.kasm.io",
        &["vdisessions"],
        &["list", "watch", "patch", "delete"],
        "finalizer, suspension, wake; a session whose time is up",
    ),
    rule(Sessions, "vdi.kasm.io", &["vdisessions/status"], &["patch"], "what the operator has seen"),
    rule(
        Sessions,
        "vdi.kasm.io",
        &["vdisessions/finalizers"],
        &["update"],
        "children that keep their session until they are gone",
    ),
    rule(Sessions, "", &["pods"], &["get", "list", "watch", "create", "delete"], "the desktop"),
    rule(
        Sessions,
        "",
        &["services"],
        &["get", "list", "watch", "create", "patch"],
        "what the route and direct UDP lead to",
    ),
    rule(
        Sessions,
        "networking.k8s.io",
        &["networkpolicies"],
        &["get", "list", "watch", "create", "patch"],
        "who reaches the desktop, and whom it reaches",
    ),
    rule(
        Sessions,
        "traefik.io",
        &["ingressroutes", "ingressroutetcps"],
        &["get", "list", "watch", "create", "patch", "delete"],
        "the way to it",
    ),
    rule(
        Sessions,
        "",
        &["persistentvolumeclaims"],
        &["get", "list", "watch", "create", "delete"],
        "homes; deleted only with reclaim Delete",
    ),
    rule(Sessions, "", &["secrets"], &["get", "create"], "the key that signs a session's links"),
    rule(
        Sessions,
        "discovery.k8s.io",
        &["endpointslices"],
        &["list", "watch"],
        "whether the route has an end",
    ),
    rule(Sessions, "", &["events"], &["list", "watch"], "why a volume is not mounted or made"),
    rule(Sessions, "events.k8s.io", &["events"], &["create", "patch"], "what happened to a session"),
    rule(Own, "coordination.k8s.io", &["leases"], &["get", "create", "patch"], "which replica acts"),
    named(
        rule(
            Cluster,
            "admissionregistration.k8s.io",
            &["mutatingwebhookconfigurations"],
            &["get", "patch"],
            "the authorities that the API server trusts as the webhook's",
        ),
        &[webhook::CONFIGURATION],
    ),
    // A right to create is never one to a certain name.
    rule(Own, "", &["secrets"], &["create"], "the webhook's certificates"),
    named(rule(Own, "", &["secrets"], &["get", "update"], "the webhook's certificates"), &[webhook::SECRET]),
];

/// The rules of one scope, as roles have them.
pub fn rules(scope: Scope) -> Vec<Value> {
    RULES
        .iter()
        .filter(|rule| rule.scope == scope)
        .map(|rule| {
            let mut value =
                json!({ "apiGroups": [rule.group], "resources": rule.resources, "verbs": rule.verbs });
            if !rule.names.is_empty() {
                value["resourceNames"] = json!(rule.names);
            }
            value
        })
        .collect()
}

/// The table, for `docs/operator.md`.
pub fn table() -> String {
    let mut text =
        "| where | group | resources | verbs | what for |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for rule in RULES {
        let scope = match rule.scope {
            Scope::Cluster => "cluster",
            Scope::Sessions => "session namespaces",
            Scope::Own => "own namespace",
        };
        let group = if rule.group.is_empty() { "core" } else { rule.group };
        let named =
            if rule.names.is_empty() { String::new() } else { format!(" ({})", rule.names.join(", ")) };
        text += &format!(
            "| {scope} | {group} | {}{named} | {} | {} |\n",
            rule.resources.join(", "),
            rule.verbs.join(", "),
            rule.why
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_a_wildcard_and_secrets_are_neither_listed_nor_watched() {
        for rule in RULES {
            let all = [&[rule.group][..], rule.resources, rule.verbs].concat();
            assert!(!all.contains(&"*"), "{rule:?}");
            assert!(!rule.why.is_empty());
            if rule.resources.contains(&"secrets") {
                assert!(!rule.verbs.contains(&"list") && !rule.verbs.contains(&"watch"), "{rule:?}");
            }
            let broad = rule.scope == Scope::Cluster && rule.names.is_empty();
            assert!(
                !broad || rule.verbs.iter().all(|v| ["get", "list", "watch"].contains(v)),
                "cluster-wide is read only: {rule:?}"
            );
        }
    }
}
