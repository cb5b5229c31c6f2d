#!/usr/bin/env bash
# Runs the examples live: on a throw-away cluster with real pods, or on the cluster of KUBECONFIG after asking.
# The outer part builds and starts a cluster; the inner part, started with "inside", works in it.
set -euo pipefail
cd "$(dirname "$0")/.."
export ROTA_DEMO_NAMESPACE=rota-demo
namespace=$ROTA_DEMO_NAMESPACE

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

if [ "${1:-}" != inside ]; then
  say "Building the operator and the cluster tool (the first time takes some minutes)"
  cargo build --bin rota
  cargo build --package rota-cluster
  exec target/debug/rota-cluster run --node real -- scripts/demo.sh inside
fi

work=$(mktemp -d)
operator=
# Only ends what this script started, and only removes the namespace that it made.
clean_up() {
  trap - EXIT INT TERM
  if [ -n "$operator" ]; then kill "$operator" 2>/dev/null || true; fi
  if [ "${ROTA_CLUSTER_NODE:-}" = user ]; then
    kubectl delete namespace "$namespace" --wait=false >/dev/null 2>&1 || true
    echo "The namespace $namespace is being deleted. The CRDs stay; remove them with: kubectl delete -f crds/"
  fi
  wait "$operator" 2>/dev/null || true
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

kubectl() { command kubectl --namespace "$namespace" "$@"; }

say "Installing the kinds and starting the operator"
command kubectl apply -f crds/
command kubectl wait --for=condition=Established --timeout=30s -f crds/ >/dev/null
command kubectl create namespace "$namespace" --dry-run=client -o yaml | command kubectl apply -f -
port=$((20000 + RANDOM % 20000))
target/debug/rota operator --namespace "$namespace" --http-address "127.0.0.1:$port" --lease-duration-seconds 5 \
  --log-format plain >"$work/operator.log" 2>&1 &
operator=$!
for attempt in $(seq 150); do
  if curl --silent --fail --output /dev/null "http://127.0.0.1:$port/readyz"; then break; fi
  if ! kill -0 "$operator" 2>/dev/null || [ "$attempt" = 150 ]; then
    echo "The operator did not become ready:" >&2
    cat "$work/operator.log" >&2
    exit 1
  fi
  sleep 0.2
done
echo "ready: http://127.0.0.1:$port/readyz"

say "kubectl apply -f examples/"
kubectl apply -f examples/

say "JobRuns as they are recorded"
kubectl get rrun --watch &
watcher=$!
kubectl wait --for=jsonpath='{.status.phase}'=Running --timeout=120s rjob/long-export >/dev/null
kubectl patch rjob long-export --type merge -p '{"spec":{"cancel":{"reason":"wrong month"}}}' >/dev/null
# Waiting for what the stories end with; each fails the demo if it does not come.
kubectl wait --for=condition=Failed --timeout=180s rjob/import-orders >/dev/null
kubectl wait --for=condition=Cancelled --timeout=180s rjob/long-export >/dev/null
kubectl wait --for=condition=Complete --timeout=240s rgroup/warehouse-load >/dev/null
kubectl wait --for=condition=Failed --timeout=240s rgroup/thumbnails >/dev/null
kubectl wait --for=condition=Complete --timeout=240s rjob/printing-last >/dev/null
kubectl wait --for=condition=LastRunSucceeded --timeout=120s rsched/heartbeat >/dev/null
kill "$watcher" 2>/dev/null || true
wait "$watcher" 2>/dev/null || true

say "kubectl get rsched,rgroup,rq"
kubectl get rsched,rgroup,rq
say "kubectl get rjob"
kubectl get rjob
say "kubectl get rrun  (the permanent record of every attempt)"
kubectl get rrun --sort-by=.metadata.creationTimestamp

say "What to look at next"
cat <<TEXT
  export KUBECONFIG=$KUBECONFIG
  kubectl -n $namespace get rrun -w                        # records as they come
  kubectl -n $namespace describe rjob import-orders        # why it failed
  kubectl -n $namespace get rrun -o wide --field-selector status.phase=Failed
  kubectl -n $namespace explain rsched.spec                # what each field means
TEXT
if [ -t 0 ] && [ -z "${CI:-}" ]; then
  say "The schedules go on. Press Ctrl-C to stop everything; nothing is left behind."
  while kill -0 "$operator" 2>/dev/null; do sleep 2; done
  echo "The operator ended by itself:" >&2
  tail -n 20 "$work/operator.log" >&2
  exit 1
fi
say "No terminal: stopping now. On a terminal the demo goes on until Ctrl-C."
