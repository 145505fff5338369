#!/usr/bin/env bash
# Everything about GPUs on a machine that has one, checked and measured in under ten minutes: benchmarks/gpu.sh
# Run in the repository's root, in an environment with this package, pytest and torchvision; PYTHON names its Python.
# A step that fails or takes too long does not keep the next one from being measured.
set -euo pipefail
python=${PYTHON:-python3}
out=${OUT:-benchmarks/results/gpu}
mkdir -p "$out"
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv 2>&1 | tee "$out/machine.csv"
"$python" -c "import torch; torch.cpu.get_capabilities()"
failed=

# A step's name, the seconds it may take, the seconds until it is killed if it does not end by then, and its arguments.
step() {
  local name=$1 limit=$2 grace=$3
  shift 3
  if ! timeout -k "$grace" "$limit" "$python" -m "$@" 2>&1 | tee "$out/$name.txt"; then
    failed+=" $name"
  fi
}

step tests 170 10 pytest -q tests/gpu
step epochs 60 10 benchmarks.gpu
# As many slots as a GPU takes trials for this project, and for Ray Tune as its tutorial writes it the same number.
# What it has cut off may take twenty seconds to end.
step compare 285 25 benchmarks.compare --only tune_fmnist --only "Ray Tune" --slots "${SLOTS:-4}" --limit 50 --out "$out"
if [[ -n $failed ]]; then
  echo "failed, or took too long:$failed" >&2
  exit 1
fi
