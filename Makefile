# Everything that is needed besides Rust and Go is built or installed by the targets themselves.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

CLUSTER := target/debug/rota-cluster
STATIC_TARGET := $(shell rustc -vV | sed -n 's/^host: //p')
STATIC_BINARY := target/$(STATIC_TARGET)/release/rota

.PHONY: help demo test sim test-upgrade test-cronjob bench bench-calendar bench-queue generate lint unit tools plugin image-binary clean

help: ## Say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

demo: ## Run the examples live on a throw-away cluster, or on KUBECONFIG's after asking
	@scripts/demo.sh

test: ## Run every test: unit, conventions, a real API server, real pods, the chart
	@scripts/test.sh

test-upgrade: ## Upgrade and downgrade the operator under load, from and to an earlier build
	@scripts/test-upgrade.sh

test-cronjob: ## Run CronJobs and their counterparts side by side for ten minutes, and print what both did
	@scripts/test-cronjob.sh

sim: ## Let the operator live through simulated histories with faults: SEEDS=0..40
	@cargo test --test simulation -- --nocapture

bench: ## Compare with the CronJob controller and Kueue on one control plane, and measure queues
	@scripts/bench.sh

bench-calendar: ## Check how long the next time of an expression takes, usual and hostile
	@cargo bench --bench calendar

bench-queue: ## Measure how long it takes to decide who is next with a million Jobs waiting
	@cargo bench --bench queue

generate: ## Print the CRDs into crds/ and into the chart
	@cargo run --quiet --bin rota -- crds --directory crds
	@mkdir -p charts/rota/files/crds && cp crds/*.yaml charts/rota/files/crds/

lint: ## Formatting and lints
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets --quiet -- -D warnings

unit: ## Run the tests that need no cluster
	@cargo test --workspace --lib --bins --test tidy --test plugin

tools: ## Build the programs of the throw-away cluster into the cache
	@cargo build --quiet --package rota-cluster
	@$(CLUSTER) build

plugin: ## Install the kubectl plugin into cargo's directory of programs, so that `kubectl rota` works
	@cargo install --quiet --locked --path . --bin kubectl-rota

image-binary: ## Build the static binary of the operator
	@RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --bin rota --target $(STATIC_TARGET)
	@echo $(STATIC_BINARY)

clean: ## Remove what was built here; the cache of cluster programs stays
	@cargo clean
