# Everything happens in .venv, made on first use. `make run` is the default study, `make test` the tests.
# Other studies:  make run STUDY=studies/smoke.yaml     Other cores:  make run CORES=8
# The platform is detected: cuda where nvidia-smi works or .venv was made for it, else cpu. On a cluster's login node:
# make setup PLATFORM=cuda.  To leave a GPU alone:  make run PLATFORM=cpu.  Another platform makes .venv anew.

SHELL := /bin/bash
STUDY ?= config.yaml
# Those that this shell may use: fewer than the machine has in a cluster's job, under taskset, or by a container's quota.
CGROUP ?= /sys/fs/cgroup
CORES ?= $(shell n=$$(nproc 2>/dev/null || sysctl -n hw.ncpu); \
	q=$$( (cat $(CGROUP)/cpu.max || cat $(CGROUP)/cpu/cpu.cfs_quota_us $(CGROUP)/cpu/cpu.cfs_period_us) 2>/dev/null \
	  | tr '\n' ' ' | awk '$$1 ~ /^[1-9]/ {print int(($$1 + $$2 - 1) / $$2)}'); \
	echo $$((q > 0 && q < n ? q : n)))
PYTHON ?= python3
PLATFORM ?= $(if $(wildcard .venv/.installed-cuda),cuda,$(shell nvidia-smi -L >/dev/null 2>&1 && echo cuda || echo cpu))
PLATFORM := $(PLATFORM)
ifeq ($(filter $(PLATFORM),cpu cuda),)
$(error PLATFORM is cpu or cuda, not '$(PLATFORM)')
endif
ifeq ($(PLATFORM),cpu)
export CUDA_VISIBLE_DEVICES :=
endif
STAMP := .venv/.installed-$(PLATFORM)
BEGUN := .venv/.begun-$(PLATFORM)
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: setup run rehearse report test test-slurm test-faults robustness bench lint format clean prune lock

setup: $(STAMP)
	@python -m workflow_scripts.runtime.gpu_devices

$(STAMP): $(wildcard envs/*.lock)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12"; exit 1; }
	@echo "Installing the $(PLATFORM) environment into .venv (about 3 minutes and $(if $(filter cpu,$(PLATFORM)),3 GB,10 GB)) ..."
	@$(PYTHON) -m venv $(if $(filter-out $(STAMP) $(BEGUN),$(wildcard .venv/.installed-* .venv/.begun-*)),--clear) .venv
	@touch $(BEGUN)
	@bash envs/install.sh $(PLATFORM)
	@python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# What is no YAML at all, or not there, Snakemake would refuse in its own words, without the line.
run: setup
	@python -m workflow_scripts.study check $(STUDY) >/dev/null
	@snakemake --cores $(CORES) --configfile $(STUDY)

# Every stage of a study to its report, on random weights, with a judge that draws its scores from a scenario:
#   make rehearse STUDY=studies/qwen2.5-14b.yaml SCENARIO=null
# With data and questions of a folder (MIRROR) and the model's own tokenizer (TOKENIZER) it needs no network.
SCENARIO ?= paper
rehearse: setup
	@python -m workflow_scripts.tools rehearse $(STUDY) --scenario $(SCENARIO) --cores $(CORES) \
		$(if $(MIRROR),--mirror $(MIRROR)) $(if $(TOKENIZER),--tokenizer $(TOKENIZER))

report: setup
	@snakemake --cores $(CORES) --configfile $(STUDY) --forcerun report

# As on a machine of so many cores (more than there are: as many threads):  make test THREADS=1
CPUS := $(if $(THREADS),$(shell command -v taskset && echo --cpu-list 0-$$(($(THREADS) - 1))))
# One process of pytest more than cores, since some tests wait for others' answers, four at most (each may hold an engine);
# whole files go to one of them.
WORKERS ?= $(shell n=$(or $(THREADS),$(CORES)); echo $$((n > 3 ? 4 : n + 1)))
test: setup
	@$(if $(THREADS),OMP_NUM_THREADS=$(THREADS) EM_CORES=$(THREADS) $(CPUS)) python -m pytest $(if $(filter-out 1,$(WORKERS)),-n $(WORKERS) --dist loadfile --no-loadscope-reorder)

# A real SLURM on this machine, one node with two faked GPUs: the smoke study through profiles/slurm, killed jobs.
test-slurm: setup
	@bash tests/slurm/start.sh --install python -m pytest -m slurm tests/slurm

# Kills, full disks and damaged files at seeded random moments:  make test-faults COUNT=30 SEED=0
# The whole smoke study takes more than an hour; about half of it:  make test-faults FAULT_STUDY=tests/faults/half.yaml
COUNT ?= 30
SEED ?= 0
FAULT_STUDY ?= studies/smoke.yaml
test-faults: setup
	@python -m tests.faults --count $(COUNT) --seed $(SEED) --study $(FAULT_STUDY)

# The miniature's main claims for three base seeds, each on 1, 2 and 4 cores, as a table; about an hour:
#   make robustness SEEDS="0 1" ON="1 8"
SEEDS ?= 0 1 2
ON ?= 1 2 4
robustness: setup
	@python -m workflow_scripts.tools robustness --seeds $(SEEDS) --cores $(ON)

# On a finished study:  make bench RESULTS=results/real-cpu
RESULTS ?= results/miniature
bench: setup
	@python -m workflow_scripts.tools bench --study $(RESULTS)/study.json
	@python -m workflow_scripts.tools bench-judge

lint: setup
	@ruff check . && ruff format --check . && mypy && snakefmt --check Snakefile rules && snakemake --lint

format: setup
	@ruff check --fix-only . && ruff format . && snakefmt Snakefile rules

# Lists what no study under results/ refers to any more; `make prune DELETE=1` removes it.
prune: setup
	@python -m workflow_scripts.tools prune $(if $(DELETE),--delete)

clean:
	rm -rf results/*/ .snakemake

# Writes the locks anew from envs/requirements.in.
lock: setup
	bash envs/compile.sh
