# The same few commands for people and for CI. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TORCH := torch==2.13.0

# Where torch comes from beside pip's own index. "auto": on Linux without an NVIDIA GPU, PyTorch's index of CPU builds
# (200 MB instead of gigabytes of CUDA); "none": nothing else; or the address of an index.
TORCH_INDEX ?= auto
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu

ARGS ?=

# `make image`: which Dockerfile of k8s/images, what the image is called, what else the build is told, and by which engine.
IMAGE ?= cpu
TAG ?= stageline:$(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)$(if $(filter-out cpu,$(IMAGE)),-$(IMAGE))
BUILD ?=
ENGINE ?= $(shell command -v docker || command -v podman)

.PHONY: help install serve test bench attacks k8s-check lint fmt image clean

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP)  ## make .venv and install Stageline with its tests and tools

serve: $(STAMP)  ## fetch the demo model, serve it on http://127.0.0.1:8000 (ARGS="my.yaml --port 9000")
	@exec $(BIN)/stageline serve $(ARGS)

test: $(STAMP)  ## run the tests (ARGS="-k settings")
	$(BIN)/python -m pytest $(ARGS)

bench: $(STAMP)  ## the article's table, measured here: a plain baseline against Stageline (ARGS="--task generation")
	@exec $(BIN)/stageline benchmark $(ARGS)

attacks: $(STAMP)  ## hostile files and hostile callers, on a server of its own (ARGS="--only templates")
	@exec $(BIN)/stageline attack $(ARGS)

k8s-check: $(STAMP)  ## render and check k8s/, without a cluster (ARGS="k8s/overlays/gpu" KUBERAY_CRDS=folder)
	@exec $(BIN)/stageline k8s check $(ARGS)

lint: $(STAMP)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fmt: $(STAMP)  ## format, and fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

image:  ## build the container image (IMAGE=cuda, TAG=registry/stageline:1, BUILD="--build-arg ...")
	@test -n "$(ENGINE)" || { echo "make image needs docker or podman, and neither is here."; exit 1; }
	@test -f "k8s/images/$(IMAGE)/Dockerfile" || { echo "There is no k8s/images/$(IMAGE)/Dockerfile."; exit 1; }
	$(ENGINE) build --file k8s/images/$(IMAGE)/Dockerfile --tag $(TAG) \
	  --build-arg REVISION="$$(git rev-parse HEAD 2>/dev/null || echo unknown)" $(BUILD) .

clean:  ## remove .venv, caches and builds (not the fetched models)
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find engine cluster deployments loadtest tests -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# torch goes first and alone, so that nothing else decides which build of it is taken. An index that does not answer
# costs 15 s once: pip then goes on without it.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Stageline needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV), a few minutes the first time"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade --constraint constraints.txt pip
	@index="$(TORCH_INDEX)"; \
	if [ "$$index" = auto ]; then \
	  index=none; \
	  if [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null; then index="$(TORCH_CPU_INDEX)"; fi; \
	fi; \
	if [ "$$index" = none ]; then \
	  $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt "$(TORCH)"; \
	else \
	  $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt \
	    --retries 0 --timeout 15 --extra-index-url "$$index" "$(TORCH)"; \
	fi
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test,dev]'
	@touch $@
