# Every target sets up what it needs in .venv and says what it does. `make help` lists them.
#
#   make demo PYTHON=python3.12     another interpreter (3.11 or later)
#   make demo UV=                   pip even where uv is installed
#
# pip and uv read their own settings and environment (PIP_INDEX_URL, PIP_FIND_LINKS, UV_...).
# Paths are relative, so that the checkout may lie in a folder with spaces in its name.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= $(firstword $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p; done) python3)
UV ?= $(shell command -v uv)
PLUGINS := $(sort $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml)))
KERNELS := $(wildcard kernels/zoo_kernels/csrc/* kernels/zoo_kernels/build.py)
PY := .venv/bin/python
# A slow index is retried rather than given up.
PIP = $(if $(UV),"$(UV)" pip install --quiet --python $(PY),$(PY) -m pip install -qq --retries 5 --timeout 120 --disable-pip-version-check --progress-bar off) -c constraints.txt
BUILD_TOOLS := "pip>=23.1" "setuptools>=77" wheel ninja "torch>=2.11"

.PHONY: help setup demo site test test-slow test-records figures compare fuzz bench lint format types imports wheel clean
.NOTPARALLEL:

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' Makefile

setup: .venv/ready ## .venv with the core and every plugin, editable
	@:

.venv/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "setup: $(PYTHON) is missing or older than 3.11; choose one: make PYTHON=python3.12"; exit 1; }
	@echo "setup: creating .venv with $$($(PYTHON) --version)"
	@if ! $(PY) -c '' 2>/dev/null; then rm -rf .venv; \
	  $(if $(UV),"$(UV)" venv --quiet --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" .venv,$(PYTHON) -m venv .venv) || \
	  { echo "setup: no environment was made; Debian and Ubuntu need: apt install python3-venv"; rm -rf .venv; exit 1; }; fi
	@touch $@

.venv/tools: .venv/created constraints.txt
	@echo "setup: installing torch and the build tools (a few minutes at first)"
	@$(PIP) $(BUILD_TOOLS)
	@touch $@

.venv/ready: .venv/tools pyproject.toml setup.py $(addsuffix /pyproject.toml,$(PLUGINS)) $(KERNELS)
	@echo "setup: installing density-zoo and $(words $(PLUGINS)) plugins, editable, with what they need"
	@$(PIP) --no-build-isolation -e ".[dev]" $(addprefix -e ./,$(PLUGINS))
	@cat kernels/zoo_kernels/_C.failure.txt 2>/dev/null \
	  && echo "setup: the kernels were not compiled (reason above); the reference path serves" \
	  || echo "setup: ready"
	@touch $@

demo: setup ## the main job: bundled models, real digits, a table and a gallery (`zoo demo` is a page)
	@$(PY) examples/demo.py

.venv/docs: .venv/ready pyproject.toml
	@echo "docs: installing what builds the site"
	@$(PIP) $$($(PY) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"])')
	@touch $@

site: .venv/docs ## the site, strict, in build/site/html; examples and samples are kept (ARGS=--only-pages)
	@$(PY) -m tools.site $(ARGS)

test: setup ## the default tests, at most 8 minutes on two cores
	@OMP_NUM_THREADS=1 $(PY) -m pytest -m "not slow" -n 2 --costs $(ARGS)

.venv/slow: .venv/docs pyproject.toml
	@echo "test-slow: installing the demo, notebooks and the driver of a browser"
	@$(PIP) $$($(PY) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["slow"])')
	@touch $@

test-slow: .venv/slow ## installation matrix, end to end, kernel tables: at most 40 minutes
	@OMP_NUM_THREADS=1 $(PY) -m pytest -m "slow and not records" -n 2 --costs $(ARGS)

test-records: setup ## measure what is recorded of static MNIST and emoji again: an hour or more (ZOO_SHARED)
	@OMP_NUM_THREADS=1 $(PY) -m pytest -m records -n 2 --costs $(ARGS)

figures: setup ## record help, JSON, exit codes and the demo's table anew (tests/compat/figures.json)
	@$(PY) tools/figures.py --demo

compare: setup ## two commits side by side: figures and times (BASE=main~10, ARGS="HEAD --rounds 5")
	@$(PY) tools/compare_commits.py $(or $(BASE),$(error say BASE=commit)) $(ARGS)

fuzz: setup ## ten minutes of bad configs, checkpoints and compressed files (SECONDS=600)
	@ZOO_FUZZ_SECONDS=$$(( $(or $(SECONDS),600) / 3 )) $(PY) -m pytest -m slow tests/weights/test_fuzz.py tests/weights/test_fuzz_configs.py tests/weights/test_fuzz_compressed.py $(ARGS)

.venv/bench: .venv/ready pyproject.toml
	@echo "bench: installing the peers"
	@$(PIP) --no-deps $$($(PY) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["bench"])')
	@touch $@

bench: .venv/bench ## time kernels and models against their peers (ARGS="--only spline"), write docs/benchmarks.md
	@OMP_NUM_THREADS=1 $(PY) benchmarks/run.py --proof --out benchmarks/results/cpu $(ARGS)
	@$(PY) benchmarks/report.py

lint: setup ## ruff: rules and format; names that were replaced (tools/words.toml)
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) tools/words.py

format: setup ## apply ruff's fixes and format
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

types: setup ## mypy, strict
	@$(PY) -m mypy

imports: setup ## zoo_kernels <- zoo_core <- zoo_<family>, never sideways or back
	@$(PY) -c 'from importlinter.cli import lint_imports_command as run; run()' --no-cache --no-logo

wheel: .venv/tools ## wheels of the core, of every plugin and of weights beyond 25 MB, in dist/
	@rm -rf dist build/packages build/lib build/lib.* build/bdist.* $(addsuffix /build,$(PLUGINS))
	@for package in . $$($(PY) -m tools.companions $(PLUGINS)); do echo "wheel: $$package"; \
	  $(PY) -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation -w dist "./$$package"; done
	@ls -1 dist

clean: ## remove .venv and everything that was built
	@rm -rf .venv build dist demo .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis \
	  *.egg-info plugins/*/build plugins/*/src/*.egg-info kernels/zoo_kernels/_C.*
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
