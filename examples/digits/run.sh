#!/usr/bin/env bash
# Trains the sets of make.py with the real programs, one coordinator and two CPU workers, and scores the results.
#
#   examples/digits/run.sh [--setting=value ...]     settings of `fivefold submit`, such as --epochs=2
#
# Environment variables:
#   SETS="digits canvas"             the sets to train
#   DATA=examples/digits/data        the folder that make.py made
#   OUT=examples/digits/results      receives results and logs, replaced
#   PYTHON=python3                   3.11 or later with requirements.txt, for score.py
#   FIVEFOLD_BIN=target/release      folder of the three programs
#
# All processes end with the script. Exit status: 0 done; 1 a program failed; 2 a program or a set is missing.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=${FIVEFOLD_BIN:-$here/../../target/release} data=${DATA:-$here/data} out=${OUT:-$here/results} python=${PYTHON:-python3}
read -r -a sets <<<"${SETS:-digits canvas}"

missing() {
    echo "missing: $*" >&2
    exit 2
}
for program in fivefold fivefold-coordinator fivefold-worker; do
    [ -x "$bin/$program" ] || missing "$bin/$program (run 'cargo build --release --bins', or set FIVEFOLD_BIN)"
done
for set in "${sets[@]}"; do
    [ -f "$data/$set/dataset.toml" ] || missing "$data/$set/dataset.toml (run make.py, or set DATA)"
done
"$python" -c 'import sklearn, tomllib' 2>/dev/null || missing "Python 3.11 with scikit-learn (requirements.txt, or set PYTHON)"

pids=()
stop_all() {
    trap - EXIT INT TERM
    if [ ${#pids[@]} -gt 0 ]; then
        kill -TERM "${pids[@]}" 2>/dev/null || true
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            kill -0 "${pids[@]}" 2>/dev/null || break
            sleep 0.5
        done
        kill -KILL "${pids[@]}" 2>/dev/null || true
        wait "${pids[@]}" 2>/dev/null || true
    fi
    rm -rf "$work"
}
fail() {
    echo "failed: $1" >&2
    tail -n 20 "$out"/*.log >&2
    exit 1
}

mkdir -p "$out"
rm -rf "$out"/*.log
for set in "${sets[@]}"; do rm -rf "${out:?}/$set"; done
work=$(mktemp -d)
trap stop_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

touch "$out/coordinator.log"
"$bin/fivefold-coordinator" --listen 127.0.0.1:0 --web 127.0.0.1:0 --state "$work/state" 2>>"$out/coordinator.log" &
pids+=($!)
url=
while [ -z "$url" ]; do
    kill -0 "${pids[0]}" 2>/dev/null || fail "the coordinator did not start"
    url=$(sed -n 's/.*listening on \(http:[^ ]*\).*/\1/p' "$out/coordinator.log")
    sleep 0.05
done
export FIVEFOLD_COORDINATOR=$url
for name in ada ben; do
    "$bin/fivefold-worker" --coordinator "$url" --data "$data" --device cpu --name "$name" --scratch "$work/scratch" \
        --cache off \
        --decode-threads 1 2>"$out/worker-$name.log" &
    pids+=($!)
done
echo "Follow the folds in a browser: $(sed -n 's/.*the page is at \(http:[^ ]*\).*/\1/p' "$out/coordinator.log")"

for set in "${sets[@]}"; do
    began=$SECONDS
    "$bin/fivefold" dataset check "$data/$set/dataset.toml" --data "$data"
    id=$("$bin/fivefold" submit --dataset "$data/$set/dataset.toml" "$@")
    # Runs in the background, because the shell handles Ctrl-C during `wait` only.
    "$bin/fivefold" watch "$id" &
    watch=$!
    wait "$watch" || fail "the job set of $set did not succeed"
    "$bin/fivefold" results "$id" --out "$out/$set"
    "$python" "$here/score.py" "$data/$set" "$out/$set"
    echo "$set: $((SECONDS - began)) s"
    echo
done
