#!/usr/bin/env bash
# Runs every test, with all set-up. Each step says what it does and how long it took. With CI=true the calendar is compared
# for ten minutes instead of twenty seconds, beside the other steps.
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

debian() { # debian PACKAGE…
  local sudo=
  [[ $EUID == 0 ]] || sudo=sudo
  $sudo apt-get update -qq && $sudo apt-get install -y -qq "$@"
}

python_with_venv() { # what the calendar is compared with is partly in Python
  python3 -c 'import ensurepip, venv' 2>/dev/null || debian python3-venv
}

library_for_clocks() { # with it a test sets the clock of the operator
  compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || debian libfaketime
}

calendar() { # both comparisons at once
  cargo test --test calendar -- --nocapture --test-threads=2
}

calendar_log=target/calendar.log
calendar_starts() {
  cargo test --test calendar --no-run
  # In a process group of its own, so that nothing of it stays when another step fails.
  export -f calendar
  ROTA_CALENDAR_SECONDS=${ROTA_CALENDAR_SECONDS:-600} setsid nice -n 19 bash -c calendar >"$calendar_log" 2>&1 &
  calendar_group=$!
  trap 'kill -- "-$calendar_group" 2>/dev/null || true' EXIT
  printf 'it writes to %s\n' "$calendar_log"
}

calendar_ends() {
  local status=0
  wait "$calendar_group" || status=$?
  cat "$calendar_log"
  return "$status"
}

step "formatting" cargo fmt --all --check
step "lints" cargo clippy --workspace --all-targets --quiet -- -D warnings
step "unit tests and conventions" cargo test --workspace --lib --bins --test tidy --test plugin
step "Python" python_with_venv
if [[ ${CI:-} == true ]]; then
  step "calendar against other readers, in the background" calendar_starts
else
  step "calendar against other readers" calendar
fi
step "generated files" no_drift
step "cluster tool" cargo build --package rota-cluster
step "cluster programs" "$cluster" build --kueue --health
step "throw-away cluster" cargo test --package rota-cluster --test lifecycle
step "static binary" make image-binary
step "library for clocks" library_for_clocks
# The operator under test is the one that is shipped; it also leaves more of the machine to the cluster than a debug build.
export ROTA_TEST_BINARY="$PWD/target/$target/release/rota"
step "real API server" "$cluster" run --node none -- cargo test --test apiserver -- --test-threads=4
step "two operators under load" "$cluster" run --node none -- cargo test --test load -- --test-threads=1 --nocapture
ROTA_TEST_LEASE_SECONDS=30 \
  step "large groups" "$cluster" run --node none -- cargo test --test large -- --test-threads=1 --nocapture
step "real pods" "$cluster" run --node real -- cargo test --test e2e -- --test-threads=6
step "beside Kueue" "$cluster" run --node real -- cargo test --test kueue -- --test-threads=3
step "chart" "$cluster" run --node real -- cargo test --test chart -- --test-threads=1
if [[ ${CI:-} == true ]]; then
  step "calendar against other readers" calendar_ends
fi
printf '\nEverything passed in %s s.\n' "$((SECONDS - started))"
