//! PURE: single mutations of a good session and a good template, the layer that refuses each, and its words. Also read by
//! the unit tests of `src/crd/`, which run the rules without an API server.

use serde_json::{Value, json};

/// Who refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The structural schema, or the API server's own rules for names.
    Schema,
    /// A CEL rule of the CRD.
    Cel,
    /// The admission policy.
    Policy,
}

/// What is mutated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// A new session.
    Session,
    /// A session that is there already.
    Update,
    /// A new template.
    Template,
}

/// One mutation: a merge patch.
pub struct Mutation {
    pub of: Of,
    pub patch: Value,
    pub layer: Layer,
    pub says: &'static str,
}

/// What is good: the session of a user and a template.
pub fn good_session(name: &str, template: &str) -> Value {
    json!({
        "apiVersion": "vdi.kasm.io/v1alpha1", "kind": "VDISession", "metadata": {"name": name},
        "spec": {
            "user": "alice", "template": template, "state": "Running",
            "resources": {"gpu": 0, "cpu": "1", "memory": "1Gi"},
            "persistence": {"enabled": true, "size": "1Gi", "storageClassName": "local-path", "reclaim": "Retain"},
            "timeout": "8h", "timeoutAction": "Suspend", "idleTimeout": 1800, "idleAction": "Suspend",
        },
    })
}

/// A good template.
pub fn good_template(name: &str) -> Value {
    json!({
        "apiVersion": "vdi.kasm.io/v1alpha1", "kind": "VDITemplate", "metadata": {"name": name},
        "spec": {"image": "registry.example/desktop:1", "ports": [5900], "env": [{"name": "LANG", "value": "C"}]},
    })
}

/// All mutations.
pub fn mutations() -> Vec<Mutation> {
    use Layer::{Cel, Policy, Schema};
    use Of::{Session, Template, Update};
    let row = |of, patch, layer, says| Mutation { of, patch, layer, says };
    let spec = |of, spec: Value, layer, says| row(of, json!({ "spec": spec }), layer, says);
    let name = |of, name: &str, layer, says| row(of, json!({"metadata": {"name": name}}), layer, says);
    const NAME: &str = "at most 50 of a-z, 0-9 and '-', a letter first";
    const TIMEOUT: &str = "timeout: a time such as 8h, 90m or 1h30m";
    const IDLE: &str = "idleTimeout: a time such as 30m or 2h";
    const CPU: &str = "resources.cpu: processors such as 2";
    vec![
        spec(Session, json!({"user": null}), Schema, "spec.user: Required value"),
        spec(Session, json!({"user": ""}), Schema, "spec.user"),
        spec(Session, json!({"user": "x".repeat(255)}), Schema, "spec.user: Too long"),
        spec(Session, json!({"user": "two words"}), Schema, "spec.user"),
        spec(Session, json!({"template": null}), Schema, "spec.template: Required value"),
        spec(Session, json!({"template": ""}), Schema, "spec.template"),
        spec(Session, json!({"template": "Upper"}), Schema, "spec.template"),
        spec(Session, json!({"template": "t".repeat(64)}), Schema, "spec.template: Too long"),
        spec(Session, json!({"state": "Paused"}), Schema, "spec.state: Unsupported value: \"Paused\""),
        spec(Session, json!({"resources": {"gpu": -1}}), Schema, "spec.resources.gpu"),
        spec(Session, json!({"resources": {"gpu": 65}}), Schema, "less than or equal to 64"),
        spec(Session, json!({"resources": {"gpu": "one"}}), Schema, "spec.resources.gpu"),
        spec(Session, json!({"resources": {"cpu": "two"}}), Cel, CPU),
        spec(Session, json!({"resources": {"cpu": 0}}), Cel, CPU),
        spec(Session, json!({"resources": {"cpu": "0"}}), Cel, CPU),
        spec(Session, json!({"resources": {"cpu": -1}}), Cel, CPU),
        spec(Session, json!({"resources": {"cpu": 1025}}), Cel, CPU),
        spec(Session, json!({"resources": {"cpu": true}}), Schema, "spec.resources.cpu"),
        spec(Session, json!({"resources": {"memory": "lots"}}), Schema, "spec.resources.memory"),
        spec(Session, json!({"resources": {"memory": "-1Gi"}}), Schema, "spec.resources.memory"),
        spec(Session, json!({"resources": {"memory": true}}), Schema, "spec.resources.memory"),
        spec(Session, json!({"persistence": {"enabled": "yes"}}), Schema, "spec.persistence.enabled"),
        spec(Session, json!({"persistence": {"size": "0"}}), Schema, "spec.persistence.size"),
        spec(Session, json!({"persistence": {"size": "10 Gi"}}), Schema, "spec.persistence.size"),
        spec(Session, json!({"persistence": {"storageClassName": "Bad_Name"}}), Schema, "storageClassName"),
        spec(Session, json!({"persistence": {"reclaim": "Keep"}}), Schema, "Unsupported value: \"Keep\""),
        spec(Session, json!({"persistence": {"enabled": false}}), Cel, "persistence.enabled is false"),
        spec(Session, json!({"timeout": "soon"}), Cel, TIMEOUT),
        spec(Session, json!({"timeout": "8 h"}), Cel, TIMEOUT),
        spec(Session, json!({"timeout": "315360001"}), Cel, TIMEOUT),
        spec(Session, json!({"timeout": -1}), Cel, TIMEOUT),
        spec(Session, json!({"timeout": 315_360_001}), Cel, TIMEOUT),
        spec(Session, json!({"timeout": "h".repeat(65)}), Schema, "spec.timeout"),
        spec(Session, json!({"idleTimeout": "1.5h"}), Cel, IDLE),
        spec(Session, json!({"idleTimeout": -5}), Cel, IDLE),
        spec(Session, json!({"timeoutAction": "Kill"}), Schema, "Unsupported value: \"Kill\""),
        spec(Session, json!({"idleAction": "Stop"}), Schema, "Unsupported value: \"Stop\""),
        name(Session, "UPPER", Schema, "metadata.name"),
        name(Session, "1abc", Cel, NAME),
        name(Session, "a.b", Cel, NAME),
        name(Session, &"a".repeat(51), Cel, NAME),
        spec(Session, json!({"user": "bob"}), Policy, "may make sessions for himself only"),
        spec(Session, json!({"template": "not-for-alice"}), Policy, "may not use template not-for-alice"),
        spec(Update, json!({"user": "bob"}), Cel, "user is immutable"),
        spec(Update, json!({"template": "other"}), Cel, "template is immutable"),
        spec(Template, json!({"image": null}), Schema, "spec.image: Required value"),
        spec(Template, json!({"image": "two words"}), Schema, "spec.image"),
        spec(Template, json!({"ports": [8080]}), Cel, "the image listens on the gateway's port"),
        spec(
            Template,
            json!({"ports": [9000], "gateway": {"port": 9000}}),
            Cel,
            "the image listens on the gateway's port",
        ),
        spec(Template, json!({"ports": [0]}), Schema, "spec.ports[0]"),
        spec(Template, json!({"env": [{"name": "DESKGATE_X", "value": "1"}]}), Cel, "are the gateway's"),
        spec(Template, json!({"env": [{"name": "A"}, {"name": "A"}]}), Schema, "Duplicate value"),
        spec(Template, json!({"xauthority": "/root/.Xauthority"}), Cel, "has to lie in /tmp/.X11-unix/"),
        spec(Template, json!({"homePath": "/etc"}), Cel, "must not hide the system's own folders"),
        spec(Template, json!({"homePath": "relative"}), Schema, "spec.homePath"),
        spec(Template, json!({"gateway": {"port": 80}}), Schema, "spec.gateway.port"),
        spec(Template, json!({"gateway": {"frameLimit": 500}}), Schema, "spec.gateway.frameLimit"),
        spec(Template, json!({"gateway": {"clipboard": "Sometimes"}}), Schema, "spec.gateway.clipboard"),
        spec(Template, json!({"gpu": {"encoder": "auto"}}), Schema, "spec.gpu.encoder"),
        spec(Template, json!({"exposure": "Tunnel"}), Schema, "spec.exposure"),
        spec(Template, json!({"display": 100}), Schema, "spec.display"),
        spec(Template, json!({"resources": {"cpu": "x"}}), Cel, CPU),
        spec(Template, json!({"timeout": "soon"}), Schema, "spec.timeout"),
        name(Template, "a.b", Cel, "at most 63 of a-z, 0-9 and '-'"),
    ]
}

/// The good object with a mutation.
pub fn mutated(good: &Value, patch: &Value) -> Value {
    let mut object = good.clone();
    merge(&mut object, patch);
    object
}

/// A merge patch (RFC 7386).
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in fields {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key.as_str()], value);
        }
    }
}
