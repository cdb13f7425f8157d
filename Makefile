# Every task of the project. `make` alone prints what there is.

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BUF := node_modules/.installed
VENDOR := conformance/vendors/typescript
JOBS ?= 2

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help venv proto check-proto rfcs check-rfcs lint-proto lint format test selftest trace site conformance vendor kills simulate plant demo bench check clean system-packages

help: ## Print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

venv: $(STAMP) ## Create .venv with everything that development needs

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make venv: Python 3.11 or newer is needed; name one: make venv PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq -c constraints.txt -e '.[node,mcp,demo,dev,conformance]'
	@touch $@

proto: $(STAMP) ## Generate protocol/intertie/v1 from the .proto files
	@$(BIN)/python scripts/generate-protos

check-proto: $(STAMP) ## Check that the generated code is fresh
	@$(BIN)/python scripts/generate-protos --check

rfcs: $(STAMP) ## Write requirements.json, the RFC index and what is rendered into the RFCs
	@$(BIN)/python scripts/generate-requirements $(ARGS)

check-rfcs: $(STAMP) ## Check the RFCs, and that what follows from them is fresh
	@$(BIN)/python scripts/generate-requirements --check

lint-proto: $(BUF) ## Lint the .proto files with buf (needs npm)
	node_modules/.bin/buf lint

$(BUF): package.json
	@npm install --no-package-lock --no-audit --no-fund --silent
	@touch $@

lint: $(STAMP) ## Check style, types and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@mkdir -p build
	@$(BIN)/lint-imports --no-logo > build/lint-imports.txt || { cat build/lint-imports.txt; exit 1; }

format: $(STAMP) ## Rewrite the Python files in the project's style
	$(BIN)/ruff check --fix-only -q .
	$(BIN)/ruff format .

check: check-proto check-rfcs lint-proto lint ## All static checks

test: $(STAMP) ## Run the tests (ARGS="-k name" narrows, JOBS=4 widens)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal tests --ignore=tests/bench --ignore=tests/vendor $(ARGS)

selftest: $(STAMP) ## Judge the conformance suite: honest grid, mutants, liars (ARGS="--only IT-LNK")
	@mkdir -p build
	$(BIN)/intertie-conformance selftest --json build/selftest.json $(ARGS)

trace: $(STAMP) ## Print requirement, checks, mutants and the holes, from a self-test that is run first (SEEN=1: the last one)
	@$(if $(SEEN),,$(BIN)/intertie-conformance selftest --json build/selftest.json $(ARGS) >build/selftest.txt || { cat build/selftest.txt; exit 1; })
	@$(BIN)/python scripts/trace

site: $(STAMP) ## Write the site of the standard into build/site
	@$(BIN)/python scripts/generate-site

conformance: $(STAMP) ## Run the conformance suite against the reference node
	$(BIN)/intertie-conformance run --command "$(CURDIR)/$(BIN)/python $(CURDIR)/conformance/targets/reference-node" $(ARGS)

vendor: $(STAMP) $(VENDOR)/node_modules/.installed ## Check the node in TypeScript: types, vectors, the suite against it, trade with it (needs Node.js 20)
	cd $(VENDOR) && npm run --silent check && npm run --silent vectors
	$(BIN)/intertie-conformance run --command "env DIR=$$(mktemp -d) node --import $(CURDIR)/$(VENDOR)/node_modules/tsx/dist/loader.mjs $(CURDIR)/$(VENDOR)/src/main.ts" $(ARGS)
	$(BIN)/python -m pytest -q tests/vendor

$(VENDOR)/node_modules/.installed: $(VENDOR)/package.json
	@cd $(VENDOR) && npm install --no-package-lock --no-audit --no-fund --silent
	@touch $@

kills: $(STAMP) ## Kill nodes fifty times under traffic (KILLS=n, SEED=n)
	KILLS=$${KILLS:-50} $(BIN)/python -m pytest -s tests/federation/test_random_kills.py $(ARGS)

simulate: $(STAMP) ## Run simulated worlds: SEEDS=300 FROM=0, or replay SEED=n
	@$(BIN)/python -m tests.simulation.run $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),300) --from $(or $(FROM),0)) \
		--jobs $(JOBS) $(ARGS)

plant: $(STAMP) ## Plant faults and count the seeds that find them (ARGS=--short)
	@$(BIN)/python -m tests.simulation.plants --jobs $(JOBS) $(ARGS)

demo: $(STAMP) ## Start three grids here and let one buy from another
	$(BIN)/intertie demo $(ARGS)

bench: $(STAMP) ## Measure calls a second; writes build/bench.json
	@mkdir -p build
	$(BIN)/python tests/bench/run.py --output build/bench.json $(ARGS)

system-packages: ## Install missing system packages (Debian, as root) or say which
	@scripts/install-system-packages

clean: ## Remove everything that was built, .venv and node_modules included
	rm -rf $(VENV) node_modules $(VENDOR)/node_modules build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
