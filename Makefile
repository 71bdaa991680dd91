PYTHON ?= python3
DATA ?= data/demo
WEEK ?=

PIP := .venv/bin/python -m pip --disable-pip-version-check --no-input -qq
# Bytecode ahead of time, on all cores. A page is made by four processes; where Python may not write its bytecode
# (PYTHONDONTWRITEBYTECODE, as in many containers) each would compile every module again, two seconds a process.
# A file of some package that this Python cannot compile is no reason to stop.
compiled = .venv/bin/python -W ignore -m compileall -qq -j 0 $(1) || true
demo := $(filter data/demo,$(patsubst %/,%,$(DATA)))
# Only a LANGUAGE typed after `make` counts: most Linux desktops export one of their own.
language := $(if $(filter command,$(origin LANGUAGE)),-p language=$(LANGUAGE))

locked := --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11

.DEFAULT_GOAL := help
.PHONY: help report test lint lab sample grade bench coverage lock clean

help: ## list what make can do
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

report: .venv/.ready $(if $(demo),data/demo/dataset.toml) ## weekly page from DATA=data/demo, for WEEK=2025-W30, in LANGUAGE=zh
	@.venv/bin/strategy-kit weekly --data $(DATA) $(if $(WEEK),--week $(WEEK)) $(language) --out reports

test: lint .venv/.spark ## everything that must hold: lint, types, tests, examples, lock file
	@.venv/bin/python -m pytest -q -n logical --maxprocesses 4 --dist loadfile

lint: .venv/.ready ## ruff and mypy
	@echo "Checking style and types"
	@.venv/bin/ruff check --quiet
	@.venv/bin/mypy --no-error-summary

lab: .venv/.ready data/demo/dataset.toml ## JupyterLab on notebooks/
	@.venv/bin/jupyter lab --LabApp.default_url=/lab/tree/notebooks $(if $(filter 0,$(shell id -u)),--allow-root)

grade: .venv/.ready ## docs/grading.md again: the headline on thousands of simulated markets (about half an hour)
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 .venv/bin/python benchmarks/grade.py

bench: .venv/.ready ## docs/benchmarks.md again (hours), or one PART=kpi, did, report, hottest, start_up, growth, engines, page
	@for part in $(filter-out page,$(or $(PART),start_up report hottest growth kpi engines did)) page; do \
		.venv/bin/python benchmarks/$$part.py || exit 1; done

sample: .venv/.ready ## reports/sample_page.html and its picture again, from data/sample (needs Chromium)
	@.venv/bin/python .ci/sample_page.py

coverage: ## docs/coverage.md again, from docs/coverage/*.toml
	@$(PYTHON) .ci/coverage.py

lock: .venv/.ready ## pin every package again, after a change to pyproject.toml
	@echo "Pinning the packages of pyproject.toml in requirements.lock"
	@.venv/bin/uv pip compile pyproject.toml $(locked) --extra lab --extra dev --output-file requirements.lock
	@.venv/bin/python .ci/spark.py | .venv/bin/uv pip compile - $(locked) --constraint requirements.lock --output-file .ci/spark.lock
	@.venv/bin/python .ci/environment.py

clean: ## remove .venv and caches; data and reports stay
	@echo "Removing .venv and caches"
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

data/demo/dataset.toml: | .venv/.ready
	@echo "Making the demo market in data/demo"
	@.venv/bin/strategy-kit simulate data/demo --seed 7 --merchants 3000 --weeks 78

# Half a gigabyte that only the tests need.
.venv/.spark: .ci/spark.lock .venv/.ready
	@echo "Installing Spark for the tests (about a minute)"
	@$(PIP) install --no-compile --require-hashes --no-deps -r .ci/spark.lock
	@$(call compiled,.venv/lib)
	@touch $@

# One install for reports and tests: the report alone would take hardly less.
# A stamp is the last step and --clear the first, so that an interrupted install starts afresh.
.venv/.packages: requirements.lock
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON) was not found; install Python 3.11, 3.12 or 3.13" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v[:2] <= (3, 13) else \
		"strategy-kit runs on Python 3.11 to 3.13 and $(PYTHON) is %d.%d; name another one: make PYTHON=python3.12 ..." % v[:2])'
	@echo "Installing the pinned packages in .venv (about a minute)"
	@$(PYTHON) -m venv --clear .venv
	@$(PIP) install --no-compile --require-hashes --no-deps -r requirements.lock
	@$(call compiled,.venv/lib)
	@touch $@

.venv/.ready: .venv/.packages pyproject.toml
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@$(call compiled,strategy_kit)
	@touch $@
