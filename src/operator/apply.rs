//! Does what was decided, one call after the other. Every call can be made twice: a crash between any two of them, and
//! another replica that does the same, change nothing.

use std::fmt::Debug;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use thiserror::Error;

use super::conditions::Failure;
use super::memory::Memory;
use super::reason::Reason;
use super::snapshot::{Child, Snapshot};
use super::step::{Kind, Object, Step, Why};
use super::traefik::{IngressRoute, IngressRouteTCP};
use super::{build, homes, names, refusal, run};
use crate::crd::{ConditionType, Reclaim, VDISession, VDISessionStatus};

/// Why a step did not succeed.
#[derive(Debug, Error)]
pub enum StepError {
    /// The API server, or the way to it. Refusals become conditions; the rest is tried again.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// An object of the child's name is somebody else's.
    #[error("{what} belongs to {owner}")]
    NameTaken {
        /// Kind and name.
        what: String,
        /// Whose it is.
        owner: String,
    },
    /// A claim of the home's name is not this home.
    #[error("claim {claim} is {whose}")]
    HomeForeign {
        /// The claim.
        claim: String,
        /// Whose it is.
        whose: String,
    },
    /// What was read is not what is there now; the next look sees it.
    #[error("the object changed meanwhile")]
    Changed,
    /// No randomness for a secret.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
    /// An object that cannot be written as JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

impl StepError {
    /// The condition's reason and message; `None`: nothing that a person has to know, it is tried again.
    pub fn failure(&self, condition: ConditionType) -> Option<Failure> {
        let (reason, message) = match self {
            Self::Api(kube::Error::Api(status)) if status.code == 409 => return None,
            Self::Api(kube::Error::Api(status)) => {
                let refused = refusal::refused(status);
                (refused.reason, refused.message)
            }
            Self::Api(other) => (Reason::ApiError, refusal::bounded(&other.to_string())),
            Self::NameTaken { .. } => (Reason::NameTaken, self.to_string()),
            Self::HomeForeign { .. } => {
                return Some(Failure {
                    condition: ConditionType::StorageReady,
                    reason: Reason::HomeForeign,
                    message: self.to_string(),
                });
            }
            Self::Changed => return None,
            Self::Random(_) | Self::Json(_) => (Reason::ApiError, self.to_string()),
        };
        Some(Failure { condition, reason, message })
    }

    /// Whether the API server has said that it did nothing.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Api(kube::Error::Api(status)) => status.code < 500,
            Self::Api(_) => false,
            _ => true,
        }
    }

    /// Whether it passes by itself, so that it is tried again soon and with growing waits.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Api(kube::Error::Api(status)) => matches!(status.code, 409 | 429 | 500..),
            Self::Api(_) | Self::Changed | Self::Random(_) => true,
            Self::NameTaken { .. } | Self::HomeForeign { .. } | Self::Json(_) => false,
        }
    }
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It was done.
    Done,
    /// The object was there already, and is ours.
    WasThere,
}

/// The calls on behalf of one session.
pub struct Applier<'a> {
    client: &'a Client,
    snapshot: &'a Snapshot,
    memory: &'a Memory,
    namespace: String,
}

impl<'a> Applier<'a> {
    /// For the session of a snapshot.
    pub fn new(client: &'a Client, memory: &'a Memory, snapshot: &'a Snapshot) -> Self {
        let namespace = snapshot.session.namespace().unwrap_or_default();
        Self { client, snapshot, memory, namespace }
    }

    /// Does one step. [`Step::Warn`], and the second look at the gateway before an idle end, are the caller's.
    ///
    /// # Errors
    /// [`StepError`]; the steps behind it must not be done then, unless it is optional.
    pub async fn step(&self, step: &Step, now: Timestamp) -> Result<Done, StepError> {
        let done = match step {
            Step::Create(object) => return self.create(object).await,
            Step::DeleteUnseenPod => self.delete_unseen_pod().await,
            Step::AddFinalizer => self.set_finalizer(true).await,
            Step::RemoveFinalizer => self.set_finalizer(false).await,
            Step::EnsureSecret(metadata) => self.ensure_secret(metadata).await,
            Step::Update { object, uid } => self.update(object, uid).await,
            Step::Delete { kind, name, uid } => self.delete(*kind, name, uid).await,
            Step::DeleteHome { claim, .. } => self.delete_home(claim).await,
            Step::Suspend(why) => self.suspend(*why, now).await,
            Step::DeleteSession(_) => {
                let params = precondition(self.snapshot.uid());
                gone(self.api::<VDISession>().delete(&self.snapshot.name(), &params).await)
            }
            Step::Warn { .. } => Ok(()),
        };
        done.map(|()| Done::Done)
    }

    /// Writes the status. What the conditions of other field managers are is theirs.
    ///
    /// # Errors
    /// The API server's refusal.
    pub async fn status(&self, status: &VDISessionStatus) -> Result<(), StepError> {
        let patch = json!({
            "apiVersion": VDISession::api_version(&()),
            "kind": VDISession::kind(&()),
            // The UID, so that a session that was made anew gets no status of its predecessor.
            "metadata": { "name": self.snapshot.name(), "uid": self.snapshot.uid() },
            "status": status,
        });
        let params = PatchParams::apply(names::MANAGER).force();
        let sessions = self.api::<VDISession>();
        let written = sessions.patch_status(&self.snapshot.name(), &params, &Patch::Apply(&patch)).await?;
        self.memory.remember(written);
        Ok(())
    }

    fn api<K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A merge patch with the resource version that was read: who wrote in between is not overwritten.
    async fn set_finalizer(&self, wanted: bool) -> Result<(), StepError> {
        let session = &self.snapshot.session;
        let mut finalizers: Vec<&String> =
            session.finalizers().iter().filter(|f| *f != names::FINALIZER).collect();
        let ours = names::FINALIZER.to_owned();
        if wanted {
            finalizers.push(&ours);
        }
        let patch = json!({ "metadata": {
            "uid": self.snapshot.uid(),
            "resourceVersion": session.resource_version(),
            "finalizers": finalizers,
        }});
        let params = PatchParams::default();
        match self.api::<VDISession>().patch(&self.snapshot.name(), &params, &Patch::Merge(&patch)).await {
            Ok(written) => {
                self.memory.remember(written);
                Ok(())
            }
            Err(kube::Error::Api(status)) if !wanted && status.code == 404 => Ok(()),
            Err(error) => Err(changed(error)),
        }
    }

    async fn suspend(&self, why: Why, now: Timestamp) -> Result<(), StepError> {
        let at = run::sleep_time(&self.snapshot.session, now);
        let patch = json!({ "metadata": {
            "uid": self.snapshot.uid(),
            "annotations": { names::SUSPENDED_AT: at.to_string(), names::SUSPENDED_WHY: why.as_str() },
        }});
        let params = PatchParams::default();
        let written = self
            .api::<VDISession>()
            .patch(&self.snapshot.name(), &params, &Patch::Merge(&patch))
            .await
            .map_err(changed)?;
        self.memory.remember(written);
        Ok(())
    }

    /// A Secret that is there stays as it is: its key is in the hands of those who were let in.
    async fn ensure_secret(&self, metadata: &ObjectMeta) -> Result<(), StepError> {
        let mut random = [0_u8; 32];
        getrandom::fill(&mut random).map_err(StepError::Random)?;
        self.post(&build::secret::secret(metadata.clone(), random)).await.map(drop)
    }

    async fn create(&self, object: &Object) -> Result<Done, StepError> {
        match object {
            Object::Service(o) => self.post(o.as_ref()).await,
            Object::Policy(o) => self.post(o.as_ref()).await,
            Object::Pod(o) => self.post(o.as_ref()).await,
            Object::Route(o) => self.post(o.as_ref()).await,
            Object::TurnRoute(o) => self.post(o.as_ref()).await,
            Object::Claim(claim) => self.post_claim(claim).await,
        }
    }

    /// An object that is there already is ours only if its controller is this very session.
    async fn post<K>(&self, object: &K) -> Result<Done, StepError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        self.post_unless(object, |there| self.check_ours(there)).await
    }

    /// A home has no controller: it is this one if it says so.
    async fn post_claim(&self, claim: &PersistentVolumeClaim) -> Result<Done, StepError> {
        let check = |there: &PersistentVolumeClaim| match homes::foreign(there, &self.snapshot.session) {
            Some(whose) => Err(StepError::HomeForeign { claim: claim.name_any(), whose }),
            None => Ok(()),
        };
        self.post_unless(claim, check).await
    }

    /// POST, never apply. What has the name already is checked, and left as it is.
    async fn post_unless<K>(
        &self,
        object: &K,
        check: impl Fn(&K) -> Result<(), StepError>,
    ) -> Result<Done, StepError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let api = self.api::<K>();
        let params = PostParams { field_manager: Some(names::MANAGER.to_owned()), ..PostParams::default() };
        match api.create(&params, object).await {
            Ok(_) => Ok(Done::Done),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let there = api.get_opt(&object.name_any()).await?.ok_or(StepError::Changed)?;
                check(&there).map(|()| Done::WasThere)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn check_ours<K: Resource<DynamicType = ()> + Clone>(&self, there: &K) -> Result<(), StepError> {
        match Child::of(Some(std::sync::Arc::new(there.clone())), self.snapshot.uid()) {
            Child::Foreign { owner } => {
                Err(StepError::NameTaken { what: format!("{} {}", K::kind(&()), there.name_any()), owner })
            }
            Child::Ours(_) | Child::Absent => Ok(()),
        }
    }

    async fn update(&self, object: &Object, uid: &str) -> Result<(), StepError> {
        match object {
            Object::Service(o) => self.patch(o.as_ref(), uid).await,
            Object::Policy(o) => self.patch(o.as_ref(), uid).await,
            Object::Route(o) => self.patch::<IngressRoute>(o, uid).await,
            Object::TurnRoute(o) => self.patch::<IngressRouteTCP>(o, uid).await,
            // Pods and homes are never changed under their users.
            Object::Pod(_) | Object::Claim(_) => Ok(()),
        }
    }

    /// An update, never a creation: a merge patch with the UID that was read. Not server-side apply, which would leave
    /// a port that somebody else put into the list, and fight over it for ever.
    async fn patch<K>(&self, object: &K, uid: &str) -> Result<(), StepError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let mut patch = serde_json::to_value(object)?;
        patch["metadata"]["uid"] = Value::String(uid.to_owned());
        let params = PatchParams { field_manager: Some(names::MANAGER.to_owned()), ..PatchParams::default() };
        match self.api::<K>().patch(&object.name_any(), &params, &Patch::Merge(&patch)).await {
            Ok(_) => Ok(()),
            Err(error) => Err(changed(error)),
        }
    }

    async fn delete(&self, kind: Kind, name: &str, uid: &str) -> Result<(), StepError> {
        let params = precondition(uid);
        match kind {
            // With the pod's own grace period, and never by force: a pod that may still run holds the home.
            Kind::Pod => gone(self.api::<Pod>().delete(name, &params).await),
            Kind::Route => gone(self.api::<IngressRoute>().delete(name, &params).await),
            Kind::TurnRoute => gone(self.api::<IngressRouteTCP>().delete(name, &params).await),
            Kind::UnboundClaim => self.delete_unbound(name, uid).await,
        }
    }

    /// Bound in the very moment, it stays: the version that was looked at is part of the request.
    async fn delete_unbound(&self, name: &str, uid: &str) -> Result<(), StepError> {
        let api = self.api::<PersistentVolumeClaim>();
        let Some(there) = api.get_opt(name).await? else { return Ok(()) };
        if homes::phase(&there) != "Pending" {
            return Ok(());
        }
        let mut params = precondition(uid);
        if let Some(preconditions) = &mut params.preconditions {
            preconditions.resource_version = there.resource_version();
        }
        gone(api.delete(name, &params).await)
    }

    /// A pod that lost its labels is not in the store, and runs all the same.
    async fn delete_unseen_pod(&self) -> Result<(), StepError> {
        let api = self.api::<Pod>();
        let name = names::child(&self.snapshot.name());
        let there = Child::of(api.get_opt(&name).await?.map(std::sync::Arc::new), self.snapshot.uid());
        let Some(pod) = there.ours() else { return Ok(()) };
        gone(api.delete(&name, &precondition(&pod.uid().unwrap_or_default())).await)
    }

    /// The last look before a home goes is at the API server itself: no cache decides over somebody's files.
    async fn delete_home(&self, claim: &str) -> Result<(), StepError> {
        let api = self.api::<PersistentVolumeClaim>();
        let Some(there) = api.get_opt(claim).await? else { return Ok(()) };
        if homes::foreign(&there, &self.snapshot.session).is_some() {
            return Ok(());
        }
        let sessions = self.api::<VDISession>().list(&ListParams::default()).await?;
        // Where a session says nothing, its template does: it is the same for all who name this home.
        let template = self.snapshot.template.as_ref().and_then(|t| t.spec.persistence.as_ref()?.reclaim);
        let goes = |session: &VDISession| {
            let own = session.spec.persistence.as_ref().and_then(|p| p.reclaim);
            own.or(template) == Some(Reclaim::Delete)
        };
        let named_by_another = sessions.items.iter().any(|other| {
            // Of several that go at once and mean the same, the first to come here does it for all.
            let goes_too = other.metadata.deletion_timestamp.is_some() && goes(other);
            !goes_too
                && other.uid().as_deref() != Some(self.snapshot.uid())
                && names::home(&other.spec.user, &other.spec.template) == claim
        });
        if named_by_another {
            return Ok(());
        }
        gone(api.delete(claim, &precondition(&there.uid().unwrap_or_default())).await)
    }
}

fn precondition(uid: &str) -> DeleteParams {
    let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }
}

/// What is gone already, or is another object by now, needs no deletion.
fn gone<T>(result: Result<T, kube::Error>) -> Result<(), StepError> {
    match result {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn changed(error: kube::Error) -> StepError {
    match error {
        kube::Error::Api(status) if matches!(status.code, 404 | 409) => StepError::Changed,
        // Another object has the name by now: the API server calls that a change of an immutable field.
        kube::Error::Api(status) if status.code == 422 && status.message.contains("metadata.uid") => {
            StepError::Changed
        }
        other => other.into(),
    }
}
