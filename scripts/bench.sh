#!/usr/bin/env bash
# Builds what the comparison needs and runs it; see benches/.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --package rota-cluster
target/debug/rota-cluster build
make image-binary
exec cargo bench --bench schedules
