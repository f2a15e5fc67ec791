#!/usr/bin/env bash
# Starts a coordinator, submits a job set, and reads services and progress with Python's grpcio.
#   tests/grpc/run.sh [PYTHON]     a PYTHON with tests/grpc/requirements.txt installed
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=${1:-python3}
bin=${FIVEFOLD_BIN:-target/debug}
work=$(mktemp -d)
coordinator=
stop() {
    [ -z "$coordinator" ] || { kill "$coordinator" 2>/dev/null || true; wait "$coordinator" 2>/dev/null || true; }
    rm -rf "$work"
}
trap stop EXIT
"$bin/fivefold" synth --out "$work/data" --train 20 --size 16 --seed 1
"$bin/fivefold-coordinator" --listen 127.0.0.1:0 --state "$work/state" 2> "$work/log" &
coordinator=$!
for _ in $(seq 200); do
    address=$(sed -n 's/.*listening on http:..\([^ ]*\).*/\1/p' "$work/log")
    [ -n "$address" ] && break
    sleep 0.05
done
id=$("$bin/fivefold" --coordinator "http://$address" submit --train-csv "$work/data/train.csv" --image_size=16)
"$python" tests/grpc/progress.py "$address" "$id"
