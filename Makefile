# `make demo` and `make test` need Python 3.11+ and make, nothing else. Both work in a path with spaces.
PYTHON ?= python3

.PHONY: demo test lint clean

demo: .venv/.ready
	.venv/bin/python -m vaekit train digits

test: lint
	.venv/bin/python -m pytest -n 2

lint: .venv/.ready-dev
	.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .
	.venv/bin/python -m mypy

.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' || \
		{ echo 'vaekit needs Python 3.11 to 3.14; say which with: make demo PYTHON=python3.12'; exit 1; }
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@echo 'installing vaekit into .venv (PyTorch is large: a minute or so)'
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/.ready-dev: .venv/.ready
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache
