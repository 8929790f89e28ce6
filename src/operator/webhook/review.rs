//! PURE. What the API server asks about a new pod, and what it is answered.

use json_patch::Patch;
use kube::api::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview, Operation};
use kube::core::response::StatusSummary;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::inject::{self, DocumentError, INJECT, Injection, SECRET};

/// Largest review that is read, in bytes: an API server takes no object of more than half of it.
pub const LARGEST: usize = 3 << 20;

/// Not a review.
#[derive(Debug, Error)]
#[error("this is no AdmissionReview of admission.k8s.io/v1: {0}")]
pub struct Malformed(String);

/// What became of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has the sidecar now.
    Injected,
    /// It is none of ours, or has the sidecar already.
    Unchanged,
    /// It is refused; the answer says why.
    Refused,
}

/// Answers a review.
///
/// # Errors
/// [`Malformed`] if it is none.
pub fn review(body: &[u8], how: &Injection) -> Result<(AdmissionReview<DynamicObject>, Verdict), Malformed> {
    let malformed = |error: &dyn std::fmt::Display| Malformed(error.to_string());
    let review: AdmissionReview<DynamicObject> = serde_json::from_slice(body).map_err(|e| malformed(&e))?;
    if review.types.api_version != "admission.k8s.io/v1" || review.types.kind != "AdmissionReview" {
        return Err(malformed(&format_args!("{} {}", review.types.api_version, review.types.kind)));
    }
    let request: AdmissionRequest<DynamicObject> = review.try_into().map_err(|e| malformed(&e))?;
    let (response, verdict) = respond(&request, how);
    Ok((response.into_review(), verdict))
}

fn respond(request: &AdmissionRequest<DynamicObject>, how: &Injection) -> (AdmissionResponse, Verdict) {
    let unchanged = AdmissionResponse::from(request);
    let Some(pod) = labelled_pod(request) else { return (unchanged, Verdict::Unchanged) };
    match change(pod, how) {
        Ok(patch) if patch.0.is_empty() => (unchanged, Verdict::Unchanged),
        Ok(patch) => match unchanged.with_patch(patch) {
            Ok(mut injected) => {
                injected.warnings = warning(pod, how).map(|w| vec![w]);
                (injected, Verdict::Injected)
            }
            Err(error) => (refused(request, 500, "InternalError", &error), Verdict::Refused),
        },
        Err(error) => {
            let (code, reason) = match &error {
                DocumentError::Refused(_) => (403, "Forbidden"),
                DocumentError::Malformed { .. } | DocumentError::Yaml(_) => (400, "BadRequest"),
                DocumentError::Patch(_) => (500, "InternalError"),
            };
            (refused(request, code, reason, &error), Verdict::Refused)
        }
    }
}

/// The new pod that asks for a sidecar, whatever the API server was told to ask about.
fn labelled_pod(request: &AdmissionRequest<DynamicObject>) -> Option<&DynamicObject> {
    let kind = &request.kind;
    let is_new_pod = request.operation == Operation::Create
        && request.sub_resource.as_deref().unwrap_or_default().is_empty()
        && (kind.group.as_str(), kind.version.as_str(), kind.kind.as_str()) == ("", "v1", "Pod");
    let pod = request.object.as_ref().filter(|_| is_new_pod)?;
    let label = pod.metadata.labels.as_ref()?.get(INJECT)?;
    (label == "true").then_some(pod)
}

fn change(pod: &DynamicObject, how: &Injection) -> Result<Patch, DocumentError> {
    let malformed = |source| DocumentError::Malformed { kind: "Pod".to_owned(), source };
    // The metadata, which are typed, are looked at alone; the difference is in the API server's own words.
    let mut object = Map::new();
    object.insert("metadata".to_owned(), serde_json::to_value(&pod.metadata).map_err(malformed)?);
    if let Some(spec) = pod.data.get("spec") {
        object.insert("spec".to_owned(), spec.clone());
    }
    let (operations, _) = inject::difference(&Value::Object(object), "Pod", how)?;
    Ok(Patch(operations))
}

fn warning(pod: &DynamicObject, how: &Injection) -> Option<String> {
    let named = pod.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(SECRET));
    (!named && how.secret.is_none()).then(|| {
        format!("the gateway listens on loopback, for kubectl port-forward alone: no annotation {SECRET}")
    })
}

fn refused(
    request: &AdmissionRequest<DynamicObject>,
    code: u16,
    reason: &str,
    why: &dyn std::fmt::Display,
) -> AdmissionResponse {
    let mut response = AdmissionResponse::from(request).deny(why);
    response.result.status = Some(StatusSummary::Failure);
    response.result.code = code;
    reason.clone_into(&mut response.result.reason);
    response
}

#[cfg(test)]
#[path = "review_tests.rs"]
mod tests;
