#!/usr/bin/env bash
# Run by Snakemake in the conda environment of cuda.yaml; rules/common.smk names the lock. Written by compile.sh.
# cuda.lock: sha256 afddd5fadf49b5bcd1b60edc8790d798c1f75ce73f91896d2a2133e2c55433f9
set -euo pipefail
python -m pip install --quiet --no-deps --requirement "$WORKFLOW_LOCK"
