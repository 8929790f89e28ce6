//! Least privilege: a tour of every feature under the operator's own account uses every right that it has; one that it
//! lacks is a condition that says which.

use std::collections::BTreeSet;

use deskgate::manifests;
use deskgate::manifests::rbac::{RULES, Scope};
use deskgate::operator::{names, traefik::IngressRoute, traefik::IngressRouteTCP, webhook};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use super::{Desks, Operator, life::ask, settings};
use crate::rig::Cluster;
use crate::rig::kubelet::PodState;
use crate::rig::wait::{DEADLINE, wait_for, wait_gone, wait_until};

/// Objects of the operator itself, by name.
const OWN_OBJECTS: [&str; 3] = [webhook::SECRET, webhook::CONFIGURATION, manifests::NAME];

/// What can be made, watched and compared.
trait Object: Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned + Send + 'static {}
impl<K: Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned + Send + 'static> Object
    for K
{
}

/// An object of a child's name that is somebody else's.
async fn foreign<K>(desks: &Desks, spec: Value)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Object,
{
    let object: K = serde_json::from_value(json!({
        "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {"name": "vdi-taken"}, "spec": spec,
    }))
    .unwrap();
    let api = desks.api::<K>();
    api.create(&PostParams::default(), &object).await.unwrap();
    desks.make_session("taken", json!({"user": "carol", "persistence": {"enabled": false}})).await;
    let taken = async || {
        let session = desks.sessions().get("taken").await.unwrap();
        let conditions = session.status.map(|s| s.conditions).unwrap_or_default();
        (conditions.iter().any(|c| c.reason == "NameTaken"), format!("{conditions:?}"))
    };
    let is = async |wanted: bool| {
        let (taken, seen) = taken().await;
        if taken == wanted { Ok(()) } else { Err(seen) }
    };
    wait_until(DEADLINE, "NameTaken", async || is(true).await).await;
    // Not waited for by name: the operator makes its own of that name at once.
    api.delete("vdi-taken", &DeleteParams::default()).await.unwrap();
    wait_until(DEADLINE, "end of NameTaken", async || is(false).await).await;
    desks.holds("taken", "RouteReady").await;
    desks.delete_session("taken").await;
    wait_gone(&desks.sessions(), "taken").await;
    for gone in ["services", "policies", "routes"] {
        wait_until(DEADLINE, &format!("end of {gone}"), async || {
            let left = desks.everything().await[gone].clone();
            if left.contains(&"vdi-taken".to_owned()) { Err(format!("{left:?}")) } else { Ok(()) }
        })
        .await;
    }
    let turns = desks.api::<IngressRouteTCP>();
    wait_gone(&turns, "vdi-taken").await;
}

/// Edits an object, and waits until it is brought back.
async fn edit<K>(desks: &Desks, patch: Value)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Object,
{
    let api = desks.api::<K>();
    let before = serde_json::to_value(api.get("vdi-tour").await.unwrap()).unwrap()["spec"].clone();
    api.patch("vdi-tour", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    wait_for(&api, "vdi-tour", "its old spec", |k| serde_json::to_value(k).unwrap()["spec"] == before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tour_uses_every_right_and_needs_no_other() {
    // A webhook is registered for the whole cluster.
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start().await));
    let desks = Desks::on(cluster, "tour", &[]).await;
    super::webhook::register(&desks).await;
    desks.make_template(json!({})).await;
    let mark = desks.cluster.audit_mark();
    let mut settings = settings(&desks.namespace);
    settings.route.turn_entry_point = Some("turns".to_owned());
    settings.certificates = super::webhook::SHORT;
    let operator = desks.operator_with(settings).await;

    foreign::<Service>(&desks, json!({"ports": [{"port": 1}]})).await;
    foreign::<NetworkPolicy>(&desks, json!({"podSelector": {}})).await;
    foreign::<Pod>(&desks, json!({"containers": [{"name": "a", "image": "a"}]})).await;
    foreign::<IngressRoute>(&desks, json!({"routes": []})).await;
    foreign::<IngressRouteTCP>(&desks, json!({"routes": []})).await;

    desks.make_session("tour", json!({"persistence": {"reclaim": "Delete"}})).await;
    desks.holds("tour", "RouteReady").await;
    edit::<Service>(&desks, json!({"spec": {"ports": [{"name": "http", "port": 9, "targetPort": 8080}]}}))
        .await;
    edit::<NetworkPolicy>(&desks, json!({"spec": {"policyTypes": ["Ingress"]}})).await;
    edit::<IngressRoute>(&desks, json!({"spec": {"entryPoints": ["web"]}})).await;
    edit::<IngressRouteTCP>(&desks, json!({"spec": {"entryPoints": ["web"]}})).await;
    // Twice the same, so that an Event becomes a series.
    for _ in 0..2 {
        desks.kubelet.behave(PodState::crash_loop("desktop"));
        desks.reason("tour", "PodReady", "CrashLoopBackOff").await;
        desks.kubelet.behave(PodState::Ready);
        desks.holds("tour", "PodReady").await;
    }
    desks.delete_session("tour").await;
    wait_gone(&desks.sessions(), "tour").await;
    wait_gone(&desks.api::<PersistentVolumeClaim>(), &desks.home()).await;

    // A home that is there already is looked at before it is taken.
    let home = names::home("dora", &desks.template);
    let claim: PersistentVolumeClaim = serde_json::from_value(json!({
        "metadata": {"name": home, "annotations": {names::USER: "mallory"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }))
    .unwrap();
    desks.api::<PersistentVolumeClaim>().create(&PostParams::default(), &claim).await.unwrap();
    desks.make_session("ends", json!({"user": "bob", "timeout": 2, "timeoutAction": "Delete"})).await;
    wait_gone(&desks.sessions(), "ends").await;

    super::webhook::wait_for_renewal(&desks).await;

    let account = format!("system:serviceaccount:{}:kasm-operator", desks.namespace);
    let mine = |e: &crate::rig::audit::AuditEvent| e.user.username == account;
    let refused: Vec<String> = desks
        .cluster
        .audit_events(mark, |e| mine(e) && e.response_status.code == 403)
        .iter()
        .map(|e| format!("{} {}: {}", e.verb, e.request_uri, e.response_status.message))
        .collect();
    assert_eq!(refused, Vec::<String>::new(), "rights that are missing");
    let used: BTreeSet<(String, bool)> = desks
        .cluster
        .audit_events(mark, mine)
        .iter()
        .map(|e| {
            let object = &e.object_ref;
            let sub = if object.subresource.is_empty() {
                String::new()
            } else {
                format!("/{}", object.subresource)
            };
            let right = format!("{} {}/{}{sub}", e.verb, object.api_group, object.resource);
            (right, OWN_OBJECTS.contains(&object.name.as_str()))
        })
        .collect();
    let unused: Vec<(String, bool)> = RULES
        .iter()
        // Checked by OwnerReferencesPermissionEnforcement, which asks the authorizer and leaves no event.
        .filter(|rule| !rule.resources.contains(&"vdisessions/finalizers"))
        .flat_map(|rule| {
            let all = rule.resources.iter().flat_map(|r| rule.verbs.iter().map(move |v| (r, v)));
            // A right that is given twice, for sessions and for the operator itself, has to be used twice.
            let is_own = rule.scope == Scope::Own || !rule.names.is_empty();
            all.map(|(r, v)| (format!("{v} {}/{r}", rule.group), is_own)).collect::<Vec<_>>()
        })
        .filter(|right| !used.contains(right))
        .collect();
    assert_eq!(unused, Vec::new(), "rights that nothing uses; true: of the operator's own objects");
    drop(operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_is_named_and_healed_without_a_restart() {
    let desks = Desks::new("rights").await;
    desks.make_template(json!({})).await;
    let _operator = desks.operator().await;
    let roles = desks.api::<k8s_openapi::api::rbac::v1::Role>();
    let all = roles.list(&Default::default()).await.unwrap();
    let grants = |role: &&k8s_openapi::api::rbac::v1::Role, resource: &str| {
        role.rules.iter().flatten().any(|r| r.resources.iter().flatten().any(|x| x == resource))
    };
    let role = all.items.iter().find(|r| grants(r, "pods")).unwrap().clone();
    let mut poorer = role.clone();
    for rule in poorer.rules.as_mut().unwrap() {
        if rule.resources.iter().flatten().any(|r| r == "pods") {
            rule.verbs.retain(|verb| verb != "create");
        }
    }
    let name = role.name_any();
    roles.replace(&name, &PostParams::default(), &poorer).await.unwrap();
    wait_until(DEADLINE, "a refusal", async || {
        let account = desks.account_as_it_is().await;
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "probe"}, "spec": {"containers": [{"name": "a", "image": "a"}]},
        }))
        .unwrap();
        let api = kube::Api::<Pod>::namespaced(account, &desks.namespace);
        let params = PostParams { dry_run: true, ..PostParams::default() };
        if api.create(&params, &pod).await.is_err() { Ok(()) } else { Err("allowed".to_owned()) }
    })
    .await;
    desks.make_session("desk", json!({})).await;
    let message = desks.reason("desk", "PodReady", "Forbidden").await;
    assert!(message.contains("cannot create resource \"pods\""), "{message}");
    let mut restored = roles.get(&name).await.unwrap();
    restored.rules = role.rules;
    roles.replace(&name, &PostParams::default(), &restored).await.unwrap();
    desks.holds("desk", "PodReady").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_on_routes_that_is_missing_is_named_and_holds_nothing_else() {
    use k8s_openapi::api::rbac::v1::Role;
    let desks = Desks::new("noroutes").await;
    desks.make_template(json!({})).await;
    let account = desks.account().await;
    let roles = desks.api::<Role>();
    let of_traefik = |rule: &k8s_openapi::api::rbac::v1::PolicyRule| {
        rule.api_groups.iter().flatten().any(|group| group == "traefik.io")
    };
    let all = roles.list(&Default::default()).await.unwrap().items;
    let whole = all.into_iter().find(|role| role.rules.iter().flatten().any(of_traefik)).unwrap();
    let mut poorer = whole.clone();
    poorer.rules.as_mut().unwrap().retain(|rule| !of_traefik(rule));
    let name = whole.name_any();
    roles.replace(&name, &PostParams::default(), &poorer).await.unwrap();
    let routes = kube::Api::<IngressRoute>::namespaced(account.clone(), &desks.namespace);
    wait_until(DEADLINE, "a refusal", async || {
        routes.list(&Default::default()).await.map_or_else(|_| Ok(()), |_| Err("allowed".to_owned()))
    })
    .await;
    let operator = Operator::start(account, settings(&desks.namespace), "replica-1").await;
    desks.make_session("desk", json!({})).await;
    let message = desks.reason("desk", "RouteReady", "Forbidden").await;
    assert!(message.contains("cannot list resource \"ingressroutes\""), "{message}");
    desks.holds("desk", "PodReady").await;
    let readyz = format!("http://{}/readyz", operator.health);
    let (code, text) = ask("GET", &readyz, "x", &[]).await;
    assert_eq!(code, 200, "{text}");
    assert!(text.contains(&format!("ingressroutes in {}", desks.namespace)), "{text}");
    let mut restored = roles.get(&name).await.unwrap();
    restored.rules = whole.rules;
    roles.replace(&name, &PostParams::default(), &restored).await.unwrap();
    desks.holds("desk", "RouteReady").await;
    wait_until(DEADLINE, "a list of all", async || {
        let (_, text) = ask("GET", &readyz, "x", &[]).await;
        if text == "ok\n" { Ok(()) } else { Err(text) }
    })
    .await;
}
