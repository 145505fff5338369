"""Tests that need a GPU; elsewhere each is skipped with its reason."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _needs_a_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("PyTorch sees no CUDA device here")
