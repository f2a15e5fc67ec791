#!/usr/bin/env bash
# Sets up libtorch 2.11.0 for building and running Fivefold. See --help.
set -euo pipefail

version=2.11.0

usage() {
    cat <<'TEXT'
Usage: deploy/libtorch.sh [--cpu | --cuda | --use DIR]

Installs libtorch 2.11.0 into the cache folder (${XDG_CACHE_HOME:-~/.cache}/fivefold) unless it is there, and sets LIBTORCH in
this checkout's .cargo/config.toml. `cargo build`, `cargo test` and the built programs then need no environment variable.

  --cpu      CPU only: 545 MB to download, 0.5 GB on disk (the default)
  --cuda     with the CUDA libraries, for a machine with an NVIDIA GPU: 2.5 GB to download, 4 GB on disk
  --use DIR  use an installed PyTorch 2.11.0; DIR is its `torch` package folder, as printed by
             python3 -c 'import torch; print(torch.__path__[0])'. FIVEFOLD_PYTORCH=DIR does the same.

Without an option, an earlier choice for this checkout is kept. The last line of the output is the value of LIBTORCH.
Requires python3 with pip. To start over, remove the cache folder.
TEXT
}

# Name, version, SHA-256 of the wheel. The torch wheel is always the one for CPython 3.11: its libraries are the same for every
# Python version, so one digest is enough.
cpu_wheels="
torch               2.11.0    7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a
nvidia-cuda-runtime 13.0.96   7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548
nvidia-cuda-cupti   13.0.85   4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8
"
# The versions required by the metadata of torch 2.11.0.
cuda_wheels="
nvidia-cublas          13.1.0.3  ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171
nvidia-cuda-nvrtc      13.0.88   ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575
nvidia-cudnn-cu13      9.19.0.56 d20e1734305e9d68889a96e3f35094d733ff1f83932ebe462753973e53a572bf
nvidia-cufft           12.0.0.61 6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3
nvidia-cufile          1.15.1.6  08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44
nvidia-curand          10.4.0.35 1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc
nvidia-cusolver        12.0.4.66 0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112
nvidia-cusparse        12.6.3.3  2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b
nvidia-cusparselt-cu13 0.8.0     25e30a8a7323935d4ad0340b95a0b69926eee755767e8e0b1cf8dd85b197d3fd
nvidia-nccl-cu13       2.28.9    e4553a30f34195f3fa1da02a6da3d6337d28f2003943aa0a3d247bbc25fefc42
nvidia-nvjitlink       13.0.88   13a74f429e23b921c1109976abefacc69835f2f433ebd323d3946e11d804e47b
nvidia-nvshmem-cu13    3.4.5     290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80
nvidia-nvtx            13.0.85   4936d1d6780fbe68db454f5e72a42ff64d1fd6397df9f363ae786930fd5c1cd4
"

say() { printf 'libtorch: %s\n' "$*" >&2; }
die() {
    printf 'libtorch: error: %s\n' "$*" >&2
    exit 1
}

mode=keep
pytorch=${FIVEFOLD_PYTORCH:-}
while [ $# -gt 0 ]; do
    case $1 in
        --cpu) mode=cpu ;;
        --cuda) mode=cuda ;;
        --use)
            [ $# -ge 2 ] || die "--use requires the folder of an installed PyTorch $version"
            mode=use pytorch=$2
            shift
            ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) die "unknown argument '$1' (see --help)" ;;
    esac
    shift
done
if [ "$mode" = keep ] && [ -n "$pytorch" ]; then mode=use; fi

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cargo_config=$checkout/.cargo/config.toml
config_header="# Written by deploy/libtorch.sh."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/fivefold
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

# Whether the workspace can be built and run with the folder $1.
is_whole() {
    local file
    for file in lib/libtorch_cpu.so lib/libtorch.so lib/libc10.so include/torch/csrc/api/include/torch/torch.h; do
        [ -e "$1/$file" ] || return 1
    done
    [ "$(cat "$1/build-version" 2>/dev/null)" = "$version" ]
}

# Links the libraries and headers of the PyTorch package folder $2, which may be relative to $1, into $1/lib and $1/include.
# libtorch_cuda.so is left out so that no program links to it: the worker loads it at run time, from the folder of the real
# libtorch_cpu.so.
link_view() {
    local dir=$1 torch=$2 lib found
    local real
    real=$(cd "$dir" && cd "$torch" && pwd)
    mkdir -p "$dir/lib"
    case $torch in /*) ;; *) torch=../$torch ;; esac
    for lib in libtorch_cpu.so libtorch.so libc10.so; do
        [ -e "$real/lib/$lib" ] || die "$real/lib has no $lib"
        ln -s "$torch/lib/$lib" "$dir/lib/$lib"
    done
    # The loader looks for the dependencies of libtorch_cpu.so in the folder of the link.
    for lib in libgomp.so.1 libcudart.so.13 libcupti.so.13; do
        for found in lib ../nvidia/cu13/lib; do
            if [ -e "$real/$found/$lib" ]; then
                ln -s "$torch/$found/$lib" "$dir/lib/$lib"
                break
            fi
        done
    done
    [ -e "$real/include/torch/csrc/api/include/torch/torch.h" ] || die "$real/include does not have PyTorch's C++ headers"
    ln -s "${torch#../}/include" "$dir/include"
    echo "$version" >"$dir/build-version"

    local missing
    missing=$(ldd "$dir/lib/libtorch_cpu.so" 2>&1 | awk '/not found/ {printf " %s", $1}')
    [ -z "$missing" ] || die "libtorch_cpu.so requires libraries that were not found:$missing"
}

# Downloads one wheel to $cache/downloads, checks its digest, and sets `wheel` to its path.
fetch_wheel() {
    local name=$1 release=$2 digest=$3 path
    local downloads=$cache/downloads prefix=${name//-/_}-$release-
    mkdir -p "$downloads"
    for path in "$downloads/$prefix"*.whl; do
        [ -e "$path" ] || continue
        if printf '%s  %s\n' "$digest" "$path" | sha256sum --check --status; then
            wheel=$path
            return
        fi
        say "$(basename "$path") is damaged: downloading it again"
        rm -f "$path"
    done

    say "downloading $name $release"
    local pip=(python3 -m pip --disable-pip-version-check download --no-deps --no-cache-dir --only-binary=:all:
        --python-version 3.11 --implementation cp --abi cp311 --abi none --platform manylinux2014_x86_64)
    local glibc
    for glibc in 28 27 26 25 24 23 22 21 20 19 18 17; do pip+=(--platform "manylinux_2_${glibc}_x86_64"); done
    [ -t 2 ] || pip+=(--quiet)
    printf '%s==%s --hash=sha256:%s\n' "$name" "$release" "$digest" >"$work/wheel.txt"
    mkdir -p "$work/wheel"
    "${pip[@]}" --require-hashes --requirement "$work/wheel.txt" --dest "$work/wheel" >&2 ||
        die "could not download $name $release. Run this script again: finished downloads are kept"
    mv "$work/wheel/$prefix"*.whl "$downloads/"
    wheel=$(echo "$downloads/$prefix"*.whl)
}

# Unpacks the libraries, headers and licences of the wheel $1 to the folder $2.
unpack_wheel() {
    python3 - "$1" "$2" "$3" <<'PYTHON'
import re, sys, zipfile

wheel, target, mode = sys.argv[1:]
libraries = r"torch/lib/[^/]*\.so[.\d]*$" if mode == "cuda" else r"torch/lib/(libtorch_cpu|libtorch|libc10|libgomp)\.so[.\d]*$"
wanted = re.compile(rf"{libraries}|torch/include/|torch/version\.py$|nvidia/[^/]+/lib/|[^/]+\.dist-info/(licenses/|License)")
unwanted = re.compile(r"torch/lib/libtorch_python\.so$")
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        if wanted.match(name) and not unwanted.match(name):
            archive.extract(name, target)
PYTHON
}

install_wheels() {
    local mode=$1 dir=$2 wheels=$cpu_wheels name release digest wheel
    local -a unpacked=()
    [ "$mode" = cuda ] && wheels+=$cuda_wheels
    [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] ||
        die "wheels are pinned for Linux on x86-64 only. On this machine, install PyTorch $version and use --use DIR"
    command -v python3 >/dev/null || die "python3 is missing (Debian: apt-get install python3 python3-pip)"
    python3 -m pip --version >/dev/null 2>&1 || die "python3 has no pip (Debian: apt-get install python3-pip)"

    say "setting up libtorch $version ($mode) in $dir"
    mkdir -p "$work/new/site"
    while read -r name release digest; do
        [ -n "$name" ] || continue
        fetch_wheel "$name" "$release" "$digest"
        unpack_wheel "$wheel" "$work/new/site" "$mode" || die "could not unpack $wheel (is the disk full?)"
        unpacked+=("$wheel")
    done <<<"$wheels"
    link_view "$work/new" site/torch
    rm -rf "$dir"
    mv "$work/new" "$dir"
    rm -f "${unpacked[@]}"
    rmdir "$cache/downloads" 2>/dev/null || true
}

link_installed() {
    local torch=$1 dir=$2 found
    found=$(sed -n "s/^__version__ = '\([^'+]*\).*/\1/p" "$torch/version.py" 2>/dev/null) || true
    [ -n "$found" ] || die "$torch is not a PyTorch package folder: its version.py is missing or has no version"
    [ "$found" = "$version" ] || die "$torch is PyTorch $found, but Fivefold requires $version"
    mkdir -p "$work/new"
    link_view "$work/new" "$torch"
    rm -rf "$dir"
    mv "$work/new" "$dir"
}

exec 9>"$cache/libtorch.lock"
if ! flock --nonblock 9; then
    say "waiting for another run of this script"
    flock 9
fi
# Left behind by interrupted runs; no other run is using them while this one has the lock.
rm -rf "$cache"/new.*
work=$(mktemp -d "$cache/new.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

dir=$cache/libtorch-$version-cpu
case $mode in
    keep)
        configured=$(sed -n 's/^LIBTORCH = "\(.*\)"$/\1/p' "$cargo_config" 2>/dev/null) || true
        if [ -n "$configured" ] && is_whole "$configured"; then
            dir=$configured
        else
            is_whole "$dir" || install_wheels cpu "$dir"
        fi
        ;;
    cpu | cuda)
        dir=$cache/libtorch-$version-$mode
        is_whole "$dir" || install_wheels "$mode" "$dir"
        ;;
    use)
        [ -d "$pytorch" ] || die "$pytorch is not a folder"
        pytorch=$(cd "$pytorch" && pwd)
        dir=$cache/libtorch-$version-use-$(printf '%s' "$pytorch" | sha256sum | cut -c1-12)
        link_installed "$pytorch" "$dir"
        ;;
esac

config="$config_header
[env]
LIBTORCH = \"$dir\""
if [ -e "$cargo_config" ] && [ "$(head -n 1 "$cargo_config")" != "$config_header" ]; then
    say "$cargo_config was not written by this script and stays unchanged: make sure that its [env] has LIBTORCH = \"$dir\""
elif [ "$(cat "$cargo_config" 2>/dev/null)" != "$config" ]; then
    mkdir -p "$checkout/.cargo"
    printf '%s\n' "$config" >"$work/config.toml"
    mv "$work/config.toml" "$cargo_config"
fi
say "libtorch $version is ready"
echo "$dir"
