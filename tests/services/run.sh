#!/usr/bin/env bash
# Runs a small job set while a real Prometheus scrapes the coordinator. Then checks metrics and alert rules with promtool, every
# expression of rules and dashboard with Prometheus, the curves with TensorBoard's reader, and the logs as JSON.
#   tests/services/run.sh [PYTHON]     a PYTHON with tests/services/requirements.txt installed
# Without Prometheus its part is skipped, unless CI is set.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../programs.sh"
python=${1:-python3}

"$bin/fivefold" synth --out "$work/data" --train 40 --test 6 --size 32 --seed 1
start_coordinator --web 127.0.0.1:0 --log-format json
page=$(await 30 "$work/coordinator.log" sed -n 's/.*the page is at http:..\([^" ]*\).*/\1/p' "$work/coordinator.log")

if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
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

"$bin/fivefold-worker" --coordinator "$url" --data "$work/data" --device cpu --scratch "$work/scratch" --cache off --log-format json 2>"$work/worker.log" &
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
