# `make run` sets up and starts; `make test` sets up and tests. Nothing but Python 3.11+, git and make is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DOCS ?= examples/handbook
KB ?=
PORT ?= 7860
# Processes that run tests; each holds a gigabyte or two.
WORKERS ?= 2

.PHONY: run setup test check vllm-cpu compressor browser bench clean

# The knowledge base is named after the folder. Files that could not be read (exit code 1) do not stop the chat.
run: setup
	@kb="$(KB)"; kb="$${kb:-$$(basename "$(DOCS)")}"; \
	$(BIN)/ragstone index "$(DOCS)" --kb "$$kb" || [ $$? -eq 1 ] && exec $(BIN)/ragstone ui --kb "$$kb" --port $(PORT) --watch

setup: $(VENV)/.app

$(VENV)/.app: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.test: $(VENV)/.app
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	@touch $@

vllm-cpu: $(VENV)/.app
	RAGSTONE_LLM__VLLM_BUILD=cpu $(BIN)/python -m llm.vllm_env

compressor: $(VENV)/.app
	$(BIN)/python -m llm.quantize

browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
	  (command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq chromium fonts-noto-cjk >/dev/null) || \
	  (echo "The UI tests need Chromium: install it (Debian: apt-get install chromium) and run make test again." >&2; exit 1)

check: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

test:
	@$(MAKE) --no-print-directory -j4 --output-sync=target check vllm-cpu compressor browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

bench: $(VENV)/.test
	$(BIN)/python -m bench.retrieval
	$(BIN)/python -m bench.indexing
	$(BIN)/python -m bench.sync
	$(BIN)/python -m bench.parse

clean:
	rm -rf $(VENV) .vllm .compressor .pytest_cache .ruff_cache *.egg-info build
