//! The rig itself: what is real about it, and what its node can play.

use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::json;

use crate::rig::Cluster;
use crate::rig::kubelet::{Kubelet, PodState};
use crate::rig::wait::{DEADLINE, wait_for, wait_gone, wait_until};

fn pod(name: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 30, "containers": [{"name": "desktop", "image": "desktop"}]},
    }))
    .unwrap()
}

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<(&'a str, &'a str)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|c| c.type_ == kind)
        .map(|c| (c.status.as_str(), c.message.as_deref().unwrap_or_default()))
}

fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|(status, _)| status == "True")
}

/// What the API server said no with.
fn refusal<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> String {
    match result.unwrap_err() {
        kube::Error::Api(status) if status.is_forbidden() => status.message,
        other => panic!("not forbidden: {other}"),
    }
}

#[tokio::test]
async fn children_go_with_their_owner() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("gc").await;
    let api = Api::<ConfigMap>::namespaced(cluster.client(), &namespace);
    let owner = api.create(&PostParams::default(), &config_map("owner")).await.unwrap();
    let mut child = config_map("child");
    child.metadata.owner_references = Some(vec![kube::Resource::owner_ref(&owner, &()).unwrap()]);
    api.create(&PostParams::default(), &child).await.unwrap();
    api.delete("owner", &DeleteParams::default()).await.unwrap();
    wait_gone(&api, "child").await;
}

#[tokio::test]
async fn quotas_and_pod_security_refuse_pods() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("quota").await;
    let quota =
        "{apiVersion: v1, kind: ResourceQuota, metadata: {name: two}, spec: {hard: {count/configmaps: '2'}}}";
    cluster.apply_yaml_in(&namespace, quota).await;
    let api = Api::<ConfigMap>::namespaced(cluster.client(), &namespace);
    // The quota counts once its controller has seen it.
    let mut name = 0;
    let message = wait_until(DEADLINE, "refusal by quota", || {
        name += 1;
        let (api, new) = (api.clone(), config_map(&format!("number-{name}")));
        async move {
            api.create(&PostParams::default(), &new)
                .await
                .map_or_else(|e| Ok(e.to_string()), |_| Err("made".into()))
        }
    })
    .await;
    assert!(message.contains("exceeded quota: two"), "{message}");

    let level = [("pod-security.kubernetes.io/enforce", "restricted")];
    let namespace = cluster.namespace_with("restricted", &level).await;
    let api = Api::<Pod>::namespaced(cluster.client(), &namespace);
    let message = refusal(api.create(&PostParams::default(), &pod("loose")).await);
    assert!(message.contains("violates PodSecurity \"restricted"), "{message}");
}

#[tokio::test]
async fn a_pod_gets_ready_behind_its_service_and_vanishes() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("pod").await;
    let _kubelet = Kubelet::fake(cluster, &namespace).await;
    let service = "{apiVersion: v1, kind: Service, metadata: {name: web}, \
                   spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}}";
    cluster.apply_yaml_in(&namespace, service).await;
    let api = Api::<Pod>::namespaced(cluster.client(), &namespace);
    api.create(&PostParams::default(), &pod("web")).await.unwrap();
    let ready = wait_for(&api, "web", "ready pod", is_ready).await;
    let address = ready.status.unwrap().pod_ip.unwrap();

    let slices = Api::<EndpointSlice>::namespaced(cluster.client(), &namespace);
    wait_until(DEADLINE, "ready endpoint", || async {
        let found = slices.list(&ListParams::default()).await.unwrap().items;
        let mut ends = found.iter().flat_map(|slice| &slice.endpoints);
        let there = ends.any(|end| {
            end.addresses == [address.clone()]
                && end.conditions.as_ref().is_some_and(|c| c.ready == Some(true))
        });
        if there { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;

    api.delete("web", &DeleteParams::default()).await.unwrap();
    wait_gone(&api, "web").await;
}

#[cfg(feature = "gateway")]
#[tokio::test]
async fn a_real_gateway_runs_behind_a_pod_for_as_long_as_it_lives() {
    use crate::rig::deskgate::Deskgate;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("gateway").await;
    let kubelet = Kubelet::fake(cluster, &namespace).await;
    kubelet.on_pod_ready(|_, address| Deskgate::serve(address, 8080, &[], &[]));
    let api = Api::<Pod>::namespaced(cluster.client(), &namespace);
    api.create(&PostParams::default(), &pod("desk")).await.unwrap();
    let ready = wait_for(&api, "desk", "ready pod", is_ready).await;
    let address = format!("{}:8080", ready.status.unwrap().pod_ip.unwrap());
    let mut connection = TcpStream::connect(&address).await.unwrap();
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    api.delete("desk", &DeleteParams::default()).await.unwrap();
    wait_gone(&api, "desk").await;
    TcpStream::connect(&address).await.unwrap_err();
}

#[tokio::test]
async fn the_node_plays_what_is_scripted() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("script").await;
    let kubelet = Kubelet::fake(cluster, &namespace).await;
    let api = Api::<Pod>::namespaced(cluster.client(), &namespace);
    let waiting = |reason: &'static str| {
        move |pod: &Pod| {
            let statuses = pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten());
            let mut reasons = statuses.filter_map(|c| c.state.as_ref()?.waiting.as_ref()?.reason.as_deref());
            reasons.any(|r| r == reason)
        }
    };

    kubelet.behave(PodState::no_gpu());
    api.create(&PostParams::default(), &pod("p")).await.unwrap();
    let held = wait_for(&api, "p", "pod that waits", |p| condition(p, "PodScheduled").is_some()).await;
    let words = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.";
    assert_eq!(condition(&held, "PodScheduled"), Some(("False", words)));
    assert_eq!(held.spec.unwrap().node_name, None);

    kubelet.behave(PodState::image_pull_back_off(""));
    wait_for(&api, "p", "missing image", waiting("ImagePullBackOff")).await;
    kubelet.behave(PodState::oom_killed("desktop"));
    wait_for(&api, "p", "pod that ends again and again", waiting("CrashLoopBackOff")).await;
    kubelet.behave(PodState::Ready);
    wait_for(&api, "p", "ready pod", is_ready).await;

    kubelet.lose_node().await;
    wait_for(&api, "p", "pod on a lost node", |p| !is_ready(p)).await;
    api.delete("p", &DeleteParams::default()).await.unwrap();
    wait_for(&api, "p", "pod that terminates", |p| p.metadata.deletion_timestamp.is_some()).await;
    kubelet.acknowledge_deletions(false);
    kubelet.recover_node().await;
    kubelet.behave_for("q", PodState::evicted());
    api.create(&PostParams::default(), &pod("q")).await.unwrap();
    wait_for(&api, "q", "failed pod", |p| {
        p.status
            .as_ref()
            .is_some_and(|s| (s.phase.as_deref(), s.reason.as_deref()) == (Some("Failed"), Some("Evicted")))
    })
    .await;
    assert!(api.get_opt("p").await.unwrap().is_some(), "nobody acknowledged its deletion");
    kubelet.acknowledge_deletions(true);
    wait_gone(&api, "p").await;
}

#[tokio::test]
async fn claims_are_bound_when_the_script_says_so_and_really_go() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("claim").await;
    let kubelet = Kubelet::fake(cluster, &namespace).await;
    kubelet.bind_claims(false);
    let claim = "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: home}, \
                 spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}";
    cluster.apply_yaml_in(&namespace, claim).await;
    let api = Api::<PersistentVolumeClaim>::namespaced(cluster.client(), &namespace);
    let phase =
        |c: &PersistentVolumeClaim| c.status.as_ref().and_then(|s| s.phase.clone()).unwrap_or_default();
    wait_for(&api, "home", "pending claim", |c| phase(c) == "Pending").await;
    kubelet.bind_claims(true);
    wait_for(&api, "home", "bound claim", |c| phase(c) == "Bound").await;
    api.delete("home", &DeleteParams::default()).await.unwrap();
    wait_gone(&api, "home").await;
}

#[tokio::test]
async fn people_and_service_accounts_may_what_rules_say_and_the_audit_log_tells() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("rbac").await;
    let before = cluster.audit_mark();
    let as_alice = Api::<ConfigMap>::namespaced(cluster.client_as("alice"), &namespace);
    let message = refusal(as_alice.create(&PostParams::default(), &config_map("hers")).await);
    assert!(message.contains("User \"alice\" cannot create resource \"configmaps\""), "{message}");
    let rules = "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: maps}, \
                 rules: [{apiGroups: [''], resources: [configmaps], verbs: [create]}]}\n---\n\
                 {apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: maps}, \
                 roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: maps}, \
                 subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: desk-users}, \
                 {kind: ServiceAccount, name: default}]}";
    cluster.apply_yaml_in(&namespace, rules).await;
    as_alice.create(&PostParams::default(), &config_map("hers")).await.unwrap();
    let as_account = cluster.client_as_service_account(&namespace, "default").await;
    let as_account = Api::<ConfigMap>::namespaced(as_account, &namespace);
    as_account.create(&PostParams::default(), &config_map("its")).await.unwrap();
    refusal(as_account.get("its").await);

    let account = format!("system:serviceaccount:{namespace}:default");
    let expected = [("alice", "", 403), ("alice", "hers", 201), (account.as_str(), "its", 201)];
    wait_until(DEADLINE, "three creations in the audit log", || async {
        let events = cluster.audit_events(before, |e| {
            e.verb == "create" && e.object_ref.resource == "configmaps" && e.object_ref.namespace == namespace
        });
        let seen: Vec<_> = events
            .iter()
            .map(|e| (e.user.username.as_str(), e.object_ref.name.as_str(), e.response_status.code))
            .collect();
        // The name of one that is refused stands in its body only.
        if seen == expected { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
}

#[tokio::test]
async fn kubectl_runs_as_people() {
    let cluster = Cluster::shared().await;
    let said = cluster.kubectl("admin", &["get", "ingressroutes.traefik.io", "-n", "default"]).await;
    assert!(said.success && said.stderr.contains("No resources found"), "{said:?}");
    let said = cluster.kubectl("bob", &["auth", "whoami", "-o", "jsonpath={.status.userInfo.groups}"]).await;
    assert!(said.success && said.stdout.contains("desk-users"), "{said:?}");
    let said = cluster.kubectl("bob", &["get", "secrets", "-A"]).await;
    assert!(!said.success && said.stderr.contains("Forbidden"), "{said:?}");
}

#[tokio::test]
async fn a_private_cluster_loses_its_api_server_and_traefik_and_keeps_its_objects() {
    let cluster = Cluster::start().await;
    let namespace = cluster.namespace("private").await;
    let kubelet = Kubelet::fake(&cluster, &namespace).await;
    let api = Api::<Pod>::namespaced(cluster.client(), &namespace);
    api.create(&PostParams::default(), &pod("p")).await.unwrap();
    wait_for(&api, "p", "ready pod", is_ready).await;

    cluster.stop_api_server();
    api.get("p").await.unwrap_err();
    cluster.start_api_server().await;
    // Its own watch has come back.
    kubelet.behave(PodState::crash_loop(""));
    wait_for(&api, "p", "pod that is not ready", |p| !is_ready(p)).await;

    cluster.delete_traefik_crds().await;
    let said = cluster.kubectl("admin", &["get", "ingressroutes.traefik.io"]).await;
    assert!(said.stderr.contains("the server doesn't have a resource type"), "{said:?}");
    cluster.apply_traefik_crds().await;
    let said = cluster.kubectl("admin", &["get", "ingressroutes.traefik.io", "-A"]).await;
    assert!(said.success, "{said:?}");

    let pids = cluster.pids();
    assert_eq!(pids.len(), 3);
    drop((kubelet, cluster));
    let left: Vec<u32> =
        pids.into_iter().filter(|pid| std::path::Path::new(&format!("/proc/{pid}")).exists()).collect();
    assert_eq!(left, Vec::<u32>::new(), "processes that outlive their cluster");
}
