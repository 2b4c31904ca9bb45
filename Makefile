# `make` alone lists the commands. All of them set up what they need, may be stopped at any moment,
# and go on from there when they are run again.
#
#   PYTHON=/path/to/python3.12   the Python to build .venv with (3.11 or newer)
#   ARGS="--small"               passed on to the demo or to pytest

PYTHON ?=
ARGS ?=
.DEFAULT_GOAL := help
.PHONY: help demo test check docs format setup setup-demo lock clean

run := .venv/bin/python -m
# The command line of the setup; $(1) is "demo" or "test".
set_up = python=$$(PYTHON='$(PYTHON)' sh tools/find-python.sh $(1)) && "$$python" tools/setup.py $(1)

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 22

demo: setup-demo ## set up, then run the main job: eight nodes on this machine (all from Python packages)
	@.venv/bin/python run_node.py demo $(ARGS)

test: check ## set up (Debian packages included), check, then run all tests
	@echo '[test] pytest'
	@$(run) pytest $(ARGS)

check: setup ## lint, format, types and import directions
	@echo '[check] ruff check'
	@$(run) ruff check --quiet --output-format concise .
	@echo '[check] ruff format --check'
	@$(run) ruff format --quiet --check .
	@echo '[check] mypy'
	@$(run) mypy
	@echo '[check] lint-imports'
	@.venv/bin/lint-imports --no-logo

format: setup ## let ruff put the code into its form
	@$(run) ruff check --quiet --fix-only .
	@$(run) ruff format .

docs: setup ## write the pages that are made from the code
	@$(run) tools.generated
	@$(run) tools.vectors
	@$(run) node.config_text > docs/configuration.md

setup: ## make .venv with everything, and install what the tests need from Debian
	@$(call set_up,test)

setup-demo: ## make .venv with what the nodes need to run, and nothing else
	@$(call set_up,demo)

# uv lives in a virtual environment of its own: nothing but this needs it.
UPGRADE ?=
uv := build/uv/bin/uv
compile := UV_CUSTOM_COMPILE_COMMAND='make lock' $(uv) pip compile --quiet --universal \
	--python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	$(if $(UPGRADE),--upgrade) pyproject.toml

lock: $(uv) ## write both locks from pyproject.toml; UPGRADE=1 takes newer versions
	@$(compile) -o requirements.lock
	@$(compile) --group dev -c requirements.lock -o requirements-dev.lock

$(uv):
	@python=$$(PYTHON='$(PYTHON)' sh tools/find-python.sh lock) && "$$python" -m venv --clear build/uv
	@build/uv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.9

clean: ## remove .venv, caches and build leftovers; run nodes' homes stay
	@rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -prune -exec rm -rf {} +
