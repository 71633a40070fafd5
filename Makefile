# Two commands on a fresh machine with Python 3.12 or later: `make demo` and `make test`.

# The first interpreter that runs here and is new enough; `make PYTHON=/path/to/python` overrides.
PYTHON ?= $(shell for candidate in python3 python3.12 python3.13 python3.14 python; do \
	$$candidate -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && echo $$candidate && break; done)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-pages lint bench docs clean

demo: $(VENV)/installed-all
	$(BIN)/elmlff stack --models dp1,painn,nep --meta egat,conservative

test: $(VENV)/installed-test lint
	# One thread: test problems are small, and sums over one thread are the same every time.
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest

test-pages: $(VENV)/installed-pages
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -m pages tests/report

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "elmlff needs Python 3.12 or later: install it, or make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/installed-all: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[all]"
	touch $@

$(VENV)/installed-test: pyproject.toml $(VENV)/installed-all
	$(BIN)/python -m pip install --quiet --editable ".[all,test]"
	touch $@

$(VENV)/installed-pages: pyproject.toml $(VENV)/installed-test
	$(BIN)/python -m pip install --quiet --editable ".[all,test,pages]"
	touch $@

$(VENV)/installed-docs: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	touch $@

docs: $(VENV)/installed-docs
	$(BIN)/python docs/draw_rooms.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html, or for the search $(BIN)/python -m http.server -d site"

bench: $(VENV)/installed-all
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf $(VENV) build site *.egg-info .pytest_cache .mypy_cache .ruff_cache
