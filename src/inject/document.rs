//! PURE. Pods in documents: workloads with templates, lists, YAML of several documents.
//!
//! Objects are read as typed pods to be looked at, and changed by the difference: fields that this program's version
//! of the API does not know stay as they are.

use std::fmt::Write as _;

use json_patch::PatchOperation;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use thiserror::Error;

use super::{Change, Injection, Refusal, inject};

/// Why an object gets no sidecar.
#[derive(Debug, Error)]
pub enum DocumentError {
    /// It makes no sense there.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Not what its kind says.
    #[error("this is no {kind}: {source}")]
    Malformed {
        /// What it claims to be.
        kind: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Not YAML.
    #[error("this is no YAML: {0}")]
    Yaml(String),
    /// The difference does not fit the object; a fault of this program.
    #[error("the sidecar does not fit in: {0}")]
    Patch(#[from] json_patch::PatchError),
}

/// One document that cannot be injected.
#[derive(Debug, Error)]
#[error("document {number}{}: {error}", .name.as_ref().map(|n| format!(" ({n})")).unwrap_or_default())]
pub struct TextError {
    /// Which, from 1.
    pub number: usize,
    /// Kind and name, as far as they can be read.
    pub name: Option<String>,
    /// Why.
    pub error: DocumentError,
}

/// Injects all documents of a YAML text. Those without a pod in them, and those that have the sidecar already, come
/// out letter for letter.
///
/// # Errors
/// Every document that is refused; nothing is half done.
pub fn inject_text(text: &str, how: &Injection) -> Result<String, Vec<TextError>> {
    let mut out = String::new();
    let mut errors = Vec::new();
    for (index, document) in documents(text).into_iter().enumerate() {
        match inject_document(document, how) {
            Ok(new) => {
                if index > 0 {
                    out.push_str("---\n");
                }
                out.push_str(new.as_deref().unwrap_or(document));
                if !out.is_empty() && !out.ends_with('\n') {
                    out.push('\n');
                }
            }
            Err((name, error)) => errors.push(TextError { number: index + 1, name, error }),
        }
    }
    if errors.is_empty() { Ok(out) } else { Err(errors) }
}

/// The documents between lines that begin with `---`, as kubectl splits them.
fn documents(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut start, mut at) = (0, 0);
    for line in text.split_inclusive('\n') {
        let is_end = line.trim_end() == "---" || line.starts_with("--- ");
        if is_end {
            // A mark on the first line of all separates nothing.
            if at > 0 {
                found.push(&text[start..at]);
            }
            start = at + if line.starts_with("--- ") { 4 } else { line.len() };
        }
        at += line.len();
    }
    found.push(&text[start..]);
    found
}

type Named = (Option<String>, DocumentError);

/// The new text of a document; `None`: it stays as it is.
fn inject_document(text: &str, how: &Injection) -> Result<Option<String>, Named> {
    let yaml = |e: &dyn std::fmt::Display| (None, DocumentError::Yaml(e.to_string()));
    // YAML 1.1's octal numbers, as kubectl reads them: `defaultMode: 0644`.
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    let mut object: Option<Value> =
        serde_saphyr::from_str_with_options(text, options).map_err(|e| yaml(&e))?;
    let Some(object) = object.as_mut().filter(|o| o.is_object()) else { return Ok(None) };
    match inject_object(object, how)? {
        Some(Change::Injected | Change::Updated) => {
            serde_saphyr::to_string(object).map(Some).map_err(|e| yaml(&e))
        }
        Some(Change::Unchanged) | None => Ok(None),
    }
}

/// Injects one object: a pod, what makes pods, or a list of those. `None`: there is no pod in it.
///
/// # Errors
/// [`DocumentError`], with kind and name of the object.
pub fn inject_object(object: &mut Value, how: &Injection) -> Result<Option<Change>, Named> {
    let kind = text(object, "/kind").to_owned();
    if kind == "List" && text(object, "/apiVersion") == "v1" {
        let items = object.get_mut("items").and_then(Value::as_array_mut);
        let changes: Result<Vec<_>, _> =
            items.into_iter().flatten().map(|item| inject_object(item, how)).collect();
        return Ok(changes?.into_iter().flatten().max());
    }
    let Some(pointer) = template(text(object, "/apiVersion"), &kind) else { return Ok(None) };
    let name = name(object);
    let named = |error| (name.clone(), error);
    match object.pointer_mut(pointer) {
        Some(pod) => inject_value(pod, &kind, how).map(Some).map_err(named),
        None => Err(named(Refusal::NoContainer.into())),
    }
}

/// Where in an object of this kind the pod, or its template, is.
fn template(api_version: &str, kind: &str) -> Option<&'static str> {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    match (group, kind) {
        ("", "Pod") => Some(""),
        ("", "PodTemplate") => Some("/template"),
        ("", "ReplicationController")
        | ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
        | ("batch", "Job") => Some("/spec/template"),
        ("batch", "CronJob") => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Kind and name, for messages.
fn name(object: &Value) -> Option<String> {
    let mut name = text(object, "/kind").to_owned();
    let own = [text(object, "/metadata/name"), text(object, "/metadata/generateName")];
    if let Some(own) = own.iter().find(|n| !n.is_empty()) {
        let _ = write!(name, " {own}");
    }
    Some(name).filter(|n| !n.is_empty())
}

/// Injects a pod or a pod's template.
fn inject_value(value: &mut Value, kind: &str, how: &Injection) -> Result<Change, DocumentError> {
    let (patch, change) = difference(value, kind, how)?;
    // A template need not have metadata; annotations go there.
    if let Some(object) = value.as_object_mut()
        && !object.get("metadata").is_some_and(Value::is_object)
    {
        object.insert("metadata".to_owned(), Value::Object(serde_json::Map::new()));
    }
    json_patch::patch(value, &patch)?;
    Ok(change)
}

/// What injection changes of a pod, as operations of JSON Patch (RFC 6902). The pod has to have metadata.
///
/// # Errors
/// [`DocumentError`]: it is refused, or no pod.
pub fn difference(
    value: &Value,
    kind: &str,
    how: &Injection,
) -> Result<(Vec<PatchOperation>, Change), DocumentError> {
    let malformed = |source| DocumentError::Malformed { kind: kind.to_owned(), source };
    let mut readable = value.clone();
    quote_quantities(&mut readable);
    let pod: Pod = serde_json::from_value(pod_of(readable)).map_err(malformed)?;
    let before = serde_json::to_value(&pod).map_err(malformed)?;
    let outcome = inject(pod, how)?;
    let after = serde_json::to_value(&outcome.pod).map_err(malformed)?;
    Ok((json_patch::diff(&before, &after).0, outcome.change))
}

/// A template as the pod that it makes.
fn pod_of(mut value: Value) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.insert("apiVersion".to_owned(), "v1".into());
        object.insert("kind".to_owned(), "Pod".into());
        object.remove("status");
    }
    value
}

/// The API server takes `cpu: 2`; the typed pod wants `cpu: "2"`.
fn quote_quantities(value: &mut Value) {
    const MAPS: [&str; 4] = ["limits", "requests", "overhead", "capacity"];
    const FIELDS: [&str; 3] = ["sizeLimit", "storage", "divisor"];
    let quote = |v: &mut Value| {
        if v.is_number() {
            *v = Value::String(v.to_string());
        }
    };
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                match inner {
                    Value::Object(quantities) if MAPS.contains(&key.as_str()) => {
                        quantities.values_mut().for_each(quote);
                    }
                    number if FIELDS.contains(&key.as_str()) => quote(number),
                    other => quote_quantities(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(quote_quantities),
        _ => {}
    }
}
