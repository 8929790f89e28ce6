//! Where the programs and CRDs lie that `tools/cluster` provides.

use std::path::PathBuf;

const KUBERNETES: &str = include_str!("../kubernetes/go.mod");
const TRAEFIK: &str = include_str!("../traefik/go.mod");
const CRDS: &str = include_str!("../crds/go.mod");

/// A program: from KUBEBUILDER_ASSETS, the cache of `tools/cluster`, or PATH (etcd).
pub fn program(name: &str) -> PathBuf {
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let built = cache().join(format!("kubernetes-{}", version_of(KUBERNETES, "k8s.io/kubernetes")));
    let path: Vec<PathBuf> = std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).filter(|_| name == "etcd").collect())
        .unwrap_or_default();
    assets
        .into_iter()
        .chain([built])
        .chain(path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("{name} is missing; run: tools/setup test"))
}

/// Traefik, which is not among what `tools/setup test` provides.
pub fn traefik() -> PathBuf {
    let version = version_of(TRAEFIK, "github.com/traefik/traefik/v3");
    let file = cache().join(format!("traefik-{version}/traefik"));
    assert!(file.is_file(), "{} is missing; run: tools/cluster traefik", file.display());
    file
}

/// Traefik's CRDs, all of them.
pub fn traefik_crds() -> String {
    crds("traefik", "github.com/traefik/traefik/v3")
}

/// NVIDIA's ClusterPolicy.
pub fn cluster_policy_crd() -> String {
    crds("gpu-operator", "github.com/NVIDIA/gpu-operator")
}

/// This repository's own, `crds/`.
pub fn own_crds() -> Vec<String> {
    deskgate::crd::definitions().iter().map(|d| serde_json::to_string(d).unwrap()).collect()
}

fn crds(name: &str, module: &str) -> String {
    let file = cache().join(format!("crds/{name}-{}.yaml", version_of(CRDS, module)));
    std::fs::read_to_string(&file)
        .unwrap_or_else(|e| panic!("{}: {e}; run: tools/setup test", file.display()))
}

/// The same words as in `tools/cluster`.
fn cache() -> PathBuf {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("DESKGATE_CACHE").unwrap_or_else(|| {
        folder("XDG_CACHE_HOME")
            .or_else(|| folder("HOME").map(|home| home.join(".cache")))
            .expect("HOME is set")
            .join("deskgate")
    })
}

/// The version that a go.mod requires.
fn version_of<'a>(go_mod: &'a str, module: &str) -> &'a str {
    go_mod
        .lines()
        .filter_map(|line| line.trim().trim_start_matches("require ").strip_prefix(module)?.strip_prefix(' '))
        .find_map(|rest| rest.split_whitespace().next().filter(|version| version.starts_with('v')))
        .unwrap_or_else(|| panic!("no go.mod requires {module}"))
}
