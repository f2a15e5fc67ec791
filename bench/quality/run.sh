#!/usr/bin/env bash
# Compares the models of Fivefold with those of the original recipe in plain PyTorch (train.py): the same synthetic set, folds and
# settings, several seeds each. Prints a table of out-of-fold macro F1, which `fivefold threshold` computes for both programs.
#
#   bench/quality/run.sh [--setting=value ...]     settings of `fivefold submit`, for both programs, such as --loss=focal
#
# Environment variables:
#   SIZE=64 TRAIN=2000 HPA=1000      the images: pixels, Kaggle rows, HPA rows
#   EPOCHS=8 BATCHES=60 BATCH=32     training batches per epoch and images per batch
#   TTA=10 PRECISION=fp32
#   SEEDS="1 2 3"
#   DEVICE=cpu|cuda:0                default: cuda:0 if there is one
#   WORKERS=N                        Fivefold's worker processes, all on DEVICE: 4 on a GPU, 1 on a CPU
#   PYTORCH_JOBS=N                   seeds that train.py trains at once: 3 on a GPU, 1 on a CPU
#   THREADS=N                        threads of each process on a CPU
#   PYTHON=python3                   with PyTorch 2.11.0, torchvision, numpy, pandas and OpenCV (requirements.txt)
#   FIVEFOLD_BIN=target/release      folder of the three programs
#   OUT=target/quality               receives table.md, out-of-fold tables, reports and logs
#
# Images, queue and checkpoints (some 10 GB) are stored in a folder under target/ that is removed at the end. Progress goes to
# stderr, the table to stdout. Exit status: 0 done, whatever the table shows; 1 a program failed; 2 a program or package is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."

bin=${FIVEFOLD_BIN:-target/release}
python=${PYTHON:-python3}
out=${OUT:-target/quality}
read -r -a seeds <<<"${SEEDS:-1 2 3}"
if [ -n "${DEVICE:-}" ]; then
    device=$DEVICE
elif nvidia-smi >/dev/null 2>&1; then
    device=cuda:0
else
    device=cpu
fi
case $device in
    cuda*) workers=${WORKERS:-4} pytorch_jobs=${PYTORCH_JOBS:-3} threads=${THREADS:-4} ;;
    *) workers=${WORKERS:-1} pytorch_jobs=${PYTORCH_JOBS:-1} threads=${THREADS:-$(nproc)} ;;
esac
folds=5
split_seed=42
settings=(
    --folds="$folds" --split_seed="$split_seed" --train_with_hpa=True --valid_with_hpa=True --weighted_samples=True
    --image_size="${SIZE:-64}" --epochs="${EPOCHS:-8}" --train_batch_per_epoch="${BATCHES:-60}" --batch_size="${BATCH:-32}"
    --tta="${TTA:-10}" --precision="${PRECISION:-fp32}" --intraop_threads="$threads" "$@"
)

say() { echo "== $*" >&2; }
missing() {
    echo "missing: $*" >&2
    exit 2
}

for program in fivefold fivefold-coordinator fivefold-worker; do
    [ -x "$bin/$program" ] || missing "$bin/$program (run 'cargo build --release', or set FIVEFOLD_BIN)"
done
modules=$("$python" -c 'import cv2, numpy, pandas, torch, torchvision; print(torch.__version__)' 2>&1) ||
    missing "Python packages of $python (bench/quality/requirements.txt): ${modules##*$'\n'}"

mkdir -p "$out" target
rm -f "$out"/{fivefold,pytorch}-*.{csv,json,log,seconds} "$out"/{table.md,coordinator.log,worker-*.log}
work=$(mktemp -d target/quality.XXXXXX)
services=()

# The coordinator and the workers are asked to stop; who does not within ten seconds is killed.
stop_services() {
    local pid tries
    for pid in "${services[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "${services[@]}"; do
        for ((tries = 0; tries < 100; tries++)); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    services=()
}
clean_up() {
    # Ctrl-C once is enough.
    trap '' INT TERM
    local pid
    for pid in $(jobs -p); do kill -TERM "$pid" 2>/dev/null || true; done
    stop_services
    wait
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
    echo "failed: $1" >&2
    shift
    local log
    for log in "$@"; do
        echo "--- the end of $log" >&2
        tail -n 20 "$log" >&2
    done
    exit 1
}

say "images: ${TRAIN:-2000} + ${HPA:-1000} of ${SIZE:-64} px"
data=$work/data
"$bin/fivefold" synth --out "$data" --train "${TRAIN:-2000}" --hpa "${HPA:-1000}" --test 1 --size "${SIZE:-64}" --seed 1 >&2
for list in train HPAv18RGBY_wodpl; do
    "$bin/fivefold" folds --csv "$data/$list.csv" --folds "$folds" --seed "$split_seed" --out "$work/$list-folds.csv" >&2
done

say "Fivefold on $device, $workers worker(s), seeds ${seeds[*]}"
start=$SECONDS
"$bin/fivefold-coordinator" --listen 127.0.0.1:0 --state "$work/state" >"$out/coordinator.log" 2>&1 &
services+=($!)
url=
while [ -z "$url" ]; do
    kill -0 "${services[0]}" 2>/dev/null || fail "the coordinator did not start" "$out/coordinator.log"
    url=$(grep -o 'http://127\.0\.0\.1:[0-9]*' "$out/coordinator.log" | head -n 1) || sleep 0.1
done
export FIVEFOLD_COORDINATOR=$url
# Let the worker use the libtorch of Python's PyTorch, if that is 2.11.0.
torch_lib=$("$python" -c 'import os, torch; assert torch.__version__.startswith("2.11.0"); print(os.path.join(os.path.dirname(torch.__file__), "lib"))' 2>/dev/null) || torch_lib=
for ((worker = 1; worker <= workers; worker++)); do
    LD_LIBRARY_PATH="$torch_lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" "$bin/fivefold-worker" --coordinator "$url" --data "$data" \
        --device "$device" --name "worker-$worker" --scratch "$work/scratch-$worker" --cache off >"$out/worker-$worker.log" 2>&1 &
    services+=($!)
done
ids=()
for seed in "${seeds[@]}"; do
    ids+=("$("$bin/fivefold" submit --wait-seconds 60 --train-csv "$data/train.csv" --hpa-csv "$data/HPAv18RGBY_wodpl.csv" "${settings[@]}" --seed="$seed")")
done
for place in "${!seeds[@]}"; do
    seed=${seeds[place]}
    "$bin/fivefold" watch "${ids[place]}" </dev/null >"$out/fivefold-$seed.log" 2>&1 &
    watch=$!
    # Wait for whichever ends first: without a worker, the watch would never end.
    status=0
    wait -n -p ended "$watch" "${services[@]}" || status=$?
    [ "$ended" = "$watch" ] || fail "a worker or the coordinator ended with status $status" "$out"/{coordinator,worker-*}.log
    [ "$status" = 0 ] || fail "the job set of seed $seed" "$out/fivefold-$seed.log" "$out"/worker-*.log
    "$bin/fivefold" results --wait-seconds 60 "${ids[place]}" --out "$work/results-$seed" >/dev/null
    cp "$work/results-$seed/oof.csv" "$out/fivefold-$seed.csv"
    say "Fivefold, seed $seed: done after $((SECONDS - start)) s"
done
echo $((SECONDS - start)) >"$out/fivefold-all.seconds"
stop_services
rm -rf "$work"/state "$work"/scratch-*

say "plain PyTorch $modules on $device, $pytorch_jobs at once"
start=$SECONDS
running=0
one_done() {
    wait -n || fail "train.py" "$out"/pytorch-*.log
    running=$((running - 1))
}
for seed in "${seeds[@]}"; do
    ((running < pytorch_jobs)) || one_done
    "$python" bench/quality/train.py --data "$data" --folds_csv "$work/train-folds.csv" "$work/HPAv18RGBY_wodpl-folds.csv" \
        --device "$device" --out "$out/pytorch-$seed.csv" "${settings[@]}" --seed="$seed" >"$out/pytorch-$seed.log" 2>&1 &
    running=$((running + 1))
done
while ((running > 0)); do
    one_done
    say "plain PyTorch: $running still running after $((SECONDS - start)) s"
done
echo $((SECONDS - start)) >"$out/pytorch-all.seconds"

for seed in "${seeds[@]}"; do
    for program in fivefold pytorch; do
        "$bin/fivefold" threshold --oof "$out/$program-$seed.csv" --out "$out/$program-$seed.json" >/dev/null
    done
done
case $device in
    cuda*) machine=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -n 1) ;;
    *) machine="$(nproc) CPU cores" ;;
esac
"$python" bench/quality/table.py --folder "$out" --seeds "${seeds[@]}" --machine "$machine, $workers worker(s), $pytorch_jobs train.py at once" \
    --settings "${TRAIN:-2000} + ${HPA:-1000} rows, ${settings[*]}" | tee "$out/table.md"
