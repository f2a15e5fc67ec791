#!/usr/bin/env bash
# Trains two folds of the full ResNet50 for a few batches, from weights written by torchvision, and opens the results in Python;
# then one fold of another network, with another head and normalised pixels. Their models are exported and run with onnxruntime.
#   tests/interop/run.sh [PYTHON]     a PYTHON with tests/interop/requirements.txt installed
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../programs.sh"
python=${1:-python3}

"$bin/fivefold" synth --out "$work/data" --train 40 --hpa 10 --test 6 --size 32 --seed 1
"$python" tests/interop/check.py weights "$work/imagenet.safetensors"
start_coordinator
"$bin/fivefold-worker" --coordinator "$url" --data "$work/data" --device cpu --scratch "$work/scratch" --cache off 2>> "$work/worker.log" &
pids+=($!)
id=$("$bin/fivefold" submit --train-csv "$work/data/train.csv" --hpa-csv "$work/data/HPAv18RGBY_wodpl.csv" \
    --test-csv "$work/data/sample_submission.csv" --weights "$work/imagenet.safetensors" --head=linear --folds=2 \
    --image_size=32 --batch_size=4 --train_batch_per_epoch=3 --valid_batch_per_epoch=1 --epochs=2 --tta=1)
"$bin/fivefold" watch "$id" || { tail "$work/worker.log"; exit 1; }
"$bin/fivefold" results "$id" --npy --checkpoints --out "$work/results" >/dev/null
"$python" tests/interop/check.py results "$work/results"
"$bin/fivefold" export "$id" --onnx "$work/models" >/dev/null
"$python" tests/interop/check.py onnx "$work/models" "$work/results" "$work/data"
"$python" tests/interop/check.py readme "$work"

id=$("$bin/fivefold" submit --train-csv "$work/data/train.csv" --model_name=resnext50_32x4d --head=two_layer \
    --normalization=imagenet --folds=2 --fold=1 --image_size=32 --batch_size=4 --train_batch_per_epoch=3 \
    --valid_batch_per_epoch=1 --epochs=1 --tta=1)
"$bin/fivefold" watch "$id" || { tail "$work/worker.log"; exit 1; }
"$bin/fivefold" results "$id" --npy --checkpoints --out "$work/other-results" >/dev/null
"$bin/fivefold" export "$id" --onnx "$work/other-models" >/dev/null
"$python" tests/interop/check.py onnx "$work/other-models" "$work/other-results" "$work/data"
