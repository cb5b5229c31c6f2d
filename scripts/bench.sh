#!/usr/bin/env bash
# Builds what the comparison needs and runs it; see benches/.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --package rota-cluster
target/debug/rota-cluster build
make image-binary
ROTA_BENCH_BINARY="$PWD/target/$(rustc -vV | sed -n 's/^host: //p')/release/rota"
export ROTA_BENCH_BINARY
# The measuring program is built as the tests are: it only waits and reads.
cargo bench --profile dev --bench launches
# How long a decision takes with a million Jobs waiting.
exec cargo bench --bench queue
