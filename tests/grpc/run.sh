#!/usr/bin/env bash
# Starts a coordinator, submits a job set, and reads services and progress with Python's grpcio.
#   tests/grpc/run.sh [PYTHON]     a PYTHON with tests/grpc/requirements.txt installed
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../programs.sh"
python=${1:-python3}

"$bin/fivefold" synth --out "$work/data" --train 20 --size 16 --seed 1
start_coordinator
id=$("$bin/fivefold" submit --train-csv "$work/data/train.csv" --image_size=16)
"$python" tests/grpc/progress.py "${url#http://}" "$id"
