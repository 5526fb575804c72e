# Each target sets up .venv by itself, says what it does, and may be run again.
#
#   make demo     train on MNIST, export, verify, show samples          make lint   ruff and mypy
#   make test     lint, types and every test                            make bench  benchmarks/, printed and kept
#   make builtin  train and export exports/mnist, the built-in model    make clean  remove what the above have made
#
# Another build of torch:  make demo TORCH="torch==2.13.0" TORCH_ARGS="--index-url URL"   (URLs: pytorch.org, "Get started")
# Another ONNX Runtime:    make demo RUNTIME=cuda

PYTHON      ?= python3
TORCH       ?= torch==2.13.0
TORCH_ARGS  ?=
RUNTIME     ?= cpu

VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
READY  := $(VENV)/.ready-$(RUNTIME)
VAEKIT := $(BIN)/vaekit

# The best recipe found for the reference network and 10 epochs, with one epoch of warm-up; see benchmarks/README.md.
RECIPE := --learning-rate 8e-3 --schedule cosine --warmup 469

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast lint bench builtin clean
.DELETE_ON_ERROR:

help:
	@sed -n '3,8s/^# *//p' Makefile

setup: $(READY)

# torch comes first and alone: asked for by another package, it would come as a CUDA build of several gigabytes. The
# constraints then hold whatever build was chosen.
$(READY): pyproject.toml constraints.txt
	@echo "==> setting up $(VENV) (torch first; a few minutes on a new machine)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "vaekit needs Python 3.11 or newer; pass make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --quiet "$(TORCH)" $(TORCH_ARGS)
	@{ grep -v '^torch==' constraints.txt; $(PIP) freeze | grep '^torch=='; } > $(VENV)/constraints.txt
	@$(PIP) install --quiet -c $(VENV)/constraints.txt -e '.[$(RUNTIME),train,dev]'
	@touch $@

demo: $(READY)
	@echo "==> training the reference VAE on MNIST: 10 epochs"
	@rm -rf runs/demo
	@$(VAEKIT) train mnist --out runs/demo $(RECIPE)
	@echo "==> exporting two ONNX graphs"
	@$(VAEKIT) export runs/demo --out exports/demo --force
	@echo "==> replaying the golden vectors, without torch"
	@$(VAEKIT) verify exports/demo
	@echo "==> the bundle"
	@$(VAEKIT) inspect exports/demo
	@echo "==> 16 samples"
	@$(VAEKIT) sample exports/demo
	@echo "==> test images above, their reconstructions below, negative ELBO in nats"
	@$(VAEKIT) reconstruct exports/demo -n 4
	@echo "==> done: the model is in exports/demo; try $(VAEKIT) morph exports/demo --from 3 --to 8"

test: lint
	@echo "==> tests"
	@$(BIN)/python -m pytest

test-fast: $(READY)
	@$(BIN)/python -m pytest -m "not slow"

lint: $(READY)
	@echo "==> ruff"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@echo "==> mypy"
	@$(BIN)/mypy

bench: $(READY)
	@echo "==> benchmarks (about ten minutes; nothing else should run on this machine)"
	@$(BIN)/python -m benchmarks.training
	@$(BIN)/python -m benchmarks.runtime
	@$(BIN)/python -m benchmarks.blocks

builtin: $(READY)
	@rm -rf runs/mnist
	@$(VAEKIT) train mnist --out runs/mnist $(RECIPE)
	@$(VAEKIT) export runs/mnist --out exports/mnist --force
	@$(VAEKIT) verify exports/mnist

clean:
	@rm -rf runs exports/demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
