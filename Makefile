# Every target sets up what it needs in .venv and is fine to run again.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
STAMP := $(VENV)/.installed
BIN := $(VENV)/bin
CONFIG ?= configs/demo.yaml
TEST_PROCESSES ?= 2
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test test-fast lint format ui bench clean

help:
	@echo "make demo      set up and run the whole pipeline on this machine's own corpus"
	@echo "make test      set up and run all tests (make test-fast: those under 6 minutes)"
	@echo "make lint      ruff, mypy, import contracts"
	@echo "make ui        Prefect server, worker and deployments; prints the address"
	@echo "make bench     time the layers against their peers (in a virtual environment of their own)"
	@echo "make clean     remove .venv, .venv-bench and .openseek (with the store!)"

setup: $(STAMP)

# The data steps' kernels are compiled here too, once, instead of in every worker of the first run.
# pip compiles to byte code on one core; compileall takes them all, and leaves out what a run never
# imports. Without byte code every worker process would compile torch, ray and prefect at its start.
NOT_IMPORTED := /tests/|transformers/models/|_inductor|ray/(rllib|serve|data|tune|llm)/|torch/(testing|ao|onnx)/
NOT_IMPORTED := $(NOT_IMPORTED)|/(chardet|inspect_ai|nltk|pip|debugpy|cfnlint|moto|openai|plotly|scipy|sklearn)/
$(STAMP): requirements.lock pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 2; }
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --no-deps -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q -j 0 -x '$(NOT_IMPORTED)' $(VENV)/lib > /dev/null 2>&1 || true
	OMP_NUM_THREADS=1 $(BIN)/openseek warm
	@touch $@

demo: setup
	$(BIN)/openseek run $(CONFIG)

test: test-fast
	$(BIN)/python -m pytest -m slow -n $(TEST_PROCESSES) --dist loadfile

test-fast: setup
	$(BIN)/python -m pytest -m "not slow" -n $(TEST_PROCESSES) --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

ui: setup
	$(BIN)/python deployments/local_ui.py

BENCH := .venv-bench
$(BENCH)/.installed: benchmarks/requirements.txt benchmarks/requirements-alone.txt
	"$(PYTHON)" -m venv $(BENCH)
	$(BENCH)/bin/pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	$(BENCH)/bin/pip install --quiet --disable-pip-version-check --no-deps -r benchmarks/requirements-alone.txt
	@touch $@

BENCH_CORPUS ?= .openseek/bench-corpus
bench: setup $(BENCH)/.installed
	$(BIN)/openseek data ingest benchmarks/sources.yaml $(BENCH_CORPUS)
	$(BIN)/python benchmarks/data.py $(BENCH_CORPUS)
	$(BIN)/python benchmarks/synthesis.py

clean:
	rm -rf $(VENV) $(BENCH) .openseek
