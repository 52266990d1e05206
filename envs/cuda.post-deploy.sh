#!/usr/bin/env bash
# Snakemake runs a copy of this in the new environment. EM_ENVS is this folder; rules/common.smk sets it.
set -euo pipefail
bash "$EM_ENVS/install.sh" cuda
# locks 98d9b880e3a6fc85
