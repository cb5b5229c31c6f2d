#!/usr/bin/env bash
# Runs every test, with all set-up. Each step says what it does and how long it took.
set -euo pipefail
cd "$(dirname "$0")/.."
started=$SECONDS

step() { # step NAME COMMAND…
  local name=$1 since=$SECONDS
  shift
  printf '\n=== %s\n' "$name"
  "$@"
  printf '=== %s: %s s (%s s in all)\n' "$name" "$((SECONDS - since))" "$((SECONDS - started))"
}

cluster=target/debug/rota-cluster
target=$(rustc -vV | sed -n 's/^host: //p')
# The tests use a cluster of their own, whatever the user works with.
unset KUBECONFIG

no_drift() { # what is generated is what is committed
  cargo run --quiet --bin rota -- crds --directory target/generated-crds
  diff -r crds target/generated-crds
  diff -r crds charts/rota/files/crds
}

python_with_venv() { # what the calendar is compared with is partly in Python
  python3 -c 'import ensurepip, venv' 2>/dev/null && return
  local sudo=
  [[ $EUID == 0 ]] || sudo=sudo
  $sudo apt-get update -qq && $sudo apt-get install -y -qq python3-venv
}

step "formatting" cargo fmt --all --check
step "lints" cargo clippy --workspace --all-targets --quiet -- -D warnings
step "unit tests and conventions" cargo test --workspace --lib --bins --test tidy --test plugin
step "Python" python_with_venv
step "calendar against other readers" cargo test --test calendar -- --nocapture
step "generated files" no_drift
step "cluster tool" cargo build --package rota-cluster
step "cluster programs" "$cluster" build
step "throw-away cluster" cargo test --package rota-cluster --test lifecycle
step "real API server" "$cluster" run --node none -- cargo test --test apiserver
step "static binary" make image-binary
ROTA_TEST_BINARY="$PWD/target/$target/release/rota" ROTA_TEST_LEASE_SECONDS=30 \
  step "large groups" "$cluster" run --node none -- cargo test --test large -- --test-threads=1 --nocapture
step "real pods" "$cluster" run --node real -- cargo test --test e2e -- --test-threads=3
ROTA_TEST_BINARY="$PWD/target/$target/release/rota" \
  step "chart" "$cluster" run --node real -- cargo test --test chart -- --test-threads=1
printf '\nEverything passed in %s s.\n' "$((SECONDS - started))"
