# Every target makes its environment first; the doors (python -m features|training|serving) hold the defaults.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3
# What is not given is left to the doors.
data = $(if $(DATA),--data "$(DATA)")
trials = $(if $(TRIALS),--trials "$(TRIALS)")
out = $(if $(OUT),--run "$(OUT)")
port = $(if $(PORT),--port "$(PORT)")
# On the loopback, for one's own eyes; KEYS=yes asks for keys as a server for others must.
keys = $(if $(filter yes,$(KEYS)),,--without-keys)
PY := .venv/bin/python
pip_install = $(PY) -m pip install --disable-pip-version-check --no-deps --require-hashes --progress-bar off
show = | sed -u -n 's/^Collecting \([^ ;]*\).*/  \1/p; s/^Installing collected.*/  installing/p'
.DEFAULT_GOAL := help
.PHONY: help setup run serve check test bench lock

help:
	@echo "make run                 from a real grocer's raw tables to served, explained models (DATA= TRIALS= OUT=)"
	@echo "make serve               serve the champions of OUT on PORT (KEYS=yes asks for keys)"
	@echo "make test                all tests; make check is the fast part"
	@echo "make bench               the benchmarks (BENCH= audience, features, one_customer, identity, probable, journeys, serving, soak, tags, explain, lookalike or ceiling)"

setup: .venv/installed

.venv/installed: requirements.lock
	@echo "setting up .venv from requirements.lock (once; about two minutes)"
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { echo "error: Python 3.11 to 3.13 is required, found $$($(PYTHON) --version); set PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "error: the venv module is required; on Debian: apt-get install python3-venv"; exit 1; }
	@$(pip_install) -r requirements.lock $(show)
	@$(PY) -c 'import pathlib, site; pathlib.Path(site.getsitepackages()[0], "likeness.pth").write_text(str(pathlib.Path.cwd()) + "\n")'
	@touch $@

.venv/installed-extra: .venv/installed requirements-extra.lock
	@echo "adding what the tests need from requirements-extra.lock (once)"
	@$(pip_install) -r requirements-extra.lock $(show)
	@touch $@

run: setup
	@$(PY) -m training run $(data) $(trials) $(out)
	@$(PY) -m serving publish $(out)

serve: setup
	@$(PY) -m serving serve $(out) $(port) $(keys)

check: .venv/installed-extra
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@$(PY) -m pytest -q tests/test_layers.py

# On one processor the fast ones, then the slow ones of two rooms; on the other the slow ones that train. What the first one said comes last.
test: check
	@mkdir -p out; ($(PY) -m pytest -q -m "not slow" --durations=15; fast=$$?; $(PY) -m pytest -q -m slow --durations=15 tests/features tests/serving && exit $$fast) \
		>out/first-tests.txt 2>&1 & first=$$!; \
	$(PY) -m pytest -q -m slow --durations=15 tests/test_*.py tests/training; second=$$?; wait $$first; code=$$?; tail -n 120 out/first-tests.txt; exit $$((second + code))

bench: .venv/installed-extra
	@$(PY) -m tests.benchmarks $(BENCH)

# Rewrites both locks; needs uv. No index may stand in them.
lock:
	uv pip compile pyproject.toml --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links -o requirements.lock
	uv pip compile pyproject.toml --extra test --constraint requirements.lock --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links -o requirements-extra.lock
