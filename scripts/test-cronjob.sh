#!/usr/bin/env bash
# Runs CronJobs and their counterparts side by side for ten minutes and prints what both did.
set -euo pipefail
cd "$(dirname "$0")/.."
unset KUBECONFIG
cargo build --package rota-cluster
target/debug/rota-cluster build
cargo test --test cronjob --no-run
exec target/debug/rota-cluster run --node real -- cargo test --test cronjob -- --test-threads=1 --nocapture
