#!/usr/bin/env bash
# Checks and measurements that need a CUDA device: the losses of a tiny fold on the GPU compared with those on the CPU, then
# training images per second at 512 px and batch 32, with Fivefold and with a plain PyTorch step.
#
#   bench/gpu.sh                       uses target/release/fivefold-worker and the PyTorch 2.11.0 of `python3`
#   FIVEFOLD_WORKER=FILE bench/gpu.sh  uses another worker program
#
# Exit status: 0 all checks passed, 1 a check failed, 2 no CUDA device or no program, so nothing was checked.
set -euo pipefail
cd "$(dirname "$0")/.."

worker=${FIVEFOLD_WORKER:-target/release/fivefold-worker}
device=${DEVICE:-cuda:0}
steps=${STEPS:-30}

if ! nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>/dev/null; then
    echo "No CUDA device (nvidia-smi lists none): nothing was checked." >&2
    exit 2
fi
if [ ! -x "$worker" ]; then
    echo "$worker does not exist: run 'cargo build --release', or set FIVEFOLD_WORKER." >&2
    exit 2
fi
# A worker built without CUDA libraries (deploy/libtorch.sh --cuda) uses those of python3's PyTorch.
if torch_lib=$(python3 -c 'import os, torch; assert torch.__version__.startswith("2.11.0"); print(os.path.join(os.path.dirname(torch.__file__), "lib"))' 2>/dev/null); then
    export LD_LIBRARY_PATH="$torch_lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
fi

echo "== losses of a tiny fold on $device and on the CPU"
"$worker" check-device --device "$device"

echo "== training step, 512 px, batch 32"
for precision in fp32 bf16 fp16; do
    "$worker" bench-step --device "$device" --size 512 --batch 32 --steps "$steps" --precision "$precision"
done

echo "== the same in plain PyTorch"
if [ -n "${torch_lib:-}" ]; then
    python3 bench/pytorch_step.py --device "$device" --size 512 --batch 32 --steps "$steps"
else
    echo "python3 does not have PyTorch 2.11.0: nothing to compare with."
fi
