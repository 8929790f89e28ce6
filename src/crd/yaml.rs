//! PURE. The definitions as YAML, tidied of what Rust's types say and Kubernetes' conventions do not.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value};

use super::{VDISession, VDITemplate};

/// Both definitions, as `deskgate crds` prints them and `crds/` holds them.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    [VDISession::crd(), VDITemplate::crd()].map(tidy).into()
}

/// One text of YAML for each definition, with its plural name.
///
/// # Errors
/// None that is known: the definitions are ours.
pub fn definition_texts() -> Result<Vec<(String, String)>, serde_saphyr::ser::Error> {
    definitions()
        .iter()
        .map(|definition| {
            let mut value = serde_json::to_value(definition).unwrap_or_default();
            walk(&mut value, &mut whole_numbers);
            Ok((definition.spec.names.plural.clone(), serde_saphyr::to_string(&value)?))
        })
        .collect()
}

fn tidy(definition: CustomResourceDefinition) -> CustomResourceDefinition {
    let mut value = serde_json::to_value(&definition).unwrap_or_default();
    walk(&mut value["spec"]["versions"], &mut plain_schema);
    serde_json::from_value(value).unwrap_or(definition)
}

/// Visits every object, the innermost first.
fn walk(value: &mut Value, visit: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| walk(item, visit)),
        Value::Object(object) => {
            object.values_mut().for_each(|inner| walk(inner, visit));
            visit(object);
        }
        _ => {}
    }
}

/// What is absent is absent, not null; templates have the defaults, not the schema; and OpenAPI has no unsigned formats.
fn plain_schema(object: &mut Map<String, Value>) {
    // A field may have such a name; its schema is an object then.
    object.retain(|key, value| match key.as_str() {
        "nullable" => !value.is_boolean(),
        "default" => value.is_object(),
        "format" => !value.as_str().is_some_and(|format| format.starts_with("uint")),
        _ => true,
    });
}

/// Limits are numbers of any kind in the type, and whole ones here.
fn whole_numbers(object: &mut Map<String, Value>) {
    for key in ["minimum", "maximum"] {
        let Some(limit) = object.get_mut(key) else { continue };
        if let Some(whole) = limit.as_f64().filter(|l| l.fract() == 0.0) {
            #[expect(clippy::cast_possible_truncation, reason = "a whole number, and far smaller")]
            let whole = whole as i64;
            *limit = whole.into();
        }
    }
}
