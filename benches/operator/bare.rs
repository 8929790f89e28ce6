//! A bare client: POSTs what the operator makes, and nothing else.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use deskgate::crd::{VDISession, VDITemplate};
use deskgate::operator::build::claim::AccessMode;
use deskgate::operator::build::{self, Plan};
use deskgate::operator::validate;
use futures_util::StreamExt;
use kube::api::PostParams;
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::stage::Stage;

/// Makes sessions and all that the operator would make of each; the time that it took.
pub async fn post(stage: &Stage, count: usize, concurrency: usize) -> Duration {
    let template = stage.template().await;
    let begun = Instant::now();
    futures_util::stream::iter(0..count)
        .for_each_concurrent(concurrency, |n| one(stage, &template, format!("s{n}")))
        .await;
    begun.elapsed()
}

async fn one(stage: &Stage, template: &VDITemplate, name: String) {
    let session: VDISession = stage.make(&name).await;
    let effective = validate::validate(&session, Some(template)).unwrap();
    let uid = session.uid().unwrap();
    let settings = stage.settings();
    let plan = Plan::new(&session, &uid, template, &effective, &settings);
    let client = &stage.client;
    create(client, &stage.namespace, &build::policy::policy(&plan)).await;
    create(client, &stage.namespace, &build::service::service(&plan)).await;
    if let Some(claim) = build::claim::claim(&plan, AccessMode::OnePod) {
        create(client, &stage.namespace, &claim).await;
    }
    create(client, &stage.namespace, &build::secret::secret(build::secret::metadata(&plan), [7; 32])).await;
    create(client, &stage.namespace, &build::pod::pod(&plan)).await;
}

async fn create<K>(client: &Client, namespace: &str, object: &K)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    api.create(&PostParams::default(), object).await.unwrap();
}
