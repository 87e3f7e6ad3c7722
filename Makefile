# make demo: set up everything and run the main job.   make test: set up everything and run the tests.
SHELL := /bin/bash
.DELETE_ON_ERROR:
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_OUT ?= kivuko-demo
# What the emoji world and its images are made from, and what Pillow's wheels join emoji sequences with: Debian's names.
SYSTEM_PACKAGES := unicode-cldr-core fonts-noto-color-emoji fonts-noto-core libfribidi0
# FreeDict's dictionaries, which the demo's word table takes: Swahili, Finnish, German, French.
DICTIONARIES := dict-freedict-swh-eng dict-freedict-eng-swh dict-freedict-fin-eng dict-freedict-eng-fin \
  dict-freedict-deu-eng dict-freedict-fra-eng dict-freedict-eng-fra
# What the report's page is opened in by a test, which is skipped without it.
BROWSER := chromium

.PHONY: help demo demo-large study test coverage lint bench system dictionaries browser clean
help:
	@echo "make demo   set up, then carry an English image search into seven languages ($(DEMO_OUT)/)"
	@echo "make demo-large  the same with multilingual-e5-small reading unknown words ($(DEMO_OUT)-large/)"
	@echo "make study  set up, then run both studies, make their pages, and compress their records into studies/"
	@echo "            (emoji: over two hours on two cores; with TICO19=FOLDER also on real sentences)"
	@echo "make test   set up, then lint, type-check and test"
	@echo "make coverage  test with a report of line coverage (takes twice as long)"
	@echo "make lint   ruff, mypy and codespell"
	@echo "make bench  benchmarks against peers"

demo: system dictionaries $(VENV)/.demo
	$(BIN)/kivuko demo --out $(DEMO_OUT)

demo-large: system dictionaries $(VENV)/.demo
	$(BIN)/pip install -q -c constraints.txt -e '.[demo,e5]'
	$(BIN)/kivuko demo --student static+multilingual-e5-small --out $(DEMO_OUT)-large

study: system $(VENV)/.demo
	$(BIN)/pip install -q -c constraints.txt -e '.[demo,align,e5]'
	for study in low-resource robustness; do \
	  $(BIN)/kivuko study $$study --records $$study.jsonl || exit; \
	  $(BIN)/kivuko report $$study.jsonl && $(BIN)/kivuko study publish $$study.jsonl || exit; \
	  if [ -n "$(TICO19)" ]; then \
	    $(BIN)/kivuko study $$study --dataset tico19:$(TICO19) --records $$study-tico19.jsonl || exit; \
	    $(BIN)/kivuko report $$study-tico19.jsonl && $(BIN)/kivuko study publish $$study-tico19.jsonl || exit; \
	  fi; \
	done

test: system browser lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

coverage: system browser $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --cov=kivuko --cov-report=term:skip-covered

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	scripts/check-words

bench: system $(VENV)/.dev
	$(BIN)/pip install -q -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks

system:
	@PYTHON=$(PYTHON) scripts/system-packages $(SYSTEM_PACKAGES)

dictionaries:
	@PYTHON=$(PYTHON) scripts/system-packages $(DICTIONARIES) 2>/dev/null || \
	  echo "without dictionaries the demo finds less: sudo apt-get install $(DICTIONARIES)"

browser:
	@command -v $(BROWSER) >/dev/null || PYTHON=$(PYTHON) scripts/system-packages $(BROWSER) 2>/dev/null || \
	  echo "$(BROWSER) is not installed and cannot be from here: the test that opens the report's page in it is skipped"

$(VENV)/.venv-made:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade 'pip>=23'
	@touch $@

# torch goes first: with it in place, no other package pulls in a larger build.
$(VENV)/.torch: $(VENV)/.venv-made constraints.txt
	$(BIN)/python -m pip install -q $$(grep '^torch==' constraints.txt)
	@touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[demo,dev]' brotli gradio-client orjson
	@# By itself, since it wants a Pillow below 13, for what is not used here.
	$(BIN)/python -m pip install -q -c constraints.txt --no-deps trackio
	@touch $@

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis src/*.egg-info
