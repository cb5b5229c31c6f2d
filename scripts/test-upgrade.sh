#!/usr/bin/env bash
# Upgrades and downgrades the operator under load, between an earlier build and this one. The earlier one is built from the
# history of this repository; ROTA_UPGRADE_FROM names another commit.
set -euo pipefail
cd "$(dirname "$0")/.."
from=${ROTA_UPGRADE_FROM:-49f4786}

if ! commit=$(git rev-parse --verify --quiet "$from^{commit}"); then
  echo "Commit $from is not in this clone: fetch the whole history with: git fetch --unshallow" >&2
  exit 1
fi
earlier=target/upgrade/$commit
if [ ! -d "$earlier" ]; then
  rm -rf "$earlier.part"
  mkdir -p "$earlier.part"
  git archive "$commit" | tar -x -C "$earlier.part"
  mv "$earlier.part" "$earlier"
fi
echo "Building the operator of commit $commit"
# With a target directory of its own, so that neither build undoes the other's.
cargo build --locked --bin rota --manifest-path "$earlier/Cargo.toml" --target-dir target/upgrade/build
cp target/upgrade/build/debug/rota "$earlier/rota"
ROTA_UPGRADE_BINARY=$PWD/$earlier/rota
ROTA_UPGRADE_CRDS=$PWD/$earlier/crds
export ROTA_UPGRADE_BINARY ROTA_UPGRADE_CRDS
unset KUBECONFIG

cargo build --package rota-cluster
target/debug/rota-cluster build
cargo test --test upgrade --no-run
exec target/debug/rota-cluster run --node real -- cargo test --test upgrade -- --test-threads=1 --nocapture
