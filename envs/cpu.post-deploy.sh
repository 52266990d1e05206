#!/usr/bin/env bash
# Run by Snakemake in the conda environment of cpu.yaml; rules/common.smk names the lock. Written by compile.sh.
# cpu.lock: sha256 1a1981c311c059805e44c2a276c85cb973a7c22a8aaa8af1fac78e894fc16380
set -euo pipefail
python -m pip install --quiet --no-deps --requirement "$WORKFLOW_LOCK"
