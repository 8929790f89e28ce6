//! YAML into the cluster, as `kubectl apply --server-side` does it.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::discovery::Scope;
use kube::discovery::Discovery;
use kube::{Api, Client, ResourceExt};

use super::wait::{wait_for, wait_gone};

/// Field manager of everything that is applied here.
pub const MANAGER: &str = "rig";

/// The documents of a YAML text.
pub fn parse(text: &str) -> Vec<DynamicObject> {
    serde_saphyr::from_multiple(text).unwrap()
}

/// Applies each document, in their order, and returns what the API server made of them.
/// Those of a namespaced kind that name no namespace go to `namespace`.
pub async fn apply(client: &Client, namespace: &str, text: &str) -> Result<Vec<DynamicObject>, kube::Error> {
    apply_with(client, namespace, text, &PatchParams::apply(MANAGER).force()).await
}

/// The same with one's own parameters, such as a dry run.
pub async fn apply_with(
    client: &Client,
    namespace: &str,
    text: &str,
    params: &PatchParams,
) -> Result<Vec<DynamicObject>, kube::Error> {
    let mut kinds = Discovery::new(client.clone()).run_aggregated().await?;
    let mut applied = Vec::new();
    for object in parse(text) {
        if kinds.resolve_object(&object).is_none() {
            kinds = kinds.run_aggregated().await?;
        }
        let api = api_of(client, &kinds, namespace, &object);
        let name = object.name_any();
        applied.push(api.patch(&name, params, &Patch::Apply(&object)).await?);
        if !params.dry_run && object.types.is_some_and(|t| t.kind == "CustomResourceDefinition") {
            wait_established(client, &name).await;
        }
    }
    Ok(applied)
}

/// Deletes each document's object, and waits until it is gone. One that is not there is fine.
pub async fn delete(client: &Client, namespace: &str, text: &str) {
    let kinds = Discovery::new(client.clone()).run_aggregated().await.unwrap();
    for object in parse(text) {
        let api = api_of(client, &kinds, namespace, &object);
        match api.delete(&object.name_any(), &DeleteParams::default()).await {
            Ok(_) => wait_gone(&api, &object.name_any()).await,
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => panic!("{}: {error}", object.name_any()),
        }
    }
}

fn api_of(client: &Client, kinds: &Discovery, namespace: &str, object: &DynamicObject) -> Api<DynamicObject> {
    let (resource, capabilities) = kinds
        .resolve_object(object)
        .unwrap_or_else(|| panic!("the API server does not serve {:?}", object.types));
    match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => {
            let namespace = object.metadata.namespace.as_deref().unwrap_or(namespace);
            Api::namespaced_with(client.clone(), namespace, &resource)
        }
    }
}

async fn wait_established(client: &Client, name: &str) {
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    wait_for(&api, name, "established definition", |crd| {
        let conditions = crd.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.into_iter().any(|c| c.type_ == "Established" && c.status == "True")
    })
    .await;
}
