#!/usr/bin/env bash
# Looks at the page in a real Chromium: during a small job set, in both colour schemes, on a wide and a narrow screen, with
# and without tokens.
#   tests/browser/run.sh [PYTHON]     a PYTHON with tests/browser/requirements.txt installed
# Without Chromium it is skipped, unless CI is set.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../programs.sh"
python=${1:-python3}

CHROMIUM=${CHROMIUM:-$(command -v chromium || command -v google-chrome || true)}
if [ -z "$CHROMIUM" ]; then
    [ -z "${CI:-}" ] || { echo "Chromium is not installed (Debian: apt-get install chromium)" >&2; exit 1; }
    echo "skipping the tests of the page: Chromium is not installed"
    exit 0
fi
export CHROMIUM FIVEFOLD_BIN=$bin

"$bin/fivefold" synth --out "$work/data" --train 40 --test 6 --size 32 --seed 1
start_coordinator --web 127.0.0.1:0
page=$(await 30 "$work/coordinator.log" sed -n 's/.*the page is at \(http:[^" ]*\).*/\1/p' "$work/coordinator.log")
"$bin/fivefold-worker" --coordinator "$url" --data "$work/data" --device cpu --name ada --scratch "$work/scratch" --cache off \
    --leave-seconds 1 2>"$work/worker.log" &
pids+=($!)

export PYTHONDONTWRITEBYTECODE=1
for part in live appearance tokens; do
    "$python" "tests/browser/$part.py" "$page" "$work" || { tail -n 20 "$work"/*.log >&2; exit 1; }
done
