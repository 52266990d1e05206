# Everything happens in .venv, made on first use. `make run` is the default study, `make test` the tests.
# Other studies:  make run STUDY=studies/smoke.yaml     Other cores:  make run CORES=8
# The platform is detected (a working nvidia-smi means cuda); override it:  make run PLATFORM=cpu

SHELL := /bin/bash
STUDY ?= config.yaml
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
PYTHON ?= python3
PLATFORM ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo cuda || echo cpu)
STAMP := .venv/.installed-$(PLATFORM)
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: setup run report test bench lint format clean prune lock

setup: $(STAMP)

$(STAMP): envs/$(PLATFORM).lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12"; exit 1; }
	@echo "Installing the $(PLATFORM) environment into .venv (about 3 minutes and 4 GB on CPU) ..."
	@$(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --no-deps --requirement envs/$(PLATFORM).lock
	@.venv/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

run: setup
	@snakemake --cores $(CORES) --configfile $(STUDY)

report: setup
	@snakemake --cores $(CORES) --configfile $(STUDY) --forcerun html_report

test: setup
	@python -m pytest

bench: setup
	@python -m workflow_scripts.bench --study results/miniature/study.json

lint: setup
	@ruff check . && ruff format --check . && mypy && snakefmt --check Snakefile rules && snakemake --lint

format: setup
	@ruff check --fix-only . && ruff format . && snakefmt Snakefile rules

# Lists what no study under results/ refers to any more; `make prune DELETE=1` removes it.
prune: setup
	@python -m workflow_scripts.prune $(if $(DELETE),--delete)

clean:
	rm -rf results/*/ .snakemake

# Writes both locks anew from envs/requirements.in; needs uv.
lock:
	bash envs/compile.sh
