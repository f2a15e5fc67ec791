#!/usr/bin/env bash
# Installs the three programs, libtorch's libraries, shell completions and manual pages. `make install PREFIX=DIR` builds first.
set -euo pipefail
# All users may read what is installed.
umask 022

[ $# -eq 1 ] || {
    echo "usage: deploy/install.sh PREFIX (DESTDIR and PROGRAMS, the folder of the built programs, may be set)" >&2
    exit 2
}
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
programs=${PROGRAMS:-$checkout/target/release}
prefix=${DESTDIR:-}$1
folder() { mkdir -p "$1"; }

folder "$prefix/bin"
install -m 755 "$programs"/{fivefold,fivefold-coordinator,fivefold-worker} "$prefix/bin"

# The worker looks for them in ../lib/fivefold, from where another user can read them.
libtorch=$("$checkout/deploy/libtorch.sh" 2>/dev/null)
torch=$(dirname "$(realpath "$libtorch/lib/libtorch_cpu.so")")
folder "$prefix/lib/fivefold"
shopt -s nullglob
for library in "$torch"/*.so* "$torch"/../../nvidia/*/lib/*.so* "$libtorch"/lib/*.so*; do
    installed=$prefix/lib/fivefold/$(basename "$library")
    case $library in */libtorch_python.so | */libtorch_global_deps.so) continue ;; esac
    # A worker that runs keeps the file that it has open.
    cmp --quiet "$library" "$installed" || install -m 644 "$library" "$installed"
done

folder "$prefix/share/bash-completion/completions"
folder "$prefix/share/zsh/site-functions"
folder "$prefix/share/fish/vendor_completions.d"
"$prefix/bin/fivefold" completions bash >"$prefix/share/bash-completion/completions/fivefold"
"$prefix/bin/fivefold" completions zsh >"$prefix/share/zsh/site-functions/_fivefold"
"$prefix/bin/fivefold" completions fish >"$prefix/share/fish/vendor_completions.d/fivefold.fish"
folder "$prefix/share/man/man1"
"$prefix/bin/fivefold" --quiet man --out "$prefix/share/man/man1"
"$prefix/bin/fivefold-worker" devices >/dev/null || {
    echo "the installed worker does not run" >&2
    exit 1
}
echo "Installed to $prefix; add $1/bin to PATH."
