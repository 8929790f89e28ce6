// Only pins the modules that CRDs are taken from (tools/cluster): nothing of them is built.
module deskgate.test/crds

go 1.25

require (
	github.com/NVIDIA/gpu-operator v0.0.0-20250917190837-d73a0086a6ba
	github.com/traefik/traefik/v3 v3.6.12
)
