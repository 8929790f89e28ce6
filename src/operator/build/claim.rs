//! PURE. The claim of a home. Not a child: it outlives the session, and has no owner.

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Plan;
use crate::operator::names;

/// How many may use a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessMode {
    /// One pod: Kubernetes itself keeps a second one away.
    OnePod,
    /// The pods of one node: for storage classes that know nothing else.
    OneNode,
}

impl AccessMode {
    /// As claims have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OnePod => "ReadWriteOncePod",
            Self::OneNode => "ReadWriteOnce",
        }
    }
}

/// The claim of the session's home, if it has one. Whose home it is stands in annotations, in full: names are cut.
pub fn claim(plan: &Plan, mode: AccessMode) -> Option<PersistentVolumeClaim> {
    let home = plan.effective.home.as_ref()?;
    let user = names::user_label(&plan.session.spec.user);
    let labels = [(names::LABEL_MANAGED_BY, names::MANAGER.to_owned()), (names::USER, user)];
    Some(PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(home.claim.clone()),
            namespace: plan.session.metadata.namespace.clone(),
            labels: Some(labels.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
            annotations: Some(plan.origin()),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec![mode.as_str().to_owned()]),
            storage_class_name: home.storage_class.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), Quantity(home.size.to_string()))].into()),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    })
}
