# Two commands on a fresh machine with Python 3.12 or later: `make demo` and `make test`.

# The first interpreter that runs here and is new enough; `make PYTHON=/path/to/python` overrides.
PYTHON ?= $(shell for candidate in python3 python3.12 python3.13 python3.14 python; do \
	$$candidate -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && echo $$candidate && break; done)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-pages test-environments fuzz lint bench crash docs package clean

demo: $(VENV)/installed-all
	$(BIN)/elmlff stack --models dp1,painn,nep --meta ace,egat

PROCESSES ?= 2
test: $(VENV)/installed-test lint
	# One thread each: test problems are small, and sums over one thread are the same every time.
	# tests/conftest.py puts the slowest files first; xdist would begin with those that have most tests.
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile \
		--no-loadscope-reorder

MINUTES ?= 60

# Damaged files, strange settings and commands, for an hour; cases that fail are kept in fuzz-failures/.
fuzz: $(VENV)/installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --minutes $(MINUTES)

test-pages: $(VENV)/installed-pages
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -m pages tests/report

# Models that run in environments of their own: TensorFlow of DeePMD-kit takes 3 GB and minutes.
test-environments: $(VENV)/installed-test
	$(BIN)/elmlff env create deepmd-tensorflow
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -m environments tests/adapters

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "elmlff needs Python 3.12 or later: install it, or make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# Python compiles what it imports; compiling all files of 7 GB of packages at once would take a minute.  It must be able to
# keep the result: without it each start takes many seconds longer, and some containers forbid it by this variable.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(BIN)/python -m pip install --quiet --no-compile --editable

$(VENV)/installed-all: pyproject.toml | $(BIN)/python
	$(INSTALL) ".[all]"
	touch $@

$(VENV)/installed-test: pyproject.toml | $(BIN)/python
	$(INSTALL) ".[all,test]"
	touch $(VENV)/installed-all $@

$(VENV)/installed-pages: pyproject.toml $(VENV)/installed-test
	$(INSTALL) ".[all,test,pages]"
	touch $@

$(VENV)/installed-docs: pyproject.toml | $(BIN)/python
	$(INSTALL) ".[docs,schnet,nep,universal]"
	touch $@

docs: $(VENV)/installed-docs
	$(BIN)/python docs/draw_rooms.py
	$(BIN)/python docs/run_notebooks.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html, or for the search $(BIN)/python -m http.server -d site"

bench: $(VENV)/installed-all
	$(BIN)/python benchmarks/run.py

# Kills at random points and a full disk: nothing may be lost.  It takes about an hour and goes on where it was interrupted.
KILLS := 100
crash: $(VENV)/installed-all
	$(BIN)/python benchmarks/crash --kills $(KILLS)

# What a release needs: an sdist and a wheel in dist/, their metadata checked, and the wheel in a fresh environment with one
# extra, where it makes a stack.  `make package PIP_OPTIONS="--find-links FOLDER"` passes options to that installation.
PACKAGE := build/package
PIP_OPTIONS ?=
package: | $(BIN)/python
	rm -rf $(PACKAGE) dist
	$(BIN)/python -m venv $(PACKAGE)/tools
	$(PACKAGE)/tools/bin/pip install --quiet build twine
	$(PACKAGE)/tools/bin/python -m build --outdir dist .
	$(PACKAGE)/tools/bin/twine check --strict dist/*
	$(BIN)/python -m venv $(PACKAGE)/fresh
	$(PACKAGE)/fresh/bin/pip install --quiet $(PIP_OPTIONS) "$$(echo dist/*.whl)[nep]"
	mkdir $(PACKAGE)/run
	cd $(PACKAGE)/run && ../fresh/bin/elmlff doctor; ../fresh/bin/elmlff stack --models nep --meta linear \
		--set models.nep.options.steps=100 && ../fresh/bin/elmlff cite elmlff-runs/*

clean:
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache
