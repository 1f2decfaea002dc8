# Layerforge. `make help` lists what there is; `make demo` and `make test` set up a fresh Debian machine by themselves.
.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint typecheck bench bench-runtime fidelity corpus golden clean venv system

PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

venv: ## make .venv and install Layerforge into it
	@.ci/setup venv

system: ## install the Debian packages that the tests run against
	@.ci/setup system

demo: venv ## build a real model without Docker, start it, and ask it for a prediction
	@.ci/demo

test: venv system lint typecheck ## run the checks and the tests, with the real components
	@$(PYTEST) -m "not slow"

test-all: venv system lint typecheck ## run every test, the slow ones too
	@$(PYTEST)

lint: venv ## check style and formatting
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check --quiet . || { echo "run: .venv/bin/ruff format ." >&2; exit 1; }

typecheck: venv ## check types, strictly
	@.venv/bin/mypy -p layerforge -p benchmarks
	@cd runtime && MYPYPATH=.:layerforge_runtime/isolated ../.venv/bin/mypy --config-file ../pyproject.toml \
		-p cog -p layerforge_runtime -p layerforge_worker

bench: venv ## measure against docker build + docker push, and print the ratios
	@.ci/setup bench
	@$(PYTHON) -m benchmarks

bench-runtime: venv ## measure the image's server against Cog's, and print the ratios
	@.ci/setup bench
	@$(PYTHON) -m benchmarks.runtime

fidelity: venv system ## compare our roots with mmdebstrap's (SETS="trixie/git bookworm/gtk"; needs root)
	@$(PYTHON) -m tests.fidelity $(SETS)

corpus: venv ## compare the most used packages' layers with uv's trees, and import them (PYTHON_VERSION=3.13 NAMES="numpy")
	@$(PYTHON) -m tests.corpus $(or $(PYTHON_VERSION),3.13) $(NAMES)

golden: venv ## write the snapshots of the tests anew (look at the difference before you commit it)
	@$(PYTEST) -m "not slow" --snapshot-update

clean: ## remove what was built here (not the store in your cache folder)
	@rm -rf .venv .demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis benchmarks/results
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
