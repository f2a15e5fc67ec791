#!/usr/bin/env bash
# A whole job set on synthetic data, with the real programs: one coordinator, two CPU workers, five folds of a ResNet50. All
# files go to demo/, and all processes end with the script. `make demo` builds the programs first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bin=${FIVEFOLD_BIN:-target/release}
# Takes some five minutes on two cores.
train_rows=${TRAIN:-500} hpa_rows=${HPA:-300} test_rows=${TEST:-60} size_px=${SIZE:-48}
batch_size=${BATCH:-16} batches=${BATCHES:-40} epochs=${EPOCHS:-6}

for program in fivefold fivefold-coordinator fivefold-worker; do
    [ -x "$bin/$program" ] || { echo "$bin/$program does not exist: 'make demo' builds it" >&2; exit 2; }
done

pids=()
stop_all() {
    trap - EXIT INT TERM
    if [ ${#pids[@]} -gt 0 ]; then
        kill -TERM "${pids[@]}" 2>/dev/null || true
        # On SIGTERM a worker saves a checkpoint before it exits.
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            kill -0 "${pids[@]}" 2>/dev/null || break
            sleep 0.5
        done
        kill -KILL "${pids[@]}" 2>/dev/null || true
        wait "${pids[@]}" 2>/dev/null || true
    fi
}
trap stop_all EXIT
trap 'echo; echo "stopping"; exit 130' INT TERM

rm -rf demo
mkdir -p demo/logs
# The loop below may read it before the coordinator has created it.
touch demo/logs/coordinator.log
began=$SECONDS

echo "Drawing images of cells: $train_rows train, $hpa_rows HPA, $test_rows test, $size_px px"
"$bin/fivefold" synth --out demo/data --train "$train_rows" --hpa "$hpa_rows" --test "$test_rows" --size "$size_px" --seed 1

"$bin/fivefold-coordinator" --listen 127.0.0.1:0 --web 127.0.0.1:0 --state demo/state 2>> demo/logs/coordinator.log &
pids+=($!)
url=
for _ in $(seq 200); do
    url=$(sed -n 's/.*listening on \(http:[^ ]*\).*/\1/p' demo/logs/coordinator.log)
    [ -n "$url" ] && break
    kill -0 "${pids[0]}" 2>/dev/null || { cat demo/logs/coordinator.log >&2; exit 1; }
    sleep 0.05
done
[ -n "$url" ] || { echo "the coordinator did not start: see demo/logs/coordinator.log" >&2; exit 1; }
for name in ada ben; do
    "$bin/fivefold-worker" --coordinator "$url" --data demo/data --device cpu --name "$name" --scratch demo/scratch \
        --cache demo/cache --decode-threads 1 2> "demo/logs/worker-$name.log" &
    pids+=($!)
done
export FIVEFOLD_COORDINATOR=$url
echo "The coordinator listens at $url; the workers ada and ben use the CPU. Logs: demo/logs/"
echo "Follow the folds in a browser: $(sed -n 's/.*the page is at \(http:[^ ]*\).*/\1/p' demo/logs/coordinator.log)"

id=$("$bin/fivefold" submit --name demo \
    --train-csv demo/data/train.csv --hpa-csv demo/data/HPAv18RGBY_wodpl.csv --test-csv demo/data/sample_submission.csv \
    --model_name=resnet50 --train_with_hpa=True --valid_with_hpa=True --weighted_samples=True --tta=10 \
    --image_size="$size_px" --batch_size="$batch_size" --train_batch_per_epoch="$batches" --valid_batch_per_epoch=6 \
    --epochs="$epochs" --intraop_threads=1)

# Runs in the background, because the shell handles Ctrl-C during `wait` only.
"$bin/fivefold" watch "$id" &
watch=$!
status=0
wait "$watch" || status=$?
if [ "$status" -ne 0 ]; then
    echo "the job set did not succeed: see demo/logs/" >&2
    tail -n 5 demo/logs/*.log >&2
    exit 1
fi

echo
"$bin/fivefold" results "$id" --out demo/results
echo "From images to submission in $((SECONDS - began)) s."
python3 - <<'CHECK'
import json, sys

report = json.load(open("demo/results/report.json"))
reached, constant = report["macro_f1"], report["best_constant"]["macro_f1"]
if reached < 1.5 * constant:
    sys.exit(f"Macro F1 {reached:.4f} is below 1.5 times the best constant prediction ({constant:.4f}): the models have not learned enough.")
print(f"The models have learned: macro F1 {reached:.4f}, best constant prediction {constant:.4f}.")
CHECK
