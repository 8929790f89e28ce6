//! Binds claims, as a provisioner does.

use futures_util::TryStreamExt;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use std::collections::BTreeMap;
use tokio::sync::watch;

use super::Script;

/// Runs until it is aborted.
pub async fn bind(client: Client, namespace: String, mut script: watch::Receiver<Script>) {
    let api = Api::<PersistentVolumeClaim>::namespaced(client, &namespace);
    let changes = watcher(api.clone(), watcher::Config::default()).default_backoff().applied_objects();
    let mut changes = std::pin::pin!(changes);
    let mut pending = BTreeMap::new();
    loop {
        tokio::select! {
            claim = changes.try_next() => if let Ok(Some(claim)) = claim {
                let phase = claim.status.as_ref().and_then(|s| s.phase.as_deref());
                if phase == Some("Bound") || claim.metadata.deletion_timestamp.is_some() {
                    pending.remove(&claim.name_any());
                } else {
                    pending.insert(claim.name_any(), claim);
                }
            },
            changed = script.changed() => if changed.is_err() { return },
        }
        if script.borrow().binds_claims {
            // One that fails to bind comes again with its next change.
            for (name, claim) in std::mem::take(&mut pending) {
                if let Err(error) = bind_one(&api, &claim).await {
                    eprintln!("rig: claim {name} is not bound: {error}");
                }
            }
        }
    }
}

async fn bind_one(
    api: &Api<PersistentVolumeClaim>,
    claim: &PersistentVolumeClaim,
) -> Result<(), kube::Error> {
    let name = claim.name_any();
    let spec = claim.spec.as_ref();
    if spec.is_none_or(|s| s.volume_name.is_none()) {
        let volume = json!({"spec": {"volumeName": format!("pv-{}", claim.uid().unwrap_or_default())}});
        api.patch(&name, &PatchParams::default(), &Patch::Merge(volume)).await?;
    }
    let status = json!({"status": {
        "phase": "Bound",
        "accessModes": spec.and_then(|s| s.access_modes.clone()),
        "capacity": spec.and_then(|s| s.resources.as_ref()?.requests.clone()),
    }});
    api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await?;
    Ok(())
}
