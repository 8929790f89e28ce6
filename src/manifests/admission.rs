//! PURE. Who may: a controller cannot see who asks, so the API server's own admission policies (CEL) decide.

use serde_json::{Value, json};

use super::{NAME, Values, labels, sessions};
use crate::operator::names::{APP, LABEL_NAME, LABEL_SESSION_UID};

/// Name of the policy on sessions.
pub const SESSIONS: &str = "deskgate-sessions.vdi.kasm.io";
/// Name of the policy on pods.
pub const PODS: &str = "deskgate-pods.vdi.kasm.io";
/// Name of the policy on claims.
pub const CLAIMS: &str = "deskgate-claims.vdi.kasm.io";

/// Whether the requester may act for others. Whoever may everything may this.
const FOR_OTHERS: &str = "authorizer.group('vdi.kasm.io').resource('vdisessions').namespace(request.namespace)\
    .check('impersonate').allowed()";

/// All policies, with their bindings. Sessions are guarded wherever they are, the rest where sessions run.
pub fn policies(values: &Values) -> Vec<Value> {
    let operator = format!("system:serviceaccount:{}:{NAME}", values.own_namespace);
    vec![
        on_sessions(&operator),
        binding(SESSIONS, None),
        on_pods(&operator),
        binding(PODS, Some(sessions::LABEL)),
        on_claims(&operator),
        binding(CLAIMS, Some(sessions::LABEL)),
    ]
}

/// Where a policy holds: everywhere, or in namespaces with a label.
fn binding(policy: &str, label: Option<&str>) -> Value {
    let mut spec = json!({ "policyName": policy, "validationActions": ["Deny"] });
    if let Some(label) = label {
        spec["matchResources"] = json!({ "namespaceSelector": { "matchLabels": { label: "true" } } });
    }
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": { "name": policy, "labels": labels() },
        "spec": spec,
    })
}

/// What a policy looks at.
struct Guarded<'a> {
    group: &'a str,
    resource: &'a str,
    operations: &'a [&'a str],
}

fn policy(name: &str, of: &Guarded, whose: &str, variables: &Value, validations: &Value) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": { "name": name, "labels": labels() },
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": { "resourceRules": [{
                "apiGroups": [of.group], "apiVersions": ["*"], "operations": of.operations,
                "resources": [of.resource],
            }]},
            "matchConditions": [{ "name": "not-the-system", "expression": whose }],
            "variables": variables,
            "validations": validations,
        },
    })
}

/// A rule whose words are made by an expression (`messageExpression`), or are always the same (`message`).
fn denial(expression: &str, key: &str, words: &str) -> Value {
    json!({ "expression": expression, key: words, "reason": "Forbidden" })
}

/// A session is made, changed and deleted by its own user, or by somebody who may `impersonate` there; it is made from
/// templates that he may `use`. In one namespace are sessions of many, and RBAC knows no owners.
fn on_sessions(operator: &str) -> Value {
    let of = Guarded {
        group: "vdi.kasm.io",
        resource: "vdisessions",
        operations: &["CREATE", "UPDATE", "DELETE"],
    };
    // The cluster's own controllers empty namespaces and collect garbage.
    let whose = format!(
        "request.userInfo.username != '{operator}' && request.userInfo.username != 'system:kube-controller-manager' \
         && !('system:serviceaccounts:kube-system' in request.userInfo.groups)"
    );
    let variables = json!([
        { "name": "isNew", "expression": "request.operation == 'CREATE'" },
        { "name": "user", "expression": "variables.isNew ? object.spec.user : oldObject.spec.user" },
        {
            "name": "mayAct",
            "expression": format!("variables.user == request.userInfo.username || {FOR_OTHERS}"),
        },
    ]);
    let validations = json!([
        denial(
            "!variables.isNew || variables.mayAct",
            "messageExpression",
            "'spec.user: ' + request.userInfo.username + ' may make sessions for himself only; for others it takes \
                the verb impersonate on vdisessions'",
        ),
        denial(
            "variables.isNew || variables.mayAct",
            "messageExpression",
            "'this is a session of ' + variables.user + ', not of ' + request.userInfo.username + '; for others it \
                takes the verb impersonate on vdisessions'",
        ),
        denial(
            "!variables.isNew || authorizer.group('vdi.kasm.io').resource('vditemplates')\
                .name(object.spec.template).check('use').allowed()",
            "messageExpression",
            "'spec.template: ' + request.userInfo.username + ' may not use template ' + object.spec.template \
                + '; it takes the verb use on it'",
        ),
    ]);
    policy(SESSIONS, &of, &whose, &variables, &validations)
}

/// Homes are mounted by pods that the operator makes, and by nobody else's: else whoever may make pods could read them.
/// Pods of Deployments are made by the cluster's controllers, for anybody: those are no exception. Nor does anybody else
/// put a pod into a session's place, where its viewers would meet it.
fn on_pods(operator: &str) -> Value {
    let of = Guarded { group: "", resource: "pods", operations: &["CREATE", "UPDATE"] };
    let variables = json!([
        { "name": "label", "expression": label("object", LABEL_NAME) },
        { "name": "session", "expression": label("object", LABEL_SESSION_UID) },
        { "name": "wasSession", "expression": was(&label("oldObject", LABEL_SESSION_UID)) },
        { "name": "wasLabel", "expression": was(&label("oldObject", LABEL_NAME)) },
    ]);
    let validations = json!([
        denial(
            &format!(
                "request.operation != 'CREATE' || !has(object.spec.volumes) || !object.spec.volumes.exists(v, \
                 has(v.persistentVolumeClaim) && v.persistentVolumeClaim.claimName.startsWith('vdi-home-')) \
                 || {FOR_OTHERS}"
            ),
            "message",
            "spec.volumes: homes of sessions are mounted by the operator's pods only",
        ),
        denial(
            &format!("variables.label != '{APP}' || variables.wasLabel == '{APP}'"),
            "message",
            "metadata.labels: pods of sessions are made by the operator only",
        ),
        denial(
            "variables.session == '' || variables.session == variables.wasSession",
            "message",
            "metadata.labels: vdi.kasm.io/session-uid leads viewers to a pod; it is set by the operator only",
        ),
    ]);
    policy(PODS, &of, &format!("request.userInfo.username != '{operator}'"), &variables, &validations)
}

/// A label of an object, or nothing.
fn label(object: &str, key: &str) -> String {
    format!(
        "has({object}.metadata.labels) && '{key}' in {object}.metadata.labels \
         ? {object}.metadata.labels['{key}'] : ''"
    )
}

/// The same of what an object was before.
fn was(expression: &str) -> String {
    format!("request.operation == 'CREATE' ? '' : ({expression})")
}

/// Homes are made by the operator, and a copy of a home is as good as the home.
fn on_claims(operator: &str) -> Value {
    let of = Guarded { group: "", resource: "persistentvolumeclaims", operations: &["CREATE"] };
    let from_home = |field: &str| {
        format!("(has(object.spec.{field}) && object.spec.{field}.name.startsWith('vdi-home-'))")
    };
    let validations = json!([
        denial(
            &format!(
                "!has(object.metadata.name) || !object.metadata.name.startsWith('vdi-home-') || {FOR_OTHERS}"
            ),
            "message",
            "metadata.name: homes (vdi-home-…) are made by the operator only",
        ),
        denial(
            &format!("!({} || {}) || {FOR_OTHERS}", from_home("dataSource"), from_home("dataSourceRef")),
            "message",
            "spec.dataSource: homes are not copied",
        ),
    ]);
    policy(CLAIMS, &of, &format!("request.userInfo.username != '{operator}'"), &json!([]), &validations)
}
