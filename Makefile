# Two commands matter: `make run` and `make test`. Each sets itself up from nothing but Python 3.11+.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet

.PHONY: help run test install lint check bench faults lock audit clean

help: ## what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18

run: $(VENV)/.local ## start everything on this machine and print how to call it
	@exec $(BIN)/customers dev $(ARGS)

test: $(VENV)/.check ## run the tests on real Postgres and NATS
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

install: $(VENV)/.check ## make .venv with everything in it

lint: $(VENV)/.check ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

check: lint test ## every check: what a person runs and what CI runs

bench: $(VENV)/.check ## measure it beside what one would write instead (ARGS=--help: what can be chosen)
	@$(BIN)/python -m tests.benchmarks $(ARGS)

faults: $(VENV)/.check ## hurt it in every way there is, and check that it keeps what it promises (ARGS=--help)
	@$(BIN)/python -m tests.faults $(ARGS)

lock: $(VENV)/.check ## resolve the three lock files again (needs uv on PATH)
	for set in runtime local check; do \
	  extra=$$([ $$set = runtime ] && echo tracing || echo $$set); \
	  uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
	    --quiet --extra $$extra pyproject.toml -o requirements/$$set.txt; \
	done

# In an environment of its own: what looks for faults in dependencies is none of them. Strict: what
# could not be looked up has not passed.
audit: ## look the locked dependencies up among the known vulnerabilities (needs the network)
	@$(PYTHON) -m venv $(VENV)/audit
	@$(VENV)/audit/bin/python -m pip --disable-pip-version-check --quiet --quiet install pip-audit
	@$(VENV)/audit/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off \
	  -r requirements/check.txt

clean: ## remove .venv, and what a development service, the benchmarks and the faults kept
	rm -rf $(VENV) .customers .bench .faults build *.egg-info

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "customers needs Python 3.11 or newer; say which: make PYTHON=python3.12 …")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.local: requirements/local.txt pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV) …"
	@$(PIP) install --require-hashes -r requirements/local.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.check: requirements/check.txt pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV) …"
	@$(PIP) install --require-hashes -r requirements/check.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/.local
