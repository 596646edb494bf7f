# The two commands: `make quickstart` runs a study and ends with the path of its report; `make test` runs the tests.
# Both make their own environment (.venv) from requirements.lock the first time, and again only when it changes.

PYTHON ?= python3
UV ?= uv
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Without byte code caches every process would compile torch anew, which takes seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: quickstart test faults calibration check site package docs tutorial mutants gpu lock clean

quickstart: $(READY)
	@$(BIN)/fathom run quickstart --out runs/quickstart

test: $(READY)
	@$(BIN)/python -m pytest -n 2 --dist loadgroup

# Every fault of docs/reliability.md, repeated: half an hour on two cores; resumes where it was stopped.
faults: $(READY)
	@$(BIN)/python -m tools.faults

# Error rates of the statistics by simulation, into docs/statistics.md: minutes on two cores; resumes.
calibration: $(READY)
	@$(BIN)/python -m tools.calibration

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/lint-imports
	$(MAKE) --no-print-directory site
	$(MAKE) --no-print-directory package
	$(BIN)/python -m pytest tests/test_house.py tests/test_docs.py tests/test_project.py

# The documentation site, build/site/index.html. Warnings are errors; nothing is fetched.
site: $(READY)
	@$(BIN)/python -m sphinx -W --keep-going -n -q -d build/doctrees -b html docs build/site
	@echo "build/site/index.html"

# The sdist and the wheel in build/dist; the wheel is installed into an empty environment and started there.
package: $(READY)
	@$(BIN)/python tools/check_package.py

docs: $(READY)
	$(BIN)/python -m docs.generate

# Runs the tutorial's commands and writes what they print into docs/tutorial.md.
tutorial: $(READY)
	$(BIN)/python -m docs.walkthrough

# Pinned versions without registry addresses, for every platform and Python from 3.11 on.
lock:
	$(BIN)/python -m uv pip compile pyproject.toml --group test --group check --group docs --group mutants --universal --python-version 3.11 \
		--no-emit-index-url --no-header --no-annotate --upgrade -q -o requirements.lock

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Fathom needs Python 3.11 or newer: make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) $(VENV) 2>/dev/null || $(PYTHON) -m venv $(VENV)
	@$(UV) --version >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@if $(UV) --version >/dev/null 2>&1; then uv="$(UV)"; else uv="$(BIN)/python -m uv"; fi; \
	  echo "installing the pinned packages into $(VENV)" >&2; \
	  $$uv pip install --quiet --python $(BIN)/python -r requirements.lock && \
	  $$uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

# A seeded sample of mutants per package, one core, about an hour; resumes where it was stopped.
mutants: $(READY)
	@$(BIN)/python -m tools.mutants run

# Everything that is to be known on a GPU, in under 8 minutes and without internet; resumes. GPU=--rehearse: on the CPU.
gpu: $(READY)
	@$(BIN)/python bench/gpu.py $(GPU)

clean:
	rm -rf $(VENV) build dist
