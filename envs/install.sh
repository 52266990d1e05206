#!/usr/bin/env bash
# Installs the locks of a platform into the Python on PATH:  install.sh cpu|cuda
set -euo pipefail
cd "$(dirname "$0")"
pip() { python -m pip install --quiet --no-deps "$@"; }
if [[ $1 == cpu ]]; then
  # PyTorch's own wheel index is not reached everywhere. One retry, so that a network without it costs half a minute at most.
  if pip --retries 1 --timeout 15 --requirement torch-cpu.lock >/dev/null 2>&1; then
    echo "torch is PyTorch's CPU build."
  else
    echo "torch is the CUDA build, with 3 GB of libraries, used on the CPU: PyTorch's wheel index offers no CPU build for this machine or cannot be reached."
    pip --requirement torch-cuda.lock
  fi
fi
pip --requirement "$1.lock"
