#!/usr/bin/env bash
# Makes the README's pictures of the page, docs/page-*.png, from a small job set of synthetic images: four minutes on two busy cores.
#   tests/browser/screenshots.sh [PYTHON]     a PYTHON with tests/browser/requirements.txt installed
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../programs.sh"
python=${1:-python3}
CHROMIUM=${CHROMIUM:-$(command -v chromium || command -v google-chrome)}
export CHROMIUM FIVEFOLD_BIN=$bin PYTHONDONTWRITEBYTECODE=1

"$bin/fivefold" synth --out "$work/data" --train 300 --test 20 --size 32 --seed 1
start_coordinator --web 127.0.0.1:0
page=$(await 30 "$work/coordinator.log" sed -n 's/.*the page is at \(http:[^" ]*\).*/\1/p' "$work/coordinator.log")
for name in ada ben; do
    "$bin/fivefold-worker" --coordinator "$url" --data "$work/data" --device cpu --name "$name" --scratch "$work/scratch" --cache off \
        --leave-seconds 1 2>"$work/worker-$name.log" &
    pids+=($!)
done
submit() {
    "$bin/fivefold" submit --train-csv "$work/data/train.csv" --test-csv "$work/data/sample_submission.csv" --model_name=resnet18 \
        --image_size=32 --batch_size=16 --train_batch_per_epoch=8 --valid_batch_per_epoch=3 --tta=1 --intraop_threads=1 "$@"
}
first=$(submit --name baseline --epochs=8)
"$bin/fivefold" watch "$first"
second=$(submit --name cosine --epochs=30 --lr_schedule=cosine)
third=$(submit --name weighted --epochs=30 --weighted_samples=True)
"$bin/fivefold" pause "$third"
"$python" tests/browser/screenshots.py "$page" "$first" "$second" docs
