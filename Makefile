# Every target works on a fresh clone. The two to know are `make test` and `make demo`.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# For `make golden`: the folder of the real lists (train.csv, HPAv18RGBY_wodpl.csv).
DATA ?= ../shared/data
golden_env := target/golden-env
# For `make quality`: a Python with PyTorch. Unset, a virtual environment is made.
PYTHON ?=
quality_env := target/quality-env
grpc_env := target/grpc-env
services_env := target/services-env
browser_env := target/browser-env

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: test
test: libtorch ## Set up libtorch if needed, build everything, run every test
	cargo test --workspace --no-fail-fast

.PHONY: install
install: libtorch ## Build the programs and install them with libtorch, completions and manual pages: PREFIX=/usr/local
	cargo build --release --bins
	deploy/install.sh "$(or $(PREFIX),/usr/local)"

.PHONY: demo
demo: libtorch ## Set up libtorch if needed, run a whole job set on synthetic data: demo/results/
	cargo build --release --bins
	deploy/demo.sh

.PHONY: lint
lint: libtorch ## Run rustfmt, clippy and rustdoc, with warnings as errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

.PHONY: bench
bench: libtorch ## Run the benchmarks: folds, threshold, decode, loader, pack, warp, training step
	cargo bench --package fivefold-bench

.PHONY: bench-coordinator
bench-coordinator: tools $(grpc_env)/ready ## Measure a coordinator: latency of calls with 10,000 queued jobs, CPU at rest with 5,000 job sets
	cargo build --release --package fivefold-coordinator --package fivefold-cli
	$(grpc_env)/bin/python bench/coordinator/run.py lease
	$(grpc_env)/bin/python bench/coordinator/run.py rest

# `ready` marks a finished environment; an unfinished one is made again.
$(golden_env)/ready: tests/golden/requirements.txt
$(quality_env)/ready: bench/quality/requirements.txt
$(grpc_env)/ready: tests/grpc/requirements.txt
$(services_env)/ready: tests/services/requirements.txt
$(browser_env)/ready: tests/browser/requirements.txt
$(golden_env)/ready $(quality_env)/ready $(grpc_env)/ready $(services_env)/ready $(browser_env)/ready:
	rm -rf $(@D)
	python3 -m venv $(@D) || { echo "python3 cannot make a virtual environment (Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(@D)/bin/pip --disable-pip-version-check install --quiet --requirement $<
	touch $@

.PHONY: quality
quality: libtorch $(if $(PYTHON),,$(quality_env)/ready) ## Train a synthetic set with Fivefold and with plain PyTorch (5 GB) and compare: hours on a CPU
	cargo build --release --bins
	PYTHON="$(or $(PYTHON),$(quality_env)/bin/python)" bench/quality/run.sh

.PHONY: golden
golden: $(golden_env)/ready ## Regenerate the tests' reference values from the reference implementations
	for script in tests/golden/*.py; do \
	    arguments=(); \
	    if grep -q -e '"--data"' "$$script"; then \
	        if [ ! -d "$(DATA)" ]; then echo "skipping $$script: no folder $(DATA), set DATA=DIR"; continue; fi; \
	        arguments=(--data "$(DATA)"); \
	    fi; \
	    echo "$$script"; \
	    $(golden_env)/bin/python "$$script" "$${arguments[@]}"; \
	done

.PHONY: libtorch
libtorch: tools ## Set up libtorch for this checkout (deploy/libtorch.sh --help)
	@deploy/libtorch.sh >/dev/null

# The programs as `make test` builds them: a test among the targets makes Cargo choose the features of the tests' dependencies,
# so that nothing is compiled twice.
.PHONY: programs
programs: libtorch
	cargo build --workspace --bins --test dependencies

# Runs before any download. deploy/libtorch.sh checks for python3 and pip itself, only if it needs them.
.PHONY: tools
tools:
	@missing=0; \
	need() { if ! "$${@:3}" >/dev/null 2>&1; then echo "missing: $$1 ($$2)" >&2; missing=1; fi; }; \
	need "Rust 1.95 or later" "https://rustup.rs" cargo --version; \
	need "a C++ compiler" "Debian: apt-get install g++" c++ --version; \
	exit $$missing

.PHONY: test-services
test-services: programs $(services_env)/ready $(browser_env)/ready ## Test with the real Prometheus, TensorBoard and Chromium: metrics, alert rules, dashboard, curves, JSON logs, the page
	tests/services/run.sh $(services_env)/bin/python
	tests/browser/run.sh $(browser_env)/bin/python

.PHONY: screenshots
screenshots: programs $(browser_env)/ready ## Make the README's pictures of the page anew, from a small job set: docs/page-*.png
	tests/browser/screenshots.sh $(browser_env)/bin/python

.PHONY: grpc
grpc: programs $(grpc_env)/ready ## Test the coordinator with Python's grpcio: list its services, read a job set's progress
	tests/grpc/run.sh $(grpc_env)/bin/python

.PHONY: chaos
chaos: libtorch ## Inject faults into the real programs, compare with an undisturbed run: ROUNDS=n SEED=s
	ROUNDS="$(or $(ROUNDS),5)" SEED="$(or $(SEED),1)" cargo test --package fivefold-tests --test chaos -- --nocapture

.PHONY: simulate
simulate: ## Inject faults into the queue and a hundred workers in virtual time: ROUNDS=n SEED=s
	ROUNDS="$(or $(ROUNDS),30)" SEED="$(or $(SEED),1)" \
	    cargo test --release --package fivefold-coordinator --test simulation storm -- --nocapture

.PHONY: fuzz
fuzz: libtorch ## Fuzz every parser of outside input: SECONDS_EACH=600; needs cargo-fuzz
	cargo fuzz list | while read -r target; do \
	    mkdir -p "fuzz/corpus/$$target"; \
	    LD_LIBRARY_PATH="$$(deploy/libtorch.sh 2>/dev/null)/lib" RUSTC_BOOTSTRAP=1 cargo fuzz run --dev -s none "$$target" -- \
	        -max_total_time="$(or $(SECONDS_EACH),600)" -max_len=4096; \
	done

.PHONY: interop
interop: programs ## Exchange files with Python in both directions: torchvision, safetensors, onnxruntime, numpy, pandas (5 GB)
	python3 -m venv target/interop-env
	target/interop-env/bin/pip --disable-pip-version-check install --quiet --requirement tests/interop/requirements.txt
	tests/interop/run.sh target/interop-env/bin/python

.PHONY: sqlx
sqlx: ## Check the coordinator's SQL against a fresh database, regenerate .sqlx/
	rm -rf .sqlx target/sqlx.sqlite
	mkdir -p .sqlx target
	python3 -c 'import pathlib, sqlite3; db = sqlite3.connect("target/sqlx.sqlite"); [db.executescript(file.read_text()) for file in sorted(pathlib.Path("migrations").glob("*.sql"))]'
	touch coordinator/src/lib.rs
	DATABASE_URL=sqlite:target/sqlx.sqlite SQLX_OFFLINE_DIR=$(CURDIR)/.sqlx cargo check --package fivefold-coordinator
