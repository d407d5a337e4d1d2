# Everything routine, one target each. `make` alone lists them.
#
# Only python3 (3.11 or newer), git and make are needed: the first target that needs the environment
# creates it. Nothing has to be activated. Another Python: `make demo PYTHON=/path/to/python3.12`.
# On a machine without a GPU, PyTorch's own index of CPU builds saves several GB: name it in
# PIP_EXTRA_INDEX_URL.

SHELL := /bin/bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)

usable = $(1) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	if $(call usable,$$python); then echo $$python; break; fi; done)
ready := .venv/.ready
pip := pip install --quiet --disable-pip-version-check --constraint constraints.txt

# Defaults of the routine targets below: `make fine-tune dataset=support adapter=support`.
base = smollm2-135m-instruct
dataset = techcorp
adapter = $(dataset)
data = techcorp
prompt = How much annual leave do I get at TechCorp?

## Start here

.PHONY: help
help:  ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^## / {print "\n" substr($$0, 4)} \
		/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(ready)  ## Train, evaluate and use an adapter on this machine, set-up included
	models doctor
	models base pull smollm2-135m-instruct
	models fine-tune --dataset techcorp --adapter techcorp-demo \
		--config configs/fine_tuning/company_facts.yaml --promote
	models generate --adapter techcorp-demo --compare-base "$(prompt)"
	@sed -n -e 's/^#>$$//p' -e 's/^#> //p' $(MAKEFILE_LIST)

#>
#> Where to find the results
#>   datasets/techcorp/                       the training rows, and the evaluation questions
#>   experiments/techcorp-demo/report.html    how training went; open it in a browser
#>   models/versions/techcorp-demo/1/         the version: weights, MANIFEST.json, TRAINING_INFO.md
#>   models/trained/techcorp-demo             a link to the active version
#>
#> Next commands
#>   .venv/bin/models generate --adapter techcorp-demo "Who is the CFO of TechCorp?"
#>   .venv/bin/models keys create --org techcorp    the key is shown once
#>   .venv/bin/models serve                   OpenAI's API and a page to chat, on port 8091
#>   .venv/bin/models init ~/my-project       a project of your own, outside this repository
#>   .venv/bin/models prepare-data FILE.csv --out datasets/mine
#>   .venv/bin/models fine-tune --dataset mine --adapter mine --promote

.PHONY: test
test: $(ready)  ## Run the whole test suite
	pytest --numprocesses logical --maxprocesses 4 --dist worksteal

.PHONY: test-pythons
test-pythons:  ## Run every test that needs no torch under each Python found: pythons="PATH ..."
	$(PYTHON) tests/each_python.py $(pythons)

.PHONY: setup
setup: $(ready)  ## Create .venv; repeated automatically when the dependencies change

$(ready): pyproject.toml constraints.txt
	@$(call usable,$(or $(PYTHON),false)) || { echo "Python 3.11 or newer (with venv) is needed;" \
		"name one: make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Setting up .venv; this downloads about 1 GB the first time."
	$(PYTHON) -m venv .venv
	$(pip) torch
	$(pip) --editable ".[dev$(shell nvidia-smi -L 2>/dev/null | grep -q GPU && echo ,gpu)]"
	touch $@

## Routine jobs, each a plain command to copy

.PHONY: doctor
doctor: $(ready)  ## What this machine can do, and what is missing
	models doctor

.PHONY: bases
bases: $(ready)  ## The base models, and which are available locally
	models base list

.PHONY: pull
pull: $(ready)  ## Fetch a base: base=NAME
	models base pull $(base)

.PHONY: check-data
check-data: $(ready)  ## Check everything before training: dataset=NAME
	models fine-tune --dataset $(dataset) --base-model $(base) --check

.PHONY: fine-tune
fine-tune: $(ready)  ## Train an adapter, and promote it if it is better: dataset=NAME adapter=NAME
	models fine-tune --dataset $(dataset) --base-model $(base) --adapter $(adapter) --promote

.PHONY: evaluate
evaluate: $(ready)  ## Evaluate an adapter against its base on unseen questions: adapter=NAME dataset=NAME
	models evaluate --adapter $(adapter) --dataset $(dataset)

.PHONY: generate
generate: $(ready)  ## Ask the adapter and its base: adapter=NAME prompt="..."
	models generate --adapter $(adapter) --compare-base "$(prompt)"

## Development of modelyard

.PHONY: check
check: $(ready)  ## Format, lint, types and import contracts
	ruff format --check .
	ruff check .
	mypy
	lint-imports

.PHONY: soak
soak: $(ready)  ## The tests with the large counts
	MODELYARD_SOAK=10 pytest -m "soak or not soak" --timeout=3600 -s -rA

.PHONY: docs
docs: $(ready)  ## Generate docs/cli.md, docs/configs.md and the config schemas
	python -m modelyard.cli.reference docs
	models config schema --all --to src/modelyard/configs/schemas

.PHONY: bench-train
bench-train: $(ready)  ## Speed of training beside its peers, or with beside=2,4 beside busy processes
	$(if $(beside),python benchmarks/beside.py --beside $(beside),python benchmarks/train.py --data $(data))

.PHONY: bench-memory
bench-memory: $(ready)  ## Predicted against measured peak memory
	python benchmarks/memory.py

.PHONY: bench-defaults
bench-defaults: $(ready)  ## The defaults of fine-tune against other settings: data=DIR [work=DIR]
	python benchmarks/defaults.py --data $(data) --work $(or $(work),/tmp/modelyard-defaults)

.PHONY: bench-startup
bench-startup: $(ready)  ## Start-up time of the command line
	python benchmarks/startup.py

.PHONY: bench-adapters
bench-adapters: $(ready)  ## Time of promote, rollback and list; needs the demo's adapter
	python benchmarks/adapters.py

.PHONY: bench-validate
bench-validate: $(ready)  ## Time of validate-config, side by side with check-jsonschema
	python benchmarks/validate.py

.PHONY: bench-traffic
bench-traffic: $(ready)  ## Cost of recording an answer, speed of folding and reading
	python benchmarks/traffic.py

.PHONY: bench-monitor
bench-monitor: $(ready)  ## Recording and `models monitor` against their bars, over a million samples
	python benchmarks/monitor.py

.PHONY: bench-engine
bench-engine: $(ready)  ## The engine against its bars: vllm=PYTHON llamacpp=PYTHON before=CHECKOUT
	python -m benchmarks.engine $(if $(vllm),--vllm $(vllm)) \
		$(if $(llamacpp),--llamacpp $(llamacpp)) $(if $(before),--before $(before))

.PHONY: bench-serve
bench-serve: $(ready)  ## The service over HTTP against its bars: vllm=PYTHON; soak=SECONDS for mixed load
	python -m benchmarks.serving $(if $(vllm),--vllm $(vllm)) $(if $(soak),--soak $(soak))

.PHONY: bench-answers
bench-answers: $(ready)  ## Answers against their bars, with the real clients and a provider on loopback
	python -m benchmarks.answers

.PHONY: bench-retrieval
bench-retrieval: $(ready)  ## Search against its bars: data="BEIR-DIR ..." peer=PYTHON with sentence-transformers
	python -m benchmarks.retrieval \
		$(if $(findstring command,$(origin data)),$(addprefix --data ,$(data))) \
		$(if $(peer),--peer $(peer))

.PHONY: bench-code-search
bench-code-search: $(ready)  ## Code found by file: questions=FILE sources=DIR with a folder for each repository
	python -m benchmarks.retrieval.repositories --questions $(questions) --sources $(sources)

.PHONY: bench-backup
bench-backup: $(ready)  ## Backups against their bars, beside restic and tar
	python -m benchmarks.backup

.PHONY: clean
clean:  ## Remove the environment and all caches; models and experiments stay
	rm -rf .venv .venvs build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
