# Everything that a person or CI runs.  Each target installs what it needs.

PYTHON ?= python3
MODEL ?= cnn
VENV := .venv
BIN := $(VENV)/bin
BENCH := .venv-bench
EXPORT := .venv-export
TOOLS := .venv-tools
DOCS := .venv-docs
# Each target's report goes to `make reliability`.
PYTEST := $(BIN)/python -m pytest -q

.PHONY: search test test-long test-faults test-power test-nightly test-cluster test-gpu reliability check bench docs \
	test-docs test-export wheel env lock sbom results-table help clean

help:  ## these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-15s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

search: env  ## the default search: trials, retrains, test, tables, page; MODEL=cnn or ann
	$(BIN)/python -m tune_fmnist.search --model $(MODEL) $(ARGS)

test: env  ## all tests but those of the next targets, under eight minutes on two cores
	$(PYTEST) --junitxml=.reports/$@.xml -n 2 --dist loadfile --no-loadscope-reorder --ignore tests/cluster $(ARGS)

test-long: env  ## tests of several whole searches each, about six minutes
	$(PYTEST) --junitxml=.reports/$@.xml -n 2 --dist loadscope --ignore tests/cluster -m 'long and not faults' $(ARGS)

test-faults: env  ## fault injection: searches killed, out of memory or disk, disconnected; about 20 minutes on two cores
	$(PYTEST) --junitxml=.reports/$@.xml -n 2 --ignore tests/cluster --ignore tests/power -m faults $(ARGS)

test-power: env  ## the power is cut under searches on ext4 and XFS; needs root and loop devices, under 12 minutes
	$(PYTEST) --junitxml=.reports/$@.xml -rs tests/power -m '' $(ARGS)

test-nightly: test-faults test-power reliability  ## what is too long for each change, and the table of what it showed

reliability: env  ## the tables of docs/reliability.md, from the last run of each of these targets
	$(BIN)/python -m tests.reliability .reports/*.xml --into docs/reliability.md

test-cluster: env  ## searches over several simulated hosts and a simulated AWS; needs root, installs Debian packages
	tests/cluster/install.sh
	$(BIN)/python -m pip install --quiet --require-hashes --requirement locks/cluster.txt
	$(PYTEST) --junitxml=.reports/$@.xml -rs -n 2 --dist loadfile tests/cluster tests/store/test_folder.py \
		tests/store/test_lease.py tests/store/test_mirror.py -m '' $(ARGS)

test-gpu: env  ## what needs a GPU; skipped elsewhere, with the reason
	$(PYTEST) tests/gpu $(ARGS)

test-export: env $(EXPORT)/.installed  ## exports to TensorBoard, an MLflow server and W&B's files; under three minutes
	$(EXPORT)/bin/python -m pytest -q --junitxml=.reports/$@.xml -rs tests/export $(ARGS)

bench: env $(BENCH)/.installed  ## the same search with Ray Tune, Optuna and Syne Tune, in 23 minutes on two cores
	$(BIN)/python -m benchmarks.compare $(ARGS)

check: env  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(DOCS)/.installed  ## the site, in build/site: open build/site/index.html
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/python -m mkdocs build --strict

test-docs: docs  ## the site, the notebook, the Dockerfile and what GitHub reads
	$(DOCS)/bin/python -m pytest -q --junitxml=.reports/$@.xml tests/docs $(ARGS)

wheel: env  ## dist/*.whl, the same to the byte for the same files
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

results-table: env  ## the README's table of results, from the published searches
	$(BIN)/python -m tune_fmnist.report results/ann results/ann-wide results/cnn --into README.md

env: $(VENV)/.installed  ## .venv, with everything in the versions of locks/dev.txt

$(VENV)/.installed: pyproject.toml locks/dev.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement locks/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# The versions of constraints.txt, each with the hashes of its files; no name of a host.
LOCK = $(TOOLS)/bin/uv pip compile --quiet --universal --python-version 3.11 --constraint constraints.txt \
	--generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header pyproject.toml --group build

lock: $(TOOLS)/.installed  ## hashes of all that is installed, after a change of pyproject.toml or constraints.txt
	$(LOCK) --output-file locks/run.txt
	$(LOCK) --extra dev --output-file locks/dev.txt
	# What the site needs is not for the first versions of Python 3.11.
	$(subst 3.11,3.11.5,$(LOCK)) --extra dev --extra docs --output-file locks/docs.txt
	$(LOCK) --extra dev --extra cluster --extra dashboard --output-file locks/cluster.txt
	$(LOCK) --extra dev --extra dashboard --extra tensorboard --extra mlflow --extra wandb --group mlflow-server \
		--output-file locks/export.txt

sbom: env $(TOOLS)/.installed  ## sbom.json: what is installed, with versions and licences, as CycloneDX
	$(TOOLS)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-format JSON --output-file sbom.json $(VENV)

$(TOOLS)/.installed: Makefile
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet uv==0.13.9 cyclonedx-bom==7.5.0
	touch $@

# An environment on top of this one, for what is to stay out of it.
PACKAGES = import sysconfig; print(sysconfig.get_path("purelib"))
define on_top
	$(BIN)/python -m venv $(@D)
	{ $(BIN)/python -c '$(PACKAGES)'; pwd; } > "$$($(@D)/bin/python -c '$(PACKAGES)')/tune_fmnist.pth"
endef

$(DOCS)/.installed: $(VENV)/.installed locks/docs.txt
	$(on_top)
	$(DOCS)/bin/python -m pip install --quiet --require-hashes --requirement locks/docs.txt
	touch $@

$(EXPORT)/.installed: $(VENV)/.installed locks/export.txt
	$(on_top)
	$(EXPORT)/bin/python -m pip install --quiet --require-hashes --requirement locks/export.txt
	touch $@

$(BENCH)/.installed: $(VENV)/.installed
	$(on_top)
	$(BENCH)/bin/python -m pip install --quiet --constraint constraints.txt syne-tune==0.16.0
	touch $@

clean:
	rm -rf $(VENV) $(BENCH) $(EXPORT) $(TOOLS) $(DOCS) build dist
