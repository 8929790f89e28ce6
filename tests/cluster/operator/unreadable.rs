//! Objects that pass their schema and cannot be read all the same: each is its own trouble and nobody else's.

use kube::api::{DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Resource};
use serde_json::json;

use super::{Desks, Operator, settings};
use crate::rig::Cluster;
use crate::rig::wait::{wait_for, wait_gone};
use deskgate::crd::{Phase, VDITemplate};
use deskgate::operator::traefik::IngressRoute;

fn resource<K: Resource<DynamicType = ()>>() -> ApiResource {
    let kind = GroupVersionKind::gvk(&K::group(&()), &K::version(&()), &K::kind(&()));
    ApiResource::from_gvk_with_plural(&kind, &K::plural(&()))
}

/// Routes as they are, whatever stands in them.
fn routes(desks: &Desks) -> Api<DynamicObject> {
    Api::namespaced_with(desks.client.clone(), &desks.namespace, &resource::<IngressRoute>())
}

/// Edits a route as Traefik's schema lets it be.
async fn edit_route(desks: &Desks) {
    let routes = routes(desks);
    let mut route = routes.get("vdi-desk").await.unwrap();
    let edited = &mut route.data["spec"]["routes"][0];
    edited["services"][0]["port"] = json!("http");
    edited.as_object_mut().unwrap().remove("kind");
    routes.replace("vdi-desk", &PostParams::default(), &route).await.unwrap();
}

fn is_as_it_was(route: &DynamicObject) -> bool {
    let route = &route.data["spec"]["routes"][0];
    route["services"][0]["port"].is_number() && route["kind"] == "Rule"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_cannot_be_read_is_told_of_and_holds_nobody_else() {
    // Templates are the whole cluster's.
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start().await));
    let desks = Desks::on(cluster, "unread", &[]).await;
    desks.make_template(json!({})).await;
    let templates: Api<DynamicObject> = Api::all_with(desks.client.clone(), &resource::<VDITemplate>());
    // The schema lets it through: `securityContext` is passed on as it is.
    let mut bad: DynamicObject = serde_json::from_value(json!({
        "apiVersion": VDITemplate::api_version(&()), "kind": VDITemplate::kind(&()), "metadata": {"name": "bad"},
        "spec": {"image": "a", "securityContext": {"runAsUser": "1000"}},
    }))
    .unwrap();
    templates.create(&PostParams::default(), &bad).await.unwrap();
    let operator = desks.operator().await;
    desks.make_session("of-bad", json!({"template": "bad", "user": "bob"})).await;
    desks.make_session("desk", json!({})).await;
    desks.holds("desk", "RouteReady").await;
    let message = desks.reason("of-bad", "TemplateResolved", "TemplateInvalid").await;
    assert!(message.contains("\"1000\"") && message.contains("\"bad\""), "{message}");
    // One that comes to be unreadable while the operator runs is no other matter.
    bad.metadata.name = Some("late".to_owned());
    desks.make_session("of-late", json!({"template": "late", "user": "carol"})).await;
    desks.reason("of-late", "TemplateResolved", "TemplateMissing").await;
    templates.create(&PostParams::default(), &bad).await.unwrap();
    desks.reason("of-late", "TemplateResolved", "TemplateInvalid").await;
    for name in ["bad", "late"] {
        let mut mended = templates.get(name).await.unwrap();
        mended.data["spec"]["securityContext"]["runAsUser"] = json!(1000);
        templates.replace(name, &PostParams::default(), &mended).await.unwrap();
    }
    desks.holds("of-bad", "PodReady").await;
    desks.holds("of-late", "PodReady").await;
    drop(operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_whose_port_was_edited_to_a_name_is_brought_back() {
    let desks = Desks::new("portname").await;
    desks.make_template(json!({})).await;
    let _operator = desks.operator().await;
    desks.make_session("desk", json!({})).await;
    desks.holds("desk", "RouteReady").await;
    edit_route(&desks).await;
    wait_for(&routes(&desks), "vdi-desk", "what it was", is_as_it_was).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_was_edited_while_nobody_looked_holds_no_namespace() {
    let desks = Desks::new("editedroute").await;
    desks.make_template(json!({})).await;
    let account = desks.account().await;
    let start = async || Operator::start(account.clone(), settings(&desks.namespace), "replica-1").await;
    let operator = start().await;
    desks.make_session("desk", json!({})).await;
    desks.holds("desk", "RouteReady").await;
    drop(operator);
    edit_route(&desks).await;
    let _operator = start().await;
    wait_for(&routes(&desks), "vdi-desk", "what it was", is_as_it_was).await;
    desks.make_session("other", json!({"user": "bob"})).await;
    desks.holds("other", "RouteReady").await;
    desks.patch_session("other", json!({"spec": {"state": "Suspended"}})).await;
    desks.phase("other", Phase::Suspended).await;
    wait_gone(&routes(&desks), "vdi-other").await;
}
