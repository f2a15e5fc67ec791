#!/usr/bin/env bash
# Runs a small job set while a real Prometheus scrapes the coordinator, and has other programs read what Fivefold wrote:
# promtool the metrics and the alert rules, Prometheus every expression of rules and dashboard, TensorBoard the curves.
#   tests/services/run.sh [PYTHON]     a PYTHON with tests/services/requirements.txt installed
# A program that is not installed is skipped, unless CI is set.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=${1:-python3}
bin=${FIVEFOLD_BIN:-target/debug}
work=$(mktemp -d)
pids=()
stop() {
    [ ${#pids[@]} = 0 ] || { kill "${pids[@]}" 2>/dev/null || true; wait "${pids[@]}" 2>/dev/null || true; }
    rm -rf "$work"
}
trap stop EXIT

# Waits until `$3...` prints something, and prints that; gives up after `$1` seconds and shows the file `$2`.
await() {
    local until=$((SECONDS + $1)) log=$2 found
    shift 2
    while found=$("$@" 2>/dev/null || true); [ -z "$found" ]; do
        [ $SECONDS -lt $until ] || { echo "waited in vain for: $*" >&2; tail "$log" >&2; exit 1; }
        sleep 0.1
    done
    echo "$found"
}

"$bin/fivefold" synth --out "$work/data" --train 40 --test 6 --size 32 --seed 1
touch "$work/coordinator.log"
"$bin/fivefold-coordinator" --listen 127.0.0.1:0 --web 127.0.0.1:0 --log-format json --state "$work/state" 2>>"$work/coordinator.log" &
pids+=($!)
url=$(await 30 "$work/coordinator.log" sed -n 's/.*listening on \(http:[^" ]*\).*/\1/p' "$work/coordinator.log")
page=$(await 30 "$work/coordinator.log" sed -n 's/.*the page is at http:..\([^" ]*\).*/\1/p' "$work/coordinator.log")
export FIVEFOLD_COORDINATOR=$url

if command -v prometheus promtool >/dev/null; then
    sed "s/127.0.0.1:7701/$page/; s|fivefold.rules.yml|$PWD/deploy/prometheus/&|" deploy/prometheus/prometheus.yml >"$work/prometheus.yml"
    promtool check config "$work/prometheus.yml"
    promtool test rules tests/services/rules.test.yml
    { echo "global: { scrape_interval: 1s, evaluation_interval: 1s }"; cat "$work/prometheus.yml"; } >"$work/fast.yml"
    touch "$work/prometheus.log"
    prometheus --config.file "$work/fast.yml" --storage.tsdb.path "$work/tsdb" --web.listen-address 127.0.0.1:0 2>>"$work/prometheus.log" &
    pids+=($!)
    prometheus=$(await 30 "$work/prometheus.log" sed -n 's/.*Listening on.*address=\([0-9.:]*\).*/\1/p' "$work/prometheus.log")
elif [ -n "${CI:-}" ]; then
    echo "prometheus and promtool are not installed" >&2
    exit 1
else
    echo "skipping Prometheus: prometheus and promtool are not installed"
fi

"$bin/fivefold-worker" --coordinator "$url" --data "$work/data" --device cpu --scratch "$work/scratch" --log-format json 2>"$work/worker.log" &
pids+=($!)
id=$("$bin/fivefold" submit --train-csv "$work/data/train.csv" --test-csv "$work/data/sample_submission.csv" --model_name=resnet18 \
    --folds=2 --image_size=32 --batch_size=4 --train_batch_per_epoch=3 --valid_batch_per_epoch=2 --epochs=3 --tta=1)
"$bin/fivefold" watch "$id" --tensorboard "$work/live" || { tail "$work/worker.log"; exit 1; }
"$bin/fivefold" results "$id" --out "$work/results" --tensorboard "$work/runs" >/dev/null
"$bin/fivefold" curves "$id" --json >"$work/curves.json"

curl --fail --silent "http://$page/metrics" >"$work/metrics"
"$python" tests/services/logs.py "$work/coordinator.log" "$work/worker.log"
if [ -n "${prometheus:-}" ]; then
    promtool check metrics <"$work/metrics"
    "$python" tests/services/prometheus.py "http://$prometheus"
fi
for runs in "$work/live" "$work/runs"; do
    "$python" tests/services/tensorboard_curves.py "$runs/$id" "$work/curves.json"
done
