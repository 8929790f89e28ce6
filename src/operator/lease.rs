//! The lease by which replicas take turns. Its manager makes it at the start and never again: without it nobody would ever
//! lead. So it is looked for now and then, by every replica.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};

/// Its name.
pub const LEASE: &str = "kasm-operator";

/// Makes the lease anew whenever it is not there, until this is dropped.
pub async fn keep(client: Client, namespace: String, every: Duration) {
    let leases = Api::namespaced(client, &namespace);
    loop {
        tokio::time::sleep(every).await;
        match look(&leases).await {
            Ok(true) => tracing::warn!(code = "lease_made_anew", "the lease was gone; it is made anew"),
            Ok(false) => {}
            Err(error) => tracing::warn!(code = "lease_unread", %error, "the lease could not be looked for"),
        }
    }
}

/// Whether it had to be made.
async fn look(leases: &Api<Lease>) -> Result<bool, kube::Error> {
    if leases.get_opt(LEASE).await?.is_some() {
        return Ok(false);
    }
    let metadata = ObjectMeta { name: Some(LEASE.to_owned()), ..ObjectMeta::default() };
    let lease = Lease { metadata, ..Lease::default() };
    match leases.create(&PostParams::default(), &lease).await {
        Ok(_) => Ok(true),
        // Another replica was faster.
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(false),
        Err(error) => Err(error),
    }
}
