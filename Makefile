# The single list of commands; CI and pre-commit call these and nothing else.
.DEFAULT_GOAL := help
.PHONY: help demo test coverage test-all oldest check docs format lint types fuzz licences dist shipped clean

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
# Two workers for two cores, one thread each and half of the files; temporary files stay in the checkout
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal --basetemp .venv/tmp/pytest
MODEL := camvid
MINUTES := 1
FUZZ :=

help:  ## Show the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'

demo: .venv/installed  ## Label the photographs in examples/ with the shipped model, into demo-output/
	$(BIN)/fcn predict examples --model $(MODEL) --out demo-output --save mask,overlay

test: .venv/tested  ## Every fast test and doctest
	$(PYTEST) -m "not slow and not gpu"

coverage: .venv/tested  ## The same, and which lines they reach: a quarter slower
	$(PYTEST) -m "not slow and not gpu" --cov --cov-report term:skip-covered --cov-fail-under 95

test-all: .venv/tested  ## Every test this machine can run
	$(PYTEST)

oldest: BIN := .venv/oldest/bin
oldest: .venv/oldest/tested  ## Every fast test with the oldest versions that pyproject.toml allows, but PyTorch's
	$(PYTEST) -m "not slow and not gpu"

fuzz: .venv/tested  ## Damage files of every kind and read them: make fuzz MINUTES=10 FUZZ="caffe pictures"
	nice $(BIN)/python tests/fuzz.py $(FUZZ) --minutes $(MINUTES)

licences: .venv/tested  ## Write THIRD-PARTY.md anew
	$(BIN)/python tests/licences.py

dist: .venv/tested  ## Build wheel and sdist into dist/, twice: they must be the same
	rm -rf dist .venv/tmp/again
	$(BIN)/python -m build --no-isolation --outdir dist .
	$(BIN)/python -m build --no-isolation --outdir .venv/tmp/again .
	cd dist && sha256sum * | (cd ../.venv/tmp/again && sha256sum --check)
	$(BIN)/check-wheel-contents dist/*.whl
	$(BIN)/twine check --strict dist/*

check: lint types docs test  ## What must be clean before a commit

lint: .venv/tested  ## Formatting and style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/vulture

types: .venv/tested  ## Types, strictly
	$(BIN)/mypy

docs: .venv/tested  ## The pages in docs/ as a site, to be read from site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	@echo "site/index.html"

format: .venv/tested  ## Format, and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

shipped: .venv/tested  ## Export the shipped models anew, after their checkpoints have changed
	for model in camvid nyudv2; do $(BIN)/fcn export $$model --to onnx --precision float16 \
	  --out src/fullyconv/shipped/$$model.onnx || exit 1; done

# Stamps: a second call reinstalls nothing unless what is to be installed has changed
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	@echo "Installing into .venv (the first time takes some minutes) ..."
	$(PIP) --editable .
	touch $@

.venv/tested: .venv/installed
	$(PIP) --editable '.[dev]'
	mkdir -p .venv/tmp
	touch $@

# What users install at its lower bound, found by uv; PyTorch, whose old wheels bring gigabytes of
# CUDA, and the extra dev as in constraints.txt
.venv/oldest/tested: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv/oldest
	.venv/oldest/bin/python -m pip --disable-pip-version-check install --quiet uv
	sed '/^dev = /,/^]/d' pyproject.toml > .venv/oldest/pyproject.toml
	.venv/oldest/bin/uv pip compile --quiet --no-header --no-annotate --no-deps --all-extras --no-emit-package torch \
	  --resolution lowest-direct .venv/oldest/pyproject.toml > .venv/oldest/oldest.txt
	sed 's/==.*//; s/^/^/' .venv/oldest/oldest.txt | grep -v -f - constraints.txt > .venv/oldest/others.txt
	UV_FIND_LINKS="$$PIP_FIND_LINKS" .venv/oldest/bin/uv pip install --quiet --python .venv/oldest/bin/python \
	  --constraint .venv/oldest/oldest.txt --constraint .venv/oldest/others.txt \
	  --requirements pyproject.toml --all-extras --editable .
	mkdir -p .venv/tmp
	touch $@

clean:  ## Remove everything that was made here
	rm -rf .venv demo-output dist runs site .pytest_cache .mypy_cache .ruff_cache .coverage .hypothesis
