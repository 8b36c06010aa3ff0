# The environment is made once; $(STAMP) says that it is complete and up to date.
# Another interpreter: make test PYTHON=python3.12
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test check lint format docs bench clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

# The stamp goes first and comes back last, so a failed install leaves none.
$(STAMP): requirements.txt setup.cfg pyproject.toml
	@command -v $(PYTHON) >/dev/null || { \
	  echo "error: '$(PYTHON)' not found; name a Python >= 3.11, as in" \
	    "'make test PYTHON=python3.12'" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: vaejax needs Python >= 3.11 but '$(PYTHON)' is" \
	    "$$($(PYTHON) --version 2>&1); name a newer one, as in" \
	    "'make test PYTHON=python3.12'" >&2; exit 1; }
	@rm -f $@
	@echo "Making $(VENV) and installing requirements.txt into it (once, a few minutes)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@

install: $(STAMP) ## make .venv with the pinned requirements and the package

demo: $(STAMP) ## train, evaluate and compare on the digits: runs/demo/report.html
	$(BIN)/python -m experiments.demo --out runs/demo --overwrite

test: $(STAMP) ## every test
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: lint ## lint, and the tests that are not marked slow
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

lint: $(STAMP) ## formatting, lint and types, changing nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP) ## format, and repair what the linter can
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

docs: $(STAMP) ## the pages and the API as a site, strictly: site/index.html
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	@echo "the site is built: site/index.html"

bench: $(STAMP) ## speed, and how often the benchmark's intervals hold the truth
	$(BIN)/python -m experiments.speed --overwrite
	$(BIN)/python -m experiments.cost --overwrite
	$(BIN)/python -m experiments.coverage --overwrite

clean: ## remove .venv and caches; runs/ is yours and stays
	rm -rf $(VENV) site build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -path ./runs -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
