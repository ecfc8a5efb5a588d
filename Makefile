# Each target alone does all it needs on a fresh machine, in .venv.
# LOCKED=1 installs exactly the versions of requirements.lock, with their hashes.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet

.PHONY: help install demo test lint docs lock benchmark clean

help:
	@echo "make demo       invert 8 scenes with ddim, ife and fpi; prints a table and a picture's path"
	@echo "make test       style check, type check and test suite"
	@echo "make docs       the documentation as web pages, docs/_build/index.html"
	@echo "make benchmark  time of inversion and sampling over the network's own time"
	@echo "make install    only the set-up, in .venv (PYTHON=... chooses the interpreter, LOCKED=1 the lock file)"
	@echo "make lock       write requirements.lock from the packages installed here"

.venv/installed: requirements.txt requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) --upgrade pip
ifdef LOCKED
	$(PIP) --require-hashes -r requirements.lock
	$(PIP) --no-deps -e .
else
	$(PIP) -r requirements.txt
endif
	@touch $@

# The lock file holds the packages of the checks and of the documentation, too.
.venv/installed-dev: .venv/installed
ifndef LOCKED
	$(PIP) -e ".[dev,docs]"
endif
	@touch $@

install: .venv/installed

demo: .venv/installed
	$(BIN)/python run.py experiment=demo

test: .venv/installed-dev lint docs
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/installed-dev
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs docs/_build

lock: .venv/installed-dev
	$(PIP) uv
	$(BIN)/python -m pip freeze --exclude-editable --exclude uv > .venv/versions.txt
	$(BIN)/uv pip compile --quiet pyproject.toml --extra dev --extra docs --constraint .venv/versions.txt \
		--generate-hashes --no-emit-index-url --no-annotate --no-header --output-file requirements.lock

benchmark: .venv/installed
	$(BIN)/python experiments/benchmarks/overhead/benchmark.py steps=20
	$(BIN)/python experiments/benchmarks/overhead/benchmark.py steps=10 guidance=3

clean:
	rm -rf .venv outputs/*/ docs/_build docs/generated .pytest_cache .ruff_cache .mypy_cache
