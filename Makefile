# The same verbs for people and for CI. Everything is installed into .venv and .tinymlops of this folder.
.PHONY: help install engine demo fleet serve test test-compose check bench docs lock clean agent-image compose compose-down compose-demo
.DEFAULT_GOAL := help

BIN := .venv/bin
TESTS ?= tests
export PYTHONPATH := .

help: ## Say what there is
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/'

install: .venv/installed ## Build the environment

.venv/installed: requirements/all.txt requirements/uv.txt pyproject.toml infra/install.sh
	sh infra/install.sh

engine: ## Install and start Docker if this machine lets us
	@sh infra/engine.sh || echo "Going on without containers: only x86-gateway can be measured, natively."

demo: install engine ## The main job: train, compress, measure, select, register
	$(BIN)/tinymlops build activity

fleet: install engine ## The way out: release, gateway, three agents, roll-outs, and one that goes back by itself
	bash infra/fleet-demo/run.sh

serve: install ## Prefect, MLflow, gateway and a worker on this machine, until Ctrl-C
	$(BIN)/tinymlops serve

test: install ## Every check and every test but Compose's, with real Docker, Prefect, MLflow and browser
	sh infra/test-machine.sh
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest $(TESTS) -m "not compose" -n 2 --dist loadfile --cov --cov-report=term:skip-covered --durations=15

test-compose: install engine ## The tests of infra/compose.yaml: builds its images (1 GB of wheels), starts it, drives the loop
	$(BIN)/pytest tests/integration/compose -m compose

check: install ## Lint, types, import rules and unit tests: about a minute
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy --no-error-summary
	$(BIN)/lint-imports --no-cache >/dev/null || $(BIN)/lint-imports
	$(BIN)/pytest tests/unit -q -n 2 --no-header

bench: install engine ## Ratios: flow, kernels, calibration, repository, agent, gateway, a thousand devices, windows coming in
	$(BIN)/python bench/build.py
	$(BIN)/python bench/kernels.py
	$(BIN)/python bench/calibration.py
	$(BIN)/python bench/releases.py
	$(BIN)/python bench/agent.py
	$(BIN)/python bench/gateway.py
	$(BIN)/python bench/fleet.py
	$(BIN)/python bench/ingest.py
	$(BIN)/python bench/metering.py
	$(BIN)/python bench/metering.py schedules
	$(BIN)/python bench/metering.py settle
	$(BIN)/python bench/metering_pi.py
	$(BIN)/python bench/monitor.py
	$(BIN)/python bench/drift.py

agent-image: install engine ## Build the agent's container image, and print its tag
	$(BIN)/python infra/agent/build.py

compose: install engine ## The real thing in containers: PostgreSQL, S3, Prefect, MLflow, gateway, worker, broker
	@sh infra/services/up.sh

compose-down: ## Stop it; what it keeps, stays
	sh infra/services/compose.sh down

compose-demo: install engine ## The whole loop in containers, with two dozen devices; gone afterwards
	$(BIN)/python infra/compose-demo/run.py

docs: install ## Check that links and commands in README and docs hold
	$(BIN)/pytest tests/docs -q

lock: install ## Resolve again and write the lock files
	$(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
		--extra train --extra gateway --extra server --extra microcontroller --extra mqtt --extra drift --extra dev pyproject.toml -o requirements/all.txt
	echo 'tpm2-pytss~=3.0' | $(BIN)/uv pip compile --quiet --upgrade --no-deps --generate-hashes --no-emit-index-url --no-header \
		--python-version 3.11 - -o requirements/tpm.txt
	echo uv | $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-emit-index-url --no-header - -o requirements/uv.txt
	sh infra/services/lock.sh

clean: ## Remove results, caches and the environment
	rm -rf .venv .tinymlops out .mypy_cache .ruff_cache .pytest_cache .hypothesis
