# Each target sets up .venv by itself, says what it does, and may be run again.
#
#   make demo     train on MNIST, export, verify, show samples          make lint   ruff and mypy
#   make test     lint, types and every test                            make bench  benchmarks/, printed and kept
#   make builtin  train and export exports/mnist, the built-in model    make clean  remove what they made, but for .venv
#   make figures  docs/figures/, the gallery: drawn from the built-in model's run
#   make browser-tools  npm packages and a headless Chromium for the tests of `vaekit embed node` and `web`
#   make kserve         KServe, for the tests of `vaekit embed triton` that ask a real server (530 MB)
#
# Another build of torch:  make demo TORCH="torch==2.13.0" TORCH_ARGS="--index-url URL"   (URLs: pytorch.org, "Get started")
# Another ONNX Runtime:    make demo RUNTIME=cuda

PYTHON      ?= python3
# Tests run side by side, a file at a time, since a file shares its models.
TEST_JOBS   ?= 2
PARALLEL    := -n $(TEST_JOBS) --dist loadfile
TORCH       ?= torch==2.13.0
TORCH_ARGS  ?=
RUNTIME     ?= cpu

VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
# Not compiling what is installed saves a minute: of 17,000 files most are never imported, and the others are compiled then.
ADD    := $(PIP) install --quiet --no-compile
READY  := $(VENV)/.ready-$(RUNTIME)
VAEKIT := $(BIN)/vaekit

# The best recipe found for the reference network and 10 epochs, with one epoch of warm-up; see benchmarks/README.md.
RECIPE := --learning-rate 8e-3 --schedule cosine --warmup 469

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast lint bench builtin figures browser-tools kserve clean
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
	@$(ADD) "$(TORCH)" $(TORCH_ARGS)
	@{ grep -v '^torch==' constraints.txt; $(PIP) freeze | grep '^torch=='; } > $(VENV)/constraints.txt
	@$(ADD) -c $(VENV)/constraints.txt -e '.[$(RUNTIME),train,dev]'
	@touch $@

demo: $(READY)
	@echo "==> training the reference VAE on MNIST: 10 epochs"
	@rm -rf runs/demo
	@$(VAEKIT) train mnist --out runs/demo $(RECIPE)
	@echo "==> exporting two ONNX graphs"
	@$(VAEKIT) export runs/demo --out exports/demo --overwrite
	@echo "==> replaying the golden vectors, without torch"
	@$(VAEKIT) verify exports/demo
	@echo "==> the bundle"
	@$(VAEKIT) inspect exports/demo
	@echo "==> 16 samples"
	@$(VAEKIT) sample exports/demo
	@echo "==> test images above, their reconstructions below, negative ELBO in nats"
	@$(VAEKIT) reconstruct exports/demo -n 4
	@echo "==> done: the model is in exports/demo; try $(VAEKIT) morph exports/demo --from 3 --to 8"

test: lint browser-tools
	@echo "==> tests"
	@$(BIN)/python -m pytest $(PARALLEL)

# Not part of `make test`: without it those tests are skipped, and say so; in CI, which installs it, they fail.
kserve:
	@echo "==> KServe in $(VENV)/kserve (530 MB, a minute or two)"
	@test -x $(VENV)/kserve/bin/python || $(PYTHON) -m venv $(VENV)/kserve
	@$(VENV)/kserve/bin/python -m pip --disable-pip-version-check install --quiet --no-compile -r tests/embedding/kserve.txt

# Nothing here fails: a test whose tool is missing says so, and in CI it fails. Root may install a browser; others are told.
browser-tools:
	@command -v npm >/dev/null || { echo "==> npm is not installed: the tests in JavaScript are skipped"; exit 0; }; \
	  cd tests/embedding; test node_modules/.ready -nt package-lock.json || { \
	    echo "==> npm packages for the tests (150 MB)"; \
	    npm ci --silent --no-audit --no-fund && touch node_modules/.ready || true; }
	@{ command -v chromium-headless-shell || command -v chromium || command -v google-chrome; } >/dev/null || \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "==> headless Chromium for the tests"; \
	    { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium-headless-shell; } >/dev/null || true; \
	  else echo "==> Chromium is not installed: the tests of the web page are skipped"; fi

test-fast: $(READY)
	@$(BIN)/python -m pytest $(PARALLEL) -m "not slow"

lint: $(READY)
	@echo "==> ruff"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@echo "==> mypy"
	@$(BIN)/mypy

bench: $(READY)
	@echo "==> benchmarks (about twenty minutes; nothing else should run on this machine)"
	@$(BIN)/python -m benchmarks.training
	@$(BIN)/python -m benchmarks.contention
	@$(BIN)/python -m benchmarks.runtime
	@$(BIN)/python -m benchmarks.blocks
	@$(BIN)/python -m benchmarks.explore
	@$(BIN)/python -m benchmarks.peers_threads
	@$(BIN)/python -m benchmarks.peers

builtin: $(READY)
	@rm -rf runs/builtin
	@$(VAEKIT) train mnist --out runs/builtin $(RECIPE)
	@$(VAEKIT) export runs/builtin --out exports/mnist --overwrite
	@$(VAEKIT) verify exports/mnist

# A run of the built-in model's recipe and seed is that model. The models it is compared with are kept in runs/figures.
runs/builtin/means.npz: | $(READY)
	@rm -rf runs/builtin
	@$(VAEKIT) train mnist --out runs/builtin $(RECIPE)

figures: $(READY) runs/builtin/means.npz
	@$(VAEKIT) figures runs/builtin --out docs/figures --models runs/figures --format png --projection tsne --force

clean:
	@rm -rf runs/demo runs/builtin runs/figures exports/demo tests/embedding/node_modules
	@rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
