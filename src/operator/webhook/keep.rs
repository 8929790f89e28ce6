//! Keeps the webhook's certificates: the leader writes the Secret and the webhook's `caBundle`, every replica shows
//! what the Secret holds. Both look again and again: Secrets are never watched or listed.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use rcgen::KeyPair;
use serde_json::json;
use thiserror::Error;

use super::rotation::{Action, Published, State, due, step};
use super::serve::ShowError;
use super::{CONFIGURATION, MANAGER, SECRET, names};
use crate::operator::context::Context;
use crate::operator::names::{LABEL_MANAGED_BY, MANAGER as OPERATOR};

/// Key in the Secret.
const STATE: &str = "state.json";
/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// Until the next look after one that failed or found nothing.
const RETRY: Duration = Duration::from_secs(1);

/// Why the certificates cannot be minded.
#[derive(Debug, Error)]
pub enum KeepError {
    /// The API server's word.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// No word of it.
    #[error("the API server does not answer")]
    Slow,
    /// The Secret is somebody else's.
    #[error(
        "Secret {SECRET} is not the operator's: it has no label {LABEL_MANAGED_BY}={OPERATOR}; delete or rename it"
    )]
    Foreign,
    /// A certificate could not be made.
    #[error("a certificate could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A certificate cannot be used.
    #[error("the certificate in Secret {SECRET} cannot be used: {0}")]
    Unusable(#[from] ShowError),
    /// The state has no text.
    #[error("the certificates cannot be written down: {0}")]
    Text(#[from] serde_json::Error),
}

/// Shows what the Secret holds, until it is dropped. On every replica.
pub async fn follow(context: Arc<Context>) {
    let secrets = secrets(&context);
    let poll = context.settings.certificates.poll;
    loop {
        let look = async { Ok(secrets.get_opt(SECRET).await?) };
        let found = patiently(look).await.and_then(|secret| match state(secret.as_ref())? {
            Some(state) => show(&context, &state),
            None => Ok(()),
        });
        if let Err(error) = &found {
            tracing::warn!(code = "certificate_unread", %error, "the webhook's certificate could not be read");
        }
        let is_waiting = found.is_err() || context.certificate.is_empty();
        tokio::time::sleep(if is_waiting { poll.min(RETRY) } else { poll }).await;
    }
}

/// Makes and publishes what is due, until it is dropped. On the leader.
pub async fn lead(context: Arc<Context>) {
    let mut keeper = Keeper { secrets: secrets(&context), context: &context, seen: None };
    let poll = context.settings.certificates.poll;
    loop {
        match patiently(keeper.round()).await {
            Ok(Action::Rest) => tokio::time::sleep(poll).await,
            Ok(action) => {
                tracing::info!(code = "certificates", ?action, "the webhook's certificates were looked after")
            }
            Err(error) => {
                tracing::warn!(code = "certificates_unkept", %error, "the webhook's certificates are looked after later");
                tokio::time::sleep(poll.min(RETRY)).await;
            }
        }
    }
}

/// The leader's side.
struct Keeper<'a> {
    context: &'a Context,
    secrets: Api<Secret>,
    /// A bundle that the API server has, and since when this leader knows.
    seen: Option<(ByteString, Timestamp)>,
}

impl Keeper<'_> {
    /// One step.
    async fn round(&mut self) -> Result<Action, KeepError> {
        let lifetimes = &self.context.settings.certificates;
        let names = names(&self.context.settings.own_namespace);
        let configurations: Api<MutatingWebhookConfiguration> = Api::all(self.context.client.clone());
        // Read before the Secret: if another leader publishes meanwhile, the resource version is no longer the one
        // known here, and a bundle that has become too old is refused.
        let registered = configurations.get_opt(CONFIGURATION).await?;
        let secret = self.secrets.get_opt(SECRET).await?;
        let state = state(secret.as_ref())?;
        let now = Timestamp::now();
        let published = self.published(registered.as_ref(), state.as_ref(), now);
        let action = due(state.as_ref(), published, &names, now, lifetimes);
        let next = step(action, state.as_ref(), &names, now, lifetimes, KeyPair::generate)?;
        if let Some(next) = next {
            self.write(secret, &next).await?;
            show(self.context, &next)?;
        } else if let (Action::Publish, Some(registered), Some(state)) = (action, registered, state) {
            publish(&configurations, &registered, &state).await?;
        }
        Ok(action)
    }

    fn published(
        &mut self,
        registered: Option<&MutatingWebhookConfiguration>,
        state: Option<&State>,
        now: Timestamp,
    ) -> Published {
        let webhooks = registered.iter().flat_map(|r| r.webhooks.iter().flatten());
        let Some(ours) = webhooks.into_iter().find(|w| w.name == CONFIGURATION) else {
            return Published::Nowhere;
        };
        let found = ours.client_config.ca_bundle.as_ref();
        let wanted = state.map(|s| ByteString(s.bundle().into_bytes()));
        match (found, wanted) {
            (Some(found), Some(wanted)) if *found == wanted => {
                let known = self.seen.take().filter(|(bundle, _)| *bundle == wanted);
                Published::Since(self.seen.insert(known.unwrap_or((wanted, now))).1)
            }
            _ => Published::Otherwise,
        }
    }

    /// Writes the Secret, unless it has changed since it was read.
    async fn write(&self, read: Option<Secret>, state: &State) -> Result<(), KeepError> {
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let text = ByteString(serde_json::to_vec(state)?);
        let data = Some([(STATE.to_owned(), text)].into());
        match read {
            Some(read) => {
                let secret = Secret { data, ..read };
                self.secrets.replace(SECRET, &params, &secret).await?;
            }
            None => {
                let labels = Some([(LABEL_MANAGED_BY.to_owned(), OPERATOR.to_owned())].into());
                let name = Some(SECRET.to_owned());
                let metadata = ObjectMeta { name, labels, ..ObjectMeta::default() };
                let secret = Secret { metadata, data, ..Secret::default() };
                self.secrets.create(&params, &secret).await?;
            }
        }
        Ok(())
    }
}

/// Only `caBundle`, only of an object that is there, only if nobody has changed it.
async fn publish(
    configurations: &Api<MutatingWebhookConfiguration>,
    registered: &MutatingWebhookConfiguration,
    state: &State,
) -> Result<(), kube::Error> {
    let bundle = ByteString(state.bundle().into_bytes());
    let patch = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": { "uid": registered.uid(), "resourceVersion": registered.resource_version() },
        "webhooks": [{ "name": CONFIGURATION, "clientConfig": { "caBundle": bundle } }],
    });
    let params = PatchParams::apply(MANAGER).force();
    configurations.patch(&registered.name_any(), &params, &Patch::Apply(&patch)).await?;
    Ok(())
}

fn secrets(context: &Context) -> Api<Secret> {
    let client: Client = context.client.clone();
    Api::namespaced(client, &context.settings.own_namespace)
}

/// What a Secret of ours holds. One that cannot be read is made anew.
fn state(secret: Option<&Secret>) -> Result<Option<State>, KeepError> {
    let Some(secret) = secret else { return Ok(None) };
    if secret.labels().get(LABEL_MANAGED_BY).is_none_or(|manager| manager != OPERATOR) {
        return Err(KeepError::Foreign);
    }
    let text = secret.data.as_ref().and_then(|data| data.get(STATE));
    Ok(text.and_then(|text| serde_json::from_slice(&text.0).ok()))
}

fn show(context: &Context, state: &State) -> Result<(), KeepError> {
    if context.certificate.show(&state.serving)? {
        tracing::info!(code = "certificate", until = %state.serving.until, "the webhook shows a new certificate");
    }
    Ok(())
}

async fn patiently<T>(work: impl Future<Output = Result<T, KeepError>>) -> Result<T, KeepError> {
    tokio::time::timeout(PATIENCE, work).await.map_err(|_| KeepError::Slow)?
}
