# The commands of this repository. Each installs what it lacks (tools/setup).
.PHONY: all demo test test-rust test-cluster test-traefik test-web test-browser check bench fuzz web setup

all: setup web ## build the release binary, page inside
	cargo build --release --locked

demo: setup web ## a desktop in the browser: prints the URL, Ctrl-C stops it
	cargo build --release --locked --no-default-features --features gateway
	target/release/deskgate demo

test: test-rust test-cluster test-web test-browser ## every test; what CI runs

check: setup-test web ## formatting, lints, types, licences
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --no-default-features -- -D warnings
	cargo clippy --locked --no-default-features --features operator --all-targets -- -D warnings
	npm --prefix web run check --silent
	@if command -v cargo-deny >/dev/null; then cargo deny --offline check bans licenses sources; \
	else echo "check: licences are checked by the tests; cargo-deny, which checks more, is not installed"; fi

bench: all setup-test ## the measured tables of the README, three quarters of an hour; QUICK=1: a check of the benches, 8 minutes
	cargo build --release --locked --example motion
	npm --prefix tests/browser run bench --silent -- $(if $(QUICK),--quick)
	cargo bench --locked --bench paths -- $(if $(QUICK),--quick)
	cargo bench --locked --bench glass -- $(if $(QUICK),--quick)
	cargo bench --locked --no-run --bench operator
	tools/netns cargo bench --locked --offline --bench operator -- $(if $(QUICK),--quick)

SECONDS ?= 600
fuzz: setup web ## every parser of what strangers send, SECONDS each; TARGETS="turn mux" for some
	tools/fuzz $(SECONDS) $(TARGETS)

# One test asks cargo, offline, about every crate: those of `fuzz/` too, which nothing here builds.
test-rust: setup-test web
	cargo fetch --locked --target $$(rustc -vV | sed -n 's/^host: //p')
	cargo test --locked --no-fail-fast --lib --bins --test it
	cargo test --locked --no-fail-fast --test alone -- --test-threads=1

test-cluster: setup-test web
	cargo test --locked --no-run --test cluster
	tools/netns cargo test --locked --offline --no-fail-fast --test cluster

test-traefik: setup-test web ## what needs a real Traefik, which takes 7 minutes to build; not part of `test`
	tools/cluster traefik
	cargo test --locked --no-run --test cluster
	tools/netns cargo test --locked --offline --no-fail-fast --test cluster -- --ignored

test-web: setup-test
	npm --prefix web test --silent

test-browser: setup-test web
	cargo build --release --locked
	cargo build --release --locked --example motion
	npm --prefix tests/browser test --silent

web: setup ## the page, to be embedded
	@npm --prefix web run build --silent

setup:
	@tools/setup run
setup-test:
	@tools/setup test
.PHONY: setup-test
