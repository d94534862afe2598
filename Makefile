# `make quickstart` and `make test` need a Linux machine with Python 3.10 to 3.13 and make, and nothing else.
# Both use .venv, which is made when it is missing and brought up to date when the versions below have changed.

PYTHON ?= python3
# Threads of the quickstart and worker processes of the tests. The numbers in the README were made with these.
THREADS ?= 2
WORKERS ?= 2

BIN := .venv/bin
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
# One stamp for each Python, so that another PYTHON makes another environment.
INSTALLED := .venv/installed-for-python$(VERSION)
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help quickstart test lint format types clean
.DEFAULT_GOAL := help

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1	\2/p' Makefile | expand -t 18
	@echo "PYTHON=python3.12 chooses another Python, THREADS and WORKERS the number of threads and of test processes."

quickstart: $(INSTALLED) ## Train SLICER on the embedded corpus: no network, about three minutes on two cores
	$(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no \
		--num_cpu_threads_per_process $(THREADS) recipes/slicer.py

# By stealing, tests of one file stay on one worker as long as it goes, and the models that they share are trained once.
test: lint types ## Check the style and run all tests
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal -rs --durations 25 --durations-min 5

lint: $(INSTALLED) ## Check the style
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(INSTALLED) ## Format the code and mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(INSTALLED) ## Check the types
	$(BIN)/mypy

clean: ## Remove the environment and the caches; runs/ stays
	rm -rf .venv build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	@case "$(VERSION)" in \
	3.10|3.11|3.12|3.13) ;; \
	"") echo "No Python found as \`$(PYTHON)\`. Install Python 3.10 to 3.13, or name one: make PYTHON=python3.11 ..."; exit 1 ;; \
	*) echo "\`$(PYTHON)\` is Python $(VERSION). Expected 3.10 to 3.13; name another one: make PYTHON=python3.11 ..."; exit 1 ;; \
	esac
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	echo "\`$(PYTHON)\` cannot make virtual environments. On Debian and Ubuntu: apt install python$(VERSION)-venv"; exit 1; }
	@$(PIP) --version 2>/dev/null | grep -q '(python $(VERSION))$$' || $(PYTHON) -m venv --clear .venv
	@echo "Installing the packages of constraints.txt into .venv; torch alone is hundreds of megabytes."
	$(PIP) install --quiet --constraint constraints.txt --upgrade pip
	$(PIP) install --constraint constraints.txt torch
	$(PIP) install --quiet --constraint constraints.txt --editable '.[test]'
	@rm -f .venv/installed-for-python*
	@touch $@
