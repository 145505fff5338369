"""Two layers that PyTorch has, made cheap on a processor: max pooling with ReLU, and dropout."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional


def pool_relu(x: Tensor) -> Tensor:
    """Return ``relu(max_pool2d(x, 2))`` of (n, c, height, width), with the same gradient.

    Four values are compared as two pairs of strided views, and each view's gradient is written once: no indices, no
    zeroing, a third of the time.  Of equal values the first in reading order gets the gradient, as in PyTorch.
    """
    pooled: Tensor = _PoolRelu.apply(x)
    return pooled


def dropout(x: Tensor, rate: float) -> Tensor:
    """Zero each element with probability ``rate`` (0 to 1, rounded to 1/65536) and scale the others to keep the mean.

    On a processor PyTorch draws one number per element; here one 64-bit number decides over four.
    """
    if rate == 0.0:
        return x
    if x.device.type != "cpu":
        return functional.dropout(x, rate)
    zeroed = min(round(rate * 65536), 65535)
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    bits = words.view(torch.int16)[: x.numel()].view(x.shape)
    kept = torch.ge(bits, zeroed - 32768, out=torch.empty(x.shape, dtype=x.dtype))
    return x * kept.mul_(65536 / (65536 - zeroed))


class _PoolRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        columns = torch.maximum(*_pairs(x, 3))
        pooled = torch.maximum(*_pairs(columns, 2)).clamp_min_(0)
        ctx.save_for_backward(x, columns, pooled)
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        x, columns, pooled = ctx.saved_tensors
        passed = torch.gt(pooled, 0, out=torch.empty_like(pooled)).mul_(gradient)
        return _to_larger(_to_larger(passed, columns, 2), x, 3)


def _pairs(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return the elements of even and of odd index along ``dim``; a last one without a partner is left out."""
    pairs = x.size(dim) // 2
    first, second = torch.unflatten(x.narrow(dim, 0, 2 * pairs), dim, (pairs, 2)).unbind(dim + 1)
    return first, second


def _to_larger(gradient: Tensor, x: Tensor, dim: int) -> Tensor:
    """Hand each gradient to the larger one of its pair in ``x`` along ``dim``, the first of two equal ones."""
    spread = torch.zeros_like(x) if x.size(dim) % 2 else torch.empty_like(x)
    first, second = _pairs(x, dim)
    to_first, to_second = _pairs(spread, dim)
    # A mask of the gradient's type, not bool: only then is PyTorch's multiplication vectorized.
    is_first = torch.ge(first, second, out=torch.empty_like(gradient))
    torch.mul(gradient, is_first, out=to_first)
    torch.sub(gradient, to_first, out=to_second)
    return spread
