#!/usr/bin/env bash
# The checks and timings that need a CUDA device: a tiny fold's losses on the GPU against the CPU's, then training images per
# second at 512 px, batch 32, beside what a plain PyTorch step reaches on the same card.
#
#   bench/gpu.sh                       uses target/release/fivefold-worker and the PyTorch 2.11.0 of `python3`
#   FIVEFOLD_WORKER=FILE bench/gpu.sh  another worker program
#
# Exits 0 when all is well, 1 when a check failed, 2 when there is no CUDA device or no program: then nothing was checked.
set -euo pipefail
cd "$(dirname "$0")/.."

worker=${FIVEFOLD_WORKER:-target/release/fivefold-worker}
device=${DEVICE:-cuda:0}
steps=${STEPS:-30}

if ! nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>/dev/null; then
    echo "There is no CUDA device here (nvidia-smi answers nothing): nothing was checked." >&2
    exit 2
fi
if [ ! -x "$worker" ]; then
    echo "There is no $worker: build it with 'cargo build --release', or name one with FIVEFOLD_WORKER." >&2
    exit 2
fi
# Without a libtorch of its own that has CUDA (deploy/libtorch.sh --cuda), the worker uses that of python3's PyTorch.
if torch_lib=$(python3 -c 'import os, torch; assert torch.__version__.startswith("2.11.0"); print(os.path.join(os.path.dirname(torch.__file__), "lib"))' 2>/dev/null); then
    export LD_LIBRARY_PATH="$torch_lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
fi

echo "== losses of a tiny fold, $device against cpu"
"$worker" check-device --device "$device"

echo "== training step, 512 px, batch 32"
for precision in fp32 bf16 fp16; do
    "$worker" bench-step --device "$device" --size 512 --batch 32 --steps "$steps" --precision "$precision"
done

echo "== the same in plain PyTorch"
if [ -n "${torch_lib:-}" ]; then
    python3 bench/pytorch_step.py --device "$device" --size 512 --batch 32 --steps "$steps"
else
    echo "python3 has no PyTorch 2.11.0: nothing to compare with."
fi
