# Two commands on a fresh machine: `make study` and `make test`. Each builds .venv when it must and reuses it after.
PYTHON ?= python3
VENV ?= .venv
STUDY ?= w2_bound
ARGS ?=

PY := $(VENV)/bin/python
INSTALL = $(PY) -m pip install -qq --disable-pip-version-check -c constraints.txt -e
PINS := pyproject.toml constraints.txt
export NO_MKDOCS_2_WARNING := 1

.PHONY: study test lint docs clean

study: $(VENV)/.study
	@$(PY) -m studies.$(STUDY) $(ARGS); code=$$?; \
	if [ $$code -eq 3 ]; then echo "$(STUDY): inconclusive (exit code 3), passed on as success"; exit 0; fi; \
	exit $$code

test: $(VENV)/.all
	$(PY) -m pytest -q -n auto --dist loadfile $(ARGS)

lint: $(VENV)/.all
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

docs: $(VENV)/.all
	$(PY) -m gflow.study.publish
	$(VENV)/bin/mkdocs build --strict

clean:
	rm -rf $(VENV) site docs/reports

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.study: $(PINS) | $(VENV)/bin/python
	$(INSTALL) ".[data,fast]"
	@touch $@

$(VENV)/.all: $(PINS) | $(VENV)/bin/python
	$(INSTALL) ".[test,docs,data,fast]"
	@touch $@ $(VENV)/.study
