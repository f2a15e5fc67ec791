# Sourced by scripts that run the real programs, with bash's `set -euo pipefail`: a temporary folder and processes, both of which
# end with the script.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bin=${FIVEFOLD_BIN:-target/debug}
work=$(mktemp -d)
pids=()
stop() {
    [ ${#pids[@]} = 0 ] || { kill "${pids[@]}" 2>/dev/null || true; wait "${pids[@]}" 2>/dev/null || true; }
    rm -rf "$work"
}
trap stop EXIT

# await SECONDS LOG COMMAND...: runs the command until it prints something, and prints that. After SECONDS, shows LOG and fails.
await() {
    local until=$((SECONDS + $1)) log=$2 found
    shift 2
    while found=$("$@" 2>/dev/null || true); [ -z "$found" ]; do
        [ $SECONDS -lt $until ] || { echo "waited in vain for: $*" >&2; tail "$log" >&2; exit 1; }
        sleep 0.1
    done
    echo "$found"
}

# start_coordinator ARGUMENTS...: starts a coordinator on a free port. Its address is $url, and its log $work/coordinator.log.
start_coordinator() {
    touch "$work/coordinator.log"
    "$bin/fivefold-coordinator" --listen 127.0.0.1:0 --state "$work/state" "$@" 2>>"$work/coordinator.log" &
    pids+=($!)
    url=$(await 30 "$work/coordinator.log" sed -n 's/.*listening on \(http:[^" ]*\).*/\1/p' "$work/coordinator.log")
    export FIVEFOLD_COORDINATOR=$url
}
