# `make` lists the targets. Everything happens inside .venv; nothing else is touched.
PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help install run test test-postgresql lint bench clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

install: .venv/installed  ## make the environment in .venv (a second time installs nothing)

SWEEP := service/training/native

.venv/installed: pyproject.toml constraints.txt $(wildcard $(SWEEP)/*.[ch]) $(SWEEP)/hatch_build.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Descent needs Python 3.11 or newer; name one with: make PYTHON=python3.11")'
	@echo "Installing into .venv; this takes a minute or two …"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@test -f $(SWEEP)/libsweep.so || echo "Without a C compiler, NumPy and torch do the work of the compiled sweep: logistic and softmax regression take longer."
	@touch $@

run: install  ## start the service, train a real example, predict, keep serving (ONCE=1 ends after the story)
	@$(BIN)/descent demo --port $(PORT) $(if $(ONCE),--once)

lint: install  ## formatting, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --num-workers 2
	$(BIN)/lint-imports

.venv/clients/installed: tests/clients.txt | .venv/installed
	@echo "Installing the clients of KServe and MLServer into .venv/clients …"
	@rm -rf .venv/clients
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --ignore-requires-python \
		--target .venv/clients --requirement tests/clients.txt \
		&& touch $@ || echo "They cannot be installed: what they test is skipped, and tried again next time."

# One thread of BLAS in each process, or they would keep each other waiting. The examples that hypothesis draws are the
# same in every run; plain pytest draws others each time. Bytecode is kept, also where the environment says otherwise: the
# tests start the service's processes some hundred times, and each would compile the whole of it.
PYTEST := PYTHONDONTWRITEBYTECODE= OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest --hypothesis-profile ci --numprocesses auto --maxprocesses 4 --dist worksteal

test: install  ## all of lint, then the tests, in a process for each of up to four processors
	@$(MAKE) --no-print-directory --jobs=2 lint .venv/clients/installed
	$(PYTEST)

test-postgresql: install .venv/clients/installed  ## the tests on a PostgreSQL server of their own in place of SQLite
	$(PYTEST) --postgresql

bench: install  ## what is fast, measured beside what one would use instead, JAX among it (BENCH="--only logistic")
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,bench]'
	@$(BIN)/python -m benchmarks $(BENCH)

clean:  ## remove the environment and what tools left behind
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	rm -f $(SWEEP)/libsweep.so
