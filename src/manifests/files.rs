//! PURE. The files of `manifests/`: Kustomize's base, component and overlays; GPU slices; examples.

use serde_json::{Value, json};

use super::{Values, admission, base, examples, gpu, sessions, yaml};

const GENERATED: &str =
    "# Written by `UPDATE_GOLDEN=1 cargo test --lib manifests`; a test fails when it is stale.\n";

/// A file with comments above its documents.
struct File {
    path: &'static str,
    about: &'static str,
    documents: Vec<Value>,
}

const fn file(path: &'static str, about: &'static str, documents: Vec<Value>) -> File {
    File { path, about, documents }
}

/// The committed files: path below the repository's root, and what is in it.
///
/// # Errors
/// What cannot be written as YAML, which nothing here is.
pub fn files() -> Result<Vec<(String, String)>, serde_saphyr::ser::Error> {
    let values = Values::default();
    let all = [operator(&values), component(&values), overlays(), gpus(), example_files()];
    all.into_iter().flatten().map(|file| Ok((file.path.to_owned(), text(&file)?))).collect()
}

fn text(file: &File) -> Result<String, serde_saphyr::ser::Error> {
    let about: String =
        file.about.lines().map(|line| format!("# {line}").trim_end().to_owned() + "\n").collect();
    Ok(format!("{GENERATED}{about}{}", yaml(&file.documents)?))
}

fn kustomization(resources: &[&str]) -> Value {
    json!({ "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": resources })
}

fn operator(values: &Values) -> Vec<File> {
    vec![
        // No `.yaml` at the end: `kubectl apply -f crds/` takes the definitions alone. A folder of its own, since
        // Kustomize reads no file that is not below it.
        file("crds/Kustomization", "", vec![kustomization(&["vdisessions.yaml", "vditemplates.yaml"])]),
        file(
            "manifests/base/kustomization.yaml",
            "The operator. Domain and images are examples: `deskgate manifests` prints the same with your own.",
            vec![kustomization(&["../../crds", "operator.yaml", "admission.yaml"])],
        ),
        file(
            "manifests/base/operator.yaml",
            "What it may: the table in docs/operator.md.",
            base::objects(values),
        ),
        file(
            "manifests/base/admission.yaml",
            "Who may have whose desktop, and whose home.",
            admission::policies(values),
        ),
    ]
}

fn component(values: &Values) -> Vec<File> {
    vec![
        file(
            "manifests/components/session-namespace/kustomization.yaml",
            "A namespace for sessions: desks. For another one, in a folder of its own beside the overlays:\n\n    \
             namespace: lab\n    components: [../../components/session-namespace]\n\n\
             and --namespace=lab for the operator.",
            vec![json!({
                "apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component",
                "resources": ["namespace.yaml", "rights.yaml"],
            })],
        ),
        file("manifests/components/session-namespace/namespace.yaml", "", vec![sessions::namespace("desks")]),
        file("manifests/components/session-namespace/rights.yaml", "", sessions::inside(values, "desks")),
    ]
}

fn overlays() -> Vec<File> {
    let mut k3s = kustomization(&["../../base", "tls-store.yaml", "template.yaml"]);
    k3s["components"] = json!(["../../components/session-namespace"]);
    vec![
        file(
            "manifests/overlays/k3s/kustomization.yaml",
            "K3s with its own Traefik, in kube-system.",
            vec![k3s],
        ),
        file(
            "manifests/overlays/k3s/tls-store.yaml",
            "The certificate of all sessions: put one for *.DOMAIN into this Secret. Traefik takes one store of this name.",
            vec![json!({
                "apiVersion": "traefik.io/v1alpha1", "kind": "TLSStore",
                "metadata": { "name": "default", "namespace": "kube-system" },
                "spec": { "defaultCertificate": { "secretName": "vdi-wildcard-tls" } },
            })],
        ),
        file("manifests/overlays/k3s/template.yaml", "", vec![examples::template_software()]),
        file(
            "manifests/overlays/gpu/kustomization.yaml",
            "K3s with GPUs; slices of them are another matter: ../../gpu-time-slicing.yaml.",
            vec![kustomization(&["../k3s", "template.yaml"])],
        ),
        file("manifests/overlays/gpu/template.yaml", "", vec![examples::template_gpu()]),
    ]
}

fn gpus() -> Vec<File> {
    vec![
        file(
            "manifests/gpu-time-slicing.yaml",
            "Eight sessions on each GPU, with NVIDIA's GPU Operator:\n\n    \
             kubectl apply --server-side --force-conflicts -f manifests/gpu-time-slicing.yaml\n    \
             kubectl -n gpu-operator rollout restart daemonset/nvidia-device-plugin-daemonset\n\n\
             The second document is a part of the ClusterPolicy that the GPU Operator's installation made, and must be there:\n\
             by itself it lacks what a ClusterPolicy must have. The second command is needed whenever the ConfigMap changes:\n\
             nothing watches it. Slices share the GPU's memory and its faults.",
            gpu::operator(),
        ),
        file(
            "manifests/gpu-time-slicing-device-plugin.yaml",
            "Eight sessions on each GPU, with NVIDIA's device plug-in by itself, from its Helm chart:\n\n    \
             kubectl apply -f manifests/gpu-time-slicing-device-plugin.yaml\n    \
             helm upgrade nvdp nvdp/nvidia-device-plugin -n nvidia-device-plugin --reuse-values \\\n      \
             --set config.name=time-slicing-config",
            gpu::device_plugin(),
        ),
    ]
}

fn example_files() -> Vec<File> {
    vec![
        file(
            "manifests/examples/template-software.yaml",
            "The image starts an X server on :0; the gateway beside it encodes in software.",
            vec![examples::template_software()],
        ),
        file(
            "manifests/examples/template-gpu.yaml",
            "Without runtimeClassName where the default runtime is NVIDIA's, or there is no such RuntimeClass.",
            vec![examples::template_gpu()],
        ),
        file(
            "manifests/examples/session-alice.yaml",
            "spec.user is whom the API server takes you for: kubectl auth whoami",
            vec![examples::session_alice()],
        ),
        file("manifests/examples/session-gpu.yaml", "", vec![examples::session_gpu()]),
        file(
            "manifests/examples/users.yaml",
            "A group whose members may have desktops of one template, each his own, in the namespace desks.",
            examples::users(),
        ),
    ]
}
