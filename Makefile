# Each target works on a clean clone, first and alone. `make test` and `make demo` are the two to know.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The folder with the real lists (train.csv, HPAv18RGBY_wodpl.csv), for `make golden`.
DATA ?= ../shared/data
golden_env := target/golden-env
# The Python of `make quality`, with PyTorch; without PYTHON one is made.
PYTHON ?=
quality_env := target/quality-env

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: test
test: libtorch ## Set up libtorch if needed, build everything and run every test
	cargo build --workspace
	cargo test --workspace --no-fail-fast

.PHONY: demo
demo: libtorch ## Set up libtorch if needed and run the main job on synthetic data: demo/results/
	cargo build --release --bins
	deploy/demo.sh

.PHONY: lint
lint: libtorch ## Check formatting, clippy and the documentation, with warnings as errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

.PHONY: bench
bench: libtorch ## Run the benchmarks: folds, threshold, decode, loader, warp, one training step
	cargo bench --package fivefold-bench

# A half-made environment has no `ready` and is made again.
$(golden_env)/ready: tests/golden/requirements.txt
$(quality_env)/ready: bench/quality/requirements.txt
$(golden_env)/ready $(quality_env)/ready:
	rm -rf $(@D)
	python3 -m venv $(@D) || { echo "python3 cannot make a virtual environment (Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(@D)/bin/pip --disable-pip-version-check install --quiet --requirement $<
	touch $@

.PHONY: quality
quality: libtorch $(if $(PYTHON),,$(quality_env)/ready) ## Train a synthetic set by Fivefold and by plain PyTorch (5 GB), and compare: hours on a CPU
	cargo build --release --bins
	PYTHON="$(or $(PYTHON),$(quality_env)/bin/python)" bench/quality/run.sh

.PHONY: golden
golden: $(golden_env)/ready ## Make the tests' reference values again, from the reference implementations
	for script in tests/golden/*.py; do \
	    arguments=(); \
	    if grep -q -e '"--data"' "$$script"; then \
	        if [ ! -d "$(DATA)" ]; then echo "skipping $$script: no folder $(DATA), name one with DATA=DIR"; continue; fi; \
	        arguments=(--data "$(DATA)"); \
	    fi; \
	    echo "$$script"; \
	    $(golden_env)/bin/python "$$script" "$${arguments[@]}"; \
	done

.PHONY: libtorch
libtorch: tools ## Put libtorch into the cache and point this checkout at it (deploy/libtorch.sh --help)
	@deploy/libtorch.sh >/dev/null

# Before anything is downloaded. deploy/libtorch.sh asks for python3 and pip itself, and only where it needs them.
.PHONY: tools
tools:
	@missing=0; \
	need() { if ! "$${@:3}" >/dev/null 2>&1; then echo "missing: $$1 ($$2)" >&2; missing=1; fi; }; \
	need "Rust 1.95 or later" "https://rustup.rs" cargo --version; \
	need "a C++ compiler" "Debian: apt-get install g++" c++ --version; \
	exit $$missing

.PHONY: grpc
grpc: libtorch ## Let Python's grpcio list the coordinator's services and read a job set's progress
	cargo build --workspace --bins
	python3 -m venv target/grpc-env
	target/grpc-env/bin/pip --disable-pip-version-check install --quiet --requirement tests/grpc/requirements.txt
	tests/grpc/run.sh target/grpc-env/bin/python

.PHONY: chaos
chaos: libtorch ## Let faults rain on the real programs: ROUNDS=n SEED=s
	ROUNDS="$(or $(ROUNDS),5)" SEED="$(or $(SEED),1)" cargo test --package fivefold-tests --test chaos -- --nocapture

.PHONY: simulate
simulate: ## Let faults rain on the queue and a hundred workers in virtual time: ROUNDS=n SEED=s
	ROUNDS="$(or $(ROUNDS),30)" SEED="$(or $(SEED),1)" \
	    cargo test --release --package fivefold-coordinator --test simulation storm -- --nocapture

.PHONY: fuzz
fuzz: libtorch ## Throw bytes at whatever reads them from outside, SECONDS_EACH=600; needs cargo-fuzz
	cargo fuzz list | while read -r target; do \
	    mkdir -p "fuzz/corpus/$$target"; \
	    LD_LIBRARY_PATH="$$(deploy/libtorch.sh 2>/dev/null)/lib" RUSTC_BOOTSTRAP=1 cargo fuzz run --dev -s none "$$target" -- \
	        -max_total_time="$(or $(SECONDS_EACH),600)" -max_len=4096; \
	done

.PHONY: interop
interop: libtorch ## Let Python open what Fivefold writes, and Fivefold what Python writes: torchvision, safetensors, numpy, pandas (5 GB)
	cargo build --workspace --bins
	python3 -m venv target/interop-env
	target/interop-env/bin/pip --disable-pip-version-check install --quiet --requirement tests/interop/requirements.txt
	tests/interop/run.sh target/interop-env/bin/python

.PHONY: sqlx
sqlx: ## Check the coordinator's SQL against a fresh database, and renew .sqlx/
	rm -rf .sqlx target/sqlx.sqlite
	mkdir -p .sqlx target
	python3 -c 'import pathlib, sqlite3; db = sqlite3.connect("target/sqlx.sqlite"); [db.executescript(file.read_text()) for file in sorted(pathlib.Path("migrations").glob("*.sql"))]'
	touch coordinator/src/lib.rs
	DATABASE_URL=sqlite:target/sqlx.sqlite SQLX_OFFLINE_DIR=$(CURDIR)/.sqlx cargo check --package fivefold-coordinator
