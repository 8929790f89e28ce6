//! The API server as the caller may use it. Every refusal comes back as an [`Error`] that says what to do.

use std::path::PathBuf;

use futures_util::AsyncBufRead;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams, Preconditions};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};
use serde_json::Value;

use super::error::{Call, Error, classify};
use super::text::{close_matches, plain};
use crate::crd::{VDISession, VDITemplate};
use crate::inject::SECRET_KEY;
use crate::operator::names;
use crate::token;

const SESSIONS: &str = "vdisessions.vdi.kasm.io";
const TEMPLATES: &str = "vditemplates.vdi.kasm.io";
const REVIEWS: &str = "selfsubjectreviews.authentication.k8s.io";
/// Who changed what, in the objects' managedFields.
const MANAGER: &str = "kubectl-vdi";

/// Where to go and as whom: kubectl's flags of these names.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Else KUBECONFIG, else `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// Else the current one.
    pub context: Option<String>,
    /// Else the context's.
    pub namespace: Option<String>,
    /// User to act as.
    pub impersonate: Option<String>,
}

/// One cluster, one namespace.
pub struct Cluster {
    client: Client,
    namespace: String,
    url: String,
}

impl Cluster {
    /// Reads the kubeconfig. Nothing is asked of the cluster yet.
    ///
    /// # Errors
    /// [`Error::Kubeconfig`], [`Error::Client`].
    pub async fn new(access: Access) -> Result<Self, Error> {
        let file = match access.kubeconfig {
            Some(path) => Kubeconfig::read_from(path)?,
            None => Kubeconfig::read()?,
        };
        let options = KubeConfigOptions { context: access.context, ..KubeConfigOptions::default() };
        let mut config = Config::from_custom_kubeconfig(file, &options).await?;
        if access.impersonate.is_some() {
            config.auth_info.impersonate = access.impersonate;
        }
        let namespace = access.namespace.unwrap_or_else(|| config.default_namespace.clone());
        let url = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|e| Error::Client(e.to_string()))?;
        Ok(Self { client, namespace, url })
    }

    /// The namespace that is looked at.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(super) fn sessions(&self) -> Api<VDISession> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn call(&self, verb: &'static str, resource: &'static str, name: &str) -> Call {
        Call { verb, resource, name: Some(name.to_owned()), namespace: Some(self.namespace.clone()) }
    }

    /// Puts an error of a request about sessions into words.
    pub(super) fn of_session(&self, verb: &'static str, name: &str, error: kube::Error) -> Error {
        self.failed(self.call(verb, SESSIONS, name), error)
    }

    fn failed(&self, call: Call, error: kube::Error) -> Error {
        classify(call, &self.url, error)
    }

    /// What time the API server has: it is closer to the operator's than this machine's, which may be anything.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn now(&self) -> Result<Timestamp, Error> {
        let call = Call { verb: "get", resource: "/version", name: None, namespace: None };
        let request = http_get("/version").map_err(|e| Error::Client(e.to_string()))?;
        let answer = self.client.send(request).await.map_err(|e| self.failed(call, e))?;
        let date = answer.headers().get("date").and_then(|d| d.to_str().ok());
        // An HTTP date (RFC 9110 §5.6.7) is one of RFC 2822 too.
        let time = date.and_then(|d| rfc2822::DateTimeParser::new().parse_timestamp(d).ok());
        Ok(time.unwrap_or_else(Timestamp::now))
    }

    /// The name that the cluster knows the caller by.
    ///
    /// # Errors
    /// Any refusal.
    pub async fn user(&self) -> Result<String, Error> {
        let call = Call { verb: "create", resource: REVIEWS, name: None, namespace: None };
        let api: Api<SelfSubjectReview> = Api::all(self.client.clone());
        let review = api.create(&PostParams::default(), &SelfSubjectReview::default()).await;
        let review = review.map_err(|e| self.failed(call.clone(), e))?;
        let user = review.status.and_then(|s| s.user_info).and_then(|u| u.username);
        user.ok_or_else(|| Error::Api {
            call: Box::new(call),
            why: "the answer names nobody; say it with --user".to_owned(),
        })
    }

    /// Creates a session; with `dry_run` the server checks it and stores nothing.
    ///
    /// # Errors
    /// Any refusal.
    pub async fn create(&self, session: &VDISession, dry_run: bool) -> Result<VDISession, Error> {
        let params = PostParams { dry_run, field_manager: Some(MANAGER.to_owned()) };
        let made = self.sessions().create(&params, session).await;
        made.map_err(|e| self.of_session("create", &session.name_any(), e))
    }

    /// The sessions of the namespace, or of all.
    ///
    /// # Errors
    /// Any refusal.
    pub async fn list(&self, all: bool) -> Result<Vec<VDISession>, Error> {
        let api = if all { Api::all(self.client.clone()) } else { self.sessions() };
        let namespace = (!all).then(|| self.namespace.clone());
        let call = Call { verb: "list", resource: SESSIONS, name: None, namespace };
        let list = api.list(&ListParams::default()).await;
        Ok(list.map_err(|e| self.failed(call, e))?.items)
    }

    /// One session.
    ///
    /// # Errors
    /// [`Error::NoSession`] with the names that may have been meant; any refusal.
    pub async fn get(&self, name: &str) -> Result<VDISession, Error> {
        match self.sessions().get_opt(name).await {
            Ok(Some(session)) => Ok(session),
            // Of a kind that is missing, the list says so.
            Ok(None) => Err(self.unknown(name, self.list(false).await)),
            Err(error) => Err(self.of_session("get", name, error)),
        }
    }

    fn unknown(&self, name: &str, list: Result<Vec<VDISession>, Error>) -> Error {
        let close = match list {
            Ok(sessions) => {
                let names: Vec<String> = sessions.iter().map(ResourceExt::name_any).collect();
                close_matches(name, &names)
            }
            Err(error @ Error::KindMissing { .. }) => return error,
            // Who may get one session but not list them gets no proposals.
            Err(_) => Vec::new(),
        };
        Error::NoSession { name: name.to_owned(), namespace: self.namespace.clone(), close }
    }

    /// Applies a merge patch of [`super::change`].
    ///
    /// # Errors
    /// [`Error::Changed`] when the session is not the one that was looked at; any refusal.
    pub async fn patch(&self, name: &str, patch: &Value) -> Result<VDISession, Error> {
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patched = self.sessions().patch(name, &params, &Patch::Merge(patch)).await;
        patched.map_err(|e| self.of_session("patch", name, e))
    }

    /// Deletes the session that was looked at, and no other.
    ///
    /// # Errors
    /// [`Error::Changed`]; any refusal.
    pub async fn delete(&self, session: &VDISession) -> Result<(), Error> {
        let name = session.name_any();
        let deleted = self.sessions().delete(&name, &only(session.uid())).await;
        deleted.map(drop).map_err(|e| self.of_session("delete", &name, e))
    }

    /// A template, or `None` if it is missing or the caller may not read it.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn template(&self, name: &str) -> Result<Option<VDITemplate>, Error> {
        let call = Call { verb: "get", resource: TEMPLATES, name: Some(name.to_owned()), namespace: None };
        let api: Api<VDITemplate> = Api::all(self.client.clone());
        match api.get_opt(name).await.map_err(|e| self.failed(call, e)) {
            Err(Error::Forbidden { .. } | Error::Denied { .. }) => Ok(None),
            other => other,
        }
    }

    /// What signs a session's links; `None`: the operator has not made it yet.
    ///
    /// # Errors
    /// [`Error::ForeignSecret`], [`Error::BadSecret`]; any refusal.
    pub async fn secret(&self, session: &VDISession) -> Result<Option<Vec<u8>>, Error> {
        let session_name = session.name_any();
        let named = session.status.as_ref().and_then(|s| s.secret_name.clone());
        let name = named.unwrap_or_else(|| names::child(&session_name));
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let found =
            api.get_opt(&name).await.map_err(|e| self.failed(self.call("get", "secrets", &name), e))?;
        let Some(secret) = found else { return Ok(None) };
        let controller = |o: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference| {
            o.controller == Some(true) && Some(&o.uid) == session.metadata.uid.as_ref()
        };
        if !secret.owner_references().iter().any(|o| controller(&o)) {
            return Err(Error::ForeignSecret { name: session_name, secret: name });
        }
        let data = secret.data.and_then(|mut d| d.remove(SECRET_KEY)).map(|b| b.0).unwrap_or_default();
        match token::secret(&data) {
            Ok(secret) => Ok(Some(secret.to_vec())),
            Err(why) => Err(Error::BadSecret { secret: name, why }),
        }
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A pod; `None`: it is gone.
    ///
    /// # Errors
    /// Any refusal.
    pub async fn pod(&self, name: &str) -> Result<Option<Pod>, Error> {
        self.pods().get_opt(name).await.map_err(|e| self.failed(self.call("get", "pods", name), e))
    }

    /// Strikes a pod off without waiting for its node. It must be the one that was looked at.
    ///
    /// # Errors
    /// [`Error::Changed`]; any refusal.
    pub async fn strike_pod(&self, name: &str, uid: &str) -> Result<(), Error> {
        let params = DeleteParams { grace_period_seconds: Some(0), ..only(Some(uid.to_owned())) };
        let deleted = self.pods().delete(name, &params).await;
        deleted.map(drop).map_err(|e| self.failed(self.call("delete", "pods", name), e))
    }

    /// The log of a pod's container.
    ///
    /// # Errors
    /// Any refusal.
    pub async fn log(&self, pod: &str, params: &LogParams) -> Result<impl AsyncBufRead + use<>, Error> {
        let stream = self.pods().log_stream(pod, params).await;
        stream.map_err(|e| self.failed(self.call("get", "pods/log", pod), e))
    }

    /// Puts what broke off a log's stream into words.
    pub fn log_broke(&self, pod: &str, why: &std::io::Error) -> Error {
        Error::Api { call: Box::new(self.call("get", "pods/log", pod)), why: plain(&why.to_string()) }
    }
}

/// Deletes only the object of this UID.
fn only(uid: Option<String>) -> DeleteParams {
    let preconditions = uid.map(|uid| Preconditions { uid: Some(uid), resource_version: None });
    DeleteParams { preconditions, ..DeleteParams::default() }
}

fn http_get(path: &str) -> Result<hyper::Request<Body>, hyper::http::Error> {
    hyper::Request::get(path).body(Body::empty())
}
