//! What is built, as files to read; and what holds whatever is built.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use proptest::prelude::*;
use serde::Serialize;
use serde_json::json;

use super::claim::{AccessMode, claim};
use super::pod::{injection, pod, spec_hash};
use super::restricted::violations;
use super::*;
use crate::golden;
use crate::inject::{self, Change};
use crate::operator::fixtures::settings;
use crate::operator::settings::{ForwardAuthSettings, RouteSettings};
use crate::operator::validate::validate;

const UID: &str = "2f6a7c1e-8a53-4c8e-9d0e-5a1b3c4d5e6f";

fn session(spec: &str) -> VDISession {
    let text = format!(
        "apiVersion: vdi.kasm.io/v1alpha1\nkind: VDISession\nmetadata: {{name: alice, namespace: desks, uid: {UID}}}\n\
         spec: {{user: alice@example.com, template: ubuntu{}{spec}}}",
        if spec.is_empty() { "" } else { ", " }
    );
    serde_saphyr::from_str(&text).unwrap()
}

fn template(spec: &str) -> VDITemplate {
    let text = format!("metadata: {{name: ubuntu}}\nspec:\n  image: registry.example/ubuntu:24.04\n{spec}");
    serde_saphyr::from_str(&format!("apiVersion: vdi.kasm.io/v1alpha1\nkind: VDITemplate\n{text}")).unwrap()
}

/// Everything that is built, as one text. The Secret is made from zeros.
fn everything(plan: &Plan) -> String {
    let mut text = format!("# {}\n", url(plan.session, plan.settings));
    let mut add = |object: &dyn erased::Yaml| {
        let _ = write!(text, "---\n{}", object.yaml());
    };
    add(&pod(plan));
    add(&service::service(plan));
    add(&secret::secret(plan.child_metadata(), [0; 32]));
    add(&route::route(plan));
    if let Some(route) = route::turn_route(plan) {
        add(&route);
    }
    add(&policy::policy(plan));
    if let Some(claim) = claim(plan, AccessMode::OnePod) {
        add(&claim);
    }
    text
}

mod erased {
    pub trait Yaml {
        fn yaml(&self) -> String;
    }

    impl<T: serde::Serialize> Yaml for T {
        fn yaml(&self) -> String {
            serde_saphyr::to_string(&serde_json::to_value(self).unwrap()).unwrap()
        }
    }
}

fn check(name: &str, session: &VDISession, template: &VDITemplate, settings: &Settings, udp: Option<&str>) {
    let effective = validate(session, Some(template)).unwrap();
    let advertise = udp.map(str::to_owned);
    let plan = Plan { session, uid: UID, template, effective: &effective, settings, advertise };
    golden::check(&format!("operator/{name}.yaml"), &everything(&plan));
    holds(&plan);
}

const GPU: &str = "  gpu: {runtimeClassName: nvidia}\n  resources: {gpu: 1}\n";

#[test]
fn a_software_session() {
    check("software", &session(""), &template(""), &settings(), None);
}

#[test]
fn gpu_sessions() {
    let with = |encoder: &str| template(&GPU.replace("nvidia}", &format!("nvidia, encoder: {encoder}}}")));
    for encoder in ["env", "slice", "none"] {
        check(&format!("gpu-{encoder}"), &session(""), &with(encoder), &settings(), None);
    }
    // A session that wants no slice is a software session, runtime class and all.
    check("gpu-zero", &session("resources: {gpu: 0}"), &template(GPU), &settings(), None);
}

#[test]
fn direct_udp() {
    let node_port = template("  exposure: NodePort\n");
    let settings = settings();
    let near = advertised(&settings, 30080);
    check("node-port", &session(""), &node_port, &settings, Some(&near));
    let address = Some("203.0.113.7".parse().unwrap());
    let far = advertised(&Settings { node_address: address, ..settings.clone() }, 30080);
    assert_eq!(far, "203.0.113.7:30080");
    check("load-balancer", &session(""), &template("  exposure: LoadBalancer\n"), &settings, Some(&far));
}

#[test]
fn a_session_without_a_home() {
    check("no-home", &session("persistence: {enabled: false}"), &template(""), &settings(), None);
}

#[test]
fn ways_in() {
    let header = "X-Auth-Request-Email".to_owned();
    let forward_auth = Some(ForwardAuthSettings { header, from: vec!["10.42.0.0/16".into()] });
    check("forward-auth", &session(""), &template(""), &Settings { forward_auth, ..settings() }, None);
    let route = RouteSettings {
        turn_entry_point: Some("websecure".into()),
        middlewares: vec!["kasm/sign-in".into(), "own".into()],
        ingress_class: Some("traefik-desks".into()),
        public_port: Some(8443),
        ..RouteSettings::default()
    };
    check("turn", &session(""), &template(""), &Settings { route, ..settings() }, None);
    let route = RouteSettings { tls: false, entry_points: vec!["web".into()], ..RouteSettings::default() };
    check("behind-a-proxy", &session(""), &template(""), &Settings { route, ..settings() }, None);
}

#[test]
fn every_field_of_a_template() {
    let full = template(include_str!("full-template.yaml"));
    let session = session(
        "resources: {gpu: 2, cpu: 500m, memory: 1.5Gi}, persistence: {size: 5Gi, storageClassName: fast}",
    );
    let gateway_pull_policy = Some(crate::crd::ImagePullPolicy::Always);
    check("full", &session, &full, &Settings { gateway_pull_policy, ..settings() }, None);
    let set = serde_json::to_value(&full.spec).unwrap();
    let known = serde_json::to_value(<VDITemplate as kube::CustomResourceExt>::crd()).unwrap();
    let known = known.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties").unwrap();
    let missing: Vec<_> =
        known.as_object().unwrap().keys().filter(|field| set.get(field.as_str()).is_none()).collect();
    assert!(missing.is_empty(), "full-template.yaml lacks {missing:?}");
}

/// The gateway of a pod.
fn gateway(spec: &PodSpec) -> &Container {
    spec.init_containers.as_ref().unwrap().last().unwrap()
}

/// What is true of every session.
fn holds(plan: &Plan) {
    let built = pod(plan);
    let spec = built.spec.as_ref().unwrap();
    let sidecar = gateway(spec);
    assert_eq!((sidecar.name.as_str(), sidecar.restart_policy.as_deref()), ("gateway", Some("Always")));
    let template = &plan.template.spec;
    if template.security_context.is_none() && template.pod_security_context.is_none() {
        assert_eq!(violations(spec), Vec::<String>::new());
    }
    // The gateway is confined whatever the template says.
    let alone = PodSpec { containers: vec![sidecar.clone()], ..PodSpec::default() };
    assert_eq!(violations(&alone), Vec::<String>::new());
    for container in spec.containers.iter().chain([sidecar]) {
        assert!(container.liveness_probe.is_none());
        let probes = [&container.startup_probe, &container.readiness_probe];
        assert!(
            probes
                .into_iter()
                .flatten()
                .all(|p| p.tcp_socket.is_some() && p.exec.is_none() && p.http_get.is_none())
        );
        let mut names: Vec<&str> = container.env.iter().flatten().map(|e| e.name.as_str()).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|w| w[0] != w[1]), "{names:?} twice");
    }
    let secret =
        built.spec.iter().flat_map(|s| s.volumes.iter().flatten()).find(|v| v.secret.is_some()).unwrap();
    let mounts = |c: &Container| c.volume_mounts.iter().flatten().any(|m| m.name == secret.name);
    assert!(mounts(sidecar) && !spec.containers.iter().any(mounts));
    assert_eq!((spec.automount_service_account_token, spec.enable_service_links), (Some(false), Some(false)));
    assert!(
        built.metadata.owner_references.iter().flatten().any(|o| o.uid == UID && o.controller == Some(true))
    );
    assert_eq!(built.metadata.annotations.as_ref().unwrap()[names::SPEC_HASH], spec_hash(&built));
    // The webhook and the command line find nothing to refuse or to do.
    let again = inject::inject(built.clone(), &injection(plan)).unwrap();
    assert_eq!((again.change, again.pod), (Change::Unchanged, built));
    // No claim of a home goes with its session.
    assert!(claim(plan, AccessMode::OneNode).iter().all(|c| c.metadata.owner_references.is_none()));
}

#[test]
fn a_change_of_what_runs_is_a_change_of_the_hash() {
    let hash = |session: &VDISession, template: &VDITemplate, settings: &Settings| {
        let effective = &validate(session, Some(template)).unwrap();
        spec_hash(&pod(&Plan::new(session, UID, template, effective, settings)))
    };
    let base = hash(&session(""), &template(""), &settings());
    assert_eq!(base, hash(&session(""), &template("  displayName: Ubuntu\n"), &settings()));
    assert_ne!(base, hash(&session("resources: {cpu: 3}"), &template(""), &settings()));
    assert_ne!(base, hash(&session(""), &template("  env: [{name: A, value: b}]\n"), &settings()));
    assert_ne!(
        base,
        hash(&session(""), &template(""), &Settings { gateway_image: "other".into(), ..settings() })
    );
}

#[test]
fn the_secret_is_what_the_gateway_reads() {
    let (session, template, settings) = (session(""), template(""), settings());
    let effective = &validate(&session, Some(&template)).unwrap();
    let plan = Plan::new(&session, UID, &template, effective, &settings);
    let secret = secret::secret(plan.child_metadata(), [7; 32]);
    let text = &secret.data.unwrap()[inject::SECRET_KEY].0;
    assert!(text.len() >= 32 && text.is_ascii() && text.trim_ascii() == text.as_slice());
    let pod = serde_json::to_string(&pod(&plan)).unwrap();
    assert!(!pod.contains(std::str::from_utf8(text).unwrap()));
}

#[test]
fn names_of_strangers_are_not_expanded() {
    let forward_auth = Some(ForwardAuthSettings { header: "X-User".into(), from: Vec::new() });
    let (mut session, template) = (session(""), template(""));
    session.spec.user = "-$(NODE_IP)$$".into();
    let effective = &validate(&session, Some(&template)).unwrap();
    let settings = Settings { forward_auth, ..settings() };
    let plan = Plan::new(&session, UID, &template, effective, &settings);
    let pod = pod(&plan);
    let args = gateway(pod.spec.as_ref().unwrap()).args.clone().unwrap();
    assert!(args.contains(&"--owner=-$$(NODE_IP)$$$$".to_owned()), "{args:?}");
}

#[test]
fn a_template_that_wants_root_gets_it_and_the_gateway_does_not() {
    let root = template("  podSecurityContext: {runAsUser: 0}\n  securityContext: {privileged: true}\n");
    let (session, settings) = (session(""), settings());
    let effective = &validate(&session, Some(&root)).unwrap();
    let plan = Plan::new(&session, UID, &root, effective, &settings);
    holds(&plan);
    let spec = pod(&plan).spec.unwrap();
    let context = spec.containers[0].security_context.clone().unwrap();
    // Root, and yet "not root"; privileged, and yet no escalation: neither would start.
    assert_eq!(spec.security_context.unwrap().run_as_non_root, None);
    assert_eq!((context.run_as_non_root, context.allow_privilege_escalation), (None, None));
}

fn maybe<T: Clone + std::fmt::Debug + 'static>(values: &[T]) -> impl Strategy<Value = Option<T>> + use<T> {
    proptest::option::of(proptest::sample::select(values.to_vec()))
}

fn object(pairs: Vec<(&str, Option<serde_json::Value>)>) -> serde_json::Value {
    pairs.into_iter().filter_map(|(k, v)| Some((k.to_owned(), v?))).collect::<serde_json::Map<_, _>>().into()
}

fn value<T: Serialize>(v: Option<T>) -> Option<serde_json::Value> {
    v.map(|v| serde_json::to_value(v).unwrap())
}

prop_compose! {
    fn any_template()(
        image in "[a-z/:.$()-]{1,40}",
        (display, port, ports) in (maybe(&[0_u32, 7, 99]), maybe(&[1024_u16, 8080, 65535]),
            proptest::collection::vec(1_u16..=65535, 0..3)),
        (home, xauthority, pulse) in (maybe(&["/home/user", "/tmp/x", "/h$(A)", "/var/home", "/dev/shm"]),
            maybe(&["/tmp/.X11-unix/.Xauthority", "/tmp/.X11-unix/../a"]), maybe(&["127.0.0.1:4713"])),
        (exposure, encoder, resource) in (maybe(&["Ingress", "NodePort", "LoadBalancer"]),
            maybe(&["env", "slice", "none"]), maybe(&["amd.com/gpu", "nvidia.com/gpu.shared"])),
        env in proptest::collection::btree_map("[A-Z_]{1,8}|DISPLAY|HOME|NVIDIA_VISIBLE_DEVICES", "[ -~]{0,8}|:0|:7", 0..4),
        (memory, size, enabled) in (maybe(&["32Mi", "1.5Gi", "4T"]), maybe(&["1", "10Gi"]), maybe(&[true, false])),
    ) -> serde_json::Value {
        let env: Vec<_> = env.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        object(vec![
            ("image", Some(json!(image))), ("display", value(display)), ("ports", Some(json!(ports))),
            ("gateway", Some(object(vec![("port", value(port))]))), ("homePath", value(home)),
            ("xauthority", value(xauthority)), ("pulseServer", value(pulse)), ("exposure", value(exposure)),
            ("gpu", Some(object(vec![("encoder", value(encoder)), ("resourceName", value(resource))]))),
            ("env", Some(json!(env))), ("resources", Some(object(vec![("memory", value(memory))]))),
            ("persistence", Some(object(vec![("enabled", value(enabled)), ("size", value(size))]))),
        ])
    }
}

proptest! {
    #[test]
    fn whatever_is_valid_is_built(
        spec in any_template(),
        user in "[!-~]{1,40}|\\PC{1,20}",
        name in "[a-z]([-a-z0-9]{0,48}[a-z0-9])?",
        gpu in 0_u32..3,
        advertise in maybe(&["203.0.113.7:30080".to_owned(), format!("$({NODE_IP}):30080")]),
    ) {
        let template: VDITemplate = serde_json::from_value(json!({
            "apiVersion": "vdi.kasm.io/v1alpha1", "kind": "VDITemplate", "metadata": {"name": "ubuntu"}, "spec": spec,
        })).unwrap();
        let mut session = session("");
        session.metadata.name = Some(name);
        session.spec.user = user;
        session.spec.resources = Some(crate::crd::SessionResources { gpu: Some(gpu), ..Default::default() });
        let effective = validate(&session, Some(&template));
        // Fails once too few of what is tried is valid.
        prop_assume!(effective.is_ok());
        let (effective, settings) = (effective.unwrap(), settings());
        let plan = Plan {
            session: &session, uid: UID, template: &template, effective: &effective, settings: &settings, advertise,
        };
        prop_assert!(everything(&plan).contains("kind: Pod"));
        holds(&plan);
    }
}
