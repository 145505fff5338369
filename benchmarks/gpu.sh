#!/usr/bin/env bash
# Everything about GPUs on a machine that has one, checked and measured in under ten minutes: benchmarks/gpu.sh
# Run in the repository's root, in an environment with this package, pytest and torchvision; PYTHON names its Python.
set -euo pipefail
python=${PYTHON:-python3}
out=${OUT:-benchmarks/results/gpu}
mkdir -p "$out"
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv | tee "$out/machine.csv"
timeout 180 "$python" -m pytest -q tests/gpu 2>&1 | tee "$out/tests.txt"
timeout 60 "$python" -m benchmarks.gpu | tee "$out/epochs.txt"
# As many slots as a GPU takes trials for this project, and for Ray Tune as its tutorial writes it the same number.
timeout 320 "$python" -m benchmarks.compare --only tune_fmnist --only "Ray Tune" --slots "${SLOTS:-4}" --limit 70 \
  --out "$out" | tee "$out/compare.txt"
