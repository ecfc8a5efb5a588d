# Each target alone does all it needs on a fresh machine, in .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help install demo test lint benchmark clean

help:
	@echo "make demo       invert 8 scenes with ddim, ife and fpi; prints a table and a picture's path"
	@echo "make test       style check and test suite"
	@echo "make benchmark  time of inversion and sampling over the network's own time"
	@echo "make install    only the set-up, in .venv (PYTHON=... chooses the interpreter)"

.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements.txt
	@touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	@touch $@

install: .venv/installed

demo: .venv/installed
	$(BIN)/python run.py experiment=demo

test: .venv/installed-dev lint
	$(BIN)/python -m pytest

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

benchmark: .venv/installed
	$(BIN)/python experiments/benchmarks/overhead/benchmark.py steps=20
	$(BIN)/python experiments/benchmarks/overhead/benchmark.py steps=10 guidance=3

clean:
	rm -rf .venv outputs/*/ .pytest_cache .ruff_cache
