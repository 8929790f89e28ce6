//! PURE. Whether an object still is what it was made as. The API server fills in defaults, and others may add labels:
//! what is looked at is only what was said.

use serde_json::Value;

/// True if `actual` has everything that `wanted` says. Lists are compared whole: an entry that was added is a change.
pub fn holds(wanted: &Value, actual: &Value) -> bool {
    match (wanted, actual) {
        (Value::Object(wanted), Value::Object(actual)) => wanted.iter().all(|(key, value)| {
            // What is said to be empty or null may be left out by the server.
            actual.get(key).map_or_else(|| is_nothing(value), |found| holds(value, found))
        }),
        (Value::Array(wanted), Value::Array(actual)) => {
            wanted.len() == actual.len() && wanted.iter().zip(actual).all(|(w, a)| holds(w, a))
        }
        (wanted, actual) => wanted == actual,
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_are_no_drift_and_changes_are() {
        let wanted = json!({"spec": {"ports": [{"port": 8080}], "selector": {"a": "b"}}, "labels": {}});
        let actual = json!({"spec": {"ports": [{"port": 8080, "protocol": "TCP"}], "selector": {"a": "b"}, "type": "ClusterIP"}});
        assert!(holds(&wanted, &actual));
        let edited = json!({"spec": {"ports": [{"port": 8081}], "selector": {"a": "b"}}});
        assert!(!holds(&wanted, &edited));
        let added = json!({"spec": {"ports": [{"port": 8080}, {"port": 22}], "selector": {"a": "b"}}});
        assert!(!holds(&wanted, &added));
        let gone = json!({"spec": {"ports": [{"port": 8080}]}});
        assert!(!holds(&wanted, &gone));
    }
}
