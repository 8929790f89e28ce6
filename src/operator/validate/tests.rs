//! Every refusal, with what it says; and what is in force when there is none.

use serde_json::{Value, json};

use super::*;
use crate::crd::{Exposure, Reclaim};

fn session(changes: Value) -> VDISession {
    let mut object = json!({
        "apiVersion": "vdi.kasm.io/v1alpha1", "kind": "VDISession",
        "metadata": {"name": "alice", "namespace": "desks"},
        "spec": {"user": "alice@example.com", "template": "ubuntu"},
    });
    json_patch::merge(&mut object, &changes);
    serde_json::from_value(object).unwrap()
}

fn template(spec: Value) -> VDITemplate {
    let mut object = json!({
        "apiVersion": "vdi.kasm.io/v1alpha1", "kind": "VDITemplate", "metadata": {"name": "ubuntu"},
        "spec": {"image": "registry.example/ubuntu"},
    });
    json_patch::merge(&mut object, &json!({ "spec": spec }));
    serde_json::from_value(object).unwrap()
}

fn refused(session: &VDISession, template: Option<&VDITemplate>, reason: Reason, words: &[&str]) {
    let refusal = validate(session, template).expect_err(words[0]);
    assert_eq!((refusal.condition, refusal.reason), (ConditionType::TemplateResolved, reason), "{refusal:?}");
    for word in words {
        assert!(refusal.message.contains(word), "{word} is missing: {}", refusal.message);
    }
}

#[test]
fn what_nobody_says_is_as_documented() {
    let effective = validate(&session(json!({})), Some(&template(json!({})))).unwrap();
    let compute = &effective.compute;
    assert_eq!(
        (compute.gpu, compute.cpu.to_string(), compute.memory.to_string()),
        (0, "2".into(), "4Gi".into())
    );
    let home = effective.home.as_ref().unwrap();
    assert_eq!((home.size.to_string(), home.reclaim), ("10Gi".to_owned(), Reclaim::Retain));
    assert_eq!((effective.timeout, effective.timeout_action), (Timeout::Never, EndAction::Suspend));
    assert_eq!((effective.port, effective.exposure), (8080, Exposure::Ingress));
    let status = effective_status(&effective, &template(json!({})));
    assert_eq!(
        (status.cpu.as_str(), status.timeout.as_str(), status.image.as_str()),
        ("2", "0", "registry.example/ubuntu")
    );
    assert_eq!(status.home.as_deref(), Some(home.claim.as_str()));
}

#[test]
fn the_session_goes_before_its_template() {
    let spec = json!({"resources": {"gpu": 1, "cpu": 4, "memory": "8Gi"}, "timeout": "8h", "idleTimeout": "1h",
        "persistence": {"size": "20Gi", "reclaim": "Delete", "storageClassName": "slow"}, "idleAction": "Delete"});
    let template = template(spec);
    let silent = validate(&session(json!({})), Some(&template)).unwrap();
    assert_eq!((silent.compute.gpu, silent.compute.cpu.to_string()), (1, "4".to_owned()));
    assert_eq!((silent.timeout.to_string(), silent.idle_action), ("8h".to_owned(), EndAction::Delete));
    let own = json!({"spec": {"resources": {"gpu": 0, "memory": "1Gi"}, "timeout": 0, "idleTimeout": 90,
        "persistence": {"storageClassName": "fast"}}});
    let own = validate(&session(own), Some(&template)).unwrap();
    assert_eq!(
        (own.compute.gpu, own.compute.cpu.to_string(), own.compute.memory.to_string()),
        (0, "4".into(), "1Gi".into())
    );
    assert_eq!((own.timeout, own.idle_timeout), (Timeout::Never, Timeout::seconds(90)));
    let home = own.home.unwrap();
    assert_eq!(
        (home.storage_class.as_deref(), home.size.to_string(), home.reclaim),
        (Some("fast"), "20Gi".into(), Reclaim::Delete)
    );
}

#[test]
fn without_a_home_a_run_that_ends_is_the_end() {
    let session = session(json!({"spec": {"persistence": {"enabled": false}}}));
    let effective = validate(&session, Some(&template(json!({"persistence": {"size": "3Gi"}})))).unwrap();
    assert_eq!((effective.timeout_action, effective.idle_action), (EndAction::Delete, EndAction::Delete));
    assert_eq!((effective.home, effective.scratch.to_string()), (None, "3Gi".to_owned()));
}

#[test]
fn a_limit_cuts_what_holds_by_itself() {
    let limits =
        json!({"overrides": {"maxCpu": "1", "maxMemory": "1Gi", "maxSize": "1Gi", "maxTimeout": "8h"}});
    let effective = validate(&session(json!({})), Some(&template(limits))).unwrap();
    assert_eq!(
        (effective.compute.cpu.to_string(), effective.compute.memory.to_string()),
        ("1".into(), "1Gi".into())
    );
    assert_eq!((effective.scratch.to_string(), effective.timeout.to_string()), ("1Gi".into(), "8h".into()));
}

#[test]
fn bad_sessions() {
    let good = template(json!({}));
    for (changes, words) in [
        (json!({"metadata": {"name": "a".repeat(51)}}), vec!["metadata.name", "at most 50"]),
        (json!({"metadata": {"name": "1a"}}), vec!["metadata.name", "\"1a\""]),
        (json!({"metadata": {"name": "a-"}}), vec!["metadata.name"]),
        (json!({"metadata": {"name": "Alice"}}), vec!["metadata.name"]),
        (json!({"spec": {"user": ""}}), vec!["spec.user"]),
        (json!({"spec": {"user": "a b"}}), vec!["spec.user", "blanks"]),
        (json!({"spec": {"user": "a\u{0}"}}), vec!["spec.user"]),
        (json!({"spec": {"user": "a".repeat(255)}}), vec!["spec.user", "254", "…"]),
        (json!({"spec": {"template": "Ubuntu"}}), vec!["spec.template", "\"Ubuntu\""]),
        (json!({"spec": {"template": "a.b"}}), vec!["spec.template"]),
        (json!({"spec": {"resources": {"gpu": 65}}}), vec!["spec.resources.gpu is 65", "64"]),
        (json!({"spec": {"resources": {"cpu": 0}}}), vec!["spec.resources.cpu is \"0\"", "more than 0"]),
        (json!({"spec": {"resources": {"cpu": -1}}}), vec!["spec.resources.cpu"]),
        (json!({"spec": {"resources": {"cpu": 1025}}}), vec!["spec.resources.cpu", "1024"]),
        (json!({"spec": {"resources": {"cpu": "1Ki"}}}), vec!["spec.resources.cpu"]),
        (json!({"spec": {"resources": {"cpu": ".5"}}}), vec!["spec.resources.cpu"]),
        (json!({"spec": {"resources": {"cpu": "1.5m"}}}), vec!["spec.resources.cpu"]),
        (json!({"spec": {"resources": {"cpu": "two"}}}), vec!["spec.resources.cpu", "\"two\""]),
        (json!({"spec": {"resources": {"memory": "4"}}}), vec!["spec.resources.memory is \"4\"", "32Mi"]),
        (json!({"spec": {"resources": {"memory": "4gb"}}}), vec!["spec.resources.memory", "4Gi"]),
        (json!({"spec": {"resources": {"memory": "4000000000000m"}}}), vec!["spec.resources.memory"]),
        (json!({"spec": {"persistence": {"size": "0Gi"}}}), vec!["spec.persistence.size", "more than 0"]),
        (json!({"spec": {"persistence": {"size": "1.5Gi"}}}), vec!["spec.persistence.size"]),
        (json!({"spec": {"persistence": {"size": "big"}}}), vec!["spec.persistence.size", "10Gi"]),
        (
            json!({"spec": {"persistence": {"storageClassName": "Fast"}}}),
            vec!["spec.persistence.storageClassName"],
        ),
        (
            json!({"spec": {"persistence": {"enabled": false, "size": "1Gi"}}}),
            vec!["persistence.enabled is false"],
        ),
        (json!({"spec": {"timeout": "8"}}), vec!["spec.timeout is \"8\"", "8h"]),
        (json!({"spec": {"timeout": -1}}), vec!["spec.timeout is -1"]),
        (json!({"spec": {"timeout": 315_360_001}}), vec!["spec.timeout", "3650d"]),
        (json!({"spec": {"timeout": "9999d"}}), vec!["spec.timeout"]),
        (json!({"spec": {"idleTimeout": "soon"}}), vec!["spec.idleTimeout", "\"soon\""]),
        (json!({"spec": {"idleTimeout": ""}}), vec!["spec.idleTimeout"]),
    ] {
        refused(&session(changes), Some(&good), Reason::InvalidSpec, &words);
    }
    // What is wrong with a session itself is said before its template is looked for.
    refused(&session(json!({"spec": {"timeout": "x"}})), None, Reason::InvalidSpec, &["spec.timeout"]);
}

#[test]
fn bad_templates() {
    let good = session(json!({}));
    refused(&good, None, Reason::TemplateMissing, &["\"ubuntu\""]);
    for (spec, words) in [
        (json!({"image": ""}), vec!["spec.image"]),
        (json!({"image": "a b"}), vec!["spec.image", "\"a b\""]),
        (json!({"imagePullSecrets": [""]}), vec!["spec.imagePullSecrets"]),
        (json!({"display": 100}), vec!["spec.display is 100", "99"]),
        (json!({"xauthority": "/root/.Xauthority"}), vec!["spec.xauthority", "/tmp/.X11-unix/"]),
        (json!({"xauthority": "/tmp/.X11-unix/../x"}), vec!["spec.xauthority"]),
        (json!({"pulseServer": "a b"}), vec!["spec.pulseServer"]),
        (json!({"homePath": "/"}), vec!["spec.homePath is \"/\"", "/home/user"]),
        (json!({"homePath": "/etc"}), vec!["spec.homePath"]),
        (json!({"homePath": "home"}), vec!["spec.homePath"]),
        (json!({"homePath": "/home/../etc"}), vec!["spec.homePath"]),
        (json!({"homePath": "/tmp/.X11-unix"}), vec!["spec.homePath"]),
        (json!({"homePath": "/dev/shm/home"}), vec!["spec.homePath"]),
        (json!({"homePath": "/a:b"}), vec!["spec.homePath"]),
        (json!({"env": [{"name": "1A"}]}), vec!["spec.env is \"1A\""]),
        (json!({"env": [{"name": "DESKGATE_LISTEN"}]}), vec!["spec.env", "the gateway's"]),
        (json!({"env": [{"name": "A"}, {"name": "A"}]}), vec!["spec.env", "twice"]),
        (json!({"env": [{"name": "DISPLAY", "value": ":1"}]}), vec!["spec.env", "spec.display says :0"]),
        (json!({"ports": [80, 8080]}), vec!["spec.ports", "gateway.port", "8080"]),
        (json!({"ports": [9000], "gateway": {"port": 9000}}), vec!["spec.ports", "9000"]),
        (json!({"gateway": {"port": 80}}), vec!["spec.gateway.port is 80", "1024"]),
        (json!({"gateway": {"image": " "}}), vec!["spec.gateway.image"]),
        (json!({"gateway": {"encoder": "-x"}}), vec!["spec.gateway.encoder", "deskgate encoders"]),
        (json!({"gateway": {"encoder": ""}}), vec!["spec.gateway.encoder"]),
        (json!({"gateway": {"frameLimit": 4}}), vec!["spec.gateway.frameLimit is 4", "5 to 240"]),
        (json!({"gateway": {"bitrateKbps": 1}}), vec!["spec.gateway.bitrateKbps", "100 to 200000"]),
        (
            json!({"gateway": {"resources": {"limits": {"cpu": "x"}}}}),
            vec!["spec.gateway.resources.limits.cpu"],
        ),
        (
            json!({"gateway": {"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}}}),
            vec!["spec.gateway.resources.requests.memory is \"2Gi\"", "1Gi"],
        ),
        (json!({"gpu": {"resourceName": "gpu"}}), vec!["spec.gpu.resourceName", "nvidia.com/gpu"]),
        (json!({"gpu": {"runtimeClassName": "NVIDIA"}}), vec!["spec.gpu.runtimeClassName"]),
        (json!({"gpu": {"driverCapabilities": "utility,"}}), vec!["spec.gpu.driverCapabilities"]),
        (json!({"resources": {"cpu": "x"}}), vec!["spec.resources.cpu"]),
        (json!({"resources": {"gpu": 65}}), vec!["spec.resources.gpu"]),
        (json!({"resources": {"memory": "1"}}), vec!["spec.resources.memory"]),
        (json!({"persistence": {"size": "0"}}), vec!["spec.persistence.size"]),
        (json!({"persistence": {"storageClassName": ""}}), vec!["spec.persistence.storageClassName"]),
        (json!({"timeout": "8"}), vec!["spec.timeout"]),
        (json!({"idleTimeout": "x"}), vec!["spec.idleTimeout"]),
        (json!({"overrides": {"maxGpu": 65}}), vec!["spec.overrides.maxGpu"]),
        (json!({"overrides": {"maxCpu": "0"}}), vec!["spec.overrides.maxCpu", "more than 0"]),
        (json!({"overrides": {"maxTimeout": "x"}}), vec!["spec.overrides.maxTimeout"]),
        // A template that is past its own limits is nobody's fault but its own.
        (
            json!({"resources": {"cpu": 8}, "overrides": {"maxCpu": "4"}}),
            vec!["spec.resources.cpu is 8", "4", "maxCpu"],
        ),
        (json!({"timeout": "0", "overrides": {"maxTimeout": "8h"}}), vec!["spec.timeout is 0", "maxTimeout"]),
    ] {
        refused(&good, Some(&template(spec)), Reason::TemplateInvalid, &words);
    }
}

#[test]
fn what_a_template_keeps_for_itself() {
    let says = [
        (json!({"resources": {"gpu": 1}}), "resources.gpu"),
        (json!({"resources": {"cpu": 1}}), "resources.cpu"),
        (json!({"resources": {"memory": "1Gi"}}), "resources.memory"),
        (json!({"persistence": {"enabled": true}}), "persistence.enabled"),
        (json!({"persistence": {"size": "1Gi"}}), "persistence.size"),
        (json!({"persistence": {"storageClassName": "a"}}), "persistence.storageClassName"),
        (json!({"persistence": {"reclaim": "Delete"}}), "persistence.reclaim"),
        (json!({"timeout": "1h"}), "timeout"),
        (json!({"timeoutAction": "Delete"}), "timeoutAction"),
        (json!({"idleTimeout": "1h"}), "idleTimeout"),
        (json!({"idleAction": "Delete"}), "idleAction"),
    ];
    let none = template(json!({"overrides": {"allowed": []}}));
    let all = json!(["Resources", "Persistence", "Timeout", "IdleTimeout"]);
    let all = template(json!({"overrides": {"allowed": all}}));
    for (spec, field) in says {
        let session = session(json!({ "spec": spec }));
        refused(
            &session,
            Some(&none),
            Reason::OverrideNotAllowed,
            &[&format!("spec.{field} is set"), "overrides.allowed"],
        );
        assert!(validate(&session, Some(&all)).is_ok(), "{field}");
    }
    // Nothing is said by an empty part, or about what every session has.
    let silent = session(json!({"spec": {"resources": {}, "persistence": {}, "state": "Suspended"}}));
    assert!(validate(&silent, Some(&none)).is_ok());
}

#[test]
fn what_is_past_a_limit() {
    let limits =
        json!({"maxGpu": 1, "maxCpu": "4", "maxMemory": "8Gi", "maxSize": "20Gi", "maxTimeout": "8h"});
    let template = template(json!({ "overrides": limits }));
    for (past, within, words) in [
        (
            json!({"resources": {"gpu": 2}}),
            json!({"resources": {"gpu": 1}}),
            ["resources.gpu is 2", "1", "maxGpu"],
        ),
        (
            json!({"resources": {"cpu": "4001m"}}),
            json!({"resources": {"cpu": 4}}),
            ["resources.cpu is 4001m", "4", "maxCpu"],
        ),
        (
            json!({"resources": {"memory": "9Gi"}}),
            json!({"resources": {"memory": "8192Mi"}}),
            ["memory is 9Gi", "8Gi", "maxMemory"],
        ),
        (
            json!({"persistence": {"size": "21Gi"}}),
            json!({"persistence": {"size": "20Gi"}}),
            ["size is 21Gi", "20Gi", "maxSize"],
        ),
        (json!({"timeout": "9h"}), json!({"timeout": "480m"}), ["timeout is 9h", "8h", "maxTimeout"]),
        (json!({"timeout": 0}), json!({"timeout": 3600}), ["timeout is 0", "8h", "maxTimeout"]),
    ] {
        refused(&session(json!({ "spec": past })), Some(&template), Reason::LimitExceeded, &words);
        assert!(validate(&session(json!({ "spec": within })), Some(&template)).is_ok());
    }
}

#[test]
fn a_template_that_cannot_be_read_says_why() {
    let mut unreadable = template(json!({}));
    unreadable.spec.unreadable = Some("invalid type: string \"1000\", expected i64".to_owned());
    let words = ["VDITemplate \"ubuntu\"", "expected i64"];
    refused(&session(json!({})), Some(&unreadable), Reason::TemplateInvalid, &words);
    assert!(!serde_json::to_string(&unreadable).unwrap().contains("unreadable"));
}
