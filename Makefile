# Short forms of the commands in README.md and CONTRIBUTING.md.
VENV ?= .venv-test
PYTHON ?= $(VENV)/bin/python

.PHONY: demo test check check-static format rules-readme measure

demo: .venv/bin/raftmon
	.venv/bin/raftmon demo

test: $(VENV)/bin/pytest
	$(PYTHON) -m pytest

# What CI runs.
check: $(VENV)/bin/pytest check-static test

check-static:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -c "from importlinter.cli import lint_imports_command; lint_imports_command()" --no-logo

format: $(VENV)/bin/pytest
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

# Measures the rules anew on the stored recordings, and writes what it found into the rule set: some ten minutes.
measure: $(VENV)/bin/pytest
	$(PYTHON) -m tests.benchmarks --write
	$(MAKE) rules-readme

rules-readme: $(VENV)/bin/pytest
	$(PYTHON) -m raftmon.cli rules list --format markdown > rules/README.md

.venv/bin/raftmon: pyproject.toml
	python3 -m venv .venv
	.venv/bin/pip install .

$(VENV)/bin/pytest: pyproject.toml
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install "torch==2.13.0" -e ".[test,web,trainers,remote,remote-test,metrics,notify,mcp]"
	@touch $@
