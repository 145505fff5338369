# Everything that a person or CI runs.  Each target installs what it needs.

PYTHON ?= python3
MODEL ?= cnn
VENV := .venv
BIN := $(VENV)/bin
BENCH := .venv-bench

.PHONY: search test test-faults test-power test-cluster test-gpu check bench env results-table clean

search: env  ## the default search: trials, retrains, test, tables, page; MODEL=cnn or ann
	$(BIN)/python -m tune_fmnist.search --model $(MODEL) $(ARGS)

test: env  ## all tests except the long ones, in under eight minutes on two cores
	$(BIN)/python -m pytest -q -n 2 --dist loadfile $(ARGS)

test-faults: env  ## fault injection: searches killed, out of memory or disk, disconnected; under 15 minutes on two cores
	$(BIN)/python -m pytest -q -n 2 tests/faults -m 'faults or not faults' $(ARGS)

test-power: env  ## the power is cut under searches on ext4 and XFS; needs root and loop devices, under 12 minutes
	$(BIN)/python -m pytest -q -rs tests/power -m 'faults or not faults' $(ARGS)

test-cluster: env  ## searches over several simulated hosts and a simulated AWS; needs root, installs Debian packages
	tests/cluster/install.sh
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,cluster]'
	$(BIN)/python -m pytest -q -rs -n 2 --dist loadfile tests/cluster -m 'faults or not faults' $(ARGS)

test-gpu: env  ## what needs a GPU; skipped elsewhere, with the reason
	$(BIN)/python -m pytest -q tests/gpu $(ARGS)

bench: env $(BENCH)/.installed  ## the same search with Ray Tune, Optuna and Syne Tune, in 23 minutes on two cores
	$(BIN)/python -m benchmarks.compare $(ARGS)

check: env  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

results-table: env  ## the README's table of results, from the published searches
	$(BIN)/python -m tune_fmnist.report results/ann results/cnn --into README.md

env: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# Syne Tune has an environment of its own on top of this one, so that its dependencies stay out of it.
$(BENCH)/.installed: $(VENV)/.installed
	$(BIN)/python -m venv $(BENCH)
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> "$$($(BENCH)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/tune_fmnist.pth"
	$(BENCH)/bin/python -m pip install --quiet --constraint constraints.txt syne-tune==0.16.0
	touch $@

clean:
	rm -rf $(VENV) $(BENCH)
